//! The rows that a bundle can concern, through `rhumb oci`: what other engines get when Rhumb is their runtime.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundles::Bundles;
use crate::stage::{CANARY, status_field};
use crate::support::process::{self, PATIENCE, eventually};
use crate::support::rhumb::binary;

/// Row 1: `create`, `run` and `exec` never let a process of the container reach the binary writable.
#[test]
fn cve_2019_5736() {
    let bundles = Bundles::new();
    let copy = bundles.rhumb.path("rhumb");
    fs::copy(binary(), &copy).unwrap();
    let before = fs::read(&copy).unwrap();
    let oci = |args: &[&str]| {
        let mut command = Command::new(&copy);
        bundles.rhumb.environ(&mut command);
        command.arg("oci").arg("--root").arg(bundles.state()).args(args);
        command
    };
    let folder = bundles.bundle("box", "exec sleep 1000", |_| {});
    fs::write(folder.join("rootfs/bin/self"), "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(folder.join("rootfs/bin/self"), fs::Permissions::from_mode(0o755)).unwrap();
    process::run(&mut oci(&["create", "-b", folder.to_str().unwrap(), "box"]), None, PATIENCE).ok();
    let state: serde_json::Value = serde_json::from_str(&bundles.oci(&["state", "box"]).ok()).unwrap();
    // The first process waits for its start as our program: a handle that outlives it must not be writable.
    let handle = fs::File::open(format!("/proc/{}/exe", state["pid"])).unwrap();
    process::run(&mut oci(&["start", "box"]), None, PATIENCE).ok();
    let mut inside = oci(&["exec", "box", "/proc/self/exe", "-"]);
    let mut inside = inside.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let found = "for p in /proc/[0-9]*; do [ \"$(cat $p/comm)\" = exe ] && echo ${p#/proc/}; done; true";
    let pid = eventually("our binary runs inside", PATIENCE, || {
        let pid = bundles.oci(&["exec", "box", "sh", "-c", found]).ok();
        (!pid.is_empty()).then_some(pid)
    });
    let attack = format!(
        "exec 3</proc/{pid}/exe; kill -9 {pid}; while [ -e /proc/{pid}/exe ]; do sleep 0.01; done; (: >> /proc/self/fd/3) && echo OPENED; true"
    );
    let said = process::run(&mut oci(&["exec", "box", "sh", "-c", &attack]), None, PATIENCE);
    assert!(!said.stdout.contains("OPENED"), "{said}");
    inside.wait().unwrap();
    process::run(&mut oci(&["exec", "box", "/bin/self"]), None, PATIENCE); // whether it can is not the question
    bundles.delete("box");
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
    let error = eventually("nobody executes it any more", PATIENCE, || {
        let error = fs::OpenOptions::new().append(true).open(&again).expect_err("it could be opened for writing");
        (error.raw_os_error() != Some(26)).then_some(error) // ETXTBSY
    });
    assert_eq!(error.raw_os_error(), Some(30), "{error}"); // EROFS
    assert_eq!(fs::read(&copy).unwrap(), before);
}

/// Row 2: no descriptor of the runtime, of its caller or of the host survives, and no working folder leads out.
#[test]
fn cve_2024_21626() {
    let bundles = Bundles::new();
    let list = "exec perl -e 'opendir D, q(/proc/self/fd); print join(q( ), sort grep { /\\d/ && $_ != 3 } readdir D)'";
    let folder = bundles.bundle("box", list, |_| {});
    let leaking = |args: &[&str]| {
        let mut command = Command::new("/bin/sh");
        let line = "exec 4</ 5</etc 6</proc/self/exe 7</ 9<outside/canary; exec rhumb oci \"$@\"";
        command.args(["-c", line, "sh", "--root"]).arg(bundles.state()).args(args);
        bundles.rhumb.environ(&mut command);
        process::run(&mut command, None, PATIENCE)
    };
    assert_eq!(leaking(&["run", "-b", folder.to_str().unwrap(), "box"]).ok(), "0 1 2");
    bundles.bundle("box", "exec sleep 1000", |_| {});
    leaking(&["run", "-d", "-b", folder.to_str().unwrap(), "box"]).ok();
    assert_eq!(leaking(&["exec", "box", "sh", "-c", list]).ok(), "0 1 2");
    assert_eq!(bundles.oci(&["exec", "box", "ls", "/proc/1/fd"]).ok(), "0\n1\n2");
    let climb = format!(
        "cat ../../../../../../../../../..{} ./canary 2>/dev/null; pwd -P",
        bundles.rhumb.path("outside/canary").display()
    );
    for number in 0..16 {
        let cwd = format!("/proc/self/fd/{number}");
        let outcome = leaking(&["exec", "--cwd", &cwd, "box", "sh", "-c", &climb]);
        assert!(!outcome.stdout.contains(CANARY), "{outcome}");
    }
    bundles.delete("box");
    for number in 0..16 {
        let folder =
            bundles.bundle("box", &climb, |config| config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}")));
        let outcome = leaking(&["run", "-b", folder.to_str().unwrap(), "box"]);
        assert!(!outcome.stdout.contains(CANARY), "{number}: {outcome}");
        bundles.delete("box");
    }
    // The twin: what the caller asks to be preserved is, and no more.
    let folder = bundles.bundle("box", "cat <&3; ls /proc/self/fd", |_| {});
    let mut command = Command::new("/bin/sh");
    let line = format!(
        "exec 3<outside/canary 4</ 5</etc; exec rhumb oci --root {} run --preserve-fds 1 -b {} box",
        bundles.state().display(),
        folder.display()
    );
    bundles.rhumb.environ(command.args(["-c", &line]));
    let outcome = process::run(&mut command, None, PATIENCE);
    assert!(outcome.ok().starts_with(CANARY) && !outcome.stdout.contains("\n5"), "{outcome}");
    bundles.delete("box");
}

/// Row 3: a container that may trace reached the host through processes on their way into its pid namespace.
#[test]
fn cve_2016_9962() {
    let bundles = Bundles::new();
    let watch = format!(
        r#"exec perl -e '$| = 1; open O, ">", "/said"; select O; $| = 1; print "ready\n";
        while (1) {{
            opendir P, "/proc" or next;
            for my $pid (grep {{ /^\d+$/ && $_ != $$ }} readdir P) {{
                for my $place ("root", "cwd", "fd/3/..", "fd/4/..", "fd/5", "fd/6", "fd/7", "fd/8", "fd/9") {{
                    if (open F, "<", "/proc/$pid/$place/{canary}") {{ print "REACHED through $place\n"; close F; }}
                }}
            }}
            closedir P;
        }}'"#,
        canary = bundles.rhumb.path("outside/canary").display()
    );
    let folder = bundles.bundle("watch", &watch, |config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] =
                json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
        }
    });
    bundles.oci(&["run", "-d", "-b", folder.to_str().unwrap(), "watch"]).ok();
    let said = || fs::read_to_string(folder.join("rootfs/said")).unwrap_or_default();
    eventually("it watches", PATIENCE, || said().contains("ready").then_some(()));
    let state: serde_json::Value = serde_json::from_str(&bundles.oci(&["state", "watch"]).ok()).unwrap();
    for _ in 0..12 {
        bundles.oci(&["exec", "watch", "true"]).ok();
        let beside = bundles.bundle("box", "echo beside; cat /proc/1/comm", |config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            let pids = namespaces.iter_mut().find(|one| one["type"] == "pid").unwrap();
            pids["path"] = json!(format!("/proc/{}/ns/pid", state["pid"]));
        });
        assert_eq!(bundles.run(&beside).ok(), "beside\nperl");
    }
    assert_eq!(said(), "ready\n");
    assert!(
        bundles.oci(&["exec", "watch", "ls", "/proc/1/root/bin/perl"]).success(),
        "the twin: its own can be traced"
    );
    bundles.delete("watch");
}

/// Rows 4, 5 and 11: the kernel's folders of the root file system are links, and mounts that would deceive.
#[test]
fn cve_2019_19921() {
    let bundles = Bundles::new();
    let outside = bundles.rhumb.path("outside");
    for name in ["proc", "sys", "dev"] {
        for target in [outside.clone(), "/tmp".into(), "tmp".into(), name.into()] {
            let folder = bundles.bundle("box", "true", |_| {});
            let place = folder.join("rootfs").join(name);
            fs::remove_dir(&place).unwrap();
            symlink(&target, &place).unwrap();
            let outcome = bundles.run(&folder);
            assert!(!outcome.success(), "{name} to {target:?}: {outcome}");
            bundles.refused(&outcome);
            bundles.delete("box");
            fs::remove_file(&place).unwrap();
            fs::create_dir(&place).unwrap();
        }
    }
    let entries: Vec<_> = fs::read_dir(&outside).unwrap().collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    for destination in ["/proc/self/attr", "/proc/sys", "/proc/1", "/proc/../proc/sys/kernel", "/tmp/../proc/sys"] {
        let folder = bundles.bundle("box", "true", |config| {
            let mount = json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"});
            config["mounts"].as_array_mut().unwrap().push(mount);
        });
        bundles.refused(&bundles.run(&folder));
        bundles.delete("box");
    }
    bundles.run(&bundles.bundle("box", "test -e /proc/self/status", |_| {})).ok();
    bundles.delete("box");
}

/// Row 9: the null device of the root file system is something else, with which secrets are covered.
#[test]
fn cve_2025_31133() {
    let bundles = Bundles::new();
    let secret = "maskedPaths";
    for (make, good) in [
        ("ln -s /proc/sys/kernel/core_pattern null", false),
        ("ln -s ../etc/passwd null", false),
        ("mkfifo null", false),
        ("mknod null c 1 5", false),
        ("mknod null c 1 3", true),
    ] {
        let folder = bundles.bundle("box", "cat /etc/secret; echo evil > /etc/secret", |config| {
            // Without a /dev of the runtime's own, the root file system's is what there is.
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            config["linux"][secret] = json!(["/etc/secret"]);
        });
        fs::write(folder.join("rootfs/etc/secret"), "secret").unwrap();
        crate::stage::host(&folder.join("rootfs/dev"), "sh", &["-c", &format!("rm -f *; {make}")]);
        let outcome = bundles.run(&folder);
        assert!(!outcome.stdout.contains("secret"), "{make}: {outcome}");
        assert!(good || !outcome.success(), "{make}: {outcome}");
        assert_eq!(fs::read_to_string(folder.join("rootfs/etc/secret")).unwrap(), "secret", "{make}");
        bundles.delete("box");
    }
}

/// Row 13: nothing is inheritable unless the configuration says so, for a run and for an exec, whatever the caller had.
#[test]
fn cve_2022_29162() {
    let bundles = Bundles::new();
    let caps = "exec cat /proc/self/status";
    let folder = bundles.bundle("box", caps, |_| {});
    let status = bundles.run(&folder).ok();
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status_field(&status, set), "0000000000000000");
    }
    let asks = |config: &mut serde_json::Value| {
        for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            config["process"]["capabilities"][set] = json!(["CAP_CHOWN"]);
        }
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    };
    let status = bundles.run(&bundles.bundle("box", caps, asks)).ok();
    for set in ["CapInh", "CapAmb", "CapEff", "CapBnd"] {
        assert_eq!(status_field(&status, set), "0000000000000001", "the twin: what is asked for is there");
    }
    bundles.bundle("box", "exec sleep 1000", |_| {});
    bundles.oci(&["run", "-d", "-b", folder.to_str().unwrap(), "box"]).ok();
    for args in [
        &["exec", "box", "cat", "/proc/self/status"][..],
        &["exec", "-u", "1000:1000", "box", "cat", "/proc/self/status"],
        &["exec", "--cap", "CAP_KILL", "box", "cat", "/proc/self/status"],
    ] {
        let status = bundles.oci(args).ok();
        assert_eq!(status_field(&status, "CapInh"), "0000000000000000", "{args:?}");
    }
    bundles.delete("box");
}

/// Row 68: a hook had the environment of the image or of the caller, with libraries to load before its own.
#[test]
fn cve_2025_23266() {
    let bundles = Bundles::new();
    let said = bundles.rhumb.path("said");
    let folder = bundles.bundle("box", "exec sleep 1000", |config| {
        config["process"]["env"] = json!(["LD_PRELOAD=/evil.so", "PATH=/bin", "OF_THE_IMAGE=1"]);
        for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
            let script = match kind {
                // This one runs inside, where the host's folder is not.
                "startContainer" => "/bin/env > /said".to_owned(),
                _ => format!("/usr/bin/env > {}.{kind}", said.display()),
            };
            config["hooks"][kind] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["ITS=own"]}]);
        }
    });
    let mut command = bundles.command(&["create", "-b", folder.to_str().unwrap(), "box"]);
    command.env("OF_THE_CALLER", "1").env("LD_LIBRARY_PATH", "/evil");
    process::run(&mut command, None, PATIENCE).ok();
    process::run(bundles.command(&["start", "box"]).env("OF_THE_CALLER", "1"), None, PATIENCE).ok();
    process::run(bundles.command(&["delete", "--force", "box"]).env("OF_THE_CALLER", "1"), None, PATIENCE).ok();
    let mut texts = vec![fs::read_to_string(folder.join("rootfs/said")).unwrap()];
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        texts.push(
            fs::read_to_string(format!("{}.{kind}", said.display())).unwrap_or_else(|error| panic!("{kind}: {error}")),
        );
    }
    for text in texts {
        assert!(text.contains("ITS=own"), "the twin: its own is there: {text}");
        for name in ["OF_THE", "LD_", "RHUMB", "PATH=/bin\n"] {
            assert!(!text.lines().any(|line| line.starts_with(name)), "{text}");
        }
    }
    bundles.delete("box");
}

/// Row 20: the states of containers, and the socket that starts one, are the superuser's.
#[test]
fn cve_2021_41103() {
    let bundles = Bundles::new();
    let folder =
        bundles.bundle("box", "find / -xdev -name '*.sock' 2>/dev/null; ls /run 2>/dev/null; exec sleep 1000", |_| {});
    bundles.create(&folder).ok();
    let state = bundles.state().join("box");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&bundles.state()) & 0o077, mode(&state) & 0o077), (0, 0));
    let sockets =
        fs::read_dir(&state).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_socket()).count();
    assert_eq!(sockets, 1);
    // No path leads there from inside, in the file system or through what the first process holds.
    bundles.oci(&["start", "box"]).ok();
    let inside = "ls -d /tmp/rhumb-*; ls /proc/1/fd; cat /proc/1/net/unix | grep -c start.sock; true";
    let said = bundles.oci(&["exec", "box", "sh", "-c", inside]);
    assert_eq!(said.stdout, "0\n1\n2\n0\n", "{said}");
    bundles.delete("box");
}

/// Row 43, and ids in paths: an id or a user that is not one.
#[test]
fn cve_2026_30892() {
    let bundles = Bundles::new();
    let folder = bundles.bundle("box", "exec sleep 1000", |_| {});
    for id in ["", ".", "..", "../box", "a/b", "/etc", "a b", "a\nb", &"x".repeat(5000)] {
        let outcome = bundles.oci(&["create", "-b", folder.to_str().unwrap(), "--", id]);
        assert!(!outcome.success() && !outcome.stderr.contains("panicked"), "{id:?}: {outcome}");
    }
    bundles.oci(&["run", "-d", "-b", folder.to_str().unwrap(), "box"]).ok();
    for user in ["-1", "4294967295", "4294967296", "0:-1", "root", "", "0:0:0", "1:4294967295", "+0", " 0"] {
        let outcome = bundles.oci(&["exec", &format!("--user={user}"), "box", "id", "-u"]);
        assert!(
            !outcome.success() && outcome.stdout.is_empty() && !outcome.stderr.contains("panicked"),
            "{user:?}: {outcome}"
        );
    }
    assert_eq!(bundles.oci(&["exec", "--user=7:8", "box", "id", "-u"]).ok(), "7");
    bundles.delete("box");
}
