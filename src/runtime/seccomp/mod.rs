//! The filter of system calls: the specification's `linux.seccomp` to a program for the kernel.
//!
//! ```text
//! rules     the profile, read and checked; what it means for each number       abi     ways into the kernel, names
//! assemble  instructions with jumps, from the end to the beginning             ask     a program's answer, without kernel
//! notify    the descriptor of notifications to the agent
//!
//! load the audit number
//!   its own?       load the call's number ──▶ a balanced tree of ranges ──▶ return, or compare arguments, then return
//!   32-bit's?      load the call's number ──▶ …
//!   another's      return KILL
//! ```
//!
//! A profile names single numbers, but neighbours mostly share a fate: some eighty ranges are left of Docker's four hundred
//! calls, which a tree of comparisons finds in seven steps. Ways into the kernel that the machine does not have are
//! left out, ones that it has and the profile does not name lead to KILL, but for the machine's own, which is always in.
//!
//! [`compile`] touches nothing and takes any input, however absurd. It is called by the container's creator before anything
//! is forked; [`Filter::load`] by the container's process as the last thing before it executes the program.

mod abi;
pub mod ask;
mod assemble;
pub(crate) mod notify;
mod rules;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag, LinuxSeccompOperator, Spec};

pub use abi::Machine;

use crate::base::{Context as _, Error, Result};
use crate::runtime::seccomp::abi::{Abi, X32_BIT};
use crate::runtime::seccomp::assemble::{Assembler, JUMP_AT_LEAST, JUMP_EQUAL, JUMP_GREATER, Label};
use crate::runtime::seccomp::rules::{Condition, Decision, Range, Rules};
use crate::sys::seccomp::{self, Instruction, MAX_INSTRUCTIONS};

/// Where the call's number is in what a filter is asked about (`struct seccomp_data` of linux/seccomp.h).
const NUMBER: u32 = 0;
/// Where the audit number is.
const AUDIT: u32 = 4;
/// Where the first argument is; each has eight bytes.
const ARGUMENTS: u32 = 16;

/// A profile that is ready for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    program: Vec<Instruction>,
    flags: u32,
    listener: Option<Listener>,
    /// The action for each range of the machine's own numbers; none where arguments decide.
    actions: Vec<(u32, Option<u32>)>,
    abi: Abi,
}

/// Who is told of system calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The agent's socket.
    pub path: PathBuf,
    /// What it is told beside.
    pub metadata: Option<String>,
}

/// The filter that a specification asks for.
///
/// # Errors
/// As [`compile`].
pub fn of(spec: &Spec) -> Result<Option<Filter>> {
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    profile.map(compile).transpose().context(|| "reading the seccomp profile")
}

/// Makes the program for this machine.
///
/// # Errors
/// `invalid_argument` for a profile that contradicts the specification or is too large for the kernel; `unsupported` on a
/// kind of machine that there are no tables for.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter> {
    let machine = Machine::own().ok_or_else(|| {
        Error::unsupported(format!("seccomp filters for {}", std::env::consts::ARCH))
            .with_hint("use the security option seccomp=unconfined")
    })?;
    compile_for(machine, profile)
}

/// As [`compile`], for a machine of another kind.
///
/// # Errors
/// As [`compile`].
pub fn compile_for(machine: Machine, profile: &LinuxSeccomp) -> Result<Filter> {
    let rules = Rules::read(profile)?;
    let listener = listener(profile, &rules)?;
    let named = |abi: &&Abi| profile.architectures().iter().flatten().any(|arch| *arch == abi.arch());
    let own = machine.abis()[0];
    let mut program = Assembler::default();
    let kill = program.end(seccomp::KILL_THREAD);
    let mut ways = kill;
    let mut actions = Vec::new();
    // Last things first: see `assemble`. x32 is found inside of the machine's own way, which therefore comes first here.
    for abi in machine.abis().iter().filter(|abi| **abi == own || named(abi)).filter(|abi| **abi != Abi::X32) {
        let ranges = rules.ranges(*abi);
        let x32 = [Abi::X32].into_iter().find(|x32| *abi == Abi::X86_64 && named(&x32));
        let start = match x32 {
            Some(x32) => {
                let others = tree(&mut program, &rules.ranges(x32), x32, rules.default)?;
                let own = tree(&mut program, &ranges, *abi, rules.default)?;
                program.branch(JUMP_AT_LEAST, X32_BIT, others, own)
            }
            None if *abi == Abi::X86_64 => {
                // -1 is what is left of a call that a tracer took away.
                let minus_one = program.end(rules.default);
                let kill = program.end(seccomp::KILL_THREAD);
                let others = program.branch(JUMP_EQUAL, u32::MAX, minus_one, kill);
                let own = tree(&mut program, &ranges, *abi, rules.default)?;
                program.branch(JUMP_AT_LEAST, X32_BIT, others, own)
            }
            None => tree(&mut program, &ranges, *abi, rules.default)?,
        };
        let start = program.load(NUMBER, start);
        ways = program.branch(JUMP_EQUAL, abi.audit(), start, ways);
        if *abi == own {
            actions = ranges.iter().map(action).collect();
        }
    }
    program.load(AUDIT, ways);
    check_length(&program)?;
    let flags = flags(profile, listener.is_some());
    Ok(Filter { program: program.finish(), flags, listener, actions, abi: own })
}

/// The flags of a profile that this kernel knows, as the specification calls them.
pub fn supported_flags() -> Vec<&'static str> {
    let flags = [
        ("SECCOMP_FILTER_FLAG_LOG", seccomp::FLAG_LOG),
        ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", seccomp::FLAG_SPECULATION),
        ("SECCOMP_FILTER_FLAG_TSYNC", seccomp::FLAG_ALL_THREADS),
        ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", seccomp::FLAG_WAIT_KILLABLE),
    ];
    flags.into_iter().filter(|(_, flag)| seccomp::knows_flag(*flag)).map(|(name, _)| name).collect()
}

impl Filter {
    /// Puts the filter before each further system call of this process. Returns the descriptor of notifications when the
    /// profile notifies somebody.
    ///
    /// # Errors
    /// What seccomp(2) gives, above all `permission_denied` for a process that has neither CAP_SYS_ADMIN nor
    /// no_new_privs.
    pub fn load(&self) -> Result<Option<OwnedFd>> {
        seccomp::load(&self.program, self.flags).context(|| "loading the seccomp filter")
    }

    /// The program.
    pub fn program(&self) -> &[Instruction] {
        &self.program
    }

    /// The flags that it is loaded with.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Who is told of system calls, when a rule says so.
    pub fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// What happens to the machine's own system call `name` whatever its arguments are; none when they matter, or when
    /// there is no such call.
    pub fn action(&self, name: &str) -> Option<u32> {
        let mut number = None;
        self.abi.each(|known, of| {
            if of == name {
                number = Some(known);
            }
        });
        let number = number?;
        let behind = self.actions.partition_point(|(first, _)| *first <= number);
        self.actions[behind.checked_sub(1)?].1
    }

    /// Whether the machine's own system call `name` is carried out whatever its arguments are.
    pub fn allows(&self, name: &str) -> bool {
        matches!(self.action(name), Some(seccomp::ALLOW | seccomp::LOG))
    }
}

impl Listener {
    /// The agent of a specification's profile, if that has one.
    pub(crate) fn of(spec: &Spec) -> Option<Listener> {
        let profile = spec.linux().as_ref()?.seccomp().as_ref()?;
        Some(Listener { path: profile.listener_path().clone()?, metadata: profile.listener_metadata().clone() })
    }
}

fn action(range: &Range) -> (u32, Option<u32>) {
    match &range.decision {
        Decision::Always(action) => (range.first, Some(*action)),
        Decision::First(_) => (range.first, None),
    }
}

fn listener(profile: &LinuxSeccomp, rules: &Rules<'_>) -> Result<Option<Listener>> {
    let path = profile.listener_path().clone().filter(|path| !path.as_os_str().is_empty());
    let metadata = profile.listener_metadata().clone();
    match path {
        None if metadata.as_ref().is_some_and(|metadata| !metadata.is_empty()) => {
            Err(Error::invalid("seccomp listenerMetadata is set, but listenerPath is not"))
        }
        None if rules.notifies => {
            Err(Error::invalid("a rule has SCMP_ACT_NOTIFY, but seccomp listenerPath is not set"))
        }
        // Without such a rule the specification wants the path to be ignored.
        path => Ok(path.filter(|_| rules.notifies).map(|path| Listener { path, metadata })),
    }
}

fn flags(profile: &LinuxSeccomp, listens: bool) -> u32 {
    let one = |flag: &LinuxSeccompFilterFlag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => seccomp::FLAG_LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => seccomp::FLAG_ALL_THREADS,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => seccomp::FLAG_SPECULATION,
        // The kernel refuses it where nobody listens, though there it changes nothing.
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if !listens => 0,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => seccomp::FLAG_WAIT_KILLABLE,
    };
    let flags = match profile.flags() {
        Some(flags) => flags.iter().map(one).fold(0, |all, one| all | one),
        // runc and crun: containers do not pay for the mitigation unless the profile has a list of flags without this one.
        None => seccomp::FLAG_SPECULATION,
    };
    if listens { flags | seccomp::FLAG_LISTENER } else { flags }
}

/// A balanced tree of comparisons that finds the range of the loaded number.
fn tree(program: &mut Assembler, ranges: &[Range], abi: Abi, default: u32) -> Result<Label> {
    if let [range] = ranges {
        return decision(program, &range.decision, abi, default);
    }
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let first = right[0].first;
    let right = tree(program, right, abi, default)?;
    let left = tree(program, left, abi, default)?;
    Ok(program.branch(JUMP_AT_LEAST, first, right, left))
}

fn decision(program: &mut Assembler, decision: &Decision, abi: Abi, default: u32) -> Result<Label> {
    match decision {
        Decision::Always(action) => Ok(program.end(*action)),
        Decision::First(rules) => {
            let mut next = program.end(default);
            for (conditions, action) in rules.iter().rev() {
                let otherwise = next;
                let mut fits = program.end(*action);
                for condition in conditions.iter().rev() {
                    fits = compare(program, condition, abi, fits, otherwise);
                }
                next = fits;
                check_length(program)?;
            }
            Ok(next)
        }
    }
}

fn check_length(program: &Assembler) -> Result<()> {
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Error::invalid(format!(
            "the seccomp profile is too large: its program has more than the {MAX_INSTRUCTIONS} instructions that the kernel takes"
        )));
    }
    Ok(())
}

/// Goes on at `yes` when the condition holds, otherwise at `no`.
fn compare(program: &mut Assembler, condition: &Condition, abi: Abi, yes: Label, no: Label) -> Label {
    use LinuxSeccompOperator as Op;
    // Four operators are enough: the others are their opposites.
    let (yes, no) = match condition.operator {
        Op::ScmpCmpNe | Op::ScmpCmpLt | Op::ScmpCmpLe => (no, yes),
        Op::ScmpCmpEq | Op::ScmpCmpGe | Op::ScmpCmpGt | Op::ScmpCmpMaskedEq => (yes, no),
    };
    let word = ARGUMENTS + 8 * condition.index as u32;
    let (low, high) = if cfg!(target_endian = "little") { (word, word + 4) } else { (word + 4, word) };
    let halves = |value: u64| (value as u32, (value >> 32) as u32);
    let (value, upper_value) = halves(condition.value);
    match condition.operator {
        Op::ScmpCmpMaskedEq => {
            let (masked, upper_masked) = halves(condition.masked & condition.value);
            let mut next = yes;
            if value != 0 {
                next = program.branch(JUMP_EQUAL, masked, next, no);
                next = program.mask(value, next);
                next = program.load(low, next);
            }
            if abi.is_wide() && upper_value != 0 {
                next = program.branch(JUMP_EQUAL, upper_masked, next, no);
                next = program.mask(upper_value, next);
                next = program.load(high, next);
            }
            next
        }
        Op::ScmpCmpEq | Op::ScmpCmpNe => {
            let mut next = program.branch(JUMP_EQUAL, value, yes, no);
            next = program.load(low, next);
            if abi.is_wide() {
                next = program.branch(JUMP_EQUAL, upper_value, next, no);
                next = program.load(high, next);
            }
            next
        }
        Op::ScmpCmpGe | Op::ScmpCmpLt | Op::ScmpCmpGt | Op::ScmpCmpLe => {
            let strict = matches!(condition.operator, Op::ScmpCmpGt | Op::ScmpCmpLe);
            let comparison = if strict { JUMP_GREATER } else { JUMP_AT_LEAST };
            let mut next = program.branch(comparison, value, yes, no);
            next = program.load(low, next);
            if abi.is_wide() {
                next = program.branch(JUMP_EQUAL, upper_value, next, no);
                next = program.branch(JUMP_GREATER, upper_value, yes, next);
                next = program.load(high, next);
            }
            next
        }
    }
}

#[cfg(test)]
mod tests;
