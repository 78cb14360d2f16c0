//! The walk through a JSON document: each value with its path, each object with its keys checked.
//!
//! Derived readers report what they refuse as text. Root's reader refuses each thing with a
//! variant of its own that names the key, so it walks the document itself.

use std::fmt;

use crate::error::RequestError;
use crate::json::Json;

/// Where a value stands in its document, such as `ociRuntimeConfig.mounts[3].type`.
#[derive(Clone, Copy, Debug)]
enum Path<'a> {
    Root,
    Key(&'a Self, &'a str),
    Index(&'a Self, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => write!(formatter, "{}", key.escape_debug()),
            Self::Key(parent, key) => write!(formatter, "{parent}.{}", key.escape_debug()),
            Self::Index(parent, index) => write!(formatter, "{parent}[{index}]"),
        }
    }
}

/// An integer type that a request's number may have.
pub(crate) trait Integer: TryFrom<i128> {
    /// What the type holds, for an error.
    const RANGE: &'static str;
}

impl Integer for u16 {
    const RANGE: &'static str = "0 to 65535";
}

impl Integer for u32 {
    const RANGE: &'static str = "0 to 4294967295";
}

impl Integer for u64 {
    const RANGE: &'static str = "0 to 18446744073709551615";
}

impl Integer for i64 {
    const RANGE: &'static str = "-9223372036854775808 to 9223372036854775807";
}

/// A value and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    value: &'a Json,
    path: Path<'a>,
}

/// The error that a key which is never allowed gives, made from the key's path.
pub(crate) type Refusal = fn(String) -> RequestError;

impl<'a> Field<'a> {
    pub(crate) const fn root(value: &'a Json) -> Self {
        Self { value, path: Path::Root }
    }

    /// The value's path, for an error.
    pub(crate) fn path(&self) -> String {
        self.path.to_string()
    }

    /// The object's fields, when each key is among `known` and there once.
    pub(crate) fn object(
        &self,
        known: &[&str],
        refused: &[(&str, Refusal)],
    ) -> Result<Object<'_>, RequestError> {
        let Json::Object(fields) = self.value else {
            return Err(self.wrong_type("an object"));
        };
        let object = Object { fields, path: &self.path };
        for (position, (key, _)) in fields.iter().enumerate() {
            let path = || Path::Key(&self.path, key).to_string();
            if let Some((_, refusal)) = refused.iter().find(|(name, _)| name == key) {
                return Err(refusal(path()));
            }
            if !known.contains(&key.as_str()) {
                return Err(RequestError::UnknownKey(path()));
            }
            if fields.iter().take(position).any(|(earlier, _)| earlier == key) {
                return Err(RequestError::DuplicateKey(path()));
            }
        }
        Ok(object)
    }

    /// Each item of the array, read by `read`.
    pub(crate) fn array<T>(
        &self,
        read: impl Fn(Field<'_>) -> Result<T, RequestError>,
    ) -> Result<Vec<T>, RequestError> {
        let Json::Array(items) = self.value else {
            return Err(self.wrong_type("an array"));
        };
        items
            .iter()
            .enumerate()
            .map(|(index, value)| read(Field { value, path: Path::Index(&self.path, index) }))
            .collect()
    }

    pub(crate) fn text(&self) -> Result<&'a str, RequestError> {
        match self.value {
            Json::Text(text) => Ok(text),
            _ => Err(self.wrong_type("a string")),
        }
    }

    pub(crate) fn boolean(&self) -> Result<bool, RequestError> {
        match self.value {
            Json::Bool(value) => Ok(*value),
            _ => Err(self.wrong_type("a boolean")),
        }
    }

    /// An integer that fits `T`.
    pub(crate) fn integer<T: Integer>(&self) -> Result<T, RequestError> {
        let Json::Integer(number) = self.value else {
            return Err(self.wrong_type("an integer"));
        };
        T::try_from(*number).map_err(|_| RequestError::OutOfRange {
            path: self.path(),
            found: *number,
            allowed: T::RANGE,
        })
    }

    fn wrong_type(&self, expected: &'static str) -> RequestError {
        RequestError::WrongType { path: self.path(), found: self.value.kind(), expected }
    }
}

/// An object whose keys are all known and there once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object<'a> {
    fields: &'a [(String, Json)],
    path: &'a Path<'a>,
}

impl<'a> Object<'a> {
    pub(crate) fn required(&self, key: &'a str) -> Result<Field<'a>, RequestError> {
        self.optional(key)
            .ok_or_else(|| RequestError::MissingKey(Path::Key(self.path, key).to_string()))
    }

    pub(crate) fn optional(&self, key: &'a str) -> Option<Field<'a>> {
        let (_, value) = self.fields.iter().find(|(name, _)| name == key)?;
        Some(Field { value, path: Path::Key(self.path, key) })
    }
}
