//! The prompt on a real terminal (a pty and a screen): lines, several lines, history, completion, Ctrl-C, Ctrl-D.

use std::io::{Read as _, Write};
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::support::Rhumb;
use crate::support::process::eventually;

const ROWS: u16 = 40;
const COLUMNS: u16 = 100;
const PATIENCE: Duration = Duration::from_secs(20);

struct Terminal {
    screen: Arc<Mutex<vt100::Parser>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    fn start(rhumb: &Rhumb) -> Terminal {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_rhumb"));
        command.env("RHUMB_ROOT", rhumb.root());
        command.env("XDG_STATE_HOME", rhumb.path("state"));
        command.env("TMPDIR", rhumb.path("tmp"));
        command.env("NO_COLOR", "1");
        command.env("TERM", "xterm");
        command.cwd(rhumb.path(""));
        let child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let size = |n: u16| NonZero::new(n).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size(ROWS), size(COLUMNS), 0)));
        let mut reader = pty.master.try_clone_reader().unwrap();
        let painted = screen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                painted.lock().unwrap().process(&buffer[..n]);
            }
        });
        let keys = pty.master.take_writer().unwrap();
        let mut terminal = Terminal { screen, keys, child, _master: pty.master };
        terminal.shows("rhumb>");
        terminal
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    #[track_caller]
    fn shows(&mut self, text: &str) {
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the screen to show it", PATIENCE, || self.text().contains(text).then_some(()));
        }));
        assert!(found.is_ok(), "{text:?} is not on the screen:\n{}", self.text());
    }

    /// Types a line and waits for what it shows.
    #[track_caller]
    fn line(&mut self, line: &str, shows: &str) {
        self.press(&format!("{line}\r"));
        self.shows(shows);
    }

    /// Presses Ctrl-C at the prompt and waits for the next one: what is typed before it shows is lost.
    #[track_caller]
    fn cancel(&mut self) {
        let prompts = |text: String| text.matches("rhumb>").count();
        let before = prompts(self.text());
        self.press("\x03");
        eventually("the next prompt", PATIENCE, || (prompts(self.text()) > before).then_some(()));
    }

    /// Presses Ctrl-D once the prompt waits for it.
    fn quits(mut self) -> u32 {
        eventually("an empty prompt", PATIENCE, || self.text().trim_end().ends_with("rhumb>").then_some(()));
        self.press("\x04");
        self.ends()
    }

    fn ends(mut self) -> u32 {
        eventually("the prompt to end", PATIENCE, || self.child.try_wait().unwrap()).exit_code()
    }
}

#[test]
fn lines_keep_their_state_and_errors_do_not_end_it() {
    let rhumb = Rhumb::new();
    let mut terminal = Terminal::start(&rhumb);
    terminal.line("let x = 40;", "let x = 40;\nrhumb>");
    terminal.line("x + 2", "\n42");
    terminal.line("it * 1000", "\n42000");
    terminal.line("x.foo()", "no function foo(int)");
    terminal.line("#{ name: \"web\", ports: [80, 443] }", "ports: [80, 443]");
    terminal.line("fn twice(n) {", "twice(n) {");
    terminal.line("n * 2 }", "n * 2 }\nrhumb>");
    terminal.line("twice(x) + 3", "\n83");
    terminal.line(":vars", "it = 83");
    assert_eq!(terminal.quits(), 0);
}

#[test]
fn tab_completes_and_history_outlives_the_session() {
    let rhumb = Rhumb::new();
    let mut terminal = Terminal::start(&rhumb);
    terminal.press("host::cw\t");
    terminal.shows("host::cwd(");
    terminal.line(").len > 0", "\ntrue");
    assert_eq!(terminal.quits(), 0);
    let mut terminal = Terminal::start(&rhumb);
    terminal.press("\x1b[A");
    terminal.shows("rhumb> host::cwd().len > 0");
    terminal.cancel();
    assert_eq!(terminal.quits(), 0);
}

#[test]
fn ctrl_c_forgets_a_line_and_ends_what_runs() {
    let rhumb = Rhumb::new();
    let mut terminal = Terminal::start(&rhumb);
    terminal.press("let half = ");
    terminal.shows("let half =");
    terminal.cancel();
    terminal.line("1 + 1", "\n2");
    terminal.press("host::write(\"started\", \"\"); loop {}\r");
    eventually("the loop to start", PATIENCE, || rhumb.path("started").exists().then_some(()));
    terminal.press("\x03");
    terminal.shows("interrupted");
    terminal.line("2 + 3", "\n5");
    terminal.line("exit(7)", "exit(7)");
    assert_eq!(terminal.ends(), 7);
}

#[test]
fn a_session_is_kept_as_a_script() {
    let rhumb = Rhumb::new();
    let mut terminal = Terminal::start(&rhumb);
    terminal.line("let greeting = \"hel\" + \"lo\"", "greeting");
    terminal.line("print(greeting)", "\nhello");
    terminal.line("this is wrong", "error");
    terminal.line(":save kept.rhai", "saved as kept.rhai");
    assert_eq!(terminal.quits(), 0);
    assert_eq!(rhumb.run(["kept.rhai"]).ok(), "hello");
}
