//! Text between Java and Rust.
//!
//! Java hands over modified UTF-8, which can hold half a surrogate pair. Such text is refused: a
//! replaced character would make another name of it.

use jni::Env;
use jni::objects::JString;

use crate::error::BridgeError;

/// What the decoder puts where half a surrogate pair was.
const REPLACEMENT: char = '\u{FFFD}';

/// The same character as modified UTF-8 has it when Java itself sent one.
const REPLACEMENT_BYTES: [u8; 3] = [0xEF, 0xBF, 0xBD];

/// Reads an argument.
pub(crate) fn argument(
    env: &Env<'_>,
    text: &JString<'_>,
    argument: &'static str,
) -> Result<String, BridgeError> {
    if text.is_null() {
        return Err(BridgeError::Null { argument });
    }
    let chars = text.mutf8_chars(env)?;
    decode(chars.to_bytes(), chars.to_string()).ok_or(BridgeError::NotUnicode { argument })
}

fn decode(bytes: &[u8], decoded: String) -> Option<String> {
    let sent = bytes
        .windows(REPLACEMENT_BYTES.len())
        .filter(|window| *window == REPLACEMENT_BYTES)
        .count();
    (decoded.matches(REPLACEMENT).count() == sent).then_some(decoded)
}

/// Makes a method's answer.
pub(crate) fn answer<'local>(
    env: &mut Env<'local>,
    text: &str,
) -> Result<JString<'local>, BridgeError> {
    Ok(env.new_string(text)?)
}

#[cfg(test)]
mod tests {
    use jni::strings::JNIStr;

    use super::*;

    fn read(bytes: &[u8]) -> Option<String> {
        let mut terminated = bytes.to_vec();
        terminated.push(0);
        let text = std::ffi::CStr::from_bytes_with_nul(&terminated).unwrap();
        // Checked conversion refuses halves of pairs, which a JVM does send.
        let decoded = JNIStr::from_cstr(text).map(|text| text.to_str().into_owned());
        decode(bytes, decoded.unwrap_or_else(|| REPLACEMENT.to_string()))
    }

    #[test]
    fn text_comes_through() {
        let cases: [(&[u8], &str); 4] = [
            (b"worker", "worker"),
            (&[0xC0, 0x80], "\0"),
            (&[0xED, 0xA0, 0xBD, 0xED, 0xB8, 0x80], "\u{1F600}"),
            (&[0xEF, 0xBF, 0xBD], "\u{FFFD}"),
        ];
        for (bytes, text) in cases {
            assert_eq!(read(bytes).as_deref(), Some(text), "{bytes:x?}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_refused() {
        assert_eq!(read(&[b'a', 0xED, 0xA0, 0xBD, b'b']), None);
    }
}
