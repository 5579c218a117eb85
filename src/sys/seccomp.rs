//! Filters of system calls: what one is made of, giving it to the kernel, and what this kernel knows of them.
//!
//! A filter is a program of classic BPF that the kernel runs before each system call of the thread and of all that comes
//! from it; it can never be taken off again. See seccomp(2) and linux/seccomp.h. What a program says is none of this
//! file's business.
#![expect(unsafe_code, reason = "seccomp has no safe wrapper")]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// The most instructions that a program may have (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// `SECCOMP_RET_KILL_PROCESS`.
pub const KILL_PROCESS: u32 = 0x8000_0000;
/// `SECCOMP_RET_KILL_THREAD`.
pub const KILL_THREAD: u32 = 0;
/// `SECCOMP_RET_TRAP`.
pub const TRAP: u32 = 0x0003_0000;
/// `SECCOMP_RET_ERRNO`; the number is in the lower half.
pub const ERRNO: u32 = 0x0005_0000;
/// `SECCOMP_RET_USER_NOTIF`.
pub const NOTIFY: u32 = 0x7fc0_0000;
/// `SECCOMP_RET_TRACE`; what the tracer gets is in the lower half.
pub const TRACE: u32 = 0x7ff0_0000;
/// `SECCOMP_RET_LOG`.
pub const LOG: u32 = 0x7ffc_0000;
/// `SECCOMP_RET_ALLOW`.
pub const ALLOW: u32 = 0x7fff_0000;

/// `SECCOMP_FILTER_FLAG_TSYNC`: for all threads of this process.
pub const FLAG_ALL_THREADS: u32 = 1;
/// `SECCOMP_FILTER_FLAG_LOG`: whatever is not allowed may be logged.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: no mitigation of speculative store bypass.
pub const FLAG_SPECULATION: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: make a descriptor on which notifications arrive.
pub const FLAG_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`: a thread that cannot follow is an error and not a number, which would be taken for
/// a descriptor.
const FLAG_THREADS_OR_ERROR: u32 = 1 << 4;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: while a notification is looked at, only a deadly signal interrupts.
pub const FLAG_WAIT_KILLABLE: u32 = 1 << 5;

/// Commands of seccomp(2).
const SET_FILTER: libc::c_uint = 1;
const GET_ACTION_AVAILABLE: libc::c_uint = 2;

/// One instruction, `struct sock_filter` of linux/filter.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What it does.
    pub operation: u16,
    /// How many instructions a jump skips when it is true.
    pub if_true: u8,
    /// How many otherwise.
    pub if_false: u8,
    /// What it does it with.
    pub value: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    count: libc::c_ushort,
    instructions: *const Instruction,
}

/// Puts `program` before each system call of this thread, or with [`FLAG_ALL_THREADS`] of this process, for ever.
/// With [`FLAG_LISTENER`] the descriptor is returned on which notifications arrive; it is close-on-exec.
///
/// # Errors
/// What seccomp(2) gives: `PermissionDenied` without CAP_SYS_ADMIN or no_new_privs, `InvalidInput` for a program or a
/// flag that the kernel does not understand, `ResourceBusy` when there is a listener already.
pub fn load(program: &[Instruction], flags: u32) -> io::Result<Option<OwnedFd>> {
    let count = program.len().try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = Program { count, instructions: program.as_ptr() };
    let flags = match flags & FLAG_ALL_THREADS {
        0 => flags,
        _ => flags | FLAG_THREADS_OR_ERROR,
    };
    // SAFETY: the structure and the instructions that it points to live through the call; the kernel copies them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_FILTER, flags, &raw const program) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        fd if flags & FLAG_LISTENER != 0 => {
            // SAFETY: the kernel has just made this descriptor for us.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }))
        }
        _ => Ok(None),
    }
}

/// Whether this kernel knows an action.
pub fn knows_action(action: u32) -> bool {
    // SAFETY: the kernel reads one number, which lives through the call.
    unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAILABLE, 0, &raw const action) == 0 }
}

/// Whether this kernel knows a flag of [`load`].
pub fn knows_flag(flag: u32) -> bool {
    // One that needs another is asked for along with it.
    let flags = if flag == FLAG_WAIT_KILLABLE { flag | FLAG_LISTENER } else { flag };
    // SAFETY: there is no program at the address 0, so that nothing is ever loaded: a flag that is known leads to EFAULT,
    // one that is not to EINVAL.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_FILTER, flags, std::ptr::null::<Program>()) };
    result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_it_knows() {
        for action in [KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, NOTIFY, TRACE, LOG, ALLOW] {
            assert!(knows_action(action), "{action:#x}");
        }
        assert!(!knows_action(0x1234_0000));
        for flag in [FLAG_ALL_THREADS, FLAG_LOG, FLAG_SPECULATION, FLAG_LISTENER, FLAG_WAIT_KILLABLE] {
            assert!(knows_flag(flag), "{flag:#x}");
        }
        assert!(!knows_flag(1 << 30));
    }

    #[test]
    fn a_program_that_is_none_is_refused() {
        let error = load(&[], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let endless = Instruction { operation: 0x05, if_true: 0, if_false: 0, value: 7 };
        assert_eq!(load(&[endless], 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let many = vec![endless; 70_000];
        assert_eq!(load(&many, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
