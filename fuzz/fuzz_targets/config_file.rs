//! `worker-launcher.cfg`.
//!
//! What is accepted and written out again with every default is the same configuration, and no
//! path of it has a `..`. Every mistake is a short line with something to do about it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use storm_oci_request::{Config, ConfigMistake};

fuzz_target!(|bytes: &[u8]| {
    let parse = |bytes: &[u8]| {
        Config::parse(bytes, |name| match name.as_str() {
            "root" => Ok(0),
            "none" => Err(ConfigMistake::new("no such group", "groupadd")),
            other => Ok(u32::try_from(other.len()).unwrap()),
        })
    };
    let config = match parse(bytes) {
        Ok(config) => config,
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for ConfigMistake { problem, fix } in mistakes {
                assert!(!problem.is_empty() && !fix.is_empty());
                assert!(!problem.contains(char::is_control) && problem.len() < 4096, "{problem:?}");
            }
            return;
        }
    };
    assert_ne!(config.group_id, 0);
    let mut paths = vec![&config.run_root, &config.runc];
    for list in [&config.ro_mounts, &config.rw_mounts, &config.layer_dirs] {
        paths.extend(list.iter().flatten());
    }
    paths.extend(&config.profiler_script);
    for path in paths {
        assert!(path.as_str().starts_with('/'), "{path}");
        assert!(path.as_str().split('/').all(|component| component != ".."), "{path}");
    }
    let lines = config.effective.iter().map(|(key, text)| format!("{key} = {text}\n"));
    assert_eq!(parse(lines.collect::<String>().as_bytes()), Ok(config));
});
