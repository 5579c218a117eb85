//! What a program says of a system call, without the kernel: for decisions that the launch of a container makes before it
//! loads the filter, and for tests. It understands what [`super::assemble`] writes and what libseccomp writes.

use crate::runtime::seccomp::assemble::{AND, JUMP, JUMP_AT_LEAST, JUMP_EQUAL, JUMP_GREATER, LOAD, RETURN};
use crate::sys::seccomp::Instruction;

/// `BPF_JMP | BPF_JSET | BPF_K`, which only others use.
const JUMP_BITS: u16 = 0x45;

/// One system call, as a filter sees it (`struct seccomp_data` of linux/seccomp.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub number: u32,
    /// The audit number of the way it came.
    pub audit: u32,
    /// From where in the program.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

impl Call {
    /// The word at `offset` bytes; none beyond the end or between words.
    fn word(&self, offset: u32) -> Option<u32> {
        let half = |value: u64, second: bool| {
            let upper = second == cfg!(target_endian = "little");
            if upper { (value >> 32) as u32 } else { value as u32 }
        };
        match (offset / 4, offset % 4) {
            (0, 0) => Some(self.number),
            (1, 0) => Some(self.audit),
            (index @ 2..=3, 0) => Some(half(self.instruction_pointer, index == 3)),
            (index @ 4..=15, 0) => Some(half(self.arguments[(index as usize - 4) / 2], index % 2 == 1)),
            _ => None,
        }
    }
}

/// What `program` returns; none when it does something that no filter of system calls does.
pub fn answer(program: &[Instruction], call: &Call) -> Option<u32> {
    let (mut at, mut loaded) = (0, 0);
    // Jumps only lead forward, so this ends.
    loop {
        let Instruction { operation, if_true, if_false, value } = *program.get(at)?;
        at += 1;
        let jump = |yes: bool| usize::from(if yes { if_true } else { if_false });
        match operation {
            LOAD => loaded = call.word(value)?,
            AND => loaded &= value,
            JUMP => at += value as usize,
            JUMP_EQUAL => at += jump(loaded == value),
            JUMP_GREATER => at += jump(loaded > value),
            JUMP_AT_LEAST => at += jump(loaded >= value),
            JUMP_BITS => at += jump(loaded & value != 0),
            RETURN => return Some(value),
            _ => return None,
        }
    }
}
