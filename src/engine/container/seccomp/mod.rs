//! The filter of system calls that a container gets: Docker's default, or a profile of the user's.
//!
//! ```text
//! builtin   the default, from default.txt         profile   a file in Docker's format or the specification's
//! ```
//!
//! Both are made of rules that hold under conditions: capabilities that the container has, the kind of machine, the
//! kernel's age. What comes out is the specification's `linux.seccomp`, where the conditions are decided. What that does,
//! and whether it makes sense, is the runtime's business ([`crate::runtime::seccomp`]).

mod builtin;
mod profile;

pub(in crate::engine) use builtin::default_profile;
pub(in crate::engine) use profile::parse_profile;

use crate::runtime::seccomp::Machine;
use crate::sys::machine;

/// What conditions are about.
#[derive(Debug, Clone, Copy)]
struct Circumstances<'a> {
    /// `CAP_CHOWN` and so on: the container's bounding set.
    capabilities: &'a [String],
    machine: Machine,
    kernel: Version,
}

/// A kernel's version, as far as conditions go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl<'a> Circumstances<'a> {
    /// On this machine; none where there are no filters to be had.
    fn here(capabilities: &'a [String]) -> Option<Circumstances<'a>> {
        // A kernel that does not say its version is new enough for anything.
        let kernel = Version::parse(&machine::facts().kernel).unwrap_or(Version(u32::MAX, 0));
        Some(Circumstances { capabilities, machine: Machine::own()?, kernel })
    }

    fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|held| held == capability)
    }

    /// As profiles call the machine: Go's names.
    fn machine_name(&self) -> &'static str {
        match self.machine {
            Machine::X86_64 => "amd64",
            Machine::Aarch64 => "arm64",
            Machine::Riscv64 => "riscv64",
        }
    }
}

impl Version {
    /// `6.18.44-anything`.
    fn parse(text: &str) -> Option<Version> {
        let mut parts = text.splitn(3, '.');
        let number = |part: &str| part.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
        Some(Version(number(parts.next()?)?, number(parts.next()?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert_eq!(Version::parse("6.18.44-fc-v657"), Some(Version(6, 18)));
        assert_eq!(Version::parse("4.8"), Some(Version(4, 8)));
        assert_eq!(Version::parse("5.10-rc1"), Some(Version(5, 10)));
        assert!(Version(4, 19) > Version(4, 8));
        for none in ["", "5", "x.y", ".", "99999999999.1"] {
            assert_eq!(Version::parse(none), None, "{none:?}");
        }
    }
}
