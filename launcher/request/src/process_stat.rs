//! What tells a process from another one with the same pid.

/// Two fields of `/proc/<pid>/stat`. The launcher writes the start time into its records and the
/// library compares it, so both read it here.
///
/// # References
///
/// `proc_pid_stat(5)`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProcessStat {
    /// Whether it is a zombie, which only waits for its parent, or dead.
    pub ended: bool,
    /// Clock ticks from boot to its start.
    pub start_time: u64,
}

impl ProcessStat {
    /// Parses the file's content; `None` when it is no such file's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The name is in parentheses and may hold any of its own; the state is field 3, the start
        // time field 22.
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        Some(Self {
            ended: matches!(state, "Z" | "X" | "x"),
            start_time: fields.nth(18)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_no_trap() {
        for (name, start) in [("(a) Z 1 (b)", 6421), ("(a) R 1)", 12345)] {
            let text = format!(
                "12 {name} S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {start} 8 9 10\n"
            );
            let stat = ProcessStat::parse(&text).unwrap();
            let running = ProcessStat { ended: false, start_time: start };
            assert_eq!(stat, running);
            assert!(ProcessStat::parse(&text.replace(" S ", " Z ")).unwrap().ended);
        }
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        for bad in ["", "7 (a", "7 (a) ", "7 (a) S 1 2 3", "12 (a) S 1"] {
            assert_eq!(ProcessStat::parse(bad), None, "{bad:?}");
        }
    }
}
