//! `config.md`, process: program, environment, terminal, user, limits, rights, scheduling.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rhumb::sys::socket;
use serde_json::json;

use crate::bundle::{Bundle, accept, eventually, read_to_end};
use crate::case::{Case, acts, prints, refuses};
use crate::runtime::Runtime::{Crun, Runc};
use crate::support::process::{self, PATIENCE};

const PROCESS: &str = "config.md#configProcess";
const POSIX: &str = "config.md#configPOSIXProcess";
const LINUX: &str = "config.md#configLinuxProcess";
const USER: &str = "config.md#configUser";
const FDS: &str = "runtime-linux.md#runtimeLinuxFileDescriptors";

/// The sets of capabilities of the container's process, by the names of `/proc`.
fn sets(bundle: &mut Bundle) -> Vec<u64> {
    let text = bundle.prints("grep ^Cap /proc/self/status");
    let set = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
    text.lines().map(set).collect()
}

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;

/// Runs `script` with a terminal and returns what it wrote, the terminal's way.
fn on_terminal(bundle: &mut Bundle, script: &str) -> String {
    // The socket's path has to be short.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.with(json!({"process": {"terminal": true}})).script(script).write();
    let bundle_folder = bundle.path("").display().to_string();
    let path = path.display().to_string();
    bundle.call(&["create", "--bundle", &bundle_folder, "--console-socket", &path, &bundle.id]).ok();
    let stream = accept(&listener);
    let (mut name, mut fds) = ([0; 4096], Vec::new());
    assert!(socket::receive(&stream, &mut name, &mut fds).unwrap() > 0, "a message comes with the descriptor");
    assert_eq!(fds.len(), 1, "one descriptor is sent");
    let master = fds.remove(0);
    bundle.start();
    read_to_end(master.as_fd()).replace("\r\n", "\n").trim().to_owned()
}

/// The same command with something in the runtime's own process.
fn inheriting(bundle: &Bundle, change: &str) -> process::Outcome {
    bundle.write();
    changed(&bundle.command(&["run", "--bundle", &bundle.path("").display().to_string(), &bundle.id]), change)
}

/// A command after something was changed in the process that becomes it.
fn changed(inner: &Command, change: &str) -> process::Outcome {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{change}; exec \"$@\""), "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.arg0("sh");
    process::run(&mut command, None, PATIENCE)
}

pub(crate) const CASES: &[Case] = &[
    prints("cwd_is_the_working_folder", PROCESS, "cwd is set", r#"{"process": {"cwd": "/var/www"}}"#, "pwd -P", "/var/www"),
    refuses("a_relative_cwd_is_an_error", PROCESS, "cwd is absolute", r#"{"process": {"cwd": "var"}}"#).but(&[(Crun, "takes it from the root")]),
    refuses("a_missing_cwd_is_an_error", PROCESS, "cwd is required", r#"{"process": {"cwd": null}}"#),
    prints(
        "env_is_the_environment",
        PROCESS,
        "the variables are set",
        r#"{"process": {"env": ["PATH=/bin", "ONE=1", "EMPTY=", "ODD=a=b c\nd"]}}"#,
        r#"echo "$ONE|${EMPTY-unset}|$ODD""#,
        "1||a=b c\nd",
    ),
    acts("the_environment_is_not_inherited", PROCESS, "there is nothing else in it", |b| {
        b.script("env");
        let outcome = inheriting(b, "SECRET=x; export SECRET");
        let names = outcome.ok();
        for line in names.lines() {
            let name = line.split('=').next().unwrap();
            // The shell's own, and the home folder, which runtimes add.
            assert!(["PATH", "PWD", "OLDPWD", "SHLVL", "_", "HOME"].contains(&name), "{names}");
        }
    }),
    acts("args_are_passed_as_they_are", PROCESS, "args are those of execvp", |b| {
        b.with(json!({"process": {"args": ["/bin/sh", "-c", "printf '%s|' \"$0\" \"$@\"", "a b", "", "*", "ü"]}}));
        assert_eq!(b.run().ok(), "a b||*|ü|");
    }),
    prints("a_program_is_searched_on_the_containers_path", PROCESS, "the first is searched like execvp's file",
        r#"{"process": {"env": ["PATH=/nowhere:/usr/bin:/bin"]}}"#, "true; echo found", "found"),
    acts("a_program_without_slash_is_searched", PROCESS, "the first is searched like execvp's file", |b| {
        b.with(json!({"process": {"args": ["echo", "found"], "env": ["PATH=/nowhere:/bin"]}}));
        assert_eq!(b.run().ok(), "found");
        b.with(json!({"process": {"args": ["echo", "found"], "env": ["PATH=/nowhere"]}}));
        assert!(!b.run().success());
    }),
    refuses("no_args_are_an_error", PROCESS, "at least one is required", r#"{"process": {"args": []}}"#),
    refuses("missing_args_are_an_error", PROCESS, "at least one is required", r#"{"process": {"args": null}}"#).but(&[(Crun, "fails at the start only")]),
    acts("a_program_that_is_missing_is_an_error", PROCESS, "there is something to execute", |b| {
        for program in ["/no/such/program", "no-such-program", "/bin/not-executable", "/etc"] {
            b.with(json!({"process": {"args": [program]}}));
            let outcome = b.run();
            assert!(!outcome.success() && !outcome.stderr.trim().is_empty(), "{program}:\n{outcome}");
            b.clean_up();
        }
    }),
    acts("terminal_gives_the_process_a_terminal", PROCESS, "its standard streams are a pseudo terminal's", |b| {
        let text = on_terminal(b, "tty; test -t 0 -a -t 1 -a -t 2 && echo all; cat /proc/self/stat | cut -d' ' -f7");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("/dev/pts/") || lines[0] == "/dev/console", "{text}");
        assert_eq!(lines[1], "all");
        assert_ne!(lines[2], "0", "it has no controlling terminal");
    }),
    acts("the_terminal_has_the_given_size", PROCESS, "consoleSize is its size in characters", |b| {
        b.patch(r#"{"process": {"consoleSize": {"height": 31, "width": 97}}}"#);
        assert_eq!(on_terminal(b, "stty size"), "31 97");
    }),
    acts("the_terminal_is_the_console", "config-linux.md#configLinuxDefaultDevices", "/dev/console is the terminal", |b| {
        let text = on_terminal(b, "test -t 0 </dev/console && stat -c %t:%T /dev/console; stat -L -c %t:%T /dev/stdin");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, lines[1]), "{text}");
    }),
    prints("a_size_without_a_terminal_is_ignored", PROCESS, "consoleSize is ignored without a terminal",
        r#"{"process": {"terminal": false, "consoleSize": {"height": 31, "width": 97}}}"#, "tty; true", "not a tty"),
    prints("uid_and_gid_are_set", USER, "the ids in the container",
        r#"{"process": {"user": {"uid": 1234, "gid": 5678}}}"#, "id -u; id -g; grep -E '^[UG]id' /proc/self/status",
        "1234\n5678\nUid:\t1234\t1234\t1234\t1234\nGid:\t5678\t5678\t5678\t5678"),
    prints("additional_groups_are_set", USER, "further groups",
        r#"{"process": {"user": {"uid": 33, "gid": 33, "additionalGids": [7, 2000000000, 9]}}}"#,
        "grep ^Groups /proc/self/status", "Groups:\t7 9 2000000000"),
    prints("there_are_no_groups_beside_those", USER, "further groups are those given and no others",
        "{}", "grep ^Groups /proc/self/status", "Groups:"),
    prints("umask_is_set", USER, "umask is the mask of the user",
        r#"{"process": {"user": {"uid": 0, "gid": 0, "umask": 63}}}"#, "umask", "0077"),
    prints("without_umask_it_is_as_usual", USER, "umask is optional", "{}", "umask", "0022"),
    prints("rlimits_are_set", POSIX, "soft and hard limit are as configured",
        r#"{"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_FSIZE", "soft": 1048576, "hard": 2097152}, {"type": "RLIMIT_STACK", "soft": 4194304, "hard": 8388608}]}}"#,
        "grep -E 'open files|core file|file size|stack size' /proc/self/limits | tr -s ' '",
        "Max file size 1048576 2097152 bytes \nMax stack size 4194304 8388608 bytes \nMax core file size 0 0 bytes \nMax open files 512 1024 files"),
    prints("every_rlimit_can_be_set", POSIX, "the types are those of getrlimit",
        r#"{"process": {"rlimits": [{"type": "RLIMIT_AS", "soft": 4294967296, "hard": 4294967296}, {"type": "RLIMIT_CPU", "soft": 100, "hard": 200},
            {"type": "RLIMIT_DATA", "soft": 4294967296, "hard": 4294967296}, {"type": "RLIMIT_LOCKS", "soft": 11, "hard": 12},
            {"type": "RLIMIT_MEMLOCK", "soft": 4096, "hard": 4096}, {"type": "RLIMIT_MSGQUEUE", "soft": 4096, "hard": 4096},
            {"type": "RLIMIT_NICE", "soft": 0, "hard": 0}, {"type": "RLIMIT_NPROC", "soft": 1000, "hard": 2000},
            {"type": "RLIMIT_RSS", "soft": 4096, "hard": 8192}, {"type": "RLIMIT_RTPRIO", "soft": 0, "hard": 0},
            {"type": "RLIMIT_RTTIME", "soft": 1000, "hard": 1000}, {"type": "RLIMIT_SIGPENDING", "soft": 100, "hard": 100}]}}"#,
        "tail -n +2 /proc/self/limits | grep -vE 'open files|core file|file size|stack size' | tr -s ' ' | sort",
        "Max address space 4294967296 4294967296 bytes \nMax cpu time 100 200 seconds \nMax data size 4294967296 4294967296 bytes \nMax file locks 11 12 locks \nMax locked memory 4096 4096 bytes \nMax msgqueue size 4096 4096 bytes \nMax nice priority 0 0 \nMax pending signals 100 100 signals \nMax processes 1000 2000 processes \nMax realtime priority 0 0 \nMax realtime timeout 1000 1000 us \nMax resident set 4096 8192 bytes"),
    refuses("an_unknown_rlimit_is_an_error", POSIX, "a type that the kernel has not is an error",
        r#"{"process": {"rlimits": [{"type": "RLIMIT_DREAMS", "soft": 1, "hard": 1}]}}"#),
    refuses("an_rlimit_without_prefix_is_an_error", POSIX, "the types are those of getrlimit",
        r#"{"process": {"rlimits": [{"type": "NOFILE", "soft": 1, "hard": 1}]}}"#),
    refuses("an_rlimit_given_twice_is_an_error", POSIX, "duplicates are an error",
        r#"{"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 9}, {"type": "RLIMIT_NOFILE", "soft": 6, "hard": 9}]}}"#).but(&[(Crun, "sets both")]),
    refuses("a_soft_limit_above_the_hard_one_is_an_error", POSIX, "what cannot be set is an error",
        r#"{"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 5}]}}"#),
    acts("capabilities_are_the_five_sets", LINUX, "each set is as configured", |b| {
        b.with(json!({"process": {"capabilities": {
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_CHOWN"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
        }, "user": {"uid": 1000, "gid": 1000}}}));
        // Executing as another user than root leaves what is ambient: see capabilities(7).
        assert_eq!(sets(b), [KILL, KILL, KILL, CHOWN | KILL | NET_RAW, KILL]);
    }),
    acts("capabilities_of_root_are_bounded", LINUX, "root executes with what is bounding", |b| {
        b.with(json!({"process": {"capabilities": {
            "bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_CHOWN", "CAP_KILL"],
        }}}));
        assert_eq!(sets(b), [0, CHOWN | KILL, CHOWN | KILL, CHOWN | KILL, 0]);
    }),
    acts("capabilities_not_named_are_not_held", LINUX, "a set that is missing is empty", |b| {
        b.with(json!({"process": {"capabilities": {
            "bounding": null, "permitted": null, "effective": null, "inheritable": null, "ambient": null}}}));
        assert_eq!(sets(b), [0, 0, 0, 0, 0]);
    }),
    acts("capabilities_of_another_user_end_with_execution", LINUX, "without ambient ones another user has none", |b| {
        b.with(json!({"process": {"user": {"uid": 1000, "gid": 1000}}}));
        let sets = sets(b);
        assert_eq!((sets[0], sets[1], sets[2], sets[4]), (0, 0, 0, 0));
        assert_ne!(sets[3], 0);
    }),
    prints("a_capability_that_cannot_be_granted_is_a_warning", LINUX, "it is logged and no failure",
        r#"{"process": {"capabilities": {"bounding": ["CAP_CHOWN", "CAP_OF_DREAMS"], "permitted": ["CAP_CHOWN", "CAP_OF_DREAMS"], "effective": ["CAP_CHOWN"]}}}"#,
        "grep CapPrm /proc/self/status", "CapPrm:\t0000000000000001"),
    prints("no_new_privileges_is_set", LINUX, "noNewPrivileges true is set",
        r#"{"process": {"noNewPrivileges": true}}"#, "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
    prints("no_new_privileges_is_off_by_default", LINUX, "noNewPrivileges is optional",
        "{}", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t0"),
    prints("oom_score_adj_is_set", LINUX, "oomScoreAdj is written",
        r#"{"process": {"oomScoreAdj": 321}}"#, "cat /proc/self/oom_score_adj", "321"),
    acts("oom_score_adj_is_left_alone", LINUX, "without oomScoreAdj the score does not change", |b| {
        b.script("cat /proc/self/oom_score_adj");
        let printed = inheriting(b, "echo 123 >/proc/self/oom_score_adj").ok();
        assert_eq!(printed, "123");
    }),
    prints("the_scheduler_is_set", "config.md#configLinuxProcess", "the policy and its niceness are set",
        r#"{"process": {"scheduler": {"policy": "SCHED_BATCH", "nice": 5}}}"#,
        "chrt -p $$ | head -1 | grep -o 'SCHED_.*'; cut -d' ' -f19 /proc/self/stat", "SCHED_BATCH\n5")
        .but(&[(Runc, "new in 1.2 of the specification"), (Crun, "new in 1.2 of the specification")]),
    prints("the_scheduler_may_be_idle", "config.md#configLinuxProcess", "the policy is set",
        r#"{"process": {"scheduler": {"policy": "SCHED_IDLE"}}}"#,
        "chrt -p $$ | head -1 | grep -o 'SCHED_.*'", "SCHED_IDLE")
        .but(&[(Runc, "new in 1.2 of the specification"), (Crun, "new in 1.2 of the specification")]),
    prints("the_scheduler_has_flags", "config.md#configLinuxProcess", "the flags are set with the policy",
        r#"{"process": {"scheduler": {"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}}}"#,
        "chrt -p $$ | head -1 | grep -oE 'SCHED_[A-Z|_]*$'", "SCHED_BATCH|SCHED_RESET_ON_FORK")
        .but(&[(Runc, "new in 1.2 of the specification"), (Crun, "new in 1.2 of the specification")]),
    refuses("an_unknown_scheduler_is_an_error", "config.md#configLinuxProcess", "the policies are those of sched_setscheduler",
        r#"{"process": {"scheduler": {"policy": "SCHED_DREAM"}}}"#)
        .but(&[(Runc, "new in 1.2 of the specification"), (Crun, "new in 1.2 of the specification")]),
    prints("the_io_priority_is_set", "config.md#configLinuxProcess", "class and priority are set",
        r#"{"process": {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3}}}"#, "ionice -p $$", "best-effort: prio 3")
        .but(&[(Runc, "new in 1.1 of the specification"), (Crun, "new in 1.1 of the specification")]),
    prints("the_io_priority_may_be_idle", "config.md#configLinuxProcess", "class and priority are set",
        r#"{"process": {"ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}}}"#, "ionice -p $$", "idle")
        .but(&[(Runc, "new in 1.1 of the specification"), (Crun, "new in 1.1 of the specification")]),
    refuses("an_unknown_io_priority_is_an_error", "config.md#configLinuxProcess", "the classes are those of ioprio_set",
        r#"{"process": {"ioPriority": {"class": "IOPRIO_CLASS_DREAM", "priority": 0}}}"#)
        .but(&[(Runc, "new in 1.1 of the specification"), (Crun, "new in 1.1 of the specification")]),
    acts("exec_cpu_affinity_is_for_further_processes", "config.md#configLinuxProcess", "the final one is what they run on", |b| {
        b.patch(r#"{"process": {"execCPUAffinity": {"initial": "0", "final": "1"}}}"#).script("sleep 1000").up();
        let printed = b.exec(&["/bin/grep", "Cpus_allowed_list", "/proc/self/status"]).ok();
        assert_eq!(printed.split_whitespace().last(), Some("1"));
        let first = fs::read_to_string(format!("/proc/{}/status", b.pid())).unwrap();
        assert!(!first.contains("Cpus_allowed_list:\t1\n") && !first.contains("Cpus_allowed_list:\t0\n"));
    }).but(&[(Runc, "new in 1.2.1 of the specification"), (Crun, "new in 1.2.1 of the specification")]),
    refuses("an_apparmor_profile_needs_apparmor", LINUX, "what the kernel has not is an error",
        r#"{"process": {"apparmorProfile": "no-such-profile"}}"#),
    refuses("a_selinux_label_needs_selinux", LINUX, "what the kernel has not is an error",
        r#"{"process": {"selinuxLabel": "system_u:system_r:container_t:s0"}}"#)
        ,
    acts("only_the_standard_streams_are_open", FDS, "no descriptor but the standard streams is open", |b| {
        let list = "for fd in /proc/self/fd/*; do echo ${fd##*/}; done";
        b.with(json!({"process": {"args": ["/bin/sh", "-c", list]}}));
        let outcome = inheriting(b, "exec 7</etc/passwd 8</ 9<>/dev/null");
        let fds: Vec<String> = outcome.ok().split_whitespace().map(str::to_owned).collect();
        // The shell has the folder open that it lists.
        assert!(fds == ["0", "1", "2"] || fds == ["0", "1", "2", "3"], "{fds:?}");
    }),
    acts("descriptors_are_passed_when_they_are_asked_for", FDS, "further descriptors are the caller's choice", |b| {
        b.with(json!({"process": {"args": ["/bin/sh", "-c", "cat <&3; for fd in 4 5; do [ -e /proc/self/fd/$fd ] && echo $fd; done"]}}));
        b.write();
        let folder = b.path("").display().to_string();
        let run = |count: &str, redirect: &str| {
            let inner = b.command(&["run", "--preserve-fds", count, "--bundle", &folder, &b.id]);
            changed(&inner, &format!("echo passed >{folder}/passed; exec 3<{folder}/passed {redirect}"))
        };
        assert_eq!(run("2", "4</etc/passwd 5</etc/passwd").stdout, "passed\n4\n");
        // What is not there must not become something of the runtime's own.
        assert!(!run("2", "4<&-").success());
    }),
    acts("sockets_of_a_service_manager_are_passed", "sd_listen_fds(3)", "descriptors and their number are passed", |b| {
        b.script("cat <&3; echo ${LISTEN_FDS-none} ${LISTEN_PID-none}; cat <&4").write();
        let folder = b.path("").display().to_string();
        let run = |pid: &str| {
            let inner = b.command(&["run", "--preserve-fds", "1", "--bundle", &folder, &b.id]);
            let change = "echo one >@/one; echo two >@/two; exec 3<@/one 4<@/two; export LISTEN_FDS=1 LISTEN_PID=";
            changed(&inner, &format!("{}{pid}", change.replace('@', &folder)))
        };
        assert_eq!(run("$$").ok(), "one\n1 1\ntwo");
        // Those of somebody else are not ours: the one that is passed on is the first.
        let outcome = run("1");
        assert!(outcome.stdout.starts_with("one\nnone none\n"), "{outcome}");
    }).but(&[(Crun, "does not ask whose they are")]),
    acts("the_standard_streams_are_the_runtimes", FDS, "input, output and errors go through", |b| {
        b.script("cat; echo problem >&2").write();
        let mut command = b.command(&["run", "--bundle", &b.path("").display().to_string(), &b.id]);
        let outcome = process::run(&mut command, Some(b"given"), PATIENCE);
        assert_eq!((outcome.ok().as_str(), outcome.stderr.as_str()), ("given", "problem\n"));
    }),
    acts("signals_are_as_usual", PROCESS, "no signal is blocked or ignored", |b| {
        b.with(json!({"process": {"args": ["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]}}));
        let text = b.run().ok();
        // The two of the C library's own threads do not count.
        let masks = text.lines().map(|line| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap());
        assert_eq!(masks.map(|mask| mask & !(0b11 << 31)).collect::<Vec<_>>(), [0, 0], "{text}");
    }),
    acts("exec_runs_in_the_container", "runc exec", "a further process is in the namespaces, root and cgroup", |b| {
        b.script("sleep 1000").up();
        let inside = b.exec(&["/bin/sh", "-c", "hostname; echo x >/made; readlink /proc/1/ns/net /proc/self/ns/net"]).ok();
        let lines: Vec<&str> = inside.lines().collect();
        assert_eq!((lines[0], lines[1]), ("box", lines[2]));
        assert_eq!(b.read("made"), "x\n");
        b.exec(&["/bin/sh", "-c", "exit 9"]).fails(9);
        b.exec(&["/bin/sh", "-c", "kill -9 $$"]).fails(137);
        let cgroup = b.exec(&["/bin/sh", "-c", "cat /proc/self/cgroup"]).ok();
        let pids = cgroup.lines().find(|line| line.contains(":pids:")).unwrap();
        assert!(pids.ends_with(":pids:/"), "{pids}");
    }),
    acts("exec_has_the_rights_of_the_configuration", "runc exec", "a further process has user and rights as given", |b| {
        b.script("sleep 1000").up();
        let sets = b.call(&["exec", "--user", "1000:1000", "--cwd", "/var", "--env", "A=1", &b.id, "/bin/sh", "-c", "id -u; id -g; pwd; echo $A"]);
        assert_eq!(sets.ok(), "1000\n1000\n/var\n1");
        let bounding = b.exec(&["/bin/grep", "CapBnd", "/proc/self/status"]).ok();
        assert_eq!(bounding, "CapBnd:\t00000000080000e3");
    }),
    acts("exec_takes_a_process_of_its_own", "runc exec", "a process from a pipe, without a user, and one more right", |b| {
        b.script("sleep 1000").up();
        let file = r#"{"args": ["/bin/sh", "-c", "id -u; pwd"], "cwd": "/var", "env": ["PATH=/bin"]}"#;
        let mut command = b.command(&["exec", "--process", "/dev/stdin", &b.id]);
        let mut pipe = Command::new("echo").arg(file).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let output = command.stdin(pipe.stdout.take().unwrap()).output().unwrap();
        pipe.wait().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n/var\n", "{output:?}");
        let bounding = b.call(&["exec", "--cap", "CAP_NET_RAW", &b.id, "/bin/grep", "CapBnd", "/proc/self/status"]).ok();
        assert_eq!(bounding, "CapBnd:\t00000000080020e3");
    }).but(&[(Crun, "gives that right alone")]),
    acts("exec_takes_a_cgroup_below_the_containers", "runc exec", "a further process runs in a cgroup below", |b| {
        b.script("sleep 1000").up();
        let below = format!("/sys/fs/cgroup/pids{}/below", b.cgroup());
        fs::create_dir(&below).unwrap();
        let exec = |cgroup: &str| b.call(&["exec", "--cgroup", cgroup, &b.id, "/bin/grep", ":pids:", "/proc/self/cgroup"]);
        assert!(exec("pids:below").ok().ends_with(":pids:/below"));
        assert!(exec("pids:/").ok().ends_with(":pids:/"));
        let unknown = exec("nothing:below");
        assert!(!unknown.success() && unknown.stderr.contains("unknown controller nothing"), "{unknown}");
        for wrong in ["pids:missing", "pids:../..", "cpu,nothing:/"] {
            assert!(!exec(wrong).success(), "{wrong}");
        }
        b.kill("KILL").until("stopped");
    }).but(&[(Crun, "takes a path for all controllers alone")]),
    acts("capabilities_that_nobody_can_give_are_named", LINUX, "what cannot be granted is ignored with a warning", |b| {
        let held = fs::read_to_string("/proc/self/status").unwrap();
        let held = held.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
        let names = [(0, "CAP_CHOWN"), (24, "CAP_SYS_RESOURCE"), (31, "CAP_SETFCAP")];
        let missing = names.iter().find(|(bit, _)| u64::from_str_radix(held, 16).unwrap() & 1 << bit == 0);
        let all: Vec<&str> = names.iter().map(|(_, name)| *name).collect();
        b.with(json!({"process": {"capabilities": {"bounding": all, "permitted": all, "effective": all}}}));
        let outcome = b.script("true").run();
        assert!(outcome.success(), "{outcome}");
        match missing {
            Some((_, name)) => assert!(outcome.stderr.contains(name), "{outcome}"),
            None => assert_eq!(outcome.stderr, ""),
        }
    }).but(&[(Runc, "fails without that right"), (Crun, "says nothing")]),
    acts("exec_in_what_does_not_run_is_an_error", "runc exec", "only what runs takes further processes", |b| {
        assert!(!b.exec(&["/bin/true"]).success());
        b.script("true").up().until("stopped");
        assert!(!b.exec(&["/bin/true"]).success());
    }),
    acts("the_end_comes_to_the_one_who_waits", PROCESS, "standard output ends with the process", |b| {
        b.script("echo said").up();
        eventually("the output", || fs::read_to_string(b.path("output")).unwrap() == "said\n");
        b.until("stopped");
    }),
];
