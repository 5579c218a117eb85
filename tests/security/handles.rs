//! Handles of the host: the engine's binary, descriptors, working folders, sockets, folders with state, and the processes
//! that enter a container.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::raw::Raw;
use crate::stage::{CANARY, Stage, pids, proc};
use crate::support::process::{self, PATIENCE, eventually};
use crate::support::rhumb::binary;

fn script(name: &str, text: &str) -> Raw {
    Raw::new(b'0', name.as_bytes(), b"", text.as_bytes())
}

/// A copy of the engine's program: everybody else runs the original, which is busy for that alone.
fn own_binary(stage: &Stage) -> std::path::PathBuf {
    let copy = stage.rhumb.path("rhumb");
    fs::copy(binary(), &copy).unwrap();
    copy
}

fn own_command(stage: &Stage, copy: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(copy);
    stage.rhumb.environ(&mut command);
    command.args(args);
    command
}

/// Row 1: a container overwrote the runtime's binary through `/proc/PID/exe` of the process that entered it.
#[test]
fn cve_2019_5736() {
    let stage = Stage::empty();
    let entries = [script("bin/self", "#!/proc/self/exe\n"), script("bin/fair", "#!/bin/sh\necho fair $1\n")];
    stage.image("base:1", &entries, &[]);
    let copy = own_binary(&stage);
    let before = fs::read(&copy).unwrap();
    let run = |args: &[&str]| process::run(&mut own_command(&stage, &copy, args), None, PATIENCE);
    run(&["run", "-d", "--name", "box", "base:1", "sleep", "1000"]).ok();
    // What a container's program is before it is executed is our own binary, and its name can make it stay that.
    let mut inside = own_command(&stage, &copy, &["exec", "-i", "box", "/proc/self/exe", "-"]);
    let mut inside = inside.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let found = "for p in /proc/[0-9]*; do case $(cat $p/comm) in exe) echo ${p#/proc/};; esac; done";
    let pid = eventually("our binary runs inside", PATIENCE, || {
        let pids = run(&["exec", "box", "sh", "-c", found]).ok();
        (!pids.is_empty()).then_some(pids)
    });
    assert!(pid.parse::<u32>().is_ok(), "{pid:?}");
    // The descriptor outlives the process, whose text would be busy otherwise: this is how it was done.
    let attack = format!(
        "exec 3</proc/{pid}/exe; kill -9 {pid}; while [ -e /proc/{pid}/exe ]; do sleep 0.01; done
         for n in 1 2 3 4 5 6 7 8 9; do (: >> /proc/self/fd/3) 2>&1 && echo OPENED; sleep 0.02; done; true"
    );
    let said = run(&["exec", "box", "sh", "-c", &attack]);
    let text = format!("{}{}", said.stdout, said.stderr);
    assert!(
        !text.contains("OPENED") && text.contains("denied") | text.contains("Read-only") | text.contains("busy"),
        "{said}"
    );
    inside.wait().unwrap();
    // As the first process, by its name and as the interpreter of a script.
    for program in ["/proc/self/exe", "/bin/self"] {
        let outcome = run(&["run", "--rm", "base:1", program, "version"]);
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    }
    assert_eq!(run(&["exec", "box", "/bin/fair", "play"]).ok(), "fair play");
    // And with nobody in the way: a descriptor of the monitor's program that was opened while it ran, by the superuser
    // of the host, who may write to the file itself.
    let (_, monitor) = pids(&stage.rhumb);
    let handle = fs::File::open(proc(monitor).join("exe")).unwrap();
    stage.rhumb.remove_all();
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
    let error = eventually("nobody executes it any more", PATIENCE, || {
        let error =
            fs::OpenOptions::new().append(true).open(&again).expect_err("the program could be opened for writing");
        (error.raw_os_error() != Some(26)).then_some(error) // ETXTBSY
    });
    assert_eq!(error.raw_os_error(), Some(30), "{error}"); // EROFS
    assert!(fs::OpenOptions::new().append(true).open(&copy).is_ok(), "the file itself can be updated");
    assert_eq!(fs::read(&copy).unwrap(), before, "the binary was changed");
}

/// Row 2: a working folder through a leaked descriptor was one of the host.
#[test]
fn cve_2024_21626() {
    let stage = Stage::empty();
    for number in [7, 8] {
        stage.image(&format!("fd:{number}"), &[], &[&format!("WORKDIR /proc/self/fd/{number}")]);
    }
    stage.image("base:1", &[Raw::new(b'2', b"away", b"/proc/self/fd/8", b"")], &[]);
    stage.sleeper(&["base:1"]);
    let canary = stage.outside("canary");
    let climb = format!("cat ./canary ../{up}{canary} 2>/dev/null; pwd -P; true", up = "../".repeat(12));
    let mut folders: Vec<String> = (0..24).map(|number| format!("/proc/self/fd/{number}")).collect();
    folders.extend(["/proc/self/cwd", "/proc/1/root", "/proc/self/root/..", "/away", "/dev/fd/8"].map(str::to_owned));
    for (number, folder) in folders.iter().enumerate() {
        let entered = stage.rhumb.run(["exec", "-w", folder, "box", "sh", "-c", &climb]);
        assert!(!entered.stdout.contains(CANARY) && !entered.stdout.contains("unreachable"), "{entered}");
        assert!(entered.code == 0 || entered.stderr.lines().count() <= 3, "{entered}");
        if number % 5 == 0 || number >= 24 {
            let ran = stage.run(&["-w", folder, "base:1", "sh", "-c", &climb]);
            assert!(!ran.stdout.contains(CANARY) && !ran.stdout.contains("unreachable"), "{ran}");
        }
    }
    for number in [7, 8] {
        let ran = stage.run(&[&format!("fd:{number}"), "sh", "-c", &climb]);
        assert!(ran.code != 0 || !ran.stdout.contains(CANARY), "{ran}");
    }
    for folder in ["/", "/usr/bin", "/made/for/it"] {
        assert_eq!(stage.run(&["-w", folder, "base:1", "pwd", "-P"]).ok(), folder);
    }
    assert_eq!(stage.rhumb.run(["exec", "-w", "/usr/bin", "box", "pwd", "-P"]).ok(), "/usr/bin");
    stage.untouched();
}

/// Row 2: no process in a container has a descriptor but its three streams, whatever the engine was started with.
#[test]
fn cve_2024_21626_only_three_descriptors() {
    let stage = Stage::new();
    // Descriptors of the host in the engine's own process, not marked close-on-exec.
    let with_leaks = |args: &[&str]| {
        let mut command = Command::new("/bin/sh");
        let line = "exec 5</etc 6</ 9</proc/self/exe 8>>outside/canary; exec rhumb \"$@\"";
        command.args(["-c", line, "sh"]).args(args);
        stage.rhumb.environ(&mut command);
        process::run(&mut command, None, PATIENCE).ok()
    };
    let list =
        "exec perl -e 'opendir D, q(/proc/self/fd); print join(q( ), sort grep { /\\d/ && $_ != fileno D } readdir D)'";
    let list = list.replace("fileno D", "3");
    assert_eq!(with_leaks(&["run", "--rm", "base:1", "sh", "-c", &list]), "0 1 2");
    assert_eq!(with_leaks(&["run", "--rm", "--init", "base:1", "sh", "-c", &list]), "0 1 2");
    with_leaks(&["run", "-d", "--name", "box", "base:1", "sleep", "1000"]);
    assert_eq!(with_leaks(&["exec", "box", "sh", "-c", &list]), "0 1 2");
    assert_eq!(stage.exec("ls /proc/1/fd").ok(), "0\n1\n2");
    let outside = fs::read_dir(proc(pids(&stage.rhumb).1).join("fd")).unwrap().flatten();
    let leaked: Vec<_> = outside
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .filter(|to| ["/etc", "/", "/proc"].iter().any(|path| to == Path::new(path)) || to.ends_with("canary"))
        .collect();
    assert!(leaked.is_empty(), "the monitor inherited {leaked:?}");
    stage.untouched();
}

/// Row 3: a process that enters a container could be traced from inside before it had dropped what it holds.
#[test]
fn cve_2016_9962() {
    let stage = Stage::new();
    // The container waits for processes that enter it and tries to look into each while it is not itself yet.
    let watch = r#"
        $| = 1; print "ready\n"; my %seen;
        while (1) {
            opendir P, "/proc" or next;
            for my $pid (grep { /^\d+$/ && $_ > 1 && $_ != $$ } readdir P) {
                my $exe = readlink "/proc/$pid/exe";
                open C, "<", "/proc/$pid/comm" or next; my $comm = <C>; close C; chomp $comm;
                next unless $comm =~ /^rhumb/ ;
                $seen{$comm}++;
                print "FOUND $comm\n" if $seen{$comm} == 1;
                my @looked;
                for my $name ("root/", "cwd/") {
                    if (opendir D, "/proc/$pid/$name") { push @looked, "LOOKED INTO $name"; closedir D; }
                }
                for my $fd (0..20) { push @looked, "LOOKED AT fd" if defined readlink "/proc/$pid/fd/$fd"; }
                for my $name ("environ", "mem", "maps") {
                    if (open F, "<", "/proc/$pid/$name") {
                        push @looked, "READ $name" if sysread F, my $text, 1; close F;
                    }
                }
                # PTRACE_ATTACH, and PTRACE_DETACH once it has stopped.
                if (syscall(101, 16, $pid + 0, 0, 0) == 0) {
                    push @looked, "TRACED"; waitpid $pid, 0x40000000;
                }
                # Once it is another program it is the container's own business.
                open C, "<", "/proc/$pid/comm" or next; my $then = <C>; close C; chomp $then;
                syscall(101, 17, $pid + 0, 0, 0); kill 'CONT', $pid if "@looked" =~ /TRACED/;
                print map { "$_ of $comm\n" } @looked if $then eq $comm;
            }
            closedir P;
        }"#;
    stage.rhumb.run(["run", "-d", "--name", "box", "base:1", "perl", "-e", watch]).ok();
    eventually("it watches", PATIENCE, || stage.rhumb.run(["logs", "box"]).ok().contains("ready").then_some(()));
    for _ in 0..15 {
        assert_eq!(stage.rhumb.run(["exec", "box", "echo", "entered"]).ok(), "entered");
        assert_eq!(stage.rhumb.run(["exec", "-u", "1000", "box", "echo", "entered"]).ok(), "entered");
    }
    let said = stage.rhumb.run(["logs", "box"]).ok();
    for word in ["LOOKED", "READ", "TRACED"] {
        assert!(!said.contains(word), "{said}");
    }
}

/// Row 3 with the right to trace, against which it is no help to be undumpable: what is seen inside has no way outside.
#[test]
fn who_may_trace_finds_no_way_out_through_who_enters() {
    let stage = Stage::new();
    let watch = r#"
        my $file = $ARGV[0]; my $up = "/.." x 20; my ($last, $seen, %out) = (2, 0);
        $| = 1; print "ready\n";
        until (-e "/tmp/stop") {
            for my $pid ($last + 1 .. $last + 4) {
                for my $way ("root", "cwd", map { "fd/$_" } 3 .. 15) {
                    $out{$way} = 1 if -e "/proc/$pid/$way$up$file";
                }
                if (-d "/proc/$pid") { $seen++; $last = $pid - 1; }
            }
        }
        print "seen ", $seen > 0, " out: ", join(" ", sort keys %out), "\n";
        sleep 1000; # the end of the first process would be the end of who told it to stop"#;
    let canary = stage.outside("canary");
    let run = ["run", "-d", "--name", "box", "--cap-add", "SYS_PTRACE", "base:1", "perl", "-e", watch, &canary];
    stage.rhumb.run(run).ok();
    eventually("it watches", PATIENCE, || stage.rhumb.run(["logs", "box"]).ok().contains("ready").then_some(()));
    for _ in 0..25 {
        stage.rhumb.run(["exec", "box", "true"]).ok();
    }
    stage.rhumb.run(["exec", "box", "touch", "/tmp/stop"]).ok();
    let said = eventually("it has watched", PATIENCE, || {
        let said = stage.rhumb.run(["logs", "box"]).ok();
        said.contains("seen").then_some(said)
    });
    assert!(said.trim_end().ends_with("seen 1 out:"), "{said}");
}

/// Row 3: with the right to trace, which a container may be given, it reached the host's files through the root of a
/// process that entered it, or that was made in its pid namespace, while that was still on its way in.
#[test]
fn cve_2016_9962_tracing_reaches_no_host() {
    let stage = Stage::new();
    let watch = format!(
        r#"$| = 1; print "ready\n";
        while (1) {{
            opendir P, "/proc" or next;
            for my $pid (grep {{ /^\d+$/ && $_ != $$ }} readdir P) {{
                for my $place ("root", "cwd", "fd/3/..", "fd/4/..", "fd/5", "fd/6", "fd/7", "fd/8") {{
                    if (open F, "<", "/proc/$pid/$place/{canary}") {{ print "REACHED through $place: ", <F>, "\n"; close F; }}
                }}
            }}
            closedir P;
        }}"#,
        canary = stage.outside("canary")
    );
    stage.rhumb.run(["run", "-d", "--name", "box", "--cap-add", "SYS_PTRACE", "base:1", "perl", "-e", &watch]).ok();
    let said = || stage.rhumb.run(["logs", "box"]).ok();
    eventually("it watches", PATIENCE, || said().contains("ready").then_some(()));
    for _ in 0..12 {
        stage.rhumb.run(["exec", "box", "true"]).ok();
        assert_eq!(stage.run(&["--pid", "container:box", "base:1", "echo", "beside"]).ok(), "beside");
    }
    assert!(!said().contains("REACHED"), "{}", &said()[..500]);
    let traced = "readlink /proc/1/exe; ls /proc/1/root/usr/bin/perl";
    assert_eq!(stage.exec(traced).ok(), "/usr/bin/perl\n/proc/1/root/usr/bin/perl", "the twin: its own can be traced");
    stage.untouched();
}

/// Row 19: an abstract socket could be reached by everybody who shares the network.
#[test]
fn cve_2020_15257() {
    let stage = Stage::new();
    stage.sleeper(&["--net=host", "base:1"]);
    let attached = Command::new(binary())
        .args(["attach", "--no-stdin", "box"])
        .env("RHUMB_ROOT", stage.rhumb.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut attached = attached.unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let (_, monitor) = pids(&stage.rhumb);
    let unix = fs::read_to_string("/proc/net/unix").unwrap();
    let mut named = 0;
    for pid in [monitor, attached.id() as i32] {
        for link in fs::read_dir(proc(pid).join("fd")).unwrap().flatten() {
            let Ok(target) = fs::read_link(link.path()) else { continue };
            let Some(inode) = target.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')) else {
                continue;
            };
            let line = unix.lines().find(|line| line.split_whitespace().nth(6) == Some(inode)).unwrap_or_default();
            let path = line.split_whitespace().nth(7).unwrap_or_default();
            assert!(!path.starts_with('@'), "an abstract socket: {line}");
            named += usize::from(!path.is_empty());
        }
    }
    assert!(named > 0, "the monitor's socket was not seen");
    let socket = walk(&stage.rhumb.root().join("run"))
        .into_iter()
        .find(|path| fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket()));
    let socket = socket.expect("a socket in the run folder");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert!(mode(&socket) & 0o077 == 0 || mode(socket.parent().unwrap()) & 0o077 == 0, "{socket:?}");
    assert_eq!(mode(socket.parent().unwrap()) & 0o077, 0, "{socket:?}");
    attached.kill().unwrap();
    attached.wait().unwrap();
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if fs::symlink_metadata(&path).is_ok_and(|facts| facts.is_dir()) {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

/// Row 20: local users could walk into the state root and run set-user-id programs of images there.
#[test]
fn cve_2021_41091() {
    let stage = Stage::empty();
    // A root above which everybody may walk, as /var/lib is.
    fs::set_permissions(stage.rhumb.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let suid = Raw::new(b'0', b"bin/suid", b"", b"#!/bin/sh\nid\n").put(crate::raw::MODE, b"0004755");
    stage.image("base:1", &[suid], &[]);
    stage.sleeper(&["-v", "data:/data", "base:1"]);
    let root = stage.rhumb.root();
    let suid = walk(&root).into_iter().find(|path| path.ends_with("diff/bin/suid") || path.ends_with("bin/suid"));
    let suid = suid.expect("the image's program is unpacked");
    assert_eq!(fs::metadata(&suid).unwrap().mode() & 0o7777, 0o4755);
    for (uid, allowed) in [(65534, false), (0, true)] {
        let outcome = process::run(Command::new("/bin/ls").arg(&suid).uid(uid), None, PATIENCE);
        assert_eq!(outcome.success(), allowed, "{outcome}");
        let outcome = process::run(Command::new("/bin/ls").arg(root.join("run/containers")).uid(uid), None, PATIENCE);
        assert_eq!(outcome.success(), allowed, "{outcome}");
    }
    for folder in [&root, &root.join("run")] {
        let facts = fs::metadata(folder).unwrap();
        assert!(facts.uid() == 0 && [0o700, 0o710].contains(&(facts.mode() & 0o7777)), "{folder:?} {:o}", facts.mode());
    }
}
