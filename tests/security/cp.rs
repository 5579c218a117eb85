//! Copying out of and into containers that lead elsewhere. `RHUMB_ADVERSARY_COPIES` says how many copies race with the
//! adversary; ten thousand is the soak.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use crate::raw::{archive, dir, file, hard_link, symlink as link};
use crate::stage::Stage;
use crate::support::process::Outcome;

/// How many copies race in the ordinary test, each way.
const COPIES: usize = 120;

/// Exchanges `folder` and `link` of each place, as fast as the kernel takes it (renameat2, `RENAME_EXCHANGE`).
const SWAP: &str = "
    my $call = $ARGV[0]; chdir '/shared' or die;
    while (1) { for my $place (0 .. $ARGV[1] - 1) {
        syscall($call, -100, \"$place/folder\", -100, \"$place/link\", 2);
    } }";

/// A refusal is one clear error, and nothing of the host was touched.
#[track_caller]
fn refused(stage: &Stage, outcome: &Outcome) {
    assert!(outcome.code != 0 && outcome.code < 128, "expected a refusal:\n{outcome}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    let lines = outcome.stderr.lines().count();
    assert!((1..=3).contains(&lines), "expected one clear error:\n{outcome}");
    stage.untouched();
}

#[test]
fn cve_2018_15664_links_in_a_container_lead_nowhere_outside() {
    let stage = Stage::new();
    let outside = stage.rhumb.path("outside").display().to_string();
    let up = "../".repeat(30);
    fs::write(stage.rhumb.path("f"), "from the host\n").unwrap();
    for state in ["running", "stopped"] {
        stage.sleeper(&["-v", "vol:/vol", "base:1"]);
        for (place, lead) in [outside.clone(), format!("{up}{outside}"), "/proc/1/root".into()].iter().enumerate() {
            let line =
                format!("ln -s {lead} /link{place}; ln -s {lead} /vol/link{place}; ln -s {lead}/canary /file{place}");
            stage.exec(&line).ok();
        }
        if state == "stopped" {
            stage.rhumb.run(["stop", "-t", "0", "box"]).ok();
        }
        for place in 0..3 {
            for folder in [format!("/link{place}"), format!("/vol/link{place}"), format!("/link{place}/../outside")] {
                let out = stage.rhumb.run(["cp", &format!("box:{folder}/canary"), "stolen"]);
                refused(&stage, &out);
                let into = stage.rhumb.run(["cp", "f", &format!("box:{folder}/planted")]);
                refused(&stage, &into);
            }
            refused(&stage, &stage.rhumb.run(["cp", "-L", &format!("box:/file{place}"), "stolen"]));
            refused(&stage, &stage.rhumb.run(["cp", "f", &format!("box:/file{place}")]));
        }
        assert!(!stage.rhumb.path("stolen").exists());
        // The twin: links that lead to what the container has.
        stage.rhumb.run(["start", "box"]).ok();
        stage.exec("mkdir /real; ln -s /real /to-real; echo inside > /real/x").ok();
        stage.rhumb.run(["cp", "box:/to-real/x", "x"]).ok();
        stage.rhumb.run(["cp", "f", "box:/to-real/f"]).ok();
        assert_eq!(stage.exec("cat /real/f").ok(), "from the host");
        stage.rhumb.run(["rm", "-f", "-v", "box"]).ok();
        stage.rhumb.run(["volume", "rm", "vol"]).ok();
    }
    stage.quiet();
}

#[test]
fn cve_2018_15664_races_lead_nowhere_outside() {
    let copies = std::env::var("RHUMB_ADVERSARY_COPIES").map_or(COPIES, |count| count.parse().expect("a number"));
    let stage = Stage::new();
    let (shared, outside) = (stage.rhumb.path("shared"), stage.rhumb.path("outside"));
    let leads = [outside.display().to_string(), format!("{}{}", "../".repeat(30), outside.display()), "/".to_owned()];
    for (place, lead) in leads.iter().enumerate() {
        let folder = shared.join(place.to_string()).join("folder");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("canary"), "the container's own").unwrap();
        symlink(lead, shared.join(place.to_string()).join("link")).unwrap();
    }
    let renameat2 = if cfg!(target_arch = "x86_64") { "316" } else { "276" };
    let volume = format!("{}:/shared", shared.display());
    let adversary = ["run", "-d", "--name", "box", "-v", &volume, "base:1", "perl", "-e", SWAP, renameat2, "3"];
    stage.rhumb.run(adversary).ok();
    // A second container that does not run, with the same folder.
    stage.rhumb.run(["create", "--name", "asleep", "-v", &volume, "base:1", "true"]).ok();
    fs::create_dir_all(stage.rhumb.path("tree/0/folder")).unwrap();
    fs::write(stage.rhumb.path("tree/0/folder/planted"), "from the host").unwrap();
    fs::write(stage.rhumb.path("f"), "from the host").unwrap();
    let (mut out, mut into) = (0, 0);
    for copy in 0..copies {
        let container = if copy % 4 == 3 { "asleep" } else { "box" };
        let place = copy % leads.len();
        let copied = stage.rhumb.run(["cp", &format!("{container}:/shared/{place}/folder/canary"), "stolen"]);
        if copied.success() {
            assert_eq!(fs::read_to_string(stage.rhumb.path("stolen")).unwrap(), "the container's own");
            out += 1;
        } else {
            refused(&stage, &copied);
        }
        let tree = stage.rhumb.run(["cp", &format!("{container}:/shared/{place}/."), "tree-out"]);
        assert!(!tree.stderr.contains("panicked"), "{tree}");
        let _ = fs::remove_dir_all(stage.rhumb.path("tree-out"));
        let copied = match copy % 2 {
            0 => stage.rhumb.run(["cp", "f", &format!("{container}:/shared/{place}/folder/planted-{copy}")]),
            _ => stage.rhumb.run(["cp", "tree/.", &format!("{container}:/shared")]),
        };
        if copied.success() {
            into += 1;
        } else {
            refused(&stage, &copied);
        }
        stage.untouched();
        // The folder of the host that the container has as well, as the target: what is in it is its neighbour's.
        let onto = stage.rhumb.run(["cp", "box:/etc/.", &format!("{}/", shared.display())]);
        assert!(!onto.stderr.contains("panicked"), "{onto}");
    }
    assert_eq!(stage.rhumb.inspect("box")["State"]["Running"], true, "it swapped all along");
    assert!(out > 0 && into > 0, "{out} came out, {into} went in");
    stage.rhumb.run(["rm", "-f", "box", "asleep"]).ok();
    stage.quiet();
}

#[test]
fn a_target_on_the_host_that_a_container_shares_is_never_left() {
    let stage = Stage::new();
    let (shared, outside) = (stage.rhumb.path("shared"), stage.rhumb.path("outside"));
    fs::create_dir_all(shared.join("0/folder")).unwrap();
    symlink(&outside, shared.join("0/link")).unwrap();
    let volume = format!("{}:/shared", shared.display());
    let renameat2 = if cfg!(target_arch = "x86_64") { "316" } else { "276" };
    let adversary = ["run", "-d", "--name", "box", "-v", &volume, "base:1", "sh", "-c"];
    let line = "mkdir -p /tree/0/folder; echo x > /tree/0/folder/planted; exec perl -e \"$1\" \"$2\" 1";
    stage.rhumb.run(adversary.iter().chain(&[line, "sh", SWAP, renameat2])).ok();
    for _ in 0..40 {
        let copied = stage.rhumb.run(["cp", "box:/tree/.", &shared.display().to_string()]);
        if !copied.success() {
            refused(&stage, &copied);
        }
        stage.untouched();
    }
    stage.rhumb.run(["rm", "-f", "box"]).ok();
    stage.quiet();
}

#[test]
fn cve_2019_14271_nothing_of_a_container_is_loaded_or_executed() {
    let stage = Stage::new();
    let marker = stage.rhumb.path("outside/loaded").display().to_string();
    let program = format!("#!/bin/sh\necho loaded > {marker}\n");
    let mut entries = vec![dir("lib"), dir("etc")];
    for name in [
        "bin/tar",
        "usr/bin/xz",
        "usr/bin/unpigz",
        "usr/bin/gzip",
        "usr/bin/zstd",
        "lib/libnss_files.so.2",
        "lib/libnss_compat.so.2",
        "lib/x86_64-linux-gnu/libnss_files.so.2",
        "lib64/libnss_files.so.2",
    ] {
        entries.push(file(name, &program));
    }
    entries.push(file("etc/nsswitch.conf", "passwd: files compat evil\ngroup: files compat evil\n"));
    entries.push(file("etc/ld.so.preload", "/lib/libnss_files.so.2\n"));
    entries.push(file("etc/passwd", "root:x:0:0::/:/bin/sh\nplanted:x:1234:5678::/:/bin/sh\n"));
    stage.image("planted:1", &entries, &[]);
    fs::write(stage.rhumb.path("f"), "from the host\n").unwrap();
    std::process::Command::new("tar")
        .args(["-czf", "f.tar.gz", "f"])
        .current_dir(stage.rhumb.path(""))
        .status()
        .unwrap();
    let packed = fs::read(stage.rhumb.path("f.tar.gz")).unwrap();
    stage.rhumb.run(["create", "--name", "box", "--user", "planted", "planted:1", "true"]).ok();
    stage.rhumb.run(["cp", "-a", "f", "box:/f"]).ok();
    stage.rhumb.run_with_input(["cp", "-a", "-", "box:/etc"], &packed).ok();
    stage.rhumb.run(["cp", "-a", "box:/etc", "etc"]).ok();
    // The twin: the user was found in the container's file, and the archive was read.
    let facts = fs::metadata(stage.rhumb.path("etc/f")).unwrap();
    assert_eq!((facts.uid(), facts.gid()), (1234, 5678));
    stage.untouched();
    stage.rhumb.run(["rm", "box"]).ok();
    stage.quiet();
}

#[test]
fn cve_2021_41089_no_mode_of_the_host_is_changed_through_a_link() {
    let stage = Stage::new();
    let outside = stage.rhumb.path("outside");
    let canary = outside.join("canary");
    stage.sleeper(&["base:1"]);
    // An archive that makes a link and then goes through it, into a container.
    let to = |target: &Path| target.display().to_string();
    for (name, entries) in [
        ("folder", vec![link("d", &to(&outside)), dir("d").put(100..108, b"0000777"), file("d/planted", "x")]),
        ("file", vec![link("d", &to(&outside)), file("d/planted", "x")]),
        ("mode", vec![link("c", &to(&canary)), file("c", "x").put(100..108, b"0000777")]),
        ("hard link", vec![link("d", &to(&outside)), hard_link("h", "d/canary"), file("h", "x")]),
        ("far hard link", vec![hard_link("h", &format!("{}{}", "../".repeat(20), to(&canary))), file("h", "x")]),
        ("up", vec![file("../../outside/planted", "x")]),
        ("absolute", vec![file(&to(&outside.join("planted")), "x")]),
    ] {
        let outcome = stage.rhumb.run_with_input(["cp", "-", "box:/"], &archive(&entries));
        assert!(!outcome.stderr.contains("panicked") && outcome.code < 128, "{name}: {outcome}");
        stage.untouched();
    }
    // A tree with such links, out of a container, twice: the second time the links are there.
    stage
        .exec(&format!("mkdir -p /t/sub; ln -s {} /t/d; ln -s {} /t/c; ln -s . /t/sub/self", to(&outside), to(&canary)))
        .ok();
    for _ in 0..2 {
        stage.rhumb.run(["cp", "box:/t", "."]).ok();
        stage.untouched();
    }
    // Where the host has a link, what comes out does not go through it.
    stage.exec("rm /t/d /t/c; mkdir /t/d; echo planted > /t/d/canary; echo planted > /t/c").ok();
    refused(&stage, &stage.rhumb.run(["cp", "box:/t/d", "t"]));
    stage.rhumb.run(["cp", "box:/t/c", "t/"]).ok();
    let facts = fs::symlink_metadata(stage.rhumb.path("t/c")).unwrap();
    assert!(facts.is_file(), "the link itself is replaced: {facts:?}");
    stage.untouched();
    stage.rhumb.run(["rm", "-f", "box"]).ok();
    stage.quiet();
}

#[test]
fn what_grants_rights_comes_out_only_when_it_is_asked_for() {
    let stage = Stage::new();
    stage.sleeper(&["--cap-add", "MKNOD", "base:1"]);
    stage.exec("mkdir /t; cd /t; echo x > program; chmod 6755 program; mknod null c 1 3; mknod disk b 7 0; mkdir d; chmod 2777 d").ok();
    let outcome = stage.rhumb.run(["cp", "box:/t", "plain"]);
    assert!(outcome.success() && outcome.stderr.contains("2 device nodes were left out"), "{outcome}");
    let mode = |path: &str| fs::metadata(stage.rhumb.path(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("plain/program"), mode("plain/d")), (0o755, 0o777));
    assert!(!stage.rhumb.path("plain/null").exists() && !stage.rhumb.path("plain/disk").exists());
    stage.rhumb.run(["cp", "-a", "box:/t", "kept"]).ok();
    assert_eq!((mode("kept/program"), mode("kept/d")), (0o6755, 0o2777));
    assert!(fs::metadata(stage.rhumb.path("kept/null")).unwrap().file_type().is_char_device());
    stage.rhumb.run(["rm", "-f", "box"]).ok();
    stage.quiet();
}
