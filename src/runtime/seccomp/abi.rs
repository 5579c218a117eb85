//! The ways into the kernel that a machine has, and what system calls are called there.
//!
//! A 64-bit kernel serves several kinds of programs, each with numbers of its own. A filter sees which kind it is in the
//! audit number of the call (linux/audit.h), but for x32, which shares x86_64's and sets a bit in the call's number.
//! Numbers come from the crate `syscalls`; what that does not have is here: x32's own numbers (the kernel's
//! arch/x86/entry/syscalls/syscall_64.tbl), ARM's private calls (arch/arm/include/uapi/asm/unistd.h), and the calls that
//! hide behind `socketcall` and `ipc` (linux/net.h, linux/ipc.h).

use oci_spec::runtime::Arch;

/// Set in the number of each system call of an x32 program.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// What kind of machine a filter is for: the ones that Rhumb knows the system calls of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit x86, which runs x86 and x32 programs as well.
    X86_64,
    /// 64-bit ARM, which runs ARM programs as well.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
}

/// One way into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    Riscv64,
}

impl Machine {
    /// The one that this program runs on; none when it is of another kind.
    pub fn own() -> Option<Machine> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Machine::X86_64),
            "aarch64" => Some(Machine::Aarch64),
            "riscv64" => Some(Machine::Riscv64),
            _ => None,
        }
    }

    /// As the specification calls it.
    pub fn arch(self) -> Arch {
        match self {
            Machine::X86_64 => Arch::ScmpArchX86_64,
            Machine::Aarch64 => Arch::ScmpArchAarch64,
            Machine::Riscv64 => Arch::ScmpArchRiscv64,
        }
    }

    /// Every way into its kernel, its own first.
    pub(super) fn abis(self) -> &'static [Abi] {
        match self {
            Machine::X86_64 => &[Abi::X86_64, Abi::X86, Abi::X32],
            Machine::Aarch64 => &[Abi::Aarch64, Abi::Arm],
            Machine::Riscv64 => &[Abi::Riscv64],
        }
    }
}

impl Abi {
    /// As the specification calls it.
    pub(super) fn arch(self) -> Arch {
        match self {
            Abi::X86_64 => Arch::ScmpArchX86_64,
            Abi::X86 => Arch::ScmpArchX86,
            Abi::X32 => Arch::ScmpArchX32,
            Abi::Aarch64 => Arch::ScmpArchAarch64,
            Abi::Arm => Arch::ScmpArchArm,
            Abi::Riscv64 => Arch::ScmpArchRiscv64,
        }
    }

    /// The audit number: the ELF machine, with 0x80000000 for 64 bits and 0x40000000 for little endian.
    pub(super) fn audit(self) -> u32 {
        match self {
            Abi::X86_64 | Abi::X32 => 0xc000_003e,
            Abi::X86 => 0x4000_0003,
            Abi::Aarch64 => 0xc000_00b7,
            Abi::Arm => 0x4000_0028,
            Abi::Riscv64 => 0xc000_00f3,
        }
    }

    /// Whether arguments have 64 bits. Of the others only the lower half is looked at, on either side of a comparison, so
    /// that a profile can write -1 once for all; libseccomp does the same.
    pub(super) fn is_wide(self) -> bool {
        matches!(self, Abi::X86_64 | Abi::Aarch64 | Abi::Riscv64)
    }

    /// Calls every system call's number and name, in rising order but for the few that are appended.
    pub(super) fn each(self, mut call: impl FnMut(u32, &'static str)) {
        match self {
            Abi::X86_64 => x86_64(call),
            Abi::X32 => {
                x86_64(|number, name| {
                    if !NOT_ON_X32.contains(&name) && !X32_OWN.iter().any(|(_, own)| *own == name) {
                        call(number | X32_BIT, name);
                    }
                });
                X32_OWN.iter().for_each(|(number, name)| call(number | X32_BIT, name));
            }
            Abi::X86 => {
                use syscalls::x86::Sysno;
                each_of(Sysno::last().id(), |id| Sysno::new(id).map(|call| call.name()), call);
            }
            Abi::Aarch64 => {
                use syscalls::aarch64::Sysno;
                each_of(Sysno::last().id(), |id| Sysno::new(id).map(|call| call.name()), &mut call);
                // Called so by the kernel's own headers and by every profile.
                call(Sysno::fstatat as u32, "newfstatat");
            }
            Abi::Riscv64 => {
                use syscalls::riscv64::Sysno;
                each_of(Sysno::last().id(), |id| Sysno::new(id).map(|call| call.name()), call);
            }
            Abi::Arm => {
                use syscalls::arm::Sysno;
                each_of(Sysno::last().id(), |id| Sysno::new(id).map(|call| call.name()), &mut call);
                ARM_OWN.iter().for_each(|(number, name)| call(*number, name));
            }
        }
    }

    /// The system call that `name` hides behind as well, its number, and how it tells which one is meant.
    pub(super) fn multiplexed(self, name: &str) -> Option<Multiplexed> {
        if self != Abi::X86 {
            return None;
        }
        let find = |table: &[(u32, &str)]| table.iter().find(|(_, known)| *known == name).map(|(code, _)| *code);
        match find(SOCKET_CALLS) {
            Some(code) => Some(Multiplexed { number: 102, code, mask: u32::MAX }),
            // The upper half is a version, which the kernel takes off before it looks which call is meant.
            None => find(IPC_CALLS).map(|code| Multiplexed { number: 117, code, mask: 0xffff }),
        }
    }
}

/// A system call that stands for several: its first argument says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Multiplexed {
    /// The number of the one.
    pub(super) number: u32,
    /// What its first argument is for the other.
    pub(super) code: u32,
    /// Which bits of the argument count.
    pub(super) mask: u32,
}

fn x86_64(call: impl FnMut(u32, &'static str)) {
    use syscalls::x86_64::Sysno;
    each_of(Sysno::last().id(), |id| Sysno::new(id).map(|call| call.name()), call);
}

fn each_of(last: i32, name: impl Fn(usize) -> Option<&'static str>, mut call: impl FnMut(u32, &'static str)) {
    for number in 0..=u32::try_from(last).unwrap_or(0) {
        if let Some(name) = name(number as usize) {
            call(number, name);
        }
    }
}

/// Calls of x86_64 that x32 has under a number of its own.
const X32_OWN: &[(u32, &str)] = &[
    (512, "rt_sigaction"),
    (513, "rt_sigreturn"),
    (514, "ioctl"),
    (515, "readv"),
    (516, "writev"),
    (517, "recvfrom"),
    (518, "sendmsg"),
    (519, "recvmsg"),
    (520, "execve"),
    (521, "ptrace"),
    (522, "rt_sigpending"),
    (523, "rt_sigtimedwait"),
    (524, "rt_sigqueueinfo"),
    (525, "sigaltstack"),
    (526, "timer_create"),
    (527, "mq_notify"),
    (528, "kexec_load"),
    (529, "waitid"),
    (530, "set_robust_list"),
    (531, "get_robust_list"),
    (532, "vmsplice"),
    (533, "move_pages"),
    (534, "preadv"),
    (535, "pwritev"),
    (536, "rt_tgsigqueueinfo"),
    (537, "recvmmsg"),
    (538, "sendmmsg"),
    (539, "process_vm_readv"),
    (540, "process_vm_writev"),
    (541, "setsockopt"),
    (542, "getsockopt"),
    (543, "io_setup"),
    (544, "io_submit"),
    (545, "execveat"),
    (546, "preadv2"),
    (547, "pwritev2"),
];

/// Calls of x86_64 that x32 does not have.
const NOT_ON_X32: &[&str] = &[
    "uselib",
    "_sysctl",
    "create_module",
    "get_kernel_syms",
    "query_module",
    "nfsservctl",
    "set_thread_area",
    "get_thread_area",
    "epoll_ctl_old",
    "epoll_wait_old",
    "vserver",
    "uretprobe",
    "uprobe",
];

/// Calls that ARM has beside the common ones, and a second name.
const ARM_OWN: &[(u32, &str)] = &[
    (341, "sync_file_range2"),
    (0x0f_0001, "breakpoint"),
    (0x0f_0002, "cacheflush"),
    (0x0f_0003, "usr26"),
    (0x0f_0004, "usr32"),
    (0x0f_0005, "set_tls"),
    (0x0f_0006, "get_tls"),
];

/// What hides behind `socketcall`.
const SOCKET_CALLS: &[(u32, &str)] = &[
    (1, "socket"),
    (2, "bind"),
    (3, "connect"),
    (4, "listen"),
    (5, "accept"),
    (6, "getsockname"),
    (7, "getpeername"),
    (8, "socketpair"),
    (9, "send"),
    (10, "recv"),
    (11, "sendto"),
    (12, "recvfrom"),
    (13, "shutdown"),
    (14, "setsockopt"),
    (15, "getsockopt"),
    (16, "sendmsg"),
    (17, "recvmsg"),
    (18, "accept4"),
    (19, "recvmmsg"),
    (20, "sendmmsg"),
];

/// What hides behind `ipc`.
const IPC_CALLS: &[(u32, &str)] = &[
    (1, "semop"),
    (2, "semget"),
    (3, "semctl"),
    (4, "semtimedop"),
    (11, "msgsnd"),
    (12, "msgrcv"),
    (13, "msgget"),
    (14, "msgctl"),
    (21, "shmat"),
    (22, "shmdt"),
    (23, "shmget"),
    (24, "shmctl"),
];
