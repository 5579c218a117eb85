//! Device rules of cgroup version 2: a small program in the kernel that is asked whenever a process of the cgroup makes or
//! opens a device node (BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15). It goes away with the cgroup.
//!
//! [`program`] turns rules into instructions, [`replace`] gives them to the kernel. Format: the kernel's
//! Documentation/bpf/standardization/instruction-set.rst, and `struct bpf_cgroup_dev_ctx` in linux/bpf.h. Version 1 has
//! files for the same rules; nothing here knows of them.
#![expect(unsafe_code, reason = "bpf has no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

/// Making a node.
pub const MAKE: u32 = 1;
/// Opening for reading.
pub const READ: u32 = 2;
/// Opening for writing.
pub const WRITE: u32 = 4;
/// Everything.
pub const ALL: u32 = MAKE | READ | WRITE;

/// What kind of nodes a rule is about, as the kernel numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    /// Block devices.
    Block = 1,
    /// Character devices.
    Char = 2,
}

/// One rule. Later rules win over earlier ones; what no rule speaks of is allowed, as in version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// The kind of nodes; none means both.
    pub nodes: Option<Nodes>,
    /// The driver's number; none means all.
    pub major: Option<u32>,
    /// Which of the driver's devices; none means all.
    pub minor: Option<u32>,
    /// [`MAKE`], [`READ`], [`WRITE`]. An allowed use needs all of what it does in one rule; a denied one, any.
    pub access: u32,
}

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    operation: u8,
    /// Destination in the lower half, source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Registers by what they hold. The kernel hands the question over in [`QUESTION`] and reads [`ANSWER`].
const ANSWER: u8 = 0;
const QUESTION: u8 = 1;
const NODES: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

const LOAD_WORD: u8 = 0x61;
const COPY: u8 = 0xbf;
const SET: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// `PROG_LOAD`, `PROG_ATTACH`, `PROG_DETACH`, `PROG_GET_FD_BY_ID`, `PROG_QUERY`: commands of bpf(2).
const LOAD_PROGRAM: libc::c_int = 5;
const ATTACH_PROGRAM: libc::c_int = 8;
const DETACH_PROGRAM: libc::c_int = 9;
const OPEN_PROGRAM: libc::c_int = 13;
const QUERY_PROGRAMS: libc::c_int = 16;
/// `BPF_PROG_TYPE_CGROUP_DEVICE`, `BPF_CGROUP_DEVICE`, `BPF_F_ALLOW_MULTI`, `BPF_F_REPLACE`.
const TYPE_DEVICE: u32 = 15;
const ATTACH_DEVICE: u32 = 6;
const BESIDE_OTHERS: u32 = 2;
const IN_PLACE_OF: u32 = 4;
/// As many programs as the kernel attaches to one cgroup (`BPF_CGROUP_MAX_PROGS`).
const MOST: usize = 64;

/// The start of `union bpf_attr` for [`LOAD_PROGRAM`]; the kernel takes what is not passed as zero.
#[repr(C)]
struct LoadProgram {
    kind: u32,
    instructions_count: u32,
    instructions: u64,
    license: u64,
}

/// The start of `union bpf_attr` for [`ATTACH_PROGRAM`].
#[repr(C)]
struct AttachProgram {
    cgroup: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// The start of `union bpf_attr` for [`QUERY_PROGRAMS`].
#[repr(C)]
struct QueryPrograms {
    cgroup: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// The start of `union bpf_attr` for [`OPEN_PROGRAM`].
#[repr(C)]
struct OpenProgram {
    id: u32,
    next_id: u32,
    flags: u32,
}

/// The program that answers 1 for what the rules allow and 0 for what they deny; none when nothing is ever denied.
pub fn program(rules: &[Rule]) -> Option<Vec<Instruction>> {
    if rules.iter().all(|rule| rule.allow) {
        return None;
    }
    let set = |register, immediate| step(SET, register, 0, immediate);
    let mut program = vec![
        // The kind of nodes lies in the lower half of the first word, the access in the upper.
        load(NODES, 0),
        step(COPY, ACCESS | NODES << 4, 0, 0),
        step(AND, NODES, 0, 0xffff),
        step(SHIFT_RIGHT, ACCESS, 0, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    let mut decided = false;
    // The last rule that fits decides, so it is asked first.
    for rule in rules.iter().rev() {
        let conditions = conditions(rule);
        let answer = [set(ANSWER, i32::from(rule.allow)), step(EXIT, 0, 0, 0)];
        let end = conditions.len() + answer.len();
        for (index, mut condition) in conditions.into_iter().enumerate() {
            if matches!(condition.operation, JUMP_IF_EQUAL | JUMP_UNLESS_EQUAL) {
                // To the next rule, counted from the instruction that follows.
                condition.offset = i16::try_from(end - index - 1).expect("a rule has few instructions");
            }
            program.push(condition);
        }
        program.extend(answer);
        if end == answer.len() {
            // It fits always: the kernel refuses a program with instructions that are never reached.
            decided = true;
            break;
        }
    }
    if !decided {
        program.extend([set(ANSWER, 1), step(EXIT, 0, 0, 0)]);
    }
    Some(program)
}

/// Lets `program` decide for the processes of the cgroup with the folder `cgroup`, in place of those that did; none takes
/// them away. There is no moment in which nothing decides.
///
/// # Errors
/// What bpf(2) gives: `EPERM` without CAP_SYS_ADMIN, `EINVAL` when the kernel has no such programs.
pub fn replace(program: Option<&[Instruction]>, cgroup: &Path) -> io::Result<()> {
    let folder = File::open(cgroup)?;
    let mut old = attached(&folder)?;
    if let Some(program) = program {
        let loaded = load_program(program)?;
        let mut attach = AttachProgram {
            cgroup: folder.as_raw_fd() as u32,
            program: loaded.as_raw_fd() as u32,
            kind: ATTACH_DEVICE,
            flags: BESIDE_OTHERS,
            replaced: 0,
        };
        // In one step where there is one; Linux before 5.6 cannot, and has both for a moment.
        let mut done = false;
        if let Some(last) = old.last() {
            attach.flags = BESIDE_OTHERS | IN_PLACE_OF;
            attach.replaced = last.as_raw_fd() as u32;
            done = bpf(ATTACH_PROGRAM, &mut attach).is_ok();
        }
        if done {
            old.pop();
        } else {
            attach.flags = BESIDE_OTHERS;
            attach.replaced = 0;
            bpf(ATTACH_PROGRAM, &mut attach)?;
        }
    }
    for one in old {
        let (cgroup, program) = (folder.as_raw_fd() as u32, one.as_raw_fd() as u32);
        bpf(DETACH_PROGRAM, &mut AttachProgram { cgroup, program, kind: ATTACH_DEVICE, flags: 0, replaced: 0 })?;
    }
    Ok(())
}

fn load_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut load = LoadProgram {
        kind: TYPE_DEVICE,
        instructions_count: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
    };
    let fd = bpf(LOAD_PROGRAM, &mut load)?;
    // SAFETY: the kernel has just made this descriptor for us; it is close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The programs that decide about devices in this cgroup itself.
fn attached(folder: &File) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MOST];
    let mut query = QueryPrograms {
        cgroup: folder.as_raw_fd() as u32,
        kind: ATTACH_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        padding: 0,
    };
    bpf(QUERY_PROGRAMS, &mut query)?;
    let count = (query.count as usize).min(MOST);
    let mut programs = Vec::with_capacity(count);
    for id in &ids[..count] {
        match bpf(OPEN_PROGRAM, &mut OpenProgram { id: *id, next_id: 0, flags: 0 }) {
            // SAFETY: the kernel has just made this descriptor for us; it is close-on-exec.
            Ok(fd) => programs.push(unsafe { OwnedFd::from_raw_fd(fd) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // somebody took it away meanwhile
            Err(error) => return Err(error),
        }
    }
    Ok(programs)
}

/// bpf(2) with the start of its union; what is not passed is zero to the kernel.
fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the structure is one of ours above, lives through the call and its size is passed; what it points to lives
    // in the caller's frame, and buffers have the length that the structure says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

/// Jumps that leave the rule when it does not fit; their offsets are still open.
fn conditions(rule: &Rule) -> Vec<Instruction> {
    let unless = |register, value: u32| step(JUMP_UNLESS_EQUAL, register, 0, value as i32);
    let mut conditions = Vec::new();
    conditions.extend(rule.nodes.map(|nodes| unless(NODES, nodes as u32)));
    if rule.access & ALL != ALL {
        let (mask, jump) = if rule.allow {
            (ALL & !rule.access, JUMP_UNLESS_EQUAL) // something is asked that this rule does not give
        } else {
            (rule.access & ALL, JUMP_IF_EQUAL) // nothing is asked that this rule denies
        };
        conditions.push(step(COPY, SCRATCH | ACCESS << 4, 0, 0));
        conditions.push(step(AND, SCRATCH, 0, mask as i32));
        conditions.push(step(jump, SCRATCH, 0, 0));
    }
    conditions.extend(rule.major.map(|major| unless(MAJOR, major)));
    conditions.extend(rule.minor.map(|minor| unless(MINOR, minor)));
    conditions
}

fn load(register: u8, offset: i16) -> Instruction {
    step(LOAD_WORD, register | QUESTION << 4, offset, 0)
}

fn step(operation: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { operation, registers, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY_ALL: Rule = Rule { allow: false, nodes: None, major: None, minor: None, access: ALL };

    fn allow(nodes: Nodes, major: Option<u32>, minor: Option<u32>, access: u32) -> Rule {
        Rule { allow: true, nodes: Some(nodes), major, minor, access }
    }

    /// What the program answers: a small machine for the instructions that are used.
    fn ask(program: &[Instruction], nodes: Nodes, access: u32, major: u32, minor: u32) -> bool {
        let question = [u64::from(access << 16 | nodes as u32), major.into(), minor.into()];
        let mut registers = [0u64; 7];
        let mut at = 0;
        loop {
            let Instruction { operation, registers: pair, offset, immediate } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let value = i64::from(immediate) as u64;
            at += 1;
            let mut jump_if = |yes: bool| at += if yes { usize::try_from(offset).unwrap() } else { 0 };
            match operation {
                LOAD_WORD => registers[to] = question[usize::try_from(offset).unwrap() / 4],
                COPY => registers[to] = registers[from],
                SET => registers[to] = value,
                AND => registers[to] &= value,
                SHIFT_RIGHT => registers[to] >>= value,
                JUMP_IF_EQUAL => jump_if(registers[to] == value),
                JUMP_UNLESS_EQUAL => jump_if(registers[to] != value),
                EXIT => return registers[usize::from(ANSWER)] == 1,
                other => panic!("operation {other:#x}"),
            }
        }
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        let zero_but_not_for_writing =
            Rule { allow: false, nodes: Some(Nodes::Char), major: Some(1), minor: Some(5), access: WRITE };
        let rules = [
            DENY_ALL,
            allow(Nodes::Char, None, None, MAKE),
            allow(Nodes::Char, Some(1), Some(3), ALL),
            allow(Nodes::Char, Some(1), Some(5), ALL),
            zero_but_not_for_writing,
            allow(Nodes::Char, Some(136), None, ALL),
        ];
        let program = program(&rules).unwrap();
        let ask = |nodes, access, major, minor| ask(&program, nodes, access, major, minor);
        assert!(ask(Nodes::Char, READ | WRITE, 1, 3));
        assert!(!ask(Nodes::Block, READ, 1, 3), "another kind");
        assert!(!ask(Nodes::Char, READ, 1, 4), "another minor");
        assert!(ask(Nodes::Char, MAKE, 10, 200));
        assert!(!ask(Nodes::Char, READ, 10, 200));
        assert!(!ask(Nodes::Char, MAKE | READ, 10, 200), "one rule must give all that is asked");
        assert!(ask(Nodes::Char, READ, 1, 5));
        assert!(!ask(Nodes::Char, READ | WRITE, 1, 5), "a part is denied");
        assert!(ask(Nodes::Char, ALL, 136, 77));
        assert!(!ask(Nodes::Block, MAKE, 8, 0));
    }

    #[test]
    fn what_no_rule_speaks_of_is_allowed() {
        let rule = Rule { allow: false, nodes: Some(Nodes::Block), major: Some(8), minor: None, access: ALL };
        let program = program(&[rule]).unwrap();
        assert!(!ask(&program, Nodes::Block, READ, 8, 1));
        assert!(ask(&program, Nodes::Block, READ, 9, 1));
    }

    #[test]
    fn without_a_denial_there_is_no_program() {
        assert_eq!(program(&[]), None);
        assert_eq!(program(&[Rule { allow: true, ..DENY_ALL }]), None);
        assert!(program(&[DENY_ALL]).is_some());
    }
}
