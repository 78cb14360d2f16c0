//! `/proc/<pid>/stat`, in which a process decides the name.
//!
//! Whatever the name is, the state and the start time are the kernel's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use storm_oci_request::ProcessStat;

fuzz_target!(|name: &str| {
    let _ = ProcessStat::parse(name);
    for (state, ended) in [("S", false), ("Z", true)] {
        let text = format!(
            "7 ({name}) {state} 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 6421 8 9 10 18446744\n"
        );
        let stat = ProcessStat { ended, start_time: 6421 };
        assert_eq!(ProcessStat::parse(&text), Some(stat));
    }
});
