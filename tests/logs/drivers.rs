//! What the drivers that keep files do with their options.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::process::{PATIENCE, eventually};
use crate::support::{BASE, Rhumb};
use crate::{ended, folder, logged};

/// The log files in a container's folder, with their sizes.
fn files(rhumb: &Rhumb, name: &str) -> BTreeMap<String, u64> {
    let entries = std::fs::read_dir(folder(rhumb, name)).unwrap().map(Result::unwrap);
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().map_or(0, |facts| facts.len())))
        .filter(|(name, _)| name.contains(".log") && !name.ends_with(".shifts"))
        .collect()
}

#[test]
fn rotated_files_are_compressed_beside_the_running_container() {
    let rhumb = Rhumb::with_base();
    for (driver, options) in [
        ("json-file", "--log-opt max-size=100k --log-opt max-file=4 --log-opt compress=true"),
        ("local", "--log-opt max-size=100k --log-opt max-file=4"),
    ] {
        let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; echo done; exec sleep 1000";
        let run = ["run", "-d", "--name", "box", "--log-driver", driver];
        let args: Vec<&str> = run.into_iter().chain(options.split(' ')).chain([BASE, "sh", "-c", script]).collect();
        rhumb.run(&args).ok();
        logged(&rhumb, "box", "done\n");
        let found = eventually("three compressed files", PATIENCE, || {
            let found = files(&rhumb, "box");
            (found.keys().filter(|name| name.ends_with(".gz")).count() == 3 && found.len() == 4).then_some(found)
        });
        assert!(found.values().all(|size| *size <= 100_000), "{found:?}");
        let text = rhumb.sh("logs box").ok();
        let lines: Vec<&str> = text.lines().collect();
        let first: usize = lines[0].strip_prefix("line ").unwrap().parse().unwrap();
        let expected = (first..=20_000).map(|number| format!("line {number}")).chain(["done".to_owned()]);
        assert!(lines.iter().copied().eq(expected), "{driver}: a gap after line {first}");
        assert!(lines.len() > 3000, "{driver}: only {} lines", lines.len());
        let tail: Vec<String> = (17_502..=20_000).map(|number| format!("line {number}")).collect();
        assert_eq!(rhumb.sh("logs --tail 2500 box").ok(), format!("{}\ndone", tail.join("\n")));
        // What is being compressed when it ends is no matter.
        rhumb.sh("rm -f box").ok();
    }
    rhumb.leaks().assert_clean();
}

#[test]
fn no_driver_keeps_more_than_it_may_and_none_keeps_nothing() {
    let rhumb = Rhumb::with_base();
    let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done";
    for (options, most) in [
        ("--log-opt max-size=10k", 1),
        ("--log-opt max-size=10k --log-opt max-file=3", 3),
        ("--log-driver local --log-opt max-size=10k --log-opt max-file=2 --log-opt mode=non-blocking", 2),
        ("--log-driver none", 0),
    ] {
        let args: Vec<&str> =
            ["run", "--name", "box"].into_iter().chain(options.split(' ')).chain([BASE, "sh", "-c", script]).collect();
        assert_eq!(rhumb.run(&args).ok().lines().count(), 3000);
        let found = files(&rhumb, "box");
        assert!(found.len() == most && found.values().all(|size| *size <= 10_000), "{options}: {found:?}");
        let logs = rhumb.sh("logs box");
        match most {
            0 => drop(logs.fails_with(7, "keeps no log").stderr.contains("none")),
            _ => assert!(logs.ok().ends_with("line 2999\nline 3000")),
        }
        rhumb.sh("rm box").ok();
    }
    rhumb.leaks().assert_clean();
}

#[test]
fn labels_variables_and_the_tag_go_with_every_entry() {
    let rhumb = Rhumb::with_base();
    for driver in ["json-file", "local"] {
        let options = [
            "labels=tier,missing",
            "labels-regex=^com\\.",
            "env=COLOUR",
            "env-regex=^X_",
            "tag={{.Name}}/{{.ImageName}}",
        ];
        let mut args = vec!["run", "--name", "box", "--log-driver", driver];
        args.extend(options.iter().flat_map(|option| ["--log-opt", option]));
        args.extend(["--label", "tier=front end", "--label", "com.x=1", "--label", "other=2"]);
        args.extend(["-e", "COLOUR=blue,green", "-e", "X_Y=z", "-e", "Y=n", BASE, "echo", "hello"]);
        rhumb.run(&args).ok();
        let details = "COLOUR=blue%2Cgreen,X_Y=z,com.x=1,tag=box%2Fbase%3A1,tier=front+end";
        assert_eq!(rhumb.sh("logs --details box").ok(), format!("{details} hello"));
        assert_eq!(rhumb.sh("logs box").ok(), "hello");
        let config = &rhumb.inspect("box")["HostConfig"]["LogConfig"];
        assert_eq!(config["Type"], driver);
        assert_eq!(config["Config"]["labels"], "tier,missing");
        assert_eq!(config["Config"].as_object().unwrap().len(), options.len());
        // The name at the next start counts.
        rhumb.sh("rename box crate").ok();
        rhumb.sh("start -a crate").ok();
        let again = rhumb.sh("logs --details --tail 1 crate").ok();
        assert!(again.contains("tag=crate%2Fbase%3A1"), "{again}");
        rhumb.sh("rm crate").ok();
    }
    rhumb.leaks().assert_clean();
}

#[test]
fn what_cannot_be_honoured_is_refused_before_anything_is_made() {
    let rhumb = Rhumb::with_base();
    for (options, code, text) in [
        ("--log-driver jsonfile", 2, "no log driver named 'jsonfile' is registered"),
        ("--log-driver splunk", 7, "log driver \"splunk\" is not supported"),
        ("--log-opt max-sise=1m", 2, "unknown log opt 'max-sise' for json-file log driver"),
        ("--log-driver none --log-opt max-size=1m", 2, "invalid logging opts for driver none"),
        ("--log-opt compress=true", 2, "compress cannot be true"),
        ("--log-opt max-buffer-size=1m", 2, "only supported with 'mode=non-blocking'"),
        ("--log-opt tag={{.Nam}}", 2, "unknown field \".Nam\""),
        ("--log-opt tag={{.Name", 2, "without its }}"),
        ("--log-opt labels-regex=(", 2, "\"labels-regex\" is not a regular expression"),
        ("--log-driver syslog --log-opt syslog-address=unix:///nonexistent/socket", 8, "no syslog server"),
        ("--log-driver syslog --log-opt syslog-address=tcp://127.0.0.1:1", 8, "no syslog server"),
    ] {
        let args: Vec<&str> = ["create", "--name", "box"].into_iter().chain(options.split(' ')).chain([BASE]).collect();
        let outcome = rhumb.run(&args);
        outcome.fails_with(code, text);
        assert!(outcome.stderr.lines().count() <= 3, "{outcome}");
    }
    if !std::path::Path::new("/run/systemd/journal/socket").exists() {
        rhumb.sh("run --log-driver journald base:1 true").fails_with(125, "journald is not enabled on this host");
    }
    assert_eq!(rhumb.sh("ps -aq").ok(), "");
    rhumb.leaks().assert_clean();
}

#[test]
fn records_of_earlier_versions_are_read() {
    let old = json!({ "driver": "json-file", "max_size_bytes": 1000, "max_files": 2 });
    let log: rhumb::model::log::LogOptions = serde_json::from_value(old).unwrap();
    let files = log.files().unwrap();
    assert_eq!((files.max_size_bytes, files.max_files, files.compress), (Some(1000), 2, false));
}

#[test]
fn clearing_empties_the_log_of_a_running_and_of_an_ended_container() {
    let rhumb = Rhumb::with_base();
    for driver in ["json-file", "local"] {
        let script = "echo before; printf part; while [ ! -e /go ]; do sleep 0.05; done; echo after; exec sleep 1000";
        rhumb.run(["run", "-d", "--name", "box", "--log-driver", driver, BASE, "sh", "-c", script]).ok();
        logged(&rhumb, "box", "before");
        rhumb.sh("logs --clear box").ok();
        assert_eq!(rhumb.sh("logs box").ok(), "");
        rhumb.run(["exec", "box", "sh", "-c", ": > /go"]).ok();
        logged(&rhumb, "box", "after");
        // A line that was under way when the log was cleared is whole.
        assert_eq!(rhumb.sh("logs box").ok(), "partafter");
        rhumb.sh("kill box").ok();
        ended(&rhumb, "box");
        rhumb.sh("container logs --clear box").ok();
        assert_eq!((rhumb.sh("logs box").ok().as_str(), files(&rhumb, "box").len()), ("", 0));
        rhumb.sh("logs --clear box").ok();
        rhumb.sh("rm box").ok();
    }
    rhumb.sh("logs --clear nobody").fails_with(3, "nobody");
    rhumb.sh("create --name quiet --log-driver none base:1 true").ok();
    rhumb.sh("logs --clear quiet").fails_with(7, "keeps no log");
    rhumb.sh("logs --clear --follow quiet").fails(2);
    rhumb.sh("rm quiet").ok();
    rhumb.leaks().assert_clean();
}
