//! The noun `host` in scripts: commands and files of this machine.
//!
//! The script's author is trusted as the user who runs it; nothing here is a sandbox.

use std::io::{Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::error::Context as _;
use crate::base::units::short_duration;
use crate::base::{Error, Id, Result};
use crate::engine::container::MAX_CAPTURE_BYTES;
use crate::model::exec;
use crate::script::context::{Host, tag};
use crate::script::convert::{Command, Keys, command_of};
use crate::script::error::{Fallible, Raise};
use crate::script::output::Output;
use crate::script::secret::{Secret, bytes_of};
use crate::sys::socket::{self, Interest};

/// How often one looks whether a running command is to end.
const POLL: Duration = Duration::from_millis(5);
/// The largest file that `host::read` gives, in bytes: the limit of a script's strings.
const MAX_READ_BYTES: u64 = crate::script::setup::MAX_STRING_BYTES as u64;

fn run(host: &Host, command: &Command, options: Map) -> Result<Output> {
    let mut keys = Keys::new("host::run", options);
    let check = keys.optional_flag("check")?.unwrap_or(true);
    let timeout = keys.duration("timeout")?;
    let stdin = keys.take("stdin").map(|value| bytes_of(&value)).transpose()?;
    let mut env = keys.pairs("environment")?;
    env.extend(keys.pairs("env")?);
    let dir = match keys.text("workdir")? {
        Some(dir) => Some(dir),
        None => keys.text("working_dir")?,
    };
    keys.finish()?;
    let words = command_of(command)?.ok_or_else(|| Error::invalid("host::run needs a command"))?;
    let mut process = Process::new(&words[0]);
    process.args(&words[1..]).envs(env).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    // A group of its own: Ctrl-C at the terminal reaches the script alone, which then ends the whole group.
    process.process_group(0);
    if let Some(dir) = dir {
        process.current_dir(dir);
    }
    let start = Instant::now();
    let child = process.spawn().context(|| format!("running {:?}", words[0]))?;
    let output = capture(host, child, stdin.unwrap_or_default(), timeout, start)?;
    Output::checked(output, check, &words, " on the host")
}

/// Feeds and reads a child until it ends, its time is over or the script is stopped.
fn capture(
    host: &Host,
    mut child: Child,
    stdin: Vec<u8>,
    timeout: Option<Duration>,
    start: Instant,
) -> Result<exec::Output> {
    let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that does not read its input to the end closes the pipe: that is its right.
            let _reader_may_be_gone = input.map(|mut pipe| pipe.write_all(&stdin));
        });
        let stdout = scope.spawn(move || read_all(out));
        let stderr = scope.spawn(move || read_all(err));
        let ended = wait(host, &mut child, timeout, start);
        let collect = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<u8>>>| {
            thread.join().unwrap_or_else(|_| Err(Error::failed("reading a command's output failed")))
        };
        let (stdout, stderr) = (collect(stdout), collect(stderr));
        let status = ended?;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        Ok(exec::Output { code, stdout: stdout?, stderr: stderr?, elapsed: start.elapsed() })
    })
}

fn wait(host: &Host, child: &mut Child, timeout: Option<Duration>, start: Instant) -> Result<ExitStatus> {
    let waiting = || "waiting for a command";
    let group = i32::try_from(child.id()).map_err(|_| Error::failed("a process id out of range"))?;
    let end = |child: &mut Child, error: Error| -> Result<ExitStatus> {
        crate::sys::group::kill(group).context(|| "ending a command")?;
        child.wait().context(waiting)?;
        Err(error)
    };
    let process = match crate::sys::process::pidfd(group) {
        Ok(process) => process,
        Err(error) => return end(child, Error::from(error).context(waiting())),
    };
    loop {
        if let Some(status) = child.try_wait().context(waiting)? {
            return Ok(status);
        }
        if let Some(limit) = timeout
            && start.elapsed() >= limit
        {
            let text = format!("the command did not end within {}", short_duration(limit));
            return end(child, Error::timeout(text));
        }
        if host.is_stopping() {
            return end(child, Error::interrupted("interrupted"));
        }
        // It becomes readable when the command has ended (pidfd_open(2)).
        let mut ended = [Interest::new(process.as_fd(), true, false)];
        socket::wait(&mut ended, Some(POLL)).context(waiting)?;
    }
}

fn read_all(pipe: Option<impl Read>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_CAPTURE_BYTES as u64 + 1).read_to_end(&mut bytes).context(|| "reading a command's output")?;
    }
    if bytes.len() > MAX_CAPTURE_BYTES {
        return Err(Error::failed("the command wrote more than 64 MiB").with_hint("send its output to a file"));
    }
    Ok(bytes)
}

fn read(path: &str) -> Result<String> {
    let file = std::fs::File::open(path).context(|| format!("opening {path:?}"))?;
    let mut bytes = Vec::new();
    file.take(MAX_READ_BYTES + 1).read_to_end(&mut bytes).context(|| format!("reading {path:?}"))?;
    if bytes.len() as u64 > MAX_READ_BYTES {
        return Err(Error::invalid(format!("{path:?} is too large to read at once")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Replaces a file by writing beside it and renaming; a secret's file is its owner's alone.
fn write(path: &str, content: &Dynamic) -> Result<()> {
    let bytes = bytes_of(content)?;
    let target = Path::new(path);
    let name = target.file_name().ok_or_else(|| Error::invalid(format!("{path:?} is not a file's name")))?;
    let beside = target.with_file_name(format!(".{}.{}", name.to_string_lossy(), Id::random()?.short()));
    let mode = if content.read_lock::<Secret>().is_some() { 0o600 } else { 0o666 };
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(&bytes))
        .and_then(|()| std::fs::rename(&beside, target));
    if written.is_err() {
        // The error that led here is the one to report.
        let _already_failing = std::fs::remove_file(&beside);
    }
    written.context(|| format!("writing {path:?}"))
}

/// The paths that match a pattern, sorted: `*` and `?` within a name, `**` for any folders. Hidden names need a dot.
fn glob(pattern: &str) -> Result<Vec<String>> {
    let absolute = pattern.starts_with('/');
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let mut found = Vec::new();
    walk(if absolute { PathBuf::from("/") } else { PathBuf::new() }, &parts, &mut found)?;
    found.sort();
    found.dedup();
    Ok(found.into_iter().map(|path| path.to_string_lossy().into_owned()).collect())
}

fn walk(base: PathBuf, parts: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        found.push(base);
        return Ok(());
    };
    if !part.contains(['*', '?']) {
        let next = base.join(part);
        return if next.symlink_metadata().is_ok() { walk(next, rest, found) } else { Ok(()) };
    }
    let deep = *part == "**";
    if deep {
        walk(base.clone(), rest, found)?;
    }
    let dir = if base.as_os_str().is_empty() { Path::new(".") } else { &base };
    // A folder that cannot be listed has no matches, as in a shell.
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let entry = entry.context(|| format!("listing {dir:?}"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && !part.starts_with('.') {
            continue;
        }
        if deep {
            // Links are not followed, so that the walk ends.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(base.join(&name), parts, found)?;
            }
        } else if matches(part.as_bytes(), name.as_bytes()) {
            walk(base.join(&name), rest, found)?;
        }
    }
    Ok(())
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, left)| matches(pattern, left))
        }
        (Some((b'?', rest)), Some((_, left))) => matches(rest, left),
        (Some((letter, rest)), Some((first, left))) => letter == first && matches(rest, left),
        _ => false,
    }
}

fn temp_dir(host: &Host) -> Result<String> {
    let path = std::env::temp_dir().join(format!("rhumb-{}", Id::random()?.short()));
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
        .create(&path)
        .context(|| format!("making the folder {path:?}"))?;
    host.temp_dirs.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
    Ok(path.to_string_lossy().into_owned())
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod host_functions {
    use super::*;

    /// Runs a command on this machine and returns its output. Options: `check timeout stdin environment workdir`.
    ///
    /// ```rhai
    /// assert(host::run("echo hello").stdout == "hello\n");
    /// assert(host::run(["cat"], #{ stdin: "text" }).stdout == "text");
    /// ```
    #[rhai_fn(name = "run", return_raw)]
    pub fn run_with(ctx: NativeCallContext, command: Command, options: Map) -> Fallible<Output> {
        run(&tag(&ctx)?.host, &command, options).raise(&ctx)
    }

    #[rhai_fn(name = "run", return_raw)]
    pub fn run_default(ctx: NativeCallContext, command: Command) -> Fallible<Output> {
        run_with(ctx, command, Map::new())
    }

    /// The text of a file.
    ///
    /// ```rhai
    /// assert(host::read("/proc/version").contains("Linux"));
    /// ```
    #[rhai_fn(name = "read", return_raw)]
    pub fn read_text(ctx: NativeCallContext, path: ImmutableString) -> Fallible<String> {
        read(&path).raise(&ctx)
    }

    /// Replaces a file's content, all at once. A secret's file is readable by its owner alone.
    ///
    /// ```rhai
    /// let path = `${host::temp_dir()}/note.txt`;
    /// host::write(path, "hello");
    /// assert(host::read(path) == "hello");
    /// ```
    #[rhai_fn(name = "write", return_raw)]
    pub fn write_content(ctx: NativeCallContext, path: ImmutableString, content: Dynamic) -> Fallible<()> {
        write(&path, &content).raise(&ctx)
    }

    /// Whether there is a file or a folder of this name.
    ///
    /// ```rhai
    /// assert(host::exists("/proc"));
    /// ```
    pub fn exists(path: ImmutableString) -> bool {
        Path::new(path.as_str()).exists()
    }

    /// The paths that match a pattern, sorted: `*` and `?` within a name, `**` for any folders.
    ///
    /// ```rhai
    /// assert(host::glob("/proc/vers*") == ["/proc/version"]);
    /// ```
    #[rhai_fn(name = "glob", return_raw)]
    pub fn glob_paths(ctx: NativeCallContext, pattern: ImmutableString) -> Fallible<Array> {
        Ok(glob(&pattern).raise(&ctx)?.into_iter().map(Dynamic::from).collect())
    }

    /// The working directory.
    ///
    /// ```rhai
    /// assert(host::exists(host::cwd()));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn cwd(ctx: NativeCallContext) -> Fallible<String> {
        let dir = std::env::current_dir().context(|| "reading the working directory").raise(&ctx)?;
        Ok(dir.to_string_lossy().into_owned())
    }

    /// A new folder that is removed at the end of the script.
    ///
    /// ```rhai
    /// let dir = host::temp_dir();
    /// host::write(`${dir}/a`, "1");
    /// ```
    #[rhai_fn(name = "temp_dir", volatile, return_raw)]
    pub fn new_temp_dir(ctx: NativeCallContext) -> Fallible<String> {
        temp_dir(&tag(&ctx)?.host).raise(&ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_as_a_shell_does() {
        assert!(matches(b"*.tar.zst", b"a.tar.zst"));
        assert!(matches(b"?b*", b"abc"));
        assert!(!matches(b"*.tar", b"a.tar.zst"));
        assert_eq!(glob("/proc/vers*").unwrap(), ["/proc/version"]);
        assert!(glob("/nowhere/**/x").unwrap().is_empty());
    }
}
