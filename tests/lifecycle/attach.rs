//! Several clients on one container's streams: all of the bytes for each, also beside one that is stopped or killed.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::OpenptFlags;

use crate::support::process::{PATIENCE, eventually, run};
use crate::support::{BASE, Rhumb};

/// A client whose output goes to a file.
struct Client {
    child: Child,
    file: PathBuf,
}

impl Client {
    fn attach(rhumb: &Rhumb, name: &str, flags: &[&str]) -> Client {
        let file = rhumb.path(format!("{name}.out"));
        let mut command = rhumb.command(["attach"].iter().chain(flags).chain(&["box"]));
        command.stdin(Stdio::piped()).stdout(File::create(&file).unwrap()).stderr(Stdio::null());
        let client = Client { child: command.spawn().unwrap(), file };
        // What the container writes every few moments shows that it is attached.
        eventually("the client is attached", PATIENCE, || (!client.text().is_empty()).then_some(()));
        client
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }

    fn signal(&self, signal: &str) {
        run(Command::new("kill").args(["-s", signal, &self.child.id().to_string()]), None, PATIENCE).ok();
    }

    /// Its exit code, and what it got from the first line of the flood on.
    fn end(&mut self) -> (Option<i32>, String) {
        let status = eventually("the client ends", PATIENCE, || self.child.try_wait().unwrap());
        let text = self.text();
        let begin = text.find("begin").expect("the flood has begun");
        (status.code(), text[begin..].to_owned())
    }
}

/// Waits for a line, writes far more than any buffer holds, and ends with 5.
const FLOOD: &str = "(while test ! -e /go; do echo .; sleep 0.02; done) & read line; touch /go; wait; \
                     echo begin; seq 1 200000; exit 5";

fn flood() -> String {
    std::iter::once("begin\n".to_owned()).chain((1..=200_000).map(|number| format!("{number}\n"))).collect()
}

#[test]
fn every_client_gets_every_byte_beside_one_that_is_stopped() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "-i", "--name", "box", BASE, "sh", "-c", FLOOD]).ok();
    let mut stopped = Client::attach(&rhumb, "stopped", &["--no-stdin"]);
    let mut deaf = Client::attach(&rhumb, "deaf", &["--no-stdin"]);
    let mut quick = Client::attach(&rhumb, "quick", &[]);
    stopped.signal("STOP");
    // Nobody hears what a client without input is told.
    deaf.child.stdin.take().unwrap().write_all(b"not for you\n").unwrap();
    quick.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    eventually("others are served", PATIENCE, || (quick.text().len() > 100_000).then_some(()));
    stopped.signal("CONT");
    let expected = (Some(5), flood());
    for client in [&mut quick, &mut deaf, &mut stopped] {
        assert!(client.end() == expected, "{:?} differs", client.file);
    }
    let logged = rhumb.sh("logs box").stdout;
    assert!(logged.ends_with(&flood()));
}

#[test]
fn a_stopped_client_that_is_killed_holds_nobody_back() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "-i", "--name", "box", BASE, "sh", "-c", FLOOD]).ok();
    let mut stopped = Client::attach(&rhumb, "stopped", &["--no-stdin"]);
    let mut quick = Client::attach(&rhumb, "quick", &[]);
    stopped.signal("STOP");
    quick.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    eventually("others are served", PATIENCE, || (quick.text().len() > 100_000).then_some(()));
    stopped.child.kill().unwrap();
    stopped.child.wait().unwrap();
    assert!(quick.end() == (Some(5), flood()));
}

#[test]
fn a_paused_or_ended_container_takes_no_client_and_no_command() {
    let rhumb = Rhumb::with_base();
    rhumb.sh(&format!("run -d --name box {BASE} sleep 1000")).ok();
    rhumb.sh("pause box").ok();
    rhumb.sh("attach box").fails_with(5, "is paused");
    rhumb.sh("exec box true").fails_with(125, "is paused");
    rhumb.sh("unpause box").ok();
    rhumb.sh("exec box true").ok();
    rhumb.sh("stop -t 0 box").ok();
    rhumb.sh("attach box").fails_with(5, "does not run");
    rhumb.sh("exec box true").fails_with(125, "does not run");
    // Between two runs.
    rhumb.sh(&format!("run -d --name again --restart always {BASE} true")).ok();
    eventually("it rests", PATIENCE, || {
        let restarting = rhumb.states()["again"] == "restarting";
        (restarting && rhumb.sh("exec again true").stderr.contains("is restarting")).then_some(())
    });
    rhumb.sh("attach --detach-keys ctrl-nope again").fails_with(2, "\"ctrl-nope\" is not a key sequence");
}

#[test]
fn the_end_of_a_late_clients_input_is_not_the_end_of_the_containers() {
    let rhumb = Rhumb::with_base();
    let reads = "read line; echo $line; read line || exit 7; echo $line";
    rhumb.run(["run", "-di", "--name", "box", BASE, "sh", "-c", reads]).ok();
    let type_in = |text: &str| {
        let mut command = rhumb.command(["attach", "box"]);
        let mut client = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        client.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        client
    };
    let mut first = type_in("one\n");
    eventually("the first line arrives", PATIENCE, || (rhumb.sh("logs box").ok() == "one").then_some(()));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(rhumb.states()["box"], "running");
    let mut second = type_in("two\n");
    for client in [&mut first, &mut second] {
        assert!(eventually("the client ends with the container", PATIENCE, || client.try_wait().unwrap()).success());
    }
    assert_eq!(rhumb.sh("logs box").ok(), "one\ntwo");
    let attached = "{{.Config.AttachStdin}} {{.Config.AttachStdout}} {{.Config.StdinOnce}}";
    assert_eq!(rhumb.run(["inspect", "-f", attached, "box"]).ok(), "false false false");
    rhumb.sh("rm box").ok();
    // Whoever made it is another matter.
    let run = rhumb.run_with_input(["run", "-i", "--name", "box", BASE, "sh", "-c", "cat; exit 3"], b"one\n");
    assert_eq!((run.code, run.stdout.as_str()), (3, "one\n"));
    assert_eq!(rhumb.run(["inspect", "-f", attached, "box"]).ok(), "true true true");
}

#[test]
fn a_terminal_that_hangs_up_leaves_the_container_running() {
    let rhumb = Rhumb::with_base();
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let slave = File::options().read(true).write(true).open(Path::new(name.to_str().unwrap())).unwrap();
    let mut command = rhumb.command(["run", "-it", "--name", "box", BASE, "sh", "-c", "echo here; cat; exit 7"]);
    let stream = || Stdio::from(slave.try_clone().unwrap());
    let mut client = command.stdin(stream()).stdout(stream()).stderr(Stdio::null()).spawn().unwrap();
    drop((slave, command));
    eventually("it is attached", PATIENCE, || rhumb.sh("logs box").stdout.contains("here").then_some(()));
    drop(master);
    eventually("the client ends", PATIENCE, || client.try_wait().unwrap());
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(rhumb.states()["box"], "running");
}

#[test]
fn a_running_container_is_attached_to_by_start() {
    let rhumb = Rhumb::with_base();
    let waits = "while test ! -e /go; do sleep 0.05; done; echo bye; exit 6";
    rhumb.run(["run", "-d", "--name", "box", BASE, "sh", "-c", waits]).ok();
    // The monitor's connections: one more with the client.
    let status = std::fs::read_to_string(format!("/proc/{}/status", rhumb.inspect("box")["State"]["Pid"])).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    let sockets = || {
        let open = std::fs::read_dir(format!("/proc/{monitor}/fd")).unwrap().flatten();
        let links = open.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket")).count()
    };
    let before = sockets();
    let file = rhumb.path("out");
    let mut command = rhumb.command(["start", "-a", "box"]);
    let mut client = command.stdin(Stdio::null()).stdout(File::create(&file).unwrap()).spawn().unwrap();
    eventually("the client is attached", PATIENCE, || (sockets() > before).then_some(()));
    std::thread::sleep(Duration::from_millis(200));
    rhumb.touch("box", "/go");
    let status = eventually("the client ends", PATIENCE, || client.try_wait().unwrap());
    assert_eq!((status.code(), std::fs::read_to_string(&file).unwrap().as_str()), (Some(6), "bye\n"));
}

#[test]
fn several_containers_are_stopped_at_once() {
    let rhumb = Rhumb::with_base();
    let names = ["one", "two", "three", "four"];
    for name in names {
        // As process 1 without a handler it does not hear SIGTERM.
        rhumb.sh(&format!("run -d --name {name} {BASE} sleep 1000")).ok();
    }
    let begun = Instant::now();
    let stopped = rhumb.sh("stop -t 1 one no two three four");
    assert!(begun.elapsed() < Duration::from_secs(4), "one after the other: {:?}", begun.elapsed());
    assert_eq!(stopped.fails_with(3, "no such container").stdout, "one\ntwo\nthree\nfour\n");
}

/// A client that never reads holds up the container's output, but none of those who end, restart or remove it.
#[test]
fn a_client_that_does_not_read_holds_nobody_up_who_ends_the_container() {
    let rhumb = Rhumb::with_base();
    for (name, verb) in [("aa", "stop -t 0"), ("bb", "restart -t 0"), ("cc", "rm -f")] {
        let mut command = rhumb.command(["run", "--name", name, BASE, "sh", "-c", "while :; do echo yes; done"]);
        let mut client = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let length = || rhumb.sh(&format!("logs --tail 1 {name}")).stdout.len();
        eventually("it writes", PATIENCE, || (length() > 0).then_some(()));
        let size = || {
            let id = crate::support::rhumb::string(&rhumb.inspect(name)["Id"]);
            rhumb.root().join(format!("containers/{id}/{id}-json.log")).metadata().unwrap().len()
        };
        let mut before = 0;
        eventually("it is held up", PATIENCE, || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let now = size();
            (std::mem::replace(&mut before, now) == now).then_some(())
        });
        let ended = rhumb.sh(&format!("{verb} {name}"));
        assert!(ended.success() && ended.elapsed < std::time::Duration::from_secs(5), "{ended}");
        match verb {
            "rm -f" => assert!(!rhumb.states().contains_key(name)),
            "restart -t 0" => assert_eq!(rhumb.states()[name], "running"),
            _ => assert_eq!(rhumb.states()[name], "exited"),
        }
        drop(client.stdout.take());
        eventually("the client ends", PATIENCE, || client.try_wait().unwrap());
        rhumb.sh(&format!("rm -f {name}"));
    }
    rhumb.leaks().assert_clean();
}
