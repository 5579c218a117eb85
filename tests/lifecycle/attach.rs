//! Several clients on one container's streams: all of the bytes for each, also beside one that is stopped or killed.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

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
