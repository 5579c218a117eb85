//! Instructions with jumps to be resolved: a program is written from its end to its beginning, so that whatever an
//! instruction leads to stands already and its distance is known. Nothing here knows of system calls.

use crate::sys::seccomp::Instruction;

/// Operations of linux/bpf_common.h, as far as filters of system calls have them.
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// Where an instruction stands, counted from the program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program under way.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// Last instruction first.
    reversed: Vec<Instruction>,
    /// The nearest instruction that returns a value.
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    /// How many instructions there are.
    pub(super) fn len(&self) -> usize {
        self.reversed.len()
    }

    /// The program, first instruction first.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    /// Ends the program with `value`.
    pub(super) fn end(&mut self, value: u32) -> Label {
        let known = self.returns.iter().position(|(known, _)| *known == value);
        if let Some(index) = known
            && self.is_near(self.returns[index].1)
        {
            return self.returns[index].1;
        }
        let label = self.push(RETURN, 0, 0, value);
        match known {
            Some(index) => self.returns[index].1 = label,
            None => self.returns.push((value, label)),
        }
        label
    }

    /// Loads the word at `offset` of what the filter is asked about, then goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.straight(LOAD, offset, next)
    }

    /// Keeps the bits of `mask` of what is loaded, then goes on at `next`.
    pub(super) fn mask(&mut self, mask: u32, next: Label) -> Label {
        self.straight(AND, mask, next)
    }

    /// Compares what is loaded with `value` and goes on at one of two places.
    pub(super) fn branch(&mut self, comparison: u16, value: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let (yes, no) = (self.within_reach(yes), self.within_reach(no));
        // The second place may have been pushed out of the first one's reach by at most one instruction: `is_near` leaves
        // room for that.
        let (if_true, if_false) = (self.distance(yes), self.distance(no));
        let narrow = |distance: usize| u8::try_from(distance).expect("within reach");
        self.push(comparison, narrow(if_true), narrow(if_false), value)
    }

    fn straight(&mut self, operation: u16, value: u32, next: Label) -> Label {
        if self.distance(next) > 0 {
            self.jump(next);
        }
        self.push(operation, 0, 0, value)
    }

    fn jump(&mut self, to: Label) -> Label {
        let distance = u32::try_from(self.distance(to)).expect("a program is short");
        match self.reversed[to.0] {
            // Shorter than to jump there.
            Instruction { operation: RETURN, value, .. } => {
                let label = self.push(RETURN, 0, 0, value);
                for known in self.returns.iter_mut().filter(|known| known.0 == value) {
                    known.1 = label;
                }
                label
            }
            _ => self.push(JUMP, 0, 0, distance),
        }
    }

    fn within_reach(&mut self, label: Label) -> Label {
        if self.is_near(label) { label } else { self.jump(label) }
    }

    /// A conditional jump that comes next, or after one further instruction, reaches it.
    fn is_near(&self, label: Label) -> bool {
        self.distance(label) < usize::from(u8::MAX)
    }

    /// How many instructions the one that comes next would have to skip.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - 1 - label.0
    }

    fn push(&mut self, operation: u16, if_true: u8, if_false: u8, value: u32) -> Label {
        self.reversed.push(Instruction { operation, if_true, if_false, value });
        Label(self.reversed.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::seccomp::ask::{Call, answer};

    #[test]
    fn what_is_out_of_reach_is_reached_over_a_jump() {
        for between in [0, 1, 252, 253, 254, 255, 256, 257, 1000] {
            let mut program = Assembler::default();
            let far = program.end(7);
            let far = program.load(0, far); // no return, which would be repeated instead
            let mut near = program.end(8);
            for value in 0..between {
                near = program.branch(JUMP_EQUAL, 1_000_000 + value, far, near);
            }
            let start = program.branch(JUMP_AT_LEAST, 5, far, near);
            program.load(0, start);
            let program = program.finish();
            let ask = |number| answer(&program, &Call { number, ..Call::default() });
            assert_eq!((ask(4), ask(5), ask(1_000_000)), (Some(8), Some(7), Some(7)), "{between}");
        }
    }

    #[test]
    fn two_equal_ways_are_one() {
        let mut program = Assembler::default();
        let end = program.end(1);
        assert_eq!(program.branch(JUMP_EQUAL, 1, end, end), end);
        assert_eq!(program.end(1), end);
        assert_eq!(program.len(), 1);
    }
}
