//! `rhumb cp`, end to end: Docker's table of what goes where, both ways, of containers that run and do not.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use crate::support::{BASE, Rhumb};

/// A container `box` that sleeps, and beside it a tree: `f`, `tree/a/b` and a link `link` to `f`.
fn stage(args: &[&str]) -> Rhumb {
    let rhumb = Rhumb::with_base();
    let run = ["run", "-d", "--name", "box"].iter().chain(args).chain(&[BASE, "sleep", "1000"]);
    rhumb.run(run).ok();
    fs::write(rhumb.path("f"), "one\n").unwrap();
    fs::create_dir_all(rhumb.path("tree/a")).unwrap();
    fs::write(rhumb.path("tree/a/b"), "two\n").unwrap();
    symlink("f", rhumb.path("link")).unwrap();
    rhumb
}

fn inside(rhumb: &Rhumb, line: &str) -> String {
    rhumb.run(["exec", "box", "sh", "-c", line]).ok()
}

fn host(rhumb: &Rhumb, path: &str) -> String {
    fs::read_to_string(rhumb.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn files_and_folders_go_in_by_dockers_table() {
    let rhumb = stage(&[]);
    inside(&rhumb, "mkdir /d /e; echo old > /old; ln -s /d /to-d; ln -s old /to-old; ln -s new-target /dangling");
    // A file: new name, existing file, existing folder, through links, with a slash.
    assert_eq!(rhumb.sh("cp f box:/new").ok(), "");
    rhumb.sh("cp f box:/old").ok();
    rhumb.sh("cp f box:d").ok();
    rhumb.sh("cp f box:/e/").ok();
    assert_eq!(inside(&rhumb, "cat /new /old /d/f /e/f"), "one\none\none\none");
    inside(&rhumb, "rm /d/f; echo older > /old");
    rhumb.sh("cp f box:/to-d").ok();
    rhumb.sh("cp f box:/to-old").ok();
    rhumb.sh("cp f box:/dangling").ok();
    assert_eq!(inside(&rhumb, "cat /d/f /old /new-target; readlink /to-d /to-old"), "one\none\none\n/d\nold");
    // A folder: into one that is there, under a new name, its content alone.
    rhumb.sh("cp tree box:/d").ok();
    rhumb.sh("cp tree box:/named").ok();
    rhumb.sh("cp tree/ box:/slash/").ok();
    rhumb.sh("cp tree/. box:/e").ok();
    rhumb.sh("cp tree/. box:/content").ok();
    assert_eq!(inside(&rhumb, "cat /d/tree/a/b /named/a/b /slash/a/b /e/a/b /content/a/b | sort -u"), "two");
    // Links: themselves, or with -L what they lead to under the link's name.
    rhumb.sh("cp link box:/d/").ok();
    rhumb.sh("cp -L link box:/e/").ok();
    assert_eq!(inside(&rhumb, "readlink /d/link; cat /e/link"), "f\none");
    // What cannot be.
    let before = inside(&rhumb, "find / -xdev -newer /e/link");
    rhumb.sh("cp tree box:/old").fails_with(2, "folder onto the file");
    rhumb.sh("cp f box:/none/").fails_with(3, "no such folder");
    rhumb.sh("cp f box:/none/x").fails_with(3, "/none");
    rhumb.sh("cp f box:/old/x").fails_with(2, "not a folder");
    rhumb.sh("cp nosuch box:/").fails_with(3, "nosuch");
    rhumb.sh("cp f/ box:/").fails_with(2, "not a folder");
    rhumb.sh("cp f nosuch:/").fails_with(3, "nosuch");
    rhumb.sh("cp f box:/dev/null").fails_with(2, "regular file");
    rhumb.sh("cp f box:/etc/hosts").fails_with(5, "mounted");
    rhumb.sh("cp f box:").fails_with(2, "empty");
    rhumb.sh("cp box:/old box:/new").fails_with(7, "between containers");
    rhumb.sh("cp f tree").fails_with(2, "neither");
    inside(&rhumb, "rm /e/f && mkdir /e/f");
    rhumb.sh("cp f box:/e").fails_with(2, "cannot overwrite the folder");
    inside(&rhumb, "rm -r /e/f /d/tree && echo x > /d/tree");
    rhumb.sh("cp tree box:/d").fails_with(2, "cannot overwrite the non-folder");
    assert!(!inside(&rhumb, "find / -xdev -newer /e/link").contains("rhumb-"), "{before}");
}

#[test]
fn files_and_folders_come_out_by_dockers_table() {
    let rhumb = stage(&[]);
    inside(
        &rhumb,
        "mkdir -p /d/a; echo two > /d/a/b; echo one > /f; ln -s /f /link; ln -s /d /to-d; ln -s link /twice",
    );
    fs::create_dir(rhumb.path("out")).unwrap();
    for line in
        ["cp box:/f new", "cp box:f out", "cp box:/f out/", "cp box:/f out/named", "cp -L box:/twice out/followed"]
    {
        assert_eq!(rhumb.sh(line).ok(), "");
    }
    for path in ["new", "out/f", "out/named", "out/followed"] {
        assert_eq!(host(&rhumb, path), "one\n", "{path}");
    }
    symlink("nowhere", rhumb.path("dangling")).unwrap();
    rhumb.sh("cp box:/f dangling").ok();
    assert_eq!(host(&rhumb, "nowhere"), "one\n");
    for line in ["cp box:/d out", "cp box:/d/ named", "cp box:/d/. content", "cp box:/to-d/ slash", "cp box:/d/. out"] {
        rhumb.sh(line).ok();
    }
    for path in ["out/d/a/b", "named/a/b", "content/a/b", "slash/a/b", "out/a/b"] {
        assert_eq!(host(&rhumb, path), "two\n", "{path}");
    }
    rhumb.sh("cp box:/to-d link-itself").ok();
    assert_eq!(fs::read_link(rhumb.path("link-itself")).unwrap(), Path::new("/d"));
    rhumb.sh("cp box:/d f").fails_with(2, "folder onto the file");
    rhumb.sh("cp box:/f none/").fails_with(3, "no such folder");
    rhumb.sh("cp box:/f none/x").fails_with(3, "none");
    rhumb.sh("cp box:/none .").fails_with(3, "/none");
    rhumb.sh("cp box:/f/ .").fails_with(2, "not a folder");
    rhumb.sh("cp box:/f /dev/null").fails_with(2, "regular file");
    // A colon in a file's name: with a dot it is a path of the host.
    rhumb.sh("cp box:/f ./with:colon").ok();
    assert_eq!(host(&rhumb, "with:colon"), "one\n");
}

#[test]
fn patterns_fit_where_no_file_has_the_name() {
    let rhumb = stage(&[]);
    inside(&rhumb, "mkdir -p /log/x; touch /log/a.log /log/b.log /log/.c.log /log/x/d.log '/log/[a].txt' /log/a.txt");
    fs::create_dir(rhumb.path("out")).unwrap();
    rhumb.sh("cp box:/log/*.log out").ok();
    assert_eq!(names(&rhumb.path("out")), ["a.log", "b.log"]);
    rhumb.sh("cp box:/l*/x/?.log single").ok();
    assert!(rhumb.path("single").is_file());
    rhumb.sh("cp box:/log/[a].txt out").ok();
    assert_eq!(names(&rhumb.path("out")), ["[a].txt", "a.log", "b.log"], "a name that is there is no pattern");
    rhumb.sh("cp box:/log/*.log f").fails_with(2, "several");
    rhumb.sh("cp box:/log/*.nosuch out").fails_with(3, "fits");
    let tar = rhumb.sh("cp box:/log/*.log -").ok();
    assert!(tar.contains("a.log") && tar.contains("b.log"));
}

#[test]
fn a_dash_is_a_tar_both_ways() {
    let rhumb = stage(&[]);
    let tar = rhumb.run(["cp", "box:/etc", "-"]);
    assert!(tar.success() && tar.bytes.len().is_multiple_of(512), "{tar}");
    inside(&rhumb, "mkdir /in; ln -s in /to-in");
    assert_eq!(rhumb.run_with_input(["cp", "-", "box:/to-in"], &tar.bytes).ok(), "");
    assert_eq!(inside(&rhumb, "cat /in/etc/passwd"), inside(&rhumb, "cat /etc/passwd"));
    rhumb.run_with_input(["cp", "-", "box:/none"], &tar.bytes).fails_with(3, "no such folder");
    rhumb.run_with_input(["cp", "-", "box:/in/etc/passwd"], &tar.bytes).fails_with(2, "must be a folder");
    rhumb.run_with_input(["cp", "-", "box:/in"], b"no tar at all").fails_with(10, "cut short");
    let half = &tar.bytes[..tar.bytes.len() - 1024];
    rhumb.run_with_input(["cp", "-", "box:/in"], half).fails_with(10, "cut short");
}

#[test]
fn volumes_binds_and_memory_are_in_sight_whether_it_runs_or_not() {
    let rhumb = Rhumb::with_base();
    fs::create_dir(rhumb.path("bind")).unwrap();
    fs::write(rhumb.path("f"), "one\n").unwrap();
    let bind = format!("{}:/bind", rhumb.path("bind").display());
    let read_only = format!("{}:/sealed:ro", rhumb.path("bind").display());
    let args = ["create", "--name", "box", "-v", "vol:/vol", "-v", &bind, "-v", &read_only, "--tmpfs", "/memory"];
    rhumb.run(args.iter().chain(&[BASE, "sleep", "1000"])).ok();
    // Never started.
    rhumb.sh("cp f box:/vol/created").ok();
    rhumb.sh("cp f box:/bind/created").ok();
    rhumb.sh("cp f box:/created").ok();
    rhumb.sh("cp f box:/sealed/x").fails_with(6, "marked read-only");
    rhumb.sh("cp box:/memory/x .").fails_with(3, "/memory");
    rhumb.sh("start box").ok();
    assert_eq!(inside(&rhumb, "cat /vol/created /bind/created /created"), "one\none\none");
    rhumb.sh("cp f box:/vol/running").ok();
    rhumb.sh("cp f box:/memory/running").ok();
    rhumb.sh("cp f box:/sealed/x").fails_with(6, "marked read-only");
    rhumb.sh("pause box").ok();
    rhumb.sh("cp f box:/vol/paused").ok();
    rhumb.sh("cp box:/memory/running from-memory").ok();
    rhumb.sh("unpause box").ok();
    rhumb.sh("stop -t 0 box").ok();
    rhumb.sh("cp f box:/vol/stopped").ok();
    rhumb.sh("cp box:/vol .").ok();
    assert_eq!(names(&rhumb.path("vol")), ["created", "paused", "running", "stopped"]);
    rhumb.sh("cp box:/etc/hosts hosts").ok();
    assert!(host(&rhumb, "hosts").contains("localhost"));
    assert_eq!((host(&rhumb, "from-memory").as_str(), host(&rhumb, "bind/created").as_str()), ("one\n", "one\n"));
    assert_eq!(rhumb.sh("start box").ok(), "box");
}

#[test]
fn a_read_only_root_takes_nothing_but_its_volumes_do() {
    for state in ["create", "run -d"] {
        let rhumb = Rhumb::with_base();
        fs::write(rhumb.path("f"), "one\n").unwrap();
        rhumb.sh(&format!("{state} --name box --read-only -v vol:/vol --tmpfs /memory {BASE} sleep 1000")).ok();
        rhumb.sh("cp f box:/x").fails_with(6, "root is marked read-only");
        rhumb.sh("cp f box:/vol/x").ok();
        rhumb.sh("cp box:/vol/x back").ok();
        assert_eq!(host(&rhumb, "back"), "one\n");
    }
}

#[test]
fn owners_modes_times_links_holes_and_nodes_are_kept_or_left_out() {
    let rhumb = stage(&["--cap-add", "MKNOD", "--user", "0"]);
    inside(
        &rhumb,
        "mkdir /d; cd /d; echo x > one; ln one two; chown 12:34 one; chmod 4751 one; touch -d @1000000000 one",
    );
    let made =
        rhumb.run(["exec", "box", "sh", "-c", "cd /d; dd if=/dev/zero of=hole bs=1 count=1 seek=9999999 2>/dev/null"]);
    made.ok();
    std::process::Command::new("mkfifo").arg(rhumb.path("tree/pipe")).status().unwrap();
    rhumb.sh("cp tree/pipe box:/d/pipe").ok();
    rhumb.sh("cp box:/d plain").ok();
    rhumb.sh("cp -a box:/d kept").ok();
    let facts = |path: &str| fs::symlink_metadata(rhumb.path(path)).unwrap();
    let (plain, kept) = (facts("plain/one"), facts("kept/one"));
    assert_eq!(
        (plain.uid(), plain.gid(), plain.mode() & 0o7777),
        (0, 0, 0o751),
        "what grants rights was not asked for"
    );
    assert_eq!((kept.uid(), kept.gid(), kept.mode() & 0o7777), (12, 34, 0o4751));
    for folder in ["plain", "kept"] {
        let (one, two) = (facts(&format!("{folder}/one")), facts(&format!("{folder}/two")));
        assert_eq!((one.ino(), one.mtime()), (two.ino(), 1_000_000_000));
        let hole = facts(&format!("{folder}/hole"));
        assert!(hole.len() == 10_000_000 && hole.blocks() < 100, "{hole:?}");
        assert!(facts(&format!("{folder}/pipe")).file_type().is_fifo());
    }
    // Into the container owners keep their numbers; with -a they become the container's user.
    std::os::unix::fs::chown(rhumb.path("f"), Some(77), Some(88)).unwrap();
    fs::set_permissions(rhumb.path("f"), fs::Permissions::from_mode(0o640)).unwrap();
    rhumb.sh("cp f box:/owned").ok();
    assert_eq!(inside(&rhumb, "stat -c '%u %g %a' /owned"), "77 88 640");
    rhumb.run(["run", "-d", "--name", "user", "--user", "5:6", BASE, "sleep", "1000"]).ok();
    rhumb.sh("cp -a f user:/owned").ok();
    assert_eq!(rhumb.run(["exec", "user", "stat", "-c", "%u %g", "/owned"]).ok(), "5 6");
}

#[test]
fn any_name_and_any_depth_goes_both_ways() {
    let rhumb = stage(&[]);
    let odd = std::ffi::OsString::from_vec(b"od\xffd\nna\x1bme".to_vec());
    let mut deep = rhumb.path("tree");
    fs::write(deep.join(&odd), "odd").unwrap();
    for _ in 0..300 {
        deep.push("a-folder-with-a-long-name");
        // Longer than any path may be: made from inside.
        if deep.as_os_str().len() > 3900 {
            break;
        }
    }
    let deep = deep.parent().unwrap();
    fs::create_dir_all(deep).unwrap();
    rhumb.sh("cp tree box:/tree").ok();
    rhumb.sh("cp box:/tree back").ok();
    assert_eq!(fs::read(rhumb.path("back").join(&odd)).unwrap(), b"odd");
    assert!(rhumb.path("back").join(deep.strip_prefix(rhumb.path("tree")).unwrap()).is_dir());
    let outcome = rhumb.run(["cp".as_ref(), std::ffi::OsStr::new("box:/\x1b[2Jx"), ".".as_ref()]);
    assert!(outcome.code == 3 && !outcome.stderr.contains('\x1b'), "{outcome}");
}

#[test]
fn a_copy_that_fails_leaves_the_old_file_and_nothing_else() {
    let rhumb = stage(&["--tmpfs", "/small:size=1m"]);
    fs::write(rhumb.path("large"), vec![7; 3 << 20]).unwrap();
    inside(&rhumb, "echo old > /small/x");
    rhumb.sh("cp large box:/small/x").fails_with(11, "space");
    rhumb.sh("cp large box:/small/y").fails_with(11, "space");
    assert_eq!(inside(&rhumb, "cat /small/*; ls -A /small"), "old\nx");
    rhumb.sh("cp f box:/small/x").ok();
    assert_eq!(inside(&rhumb, "cat /small/x"), "one");
}

#[test]
fn a_large_file_with_holes_and_many_files_go_both_ways() {
    let rhumb = stage(&[]);
    fs::File::create(rhumb.path("sparse")).unwrap().set_len(2 << 30).unwrap();
    rhumb.sh("cp sparse box:/sparse").ok();
    rhumb.sh("cp box:/sparse back").ok();
    let facts = fs::metadata(rhumb.path("back")).unwrap();
    assert!(facts.len() == 2 << 30 && facts.blocks() < 1000, "{facts:?}");
    let many = rhumb.path("many");
    for folder in 0..20 {
        fs::create_dir_all(many.join(folder.to_string())).unwrap();
        (0..100).for_each(|file| fs::write(many.join(format!("{folder}/{file}")), file.to_string()).unwrap());
    }
    rhumb.sh("cp many box:/many").ok();
    rhumb.sh("stop -t 0 box").ok();
    rhumb.sh("cp box:/many many-back").ok();
    let compared = std::process::Command::new("diff").arg("-r").arg(&many).arg(rhumb.path("many-back")).status();
    assert!(compared.unwrap().success());
}

#[test]
fn two_at_once_and_a_container_that_stops_or_goes_meanwhile_end_in_order() {
    let rhumb = stage(&[]);
    for (name, byte) in [("a", b'a'), ("b", b'b')] {
        fs::write(rhumb.path(name), vec![byte; 4 << 20]).unwrap();
    }
    std::thread::scope(|scope| {
        for name in ["a", "b", "a", "b"] {
            let rhumb = &rhumb;
            scope.spawn(move || rhumb.run(["cp", name, "box:/both"]).ok());
        }
    });
    rhumb.sh("cp box:/both both").ok();
    let both = fs::read(rhumb.path("both")).unwrap();
    assert!(both.len() == 4 << 20 && both.iter().all(|byte| *byte == both[0]), "one of them, and whole");
    for end in ["stop -t 0 box", "start box", "pause box", "rm -f box"] {
        std::thread::scope(|scope| {
            let copies = ["cp box:/usr out", "cp a box:/in"].map(|line| scope.spawn(|| rhumb.sh(line)));
            rhumb.sh(end).ok();
            for copy in copies {
                let outcome = copy.join().unwrap();
                assert!(!outcome.stderr.contains("panicked") && outcome.code < 128, "{end}: {outcome}");
            }
        });
        let _ = fs::remove_dir_all(rhumb.path("out"));
    }
    assert_eq!(rhumb.sh("ps -aq").ok(), "");
}

#[test]
fn an_export_is_whole_and_comes_back_the_same() {
    let rhumb = stage(&["-v", "/data"]);
    inside(
        &rhumb,
        "mkdir /t; cd /t; echo x > f; ln f hard; ln -s f link; chown 3:4 f; chmod 4711 f; echo no > /data/volume",
    );
    for state in ["true", "pause box", "unpause box", "stop -t 0 box"] {
        if state != "true" {
            rhumb.sh(state).ok();
        }
        fs::write(rhumb.path("tar"), "old").unwrap();
        rhumb.sh("export -o tar box").ok();
        rhumb.sh("import tar again:1").ok();
        let line = "cd /t; cat hard; readlink link; stat -c '%a %u %g %h' f; ls -A /data";
        assert_eq!(rhumb.run(["run", "--rm", "again:1", "sh", "-c", line]).ok(), "x\nf\n4711 3 4 2", "{state}");
    }
    rhumb.sh("export -o tree box").fails_with(2, "folder");
    rhumb.sh("export -o none/tar box").fails_with(3, "none");
    rhumb.sh("export nosuch").fails_with(3, "nosuch");
}
