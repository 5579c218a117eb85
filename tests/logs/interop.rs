//! The same containers by a Docker daemon of our own: `docker logs` and `rhumb logs` say the same, byte for byte but for
//! the times. Either engine reads what the other wrote. Not installed is a counted skip (see `support/peers.rs`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::docker::Docker;
use crate::support::{BASE, Rhumb};
use crate::{ended, folder};

/// Replaces every time by one word: they stand before each line, and inside of one that was kept in pieces.
fn without_times(text: &str) -> String {
    const FORM: &str = "dddd-dd-ddTdd:dd:dd.dddddddddZ ";
    let fits = |text: &str| {
        let pairs = FORM.bytes().zip(text.bytes());
        text.len() >= FORM.len() && { pairs }
            .all(|(form, byte)| if form == b'd' { byte.is_ascii_digit() } else { form == byte })
    };
    let (mut out, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        match fits(rest) {
            true => out.push_str("TIME "),
            false => out.push(first),
        }
        rest = &rest[if fits(rest) { FORM.len() } else { first.len_utf8() }..];
    }
    out
}

fn own_log(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.to_string_lossy().ends_with("-json.log")).unwrap()
}

#[test]
fn docker_shows_the_same() {
    let Some(docker) = Docker::start() else { return };
    let rhumb = Rhumb::with_base();
    let tar = rhumb.path("root.tar").display().to_string();
    rhumb.sh("create --name source base:1 true").ok();
    rhumb.run(["export", "-o", &tar, "source"]).ok();
    rhumb.sh("rm source").ok();
    docker.run(&["import", &tar, BASE]).ok();
    let script = "echo one; sleep 0.2; echo 'err <&> \"x\"' >&2; sleep 0.2; printf 'two\\n\\nthree\\r\\n\\ttab'; sleep 0.2; \
                  echo \u{e4} again; i=0; line=; while [ $i -lt 2000 ]; do i=$((i+1)); line=${line}0123456789; done; \
                  echo $line; sleep 0.2; printf end";
    let options = ["--log-opt", "labels=a,b", "--log-opt", "env=E", "--log-opt", "tag=t-{{.Name}}"];
    let mut args =
        vec!["run", "--name", "box", "--network", "none", "--label", "a=x y", "--label", "b=1,2", "-e", "E=e"];
    args.extend(options);
    args.extend([BASE, "sh", "-c", script]);
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"];
    let theirs: Vec<&str> = args[..1].iter().chain(&limits).chain(&args[1..]).copied().collect();
    docker.run(&theirs).ok();
    rhumb.run(&args).ok();
    ended(&rhumb, "box");
    for options in [
        "",
        "--tail 0",
        "--tail 1",
        "--tail 2",
        "--tail 4",
        "--tail all",
        "--tail -1",
        "-t",
        "-t --tail 3",
        "--details",
        "--details -t --tail 6",
        "--since 1h",
        "--since 2000-01-01T00:00:00Z --tail 2",
        "--since 2100-01-01",
        "--since 4000000000",
        "--until 2000-01-01T00:00:00",
        "--until 1000000000.5",
        "--since 1h --until 4000000000",
        "--follow --tail 2",
    ] {
        let args: Vec<&str> = ["logs"].into_iter().chain(options.split_whitespace()).chain(["box"]).collect();
        let (theirs, ours) = (docker.run(&args), rhumb.run(&args));
        theirs.ok();
        ours.ok();
        let same = |ours: &str, theirs: &str| without_times(ours) == without_times(theirs);
        let both = same(&ours.stdout, &theirs.stdout) && same(&ours.stderr, &theirs.stderr);
        assert!(both, "{options}\nours:\n{ours}\ntheirs:\n{theirs}");
    }
    // Each file is for either.
    let id = docker.run(&["inspect", "--format", "{{.Id}}", "box"]).ok();
    let (theirs, ours) = (own_log(&docker.dir.join("data/containers").join(id)), own_log(&folder(&rhumb, "box")));
    let (their_text, our_text) = (docker.run(&["logs", "box"]).bytes, rhumb.sh("logs box").bytes);
    let (their_file, our_file) = (fs::read(&theirs).unwrap(), fs::read(&ours).unwrap());
    fs::write(&theirs, our_file).unwrap();
    fs::write(&ours, their_file).unwrap();
    assert!(rhumb.sh("logs box").bytes == their_text, "what Docker wrote");
    assert!(docker.run(&["logs", "box"]).bytes == our_text, "what Rhumb wrote");
    // The same refusals.
    for (options, text) in [
        ("--log-opt x=1", "unknown log opt 'x' for json-file log driver"),
        ("--log-driver none --log-opt max-size=1m", "invalid logging opts for driver none"),
        ("--log-driver local --log-opt x=1", "unknown log opt 'x' for log driver local"),
        ("--log-opt mode=fast", "logging mode not supported: fast"),
        ("--log-opt max-buffer-size=1m", "max-buffer-size option is only supported with 'mode=non-blocking'"),
        ("--log-driver syslog --log-opt syslog-facility=x", "invalid syslog facility"),
    ] {
        let args: Vec<&str> = ["create"].into_iter().chain(options.split(' ')).chain([BASE, "true"]).collect();
        for outcome in [docker.run(&args), rhumb.run(&args)] {
            assert!(!outcome.success() && outcome.stderr.contains(text), "{text}: {outcome}");
        }
    }
    docker.run(&["rm", "box"]).ok();
    rhumb.sh("rm box").ok();
    rhumb.leaks().assert_clean();
}
