//! From start to end: statuses, streams, logs, signals, pause, clean-up, and what a dead monitor leaves.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rhumb::base::Kind;
use rhumb::runtime::client::{self, AttachEnd};
use rhumb::runtime::plan::Rootfs;
use rhumb::runtime::state::{self, Life};

use crate::support::{self, Box_, attachment, eventually};

static NEVER_SET: AtomicBool = AtomicBool::new(false);
const NEVER: &AtomicBool = &NEVER_SET;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("output_and_status_come_back", output_and_status_come_back),
    ("a_signal_is_128_and_its_number", a_signal_is_128_and_its_number),
    ("missing_and_unfit_commands_are_127_and_126", missing_and_unfit_commands),
    ("the_log_has_dockers_lines", the_log_has_dockers_lines),
    ("last_words_are_never_lost", last_words_are_never_lost),
    ("a_slow_reader_gets_every_byte", a_slow_reader_gets_every_byte),
    ("input_reaches_the_container_and_ends", input_reaches_the_container_and_ends),
    ("stop_sends_kill_after_the_grace", stop_sends_kill_after_the_grace),
    ("stop_returns_at_once_when_the_signal_is_heeded", stop_returns_at_once),
    ("wait_has_deadlines_and_interrupts", wait_has_deadlines_and_interrupts),
    ("pausing_freezes_and_is_refused_twice", pausing_freezes),
    ("state_follows_a_life", state_follows_a_life),
    ("an_unstarted_container_goes_with_its_creator", an_unstarted_container_goes),
    ("a_killed_monitor_takes_the_container_along", a_killed_monitor),
    ("on_exit_runs_unless_an_owner_stays", on_exit_runs_unless_an_owner_stays),
    ("garbage_on_the_socket_harms_nobody", garbage_on_the_socket),
    ("a_second_monitor_is_refused", a_second_monitor_is_refused),
    ("a_failed_birth_leaves_nothing", a_failed_birth_leaves_nothing),
    ("a_small_init_reaps_and_forwards", a_small_init),
    ("the_monitor_is_small", the_monitor_is_small),
    ("a_stopped_monitor_holds_nobody_up_for_ever", stopped_monitor),
    ("a_creator_that_dies_early_leaves_nothing", early_creator),
    ("detaching_leaves_the_container_running", detaching),
];

fn output_and_status_come_back() {
    let (code, out, err) = Box_::sh("echo out; echo err >&2; exit 7").run().unwrap();
    assert_eq!((code, out.as_str(), err.as_str()), (7, "out\n", "err\n"));
}

fn a_signal_is_128_and_its_number() {
    // Process 1 of a namespace is immune to its own signals, its children are not.
    assert_eq!(Box_::sh("sh -c 'kill -9 $$'").run().unwrap().0, 137);
    let container = Box_::new(&["sleep", "60"]);
    let mut monitor = container.start();
    monitor.signal(9).unwrap();
    assert_eq!(monitor.wait(None, NEVER).unwrap().exit_code, 137);
    monitor.join().unwrap();
}

fn missing_and_unfit_commands() {
    for (args, code, text) in [
        (&["nope"][..], 127, "exec: \"nope\": executable file not found in $PATH"),
        (&["/no/such"], 127, "stat /no/such: no such file or directory"),
        (&["/bin"], 126, "is a directory"),
        (&["not-executable"], 126, "exec: \"not-executable\": permission denied"),
        (&["nonsense"], 126, "exec format error"),
        (&["no-interpreter"], 127, "no such file or directory"),
    ] {
        let container = Box_::new(args);
        let mut monitor = container.create().unwrap();
        let error = monitor.start().unwrap_err();
        assert_eq!(
            (error.kind(), error.failure().unwrap().exit_code),
            (Kind::CommandFailed, code),
            "{args:?}: {error}"
        );
        assert!(error.to_string().contains(text), "{error}");
        let record = monitor.wait(None, NEVER).unwrap();
        assert_eq!(record.exit_code, code);
        assert!(record.error.unwrap().contains(text));
        monitor.join().unwrap();
        let attached = Box_::new(args).run().unwrap_err();
        assert_eq!(attached.failure().map(|failure| failure.exit_code), Some(code), "{attached}");
        let container = Box_::new(&["sleep", "60"]);
        let _monitor = container.start();
        let error = container.exec(args).unwrap_err();
        assert_eq!(error.failure().map(|failure| failure.exit_code), Some(code), "{error}");
    }
}

fn the_log_has_dockers_lines() {
    let container = Box_::sh("echo 'one <&>'; printf two >&2");
    container.run().unwrap();
    let log = container.log();
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_by_key(|line| !line.contains("one"));
    assert!(lines[0].starts_with("{\"log\":\"one <&>\\n\",\"stream\":\"stdout\",\"time\":\"20"), "{log}");
    assert!(
        lines[1].starts_with("{\"log\":\"two\",\"stream\":\"stderr\",\"time\":\"20") && lines[1].ends_with("Z\"}"),
        "{log}"
    );
}

fn last_words_are_never_lost() {
    for _ in 0..20 {
        let (_, out, _) = Box_::sh("head -c 60000 /dev/zero | tr '\\0' x; printf END").run().unwrap();
        assert_eq!((out.len(), out.ends_with("xEND")), (60_003, true));
    }
}

fn a_slow_reader_gets_every_byte() {
    let container =
        Box_::sh("head -c 8000000 /dev/zero").with(|plan| plan.log.driver = rhumb::model::log::LogDriver::None);
    let mut monitor = container.create().unwrap();
    let (mut total, mut calls) = (0, 0);
    let mut slow = |_, bytes: &[u8]| {
        (total, calls) = (total + bytes.len(), calls + 1);
        if calls % 20 == 1 {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    let end = monitor.attach(attachment(&mut slow), true).unwrap();
    assert_eq!((end, total), (AttachEnd::Exited(0), 8_000_000));
    monitor.join().unwrap();
}

fn input_reaches_the_container_and_ends() {
    let container = Box_::new(&["wc", "-c"]).with(|plan| plan.stdin_open = true);
    let mut monitor = container.create().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let feeder = std::thread::spawn(move || writer.write_all(&vec![b'x'; 3_000_000]).unwrap());
    let mut out = Vec::new();
    let mut take = |_, bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    let mut attachment = attachment(&mut take);
    attachment.stdin = Some(std::os::fd::AsFd::as_fd(&reader));
    assert_eq!(monitor.attach(attachment, true).unwrap(), AttachEnd::Exited(0));
    feeder.join().unwrap();
    assert_eq!(String::from_utf8(out).unwrap().trim(), "3000000");
    monitor.join().unwrap();
}

fn stop_sends_kill_after_the_grace() {
    let container = Box_::sh("trap '' TERM; echo ready; while :; do sleep 1; done");
    let mut monitor = container.start();
    eventually("the trap is set", || container.log().contains("ready"));
    let start = Instant::now();
    let record = monitor.stop(15, Duration::from_millis(300), NEVER).unwrap();
    assert_eq!(record.exit_code, 137);
    assert!((300..3000).contains(&start.elapsed().as_millis()));
    monitor.join().unwrap();
}

fn stop_returns_at_once() {
    let container = Box_::sh("trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    let mut monitor = container.start();
    eventually("the trap is set", || container.log().contains("ready"));
    monitor.set_paused(true).unwrap();
    let start = Instant::now();
    assert_eq!(monitor.stop(15, Duration::from_secs(20), NEVER).unwrap().exit_code, 3);
    assert!(start.elapsed() < Duration::from_secs(5));
}

fn wait_has_deadlines_and_interrupts() {
    let container = Box_::new(&["sleep", "60"]);
    let mut monitor = container.start();
    let soon = Some(Instant::now() + Duration::from_millis(60));
    assert_eq!(monitor.wait(soon, NEVER).unwrap_err().kind(), Kind::Timeout);
    assert_eq!(monitor.wait(None, &AtomicBool::new(true)).unwrap_err().kind(), Kind::Interrupted);
    monitor.signal(9).unwrap();
    assert_eq!(monitor.wait(None, NEVER).unwrap().exit_code, 137);
    assert!(matches!(client::connect(&container.plan.run_dir), Err(error) if error.kind() == Kind::Conflict));
    monitor.join().unwrap();
}

fn pausing_freezes() {
    let container = Box_::sh("while :; do echo tick; sleep 0.02; done");
    let mut monitor = container.start();
    eventually("it ticks", || container.log().contains("tick"));
    monitor.set_paused(true).unwrap();
    assert_eq!(monitor.set_paused(true).unwrap_err().kind(), Kind::Conflict);
    assert!(matches!(container.life(), Life::Alive(state) if state.paused));
    assert_eq!(container.exec(&["true"]).unwrap_err().kind(), Kind::Conflict);
    std::thread::sleep(Duration::from_millis(50));
    let before = container.log().len();
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(container.log().len(), before);
    monitor.set_paused(false).unwrap();
    eventually("it ticks again", || container.log().len() > before);
}

fn state_follows_a_life() {
    let container = Box_::new(&["sleep", "60"]).with(|plan| {
        let Rootfs::Overlay { volatile, .. } = &mut plan.rootfs else { unreachable!() };
        *volatile = false;
    });
    assert_eq!(container.life(), Life::Never);
    let mut monitor = container.create().unwrap();
    assert_eq!(container.life(), Life::Never);
    monitor.start().unwrap();
    let Life::Alive(state) = container.life() else { panic!("{:?}", container.life()) };
    let (pid, _) = state.init.unwrap();
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "sleep\n");
    assert_eq!(state::sweep(&container.plan.cgroup, &container.plan.run_dir).unwrap_err().kind(), Kind::Conflict);
    monitor.signal(9).unwrap();
    monitor.wait(None, NEVER).unwrap();
    assert!(matches!(container.life(), Life::Ended(record) if record.exit_code == 137 && record.started.is_some()));
    monitor.join().unwrap();
    // And once more: the old end is forgotten with the start.
    let mut monitor = container.start();
    assert!(matches!(container.life(), Life::Alive(_)));
    monitor.stop(9, Duration::from_secs(5), NEVER).unwrap();
    monitor.join().unwrap();
}

fn an_unstarted_container_goes() {
    let container = Box_::new(&["sleep", "60"]);
    drop(container.create().unwrap());
    let parent = container.plan.cgroup.split('/').next().unwrap().to_owned();
    eventually("its cgroup goes", || state::cgroups_below(&parent).unwrap().is_empty());
    eventually("its monitor goes", || state::sweep(&container.plan.cgroup, &container.plan.run_dir).is_ok());
    assert_eq!(container.life(), Life::Never);
}

fn a_killed_monitor() {
    let container = Box_::sh("sleep 60 & setsid sleep 60 & wait");
    let monitor = container.start();
    let Life::Alive(state) = container.life() else { panic!() };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    kill(state.monitor.0);
    eventually("the lock is free", || matches!(container.life(), Life::Lost { .. }));
    let Life::Lost { why, last } = container.life() else { panic!() };
    assert_eq!((why.as_str(), last.unwrap().init), ("the monitor was killed", state.init));
    drop(monitor);
    state::sweep(&container.plan.cgroup, &container.plan.run_dir).unwrap();
    state::sweep(&container.plan.cgroup, &container.plan.run_dir).unwrap();
    let (pid, start) = state.init.unwrap();
    eventually("the init is gone", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.split_whitespace().any(|field| field == start.to_string()) || stat.contains(") Z ")
    });
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    assert!(!container.plan.run_dir.exists());
}

fn kill(pid: i32) {
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

fn on_exit_runs_unless_an_owner_stays() {
    let container = Box_::new(&["true"]);
    let mark = container.path("mark");
    let with_mark = |container: Box_| {
        let mark = container.path("mark").display().to_string();
        container.with(|plan| plan.on_exit = vec!["[mark]".into(), mark])
    };
    let container = with_mark(container);
    let mut monitor = container.start();
    monitor.wait(None, NEVER).unwrap();
    eventually("on_exit ran", || mark.exists());
    monitor.join().unwrap();

    let container = with_mark(Box_::new(&["true"]));
    let mut monitor = container.create().unwrap();
    monitor.take_over_cleanup().unwrap();
    monitor.start().unwrap();
    monitor.wait(None, NEVER).unwrap();
    monitor.join().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!container.path("mark").exists());

    let container = with_mark(Box_::new(&["sleep", "0.3"]));
    let mut monitor = container.create().unwrap();
    monitor.take_over_cleanup().unwrap();
    monitor.start().unwrap();
    drop(monitor);
    eventually("on_exit ran for the lost owner", || container.path("mark").exists());
}

fn garbage_on_the_socket() {
    let container = Box_::new(&["sleep", "60"]);
    let mut monitor = container.start();
    let socket = container.plan.run_dir.join("control.sock");
    let mut held = Vec::new();
    for number in 0..200u32 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let bytes: Vec<u8> = match number % 5 {
            0 => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            1 => vec![0xff; 64],
            2 => [&4u32.to_le_bytes()[..], &[1], b"null"].concat(),
            3 => vec![200, 0, 0, 0, 1, b'{'],
            _ => Vec::new(),
        };
        let _ = stream.write_all(&bytes);
        if number % 2 == 0 {
            held.push(stream);
        }
    }
    let start = Instant::now();
    assert_eq!(container.exec(&["echo", "alive"]).unwrap().1, "alive\n");
    assert!(start.elapsed() < Duration::from_secs(2));
    // A client that asks without ever reading is cut off.
    let mut greedy = UnixStream::connect(&socket).unwrap();
    greedy.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let request = [&12u32.to_le_bytes()[..], &[1], b"{\"start\":{}}"].concat();
    let text = b"\"start\"";
    let request =
        if request.is_empty() { request } else { [&(text.len() as u32).to_le_bytes()[..], &[1], text].concat() };
    let flood: Vec<u8> = request.iter().copied().cycle().take(request.len() * 40_000).collect();
    let _ = greedy.write_all(&flood);
    assert_eq!(container.exec(&["echo", "alive"]).unwrap().1, "alive\n");
    monitor.stop(9, Duration::from_secs(5), NEVER).unwrap();
    monitor.join().unwrap();
}

fn a_second_monitor_is_refused() {
    let container = Box_::new(&["sleep", "60"]);
    let _monitor = container.start();
    let error = container.create().map(drop).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(matches!(container.life(), Life::Alive(_)));
}

fn a_failed_birth_leaves_nothing() {
    let edits: [fn(&mut serde_json::Value); 3] = [
        |spec| spec["mounts"][0]["options"] = serde_json::json!(["no-such-option"]),
        |spec| spec["linux"]["resources"]["memory"] = serde_json::json!({"limit": -7}),
        |spec| {
            spec["process"]["rlimits"] =
                serde_json::json!([{"type": "RLIMIT_NOFILE", "soft": 1u64 << 40, "hard": 1u64 << 40}])
        },
    ];
    for edit in edits {
        let container = Box_::new(&["true"]).edit(edit);
        let error = container.create().map(drop).unwrap_err();
        assert!(!error.to_string().is_empty());
        let parent = container.plan.cgroup.split('/').next().unwrap().to_owned();
        assert!(state::cgroups_below(&parent).unwrap().is_empty());
        eventually("the monitor goes", || state::sweep(&container.plan.cgroup, &container.plan.run_dir).is_ok());
    }
}

fn a_small_init() {
    let container =
        Box_::sh("trap 'exit 5' TERM; (sleep 0.05 &); echo ready; while :; do read line </proc/uptime; done");
    let container = container.with(|plan| plan.init = true);
    let mut monitor = container.start();
    eventually("the trap is set", || container.log().contains("ready"));
    eventually("the orphan ends and is reaped", || {
        let look = ["sh", "-c", "cat /proc/1/comm /proc/[0-9]*/stat; ls /proc/1/fd"];
        let (_, out, _) = container.exec(&look).unwrap();
        assert!(out.starts_with("init\n"), "{out}");
        !out.contains("(sleep) S ") && !out.contains(") Z ")
    });
    assert_eq!(monitor.stop(15, Duration::from_secs(20), NEVER).unwrap().exit_code, 5);
    monitor.join().unwrap();
    let error = Box_::new(&["nope"]).with(|plan| plan.init = true).run().unwrap_err();
    assert_eq!(error.failure().map(|failure| failure.exit_code), Some(127), "{error}");
}

fn the_monitor_is_small() {
    let container = Box_::sh("head -c 3000000 /dev/zero; echo; sleep 60");
    let _monitor = container.start();
    eventually("it has written", || container.log().len() > 3_000_000);
    std::thread::sleep(Duration::from_millis(1300));
    let Life::Alive(state) = container.life() else { panic!() };
    let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", state.monitor.0)).unwrap();
    let private = smaps.lines().filter(|line| line.starts_with("Private_Dirty:") || line.starts_with("Private_Clean:"));
    let kibibytes: u64 = private.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum();
    assert!(kibibytes < 3 * 1024, "{kibibytes} KiB of private memory");
}

fn detaching() {
    let container = Box_::new(&["cat"]).with(|plan| plan.stdin_open = true);
    let mut monitor = container.create().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'a', 16, 17]).unwrap();
    let mut ignore = |_, _: &[u8]| Ok(());
    let mut attachment = attachment(&mut ignore);
    attachment.stdin = Some(std::os::fd::AsFd::as_fd(&reader));
    attachment.detach_keys = vec![16, 17];
    assert_eq!(monitor.attach(attachment, true).unwrap(), AttachEnd::Detached);
    assert!(matches!(container.life(), Life::Alive(_)));
    monitor.stop(9, Duration::from_secs(5), NEVER).unwrap();
    monitor.join().unwrap();
    let _ = support::base();
}

/// A client waited for ever for a monitor that was stopped.
fn stopped_monitor() {
    let container = Box_::new(&["sleep", "60"]);
    let mut monitor = container.start();
    let Life::Alive(state) = container.life() else { panic!() };
    let signal = |name: &str| {
        let status = std::process::Command::new("kill").args([name, &state.monitor.0.to_string()]).status();
        assert!(status.unwrap().success());
    };
    signal("-STOP");
    let start = Instant::now();
    let error = monitor.stop(9, Duration::ZERO, NEVER).unwrap_err();
    assert_eq!(error.kind(), rhumb::base::Kind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(25));
    signal("-CONT");
    // It reads the first request now, so that it may be gone before the second connection is answered.
    if let Err(error) = monitor.stop(9, Duration::from_secs(5), NEVER) {
        use rhumb::base::Kind::{Conflict, Unavailable};
        assert!(matches!(error.kind(), Unavailable | Conflict), "{error}");
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !matches!(container.life(), Life::Ended(record) if record.exit_code == 137) {
        assert!(Instant::now() < deadline, "{:?}", container.life());
        std::thread::sleep(Duration::from_millis(10));
    }
    monitor.join().unwrap();
}

/// A creator that was killed before it heard "created" left the cgroup behind.
fn early_creator() {
    let container = Box_::new(&["sleep", "60"]).with(|plan| plan.on_exit = Vec::new());
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let json = serde_json::to_vec(&serde_json::json!({"create": container.plan})).unwrap();
    ours.write_all(&u32::try_from(json.len()).unwrap().to_le_bytes()).unwrap();
    ours.write_all(&[1]).unwrap();
    ours.write_all(&json).unwrap();
    drop(ours);
    let mut monitor = std::process::Command::new(std::env::current_exe().unwrap())
        .arg(rhumb::runtime::monitor::VERB)
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    monitor.wait().unwrap();
    let parent = container.plan.cgroup.split('/').next().unwrap();
    assert!(state::cgroups_below(parent).unwrap().is_empty());
}
