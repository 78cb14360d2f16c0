//! The table of cgroup mounts, `/proc/<pid>/mountinfo`.
//!
//! A line as the kernel writes it is read back as it was meant, whatever bytes the mount point
//! has; a cgroup's directory is below the mount point, or there is none.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use storm_oci_request::{CgroupMount, CgroupPath};

fuzz_target!(|input: &str| {
    if let Some(mount) = CgroupMount::parse(input) {
        check_directory(&mount);
    }
    let mut texts = input.split('\0');
    let (Some(root), Some(point), Some(options)) = (texts.next(), texts.next(), texts.next())
    else {
        return;
    };
    let (root, point) = (format!("/{root}"), format!("/{point}"));
    let options: String = options.split_ascii_whitespace().collect();
    for kind in ["cgroup", "cgroup2"] {
        let line = format!(
            "31 29 0:27 {} {} rw,nosuid shared:9 - {kind} source rw,{options}",
            escaped(&root),
            escaped(&point)
        );
        let mount = CgroupMount::parse(&line).unwrap();
        assert_eq!((mount.root.as_str(), mount.mount_point.to_str().unwrap()), (&*root, &*point));
        assert!(mount.has("rw") && options.split(',').all(|option| mount.has(option)), "{line}");
        check_directory(&mount);
    }
});

fn check_directory(mount: &CgroupMount) {
    for cgroup in ["/storm", "/storm/6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", "/a"] {
        let directory = mount.directory(&CgroupPath::parse(cgroup).unwrap());
        if let Some(directory) = directory {
            assert!(directory.starts_with(&mount.mount_point), "{directory:?}");
            assert!(Path::new(cgroup).starts_with(&mount.root), "{mount:?}");
        }
    }
}

/// As the kernel writes a path: blank, tab, newline and backslash in octal.
fn escaped(path: &str) -> String {
    let mut text = String::new();
    for character in path.chars() {
        match character {
            ' ' | '\t' | '\n' | '\\' => text += &format!("\\{:03o}", u32::from(character)),
            other => text.push(other),
        }
    }
    text
}
