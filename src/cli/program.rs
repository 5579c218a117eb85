//! The ways into scripts: a file, an expression, standard input, the prompt. Found before anything is parsed as a command,
//! so that a script gets its arguments as they are.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Context as _, Error, Result};
use crate::cli::{Session, report};
use crate::script::{self, Builds, Console, Options};
use crate::sys;

/// The variable that names the state root when `--root` does not.
pub(crate) const ROOT_VARIABLE: &str = "RHUMB_ROOT";

/// A script to run, and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    root: Option<PathBuf>,
    source: Source,
    args: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Expression(String),
    Stdin,
    Prompt,
}

/// The script that the arguments ask for; none when they are a command.
pub(crate) fn find(args: &[OsString]) -> Option<Program> {
    let mut root = std::env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty()).map(PathBuf::from);
    let mut rest = args.get(1..).unwrap_or_default();
    loop {
        match rest {
            [flag, dir, after @ ..] if flag == "--root" => {
                root = Some(PathBuf::from(dir));
                rest = after;
            }
            [flag, after @ ..] if flag.to_str().is_some_and(|flag| flag.starts_with("--root=")) => {
                root = flag.to_str().and_then(|flag| flag.strip_prefix("--root=")).map(PathBuf::from);
                rest = after;
            }
            _ => break,
        }
    }
    let program = |source, args: &[OsString]| {
        let args = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        Some(Program { root: root.clone(), source, args })
    };
    match rest {
        [] if std::io::stdin().is_terminal() => program(Source::Prompt, &[]),
        [] => program(Source::Stdin, &[]),
        [dash, args @ ..] if dash == "-" => program(Source::Stdin, args),
        [flag, text, args @ ..] if flag == "-e" => {
            program(Source::Expression(text.to_string_lossy().into_owned()), args)
        }
        [file, args @ ..] if is_script(file) => program(Source::File(PathBuf::from(file)), args),
        _ => None,
    }
}

/// What runs a session at a terminal, with the file of earlier lines; returns the exit code. It lives on the same floor, so
/// `main` joins the two.
pub type Prompt = fn(Options, Option<PathBuf>) -> u8;

/// The longest script that is read from standard input, in bytes.
const MAX_STDIN_BYTES: u64 = 16 * 1024 * 1024;
/// The columns that tables of a script may use when nobody says how wide the screen is.
const WIDTH: usize = 80;

impl Program {
    /// Runs it; returns the exit code.
    pub(crate) fn run(self, prompt: Option<Prompt>) -> u8 {
        let options = options(self.root, self.args);
        match (self.source, prompt) {
            (Source::File(path), _) => script::run_file(&path, options),
            (Source::Expression(text), _) => script::run_text("-e", &text, true, options),
            (Source::Prompt, Some(prompt)) => prompt(options, history_file()),
            (Source::Stdin | Source::Prompt, _) => match read_stdin() {
                Ok(text) => script::run_text("standard input", &text, false, options),
                Err(error) => {
                    report::error(&error);
                    error.kind().exit_code()
                }
            },
        }
    }
}

/// Runs a build script with these arguments; returns the exit code.
pub(crate) fn script(root: Option<PathBuf>, path: &Path, args: Vec<String>, builds: Builds) -> u8 {
    script::run_file(path, Options { builds: Some(builds), ..options(root, args) })
}

/// Prints the script API.
pub(crate) fn doc(topic: Option<&str>, session: &mut Session) -> Result<u8> {
    script::doc::print(topic, &mut session.out.writer())?;
    Ok(0)
}

/// Starts the prompt.
pub(crate) fn repl(root: Option<PathBuf>, prompt: Option<Prompt>) -> u8 {
    Program { root, source: Source::Prompt, args: Vec::new() }.run(prompt)
}

fn options(root: Option<PathBuf>, args: Vec<String>) -> Options {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let size = if stdout.is_terminal() { sys::terminal::size(stdout.as_fd()) } else { None };
    let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let console = Console {
        width: size.map_or(WIDTH, |(columns, _)| usize::from(columns)),
        colour,
        interactive: stdin.is_terminal() && stderr.is_terminal(),
        // One that cannot be copied is none: only `attach` asks for it, and says so.
        terminal: (stdin.is_terminal() && stdout.is_terminal())
            .then(|| stdin.as_fd().try_clone_to_owned().ok().map(Arc::new))
            .flatten(),
        out: Box::new(stdout),
        err: Box::new(stderr),
        input: Box::new(BufReader::new(stdin)),
    };
    Options { engine: crate::cli::engine_options(root), args, console, builds: None }
}

/// Where the prompt keeps earlier lines (XDG Base Directory Specification, `XDG_STATE_HOME`).
fn history_file() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("rhumb/history"))
}

fn read_stdin() -> Result<String> {
    let reading = || "reading the script from standard input";
    let mut text = String::new();
    io::stdin().lock().take(MAX_STDIN_BYTES + 1).read_to_string(&mut text).context(reading)?;
    match text.len() as u64 {
        0..=MAX_STDIN_BYTES => Ok(text),
        _ => Err(Error::invalid("it is larger than 16 MiB").context(reading())),
    }
}

/// A name that ends in `.rhai`, or any path: no command has a slash.
fn is_script(arg: &OsStr) -> bool {
    let bytes = arg.as_encoded_bytes();
    !bytes.starts_with(b"-") && (bytes.ends_with(b".rhai") || bytes.contains(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &[&str]) -> Option<(Source, Vec<String>)> {
        let args: Vec<OsString> = std::iter::once(&"rhumb").chain(words).map(OsString::from).collect();
        find(&args).map(|program| (program.source, program.args))
    }

    #[test]
    fn scripts_get_their_arguments_as_they_are() {
        let args = || vec!["--help".to_owned(), "-q".to_owned()];
        assert_eq!(found(&["a.rhai", "--help", "-q"]), Some((Source::File("a.rhai".into()), args())));
        assert_eq!(found(&["./deploy", "--help", "-q"]), Some((Source::File("./deploy".into()), args())));
        assert_eq!(found(&["-e", "1 + 1", "--help", "-q"]), Some((Source::Expression("1 + 1".into()), args())));
        assert_eq!(found(&["-", "--help", "-q"]), Some((Source::Stdin, args())));
        assert_eq!(found(&["--root", "/r", "--root=/s", "a.rhai"]), Some((Source::File("a.rhai".into()), vec![])));
    }

    #[test]
    fn commands_are_no_scripts() {
        for words in [&["ps"][..], &["run", "a/b", "x.rhai"], &["--help"], &["-v"], &["--root", "/r", "ps"], &["-e"]] {
            assert_eq!(found(words), None, "{words:?}");
        }
    }
}
