//! Text of others, made fit for one line of a log.

use crate::switches::without;

/// The longest foreign text a message repeats, in characters.
const SHOWN: usize = 200;

/// The text cut short, with control characters escaped.
pub(crate) fn shown(text: &str) -> String {
    shown_up_to(text, SHOWN)
}

/// The text cut to `limit` characters, with control characters escaped.
pub(crate) fn shown_up_to(text: &str, limit: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(if without("shown-cut") { usize::MAX } else { limit })
        .flat_map(|each| {
            let steers = each.is_control() || is_direction_mark(each);
            let escaped = steers && !without("shown-escaped");
            let plain = (!escaped).then_some(each);
            let code = escaped.then(|| each.escape_unicode());
            plain.into_iter().chain(code.into_iter().flatten())
        })
        .collect();
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}

/// Characters that make a terminal show other text than there is.
const fn is_direction_mark(each: char) -> bool {
    matches!(each, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(shown("a\n\u{1b}[2Jb é"), "a\\u{a}\\u{1b}[2Jb é");
        assert_eq!(shown("\u{202e}x"), "\\u{202e}x");
        assert_eq!(shown_up_to("abcdef", 3), "abc…");
        assert_eq!(shown_up_to("abc", 3), "abc");
    }
}
