//! `rhumb build`: which recipe is taken, what is checked and printed, what is refused.

use std::path::PathBuf;

use crate::support::Rhumb;

/// A folder with these files.
fn folder(rhumb: &Rhumb, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = rhumb.path(name);
    std::fs::create_dir_all(&dir).unwrap();
    for (file, text) in files {
        std::fs::write(dir.join(file), text).unwrap();
    }
    dir
}

#[test]
fn a_dockerfile_is_checked_and_printed_as_a_script() {
    let rhumb = Rhumb::with_base();
    let text = "ARG V=1\nFROM base:$V AS one\nENV PATH=/x:$PATH\nRUN true\nFROM one\nCMD echo\nCOPY note.md /\n";
    let dir = folder(&rhumb, "plain", &[("Dockerfile", text), (".dockerignore", "*.md\n")]);
    let dir = dir.to_str().unwrap();
    let script = rhumb.run(["build", "--to-rhai", "-t", "made:1", "--target", "one", dir]);
    let script = script.ok();
    assert!(
        script.starts_with("#!/usr/bin/env rhumb\n\nlet one = build::from(\"base:1\");\none.env(#{ PATH: \"/x:"),
        "{script}"
    );
    assert!(script.ends_with("one.run(\"true\");\n\nprint(one.commit(\"made:1\").id);"), "{script}");
    let checked = rhumb.run(["build", "--check", dir]);
    assert_eq!(checked.stdout.lines().count(), 1, "{checked}");
    assert!(checked.stdout.starts_with("Dockerfile:6:1: JSONArgsRecommended: "), "{checked}");
    let unused = rhumb.run(["build", "--to-rhai", "--build-arg", "TYPO=1", dir]);
    assert!(unused.stderr.contains("no ARG declares TYPO"), "{unused}");
    rhumb.run(["build", "--to-rhai", "--target", "on", dir]).fails_with(3, "did you mean \"one\"?");
    rhumb
        .run_with_input(["build", "--to-rhai", "-"], b"FROM base:1\nRNU x\n")
        .fails_with(2, "Dockerfile:2:1: unknown instruction");
}

#[test]
fn a_build_script_comes_first() {
    let rhumb = Rhumb::with_base();
    let script = "print(`script ${arg(\"tag\", \"none\")} ${arg(\"mode\", \"none\")}`);\n";
    let dir = folder(&rhumb, "both", &[("Dockerfile", "FROM base:1\n"), ("build.rhai", script)]);
    let path = dir.to_str().unwrap();
    assert_eq!(rhumb.run(["build", "-t", "x:1", "--build-arg", "mode=fast", path]).ok(), "script x:1 fast");
    // What only a Dockerfile can say is said of it, also beside a script, which may be what the shell has made for it.
    assert_eq!(rhumb.run(["build", "--check", path]).ok(), "No warnings.");
    let printed = rhumb.run(["build", "--to-rhai", path]).ok();
    assert!(printed.contains("build::from(\"base:1\")"), "{printed}");
    let alone = folder(&rhumb, "alone", &[("build.rhai", script)]);
    for flag in ["--check", "--to-rhai", "--call=outline"] {
        rhumb.run(["build", flag, alone.to_str().unwrap()]).fails_with(2, "are for Dockerfiles, and");
    }
    for (flag, hint) in [("--push", "push: true"), ("--timeline=x", "--file"), ("--output=x", "b.output(DIR)")] {
        let outcome = rhumb.run(["build", flag, path]);
        outcome.fails_with(2, "is for Dockerfiles, and the recipe is a build script");
        assert!(outcome.stderr.contains(hint), "{outcome}");
    }
    let file = dir.join("Dockerfile");
    assert_eq!(rhumb.run(["build", "--check", "-f", file.to_str().unwrap(), path]).ok(), "No warnings.");
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let rhumb = Rhumb::with_base();
    let dir = folder(&rhumb, "refused", &[("Dockerfile", "FROM base:1\n")]);
    let dir = dir.to_str().unwrap();
    for flag in ["--cache-to=type=gha", "--builder=x", "--squash", "--security-opt=seccomp=x"] {
        let name = flag.split('=').next().unwrap();
        rhumb.run(["build", flag, dir]).fails_with(7, name);
    }
    let empty = folder(&rhumb, "empty", &[]);
    rhumb.run(["build", empty.to_str().unwrap()]).fails_with(3, "has no build.rhai and no Dockerfile");
    rhumb.run(["build", "ftp://example.org/x.tar"]).fails_with(7, "cannot be fetched");
    let bad = folder(&rhumb, "bad", &[("Dockerfile", "FROM base:1\n"), (".dockerignore", "ok\n[\n")]);
    rhumb.run(["build", "--check", bad.to_str().unwrap()]).fails_with(2, "line 2");
}
