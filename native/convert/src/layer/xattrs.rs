//! Which extended attributes a layer keeps.

use super::warnings::WarningKind;

/// What becomes of an attribute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Kept,
    Dropped(WarningKind),
}

/// What becomes of the attribute of this name. `is_plain` says that it is a file's or directory's.
///
/// Only what an unprivileged reader may rely on is kept: capabilities and what applications note. A
/// layer's own marks for overlayfs would redirect it into other layers.
pub(super) fn fate(name: &[u8], is_plain: bool) -> Fate {
    let begins = |prefix: &str| name.starts_with(prefix.as_bytes());
    if name == b"security.capability" {
        Fate::Kept
    } else if begins("trusted.") {
        Fate::Dropped(WarningKind::TrustedAttribute)
    } else if begins("user.overlay.") {
        Fate::Dropped(WarningKind::OverlayAttribute)
    } else if name == b"security.selinux" {
        Fate::Dropped(WarningKind::SelinuxLabel)
    } else if begins("system.posix_acl_") {
        Fate::Dropped(WarningKind::AccessControlList)
    } else if !begins("user.") || name == b"user." {
        Fate::Dropped(WarningKind::OtherAttribute)
    } else if is_plain {
        Fate::Kept
    } else {
        Fate::Dropped(WarningKind::UserAttributeOnSpecialFile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_capabilities_and_user_attributes_are_kept() {
        for kept in ["security.capability", "user.a", "user.overlay", "user.overlays.a"] {
            assert_eq!(fate(kept.as_bytes(), true), Fate::Kept, "{kept}");
        }
        let rows = [
            ("trusted.overlay.opaque", WarningKind::TrustedAttribute),
            ("trusted.a", WarningKind::TrustedAttribute),
            ("user.overlay.opaque", WarningKind::OverlayAttribute),
            ("security.selinux", WarningKind::SelinuxLabel),
            ("security.ima", WarningKind::OtherAttribute),
            ("security.capability.", WarningKind::OtherAttribute),
            ("system.posix_acl_access", WarningKind::AccessControlList),
            ("system.posix_acl_default", WarningKind::AccessControlList),
            ("system.nfs4_acl", WarningKind::OtherAttribute),
            ("user.", WarningKind::OtherAttribute),
            ("user", WarningKind::OtherAttribute),
            ("USER.a", WarningKind::OtherAttribute),
        ];
        for (name, kind) in rows {
            assert_eq!(fate(name.as_bytes(), true), Fate::Dropped(kind), "{name}");
        }
        let special = Fate::Dropped(WarningKind::UserAttributeOnSpecialFile);
        assert_eq!(fate(b"user.a", false), special);
        assert_eq!(fate(b"security.capability", false), Fate::Kept);
    }
}
