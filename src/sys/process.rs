//! Processes: making them with clone3(2), naming them without races, what they may do, ending them.
//!
//! A fork happens only in a process with one thread (the monitor): the child shares no locks with anyone. The engine
//! itself, which has threads, never forks; it starts programs through the standard library.
#![expect(unsafe_code, reason = "clone3, close_range and _exit have no safe wrapper")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{DumpableBehavior, PidfdFlags};

/// clone3's flag for a cgroup descriptor; the constant of the C library overflowed to zero.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// How long a thread that has ended may take to leave the process; on an idle machine it is microseconds.
const LAST_STEPS: Duration = Duration::from_millis(500);

/// Which side of a fork we are on.
#[derive(Debug)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one, with the new one's number and descriptor.
    Parent(Child),
}

/// A process that we made.
#[derive(Debug)]
pub struct Child {
    /// Its number in our pid namespace.
    pub pid: i32,
    /// Names it without races.
    pub pidfd: OwnedFd,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub pid: i32,
    /// Its exit status, or 128 plus the number of the signal that ended it.
    pub code: i32,
}

/// Makes a copy of this process in the new namespaces `namespaces` ([`crate::sys::namespace`] constants), born in the
/// cgroup2 folder `cgroup` when one is given.
///
/// # Errors
/// What clone3(2) gives; `Other` when this process has more than one thread.
pub fn fork(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    clone(namespaces, cgroup, libc::SIGCHLD as u64)
}

/// As [`fork`], but the parent of the copy is the parent of this process.
///
/// # Errors
/// As [`fork`].
pub fn fork_sibling(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    // The kernel takes the signal at its end from this process, and wants to hear of none.
    clone(namespaces | libc::CLONE_PARENT as u64, cgroup, 0)
}

fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>, exit_signal: u64) -> io::Result<Fork> {
    // To leave a group of one thread does nothing, and one of more is refused. Asked without `/proc`, which may be a
    // container's here.
    // A thread that was joined, or whose scope has ended, may be on its last steps in the kernel for a moment.
    let begun = Instant::now();
    // SAFETY: a plain system call that changes nothing in a process with one thread.
    while unsafe { libc::unshare(libc::CLONE_THREAD) } != 0 {
        if begun.elapsed() > LAST_STEPS {
            return Err(io::Error::other("fork in a process with threads"));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let mut pidfd: libc::c_int = -1;
    let arguments = libc::clone_args {
        flags: flags | libc::CLONE_PIDFD as u64 | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: the structure lives through the call and its size is passed; no stack is given and CLONE_VM is not among
    // the flags, so this is fork(2): the child goes on with a copy of our only thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of_val(&arguments)) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => {
            // SAFETY: the kernel stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent(Child { pid: pid as i32, pidfd }))
        }
    }
}

/// Waits for the end of a child of ours and takes it in.
///
/// # Errors
/// What waitid(2) gives besides interruptions.
pub fn take_in(child: &Child) -> io::Result<Ended> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED))?;
    let status = status.ok_or_else(|| io::Error::other("a wait without an end"))?;
    let code = match status.terminating_signal() {
        Some(signal) => 128 + signal,
        None => status.exit_status().unwrap_or(1),
    };
    Ok(Ended { pid: child.pid, code })
}

/// The number of this process in its pid namespace.
pub fn id() -> i32 {
    // Not what the standard library remembers: this may be a child of a fork.
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The number of its parent in its pid namespace; 0 when that is in another one.
pub fn parent_id() -> i32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get())
}

/// Takes in one ended child if there is one.
///
/// # Errors
/// What waitpid(2) gives besides "no children".
pub fn reap() -> io::Result<Option<Ended>> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one integer, which lives through the call. (The wrapper of nix loses the end of a
        // process that died from a real-time signal.)
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid > 0 {
            let code = match libc::WIFSIGNALED(status) {
                true => 128 + libc::WTERMSIG(status),
                false => libc::WEXITSTATUS(status),
            };
            return Ok(Some(Ended { pid, code }));
        }
        match (pid, io::Error::last_os_error()) {
            (0, _) => return Ok(None),
            (_, error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
            (_, error) if error.kind() == io::ErrorKind::Interrupted => {}
            (_, error) => return Err(error),
        }
    }
}

/// A descriptor of the process `pid`, which the caller knows to be alive or its own unreaped child.
///
/// # Errors
/// What pidfd_open(2) gives.
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// A copy of the descriptor `fd` of another process.
///
/// # Errors
/// What pidfd_getfd(2) gives: `PermissionDenied` for a process that this one may not trace.
pub fn copy_fd_of(pidfd: BorrowedFd<'_>, fd: i32) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_getfd(pidfd, fd, rustix::process::PidfdGetfdFlags::empty())?)
}

/// The number, in this pid namespace, of the process that a descriptor names; nothing when it has ended and was taken in.
///
/// # Errors
/// What reading `/proc` gives; `InvalidData` when it does not tell.
pub fn number(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|text| text.trim().parse().ok());
    let number: i32 = number.ok_or(io::ErrorKind::InvalidData)?;
    Ok((number > 0).then_some(number))
}

/// Sends a signal through a process descriptor.
///
/// # Errors
/// `InvalidInput` for an impossible number; what pidfd_send_signal(2) gives.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    send_signal(pidfd, signal, 0)
}

/// As [`signal`], to all of its process group (Linux 6.9; before, to the process alone).
///
/// # Errors
/// As [`signal`].
pub fn signal_group(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    match send_signal(pidfd, signal, PIDFD_SIGNAL_PROCESS_GROUP) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => send_signal(pidfd, signal, 0),
        result => result,
    }
}

fn send_signal(pidfd: BorrowedFd<'_>, signal: i32, flags: libc::c_uint) -> io::Result<()> {
    if !(0..=64).contains(&signal) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let fd = pidfd.as_raw_fd();
    // SAFETY: a plain system call on a borrowed descriptor; no siginfo is passed.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<libc::siginfo_t>(), flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks all descriptors from `first` on close-on-exec.
///
/// # Errors
/// What close_range(2) gives.
pub fn close_on_exec_from(first: i32) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes all descriptors from `first` on. Nothing in this process may own one of them: for the first moments of a
/// program, which inherited them from who knows whom.
///
/// # Errors
/// What close_range(2) gives.
pub fn close_inherited_from(first: i32) -> io::Result<()> {
    close_range(first, 0)
}

fn close_range(first: i32, flags: libc::c_uint) -> io::Result<()> {
    close_between(first, libc::c_int::MAX, flags)
}

fn close_between(first: i32, last: i32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: a plain system call; the callers answer for the ownership of the descriptors.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes ownership of the standard input of a program that was started with a socket there.
///
/// # Errors
/// What fcntl(2) gives.
pub fn take_stdin(at_least: i32) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), at_least)?)
}

/// Closes every descriptor from 3 on that is not in `keep` nor one of the first `preserve`: for a stage, which shares with its monitor's memory values
/// that own descriptors, and will never drop them.
///
/// # Errors
/// What close_range(2) gives.
pub fn close_all_but(preserve: u32, keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut first = 3i32.saturating_add(i32::try_from(preserve).unwrap_or(i32::MAX));
    let mut keep: Vec<i32> = keep.iter().map(|fd| fd.as_raw_fd()).filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    for fd in keep {
        if fd > first {
            close_between(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_between(first, libc::c_int::MAX, 0)
}

/// Makes `fds` the standard streams 0, 1, 2.
///
/// # Errors
/// What dup3(2) gives.
pub fn set_stdio(fds: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    if fds.iter().zip(0..).all(|(fd, own)| fd.as_raw_fd() == own) {
        return Ok(()); // they are
    }
    // First out of the way of 0 to 2, so that none is overwritten before it was copied.
    let mut moved = Vec::with_capacity(3);
    for fd in fds {
        moved.push(rustix::io::fcntl_dupfd_cloexec(fd, 3)?);
    }
    nix::unistd::dup2_stdin(&moved[0])?;
    nix::unistd::dup2_stdout(&moved[1])?;
    nix::unistd::dup2_stderr(&moved[2])?;
    Ok(())
}

/// Ends this process at once: no destructors, no buffers, no handlers. What the child of a fork does instead of returning.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) is always safe to call.
    unsafe { libc::_exit(code) }
}

/// Whether this process, with its present rights, may execute the file `path`.
///
/// # Errors
/// What faccessat2(2) and stat(2) give; `IsADirectory`.
pub fn may_execute(path: &str) -> io::Result<()> {
    let name = CString::new(path)?;
    // SAFETY: the path lives through the call. (Wrappers leave the effective ids and rights to the C library.)
    let result =
        unsafe { libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, name.as_ptr(), libc::X_OK, libc::AT_EACCESS) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // Who may execute a folder may only look into it.
    if std::fs::metadata(path)?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) }
}

/// Replaces this process by a program. Returns only when that failed.
pub fn exec(path: &CString, args: &[CString], env: &[CString]) -> io::Error {
    match nix::unistd::execve(path, args, env) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}

/// Replaces this process by the program at `path` with the same arguments and environment. Returns only when that failed.
pub fn exec_again(path: &Path) -> io::Error {
    use std::os::unix::ffi::OsStringExt as _;
    let string = |text: std::ffi::OsString| CString::new(text.into_vec()).map_err(io::Error::from);
    let args: io::Result<Vec<CString>> = std::env::args_os().map(string).collect();
    let env: io::Result<Vec<CString>> = std::env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            string(name)
        })
        .collect();
    match (string(path.as_os_str().to_owned()), args, env) {
        (Ok(path), Ok(args), Ok(env)) => exec(&path, &args, &env),
        (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => error,
    }
}

/// Starts a new session without a terminal.
///
/// # Errors
/// What setsid(2) gives.
pub fn new_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Has a command start in a session of its own: it hears no Ctrl-C, and has no terminal to ask on.
#[expect(unsafe_code, reason = "setsid(2) is safe between fork and exec")]
pub fn in_new_session(command: &mut Command) -> &mut Command {
    // SAFETY: it makes one system call, and allocates nothing.
    unsafe { command.pre_exec(new_session) }
}

/// Leaves the session keyring (session-keyring(7)) for a new, empty one that children share. A kernel without keys has
/// nothing to leave.
///
/// # Errors
/// What keyctl(2) gives.
pub fn leave_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a plain system call; no name asks for an anonymous keyring.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    match result {
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
            error => Err(error),
        },
        _ => Ok(()),
    }
}

/// Nobody may trace this process or look through its descriptors until it executes a program.
///
/// # Errors
/// What prctl(2) gives.
pub fn set_undumpable() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Dies when its parent does. A change of credentials clears it.
///
/// # Errors
/// What prctl(2) gives.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?)
}

/// Orphans below this process become its children.
///
/// # Errors
/// What prctl(2) gives.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// No program that it executes may gain rights.
///
/// # Errors
/// What prctl(2) gives.
pub fn set_no_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Sets the mode bits that new files do not get.
pub fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Takes the name `name` in listings of processes.
///
/// # Errors
/// What prctl(2) gives.
pub fn set_name(name: &std::ffi::CStr) -> io::Result<()> {
    Ok(rustix::thread::set_name(name)?)
}

/// The further groups of a process.
#[derive(Debug, Clone, Copy)]
pub enum Groups<'a> {
    /// These.
    Set(&'a [u32]),
    /// Those that it has: a user namespace may forbid to change them.
    Keep,
}

/// Becomes another user; real, effective and saved ids alike. Permitted capabilities survive when `keep` is set.
///
/// # Errors
/// What setgroups(2), setresgid(2), setresuid(2) give.
pub fn become_user(uid: u32, gid: u32, groups: Groups<'_>, keep: bool) -> io::Result<()> {
    use rustix::thread::{Gid, Uid};
    rustix::thread::set_keep_capabilities(keep)?;
    if let Groups::Set(groups) = groups {
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        rustix::thread::set_thread_groups(&groups)?;
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Does `work` with the file ids of another user and all rights of this process.
///
/// # Errors
/// `permission_denied` when the ids cannot be taken; what `work` gives.
pub fn with_file_ids<T>(uid: u32, gid: u32, work: impl FnOnce() -> crate::base::Result<T>) -> crate::base::Result<T> {
    set_file_ids(uid, gid);
    // Taking another user's ids drops the rights over files that root's ids bring.
    let result = crate::sys::capability::raise_all().and_then(|()| work());
    set_file_ids(0, 0);
    result
}

fn set_file_ids(uid: u32, gid: u32) {
    // SAFETY: plain system calls on this thread; they report no errors, and the rights that follow are checked in use.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
}

/// Makes an open folder the working folder.
///
/// # Errors
/// What fchdir(2) gives.
pub fn change_dir_to(folder: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::fchdir(folder)?)
}

/// Goes to a folder.
///
/// # Errors
/// What chdir(2) gives.
pub fn change_dir(path: &Path) -> io::Result<()> {
    Ok(rustix::process::chdir(path)?)
}

/// The working folder as the kernel sees it; a folder outside the root starts with `(unreachable)`.
///
/// # Errors
/// What getcwd(2) gives.
pub fn current_dir() -> io::Result<Vec<u8>> {
    Ok(rustix::process::getcwd(Vec::new())?.into_bytes())
}

/// How many descriptors this process may have.
pub fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Sets a resource limit by its number-less name, `nofile`; `None` is unlimited.
///
/// # Errors
/// `InvalidInput` for an unknown name; what setrlimit(2) gives.
pub fn set_limit(name: &str, soft: Option<u64>, hard: Option<u64>) -> io::Result<()> {
    use rustix::process::Resource;
    let resource = match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    Ok(rustix::process::setrlimit(resource, rustix::process::Rlimit { current: soft, maximum: hard })?)
}
