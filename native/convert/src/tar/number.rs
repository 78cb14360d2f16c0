//! Numbers as archives have them.

/// A header's number: octal digits, or GNU's base-256 with the highest bit set. An empty field is 0.
pub(super) fn field(field: &[u8]) -> Option<i64> {
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => base_256(*first, rest),
        _ => octal(field),
    }
}

/// Two's complement, big-endian; the highest bit is the mark and the next one the sign.
fn base_256(first: u8, rest: &[u8]) -> Option<i64> {
    // The widest field has 12 bytes: 95 bits.
    let start = i128::from(first & 0x3f) - i128::from(first & 0x40);
    let value = rest.iter().fold(start, |value, byte| (value << 8) | i128::from(*byte));
    i64::try_from(value).ok()
}

/// Some writers pad with spaces or NULs in front, some end with either.
fn octal(field: &[u8]) -> Option<i64> {
    let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
    let digits = field.iter().skip_while(|byte| is_padding(byte));
    let mut value = 0_i64;
    let mut is_over = false;
    for byte in digits {
        match byte {
            b'0'..=b'7' if !is_over => {
                value = value.checked_mul(8)?.checked_add(i64::from(byte - b'0'))?;
            }
            b' ' | 0 => is_over = true,
            _ => return None,
        }
    }
    Some(value)
}

/// A PAX record's number: decimal digits alone.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.iter()
        .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// A PAX time in seconds, rounded down; what is beyond an `i64` becomes its limit.
pub(super) fn time(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or_default());
    let is_number = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let whole = decimal(whole).and_then(|whole| i64::try_from(whole).ok()).unwrap_or(i64::MAX);
    let has_rest = fraction.iter().any(|digit| *digit != b'0');
    Some(if is_negative { -whole - i64::from(has_rest && whole < i64::MAX) } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_octal_or_base_256() {
        let rows: &[(&[u8], Option<i64>)] = &[
            (b"", Some(0)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0 644 ", Some(0o644)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"0000648\0", None),
            (b"64 4", None),
            (b"-1", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\x85", Some(-123)),
            (b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (text, expected) in rows {
            assert_eq!(field(text), *expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn pax_numbers_are_decimal() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "18446744073709551616", "-1", "1.5", " 1", "0x1"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad:?}");
        }
        let rows = [
            ("0", Some(0)),
            ("1700000000.999999999", Some(1_700_000_000)),
            ("12.", Some(12)),
            ("-1", Some(-1)),
            ("-1.0", Some(-1)),
            ("-1.5", Some(-2)),
            ("-0.1", Some(-1)),
            ("99999999999999999999", Some(i64::MAX)),
            ("-99999999999999999999.5", Some(-i64::MAX)),
            ("", None),
            (".5", None),
            ("1e9", None),
            ("1.2.3", None),
            ("--1", None),
        ];
        for (text, expected) in rows {
            assert_eq!(time(text.as_bytes()), expected, "{text:?}");
        }
    }
}
