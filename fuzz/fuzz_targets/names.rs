//! Ids, account names, layer keys (digests), paths and lists of processors.
//!
//! What is accepted is accepted again as the same. A name is one path component, fit for a shell, a
//! cgroup and a file. A path is absolute and has no `..`; what lies below what is decided as the
//! standard library decides it, by component.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use storm_oci_request::{
    AccountName, CgroupPath, ContainerId, CpuList, FileIdentity, HostPath, LayerKey,
    SystemCallName, WorkerId,
};

fuzz_target!(|text: &str| {
    if let Ok(id) = ContainerId::parse(text) {
        check_name(text, id.as_str());
        let worker = id.worker_id();
        assert_eq!(WorkerId::parse(worker.as_str()).as_ref(), Ok(&worker));
        let port = text.strip_suffix(worker.as_str()).and_then(|port| port.strip_suffix('-'));
        assert_eq!(ContainerId::new(port.unwrap().parse().unwrap(), &worker), id);
        let parent = CgroupPath::parse("/storm").unwrap();
        let cgroup = CgroupPath::of(&parent, &id);
        assert_eq!(CgroupPath::parse(cgroup.as_str()), Ok(cgroup));
    }
    if let Ok(id) = WorkerId::parse(text) {
        check_name(text, id.as_str());
        assert_eq!(text.len(), 36);
    }
    if let Ok(name) = AccountName::parse(text) {
        check_name(text, name.as_str());
    }
    if let Ok(key) = LayerKey::parse(text) {
        check_name(text, key.as_str());
        assert_eq!(text.len(), 64);
    }
    if let Ok(name) = SystemCallName::parse(text) {
        check_name(text, name.as_str());
    }
    if let Ok(list) = CpuList::parse(text) {
        assert!(list.as_str().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b',' | b'-')));
        assert_eq!(CpuList::parse(list.as_str()), Ok(list));
    }
    if let Ok(path) = CgroupPath::parse(text) {
        check_path(text, path.as_str());
        assert_eq!(format!("/{}", path.relative()), path.as_str());
        assert!(!path.relative().is_empty() && !path.as_str().contains(':'));
        assert_eq!(CgroupPath::parse(path.as_str()), Ok(path));
    }
    let (left, right) = text.split_once('\n').unwrap_or((text, "/"));
    if let (Ok(left), Ok(right)) = (HostPath::parse(left), HostPath::parse(right)) {
        check_path(text.lines().next().unwrap(), left.as_str());
        assert_eq!(HostPath::parse(left.as_str()).as_ref(), Ok(&left));
        let std = Path::new(left.as_str()).starts_with(right.as_str());
        assert_eq!(left.starts_with(&right), std, "{left} {right}");
        assert!(left.numbered(7).starts_with(&left));
        assert_eq!(HostPath::parse(left.numbered(7).as_str()).is_ok(), left.as_str().len() < 4094);
        assert_eq!(left.components().count(), Path::new(left.as_str()).components().count() - 1);
    }
    if let Some((head, _)) = text.as_bytes().split_first_chunk::<8>() {
        let inode = u64::from_le_bytes(*head);
        let identity =
            FileIdentity { device: 1, inode, size: 3, modified_seconds: 4, modified_nanos: 5 };
        let key = LayerKey::of(identity);
        assert_eq!(LayerKey::parse(key.as_str()), Ok(key));
    }
});

fn check_name(given: &str, kept: &str) {
    assert_eq!(given, kept);
    assert!(!matches!(kept, "" | "." | ".."), "{kept}");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    assert!(kept.bytes().all(plain) && !kept.starts_with(['-', '.']), "{kept}");
}

fn check_path(given: &str, kept: &str) {
    assert!(given == kept || given.strip_suffix('/') == Some(kept), "{given} {kept}");
    assert!(kept.starts_with('/') && !kept.contains(char::is_control) && kept.len() <= 4095);
    assert!(kept == "/" || kept[1..].split('/').all(|part| !matches!(part, "" | "." | "..")));
}
