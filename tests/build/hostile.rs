//! What hostile Dockerfiles, contexts and steps did to other builders, and a disk that is full: refused or contained, and
//! nothing is left mounted.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use crate::dockerfile::{build, context, seen};
use crate::support::process::{self, PATIENCE};
use crate::support::{Rhumb, Scratch};

/// CVE-2024-23651: two steps that share a cache, one of which makes a link of what the other one mounts of it.
#[test]
fn a_link_in_a_cache_leads_nowhere() {
    let rhumb = Rhumb::with_base();
    let canary = Scratch::new();
    std::fs::write(canary.join("host"), "of the host").unwrap();
    let link = format!("ln -s {} /cache/sub", canary.path().display());
    let of_a_cache = "RUN --mount=type=cache,id=shared,target=/mnt,source=sub ls /mnt\n";
    let refused = build(
        &rhumb,
        &format!("FROM base:1\nRUN --mount=type=cache,id=shared,target=/cache {link}\n{of_a_cache}"),
        &[],
    );
    assert!(!refused.success() && refused.stderr.contains("a cache has a source only"), "{refused}");
    // What a cache begins with, and what is bound, is looked up in its own tree.
    for mount in [
        "type=cache,id=new,from=evil,source=/sub,target=/mnt",
        "type=bind,from=evil,source=/sub,target=/mnt",
        "type=bind,from=evil,source=/sub,target=/mnt,rw",
        "type=bind,source=sub,target=/mnt",
        "type=bind,source=sub,target=/mnt,rw",
    ] {
        let folder = context(&rhumb, &[]);
        let _ = symlink(canary.path(), folder.join("sub"));
        let evil = format!("FROM base:1 AS evil\nRUN ln -s {} /sub\n", canary.path().display());
        let outcome = build(&rhumb, &format!("{evil}FROM base:1\nRUN --mount={mount} ls /mnt; cat /mnt/host\n"), &[]);
        assert!(!outcome.success() && !outcome.stderr.contains("of the host"), "{mount}: {outcome}");
    }
    let copied = build(&rhumb, "FROM base:1\nCOPY sub/host /stolen\n", &[]);
    assert!(!copied.success(), "{copied}");
}

/// CVE-2024-23652: a step swaps the folder above its mount point for a link, and the cleaning up follows it.
#[test]
fn cleaning_up_after_a_mount_removes_nothing_of_the_host() {
    let rhumb = Rhumb::with_base();
    let canary = Scratch::new();
    std::fs::create_dir(canary.join("point")).unwrap();
    std::fs::write(canary.join("file"), "").unwrap();
    for (mount, name) in [("type=tmpfs,target=/a/point", "point"), ("type=secret,id=s,target=/a/file", "file")] {
        let dockerfile = format!("FROM base:1\nRUN --mount={mount} mv /a /b && ln -s {} /a\n", canary.path().display());
        let secret = format!("id=s,src={}", context(&rhumb, &[("s", "secret")]).join("s").display());
        let outcome = build(&rhumb, &dockerfile, &["-t", "made:1", "--secret", &secret]);
        assert!(outcome.success(), "{outcome}");
        assert!(canary.join(name).exists(), "{mount}");
        assert!(!seen(&rhumb, "made:1", "cat /b/* 2>/dev/null; true").contains("secret"));
    }
}

/// CVE-2024-23653: a step gets all rights because it, or a trigger of its base, asks for them.
#[test]
fn rights_are_given_by_whoever_builds_alone() {
    let rhumb = Rhumb::with_base();
    build(&rhumb, "FROM base:1\nONBUILD RUN --security=insecure true\n", &["-t", "trap:1"]).ok();
    for (dockerfile, right) in [
        ("FROM base:1\nRUN --security=insecure mount -t tmpfs none /tmp\n", "security.insecure"),
        ("FROM base:1\nRUN --network=host true\n", "network.host"),
        ("FROM trap:1\n", "security.insecure"),
    ] {
        let refused = build(&rhumb, dockerfile, &[]);
        assert_eq!(refused.code, 6, "{refused}");
        assert!(refused.stderr.contains(&format!("asks for {right}")), "{refused}");
        assert!(build(&rhumb, dockerfile, &["--allow", right]).success(), "{dockerfile}");
    }
    assert!(build(&rhumb, "FROM base:1\n", &["--allow", "everything"]).stderr.contains("no right \"everything\""));
    // Nor does a malformed command line of a mount end in anything but an error.
    for mount in
        ["type=cache,target=/x,mode=99", "type=bind,from=", "type=secret,id=", ",,,", "type=tmpfs,target=/x,size=-1"]
    {
        let outcome = build(&rhumb, &format!("FROM base:1\nRUN --mount={mount} true\n"), &[]);
        assert!(!outcome.stderr.contains("panicked"), "{mount}: {outcome}");
    }
}

#[test]
fn a_context_is_all_that_a_build_sees_of_this_machine() {
    let rhumb = Rhumb::with_base();
    let canary = Scratch::new();
    std::fs::write(canary.join("host"), "of the host").unwrap();
    let folder = context(&rhumb, &[("real/file", "real")]);
    symlink(canary.path(), folder.join("absolute")).unwrap();
    symlink("../../../../../../../../etc", folder.join("upwards")).unwrap();
    for source in ["absolute/host", "upwards/passwd", "../../../../etc/passwd", "/etc/passwd", "absolute"] {
        let outcome =
            build(&rhumb, &format!("FROM base:1\nCOPY {source} /stolen\nRUN cat /stolen /stolen/host\n"), &[]);
        assert!(!outcome.success() && !outcome.stderr.contains("of the host"), "{source}: {outcome}");
        assert!(!outcome.stderr.contains("root:"), "{source}: {outcome}");
    }
    // A link to something in the context is followed, and one that is not named itself stays a link.
    symlink("real/file", folder.join("inside")).unwrap();
    build(&rhumb, "FROM base:1\nCOPY inside /inside\nCOPY . /all\n", &["-t", "made:1"]).ok();
    assert_eq!(
        seen(&rhumb, "made:1", "cat /inside; readlink /all/absolute"),
        format!("real{}", canary.path().display())
    );
}

/// A value that no variable can hold is in no message, and what a step prints of a secret is in none of its outputs.
#[test]
fn a_secret_is_never_shown() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("nul", "a\0hunter22"), ("short", "hunter22"), ("long", "hunter22-and-more")]);
    let secret = |id: &str, file: &str| format!("id={id},src={}", folder.join(file).display());
    let step = "FROM base:1\nRUN --mount=type=secret,id=a,env=A true\n";
    let refused = build(&rhumb, step, &["--secret", &secret("a", "nul")]);
    assert!(refused.stderr.contains("not valid text") && !refused.stderr.contains("hunter22"), "{refused}");
    // What might have gone on to be another secret is one all the same.
    let step = "FROM base:1\nRUN --mount=type=secret,id=a printf %s \"$(cat /run/secrets/a)\" >&2; false\n";
    let flags = ["--secret", &secret("a", "short"), "--secret", &secret("b", "long"), "--progress", "plain"];
    let failed = build(&rhumb, step, &flags);
    assert!(failed.stderr.contains("***") && !failed.stderr.contains("hunter22"), "{failed}");
    assert!(!rhumb.run(["build", "logs"]).ok().contains("hunter22"));
}

#[test]
fn a_step_that_never_ends_is_ended_in_time() {
    let rhumb = Rhumb::with_base();
    let script = r#"
        let b = build::from("base:1").run("echo begun; sleep 1000", #{ timeout: 500.ms });
        try { b.solve(); print("no"); } catch (e) { print(e.kind); }
        try { build::from("base:1").run("sleep 1000").solve(#{ timeout: 500.ms }); } catch (e) { print(e.kind); }
    "#;
    assert_eq!(rhumb.script(script).ok(), "timeout\ntimeout");
    assert_eq!(rhumb.run(["ps", "-aq"]).ok(), "");
}

/// Its end was asked for while its command was being executed: it was neither there to be killed nor gone, and stayed.
#[test]
fn a_step_that_is_ended_while_it_begins_is_ended() {
    let rhumb = Rhumb::with_base();
    let script = r#"
        for n in 0..12 {
            let b = build::from("base:1").run(`while :; do :; done # ${n}`, #{ timeout: (n * 3).ms });
            try { b.solve(); print("no"); } catch (e) { if e.kind != "timeout" { throw e; } }
        }
    "#;
    let outcome = rhumb.script(script);
    assert_eq!(outcome.ok(), "");
    assert!(outcome.elapsed < Duration::from_secs(9), "something was waited for: {:?}", outcome.elapsed);
    rhumb.leaks().assert_clean();
}

/// A small file system of the root's own.
struct Disk(Scratch);

impl Disk {
    fn new(size: &str) -> Disk {
        let disk = Disk(Scratch::new());
        let options = format!("size={size},mode=700");
        let mut mount = Command::new("mount");
        process::run(mount.args(["-t", "tmpfs", "-o", &options, "rhumb-test"]).arg(disk.0.path()), None, PATIENCE).ok();
        disk
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let outcome = process::run(Command::new("umount").arg(self.0.path()), None, PATIENCE);
        assert!(outcome.success() || std::thread::panicking(), "the disk is still in use:\n{outcome}");
    }
}

#[test]
fn a_full_disk_fails_the_step_alone() {
    let disk = Disk::new("96m");
    {
        let rhumb = Rhumb::with_base_in(disk.0.path());
        let small = "FROM base:1\nRUN echo small > /small\n";
        let id = build(&rhumb, small, &["-q"]).ok();
        // The command itself finds no room; then what it wrote does not fit a second time, as its layer.
        for megabytes in [200, 60, 45] {
            let fill = format!("{small}RUN head -c {megabytes}000000 /dev/urandom > /big\n");
            let outcome = build(&rhumb, &fill, &[]);
            assert!(!outcome.success(), "{megabytes}: {outcome}");
            assert!(outcome.stderr.to_lowercase().contains("no space"), "{megabytes}: {outcome}");
            assert_eq!(rhumb.run(["ps", "-aq"]).ok(), "");
            // The cache works, and what does fit can be done.
            assert_eq!(build(&rhumb, small, &["-q"]).ok(), id);
        }
        let next = build(&rhumb, &format!("{small}RUN head -c 1000000 /dev/urandom > /fits\n"), &["-q"]);
        assert!(next.success(), "{next}");
        rhumb.assert_consistent();
    }
}

#[test]
fn a_build_is_verified_by_building_twice() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("file", "x")]);
    let good = "FROM base:1\nWORKDIR /work\nCOPY file .\nRUN echo made > made && mkdir -p a/b && ln made link\n";
    assert!(build(&rhumb, good, &["-q", "--verify"]).success());
    for (step, path, what) in [
        ("hostname > /name", "/name", "has other content"),
        ("nproc > /processors", "/processors", "has other content"),
        ("date +%s > /now", "/now", "has other content"),
        ("mkdir /d && touch /d/$(date +%s)", "/d/", "is there the first time only"),
        ("umask > /mask", "/mask", "has other content"),
        ("touch /x && stat -c %a /x > /mode", "/mode", "has other content"),
    ] {
        let outcome = build(&rhumb, &format!("{good}RUN {step}\n"), &["-q", "--verify"]);
        let said = &outcome.stderr;
        assert!(said.contains("Dockerfile:5: the step") && said.contains(path) && said.contains(what), "{outcome}");
    }
}

/// What works under the usual conditions alone is not reproducible either.
#[test]
fn a_step_that_fails_under_other_conditions_is_said_to() {
    let rhumb = Rhumb::with_base();
    let outcome = build(&rhumb, "FROM base:1\nRUN test $(hostname) = build\n", &["-q", "--verify"]);
    assert!(!outcome.success(), "{outcome}");
    assert!(outcome.stderr.contains("building a second time") && outcome.stderr.contains("Dockerfile:2"), "{outcome}");
}

/// On a file system that lists entries as they came, so that there is another order at all.
#[test]
fn what_depends_on_the_order_of_a_folder_is_found() {
    let disk = Disk::new("200m");
    {
        let rhumb = Rhumb::with_base_in(disk.0.path());
        context(&rhumb, &[("dir/one", "1"), ("dir/two", "2"), ("dir/three", "3"), ("dir/sub/four", "4")]);
        let good = "FROM base:1\nCOPY dir /dir\nRUN mkdir /made && touch /made/a /made/b /made/c\nRUN ls /dir /made > /sorted\n";
        let verified = build(&rhumb, good, &["-q", "--verify"]);
        assert!(verified.success(), "{verified}");
        for folder in ["/dir", "/made", "/usr/bin"] {
            let outcome = build(&rhumb, &format!("{good}RUN ls -U {folder} > /order\n"), &["-q", "--verify"]);
            assert!(outcome.stderr.contains("/order has other content"), "{folder}: {outcome}");
        }
        rhumb.assert_consistent();
    }
}

/// CVE-2024-9675, CVE-2024-11218 and their like (buildah): names and options of mounts that lead out of their folder, and
/// what is written to a bind that is the build context's.
#[test]
fn the_words_of_a_mount_lead_nowhere() {
    let rhumb = Rhumb::with_base();
    let canary = Scratch::new();
    let up = "../".repeat(30);
    for id in [
        format!("{up}{}", canary.path().display()),
        canary.path().display().to_string(),
        "..".into(),
        "%2e%2e/x".into(),
    ] {
        build(&rhumb, &format!("FROM base:1\nRUN --mount=type=cache,id={id},target=/c echo x >/c/file\n"), &[]).ok();
        assert_eq!(std::fs::read_dir(canary.path()).unwrap().count(), 0, "{id}");
    }
    for (mount, wanted) in [
        ("type=bind,source=.,target=/c,bind-propagation=shared", "bind-propagation"),
        ("type=bind,source=.,target=/c,shared", "shared"),
        ("type=bind,source=.,target=/c,rshared,z", "rshared"),
        ("type=tmpfs,target=/c,tmpfs-mode=777", "tmpfs-mode"),
        ("type=devpts,target=/c", "devpts"),
        ("type=cache,target=/c,sharing=everybody", "everybody"),
    ] {
        let outcome = build(&rhumb, &format!("FROM base:1\nRUN --mount={mount} true\n"), &[]);
        assert!(!outcome.success() && outcome.stderr.contains(wanted), "{mount}: {outcome}");
    }
    let folder = context(&rhumb, &[("data/file", "as it was")]);
    let writes =
        "FROM base:1\nRUN --mount=type=bind,source=data,target=/c,rw echo changed >/c/file && echo new >/c/new\n";
    build(&rhumb, writes, &[]).ok();
    assert_eq!(std::fs::read_to_string(folder.join("data/file")).unwrap(), "as it was");
    assert!(!folder.join("data/new").exists());
}

/// CVE-2024-24557 (moby): an image from elsewhere that says it is what a step came to was taken for it.
#[test]
fn an_image_from_elsewhere_is_nobodys_cache() {
    let good = "FROM base:1\nRUN echo good >/x\n";
    let maker = Rhumb::with_base();
    build(&maker, good, &["-t", "made:1"]).ok();
    let history = |image: &str| maker.inspect(image)["Config"].clone();
    maker.script("build::from(\"base:1\").run(\"echo evil >/x\").commit(\"evil:1\");").ok();
    assert_eq!(history("made:1"), history("evil:1"));
    let archive = maker.path("evil.tar");
    maker.run(["tag", "evil:1", "made:1"]).ok();
    maker.run(["save", "-o", archive.to_str().unwrap(), "evil:1", "made:1"]).ok();
    let rhumb = Rhumb::with_base();
    rhumb.run(["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    assert_eq!(seen(&rhumb, "evil:1", "cat /x"), "evil");
    build(&rhumb, good, &["-t", "mine:1"]).ok();
    assert_eq!(seen(&rhumb, "mine:1", "cat /x"), "good");
}

/// The folder of a repository (`URL#REFERENCE:FOLDER`) is one of its own: CVE-2026-33748.
#[test]
fn the_folder_of_a_repository_is_inside_of_it() {
    let rhumb = Rhumb::with_base();
    let (first, second) = ([("docs/read.txt", "old")], [("docs/read.txt", "read")]);
    let Some(repository) = crate::fetched::repository(&rhumb, &first, &second) else { return };
    symlink("../../../../../../../../../../etc", repository.join("out")).unwrap();
    crate::fetched::git(&repository, &["add", "."]);
    crate::fetched::git(&repository, &["commit", "-q", "-m", "a link"]);
    crate::fetched::git(&repository, &["update-server-info"]);
    let port = crate::fetched::serve(repository, std::sync::Arc::default());
    let url = format!("http://127.0.0.1:{port}/.git");
    for folder in ["../../../etc", "/etc", "docs/../../..", "out", "out/ssl"] {
        let outcome = build(&rhumb, &format!("FROM base:1\nADD {url}#main:{folder} /x/\n"), &["-t", "made:1"]);
        let found = if outcome.success() { seen(&rhumb, "made:1", "ls /x") } else { String::new() };
        assert!(!found.contains("passwd") && !found.contains("certs"), "{folder}: {outcome}\n{found}");
    }
    build(&rhumb, &format!("FROM base:1\nADD {url}#main:docs /x/\n"), &["-t", "made:1"]).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /x/read.txt"), "read");
}
