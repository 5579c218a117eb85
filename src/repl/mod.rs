//! Floor 7: the prompt. Reads lines with history, completion and colours, and gives them to a script session.
//!
//! What a line means is `script::Session`'s business; this file knows keys, the history file and the few commands that
//! begin with a colon. The one door to `rustyline`.

mod helper;

use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::base::error::Context as _;
use crate::base::{Error, Result};
use crate::repl::helper::Helper;
use crate::script::{Evaluated, Options, Session};

/// How many lines the history file keeps.
const HISTORY_LINES: usize = 10_000;

/// What `:help` says before the overview.
const COMMANDS: &str = "\
:help [NAME]   what there is, or what is known about a name
:save FILE     keep the session as a script
:vars          the variables and their values
:quit          end the session, as Ctrl-D does
it             the last value; Ctrl-C ends what runs or forgets the line\n\n";

/// Runs a prompt until its end; returns the exit code. `history` is the file of earlier lines, made when it is missing.
pub fn run(options: Options, history: Option<PathBuf>) -> u8 {
    let colour = options.console.colour;
    let interactive = options.console.interactive;
    let session = Session::new(options);
    let mut editor = match editor(Helper::new(session, colour), history.as_deref()) {
        Ok(editor) => editor,
        Err(error) => return error.kind().exit_code(),
    };
    if interactive {
        print(&editor, &format!("Rhumb {}. :help tells what there is, Ctrl-D ends.\n", env!("CARGO_PKG_VERSION")));
    }
    let code = prompt(&mut editor);
    let well = editor.helper_mut().and_then(Helper::take).is_none_or(Session::end);
    if well { code } else { code.max(1) }
}

type Prompt = Editor<Helper, FileHistory>;

fn editor(helper: Helper, history: Option<&Path>) -> Result<Prompt> {
    let failed = |error: ReadlineError| Error::failed(format!("the prompt cannot be set up: {error}"));
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .auto_add_history(false)
        .history_ignore_space(true)
        .max_history_size(HISTORY_LINES)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(failed)?
        .bracketed_paste(true)
        .build();
    let mut editor = Prompt::with_config(config).map_err(failed)?;
    if let Some(path) = history
        && path.exists()
        && let Err(error) = editor.load_history(path)
    {
        helper.with(|session| session.note(&format!("warning: the history {path:?} cannot be read: {error}")));
    }
    editor.set_helper(Some(helper.remembering(history)));
    Ok(editor)
}

fn prompt(editor: &mut Prompt) -> u8 {
    loop {
        let line = match editor.readline("rhumb> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return 0,
            Err(error) => {
                note(editor, &format!("error: reading the terminal: {error}"));
                return 1;
            }
        };
        if line.trim().is_empty() {
            continue;
        }
        remember(editor, &line);
        match line.trim().strip_prefix(':') {
            Some(command) => {
                if command_ends(editor, command) {
                    return 0;
                }
            }
            None => {
                if let Some(code) = evaluate(editor, &line) {
                    return code;
                }
            }
        }
    }
}

/// Runs a line; returns the exit code when it ends the session.
fn evaluate(editor: &mut Prompt, line: &str) -> Option<u8> {
    let outcome = editor.helper_mut()?.with_mut(|session| session.evaluate(line))?;
    match outcome {
        Evaluated::Value(None) => {}
        Evaluated::Value(Some(text)) => print(editor, &format!("{}\n", text.trim_end_matches('\n'))),
        Evaluated::Failed(report) => note(editor, report.trim_end()),
        Evaluated::Interrupted => {
            note(editor, "interrupted");
            let running = editor.helper().and_then(|helper| helper.with(Session::still_running)).unwrap_or_default();
            for container in running {
                note(editor, &format!("still running: {container}"));
            }
        }
        Evaluated::Exit(code) => return Some(code),
    }
    None
}

/// Does what a line that begins with a colon asks for; true ends the session.
fn command_ends(editor: &mut Prompt, command: &str) -> bool {
    let (name, argument) = command.split_once(' ').unwrap_or((command, ""));
    let argument = argument.trim();
    match name {
        "quit" | "q" | "exit" => return true,
        "help" | "h" => {
            let text = editor.helper().and_then(|helper| helper.with(|session| session.help(argument)));
            let before = if argument.is_empty() { COMMANDS } else { "" };
            print(editor, &format!("{before}{}", text.unwrap_or_default()));
        }
        "vars" => {
            let text = editor.helper().and_then(|helper| helper.with(Session::variables)).unwrap_or_default();
            print(editor, &text);
        }
        "save" if argument.is_empty() => note(editor, "error: :save needs the name of a file"),
        "save" => match save(editor, Path::new(argument)) {
            Ok(()) => note(editor, &format!("saved as {argument}")),
            Err(error) => note(editor, &format!("error: {error}")),
        },
        other => note(editor, &format!("error: no command :{other}; :help lists them")),
    }
    false
}

/// Keeps the session as a new script; a file that exists is never replaced.
fn save(editor: &Prompt, path: &Path) -> Result<()> {
    use std::io::Write as _;
    let text = editor.helper().and_then(|helper| helper.with(Session::as_script)).unwrap_or_default();
    let mut file = std::fs::File::create_new(path).context(|| format!("creating {path:?}"))?;
    file.write_all(text.as_bytes()).context(|| format!("writing {path:?}"))
}

/// Adds a line to the history, in memory and in its file, at once: a killed session loses nothing.
fn remember(editor: &mut Prompt, line: &str) {
    if !editor.add_history_entry(line.trim_end()).unwrap_or(false) {
        return;
    }
    let Some(path) = editor.helper().and_then(Helper::history) else { return };
    if let Some(folder) = path.parent()
        && let Err(error) = std::fs::create_dir_all(folder)
    {
        forget(editor, &format!("the folder {folder:?} cannot be made: {error}"));
        return;
    }
    if let Err(error) = editor.append_history(&path) {
        forget(editor, &format!("{path:?} cannot be written: {error}"));
    }
}

/// Says once why there is no history file, and goes on without.
fn forget(editor: &mut Prompt, why: &str) {
    if let Some(helper) = editor.helper_mut() {
        helper.forget_history();
    }
    note(editor, &format!("warning: no history is kept: {why}"));
}

fn print(editor: &Prompt, text: &str) {
    if let Some(helper) = editor.helper() {
        helper.with(|session| session.print(text));
    }
}

fn note(editor: &Prompt, line: &str) {
    if let Some(helper) = editor.helper() {
        helper.with(|session| session.note(line));
    }
}
