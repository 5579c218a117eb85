//! R8: the same thing again and again leaves everything as at the start. Whether it stays as fast is printed and not
//! asserted: other work on the machine decides as much. The benchmark is the place for times.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::count;
use crate::support::leaks::hierarchies;
use crate::support::process::eventually;
use crate::support::{BASE, Rhumb};

/// What grows when something leaks.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    records: Vec<String>,
    files: usize,
    cgroups: usize,
    mounts: usize,
}

fn counts(rhumb: &Rhumb) -> Counts {
    let cgroups = |dir: std::path::PathBuf| {
        let parent = dir.join(format!("rhumb-{}", rhumb.root_id()));
        fs::read_dir(parent).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()).count()
    };
    let root = rhumb.root().to_string_lossy().into_owned();
    Counts {
        records: ["ps -aq", "images -q", "volume ls -q", "network ls -q"].map(|line| rhumb.sh(line).ok()).to_vec(),
        files: files_below(&rhumb.root()),
        cgroups: hierarchies().into_iter().map(cgroups).sum(),
        mounts: fs::read_to_string("/proc/self/mountinfo").unwrap().matches(&root).count(),
    }
}

fn files_below(dir: &std::path::Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| !entry.file_name().to_string_lossy().ends_with("-wal"))
        .map(|entry| if entry.file_type().unwrap().is_dir() { 1 + files_below(&entry.path()) } else { 1 })
        .sum()
}

#[test]
fn five_hundred_runs_leave_everything_as_at_the_start() {
    let rhumb = Rhumb::with_base();
    let total = count(500);
    rhumb.sh("network create --subnet 10.231.242.0/24 again").ok();
    let network = ["--network", "again", "-p", "127.0.0.1:28481:80"];
    rhumb.run(["run", "--rm"].iter().chain(&network).chain(&[BASE, "true"])).ok(); // makes the folders that stay
    let settled = || {
        let is_network = |line: &String| line.starts_with("link rb") || line.starts_with("nft ");
        let gone = || rhumb.leaks().kernel().iter().all(is_network).then_some(());
        eventually("the kernel has nothing but the network", Duration::from_secs(5), gone);
        // The next one takes the notes of interfaces away that have gone.
        rhumb.sh("network prune --filter label=none -f").ok();
    };
    settled();
    let before = counts(&rhumb);
    let mut times = Vec::with_capacity(total);
    for _ in 0..total {
        let begin = Instant::now();
        let storage = ["-v", "/data", "--tmpfs", "/tmp"];
        rhumb.run(["run", "--rm"].iter().chain(&storage).chain(&network).chain(&[BASE, "true"])).ok();
        times.push(begin.elapsed());
    }
    settled();
    assert_eq!(counts(&rhumb), before);
    rhumb.assert_consistent();
    let mean = |part: &[Duration]| part.iter().sum::<Duration>() / part.len() as u32;
    let (first, last) = (mean(&times[..total / 10]), mean(&times[total - total / 10..]));
    let ratio = last.as_secs_f64() / first.as_secs_f64();
    writeln!(std::io::stderr(), "R8: {total} runs, the first tenth {first:?} each, the last {last:?}: {ratio:.2}")
        .unwrap();
}

#[test]
fn start_and_stop_of_one_container_leave_nothing_in_the_kernel() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["create", "--name", "box", "-v", "/data", BASE, "sleep", "1000"]).ok();
    for _ in 0..count(20) {
        rhumb.run(["start", "box"]).ok();
        rhumb.run(["stop", "-t", "0", "box"]).ok();
    }
    rhumb.leaks().assert_kernel_clean();
    assert_eq!(rhumb.run(["volume", "ls", "-q"]).ok().lines().count(), 1);
    rhumb.assert_consistent();
}

/// R9: a small range is filled, emptied at random and filled again; every address is one container's.
#[test]
fn addresses_are_given_once_and_given_back() {
    let rhumb = Rhumb::with_base();
    rhumb.sh("network create --subnet 10.231.240.0/27 small").ok();
    let random = &mut crate::random::Random::new();
    let mut here: Vec<String> = Vec::new();
    let room = 29; // 32 without the network's own, the broadcast's and the gateway's
    for round in 0..count(2) {
        for number in here.len()..room {
            let name = format!("r{round}n{number}");
            rhumb.run(["run", "-d", "--name", &name, "--network", "small", BASE, "sleep", "1000"]).ok();
            here.push(name);
        }
        rhumb.run(["run", "--rm", "--network", "small", BASE, "true"]).fails_with(125, "no address of 10.231.240.0/27");
        let addresses: std::collections::BTreeSet<String> =
            rhumb.rows("network members small").iter().map(|row| row["IPv4"].to_string()).collect();
        assert_eq!(addresses.len(), room, "{addresses:?}");
        rhumb.assert_consistent();
        for _ in 0..10 {
            let name = here.swap_remove(random.below(here.len() as u64) as usize);
            rhumb.run(["rm", "-f", &name]).ok();
        }
    }
    rhumb.remove_all();
    rhumb.leaks().assert_clean();
}

/// R9: many ports of one container, each of which nobody else gets.
#[test]
fn a_thousand_ports_are_published_and_given_back() {
    let rhumb = Rhumb::with_base();
    rhumb.sh("network create --subnet 10.231.241.0/24 ports").ok();
    let ports = "127.0.0.1:30000-30999:1000-1999";
    rhumb.run(["run", "-d", "--name", "many", "--network", "ports", "-p", ports, BASE, "sleep", "1000"]).ok();
    assert_eq!(rhumb.sh("port many").ok().lines().count(), 1000);
    let second = rhumb.run(["run", "-d", "--network", "ports", "-p", "30500:1", BASE, "sleep", "1000"]);
    second.fails_with(125, "is published by the container \"many\"");
    rhumb.assert_consistent();
    rhumb.sh("rm -f many").ok();
    rhumb.run(["run", "-d", "--name", "next", "--network", "ports", "-p", "30500:1", BASE, "sleep", "1000"]).ok();
    rhumb.remove_all();
    rhumb.leaks().assert_clean();
}
