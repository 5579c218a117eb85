//! R5: no space at a random point, on a small file system of the root's own.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use crate::count;
use crate::observe::observe;
use crate::random::Random;
use crate::support::process::{self, PATIENCE, eventually};
use crate::support::rhumb::assert_root;
use crate::support::{BASE, Outcome, Rhumb, Scratch};

/// A tmpfs that is unmounted with the value.
pub(crate) struct Disk {
    dir: Scratch,
}

impl Disk {
    /// A disk of this size, such as `48m`.
    pub(crate) fn new(size: &str) -> Disk {
        assert_root();
        let dir = Scratch::new();
        let options = format!("size={size},mode=700");
        process::run(
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "rhumb-test"]).arg(dir.path()),
            None,
            PATIENCE,
        )
        .ok();
        Disk { dir }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Fills the disk so that about this many bytes are left.
    pub(crate) fn fill(&self, leave_bytes: u64) {
        let mut file = File::create(self.ballast()).expect("making the ballast");
        let block = vec![0x5a; 64 * 1024];
        // Ends with the disk full, which is what we want; then single pages, since a write may be refused as a whole.
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..4096]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(leave_bytes)).unwrap();
    }

    /// Gives the space back at once: a child that another test is just starting may still hold the file for a moment, so
    /// removing it alone would not.
    pub(crate) fn free(&self) {
        File::options()
            .write(true)
            .open(self.ballast())
            .and_then(|file| file.set_len(0))
            .expect("emptying the ballast");
        fs::remove_file(self.ballast()).expect("removing the ballast");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // As with `free`: a child of another test may hold a file of it until it is another program.
        let unmount = || process::run(Command::new("umount").arg(self.dir.path()), None, PATIENCE);
        let mut outcome = unmount();
        for _ in 0..100 {
            if outcome.success() || !outcome.stderr.contains("busy") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            outcome = unmount();
        }
        if !outcome.success() {
            // Nothing stays mounted, whatever becomes of the test.
            process::run(Command::new("umount").arg("-l").arg(self.dir.path()), None, PATIENCE);
        }
        assert!(outcome.success() || std::thread::panicking(), "the disk is still in use:\n{outcome}");
    }
}

/// An error for a full disk is one clear message; a verb that says nothing has done its work.
#[track_caller]
fn judge(outcome: &Outcome) {
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    if !outcome.success() {
        let clear = outcome.stderr.to_lowercase();
        let named = ["no space", "disk", "full", "quota"].iter().any(|word| clear.contains(word));
        assert!(named && (1..=4).contains(&outcome.stderr.lines().count()), "not a clear message: {outcome}");
    }
}

/// `(the verb, its retry with space, what removes it)`, with its number in it.
fn verbs(number: usize) -> [(Vec<String>, Vec<String>); 6] {
    let words =
        |line: &str| -> Vec<String> { line.replace('#', &number.to_string()).split('|').map(str::to_owned).collect() };
    [
        (words("create|--name|c#|-v|n#:/v|base:1|true"), words("rm|-f|-v|c#")),
        (words("run|-d|--name|c#|base:1|sleep|1000"), words("rm|-f|-v|c#")),
        (words("run|--rm|base:1|sh|-c|dd if=/dev/zero of=/file bs=4096 count=200"), words("ps|-a")),
        (words("load|-i|extra.tar"), words("rmi|extra:1")),
        (words("volume|create|v#"), words("volume|rm|v#")),
        (words("save|-o|out.tar|base:1"), words("ps|-a")),
    ]
}

#[test]
fn a_full_disk_breaks_nothing() {
    let disk = Disk::new("96m");
    let mut random = Random::new();
    {
        let rhumb = Rhumb::with_base_in(disk.dir.path());
        let small = rhumb.path("small");
        fs::create_dir(&small).unwrap();
        fs::write(small.join("file"), vec![7; 3_000_000]).unwrap();
        rhumb.script(r#"image::from_dir("small", "extra:1").save("extra.tar")"#).ok();
        rhumb.run(["rmi", "extra:1"]).ok();
        rhumb.run(["run", "-d", "--name", "bystander", BASE, "sleep", "1000"]).ok();
        let empty = observe(&rhumb);
        for number in 0..count(50) {
            for (verb, undo) in verbs(number) {
                // Mostly very little space: that is where a record fits and its data does not.
                let most = if random.below(2) == 0 { 128 * 1024 } else { 6_000_000 };
                let leave = random.below(most);
                disk.fill(leave);
                let outcome = rhumb.run(&verb);
                // A command of a container that has no space says so itself.
                if !outcome.command.contains("dd if=") || outcome.code == 125 {
                    judge(&outcome);
                }
                // Now without a byte: looking and removing must work.
                disk.free();
                disk.fill(0);
                rhumb.run(["ps", "-a"]).ok();
                rhumb.run(["images"]).ok();
                let removed = rhumb.run(&undo);
                let gone = removed.success() || removed.stderr.contains("no such");
                assert!(gone, "with no byte free (after {outcome})\n{removed}");
                rhumb.run(["container", "prune", "-f"]).ok();
                disk.free();
                rhumb.run(&verb).ok();
                rhumb.run(&undo).ok();
                let _ = fs::remove_file(rhumb.path("out.tar")); // only `save` makes it
                rhumb.run(["volume", "rm", "-f", &format!("n{number}")]).ok();
                assert_eq!(observe(&rhumb), empty, "after {outcome}");
            }
        }
        rhumb.assert_consistent();
        rhumb.run(["system", "check", "--rehash"]).ok();
        rhumb.remove_all();
        rhumb.leaks().assert_clean();
    }
}

/// SQLite's shared memory is a file that the first process truncates and that must then grow: without a free page it
/// cannot, and no earlier process has left one that is large enough.
#[test]
fn with_no_free_page_and_no_shared_memory_one_can_look_and_remove() {
    let disk = Disk::new("48m");
    {
        let rhumb = Rhumb::with_base_in(disk.path());
        rhumb.run(["create", "--name", "new", BASE, "true"]).ok();
        rhumb.run(["run", "-d", "--name", "box", BASE, "sh", "-c", "echo word; sleep 1000"]).ok();
        rhumb.run(["run", "--name", "done", BASE, "echo", "over"]).ok();
        eventually("a word", PATIENCE, || (rhumb.sh("logs box").stdout == "word\n").then_some(()));
        let shared = rhumb.root().join("rhumb.db-shm");
        let without = |line: &str| {
            // The page that it may have had goes to the ballast.
            fs::remove_file(&shared).expect("removing the shared memory");
            disk.free();
            disk.fill(0);
            let outcome = rhumb.sh(line);
            assert!(outcome.success(), "{outcome}");
            let small = shared.metadata().is_ok_and(|file| file.len() < 4096);
            // What removes something makes room at its end.
            assert!(small || line.contains("rm") || line.contains("prune"), "{line}: it had room after all");
            outcome.stdout
        };
        disk.fill(0);
        assert_eq!(without("ps -aq").lines().count(), 3);
        assert_eq!(without("logs box"), "word\n");
        assert!(without("inspect box").contains("\"running\""));
        without("images");
        without("top box");
        without("port box");
        // Several at once take turns.
        std::thread::scope(|scope| {
            (0..12).for_each(|_| drop(scope.spawn(|| rhumb.run(["ps", "-a"]).ok())));
        });
        without("rename new newer");
        without("stop -t 1 box");
        without("rm done");
        without("rm -f box");
        without("container prune -f");
        assert_eq!(without("ps -aq"), "");
        disk.free();
        rhumb.run(["run", "--rm", BASE, "true"]).ok();
        rhumb.assert_consistent();
        rhumb.leaks().assert_clean();
    }
}

/// The record of an end has its room from the start on.
#[test]
fn a_full_disk_loses_no_exit_code() {
    let disk = Disk::new("48m");
    let rhumb = Rhumb::with_base_in(disk.dir.path());
    rhumb.run(["run", "-di", "--name", "box", BASE, "sh", "-c", "read line; exit 4"]).ok();
    disk.fill(0);
    rhumb.run_with_input(["attach", "box"], b"\n");
    let state = eventually("the end", PATIENCE, || {
        Some(rhumb.inspect("box")["State"].clone()).filter(|state| state["Status"] != "running")
    });
    assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &4.into()), "{state}");
    disk.free();
    assert_eq!(rhumb.inspect("box")["State"], state);
    rhumb.run(["start", "box"]).ok();
    rhumb.run(["rm", "-f", "box"]).ok();
    rhumb.leaks().assert_kernel_clean();
    rhumb.assert_consistent();
}

/// A disk that fills up and empties again while a container is restarted: what is said of it stays true, it goes on when
/// there is space again, or has ended and says so.
#[test]
fn a_full_disk_does_not_stop_restarts() {
    let disk = Disk::new("48m");
    let rhumb = Rhumb::with_base_in(disk.dir.path());
    rhumb.run(["run", "-d", "--name", "box", "--restart", "always", BASE, "sh", "-c", "sleep 0.05; exit 3"]).ok();
    let facts = || {
        let all = rhumb.inspect("box");
        let status = crate::support::rhumb::string(&all["State"]["Status"]);
        (status, all["RestartCount"].as_i64().expect("a number"))
    };
    let begun = facts().1;
    disk.fill(0);
    let count = eventually("it is restarted on a full disk", PATIENCE, || {
        let (status, count) = facts();
        assert!(["running", "restarting"].contains(&&*status), "{status} after {count} restarts");
        (count > begun + 3).then_some(count)
    });
    rhumb.run(["ps"]).ok();
    disk.free();
    eventually("it goes on", PATIENCE, || (facts().1 > count).then_some(()));
    rhumb.run(["stop", "-t", "1", "box"]).ok();
    assert_eq!(facts().0, "exited");
    rhumb.run(["rm", "box"]).ok();
    rhumb.leaks().assert_kernel_clean();
    rhumb.assert_consistent();
}
