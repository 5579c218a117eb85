//! Capabilities of the calling thread, as sets of bits. The one door to `caps`, which knows their names.
//!
//! It decides nothing: whoever asks says which sets, and what the kernel refuses is an error here.

use std::io;

use caps::Capability;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::base::{Context as _, Error, Result};

/// A set of capabilities: the kernel's bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Set(u64);

/// `CAP_SYS_ADMIN` alone.
pub const SYS_ADMIN: Set = Set(1 << 21);

impl Set {
    /// The set of the capabilities `names`, `CAP_CHOWN`, and the names that no capability has.
    pub fn parse<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> (Set, Vec<String>) {
        let (mut set, mut unknown) = (Set::default(), Vec::new());
        for name in names {
            match name.as_ref().parse::<Capability>() {
                Ok(capability) => set.0 |= capability.bitmask(),
                Err(_) => unknown.push(name.as_ref().to_owned()),
            }
        }
        (set, unknown)
    }

    /// What is in both.
    pub fn and(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }

    /// What is in either.
    pub fn or(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    /// What is here and not there.
    pub fn without(self, other: Set) -> Set {
        Set(self.0 & !other.0)
    }

    /// Nothing is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All of `other` is in it.
    pub fn has(self, other: Set) -> bool {
        other.without(self).is_empty()
    }

    /// The names, sorted; `CAP_41` for one that has none yet.
    pub fn names(self) -> Vec<String> {
        let known = caps::all();
        let name = |bit: u32| match known.iter().find(|capability| u32::from(capability.index()) == bit) {
            Some(capability) => capability.to_string(),
            None => format!("CAP_{bit}"),
        };
        let mut names: Vec<String> = (0..64).filter(|bit| self.0 & 1 << bit != 0).map(name).collect();
        names.sort();
        names
    }
}

/// The five sets of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What no program can ever exceed.
    pub bounding: Set,
    /// What counts.
    pub effective: Set,
    /// What can become effective.
    pub permitted: Set,
    /// What survives execve for files that say so; empty unless asked for (CVE-2022-29162).
    pub inheritable: Set,
    /// What survives execve for everyone else; empty unless asked for (CVE-2016-8867).
    pub ambient: Set,
}

/// Drops everything that is not in `keep` from the bounding set, while the right to do so is still there. That includes
/// capabilities of a kernel newer than this program.
///
/// # Errors
/// What prctl(2) gives; to have nothing to drop is never an error.
pub fn limit_bounding(keep: Set) -> Result<()> {
    // Asking whether each is there would cost as many system calls again; dropping what is not there does nothing.
    for bit in (0..64).filter(|bit| keep.0 & 1 << bit == 0) {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break, // behind the kernel's last one
            Err(rustix::io::Errno::PERM) if rustix::thread::capability_is_in_bounding_set(one) == Ok(false) => {}
            Err(errno) => {
                let doing = format!("dropping {} from the bounding set", Set(1 << bit).names().join(""));
                return Err(Error::from(io::Error::from(errno)).context(doing));
            }
        }
    }
    Ok(())
}

/// Takes the other four sets as far as they are permitted now, so that a plan for the whole machine also works for an
/// engine with less; nothing else is ever added. `meanwhile` stays permitted and effective until the next program.
///
/// # Errors
/// What capset(2) and prctl(2) give.
pub fn apply(wanted: &Capabilities, meanwhile: Set) -> Result<()> {
    let doing: fn() -> &'static str = || "setting capabilities";
    let have = Set(own(doing)?.permitted.bits());
    let permitted = wanted.permitted.and(have);
    // What is bounded cannot be made inheritable (capabilities(7)).
    let (effective, inheritable) = (wanted.effective.and(permitted), wanted.inheritable.and(have).and(wanted.bounding));
    let meanwhile = meanwhile.and(have);
    rustix::thread::clear_ambient_capability_set().map_err(io::Error::from).context(doing)?;
    let bits = |set: Set| CapabilitySet::from_bits_retain(set.0);
    let sets = CapabilitySets {
        effective: bits(effective.or(meanwhile)),
        permitted: bits(permitted.or(meanwhile)),
        inheritable: bits(inheritable),
    };
    take(sets, doing)?;
    let ambient = wanted.ambient.and(permitted).and(inheritable);
    for bit in (0..64).filter(|bit| ambient.0 & 1 << bit != 0) {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        rustix::thread::configure_capability_in_ambient_set(one, true).map_err(io::Error::from).context(doing)?;
    }
    Ok(())
}

/// Makes every permitted capability effective.
///
/// # Errors
/// What capset(2) gives.
pub fn raise_all() -> Result<()> {
    let doing: fn() -> &'static str = || "raising capabilities";
    let mut sets = own(doing)?;
    sets.effective = sets.permitted;
    take(sets, doing)
}

/// Every capability that there is, `CAP_CHOWN` and so on, sorted.
pub fn known() -> Vec<String> {
    let mut names: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    names.sort();
    names
}

/// The capabilities that this process has in effect and could pass on.
///
/// # Errors
/// `failed` when the kernel does not tell.
pub fn held_set() -> Result<Set> {
    let effective = own(|| "reading capabilities")?.effective.bits();
    let bounding = (0..64).map(|bit| 1 << bit).filter(|one| effective & one != 0).filter(|one| {
        // What the kernel does not know is not held.
        rustix::thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(*one)).unwrap_or(false)
    });
    Ok(Set(bounding.fold(0, |all, one| all | one)))
}

/// As [`held_set`] by name: `CAP_CHOWN` and so on, sorted.
///
/// # Errors
/// `failed` when the kernel does not tell.
pub fn held() -> Result<Vec<String>> {
    Ok(held_set()?.names())
}

fn own(doing: fn() -> &'static str) -> Result<CapabilitySets> {
    rustix::thread::capabilities(None).map_err(io::Error::from).context(doing)
}

fn take(sets: CapabilitySets, doing: fn() -> &'static str) -> Result<()> {
    rustix::thread::set_capabilities(None, sets).map_err(io::Error::from).context(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_bits_and_bits_names() {
        let (set, unknown) = Set::parse(["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_NOPE", "chown"]);
        assert_eq!(set.names(), ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
        assert_eq!(unknown, ["CAP_NOPE", "chown"]);
        assert!(set.has(SYS_ADMIN) && !SYS_ADMIN.has(set));
        assert_eq!(set.without(SYS_ADMIN).or(Set(1 << 60)).names(), ["CAP_60", "CAP_CHOWN"]);
    }

    #[test]
    fn every_known_capability_has_its_own_bit() {
        let (all, unknown) = Set::parse(known());
        assert_eq!(unknown, Vec::<String>::new());
        assert_eq!(all.names(), known());
        assert_eq!(all.0.count_ones() as usize, known().len());
    }

    #[test]
    fn what_is_held_is_what_the_kernel_says() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let set = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        assert_eq!(held_set().unwrap(), Set(set("CapEff:") & set("CapBnd:")));
    }
}
