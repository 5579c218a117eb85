//! Running a program to its end with a deadline, and reading what came of it.
//!
//! Output goes through files, not pipes: a monitor that the program leaves behind may hold the descriptors open for as
//! long as its container runs, and must not keep the test waiting.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take unless a test says otherwise. Generous, since several tests share two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a program did.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The command line, for messages.
    pub(crate) command: String,
    /// The exit code; 128 plus the number for a signal.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// Standard output as it came.
    pub(crate) bytes: Vec<u8>,
    /// From the start to the end.
    pub(crate) elapsed: Duration,
}

impl Outcome {
    /// Panics unless the program succeeded; returns its standard output without the last newline.
    #[track_caller]
    pub(crate) fn ok(&self) -> String {
        assert!(self.code == 0, "expected success:\n{self}");
        self.stdout.strip_suffix('\n').unwrap_or(&self.stdout).to_owned()
    }

    /// Panics unless the program ended with `code`; returns its standard error.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32) -> String {
        assert!(self.code == code, "expected exit code {code}:\n{self}");
        self.stderr.clone()
    }

    /// Panics unless the program ended with `code` and one clear message: at least one line on standard error that
    /// contains `text`, and no trace of a panic.
    #[track_caller]
    pub(crate) fn fails_with(&self, code: i32, text: &str) -> &Outcome {
        assert!(self.code == code, "expected exit code {code}:\n{self}");
        assert!(self.stderr.contains(text), "expected {text:?} on standard error:\n{self}");
        assert!(!self.stderr.contains("panicked"), "a panic is not an error message:\n{self}");
        self
    }

    /// Whether the program succeeded.
    pub(crate) fn success(&self) -> bool {
        self.code == 0
    }

    /// The lines of standard output.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { command, code, stdout, stderr, elapsed, .. } = self;
        write!(f, "$ {command}\nexit code {code} after {elapsed:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// Runs `command` with `input` on its standard input until it ends; kills it and panics after `patience`.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: Option<&[u8]>, patience: Duration) -> Outcome {
    let text = describe(command);
    let mut stdout = tempfile::tempfile().expect("a temporary file");
    let mut stderr = tempfile::tempfile().expect("a temporary file");
    let stdin = match input {
        None => Stdio::null(),
        Some(bytes) => {
            let mut file = tempfile::tempfile().expect("a temporary file");
            file.write_all(bytes).expect("writing the input");
            file.rewind().expect("rewinding the input");
            file.into()
        }
    };
    command.stdin(stdin).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let begin = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {text}: {error}"));
    let mut pause = Duration::from_micros(200);
    let (status, late) = loop {
        if let Some(status) = child.try_wait().expect("waiting for a child") {
            break (status, false);
        }
        if begin.elapsed() > patience {
            child.kill().expect("killing a child");
            break (child.wait().expect("waiting for a child"), true);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    };
    let elapsed = begin.elapsed();
    let (bytes, err) = (content(&mut stdout), content(&mut stderr));
    let outcome = Outcome {
        command: text,
        code: status.code().or(status.signal().map(|signal| 128 + signal)).expect("a status is a code or a signal"),
        stdout: String::from_utf8_lossy(&bytes).into_owned(),
        stderr: String::from_utf8_lossy(&err).into_owned(),
        bytes,
        elapsed,
    };
    assert!(!late, "still running after {patience:?}, killed:\n{outcome}");
    outcome
}

fn content(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("reading captured output");
    bytes
}

fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        write!(text, " {}", arg.to_string_lossy()).expect("writing to a string");
    }
    text
}

/// Waits until a process has a handler for SIGINT, and sends it.
#[track_caller]
pub(crate) fn interrupt(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    eventually("it hears SIGINT", PATIENCE, || {
        let status = std::fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        (u64::from_str_radix(caught, 16).unwrap() & 1 << 1 != 0).then_some(())
    });
    run(Command::new("kill").args(["-INT", &child.id().to_string()]), None, PATIENCE).ok();
}

/// Asks `condition` every few milliseconds until it gives something; panics with `what` after `patience`.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, patience: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < patience, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
