//! `top`: Docker's columns of `ps -ef`, and whatever the host's ps shows.

use std::time::Duration;

use crate::support::process::eventually;
use crate::support::{BASE, Rhumb};

const SOON: Duration = Duration::from_secs(20);

/// The cells of a table, its titles first.
fn cells(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn top_shows_the_columns_of_ps_for_all_processes_also_while_paused() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "c1", BASE, "sh", "-c", "sleep 300; true"]).ok();
    rhumb.run(["exec", "-d", "-u", "65534", "c1", "sleep", "400"]).ok();
    let pid = rhumb.inspect("c1")["State"]["Pid"].to_string();
    let text = eventually("all three are there", SOON, || {
        let text = rhumb.sh("top c1").ok();
        (text.lines().count() == 4).then_some(text)
    });
    let rows = cells(&text);
    assert_eq!(rows[0], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert_eq!((rows[1][0].as_str(), &rows[1][1], rows[1][5].as_str()), ("root", &pid, "?"), "{text}");
    assert_eq!(rows[1][7..], ["sh", "-c", "sleep", "300;", "true"], "{text}");
    assert!(rows[2..].iter().any(|row| row[2] == pid && row[7..] == ["sleep", "300"]), "{text}");
    assert!(rows[2..].iter().any(|row| row[0] == "nobody" && row[7..] == ["sleep", "400"]), "{text}");
    assert!(rows[1..].iter().all(|row| row[4].len() == 5 && row[6].starts_with("00:00:0")), "{text}");

    rhumb.sh("pause c1").ok();
    assert_eq!(cells(&rhumb.sh("top c1").ok()).len(), 4);
    assert_eq!(cells(&rhumb.sh("container top c1 -o pid,args").ok()).len(), 4);
    rhumb.sh("unpause c1").ok();
    // What the host's own ps says of one of them, but for what may have passed meanwhile.
    let peer = std::process::Command::new("ps").args(["-ef", "-q", &pid]).output().expect("the host's ps");
    let peer = cells(&String::from_utf8_lossy(&peer.stdout));
    assert_eq!((&peer[0], &peer[1][..3], &peer[1][4..6]), (&rows[0], &rows[1][..3], &rows[1][4..6]));
    assert_eq!(peer[1][7..], rows[1][7..]);
}

#[test]
fn top_has_what_is_in_cgroups_of_the_containers_own() {
    let rhumb = Rhumb::with_base();
    let nest = "mkdir /sys/fs/cgroup/unified/nest /sys/fs/cgroup/nest 2>&-; \
                for f in /sys/fs/cgroup/unified/nest /sys/fs/cgroup/nest; do echo 0 > $f/cgroup.procs; done 2>&-; \
                echo ready; exec sleep 300";
    rhumb.run(["run", "-d", "--privileged", "--name", "c1", BASE, "sh", "-c", nest]).ok();
    eventually("it has moved", SOON, || rhumb.sh("logs c1").stdout.contains("ready").then_some(()));
    let text =
        eventually("it sleeps", SOON, || Some(rhumb.sh("top c1").ok()).filter(|text| text.contains("sleep 300")));
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn options_of_ps_pick_columns_and_mistakes_are_told() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "c1", BASE, "sleep", "300"]).ok();
    let pid = rhumb.inspect("c1")["State"]["Pid"].to_string();
    assert_eq!(cells(&rhumb.sh("top c1 -o pid,args").ok()), [vec!["PID", "COMMAND"], vec![&pid, "sleep", "300"]]);
    let aux = cells(&rhumb.sh("top c1 aux").ok());
    assert_eq!((aux[0][1].as_str(), &aux[1][1], aux.len()), ("PID", &pid, 2));
    // A forest cannot be asked for by numbers, so it is picked out of the whole one.
    assert_eq!(cells(&rhumb.sh("top c1 -e -f f").ok()).len(), 2);

    rhumb.sh("top c1 --surely-no-such-option").fails_with(2, "ps refuses the options \"--surely-no-such-option\"");
    rhumb.sh("top c1 -o args").fails_with(2, "shows no column PID");
    rhumb.sh("top c1 -o pid=NUMBER").fails_with(2, "renames the column");
    let outcome = rhumb.command(["top", "c1", "aux"]).env("PATH", "/surely/nowhere").output().unwrap();
    let error = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(outcome.status.code() == Some(7) && error.contains("has no ps"), "{error}");
    let plain = rhumb.command(["top", "c1"]).env("PATH", "/surely/nowhere").output().unwrap();
    assert!(plain.status.success(), "the default needs no ps");

    rhumb.sh("top nosuch").fails_with(3, "no such container \"nosuch\"");
    rhumb.sh("kill c1").ok();
    rhumb.sh("top c1").fails_with(5, "the container \"c1\" is not running");
    rhumb.sh("top c1 aux").fails_with(5, "the container \"c1\" is not running");
}
