//! The command line; the input is its arguments, each ended by a NUL as in `/proc/<pid>/cmdline`.
//!
//! A verb is taken in any case and with exactly its arguments, which are passed on unchanged; only
//! an option that stands alone acts for nobody. A number is digits with at most a minus sign.
#![no_main]

use libfuzzer_sys::fuzz_target;
use storm_oci_request::{Invocation, parse_command_line, parse_number};

fuzz_target!(|bytes: &[u8]| {
    let arguments: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let texts: Vec<String> =
        arguments.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    match parse_command_line(arguments) {
        Ok(Invocation::Tell(option)) => {
            assert_eq!(texts[1..], [option]);
            assert!(option.starts_with("--"));
        }
        Ok(Invocation::Act { user, verb, arguments }) => {
            assert_eq!(texts[1], user);
            assert!(texts[2].eq_ignore_ascii_case(verb) && !user.starts_with("--"));
            assert_eq!(texts[3..], arguments);
            assert!((1..=3).contains(&arguments.len()), "{verb}");
        }
        Err(error) => assert!(error.to_string().len() < 2048 && !error.problem.is_empty()),
    }
    for text in &texts {
        if let Ok(number) = parse_number::<i32>(text) {
            let digits = text.strip_prefix('-').unwrap_or(text);
            assert!(!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
            assert_eq!(text.parse(), Ok(number));
        }
        assert!(parse_number::<u32>(text).is_err() || !text.starts_with('-'));
    }
});
