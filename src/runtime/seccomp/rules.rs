//! A profile of the specification, read and checked, and what it means for each number of one way into the kernel.
//!
//! Where the specification leaves something open, it is as libseccomp and runc have it, since profiles are written for
//! those:
//!
//! - A rule whose action is the default one says nothing and is dropped.
//! - A rule without conditions beats every rule with conditions for the same call; of several, the first one counts. Of
//!   rules with conditions the first that fits counts.
//! - All conditions of a rule must hold; but if two are about the same argument, each is a rule of its own.
//! - A masked comparison looks at the masked bits on both sides.
//! - A name that no way into the kernel has is passed over: it may be another machine's, or newer than this program.
//! - When the default is an error, calls that are newer than the newest of the profile fail with ENOSYS and not with the
//!   profile's error, so that programs fall back to what is older. This is about errors alone: a default that kills or
//!   traps does so for every number.
//!
//! On x86, socket calls and System V ones can also be made through `socketcall` and `ipc`, whose own arguments are out of
//! a filter's sight. A rule without conditions covers that way too. One with conditions is applied there without them if it
//! is stricter than the default, and not at all if it is laxer: what the profile forbids stays forbidden.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};

use crate::base::{Error, Result};
use crate::runtime::seccomp::abi::{Abi, X32_BIT};
use crate::sys::seccomp;

/// `ENOSYS` of errno(3), the same on every machine that there is a table for.
pub(super) const NOT_IMPLEMENTED: u32 = seccomp::ERRNO | 38;
/// `EPERM`.
const NOT_PERMITTED: u32 = 1;
/// The kernel's `MAX_ERRNO`: beyond it, an error would be a pointer.
const MAX_ERRNO: u32 = 4095;
/// What a tracer gets has 16 bits.
const MAX_TRACE: u32 = 0xffff;
/// Where ARM's private calls begin.
const ARM_PRIVATE: u32 = 0x0f_0000;
/// System calls have six arguments.
const ARGUMENTS: usize = 6;

/// A profile, checked.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    /// What happens to calls that no rule is about.
    pub(super) default: u32,
    /// The rules that say something else, in the profile's order.
    rules: Vec<Rule>,
    /// The rules about each name.
    names: HashMap<&'a str, Vec<usize>>,
    /// A rule notifies.
    pub(super) notifies: bool,
}

#[derive(Debug)]
struct Rule {
    action: u32,
    /// It fits when one of these fits; none when it fits always. All conditions of one must hold.
    fits: Vec<Vec<Condition>>,
}

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument.
    pub(super) index: usize,
    /// How.
    pub(super) operator: LinuxSeccompOperator,
    /// With what; for a masked comparison, the mask.
    pub(super) value: u64,
    /// For a masked comparison, what must be left.
    pub(super) masked: u64,
}

/// What happens to one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Always the same.
    Always(u32),
    /// The action of the first that fits, otherwise the default.
    First(Vec<(Vec<Condition>, u32)>),
}

/// Numbers from `first` to the next range's first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) decision: Decision,
}

impl<'a> Rules<'a> {
    /// Reads a profile.
    ///
    /// # Errors
    /// `invalid_argument` for what the specification forbids or the kernel cannot do.
    pub(super) fn read(profile: &'a LinuxSeccomp) -> Result<Rules<'a>> {
        let default = action(profile.default_action(), profile.default_errno_ret())?;
        if default == seccomp::NOTIFY {
            // The container's first process could not even say that it has the descriptor for the agent.
            return Err(Error::invalid("SCMP_ACT_NOTIFY cannot be used as default action"));
        }
        let mut read = Rules { default, rules: Vec::new(), names: HashMap::new(), notifies: false };
        for syscall in profile.syscalls().iter().flatten() {
            read.add(syscall)?;
        }
        Ok(read)
    }

    fn add(&mut self, syscall: &'a LinuxSyscall) -> Result<()> {
        let action = action(syscall.action(), syscall.errno_ret())?;
        if syscall.names().is_empty() {
            return Err(Error::invalid("a seccomp rule names no system call"));
        }
        let conditions = syscall.args().iter().flatten().map(Condition::read).collect::<Result<Vec<_>>>()?;
        let repeated = (0..ARGUMENTS).any(|index| conditions.iter().filter(|one| one.index == index).count() > 1);
        let fits = match conditions {
            none if none.is_empty() => Vec::new(),
            conditions if repeated => conditions.into_iter().map(|condition| vec![condition]).collect(),
            conditions => vec![conditions],
        };
        let number = self.rules.len();
        for name in syscall.names() {
            if name.is_empty() {
                return Err(Error::invalid("an empty string is not a valid system call"));
            }
            if action == seccomp::NOTIFY && name == "write" {
                // The container's first process tells with it which descriptor is the agent's.
                return Err(Error::invalid("SCMP_ACT_NOTIFY cannot be used for the write syscall"));
            }
            let rules = self.names.entry(name).or_default();
            if action != self.default && rules.last() != Some(&number) {
                rules.push(number);
            }
        }
        self.notifies |= action == seccomp::NOTIFY;
        self.rules.push(Rule { action, fits });
        Ok(())
    }

    /// What happens to every number of `abi`, in rising order, from the lowest that it can have to the highest.
    pub(super) fn ranges(&self, abi: Abi) -> Vec<Range> {
        let mut applied: Vec<(u32, usize, Fits<'_>)> = Vec::new();
        let mut newest = None;
        abi.each(|number, name| {
            let Some(rules) = self.names.get(name) else { return };
            // ARM's private calls are far above the common ones, which alone grow.
            newest = newest.max(Some(number).filter(|number| *number < ARM_PRIVATE || abi != Abi::Arm));
            applied.extend(rules.iter().map(|rule| (number, *rule, Fits::Own(&self.rules[*rule].fits))));
        });
        let is_error = self.default & 0xffff_0000 == seccomp::ERRNO;
        let newest = newest.filter(|_| is_error);
        for (name, rules) in &self.names {
            let Some(by) = abi.multiplexed(name) else { continue };
            let which = Condition {
                index: 0,
                operator: LinuxSeccompOperator::ScmpCmpMaskedEq,
                value: by.mask.into(),
                masked: by.code.into(),
            };
            for rule in rules {
                let Rule { action, fits } = &self.rules[*rule];
                if fits.is_empty() || laxness(*action) < laxness(self.default) {
                    applied.push((by.number, *rule, Fits::When(which)));
                }
            }
        }
        applied.sort_by_key(|(number, rule, _)| (*number, *rule));
        let lowest = if abi == Abi::X32 { X32_BIT } else { 0 };
        let mut ranges = Vec::new();
        let mut next = lowest;
        for same in applied.chunk_by(|one, other| one.0 == other.0) {
            let number = same[0].0;
            if number > next {
                self.push_gap(&mut ranges, next, newest);
            }
            push(&mut ranges, number, self.decide(same));
            next = number + 1;
        }
        self.push_gap(&mut ranges, next, newest);
        ranges
    }

    /// What happens to the numbers from `first` on that no rule is about.
    fn push_gap(&self, ranges: &mut Vec<Range>, first: u32, newest: Option<u32>) {
        match newest {
            Some(newest) if newest < first => push(ranges, first, Decision::Always(NOT_IMPLEMENTED)),
            Some(newest) => {
                push(ranges, first, Decision::Always(self.default));
                push(ranges, newest + 1, Decision::Always(NOT_IMPLEMENTED));
            }
            None => push(ranges, first, Decision::Always(self.default)),
        }
    }

    fn decide(&self, applied: &[(u32, usize, Fits<'_>)]) -> Decision {
        let mut first = Vec::new();
        for (_, rule, fits) in applied {
            let action = self.rules[*rule].action;
            match fits {
                Fits::Own([]) => return Decision::Always(action),
                Fits::Own(ways) => first.extend(ways.iter().map(|conditions| (conditions.clone(), action))),
                Fits::When(which) => first.push((vec![*which], action)),
            }
        }
        Decision::First(first)
    }
}

/// When a rule fits a number.
enum Fits<'a> {
    /// As the profile says.
    Own(&'a [Vec<Condition>]),
    /// When a multiplexed call means it.
    When(Condition),
}

/// Adds a range; one that says the same as the one before is part of that, one that begins at the same number replaces it.
fn push(ranges: &mut Vec<Range>, first: u32, decision: Decision) {
    while ranges.last().is_some_and(|last| last.first >= first) {
        ranges.pop();
    }
    if ranges.last().is_none_or(|last| last.decision != decision) {
        ranges.push(Range { first, decision });
    }
}

impl Condition {
    fn read(arg: &LinuxSeccompArg) -> Result<Condition> {
        if arg.index() >= ARGUMENTS {
            return Err(Error::invalid(format!("a seccomp rule is about argument {}; the last one is 5", arg.index())));
        }
        let masked = arg.value_two().unwrap_or(0);
        Ok(Condition { index: arg.index(), operator: arg.op(), value: arg.value(), masked })
    }
}

/// The kernel's number for an action.
fn action(action: LinuxSeccompAction, number: Option<u32>) -> Result<u32> {
    let limit = match action {
        LinuxSeccompAction::ScmpActErrno => MAX_ERRNO,
        LinuxSeccompAction::ScmpActTrace => MAX_TRACE,
        _ => 0,
    };
    match number {
        Some(_) if limit == 0 => return Err(Error::invalid(format!("{action} has no errnoRet"))),
        Some(number) if number > limit => {
            return Err(Error::invalid(format!("the errnoRet {number} of {action} is above {limit}")));
        }
        _ => {}
    }
    let number = number.unwrap_or(NOT_PERMITTED);
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => seccomp::KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => seccomp::KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => seccomp::TRAP,
        LinuxSeccompAction::ScmpActErrno => seccomp::ERRNO | number,
        LinuxSeccompAction::ScmpActNotify => seccomp::NOTIFY,
        LinuxSeccompAction::ScmpActTrace => seccomp::TRACE | number,
        LinuxSeccompAction::ScmpActLog => seccomp::LOG,
        LinuxSeccompAction::ScmpActAllow => seccomp::ALLOW,
    })
}

/// The kernel's order of actions, strictest first: as signed numbers, without what is in the lower half.
fn laxness(action: u32) -> i32 {
    (action & 0xffff_0000) as i32
}
