//! What a layer has that its file cannot, and that no error is made of.

use std::collections::BTreeMap;
use std::fmt;

/// What was noticed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum WarningKind {
    /// A `trusted.*` attribute was dropped: overlayfs would obey some of them.
    TrustedAttribute,
    /// A `user.overlay.*` attribute was dropped: overlayfs may obey it.
    OverlayAttribute,
    /// A `security.selinux` label was dropped: it is the host's to give.
    SelinuxLabel,
    /// A POSIX access control list was dropped: squashfs has none.
    AccessControlList,
    /// A `user.*` attribute was dropped that is on neither a file nor a directory: Linux has none.
    UserAttributeOnSpecialFile,
    /// Another attribute was dropped.
    OtherAttribute,
    /// A character device 0:0 was kept: it hides what lower layers have.
    WhiteoutDevice,
}

impl WarningKind {
    /// The kind as words joined by hyphens, for machines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TrustedAttribute => "trusted-attribute",
            Self::OverlayAttribute => "overlay-attribute",
            Self::SelinuxLabel => "selinux-label",
            Self::AccessControlList => "access-control-list",
            Self::UserAttributeOnSpecialFile => "user-attribute-on-special-file",
            Self::OtherAttribute => "other-attribute",
            Self::WhiteoutDevice => "whiteout-device",
        }
    }
}

impl fmt::Display for WarningKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TrustedAttribute => "trusted.* attribute dropped",
            Self::OverlayAttribute => "user.overlay.* attribute dropped",
            Self::SelinuxLabel => "security.selinux attribute dropped",
            Self::AccessControlList => "access control list dropped",
            Self::UserAttributeOnSpecialFile => "user.* attribute of a special file dropped",
            Self::OtherAttribute => "attribute that layers do not keep dropped",
            Self::WhiteoutDevice => "character device 0:0 hides what lower layers have",
        })
    }
}

/// A sort of warning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Warning {
    /// What was noticed.
    pub kind: WarningKind,
    /// How often.
    pub count: u64,
    /// The first file it was noticed at, cut to a length that fits a message.
    pub first: String,
}

/// Warnings, counted by kind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Warnings(BTreeMap<WarningKind, Warning>);

impl Warnings {
    /// Each kind there is, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = &Warning> {
        self.0.values()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, kind: WarningKind, path: impl FnOnce() -> String) {
        let warning = self.0.entry(kind);
        warning.or_insert_with(|| Warning { kind, count: 0, first: path() }).count += 1;
    }
}
