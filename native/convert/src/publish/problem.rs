//! What is wrong with what a store has.

use std::fmt;

use storm_oci_store::{Digest, Location};

/// An object of a store that is not as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The object.
    pub location: Location,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with an object.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// It is not there.
    Missing,
    /// A layer whose file has no side file, or an unusable one: nobody can tell whether its bytes
    /// are right.
    NoSideFile,
    /// It is longer or shorter than promised, in bytes.
    Size {
        /// As it should be.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// It has other bytes than promised.
    Digest {
        /// As it should be.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// Not everybody may read it.
    Mode(u16),
    /// It cannot be read, or not as what it should be.
    Unusable(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.location, self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("is missing"),
            Self::NoSideFile => formatter.write_str("has no usable side file"),
            Self::Size { expected, found } => {
                write!(formatter, "has {found} bytes instead of {expected}")
            }
            Self::Digest { expected, found } => {
                write!(formatter, "has digest {found} instead of {expected}")
            }
            Self::Mode(mode) => write!(formatter, "has mode {mode:04o}, which not all may read"),
            Self::Unusable(why) => write!(formatter, "cannot be used: {why}"),
        }
    }
}
