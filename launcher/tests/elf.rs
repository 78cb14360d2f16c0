//! The program file itself: position independent, with nothing left to relocate while it runs,
//! and no path in it that libraries could be planted in.
//!
//! # References
//!
//! `elf(5)`
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test reads the program it was built with"
)]

use std::fs;

/// Just enough of a 64-bit little-endian ELF file.
struct Elf(Vec<u8>);

struct Segment {
    kind: u32,
    flags: u32,
    offset: usize,
    address: u64,
    size: usize,
}

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
const STACK: u32 = 0x6474_e551;
const RELRO: u32 = 0x6474_e552;
const EXECUTABLE: u32 = 1;

const NEEDED: u64 = 1;
const STRINGS: u64 = 5;
const RPATH: u64 = 15;
const TEXT_RELOCATIONS: u64 = 22;
const RUNPATH: u64 = 29;
const FLAGS: u64 = 30;
const FLAGS_1: u64 = 0x6fff_fffb;
const BIND_NOW: u64 = 8;
const NOW: u64 = 1;
const PIE: u64 = 0x0800_0000;

impl Elf {
    fn program() -> Self {
        let bytes = fs::read(env!("CARGO_BIN_EXE_worker-launcher")).expect("read the program");
        assert_eq!(bytes[..6], *b"\x7fELF\x02\x01", "64-bit little-endian ELF");
        Self(bytes)
    }

    fn number(&self, offset: usize, bytes: usize) -> u64 {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(&self.0[offset..offset + bytes]);
        u64::from_le_bytes(value)
    }

    fn size(&self, offset: usize) -> usize {
        usize::try_from(self.number(offset, 8)).expect("fits")
    }

    fn segments(&self) -> Vec<Segment> {
        let (table, length) = (self.size(32), self.number(54, 2));
        (0..self.number(56, 2))
            .map(|index| table + usize::try_from(index * length).expect("fits"))
            .map(|at| Segment {
                kind: u32::try_from(self.number(at, 4)).expect("32 bits"),
                flags: u32::try_from(self.number(at + 4, 4)).expect("32 bits"),
                offset: self.size(at + 8),
                address: self.number(at + 16, 8),
                size: self.size(at + 32),
            })
            .collect()
    }

    /// Tags and values of the dynamic section.
    fn dynamic(&self) -> Vec<(u64, u64)> {
        let segments = self.segments();
        let section = segments
            .iter()
            .find(|segment| segment.kind == DYNAMIC)
            .expect("accounts come through the name service, so glibc is linked dynamically");
        (section.offset..section.offset + section.size)
            .step_by(16)
            .map(|at| (self.number(at, 8), self.number(at + 8, 8)))
            .take_while(|(tag, _)| *tag != 0)
            .collect()
    }

    fn value(&self, tag: u64) -> Option<u64> {
        let entries = self.dynamic();
        entries.iter().find(|(found, _)| *found == tag).map(|(_, value)| *value)
    }

    fn string(&self, index: u64) -> String {
        let address = self.value(STRINGS).expect("a string table") + index;
        let segment = self
            .segments()
            .into_iter()
            .filter(|segment| segment.kind == LOAD)
            .find(|segment| {
                let end = segment.address + u64::try_from(segment.size).expect("fits");
                (segment.address..end).contains(&address)
            })
            .expect("the string table is loaded");
        let start = segment.offset + usize::try_from(address - segment.address).expect("fits");
        let bytes = self.0[start..].iter().take_while(|byte| **byte != 0);
        String::from_utf8(bytes.copied().collect()).expect("a library's name is text")
    }
}

#[test]
fn cve_2023_26031_no_library_path_is_compiled_in() {
    let program = Elf::program();
    assert_eq!(program.value(RPATH), None, "RPATH");
    assert_eq!(program.value(RUNPATH), None, "RUNPATH");
    for (_, index) in program.dynamic().iter().filter(|(tag, _)| *tag == NEEDED) {
        let name = program.string(*index);
        assert!(!name.contains('/'), "{name} is a path");
    }
}

#[test]
fn only_the_c_library_is_linked_at_run_time() {
    let program = Elf::program();
    let mut needed: Vec<String> = program
        .dynamic()
        .into_iter()
        .filter(|(tag, _)| *tag == NEEDED)
        .map(|(_, index)| program.string(index))
        .collect();
    needed.sort();
    needed.retain(|name| !name.starts_with("ld-linux"));
    assert_eq!(needed, ["libc.so.6", "libgcc_s.so.1"]);
}

#[test]
fn it_is_position_independent() {
    const SHARED_OBJECT: u64 = 3;
    let program = Elf::program();
    assert_eq!(program.number(16, 2), SHARED_OBJECT);
    assert!(program.segments().iter().any(|s| s.kind == INTERPRETER));
    assert_ne!(program.value(FLAGS_1).unwrap_or(0) & PIE, 0);
}

#[test]
fn nothing_is_relocated_while_it_runs() {
    let program = Elf::program();
    assert!(program.segments().iter().any(|s| s.kind == RELRO));
    let bound = program.value(FLAGS).unwrap_or(0) & BIND_NOW != 0
        || program.value(FLAGS_1).unwrap_or(0) & NOW != 0;
    assert!(bound, "symbols are bound before main");
    assert_eq!(program.value(TEXT_RELOCATIONS), None);
}

#[test]
fn no_memory_is_writable_and_executable() {
    const WRITABLE: u32 = 2;
    let program = Elf::program();
    for segment in program.segments() {
        if segment.kind == LOAD || segment.kind == STACK {
            let both = segment.flags & (WRITABLE | EXECUTABLE) == WRITABLE | EXECUTABLE;
            assert!(!both, "segment at {:#x}", segment.address);
        }
    }
    assert!(program.segments().iter().any(|s| s.kind == STACK));
}
