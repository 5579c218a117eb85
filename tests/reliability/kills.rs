//! R2, R3 and R11: processes killed from outside, at random, and a stranger who got a dead one's number.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::count;
use crate::random::Random;
use crate::support::process::{PATIENCE, eventually};
use crate::support::rhumb::string;
use crate::support::{BASE, Rhumb};

/// How long a client may outlive the death of what it talks to.
const CLIENT_END: Duration = Duration::from_secs(5);

fn kill(pid: i32) {
    let status = Command::new("/bin/kill").args(["-KILL", &pid.to_string()]).status().expect("running kill");
    assert!(status.success(), "process {pid} cannot be killed: is it gone?");
}

fn exists(pid: i32) -> bool {
    // A zombie has ended; who reaps it is another matter.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The container's first process and its monitor, which is the parent.
fn pids(rhumb: &Rhumb, container: &str) -> (i32, i32) {
    let init = rhumb.inspect(container)["State"]["Pid"].as_i64().expect("a pid") as i32;
    let status = fs::read_to_string(format!("/proc/{init}/status")).expect("a live process");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    (init, parent.trim().parse().expect("a pid"))
}

fn state(rhumb: &Rhumb, container: &str) -> String {
    let state = &rhumb.inspect(container)["State"];
    format!("{} {}", string(&state["Status"]), state["ExitCode"])
}

#[test]
fn run_killed_at_random_leaves_nothing() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["network", "create", "--subnet", "10.231.224.0/20", "around"]).ok();
    let random = Mutex::new(Random::new());
    at_once(count(200), |number| {
        let (delay, kind) = {
            let mut random = random.lock().unwrap();
            (Duration::from_micros(random.below(300_000)), random.below(3))
        };
        let name = format!("run{number}");
        let mut args = vec!["run", "-v", "/data", "--name", &name];
        if number % 2 == 0 {
            args.extend(["--network", "around", "-p", "127.0.0.1::80"]);
        }
        args.extend(match kind {
            0 => &["--rm"][..],
            1 => &["-d"],
            _ => &[],
        });
        args.extend([BASE, "sh", "-c", "sleep 0.05; echo done"]);
        let mut child = rhumb.spawn(&args);
        std::thread::sleep(delay);
        child.kill().expect("killing a child of ours");
        child.wait().expect("waiting for a child of ours");
    });
    // Every container ends by itself; what had --rm goes by itself, which the next command may have to do.
    eventually("all containers end", PATIENCE, || rhumb.run(["ps", "-q"]).ok().is_empty().then_some(()));
    let is_network = |line: &String| line.starts_with("link rb") || line.starts_with("nft ");
    eventually("the kernel has nothing but the network", CLIENT_END, || {
        rhumb.leaks().kernel().iter().all(is_network).then_some(())
    });
    rhumb.assert_consistent();
    for (name, state) in rhumb.states() {
        assert!(["created", "exited", "dead"].contains(&&*state), "after a kill {name} is {state}");
    }
    rhumb.remove_all();
    rhumb.run(["network", "prune", "-f"]).ok();
    rhumb.leaks().assert_clean();
    assert_eq!(rhumb.run(["volume", "ls", "-q"]).ok(), "", "anonymous volumes are left");
    rhumb.assert_consistent();
}

/// Stages side by side, with caches, a copy and a mount of one in another.
const DOCKERFILE: &str = "FROM base:1 AS one
RUN --mount=type=cache,target=/cache echo one >> /cache/log && sleep 0.03 && mkdir /out && echo one > /out/one
COPY file /out/file
FROM base:1 AS two
RUN --mount=type=cache,id=other,target=/cache sleep 0.02 && echo two > /two && date > /cache/when
RUN sleep 0.02 && echo more >> /two
FROM base:1
COPY --from=one /out /in
RUN --mount=type=bind,from=two,target=/mnt cat /in/one /in/file /mnt/two > /all
";

#[test]
fn a_build_killed_at_random_leaves_a_right_cache() {
    let rhumb = Rhumb::with_base();
    let mut random = Random::new();
    fs::create_dir(rhumb.path("context")).unwrap();
    fs::write(rhumb.path("context/file"), "of the context").unwrap();
    fs::write(rhumb.path("context/Dockerfile"), DOCKERFILE).unwrap();
    let build = ["build", "-q", "-t", "built:1", "context"];
    let undisturbed = rhumb.run(build);
    let whole = undisturbed.elapsed.as_micros() as u64;
    let id = undisturbed.ok();
    for number in 0..count(20) {
        // Some go on with what a killed one has left, before the kill as after it.
        let prune = ["false", "true"][number % 2];
        let forget = format!("build::cache(#{{ prune: true, mounts: {prune} }})");
        rhumb.script(&format!(r#"image::get("built:1").remove(#{{ force: true }}); {forget}"#)).ok();
        for _ in 0..=number % 3 {
            let mut child = rhumb.spawn(build);
            std::thread::sleep(Duration::from_micros(random.below(whole)));
            child.kill().expect("killing a child of ours");
            child.wait().expect("waiting for a child of ours");
        }
        assert_eq!(rhumb.run(build).ok(), id, "after kill {number}");
        assert_eq!(rhumb.run(["ps", "-aq"]).ok(), "", "after kill {number}");
        eventually("the kernel has nothing of the build", CLIENT_END, || {
            rhumb.leaks().kernel().is_empty().then_some(())
        });
    }
    rhumb.assert_consistent();
    rhumb.leaks().assert_clean();
}

/// Does `work` with the numbers below `total` on a few threads: mostly it waits, for a dead process to be reaped.
fn at_once(total: usize, work: impl Fn(usize) + Sync) {
    let numbers = Mutex::new(0..total);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(number) = { numbers.lock().unwrap().next() } {
                    work(number);
                }
            });
        }
    });
}

/// A container with everything that may be connected to it.
struct Busy {
    name: String,
    init: i32,
    monitor: i32,
    clients: Vec<(&'static str, Child)>,
}

fn busy(rhumb: &Rhumb, name: &str) -> Busy {
    rhumb.run(["run", "-d", "--name", name, BASE, "sh", "-c", "while true; do echo tick; sleep 0.1; done"]).ok();
    let (init, monitor) = pids(rhumb, name);
    let clients = vec![
        ("exec", rhumb.spawn(["exec", name, "sleep", "1000"])),
        ("attach", rhumb.spawn(["attach", "--no-stdin", name])),
        ("logs", rhumb.spawn(["logs", "-f", name])),
        ("wait", rhumb.spawn(["wait", name])),
    ];
    // The exec stands when its process is there: the container has three then.
    eventually("exec runs", PATIENCE, || {
        let found = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            fs::read(entry.path().join("cmdline")).is_ok_and(|cmdline| cmdline == b"sleep\x001000\0")
                && parent(&entry.path()) == Some(monitor)
        });
        found.then_some(())
    });
    Busy { name: name.into(), init, monitor, clients }
}

fn parent(proc: &std::path::Path) -> Option<i32> {
    let status = fs::read_to_string(proc.join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Waits for every client; returns their exit codes.
fn ends(busy: Busy) -> Vec<(&'static str, i32)> {
    let begin = Instant::now();
    let mut codes = Vec::new();
    for (what, mut child) in busy.clients {
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > CLIENT_END {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{what} still waits {CLIENT_END:?} after the end of {}", busy.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        codes.push((what, status.code().or(status.signal().map(|signal| 128 + signal)).unwrap()));
    }
    codes
}

#[test]
fn a_killed_monitor_is_reported_and_its_clients_end() {
    let rhumb = Rhumb::with_base();
    at_once(count(50), |number| {
        let name = format!("mon{number}");
        let busy = busy(&rhumb, &name);
        let (init, monitor) = (busy.init, busy.monitor);
        kill(monitor);
        let codes = ends(busy);
        for (what, code) in codes {
            assert!(what == "logs" || code != 0, "{what} says that all is well: {code}");
        }
        eventually("the container dies with its monitor", CLIENT_END, || (!exists(init)).then_some(()));
        let state = state(&rhumb, &name);
        assert!(state.starts_with("dead "), "a container whose monitor was killed is {state}");
        let error = string(&rhumb.inspect(&name)["State"]["Error"]);
        assert!(error.contains("monitor"), "the reason is not given: {error:?}");
        rhumb.run(["rm", "-f", &name]).ok();
    });
    rhumb.leaks().assert_clean();
    rhumb.assert_consistent();
}

#[test]
fn a_killed_container_is_exited_137_and_its_clients_end() {
    let rhumb = Rhumb::with_base();
    at_once(count(50), |number| {
        let name = format!("init{number}");
        let busy = busy(&rhumb, &name);
        kill(busy.init);
        let codes = ends(busy);
        for (what, code) in codes {
            // `logs -f` and `wait` have done what they were asked for; `attach` may have come too late for the status.
            let expected: &[i32] = match what {
                "logs" | "wait" => &[0],
                "attach" => &[137, 5, 8],
                _ => &[137],
            };
            assert!(expected.contains(&code), "{what} ended with {code} when its container was killed");
        }
        assert_eq!(state(&rhumb, &name), "exited 137");
        rhumb.run(["rm", &name]).ok();
    });
    rhumb.leaks().assert_clean();
    rhumb.assert_consistent();
}

#[test]
fn a_dead_container_starts_again() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "box", BASE, "sh", "-c", "echo again >> /count; exec sleep 1000"]).ok();
    let (_, monitor) = pids(&rhumb, "box");
    kill(monitor);
    eventually("it is dead", CLIENT_END, || state(&rhumb, "box").starts_with("dead").then_some(()));
    rhumb.run(["start", "box"]).ok();
    assert!(state(&rhumb, "box").starts_with("running"), "{}", state(&rhumb, "box"));
    let text = eventually("both starts are seen", CLIENT_END, || {
        let text = rhumb.run(["exec", "box", "cat", "/count"]).ok();
        (text.lines().count() == 2).then_some(text)
    });
    assert_eq!(text, "again\nagain", "its files are not those from before");
}

/// A process is a pid and a start time (rule 4): a stranger with the number of a dead one is never signalled.
#[test]
fn a_decoy_with_a_dead_pid_is_never_signalled() {
    let rhumb = Rhumb::with_base();
    for number in 0..count(5) {
        let name = format!("decoy{number}");
        let id = rhumb.run(["run", "-d", "--name", &name, BASE, "sleep", "1000"]).ok();
        let (init, monitor) = pids(&rhumb, &name);
        kill(monitor);
        eventually("the container dies with its monitor", CLIENT_END, || (!exists(init)).then_some(()));
        let mut decoy = Command::new("sleep").arg("1000").spawn().expect("starting a decoy");
        let file = rhumb.root().join("run/containers").join(&id).join("state.json");
        // Depending on who looked since the kill, the run state may be swept already, which is as good.
        if let Ok(text) = fs::read_to_string(&file) {
            let number = decoy.id().to_string();
            let text = text.replace(&format!("{init},"), &format!("{number},"));
            fs::write(&file, text.replace(&format!("{monitor},"), &format!("{number},"))).unwrap();
        }
        for args in [&["ps", "-a"][..], &["stop", "-t", "0", &name], &["kill", &name], &["rm", "-f", &name]] {
            rhumb.run(args); // whether it succeeds is not the question
        }
        assert!(decoy.try_wait().unwrap().is_none(), "the decoy was killed");
        decoy.kill().unwrap();
        decoy.wait().unwrap();
    }
    rhumb.leaks().assert_clean();
}
