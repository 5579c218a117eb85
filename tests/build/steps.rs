//! What single steps get and leave: names that are no text, patterns, secrets, proxies, reasons.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

use crate::dockerfile::{build, context, seen};
use crate::support::Rhumb;
use crate::support::process::{self, PATIENCE};

#[test]
fn names_that_are_no_text_are_copied_and_told_apart() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("dir/plain", "p")]);
    let odd = |name: &[u8]| folder.join("dir").join(OsStr::from_bytes(name));
    std::fs::create_dir(odd(b"d\xff")).unwrap();
    std::fs::write(odd(b"a\xff"), "one").unwrap();
    std::fs::write(odd(b"d\xff/in"), "in").unwrap();
    let dockerfile = "FROM base:1\nCOPY dir /all/\nCOPY dir/a* /some/\nCOPY dir/?? /two/\nCOPY dir/*/in /in/\n\
                      COPY --parents dir/a* /parents/\n";
    build(&rhumb, dockerfile, &["-t", "made:1"]).ok();
    let look = "cat /all/a? /all/d?/in /some/a? /two/a? /two/in /in/in /parents/dir/a?; ls /some | wc -l";
    assert_eq!(seen(&rhumb, "made:1", look), "oneinoneoneininone1");
    // Another name that is no text is another file.
    std::fs::rename(odd(b"a\xff"), odd(b"a\xfe")).unwrap();
    build(&rhumb, dockerfile, &["-t", "made:2"]).ok();
    let names = |image: &str| seen(&rhumb, image, "ls /some | od -An -tx1 2>/dev/null || ls -b /some");
    assert_ne!(names("made:1"), names("made:2"));
}

#[test]
fn what_is_excluded_is_so_below_its_source() {
    let rhumb = Rhumb::with_base();
    let files = ["src/a.txt", "src/b.md", "src/sub/a.txt", "src/sub/keep.txt", "src/src/x.md", "top.txt", "top.md"];
    let folder = context(&rhumb, &files.map(|file| (file, "x")));
    let copied = |flags: &str, sources: &str| {
        let dockerfile = format!("FROM base:1\nCOPY {flags} {sources} /x/\n");
        context(&rhumb, &[("Dockerfile", &dockerfile)]);
        rhumb.run(["build", "-q", "-t", "made:1", folder.to_str().unwrap()]).ok();
        seen(&rhumb, "made:1", "cd /x && find . -type f | sort | tr '\\n' ' '")
    };
    for (flags, sources, wanted) in [
        ("--exclude=*.txt", "src", "./b.md ./src/x.md ./sub/a.txt ./sub/keep.txt "),
        ("--exclude=**/*.txt", "src", "./b.md ./src/x.md "),
        ("--exclude=**/*.txt --exclude=!sub/keep.txt", "src", "./b.md ./src/x.md ./sub/keep.txt "),
        ("--exclude=src", "src", "./a.txt ./b.md ./sub/a.txt ./sub/keep.txt "),
        ("--exclude=sub --exclude=*.md", "src", "./a.txt ./src/x.md "),
        ("--exclude=*.txt", "top*", "./top.md "),
        ("--exclude=*.txt", "src/*", "./b.md ./keep.txt ./x.md "),
    ] {
        // Of `src/*` each match is a source itself: below `sub` there are two files that its pattern means.
        let wanted = if sources == "src/*" { "./b.md ./x.md " } else { wanted };
        assert_eq!(copied(flags, sources), wanted, "{flags} {sources}");
    }
}

/// A secret lies in memory while a step has it, and is gone with the step, or with the next command.
#[test]
fn a_secret_is_never_on_a_disk() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("secret", "hunter-in-memory-22")]);
    let flag = format!("id=s,src={}", folder.join("secret").display());
    let memory = format!("rhumb-memory-{}", rhumb.root_id());
    let places = || ["/run", "/dev/shm"].map(|above| std::path::Path::new(above).join(&memory));
    let held = || places().iter().any(|place| place.exists());
    let dockerfile = "FROM base:1\nRUN --mount=type=secret,id=s,mode=0444 cat /run/secrets/s && sleep 1000\n";
    context(&rhumb, &[("Dockerfile", dockerfile)]);
    let mut child = rhumb.spawn(["build", "-q", "--secret", &flag, "context"]);
    let containers = || std::fs::read_dir(rhumb.root().join("containers")).map_or(0, Iterator::count);
    process::eventually("the step", PATIENCE, || (held() && containers() > 0).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    let mut grep = std::process::Command::new("grep");
    let found = process::run(grep.args(["-rl", "hunter-in-memory-22"]).arg(rhumb.root()), None, PATIENCE);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found.stdout, "", "{found}");
    process::eventually("the end of the step", PATIENCE, || {
        rhumb.run(["ps", "-aq"]).ok();
        (containers() == 0 && !held()).then_some(())
    });
    build(&rhumb, &dockerfile.replace(" && sleep 1000", ""), &["--secret", &flag]).ok();
    assert!(!held());
}

#[test]
fn a_wait_for_another_build_that_writes_a_cache_ends_with_ctrl_c() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("Dockerfile", "FROM base:1\nRUN echo x > /x\n")]);
    let cache = rhumb.path("cache");
    std::fs::create_dir(&cache).unwrap();
    let lock = std::fs::File::create(cache.join("rhumb-cache.lock")).unwrap();
    lock.lock().unwrap();
    let target = format!("type=local,dest={}", cache.display());
    let mut child = rhumb.spawn(["build", "-q", "--cache-to", &target, folder.to_str().unwrap()]);
    process::eventually("the step", PATIENCE, || {
        (rhumb.script("print(build::cache().steps)").ok() == "1").then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    process::interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Proxies are given to commands without being declared, and are no part of what the steps come to.
#[test]
fn a_proxy_is_there_and_leaves_nothing() {
    let rhumb = Rhumb::with_base();
    let dockerfile = "FROM base:1\nRUN echo $HTTP_PROXY $no_proxy >&2; test -n \"$HTTP_PROXY\"\n";
    let flags = |proxy: &'static str| ["-t", "made:1", "--build-arg", proxy, "--build-arg", "no_proxy=localhost"];
    let first = build(&rhumb, dockerfile, &flags("HTTP_PROXY=http://one.example:1"));
    assert!(first.success() && first.stderr.contains("http://one.example:1 localhost"), "{first}");
    let second = build(&rhumb, dockerfile, &flags("HTTP_PROXY=http://two.example:2"));
    assert!(second.success() && second.stderr.contains("CACHED"), "{second}");
    let kept = [rhumb.run(["history", "--no-trunc", "made:1"]).ok(), rhumb.run(["inspect", "made:1"]).ok()].concat();
    assert!(!kept.contains("example"), "{kept}");
}

#[test]
fn why_compares_with_the_step_that_stood_there() {
    let rhumb = Rhumb::with_base();
    let why = |steps: &str| {
        let line = format!("let b = build::from(\"base:1\"){steps}; b.solve(); print(b.why());");
        let text = rhumb.script(&line).ok();
        text.lines().map(|line| line.rsplit_once(": ").unwrap_or((line, "cached")).1.to_owned()).collect::<Vec<_>>()
    };
    let never = "it was never done before";
    // All of them are on one line of the script.
    assert_eq!(why(r#".run("echo a").workdir("/w").run("echo b").run("echo c")"#), [never, never, never, never]);
    assert_eq!(why(r#".run("echo a").workdir("/w").run("echo b").run("echo d")"#)[3], "the command changed");
    assert_eq!(why(r#".run("echo a").workdir("/w").run("echo b").copy("x", "/x", #{ content: "x" })"#)[3], never);
}

/// What is built in other surroundings, to see what changes, is not what later builds find.
#[test]
fn a_build_that_is_verified_is_the_usual_one() {
    let rhumb = Rhumb::with_base();
    let dockerfile = "FROM base:1 AS one\nRUN echo x > /x\nFROM base:1\nCOPY --from=one /x /x\n";
    let id = |flags: &[&str]| {
        build(&rhumb, dockerfile, &[&["-q", "-t", "made:1"], flags].concat()).ok();
        seen(&rhumb, "made:1", "stat -c %a /x") + " " + rhumb.run(["images", "-q", "made:1"]).ok().as_str()
    };
    let usual = id(&[]);
    assert!(usual.starts_with("644 "), "{usual}");
    assert_eq!(id(&["--verify"]), usual);
    assert_eq!(id(&[]), usual);
}

#[test]
fn only_the_stage_that_failed_is_said_to_have() {
    let rhumb = Rhumb::with_base();
    let dockerfile = "FROM base:1 AS bad\nRUN echo why; exit 3\nFROM base:1\nCOPY --from=bad /x /x\n";
    for flags in [&["-q"][..], &["--progress", "plain"], &["--progress", "json"]] {
        let outcome = build(&rhumb, dockerfile, flags);
        assert!(outcome.stderr.contains("why") && !outcome.stderr.contains("COPY --from"), "{outcome}");
    }
}

#[test]
fn flags_of_docker_mean_what_they_say() {
    let rhumb = Rhumb::with_base();
    let dockerfile = "FROM base:1 AS first\nRUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max \
                      2>/dev/null > /limit || true\n";
    build(&rhumb, dockerfile, &["-q", "-m", "32m", "-o", "type=image,name=named:1", "-t", "made:1"]).ok();
    assert_eq!(seen(&rhumb, "named:1", "cat /limit"), "33554432");
    let more = build(&rhumb, dockerfile, &["--memory", "64m", "-t", "made:2"]);
    assert!(more.stderr.contains("CACHED"), "a limit is no part of what a step is\n{more}");
    for (flags, wanted) in [
        (&["--memory", "x"][..], "reading --memory"),
        (&["--cpuset-cpus", "x"], "reading --cpuset-cpus"),
        (&["--call", "outlines"], "\"outlines\" is not supported"),
        (&["--cgroup-parent", "../x"], "reading --cgroup-parent"),
        (&["--progress", "fancy"], "it takes auto, plain"),
        (&["--secret", "x"], "write id=VALUE or src=VALUE"),
        (&["--secret", "id=x,file=y"], "it takes id, src, env, type"),
        (&["--secret", "id=x,src=/nope"], "reading the secret \"x\" from \"/nope\""),
    ] {
        let outcome = build(&rhumb, dockerfile, flags);
        assert!(!outcome.success() && outcome.stderr.contains(wanted), "{wanted}\n{outcome}");
    }
    let warned = build(&rhumb, dockerfile, &["-q", "--no-cache-filter", "frist"]);
    assert!(warned.success() && warned.stderr.contains("did you mean \"first\"?"), "{warned}");
    assert!(build(&rhumb, dockerfile, &["--call=check"]).ok().contains("No warnings"));
}

/// As BuildKit reads owners: a user alone is also the group, and a group alone leaves the files to the superuser.
#[test]
fn owners_stand_on_either_side_of_the_colon() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("f", "x")]);
    let owners = [("5", "5:5"), ("5:6", "5:6"), (":7", "0:7"), ("root:8", "0:8"), ("9:root", "9:0")];
    let copies: String =
        owners.iter().enumerate().map(|(n, (owner, _))| format!("COPY --chown={owner} f /{n}\n")).collect();
    build(&rhumb, &format!("FROM base:1\n{copies}"), &["-t", "made:1"]).ok();
    let wanted: Vec<&str> = owners.iter().map(|(_, wanted)| *wanted).collect();
    assert_eq!(seen(&rhumb, "made:1", "stat -c %u:%g /[0-4]"), wanted.join("\n"));
    // No file says who that is.
    build(&rhumb, "FROM scratch\nCOPY --chown=root:root f /\n", &[]).ok();
}

#[test]
fn a_key_is_as_good_as_an_agent() {
    let rhumb = Rhumb::with_base();
    if crate::support::peers::peer("ssh-keygen").is_none() {
        return;
    }
    let key = |name: &str, word: &str| {
        let path = rhumb.path(name);
        let mut command = std::process::Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-C", name, "-N", word, "-f"]).arg(&path);
        process::run(&mut command, None, PATIENCE).ok();
        path.display().to_string()
    };
    let (one, two, locked) = (key("one", ""), key("two", ""), key("locked", "a word that nobody gives"));
    rhumb.script(r#"image::from_host(["sh", "ssh-add"], "ssh:1")"#).ok();
    let dockerfile = "FROM ssh:1\nRUN --mount=type=ssh ssh-add -L > /keys\n";
    let out = rhumb.path("out");
    let output = format!("type=local,dest={}", out.display());
    let ssh = format!("default={one},{two}");
    build(&rhumb, dockerfile, &["--ssh", &ssh, "-o", &output]).ok();
    let public = |path: &str| std::fs::read_to_string(format!("{path}.pub")).unwrap();
    assert_eq!(std::fs::read_to_string(out.join("keys")).unwrap(), [public(&one), public(&two)].concat());
    let line =
        format!(r#"build::from("ssh:1").run("ssh-add -L > /keys", #{{ ssh: "{two}" }}).output("{}")"#, out.display());
    rhumb.script(&line).ok();
    assert_eq!(std::fs::read_to_string(out.join("keys")).unwrap(), public(&two));
    for (ssh, wanted) in [
        (format!("default={locked}"), "cannot be used: it has a passphrase"),
        (format!("default={one}.pub"), "cannot be used"),
        (format!("default={one}.nope"), "looking at"),
        (format!("default={}", rhumb.path("").display()), "neither the socket"),
    ] {
        let outcome = build(&rhumb, dockerfile, &["--no-cache", "--ssh", &ssh]);
        assert!(!outcome.success() && outcome.stderr.contains(wanted), "{wanted}\n{outcome}");
    }
}
