//! What a person at a terminal meets: raw mode and its end, keys, detaching, listings that are never wrapped.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portable_pty::{CommandBuilder, ExitStatus, PtySize, native_pty_system};

use crate::support::process::eventually;
use crate::support::rhumb::binary;
use crate::support::{BASE, Rhumb};

const SOON: Duration = Duration::from_secs(20);

/// The binary on a terminal of its own.
struct Terminal {
    child: Box<dyn portable_pty::Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<Vec<u8>>>,
    master: Box<dyn portable_pty::MasterPty + Send>,
}

impl Terminal {
    fn start(rhumb: &Rhumb, columns: u16, args: &[&str]) -> Terminal {
        let pair = native_pty_system().openpty(PtySize { rows: 24, cols: columns, ..Default::default() }).unwrap();
        let mut command = CommandBuilder::new(binary());
        command.args(args);
        command.env("RHUMB_ROOT", rhumb.root());
        command.env("NO_COLOR", "1");
        let child = pair.slave.spawn_command(command).unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, shared) = (pair.master.try_clone_reader().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                shared.lock().unwrap().extend(&buffer[..count]);
            }
        });
        Terminal { child, keys: pair.master.take_writer().unwrap(), screen, master: pair.master }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
        self.keys.flush().unwrap();
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    fn see(&self, text: &str) {
        let seen = || self.screen().contains(text).then_some(());
        eventually(&format!("{text:?} on the screen"), SOON, seen);
    }

    fn end(&mut self) -> ExitStatus {
        eventually("the command ends", SOON, || self.child.try_wait().unwrap())
    }
}

#[test]
fn a_terminal_goes_to_the_container_with_its_size_and_comes_back() {
    let rhumb = Rhumb::with_base();
    let mut terminal = Terminal::start(&rhumb, 91, &["run", "--rm", "-it", BASE, "sh"]);
    terminal.press(b"stty size; tty; echo is-$((1 + 1))\n");
    terminal.see("24 91");
    terminal.see("/dev/");
    terminal.see("is-2");
    terminal.master.resize(PtySize { rows: 30, cols: 100, ..Default::default() }).unwrap();
    eventually("the new size arrives", SOON, || {
        terminal.press(b"stty size\n");
        std::thread::sleep(Duration::from_millis(100));
        terminal.screen().contains("30 100").then_some(())
    });
    // Ctrl-C is a key: it goes to the program, and the shell goes on.
    terminal.press(b"sleep 300\n");
    std::thread::sleep(Duration::from_millis(300));
    terminal.press(b"\x03");
    terminal.press(b"echo still-$((2 + 2)); exit 6\n");
    terminal.see("still-4");
    assert_eq!(terminal.end().exit_code(), 6);
}

#[test]
fn the_detach_keys_leave_the_container_running() {
    let rhumb = Rhumb::with_base();
    let mut terminal = Terminal::start(&rhumb, 80, &["run", "-it", "--name", "shell", BASE, "sh"]);
    terminal.press(b"echo here-$((1 + 2))\n");
    terminal.see("here-3");
    terminal.press(b"\x10\x11");
    assert_eq!(terminal.end().exit_code(), 0);
    assert!(rhumb.sh("ps").ok().contains("shell"));
    let mut again = Terminal::start(&rhumb, 80, &["attach", "--detach-keys", "ctrl-a,d", "shell"]);
    again.press(b"echo back-$((1 + 3))\n");
    again.see("back-4");
    again.press(b"\x01d");
    assert_eq!(again.end().exit_code(), 0);
    assert_eq!(rhumb.sh("rm -f shell").ok(), "shell");
}

#[test]
fn listings_are_cut_to_the_terminal() {
    let rhumb = Rhumb::with_base();
    rhumb
        .run(["create", "--name", "a_container_with_quite_a_long_name", BASE, "sleep", "1234567890", "1234567890"])
        .ok();
    let mut terminal = Terminal::start(&rhumb, 60, &["ps", "-a"]);
    assert!(terminal.end().success());
    terminal.see("a_con");
    for line in terminal.screen().lines() {
        assert!(line.trim_end().chars().count() <= 60, "{line:?}");
    }
    assert!(rhumb.sh("ps -a").ok().contains("a_container_with_quite_a_long_name"));
}

#[test]
fn stats_are_drawn_in_place_with_curves_and_leave_the_terminal_as_it_was() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "first", "-m", "64m", BASE, "sleep", "300"]).ok();
    let mut terminal = Terminal::start(&rhumb, 80, &["stats"]);
    terminal.see("-- / --");
    terminal.see("/ 64MiB");
    terminal.see("█");
    // Containers come and go, and so do columns of the window.
    rhumb.run(["run", "-d", "--name", "second", BASE, "sleep", "300"]).ok();
    terminal.see("second");
    assert!(!terminal.screen().contains("BLOCK I/O"));
    terminal.master.resize(PtySize { rows: 24, cols: 140, ..Default::default() }).unwrap();
    terminal.see("BLOCK I/O");
    rhumb.sh("rm -f first").ok();
    let newest = |terminal: &Terminal| terminal.screen().rsplit("NAME").next().unwrap_or_default().to_owned();
    eventually("the first one goes", SOON, || {
        let newest = newest(&terminal);
        (newest.contains("second") && !newest.contains("first")).then_some(())
    });
    terminal.press(b"\x03");
    assert_eq!(terminal.end().exit_code(), 130);
    // Every change of the terminal is one that needs no undoing: no other screen, no hidden cursor.
    assert!(!terminal.screen().contains("\u{1b}[?"), "{:?}", terminal.screen());
}

#[test]
fn bytes_are_not_written_to_a_terminal_and_a_terminal_is_asked_for() {
    let rhumb = Rhumb::with_base();
    let mut terminal = Terminal::start(&rhumb, 80, &["save", BASE]);
    assert_eq!(terminal.end().exit_code(), 2);
    terminal.see("cannot be written to a terminal");
    rhumb.run_with_input(["run", "--rm", "-it", BASE, "true"], b"").fails_with(125, "the input is not a terminal");
}

#[test]
fn a_script_attaches_the_terminal_and_gives_it_back() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-dit", "--name", "shell", BASE, "sh"]).ok();
    let script = r#"let c = container::get("shell"); print(`left: ${c.attach()}`); print(`ended: ${c.attach()}`);"#;
    let mut terminal = Terminal::start(&rhumb, 80, &["-e", script]);
    terminal.press(b"echo here-$((1 + 2))\n");
    terminal.see("here-3");
    terminal.press(b"\x10\x11");
    terminal.see("left: \r\n");
    terminal.press(b"exit 4\n");
    terminal.see("ended: 4\r\n");
    assert!(terminal.end().success());
}
