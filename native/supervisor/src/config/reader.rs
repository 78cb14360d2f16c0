//! Typed access to Storm's configuration map.
//!
//! YAML and Java give the same setting as Integer, Long, Double or String, a Boolean as `true` or
//! `"true"`, and one text where a list is meant; Storm's own readers take all of these, so these
//! do too. Anything else is a problem that names key, found and expected.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Map, Value};
use storm_oci_request::HostPath;
use storm_oci_store::Location;

use crate::error::SupervisorError;

/// The longest value a problem repeats, in characters.
const SHOWN: usize = 80;

/// Reads settings and collects what is wrong with them.
#[derive(Debug)]
pub(super) struct Reader<'conf> {
    conf: &'conf Map<String, Value>,
    pub(super) problems: Vec<SupervisorError>,
}

impl<'conf> Reader<'conf> {
    pub(super) const fn new(conf: &'conf Map<String, Value>) -> Self {
        Self { conf, problems: Vec::new() }
    }

    /// The value of a key; `null` is as good as absent.
    pub(super) fn value(&self, key: &str) -> Option<&'conf Value> {
        self.conf.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        match value {
            Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            _ => self.wrong(key, value, "a text that is not empty"),
        }
    }

    /// A list of texts; a single text is a list of one.
    pub(super) fn strings(&mut self, key: &'static str) -> Vec<String> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let texts = match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(items) => {
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
            }
            _ => None,
        };
        texts.or_else(|| self.wrong(key, value, "a list of texts")).unwrap_or_default()
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.value(key) else {
            return default;
        };
        let read = match value {
            Value::Bool(value) => Some(*value),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        };
        read.or_else(|| self.wrong(key, value, "true or false")).unwrap_or(default)
    }

    /// A whole number that the target type can hold.
    pub(super) fn whole<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        expected: &'static str,
    ) -> Option<T> {
        let value = self.value(key)?;
        number(value)
            .filter(|number| number.fract() == 0.0)
            .and_then(whole)
            .and_then(|number| T::try_from(number).ok())
            .or_else(|| self.wrong(key, value, expected))
    }

    /// A number above zero, its fraction cut off as Storm does.
    pub(super) fn positive(&mut self, key: &'static str) -> Option<u64> {
        let value = self.value(key)?;
        number(value)
            .filter(|number| *number >= 1.0)
            .and_then(whole)
            .and_then(|number| u64::try_from(number).ok())
            .or_else(|| self.wrong(key, value, "a number of at least 1"))
    }

    /// A whole number of at least one.
    pub(super) fn count(&mut self, key: &'static str) -> Option<NonZeroU32> {
        const EXPECTED: &str = "a whole number of at least 1";
        let number = self.whole(key, EXPECTED)?;
        let value = self.value(key)?;
        NonZeroU32::new(number).or_else(|| self.wrong(key, value, EXPECTED))
    }

    /// A time of at least a second.
    pub(super) fn seconds(&mut self, key: &'static str) -> Option<Duration> {
        let seconds = self.count(key)?;
        Some(Duration::from_secs(seconds.get().into()))
    }

    pub(super) fn path(&mut self, key: &'static str) -> Option<HostPath> {
        let text = self.string(key)?;
        self.parse_path(key, &text)
    }

    pub(super) fn paths(&mut self, key: &'static str) -> Vec<HostPath> {
        self.strings(key).iter().filter_map(|text| self.parse_path(key, text)).collect()
    }

    pub(super) fn location(&mut self, key: &'static str) -> Option<Location> {
        let text = self.string(key)?;
        match Location::parse(&text) {
            Ok(location) => Some(location),
            Err(source) => {
                self.problems.push(SupervisorError::SettingStore { key, source });
                None
            }
        }
    }

    /// Notes a problem and has no value.
    pub(super) fn wrong<T>(
        &mut self,
        key: &'static str,
        value: &Value,
        expected: &'static str,
    ) -> Option<T> {
        let found = value.to_string().chars().take(SHOWN).collect();
        self.problems.push(SupervisorError::Setting { key, found, expected });
        None
    }

    /// Notes a problem with one option of a map. Its value may be a secret.
    pub(super) fn wrong_option(&mut self, key: &'static str, name: &str, problem: &'static str) {
        let name = crate::text::shown(name);
        self.problems.push(SupervisorError::SettingOption { key, name, problem });
    }

    fn parse_path(&mut self, key: &'static str, text: &str) -> Option<HostPath> {
        match HostPath::parse(text.trim()) {
            Ok(path) => Some(path),
            Err(source) => {
                self.problems.push(SupervisorError::SettingName { key, source });
                None
            }
        }
    }
}

/// The number a value is, whether written as number or as text.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number: f64 = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// The number without its fraction. Every setting is far below 2^53, up to where this is exact.
pub(super) fn whole(number: f64) -> Option<i64> {
    format!("{:.0}", number.trunc()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEY: &str = "storm.test";

    /// Reads one value, and tells whether there was a problem.
    fn read<T>(value: Value, read: impl FnOnce(&mut Reader<'_>) -> T) -> (T, bool) {
        let conf = Map::from_iter([(KEY.to_owned(), value)]);
        let mut reader = Reader::new(&conf);
        let result = read(&mut reader);
        (result, !reader.problems.is_empty())
    }

    #[test]
    fn whole_numbers_come_in_many_types() {
        for (value, expected) in [
            (json!(7), Some(7)),
            (json!(7.0), Some(7)),
            (json!("7"), Some(7)),
            (json!(" 7.0 "), Some(7)),
            (json!(0), Some(0)),
            (json!(null), None),
        ] {
            let shown = value.to_string();
            let result = read(value, |reader| reader.whole::<u32>(KEY, "a number"));
            assert_eq!(result, (expected, false), "{shown}");
        }
        for value in [
            json!(-1),
            json!(7.5),
            json!("seven"),
            json!("NaN"),
            json!("inf"),
            json!(4_294_967_296_i64),
            json!(true),
            json!([7]),
            json!({}),
        ] {
            let shown = value.to_string();
            let result = read(value, |reader| reader.whole::<u32>(KEY, "a number"));
            assert_eq!(result, (None, true), "{shown}");
        }
    }

    #[test]
    fn counts_are_at_least_one() {
        for (value, expected) in [(json!(1), NonZeroU32::new(1)), (json!(null), None)] {
            assert_eq!(read(value, |reader| reader.count(KEY)), (expected, false));
        }
        for value in [json!(0), json!(-1), json!(1.5), json!(5_000_000_000_i64)] {
            assert_eq!(read(value, |reader| reader.count(KEY)), (None, true));
        }
    }

    #[test]
    fn positive_numbers_lose_their_fraction() {
        for (value, expected) in
            [(json!(200), Some(200)), (json!(150.9), Some(150)), (json!("50.5"), Some(50))]
        {
            assert_eq!(read(value, |reader| reader.positive(KEY)), (expected, false));
        }
        for value in [json!(0), json!(-1.5), json!(0.5), json!("x")] {
            assert_eq!(read(value, |reader| reader.positive(KEY)), (None, true));
        }
    }

    #[test]
    fn booleans_may_be_text() {
        for (value, expected) in [
            (json!(true), true),
            (json!("true"), true),
            (json!("True"), true),
            (json!(false), false),
            (json!("false"), false),
            (json!(null), true),
        ] {
            assert_eq!(read(value, |reader| reader.boolean(KEY, true)), (expected, false));
        }
        for value in [json!(1), json!("yes"), json!([])] {
            assert!(read(value, |reader| reader.boolean(KEY, true)).1);
        }
    }

    #[test]
    fn lists_may_be_one_text() {
        let texts = |value| read(value, |reader| reader.strings(KEY));
        assert_eq!(texts(json!(["a", "b"])), (vec!["a".into(), "b".into()], false));
        assert_eq!(texts(json!("a")), (vec!["a".into()], false));
        assert_eq!(texts(json!([])), (vec![], false));
        for value in [json!(1), json!(["a", 1]), json!(["a", null]), json!({"a": "b"})] {
            assert_eq!(texts(value), (vec![], true));
        }
    }

    #[test]
    fn a_problem_names_key_found_and_expected() {
        let conf = Map::from_iter([(KEY.to_owned(), json!("x".repeat(200)))]);
        let mut reader = Reader::new(&conf);
        reader.boolean(KEY, false);
        assert_eq!(
            reader.problems[0].report(),
            format!(
                "cannot use setting `storm.test`: found \"{}, expected true or false",
                "x".repeat(79)
            )
        );
    }

    #[test]
    fn paths_are_absolute_and_normal() {
        let path = |value| read(value, |reader| reader.path(KEY).map(String::from));
        assert_eq!(path(json!("/var/run/nscd/")), (Some("/var/run/nscd".into()), false));
        assert_eq!(path(json!("relative")), (None, true));
        assert_eq!(path(json!("/a/../b")), (None, true));
        assert_eq!(path(json!("")), (None, true));
    }
}
