//! R8: the same thing again and again leaves everything as at the start. Whether it stays as fast is printed and not
//! asserted: other work on the machine decides as much. The benchmark is the place for times.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::count;
use crate::support::leaks::hierarchies;
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
        records: ["ps -aq", "images -q", "volume ls -q"].map(|line| rhumb.sh(line).ok()).to_vec(),
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
    rhumb.run(["run", "--rm", BASE, "true"]).ok(); // makes the folders that stay
    rhumb.leaks().assert_clean();
    let before = counts(&rhumb);
    let mut times = Vec::with_capacity(total);
    for _ in 0..total {
        let begin = Instant::now();
        rhumb.run(["run", "--rm", "-v", "/data", "--tmpfs", "/tmp", BASE, "true"]).ok();
        times.push(begin.elapsed());
    }
    rhumb.leaks().assert_clean();
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
