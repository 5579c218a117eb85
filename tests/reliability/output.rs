//! R16: output through logs and attach: much of it with slow readers, rotation, last words in the pipe at the end, a full
//! disk, a monitor that dies while it writes. Byte-exact, within the cap, and the monitor's memory stays what it was.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::count;
use crate::full_disk::Disk;
use crate::random::Random;
use crate::support::process::{self, PATIENCE, eventually};
use crate::support::{BASE, Rhumb};

/// How much goes through in a test, in bytes; a soak of 32 is a gibibyte.
const FLOOD_BYTES: usize = 32 << 20;
/// How much the monitor's own memory may grow by a flood, in KiB: the buffers of streams, log and clients.
const GROWTH_KIB: u64 = 2048;

/// Writes numbered lines of many lengths, some longer than an entry of a log, until there are so many bytes.
fn write_lines(path: &std::path::Path, bytes: usize) {
    let mut random = Random::new();
    let mut file = BufWriter::new(File::create(path).unwrap());
    let (mut written, mut number) = (0, 0);
    while written < bytes {
        let length = match random.below(1000) {
            0 => random.below(40_000),
            1..300 => random.below(10),
            _ => random.below(300),
        };
        let line = format!("{number} {}\n", "abcdefghij\\\"\u{e4}".repeat(length as usize / 13 + 1));
        file.write_all(line.as_bytes()).unwrap();
        (written, number) = (written + line.len(), number + 1);
    }
    file.flush().unwrap();
}

/// Starts a command whose standard output is read by the test.
fn piped(rhumb: &Rhumb, args: &[&str]) -> Child {
    rhumb.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Reads everything and compares it with a file; `slow` stops now and then.
fn compare(mut from: impl Read, path: &std::path::Path, slow: bool) -> Result<(), String> {
    let mut expected = BufReader::with_capacity(1 << 20, File::open(path).unwrap());
    let (mut block, mut offset, mut reads) = (vec![0; 64 * 1024], 0usize, 0u32);
    loop {
        let length = from.read(&mut block).unwrap();
        if length == 0 {
            let rest = expected.fill_buf().unwrap().len();
            return if rest == 0 { Ok(()) } else { Err(format!("it ends after {offset} bytes")) };
        }
        let mut part = vec![0; length];
        let whole = expected.read_exact(&mut part);
        if whole.is_err() || part != block[..length] {
            return Err(format!("it differs within {length} bytes after {offset}"));
        }
        offset += length;
        reads += 1;
        if slow && reads < 200 && reads.is_multiple_of(10) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The monitor of a running container.
fn monitor(rhumb: &Rhumb, name: &str) -> String {
    let pid = rhumb.inspect(name)["State"]["Pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned()
}

/// Memory that a process has for itself, in KiB.
fn private_kib(pid: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let numbers =
        rollup.lines().filter(|line| line.starts_with("Private")).filter_map(|line| line.split_whitespace().nth(1));
    numbers.map(|number| number.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_flood_is_byte_exact_for_every_reader_and_the_monitor_stays_small() {
    let rhumb = Rhumb::with_base();
    fs::create_dir(rhumb.path("data")).unwrap();
    let flood = rhumb.path("data/flood");
    write_lines(&flood, count(FLOOD_BYTES));
    let data = format!("{}:/data:ro", rhumb.path("data").display());
    for driver in ["json-file", "local"] {
        let script =
            "while [ ! -e /go ]; do sleep 0.05; done; cat /data/flood; while [ ! -e /end ]; do sleep 0.05; done";
        let mut args = vec!["run", "-d", "--name", "box", "-v", &data, "--log-driver", driver];
        if driver == "local" {
            args.extend(["--log-opt", "max-size=100g"]);
        }
        args.extend([BASE, "sh", "-c", script]);
        rhumb.run(&args).ok();
        let monitor = monitor(&rhumb, "box");
        let before = private_kib(&monitor);
        let mut children: Vec<Child> =
            [&["logs", "-f", "box"][..], &["logs", "-f", "box"], &["attach", "--no-stdin", "box"]]
                .map(|args| piped(&rhumb, args))
                .into();
        // The client that attaches must be there from the first byte.
        eventually("the attached client", PATIENCE, || {
            let open = fs::read_dir(format!("/proc/{monitor}/fd")).ok()?.flatten();
            let sockets =
                open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket")));
            (sockets.count() >= 2).then_some(())
        });
        std::thread::sleep(Duration::from_millis(300));
        rhumb.run(["exec", "box", "sh", "-c", ": > /go"]).ok();
        std::thread::scope(|scope| {
            let readers: Vec<_> = children
                .iter_mut()
                .enumerate()
                .map(|(number, child)| {
                    let (out, flood) = (child.stdout.take().unwrap(), &flood);
                    scope.spawn(move || compare(out, flood, number != 0))
                })
                .collect();
            eventually("the end of the flood", PATIENCE * 10, || {
                let tail = rhumb.sh("logs --tail 1 box").bytes;
                let mut end = vec![0; tail.len()];
                let length = flood.metadata().unwrap().len();
                std::os::unix::fs::FileExt::read_exact_at(
                    &File::open(&flood).unwrap(),
                    &mut end,
                    length - tail.len() as u64,
                )
                .unwrap();
                (!tail.is_empty() && tail == end).then_some(())
            });
            let after = private_kib(&monitor);
            assert!(after < before + GROWTH_KIB, "{driver}: the monitor had {before} KiB and has {after} KiB");
            rhumb.touch("box", "/end");
            for (number, reader) in readers.into_iter().enumerate() {
                assert_eq!(reader.join().unwrap(), Ok(()), "{driver}: reader {number}");
            }
        });
        for mut child in children {
            child.wait().unwrap();
        }
        let mut whole = piped(&rhumb, &["logs", "box"]);
        assert_eq!(compare(whole.stdout.take().unwrap(), &flood, false), Ok(()), "{driver}: afterwards");
        assert!(whole.wait().unwrap().success());
        rhumb.sh("rm -f box").ok();
    }
    rhumb.leaks().assert_clean();
}

#[test]
fn a_rotated_log_is_a_whole_end_of_the_output_within_its_cap() {
    let rhumb = Rhumb::with_base();
    fs::create_dir(rhumb.path("data")).unwrap();
    let flood = rhumb.path("data/flood");
    write_lines(&flood, count(8 << 20));
    let data = format!("{}:/data:ro", rhumb.path("data").display());
    for options in ["max-size=100k", "max-size=1m max-file=3", "max-size=500k max-file=4 compress=true"] {
        let mut args = vec!["run", "-d", "--name", "box", "-v", &data];
        args.extend(options.split(' ').flat_map(|option| ["--log-opt", option]));
        args.extend([BASE, "cat", "/data/flood"]);
        rhumb.run(&args).ok();
        rhumb.sh("wait box").ok();
        let log = rhumb.sh("logs box").bytes;
        let all = fs::read(&flood).unwrap();
        assert!(!log.is_empty() && all.ends_with(&log), "{options}: not the end of what was written");
        let id = crate::support::rhumb::string(&rhumb.inspect("box")["Id"]);
        let cap = match options.split_once(' ').map_or(options, |(size, _)| size) {
            "max-size=1m" => 1_000_000,
            "max-size=500k" => 500_000,
            _ => 100_000,
        };
        for entry in fs::read_dir(rhumb.root().join("containers").join(id)).unwrap().flatten() {
            let (name, size) = (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len());
            assert!(!name.contains(".log") || size <= cap, "{options}: {name} has {size} bytes");
            assert!(!name.ends_with(".tmp"), "{options}: {name} is left");
        }
        rhumb.sh("rm box").ok();
    }
    rhumb.leaks().assert_clean();
}

#[test]
fn the_last_words_are_never_lost() {
    let rhumb = Rhumb::with_base();
    fs::create_dir(rhumb.path("data")).unwrap();
    // What a pipe holds, so that the writer need not wait for anybody before it ends.
    write_lines(&rhumb.path("data/words"), 60_000);
    let words = fs::read(rhumb.path("data/words")).unwrap();
    let words = &words[..words.len().min(64 * 1024)];
    fs::write(rhumb.path("data/words"), words).unwrap();
    let data = format!("{}:/data:ro", rhumb.path("data").display());
    for attempt in 0..count(25) {
        let driver = if attempt % 2 == 0 { "json-file" } else { "local" };
        let args = ["--name", "box", "-v", &data, "--log-driver", driver, BASE, "cat", "/data/words"];
        let seen = if attempt % 3 == 0 {
            rhumb.run(["run", "-d"].into_iter().chain(args)).ok();
            rhumb.sh("logs -f box").bytes
        } else {
            rhumb.run(["run"].into_iter().chain(args)).bytes
        };
        assert!(seen == words, "attempt {attempt}: {} of {} bytes were seen", seen.len(), words.len());
        let log = rhumb.sh("logs box").bytes;
        assert!(log == words, "attempt {attempt}: {} of {} bytes are in the log", log.len(), words.len());
        rhumb.sh("rm -f box").ok();
    }
    rhumb.leaks().assert_clean();
}

#[test]
fn a_log_on_a_full_disk_stops_nobody_and_tells_what_is_missing() {
    let disk = Disk::new("48m");
    {
        let rhumb = Rhumb::with_base_in(disk.path());
        for driver in ["json-file", "local"] {
            // Slow enough that what comes after the loss does not fill the disk once more on a busy machine.
            let script = "i=0; while [ ! -e /tmp/end ]; do i=$((i+1)); echo line $i; [ $((i % 100)) = 0 ] && sleep 0.01; done;\
                echo the end";
            let args = ["run", "-d", "--tmpfs", "/tmp", "--name", "box", "--log-driver", driver];
            let small: &[&str] = if driver == "local" { &["--log-opt", "max-size=1g"] } else { &[] };
            rhumb.run(args.iter().chain(small).copied().chain([BASE, "sh", "-c", script])).ok();
            eventually("the first lines", PATIENCE, || {
                (rhumb.sh("logs --tail 3 box").stdout.lines().count() == 3).then_some(())
            });
            disk.fill(0);
            let lost = eventually("a loss", PATIENCE, || rhumb.inspect("box")["State"]["LogLost"]["Lines"].as_u64());
            // Nobody gets garbage, and whoever looks is told.
            let outcome = rhumb.sh("logs --tail 100 box");
            outcome.ok();
            assert!(outcome.lines().iter().all(|line| line.starts_with("line ")), "{outcome}");
            assert!(outcome.stderr.contains("output are missing in this log"), "{outcome}");
            eventually("the container's going on", PATIENCE, || {
                let now = rhumb.inspect("box")["State"]["LogLost"]["Lines"].as_u64().unwrap();
                (now > lost).then_some(())
            });
            disk.free();
            eventually("the note in the log", PATIENCE, || {
                let tail = rhumb.sh("logs --tail 200000 box");
                tail.stderr.contains("lines (").then_some(())
            });
            rhumb.touch("box", "/tmp/end");
            rhumb.sh("wait box").ok();
            // The numbers grow, with gaps only where the log says so.
            let outcome = rhumb.sh("logs box");
            assert!(outcome.stdout.ends_with("the end\n"), "{driver}: the end is missing");
            let numbers = outcome.stdout.lines().filter_map(|line| line.strip_prefix("line ")?.parse::<u64>().ok());
            let numbers: Vec<u64> = numbers.collect();
            assert_eq!(numbers.len() + 1, outcome.stdout.lines().count(), "{driver}: garbage");
            let missing: u64 = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).sum();
            let notes = outcome.stderr.lines().filter_map(|line| line.strip_prefix("rhumb: ")?.split(' ').next());
            let told: u64 = notes.filter_map(|number| number.parse::<u64>().ok()).sum();
            let counted = rhumb.inspect("box")["State"]["LogLost"]["Lines"].as_u64().unwrap();
            assert!(
                missing == counted && told >= counted,
                "{driver}: {missing} are missing, {counted} counted, {told} told"
            );
            rhumb.sh("rm box").ok();
        }
        rhumb.leaks().assert_clean();
    }
}

#[test]
fn a_monitor_that_dies_while_it_writes_costs_a_line_at_most() {
    let rhumb = Rhumb::with_base();
    let mut random = Random::new();
    for attempt in 0..count(6) {
        let driver = if attempt % 2 == 0 { "json-file" } else { "local" };
        let script = "i=0; while :; do i=$((i+1)); echo line $i; done";
        let args = ["run", "-d", "--name", "box", "--log-driver", driver, "--log-opt", "max-size=1g"];
        rhumb.run(args.into_iter().chain([BASE, "sh", "-c", script])).ok();
        let monitor = monitor(&rhumb, "box");
        std::thread::sleep(Duration::from_millis(random.below(200)));
        process::run(Command::new("kill").args(["-9", &monitor]), None, PATIENCE).ok();
        let check = |text: &str| {
            let numbers: Vec<u64> =
                text.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
            numbers.iter().copied().eq(1..=numbers.len() as u64)
        };
        let outcome = rhumb.sh("logs -f box");
        assert!(check(&outcome.ok()), "{driver}: a gap");
        rhumb.sh("rm -f box").ok();
    }
    rhumb.leaks().assert_clean();
}
