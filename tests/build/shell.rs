//! A shell where a step fails, at a terminal: everything is as it was, and the build fails afterwards as it would have.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::dockerfile::context;
use crate::support::Rhumb;
use crate::support::process::{PATIENCE, eventually};
use crate::support::rhumb::binary;

/// Runs the binary on a terminal, presses the keys when it shows the texts, and gives the screen and whether it went well.
fn at_a_terminal(rhumb: &Rhumb, rows: u16, args: &[&str], talk: &[(&str, &str)]) -> (String, bool) {
    let pair = native_pty_system().openpty(PtySize { rows, cols: 100, ..PtySize::default() }).unwrap();
    let mut command = CommandBuilder::new(binary());
    command.args(args);
    command.cwd(rhumb.path(""));
    for (name, value) in [("RHUMB_NETWORK", "none"), ("RHUMB_PULL", "never"), ("NO_COLOR", "1")] {
        command.env(name, value);
    }
    command.env("RHUMB_ROOT", rhumb.root());
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let screen = Arc::new(Mutex::new(String::new()));
    let (mut reader, shared) = (pair.master.try_clone_reader().unwrap(), Arc::clone(&screen));
    let reading = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            shared.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    let mut keys = pair.master.take_writer().unwrap();
    for (text, pressed) in talk {
        eventually(text, PATIENCE, || screen.lock().unwrap().contains(text).then_some(()));
        keys.write_all(pressed.as_bytes()).unwrap();
    }
    let status = eventually("the end", PATIENCE, || child.try_wait().unwrap());
    drop((keys, pair.master));
    reading.join().unwrap();
    let screen = screen.lock().unwrap().clone();
    (screen, status.success())
}

#[test]
fn a_shell_is_opened_where_a_step_failed() {
    let rhumb = Rhumb::with_base();
    let dockerfile = "FROM base:1\nENV PLACE=here\nWORKDIR /work\n\
                      RUN --mount=type=tmpfs,target=/memory echo half > made && exit 5\n";
    context(&rhumb, &[("Dockerfile", dockerfile)]);
    let look = "echo $PLACE-$(pwd)-$(cat made)-$(ls -d /memory)\n";
    let talk = [("leave it with exit", look), ("here-/work-half-/memory", "exit\n")];
    let (screen, success) = at_a_terminal(&rhumb, 24, &["build", "--interactive", "context"], &talk);
    assert!(!success && screen.contains("ended with 5"), "{screen}");
    assert_eq!(rhumb.run(["ps", "-aq"]).ok(), "");
    // From the repaired step on it goes on.
    context(&rhumb, &[("Dockerfile", &dockerfile.replace("exit 5", "true"))]);
    let outcome = rhumb.run(["build", "--interactive", "--progress", "plain", "context"]);
    assert!(outcome.success() && outcome.stderr.contains("WORKDIR /work\n#1 CACHED"), "{outcome}");
}

#[test]
fn a_script_opens_a_shell_at_the_end_of_a_build() {
    let rhumb = Rhumb::with_base();
    std::fs::write(rhumb.path("b.rhai"), r#"build::from("base:1").run("echo made > /made").sh(); print("after");"#)
        .unwrap();
    let talk = [("leave it with exit", "echo seen-$(cat /made)\n"), ("seen-made", "exit\n")];
    let (screen, success) = at_a_terminal(&rhumb, 24, &["b.rhai"], &talk);
    assert!(success && screen.contains("after"), "{screen}");
}

/// The services of the step that failed are still there, and the shell is on their network.
#[test]
fn a_shell_has_the_services_of_the_step() {
    let rhumb = Rhumb::with_base();
    let script = r#"build::from("base:1").run("exit 3", #{ services: #{ db: #{ image: "base:1", command: "sleep 1000" } } }).sh();"#;
    std::fs::write(rhumb.path("b.rhai"), script).unwrap();
    let look = "echo routes-$(tail -n +2 /proc/net/route | wc -l)\n";
    let talk = [("leave it with exit", look), ("routes-1", "exit\n")];
    let (screen, success) = at_a_terminal(&rhumb, 24, &["b.rhai"], &talk);
    assert!(!success && screen.contains("ended with 3"), "{screen}");
    assert_eq!(rhumb.run(["network", "ls", "-q", "--filter", "type=custom"]).ok(), "");
}

#[test]
fn the_live_view_takes_half_of_the_window_at_most() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("Dockerfile", "FROM base:1\nRUN for i in $(seq 1 40); do echo line $i; done; sleep 1\n")]);
    let (text, success) = at_a_terminal(&rhumb, 12, &["build", "context"], &[]);
    assert!(success, "{text}");
    let mut screen = vt100::Parser::new(12.try_into().unwrap(), 100.try_into().unwrap(), 0);
    let mut tallest = 0;
    for byte in text.as_bytes() {
        screen.process(&[*byte]);
        let lines = screen.screen().contents().lines().filter(|line| line.starts_with("  line ")).count();
        tallest = tallest.max(lines);
    }
    // One line on the whole, one for the step, and the rest of six.
    assert_eq!(tallest, 4, "{text:?}");
    let end = screen.screen().contents();
    assert!(end.contains("built in") && !end.contains("  line "), "{end}");
}
