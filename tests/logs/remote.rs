//! The drivers that send entries to somebody else, with a real receiver.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::process::{PATIENCE, eventually};
use crate::support::{BASE, Rhumb};

#[test]
fn syslog_gets_every_line_and_a_copy_can_be_read() {
    let rhumb = Rhumb::with_base();
    let path = rhumb.path("syslog.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = format!("syslog-address=unixgram://{}", path.display());
    let options = [address.as_str(), "syslog-facility=local0", "syslog-format=rfc5424micro", "tag={{.Name}}"];
    let mut args = vec!["run", "--name", "box", "--log-driver", "syslog"];
    args.extend(options.iter().flat_map(|option| ["--log-opt", option]));
    args.extend([BASE, "sh", "-c", "echo out; echo err >&2; sleep 0.1; printf last"]);
    rhumb.run(&args).ok();
    let mut messages: Vec<String> = (0..3)
        .map(|_| {
            let mut buffer = [0; 2048];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        })
        .collect();
    messages.sort();
    assert!(messages[0].starts_with("<131>1 ") && messages[0].ends_with(" - err\n"), "{messages:?}");
    assert!(messages[1].starts_with("<134>1 ") && messages[1].contains(" box "), "{messages:?}");
    let words: Vec<&str> = messages[1].split(' ').collect();
    assert!(words.len() == 8 && words[1].len() == 27 && words[3] == "box" && words[6] == "-", "{messages:?}");
    assert!(messages.iter().any(|message| message.ends_with(" - out\n")));
    assert!(messages.iter().any(|message| message.ends_with(" - last\n")));
    let logs = rhumb.sh("logs box");
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\nlast", "err\n"));
    assert_eq!(rhumb.inspect("box")["HostConfig"]["LogConfig"]["Type"], "syslog");
    rhumb.sh("rm box").ok();
    rhumb.leaks().assert_clean();
}

#[test]
fn udp_without_a_copy_cannot_be_read_back() {
    let rhumb = Rhumb::with_base();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = format!("syslog-address=udp://{}", socket.local_addr().unwrap());
    let options = ["--log-driver", "syslog", "--log-opt", &address, "--log-opt", "cache-disabled=true"];
    rhumb.run(["run", "--name", "box"].into_iter().chain(options).chain([BASE, "echo", "hello"])).ok();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).unwrap();
    let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let id = crate::support::rhumb::string(&rhumb.inspect("box")["Id"]);
    assert!(message.starts_with("<30>") && message.ends_with(": hello\n") && message.contains(&id[..12]), "{message}");
    rhumb.sh("logs box").fails_with(7, "keeps no log");
    rhumb.sh("rm box").ok();
    rhumb.leaks().assert_clean();
}

#[test]
fn a_receiver_that_does_not_read_stops_nobody_in_non_blocking_mode() {
    let rhumb = Rhumb::with_base();
    let path = rhumb.path("deaf.sock");
    let _deaf = UnixDatagram::bind(&path).unwrap();
    let address = format!("syslog-address=unixgram://{}", path.display());
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo a line of some length $i; done; exec sleep 1000";
    let mut args = vec!["run", "-d", "--name", "box", "--log-driver", "syslog", "--log-opt", &address];
    args.extend(["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=64k", BASE, "sh", "-c", script]);
    rhumb.run(&args).ok();
    // The copy has every line, and what the receiver did not take is told.
    let outcome = eventually("the last line", PATIENCE, || {
        let outcome = rhumb.sh("logs box");
        outcome.stdout.ends_with("length 20000\n").then_some(outcome)
    });
    assert_eq!(outcome.stdout.lines().count(), 20_000);
    let lost = rhumb.inspect("box")["State"]["LogLost"]["Lines"].as_u64().unwrap();
    assert!(lost > 10_000, "{lost}");
    assert!(outcome.stderr.contains("output are missing"), "{outcome}");
    rhumb.sh("kill box").ok();
    rhumb.sh("wait box").ok();
    assert!(rhumb.inspect("box")["State"]["LogLost"]["Lines"].as_u64().unwrap() >= lost);
    rhumb.sh("rm box").ok();
    rhumb.leaks().assert_clean();
}

#[test]
fn a_receiver_that_goes_away_and_comes_back_holds_nobody() {
    let rhumb = Rhumb::with_base();
    let path = rhumb.path("gone.sock");
    let first = UnixDatagram::bind(&path).unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = format!("syslog-address=unixgram://{}", path.display());
    let script =
        "for word in one two; do while [ ! -e /$word ]; do sleep 0.05; done; echo $word; done; exec sleep 1000";
    let mut args = vec!["run", "-d", "--name", "box", "--log-driver", "syslog", "--log-opt", &address];
    args.extend([BASE, "sh", "-c", script]);
    rhumb.run(&args).ok();
    let say = |word: &str| {
        rhumb.run(["exec", "box", "sh", "-c", &format!(": > /{word}")]).ok();
    };
    let mut buffer = [0; 2048];
    say("one");
    assert!(first.recv(&mut buffer).is_ok_and(|length| buffer[..length].ends_with(b"one\n")));
    drop(first);
    std::fs::remove_file(&path).unwrap();
    say("two");
    crate::logged(&rhumb, "box", "two");
    let second = UnixDatagram::bind(&path).unwrap();
    second.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(second.recv(&mut buffer).is_ok_and(|length| buffer[..length].ends_with(b"two\n")));
    rhumb.sh("rm -f box").ok();
    rhumb.leaks().assert_clean();
}
