//! The adversary for races (RELIABILITY.md): a container that swaps folders and links in a shared volume without end, while
//! other containers start with mounts beneath it. `RHUMB_ADVERSARY_STARTS` says how many; ten thousand is the soak.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use crate::stage::Stage;

/// How many containers start in the ordinary test.
const STARTS: usize = 24;

/// Exchanges `folder` and `link` of each place, as fast as the kernel takes it (renameat2, `RENAME_EXCHANGE`).
const SWAP: &str = "
    my $call = $ARGV[0]; chdir '/shared' or die;
    $| = 1; print \"swapping\\n\";
    while (1) { for my $place (0 .. $ARGV[1] - 1) {
        my ($folder, $link) = (\"$place/folder\", \"$place/link\");
        syscall($call, -100, $folder, -100, $link, 2);
    } }";

/// What of the host could show an escape: the tables of the kernel, and the folders that links lead to.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    mounts: BTreeSet<String>,
    sysctls: Vec<String>,
    folders: Vec<(String, BTreeSet<String>)>,
}

impl Host {
    fn look(outside: &Path, own: &str) -> Host {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let names = |folder: &Path| -> BTreeSet<String> {
            let entries = fs::read_dir(folder).unwrap().map(|entry| {
                let entry = entry.unwrap();
                let facts = entry.metadata().unwrap();
                format!("{:?} {:o} {} {}", entry.file_name(), facts.mode(), facts.uid(), facts.ino())
            });
            entries.collect()
        };
        // Other tests mount and unmount what is theirs.
        let mounts =
            text("/proc/self/mountinfo").lines().filter(|line| line.contains(own)).map(str::to_owned).collect();
        let sysctls = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/modprobe"];
        let folders = [Path::new("/"), Path::new("/etc"), Path::new("/dev"), outside];
        Host {
            mounts,
            sysctls: sysctls.map(text).to_vec(),
            folders: folders.map(|folder| (folder.display().to_string(), names(folder))).to_vec(),
        }
    }
}

/// CVE-2021-30465 and its kin, with everything that a start does below a volume: folders, files, file systems, binds.
#[test]
fn starts_under_an_adversary_leave_the_host_as_it_is() {
    let starts = std::env::var("RHUMB_ADVERSARY_STARTS").map_or(STARTS, |count| count.parse().expect("a number"));
    let stage = Stage::new();
    let shared = stage.rhumb.path("shared");
    let outside = stage.rhumb.path("outside");
    let up = "../".repeat(30);
    let leads = [
        outside.display().to_string(),
        format!("{up}{}", outside.display()),
        "/".to_owned(),
        "/proc/self".to_owned(),
        "/dev".to_owned(),
        format!("{up}etc"),
        "folder".to_owned(),
    ];
    for (place, lead) in leads.iter().enumerate() {
        fs::create_dir_all(shared.join(place.to_string()).join("folder/below")).unwrap();
        symlink(lead, shared.join(place.to_string()).join("link")).unwrap();
    }
    let own = stage.rhumb.path("").display().to_string();
    let before = Host::look(&outside, &own);
    let (volume, file) = (format!("{}:/shared", shared.display()), stage.rhumb.path("file"));
    fs::write(&file, "a file\n").unwrap();
    let renameat2 = if cfg!(target_arch = "x86_64") { "316" } else { "276" };
    let count = leads.len().to_string();
    let adversary =
        ["run", "-d", "--name", "adversary", "-v", &volume, "base:1", "perl", "-e", SWAP, renameat2, &count];
    stage.rhumb.run(adversary).ok();
    let (mut started, mut refused) = (0, 0);
    for start in 0..starts {
        let place = format!("/shared/{}/folder", start % leads.len());
        let script = "while read a b c d point rest; do echo \"$point\"; done </proc/self/mountinfo";
        let outcome = stage.run(&[
            "-v",
            &volume,
            "-v",
            &format!("{}:{place}/file-{start}", file.display()),
            "-v",
            &format!("{}:{place}/below/{start}/deep", file.parent().unwrap().join("tmp").display()),
            "--tmpfs",
            &format!("{place}/memory-{start}"),
            "base:1",
            "sh",
            "-c",
            script,
        ]);
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        match outcome.code {
            0 => {
                started += 1;
                // Wherever the links led, it was a place of the container's own.
                for name in [format!("/file-{start}"), format!("/{start}/deep"), format!("/memory-{start}")] {
                    assert!(outcome.stdout.lines().any(|point| point.ends_with(&name)), "{name}: {outcome}");
                }
            }
            code => {
                refused += 1;
                let lines = outcome.stderr.lines().count();
                assert!(code < 128 && (1..=3).contains(&lines), "expected one clear error:\n{outcome}");
            }
        }
        stage.untouched();
        if start % 100 == 99 {
            assert_eq!(Host::look(&outside, &own), before, "after {start} starts");
        }
    }
    assert_eq!(stage.rhumb.inspect("adversary")["State"]["Running"], true, "it swapped all along");
    stage.rhumb.run(["rm", "-f", "adversary"]).ok();
    assert_eq!(Host::look(&outside, &own), before);
    assert!(started > 0, "{started} started, {refused} were refused");
    stage.quiet();
}
