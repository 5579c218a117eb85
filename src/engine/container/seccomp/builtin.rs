//! The default profile: the groups of `default.txt`, whose head says how they are written.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator, LinuxSyscall,
};

use crate::engine::container::seccomp::{Circumstances, Version};
use crate::runtime::seccomp::Machine;

const GROUPS: &str = include_str!("default.txt");
/// `EPERM`.
const NOT_PERMITTED: u32 = 1;

/// Docker's default profile for a container that has these capabilities (`CAP_CHOWN` and so on, its bounding set); none on a
/// kind of machine that there are no filters for.
pub(in crate::engine) fn default_profile(capabilities: &[String]) -> Option<LinuxSeccomp> {
    Circumstances::here(capabilities).map(|here| profile(&here))
}

fn profile(here: &Circumstances<'_>) -> LinuxSeccomp {
    let mut syscalls: Vec<LinuxSyscall> = Vec::new();
    let mut group: Option<(LinuxSeccompAction, Option<u32>, Vec<LinuxSeccompArg>)> = None;
    for line in GROUPS.lines().filter(|line| !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            group = read_head(head, here);
            continue;
        }
        let Some((action, errno, args)) = &group else { continue };
        let names: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if names.is_empty() {
            continue;
        }
        let add = |args: Option<Vec<LinuxSeccompArg>>| {
            let mut syscall = LinuxSyscall::default();
            syscall.set_names(names.clone()).set_action(*action).set_errno_ret(*errno).set_args(args);
            syscall
        };
        match args.as_slice() {
            [] => syscalls.push(add(None)),
            // Of several values one is enough: a rule for each.
            args => syscalls.extend(args.iter().map(|arg| add(Some(vec![*arg])))),
        }
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(NOT_PERMITTED))
        .set_architectures(Some(architectures(here.machine)))
        .set_syscalls(Some(syscalls));
    profile
}

fn architectures(machine: Machine) -> Vec<Arch> {
    match machine {
        Machine::X86_64 => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        Machine::Aarch64 => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        Machine::Riscv64 => vec![Arch::ScmpArchRiscv64],
    }
}

/// What a group does, unless its conditions leave it out.
fn read_head(head: &str, here: &Circumstances<'_>) -> Option<(LinuxSeccompAction, Option<u32>, Vec<LinuxSeccompArg>)> {
    const WRITTEN: &str = "default.txt is written as its head says";
    let mut words = head.split_whitespace();
    let (action, errno) = match words.next().expect(WRITTEN) {
        "errno" => (LinuxSeccompAction::ScmpActErrno, Some(words.next().and_then(|n| n.parse().ok()).expect(WRITTEN))),
        "allow" => (LinuxSeccompAction::ScmpActAllow, None),
        other => unreachable!("default.txt has no {other:?}"),
    };
    let mut args = Vec::new();
    for word in words {
        let (word, wanted) = word.strip_prefix('!').map_or((word, true), |word| (word, false));
        let (kind, value) = word.split_once(':').expect(WRITTEN);
        let holds = match kind {
            "cap" => here.has(value),
            "arch" => value.split(',').any(|name| name == here.machine_name()),
            "kernel" => here.kernel >= Version::parse(value).expect(WRITTEN),
            "arg" => {
                args = read_args(value).expect(WRITTEN);
                wanted
            }
            other => unreachable!("default.txt has no {other:?}"),
        };
        if holds != wanted {
            return None;
        }
    }
    Some((action, errno, args))
}

/// `0=1,2`, `0<12` or `0&0xf=0`.
fn read_args(text: &str) -> Option<Vec<LinuxSeccompArg>> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let index: usize = text.get(..1)?.parse().ok()?;
    let rest = text.get(1..)?;
    let arg = |op, value, two: Option<u64>| {
        let builder = LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
        match two {
            Some(two) => builder.value_two(two).build(),
            None => builder.build(),
        }
        .ok()
    };
    if let Some(values) = rest.strip_prefix('=') {
        let equal = |value| arg(LinuxSeccompOperator::ScmpCmpEq, number(value)?, None);
        values.split(',').map(equal).collect()
    } else if let Some(value) = rest.strip_prefix('<') {
        Some(vec![arg(LinuxSeccompOperator::ScmpCmpLt, number(value)?, None)?])
    } else {
        let (mask, value) = rest.strip_prefix('&')?.split_once('=')?;
        Some(vec![arg(LinuxSeccompOperator::ScmpCmpMaskedEq, number(mask)?, Some(number(value)?))?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::seccomp::ask::{Call, answer};
    use crate::runtime::seccomp::compile_for;

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;

    /// What happens to a call of x86_64.
    fn ask(capabilities: &[&str], kernel: Version, number: u32, argument: u64) -> u32 {
        let capabilities: Vec<String> = capabilities.iter().map(|name| format!("CAP_{name}")).collect();
        let here = Circumstances { capabilities: &capabilities, machine: Machine::X86_64, kernel };
        let filter = compile_for(Machine::X86_64, &profile(&here)).unwrap();
        let call = Call { audit: 0xc000_003e, number, arguments: [argument, 0, 0, 0, 0, 0], ..Call::default() };
        answer(filter.program(), &call).unwrap()
    }

    const NOW: Version = Version(6, 12);
    const MOUNT: u32 = 165;
    const UNSHARE: u32 = 272;
    const KEYCTL: u32 = 250;
    const BPF: u32 = 321;
    const PERF_EVENT_OPEN: u32 = 298;
    const CLONE: u32 = 56;
    const CLONE3: u32 = 435;
    const PERSONALITY: u32 = 135;
    const SOCKET: u32 = 41;
    const PTRACE: u32 = 101;
    const IO_URING_SETUP: u32 = 425;
    const CHROOT: u32 = 161;

    /// SECURITY 17 (CVE-2022-0492) and what else would lead to the kernel's rarer parts.
    #[test]
    fn what_leads_to_the_host_is_forbidden() {
        for number in [MOUNT, UNSHARE, KEYCTL, BPF, PERF_EVENT_OPEN, IO_URING_SETUP, 246, 304, 308, 323, 175, 169, 156]
        {
            assert_eq!(ask(&["SYS_CHROOT", "CHOWN"], NOW, number, 0), EPERM, "{number}");
        }
        // CLONE_NEWUSER, CLONE_NEWNS among harmless flags; and a thread.
        assert_eq!(ask(&[], NOW, CLONE, 0x1000_0011), EPERM);
        assert_eq!(ask(&[], NOW, CLONE, 0x0002_0011), EPERM);
        assert_eq!(ask(&[], NOW, CLONE, 0x003d_0f00), ALLOW);
        assert_eq!(ask(&[], NOW, CLONE3, 0), ENOSYS);
        assert_eq!([0, 8, 0x20000, 0x20008, 0xffff_ffff].map(|value| ask(&[], NOW, PERSONALITY, value)), [ALLOW; 5]);
        assert_eq!([0x0040_0000, 1].map(|value| ask(&[], NOW, PERSONALITY, value)), [EPERM; 2]);
        assert_eq!([1, 2, 10, 16, 17, 45].map(|family| ask(&[], NOW, SOCKET, family)), [ALLOW; 6]);
        assert_eq!([12, 38, 40, 46, 1 << 32].map(|family| ask(&[], NOW, SOCKET, family)), [EPERM; 5]);
        assert_eq!((ask(&[], NOW, PTRACE, 0), ask(&[], Version(4, 7), PTRACE, 0)), (ALLOW, EPERM));
        assert_eq!(ask(&[], NOW, 600, 0), ENOSYS);
    }

    #[test]
    fn capabilities_open_what_they_are_for() {
        let admin = [MOUNT, UNSHARE, BPF, PERF_EVENT_OPEN, CLONE3].map(|number| ask(&["SYS_ADMIN"], NOW, number, 0));
        assert_eq!(admin, [ALLOW; 5]);
        assert_eq!(ask(&["SYS_ADMIN"], NOW, CLONE, 0x1000_0000), ALLOW);
        assert_eq!(ask(&["SYS_ADMIN"], NOW, KEYCTL, 0), EPERM);
        let own = [
            ("DAC_READ_SEARCH", 304),
            ("SYS_BOOT", 169),
            ("SYS_CHROOT", CHROOT),
            ("SYS_MODULE", 313),
            ("SYS_PACCT", 163),
            ("SYS_PTRACE", 312),
            ("SYS_RAWIO", 172),
            ("SYS_TIME", 227),
            ("SYS_TTY_CONFIG", 153),
            ("SYS_NICE", 237),
            ("SYSLOG", 103),
            ("BPF", BPF),
            ("PERFMON", PERF_EVENT_OPEN),
        ];
        for (capability, number) in own {
            assert_eq!(ask(&[capability], NOW, number, 0), ALLOW, "{capability}");
            assert_eq!(ask(&["CHOWN"], NOW, number, 0), EPERM, "{capability}");
        }
    }

    #[test]
    fn every_machine_has_its_profile() {
        for machine in [Machine::X86_64, Machine::Aarch64, Machine::Riscv64] {
            let here = Circumstances { capabilities: &[], machine, kernel: NOW };
            let filter = compile_for(machine, &profile(&here)).unwrap();
            assert!(filter.allows("openat") && filter.allows("execve") && !filter.allows("mount"), "{machine:?}");
            assert!(filter.program().len() < 800, "{machine:?}: {}", filter.program().len());
        }
    }

    #[test]
    fn names_stand_once() {
        let mut names: Vec<&str> = GROUPS
            .lines()
            .skip_while(|line| *line != "[allow]")
            .skip(1)
            .take_while(|line| !line.is_empty())
            .flat_map(str::split_whitespace)
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
