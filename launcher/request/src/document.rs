//! How bytes from outside become a value that cannot be wrong: the size, then `serde`'s strict
//! reading (unknown, doubled and missing keys are refused), then each type's own limits.

use std::fmt;

use serde::de::{DeserializeOwned, Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The most bytes a request, profile or record may have. Storm's own requests have 3 to 20 KiB;
/// a large environment or mount list stays far below this.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Why a request, profile or record was refused: it is too large, it is not the JSON that it should
/// be, or a value contradicts another or the launcher's own part.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DocumentError(String);

impl DocumentError {
    /// A value that contradicts another: where it stands, what was found and what is allowed.
    pub(crate) fn rule(key: &str, problem: impl fmt::Display) -> Self {
        Self(format!("`{key}`: {problem}"))
    }
}

/// Whether a document of this size is read.
///
/// # Errors
///
/// [`DocumentError`] when it is not.
pub fn check_size(bytes: &[u8]) -> Result<(), DocumentError> {
    match bytes.len() {
        ..=MAX_REQUEST_BYTES => Ok(()),
        found => Err(DocumentError(format!(
            "it has {found} bytes, at most {MAX_REQUEST_BYTES} are read"
        ))),
    }
}

/// Reads one document. Depth is bounded by `serde_json`.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DocumentError> {
    /// The most characters of a message, which may repeat any text of the document.
    const MESSAGE: usize = 1000;
    check_size(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string();
        let text = message.strip_suffix(&place).unwrap_or(&message).chars().take(MESSAGE);
        let visible =
            |text: char| if text.is_control() { char::REPLACEMENT_CHARACTER } else { text };
        DocumentError(text.map(visible).collect::<String>() + &place)
    })
}

/// Reads an optional field: an absent key is none, `null` is refused as any other wrong value.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads a list that must have an item.
pub(crate) fn not_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let items = Vec::deserialize(deserializer)?;
    if items.is_empty() { Err(Error::invalid_length(0, &"one or more")) } else { Ok(items) }
}

/// A number from `MIN` to `MAX`; with `UNLIMITED` also -1, the specification's "no limit".
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Bounded<const MIN: i64, const MAX: i64, const UNLIMITED: bool = false>(i64);

/// For [`Bounded`].
pub(crate) const OR_UNLIMITED: bool = true;

impl<const MIN: i64, const MAX: i64, const UNLIMITED: bool> Bounded<MIN, MAX, UNLIMITED> {
    /// The number, if it is one of these.
    #[must_use]
    pub fn new(number: i64) -> Option<Self> {
        let fits = (MIN..=MAX).contains(&number) || UNLIMITED && number == -1;
        fits.then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl<'de, const MIN: i64, const MAX: i64, const UNLIMITED: bool> Deserialize<'de>
    for Bounded<MIN, MAX, UNLIMITED>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(BoundedVisitor)
    }
}

/// Judges the number while it is read: an error made later would be told without its column.
struct BoundedVisitor<const MIN: i64, const MAX: i64, const UNLIMITED: bool>;

impl<const MIN: i64, const MAX: i64, const UNLIMITED: bool> Visitor<'_>
    for BoundedVisitor<MIN, MAX, UNLIMITED>
{
    type Value = Bounded<MIN, MAX, UNLIMITED>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{MIN} to {MAX}{}", if UNLIMITED { " or -1 for no limit" } else { "" })
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        let wrong = || E::invalid_value(Unexpected::Signed(number), &self);
        Bounded::new(number).ok_or_else(wrong)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
}
