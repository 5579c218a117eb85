//! Users, groups, rights and environment of every process that a container gets.

use std::fs;

use crate::raw::{MODE, Raw, file, symlink as link};
use crate::stage::{Stage, status_field};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/srv:/bin/sh\n1000:x:0:0::/root:/bin/sh\nbig:x:4294967295:0::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nwww:x:34:\nadm:x:4:www,other\ndocker:x:99:www\n";

/// A stage whose image has the users of [`PASSWD`] and [`GROUP`].
fn stage() -> Stage {
    let stage = Stage::empty();
    stage.image("base:1", &[file("etc/passwd", PASSWD), file("etc/group", GROUP)], &[]);
    stage
}

const NONE: &str = "0000000000000000";
/// Docker's fourteen capabilities.
const DOCKERS: &str = "00000000a80425fb";

/// `/proc/self/status` of a new container's first process and of one that is executed in it.
fn statuses(stage: &Stage, flags: &[&str]) -> [String; 2] {
    let cat = ["cat", "/proc/self/status"];
    let run = stage.run(&[flags, &["base:1"], &cat].concat()).ok();
    stage.sleeper(&[flags, &["base:1"]].concat());
    let user: Vec<&str> = flags.iter().skip_while(|flag| **flag != "-u").take(2).copied().collect();
    let exec = stage.rhumb.run([&["exec"], &user[..], &["box"], &cat].concat()).ok();
    stage.rhumb.run(["rm", "-f", "box"]).ok();
    [run, exec]
}

/// Row 13: capabilities were inheritable, and any program with inheritable file capabilities got them.
#[test]
fn cve_2022_29162() {
    let stage = stage();
    let users: [&[&str]; 6] = [
        &[],
        &["-u", "www"],
        &["-u", "1234:5678"],
        &["--cap-add", "ALL"],
        &["-u", "www", "--cap-add", "NET_ADMIN"],
        &["--privileged", "-u", "33"],
    ];
    for flags in users {
        for status in statuses(&stage, flags) {
            for set in ["CapInh", "CapAmb"] {
                assert_eq!(status_field(&status, set), NONE, "{flags:?}");
            }
        }
    }
    stage.sleeper(&["base:1"]);
    let privileged = stage.rhumb.run(["exec", "--privileged", "box", "cat", "/proc/self/status"]).ok();
    assert_eq!(status_field(&privileged, "CapInh"), NONE);
    assert_ne!(status_field(&privileged, "CapEff"), DOCKERS, "the twin: it has more when asked to");
}

/// Row 14: a user who is not root had root's capabilities.
#[test]
fn cve_2016_8867() {
    let stage = stage();
    stage.image("user:1", &[file("etc/passwd", PASSWD), file("etc/group", GROUP)], &["USER www"]);
    for flags in [&["-u", "www"][..], &["-u", "1234"], &["-u", "1:0"], &["-u", "www", "--cap-add", "SYS_ADMIN"]] {
        for status in statuses(&stage, flags) {
            for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
                assert_eq!(status_field(&status, set), NONE, "{flags:?} {set}");
            }
        }
    }
    let of_image = stage.run(&["user:1", "cat", "/proc/self/status"]).ok();
    assert_eq!((status_field(&of_image, "CapPrm"), status_field(&of_image, "CapEff")), (NONE, NONE));
    stage.sleeper(&["base:1"]);
    let other = stage.rhumb.run(["exec", "-u", "www", "box", "cat", "/proc/self/status"]).ok();
    assert_eq!((status_field(&other, "CapPrm"), status_field(&other, "CapEff")), (NONE, NONE));
    stage.rhumb.remove_all();
    for status in statuses(&stage, &[]) {
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(status_field(&status, set), DOCKERS, "root has Docker's");
        }
    }
    for status in statuses(&stage, &["--cap-drop", "ALL", "--cap-add", "CHOWN"]) {
        assert_eq!(
            (status_field(&status, "CapEff"), status_field(&status, "CapBnd")),
            ("0000000000000001", "0000000000000001")
        );
    }
}

/// Row 18: what containers share is read-only, whatever one of them holds; a write goes to its own layer.
#[test]
fn cve_2022_0847() {
    let stage = stage();
    stage.sleeper(&["base:1"]);
    let script = "echo evil >> /etc/passwd; rm /etc/group; chmod 777 /usr/bin/true; mount -o remount,rw / 2>/dev/null; cat /etc/passwd | wc -l";
    assert_eq!(stage.run(&["base:1", "sh", "-c", script]).ok(), "5");
    assert_eq!(stage.exec("wc -l < /etc/passwd; wc -l < /etc/group; stat -c %a /usr/bin/true").ok(), "4\n4\n755");
    let lower = "perl -e 'open F, \"<\", \"/proc/self/mountinfo\"; print grep { / \\/ \\/ / } <F>'";
    assert!(stage.exec(lower).ok().contains("overlay"));
    assert_eq!(stage.run(&["base:1", "sh", "-c", "wc -l < /etc/passwd"]).ok(), "4");
    stage.rhumb.assert_consistent();
}

/// Row 35: a device node of an image was the host's disk.
#[test]
fn devices_in_layers() {
    let stage = Stage::empty();
    let node = |name: &str, kind: u8, major: &str, minor: &str| {
        Raw::new(kind, name.as_bytes(), b"", b"")
            .put(MODE, b"0000666")
            .put(crate::raw::MAJOR, major.as_bytes())
            .put(337..345, minor.as_bytes())
    };
    let nodes = [
        node("disk", b'4', "0000376", "0000000"),
        node("vda", b'4', "0000010", "0000000"),
        node("mem", b'3', "0000001", "0000001"),
        node("kmsg", b'3', "0000001", "0000013"),
        node("loop", b'3', "0000012", "0000355"),
        node("zero", b'3', "0000001", "0000005"),
    ];
    stage.image("base:1", &nodes, &[]);
    for name in ["disk", "vda", "mem", "kmsg", "loop"] {
        for mode in ["<", ">>"] {
            let script = format!("stat -c %F /{name}; (: {mode} /{name}) 2>&1 | grep -c 'not permitted'");
            let said = stage.run(&["base:1", "sh", "-c", &script]);
            assert!(said.stdout.ends_with("special file\n1\n"), "{name} {mode}: {said}");
        }
    }
    assert_eq!(
        stage.run(&["base:1", "sh", "-c", "head -c 3 /zero | wc -c; mknod /mine c 1 3 && echo > /mine"]).ok(),
        "3"
    );
    stage.sleeper(&["base:1"]);
    assert!(stage.exec("head -c 1 /disk").code != 0, "nor for what is executed later");
}

/// Row 38: `/etc/passwd` of an image as a pipe, a link to an endless device or a huge file hung or filled the host.
#[test]
fn cve_2024_9676() {
    let stage = Stage::empty();
    let huge = format!("{PASSWD}{}", "#".repeat(2 << 20));
    let fifo = |name: &str| Raw::new(b'6', name.as_bytes(), b"", b"");
    for (number, entries) in [
        vec![fifo("etc/passwd")],
        vec![file("etc/passwd", PASSWD), fifo("etc/group")],
        vec![link("etc/passwd", "/dev/zero")],
        vec![link("etc/passwd", "/dev/tty")],
        vec![link("etc/passwd", "/proc/self/fd/0")],
        vec![link("etc/passwd", "passwd")],
        vec![Raw::new(b'5', b"etc/passwd", b"", b"")],
        vec![file("etc/passwd", &huge)],
        vec![link("etc/group", "/dev/full"), file("etc/passwd", PASSWD)],
    ]
    .into_iter()
    .enumerate()
    {
        let image = format!("evil:{number}");
        stage.image(&image, &entries, &[]);
        let said = stage.refused(&stage.run(&["-u", "www", &image, "true"]));
        assert!(said.contains("/etc/"), "{number}: {said}");
        if number < 3 {
            // What it is at the start need not be what it is at an exec.
            stage.image("fair:1", &[file("etc/passwd", PASSWD), file("etc/group", GROUP)], &[]);
            stage.sleeper(&["fair:1"]);
            let swap = [
                "rm -f /etc/passwd; mkfifo /etc/passwd",
                "rm /etc/group; mkfifo /etc/group",
                "ln -sf /dev/zero /etc/passwd",
            ];
            stage.exec(swap[number]).ok();
            let outcome = stage.rhumb.run(["exec", "-u", "www", "box", "true"]);
            stage.rhumb.remove_all();
            stage.refused(&outcome);
        }
    }
    let canary = stage.outside("canary");
    stage.image("away:1", &[link("etc/passwd", &canary)], &[]);
    stage.refused(&stage.run(&["-u", "www", "away:1", "true"]));
    stage.image("link:1", &[file("lib/passwd", PASSWD), link("etc/passwd", "/../lib/passwd")], &[]);
    assert_eq!(stage.run(&["-u", "www", "link:1", "id", "-u"]).ok(), "33", "a link inside is fine");
}

/// Row 28: a helper on the host loaded libraries, and read name service settings, of the container.
#[test]
fn cve_2019_14271() {
    let stage = Stage::empty();
    let marker = "marker";
    let switch = "passwd: evil\ngroup: evil\nhosts: evil\n";
    let mut entries = vec![file("etc/passwd", PASSWD), file("etc/group", GROUP), file("etc/nsswitch.conf", switch)];
    for folder in ["lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu"] {
        entries.push(file(&format!("{folder}/libnss_evil.so.2"), "not a library"));
    }
    entries.push(file("etc/ld.so.preload", "/evil.so\n"));
    stage.image("evil:1", &entries, &["ENV GCONV_PATH=/evil LOCPATH=/evil MALLOC_CONF=x"]);
    let outcome = stage.run(&["-u", "www", "--group-add", "docker", "evil:1", "sh", "-c", "id -G; echo $HOME"]);
    assert_eq!(outcome.ok(), "34 4 99\n/srv", "names are found without anybody's help");
    stage.sleeper(&["evil:1"]);
    // Every file that is mapped by a process of the engine for this container is our own program.
    let (_, monitor) = crate::stage::pids(&stage.rhumb);
    let maps = fs::read_to_string(crate::stage::proc(monitor).join("maps")).unwrap();
    let files: Vec<&str> =
        maps.lines().filter_map(|line| line.split_whitespace().nth(5)).filter(|name| name.starts_with('/')).collect();
    assert!(
        files.iter().all(|name| !name.contains("nss") && !name.contains("gconv") && !name.contains("locale")),
        "{files:?}"
    );
    assert!(!stage.rhumb.path(marker).exists());
    assert_eq!(stage.rhumb.run(["exec", "-u", "www:adm", "box", "id", "-g"]).ok(), "4");
}

/// Row 43: a user that is a name made of digits, or a number that does not fit, was root.
#[test]
fn cve_2016_3697() {
    let stage = stage();
    assert_eq!(
        stage.run(&["-u", "1000", "base:1", "id", "-u"]).ok(),
        "1000",
        "a number is a number, whatever passwd says"
    );
    for user in [
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "-1",
        "+0",
        "0x0",
        " 0",
        "0 ",
        "nobody",
        "www:-1",
        "www:4294967296",
        "0:nogroup",
        "big",
        "root\n",
        "www:",
        ":0:0",
        "::",
        "a:b:c",
    ] {
        let outcome = stage.run(&["-u", user, "base:1", "id", "-u"]);
        if ["www:", ":0:0", "::"].contains(&user) && outcome.success() {
            assert_eq!(outcome.ok(), if user == "www:" { "33" } else { "0" });
            continue;
        }
        stage.refused(&outcome);
    }
}

/// Row 43: as CVE-2016-3697, for processes that are executed later.
#[test]
fn cve_2018_9862() {
    let stage = stage();
    stage.sleeper(&["base:1"]);
    for user in ["4294967295", "4294967296", "-1", "+0", "nobody", "0:nogroup", "1:4294967295", "99999999999999999999"]
    {
        let outcome = stage.rhumb.run(["exec", "-u", user, "box", "id", "-u"]);
        assert!(!outcome.success() && !outcome.stdout.contains('0'), "{outcome}");
        assert!((1..=3).contains(&outcome.stderr.lines().count()), "{outcome}");
    }
    assert_eq!(stage.rhumb.run(["exec", "-u", "4294967294", "box", "id", "-u"]).ok(), "4294967294");
    assert_eq!(stage.rhumb.run(["exec", "-u", "1000", "box", "id", "-u"]).ok(), "1000");
    assert_eq!(stage.rhumb.run(["exec", "-u", "www", "box", "id", "-u"]).ok(), "33");
}

/// Row 43: a number in the image's config did not fit and became root.
#[test]
fn cve_2024_40635() {
    let stage = Stage::empty();
    let files = [file("etc/passwd", PASSWD), file("etc/group", GROUP)];
    for (number, user) in
        ["4294967296", "65536000000000000000", "0:4294967296", "-1", "-9223372036854775808"].iter().enumerate()
    {
        let image = format!("evil:{number}");
        if stage.import(&image, &files, &[&format!("USER {user}")]).success() {
            stage.refused(&stage.run(&[&image, "id", "-u"]));
        }
    }
    stage.image("fair:1", &files, &["USER 2147483648:2147483649"]);
    assert_eq!(stage.run(&["fair:1", "sh", "-c", "id -u; id -g"]).ok(), "2147483648\n2147483649");
}

/// Row 44: supplementary groups were not set, and what a file denies to a group was open to its members.
#[test]
fn cve_2022_36109() {
    let stage = stage();
    let script = "grep -E '^Groups' /proc/self/status";
    let groups = |flags: &[&str]| -> [String; 2] {
        let shell = ["sh", "-c", script];
        let run = stage.run(&[flags, &["base:1"], &shell].concat());
        stage.sleeper(&[flags, &["base:1"]].concat());
        let user: Vec<&str> = flags.iter().skip_while(|flag| **flag != "-u").take(2).copied().collect();
        let exec = stage.rhumb.run([&["exec"], &user[..], &["box"], &shell].concat());
        stage.rhumb.run(["rm", "-f", "box"]).ok();
        [run, exec].map(|outcome| status_field(&outcome.ok(), "Groups").to_owned())
    };
    assert_eq!(groups(&["-u", "www"]), ["4 34 99"; 2]);
    assert_eq!(groups(&["-u", "33"]), ["4 34 99"; 2]);
    assert_eq!(groups(&["-u", "1234:5678"]), ["5678"; 2], "the primary one, and none of the engine's");
    assert_eq!(groups(&["-u", "www:adm", "--group-add", "777", "--group-add", "docker"]), ["4 99 777"; 2]);
    assert_eq!(groups(&[]), ["0"; 2]);
    // The negative group: a file that denies docker what it gives to all others.
    stage.image(
        "deny:1",
        &[
            file("etc/passwd", PASSWD),
            file("etc/group", GROUP),
            file("denied", "x").put(MODE, b"0000604").put(116..124, b"0000143"),
        ],
        &[],
    );
    let denied = stage.run(&["-u", "www", "deny:1", "cat", "/denied"]);
    assert!(!denied.success(), "{denied}");
    assert_eq!(stage.run(&["-u", "77", "deny:1", "cat", "/denied"]).ok(), "x");
}

/// Row 45: the environment of the host or of another container was a container's.
#[test]
fn cve_2021_21334() {
    let stage = stage();
    let run = |args: &[&str]| {
        let mut command = stage.rhumb.command(args);
        command.env("HOST_SECRET", "leaked").env("LD_PRELOAD_X", "leaked").env("AWS_KEY", "leaked");
        crate::support::process::run(&mut command, None, crate::support::process::PATIENCE).ok()
    };
    run(&["run", "-d", "--name", "box", "-e", "OTHERS=leaked", "base:1", "sleep", "1000"]);
    for said in [
        run(&["run", "--rm", "base:1", "env"]),
        run(&["exec", "box", "env"]),
        run(&["run", "--rm", "--init", "base:1", "sh", "-c", "cat /proc/1/environ; true"]),
    ] {
        assert!(!said.contains("HOST_SECRET") && !said.contains("AWS_KEY") && !said.contains("RHUMB"), "{said}");
    }
    assert!(!run(&["run", "--rm", "base:1", "env"]).contains("leaked"));
    let asked = run(&["run", "--rm", "-e", "HOST_SECRET", "base:1", "env"]);
    assert!(asked.contains("HOST_SECRET=leaked") && !asked.contains("AWS_KEY"), "the twin: what is asked for: {asked}");
}

/// Row 62: a list of processors as large as numbers go ate the memory.
#[test]
fn cve_2018_20699() {
    let stage = stage();
    for set in [
        "1-4294967295",
        "0-4294967294",
        "4294967295",
        "0-99999999999999999999",
        "0-0,0-4294967295",
        "9-1",
        "a",
        "-1",
        "0,,1",
        "1-",
    ] {
        for flag in ["--cpuset-cpus", "--cpuset-mems"] {
            let mut command = std::process::Command::new("/bin/sh");
            // 1 GiB of address space and 5 s of time are enough to say no.
            command.args([
                "-c",
                "ulimit -v 1048576 -t 5; exec rhumb \"$@\"",
                "sh",
                "run",
                "--rm",
                flag,
                set,
                "base:1",
                "true",
            ]);
            stage.rhumb.environ(&mut command);
            let outcome = crate::support::process::run(&mut command, None, crate::support::process::PATIENCE);
            stage.refused(&outcome);
        }
    }
    assert_eq!(
        stage.run(&["--cpuset-cpus", "0", "base:1", "grep", "Cpus_allowed_list", "/proc/self/status"]).ok(),
        "Cpus_allowed_list:\t0"
    );
}

/// Not a row: `/proc/self/status` of every stage's product in one place, for whoever changes the last steps before execve.
#[test]
fn a_process_begins_clean() {
    let stage = stage();
    // Ignored by whoever starts the engine: an ordinary signal, a real-time one, and one that the C library keeps.
    let ignoring = "trap '' HUP TERM; exec perl -e '$SIG{RTMIN} = $SIG{NUM40} = \"IGNORE\"; exec @ARGV' rhumb \"$@\"";
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", ignoring, "sh", "run", "-d", "--name", "box", "base:1", "sleep", "1000"]);
    stage.rhumb.environ(&mut command);
    crate::support::process::run(&mut command, None, crate::support::process::PATIENCE).ok();
    let script = "umask; grep -E '^(Sig(Blk|Ign)|Seccomp|TracerPid|NoNewPrivs)' /proc/self/status; pwd; ulimit -c";
    let mut both = vec![stage.exec(script).ok()];
    both.push(stage.run(&["base:1", "sh", "-c", script]).ok());
    for said in both {
        assert!(said.starts_with("0022\n") && said.contains("\n/\n"), "{said}");
        for (field, value) in [("SigBlk", NONE), ("SigIgn", NONE), ("TracerPid", "0"), ("NoNewPrivs", "0")] {
            assert_eq!(status_field(&said, field), value, "{said}");
        }
    }
}
