//! When, where and how soon a process runs: CPU scheduling, CPU affinity, I/O priority, execution domain.
//!
//! All of it is about the calling process and passes on to what it executes. What is allowed is the kernel's to say.
#![expect(unsafe_code, reason = "sched_setattr, sched_setaffinity, ioprio_set and personality have no safe wrapper")]

use std::io;

use crate::base::{Error, Result};

/// The most CPUs that a list can name: what distributions configure kernels for at most (`NR_CPUS`).
const MAX_CPUS: usize = 8192;

/// How the CPU scheduler treats a process, sched(7); `struct sched_attr` without its clamps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19, for the policies that share time.
    pub nice: i32,
    /// 1 to 99, for the real-time policies.
    pub priority: u32,
    /// Nanoseconds in each period, for deadlines.
    pub runtime: u64,
    /// Nanoseconds from the start of a period.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// `struct sched_attr` in its first version (sched_setattr(2)).
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Makes the scheduler treat this process so.
///
/// # Errors
/// What sched_setattr(2) gives.
pub fn set_scheduling(wanted: Scheduling) -> io::Result<()> {
    let Scheduling { policy, flags, nice, priority, runtime, deadline, period } = wanted;
    let size = size_of::<Attributes>() as u32;
    let attributes = Attributes { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the kernel reads as many bytes as the structure says of itself, which lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the class (1 real-time, 2 best effort, 3 idle) and the level (0 first, 7 last) of this process's I/O.
///
/// # Errors
/// What ioprio_set(2) gives.
pub fn set_io_priority(class: u16, level: u16) -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_SHIFT: u32 = 13;
    let value = libc::c_int::from(class) << CLASS_SHIFT | libc::c_int::from(level);
    // SAFETY: a plain system call without pointers.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the execution domain, personality(2).
///
/// # Errors
/// What personality(2) gives.
pub fn set_personality(domain: u32) -> io::Result<()> {
    // SAFETY: a plain system call without pointers.
    match unsafe { libc::personality(libc::c_ulong::from(domain)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// CPUs by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus(Vec<libc::c_ulong>);

impl Cpus {
    /// Reads a list as taskset(1) takes it: `0-3,7`.
    ///
    /// # Errors
    /// `invalid_argument` for anything else, an empty list, or a number above 8191.
    pub fn parse(list: &str) -> Result<Cpus> {
        const BITS: usize = libc::c_ulong::BITS as usize;
        let refuse = || Error::invalid(format!("{list:?} is not a list of CPUs, as \"0-3,7\""));
        let number = |text: &str| -> Result<usize> {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|cpu| plain && *cpu < MAX_CPUS).ok_or_else(refuse)
        };
        let mut words = vec![0; MAX_CPUS / BITS];
        for part in list.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first.trim())?, number(last.trim())?);
            if first > last {
                return Err(refuse());
            }
            for cpu in first..=last {
                words[cpu / BITS] |= 1 << (cpu % BITS);
            }
        }
        Ok(Cpus(words))
    }
}

/// Lets this process run on these CPUs alone.
///
/// # Errors
/// What sched_setaffinity(2) gives; `InvalidInput` when the machine has none of them.
pub fn set_affinity(cpus: &Cpus) -> io::Result<()> {
    // SAFETY: the words live through the call and their size is passed.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(cpus.0.as_slice()), cpus.0.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_bounded() {
        assert_eq!(Cpus::parse("0-2,5").unwrap().0[0], 0b10_0111);
        assert_eq!(Cpus::parse("64").unwrap().0[..2], [0, 1]);
        assert_eq!(Cpus::parse(" 1 , 3 - 3 ").unwrap().0[0], 0b1010);
        assert!(Cpus::parse("8191").is_ok());
        for bad in ["", ",", "0,", "3-1", "-1", "1-", "0-4294967295", "8192", "x", "0x1", "+1", "99999999999999999999"]
        {
            assert!(Cpus::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_thread_is_set_and_says_so() {
        // A thread of its own: what is set here stays with it.
        std::thread::spawn(|| {
            set_scheduling(Scheduling { policy: 3, nice: 5, ..Scheduling::default() }).unwrap();
            set_io_priority(2, 6).unwrap();
            set_affinity(&Cpus::parse("0").unwrap()).unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            // proc(5): nice is the 19th field, the policy the 41st; the first two are before the parenthesis.
            assert_eq!((fields[16], fields[38]), ("5", "3"), "{stat}");
            assert!(set_scheduling(Scheduling { policy: 77, ..Scheduling::default() }).is_err());
            assert!(set_affinity(&Cpus::parse("8191").unwrap()).is_err());
        })
        .join()
        .unwrap();
    }
}
