//! What a copy makes of folders, links, owners and times, and that it ends when it is told to.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::dockerfile::{build, context, seen};
use crate::support::Rhumb;
use crate::support::process::{self, PATIENCE};

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Of a folder its content is copied: the target is as it was, or as any new folder.
#[test]
fn a_new_target_does_not_take_the_mode_of_its_source() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("sub/f", "x"), ("sub/in/g", "x")]);
    chmod(&folder.join("sub"), 0o700);
    chmod(&folder.join("sub/in"), 0o710);
    let dockerfile = "FROM base:1 AS s\nCOPY --chown=3:4 sub /s\nFROM base:1\nRUN mkdir -m 1777 /there\nCOPY sub /a\n\
                      COPY sub/* /b/\nCOPY --chown=5:6 sub /c\nCOPY sub /there\nCOPY --from=s /s /d\n";
    build(&rhumb, dockerfile, &["-t", "made:1"]).ok();
    let look = "stat -c '%n %a %u:%g' /a /a/in /b /c /c/in /there /d /d/f";
    let wanted =
        "/a 755 0:0\n/a/in 710 0:0\n/b 755 0:0\n/c 755 5:6\n/c/in 710 5:6\n/there 1777 0:0\n/d 755 0:0\n/d/f 644 3:4";
    assert_eq!(seen(&rhumb, "made:1", look), wanted);
}

#[test]
fn kept_parents_are_as_they_are_where_they_come_from() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("deep/er/f", "x"), ("link/f", "new")]);
    chmod(&folder.join("deep"), 0o750);
    let dockerfile = "FROM base:1 AS s\nRUN mkdir -p /p/app/in && touch /p/app/in/f && chown 7:8 /p/app /p/app/in && chmod 700 /p/app\n\
                      FROM base:1\nRUN mkdir -p /real /p && chmod 711 /p && ln -s real /link\n\
                      COPY --from=s --parents /p/app/in/f /\nCOPY --parents deep/er/f /x/\nCOPY --parents link/f /\n\
                      COPY --from=s --parents --chown=1:2 /p/app/./in/f /y/\n";
    build(&rhumb, dockerfile, &["-t", "made:1"]).ok();
    let look = "stat -c '%n %a %u:%g' /p /p/app /p/app/in /x/deep /x/deep/er /y/in; readlink /link; cat /real/f";
    let wanted =
        "/p 711 0:0\n/p/app 700 7:8\n/p/app/in 755 7:8\n/x/deep 750 0:0\n/x/deep/er 755 0:0\n/y/in 755 1:2\nreal\nnew";
    assert_eq!(seen(&rhumb, "made:1", look), wanted);
}

#[test]
fn a_link_that_leads_nowhere_is_not_left_out_in_silence() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("s/ok", "x")]);
    symlink("nope", folder.join("s/dang")).unwrap();
    symlink("/etc/hosts", folder.join("s/outside")).unwrap();
    for source in ["s/*", "s/d*", "s/dang", "s/outs*", "s/outside"] {
        let outcome = build(&rhumb, &format!("FROM base:1\nCOPY {source} /x/\n"), &[]);
        assert!(!outcome.success() && outcome.stderr.contains("is a link that leads nowhere"), "{source}\n{outcome}");
    }
    // In a folder a link is copied as it is.
    build(&rhumb, "FROM base:1\nCOPY s /all\nCOPY --exclude=dang --exclude=outside s/* /some/\n", &["-t", "made:1"])
        .ok();
    assert_eq!(seen(&rhumb, "made:1", "readlink /all/dang /all/outside; ls /some"), "nope\n/etc/hosts\nok");
    let hinted = build(&rhumb, "FROM base:1\nCOPY --exclude=ok s/ok /x/\n", &[]);
    assert!(hinted.stderr.contains("--exclude leaves it out"), "{hinted}");
    let line = format!(
        r#"build::from("base:1", #{{ context: "{}" }}).copy("s/d*", "/x/", #{{ optional: true }}).solve()"#,
        folder.display()
    );
    rhumb.script(&line).ok();
}

/// What is there would be lost.
#[test]
fn a_folder_never_takes_the_place_of_a_file() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("src/a", "x"), ("one/both", "file"), ("two/both/in", "folder"), ("deep/a/in", "x")]);
    for (line, wanted) in [
        ("COPY src/ /fil", "\"fil\" is there, and is no folder"),
        ("COPY src/a /fil/", "\"fil\" is there, and is no folder"),
        ("COPY src/a /fil/x", "\"fil\" is there, and is no folder"),
        ("COPY deep /d", "\"d/a\" is there, and is no folder"),
        ("WORKDIR /fil/x", "\"fil\" is there, and is no folder"),
        ("WORKDIR /fil", "not a folder"),
        ("COPY one/both /fil/../fil/", "\"fil\" is there"),
        ("COPY one/both two /m/", "\"m/both\" is there, and is no folder"),
        ("COPY two one/both /m/", "\"m/both\" is a folder of one source and none of another"),
        ("COPY --parents one/both two/both /x/", ""),
        ("COPY one /over", "\"over/both\" is a folder, which a file would replace"),
        ("COPY one /linked", ""),
    ] {
        let outcome = build(
            &rhumb,
            &format!(
                "FROM base:1\nRUN echo f > /fil && mkdir -p /d /over/both /linked && echo f > /d/a && ln -s /d /linked/both\n{line}\n"
            ),
            &[],
        );
        assert_eq!(outcome.success(), wanted.is_empty(), "{line}\n{outcome}");
        assert!(outcome.stderr.contains(wanted), "{line}\n{outcome}");
    }
}

/// A checkout has other times on each machine. They stay, since make and its like tell by them what changed, unless there is an
/// epoch.
#[test]
fn the_times_of_a_checkout_are_held_to_the_epoch() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("d/f", "x"), ("Dockerfile", "FROM base:1\nCOPY . /x/\nCOPY --parents d/f /y/\n")]);
    let made = |epoch: &str| {
        let flags = ["build", "-q", "--no-cache", "-t", "made:1", "--build-arg", epoch, folder.to_str().unwrap()];
        (rhumb.run(flags).ok(), seen(&rhumb, "made:1", "stat -c %Y /x/d /x/d/f /y/d/f"))
    };
    let touch = |name: &str, seconds: u64| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        std::fs::File::open(folder.join(name)).unwrap().set_modified(time).unwrap();
    };
    let (first, times) = made("SOURCE_DATE_EPOCH=86400");
    assert_eq!(times, "86400\n86400\n86400");
    touch("d/f", 1_000_000_000);
    touch("d", 2_000_000_000);
    assert_eq!(made("SOURCE_DATE_EPOCH=86400").0, first);
    assert_eq!(made("SOURCE_DATE_EPOCH=").1, "2000000000\n1000000000\n1000000000");
}

#[test]
fn an_archive_says_whose_its_files_are() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[]);
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    header.set_mode(0o640);
    header.set_uid(9);
    header.set_gid(10);
    header.set_mtime(1000);
    archive.append_data(&mut header, "f", &[][..]).unwrap();
    std::fs::write(folder.join("a.tar"), archive.into_inner().unwrap()).unwrap();
    build(&rhumb, "FROM base:1\nADD --chown=5:6 --chmod=777 a.tar /x/\n", &["-t", "made:1"]).ok();
    assert_eq!(seen(&rhumb, "made:1", "stat -c '%a %u:%g %Y' /x/f; stat -c '%a %u:%g' /x"), "640 9:10 1000\n755 5:6");
}

/// However far it is: hashing, or waiting for the context.
#[test]
fn ctrl_c_ends_a_copy_and_a_wait_for_the_context() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("Dockerfile", "FROM base:1\nRUN true\nCOPY big /\n")]);
    // It takes minutes to read, and no place.
    std::fs::File::create(folder.join("big")).unwrap().set_len(1 << 40).unwrap();
    for stdin in [false, true] {
        let mut command = rhumb.command(["build", if stdin { "-" } else { folder.to_str().unwrap() }]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // What it has open tells how far it is: the file that it reads, or the one without a name that takes the context up.
        let sign = if stdin { " (deleted)" } else { "/big" };
        process::eventually("a reader", PATIENCE, || {
            let mut links = std::fs::read_dir(format!("/proc/{}/fd", child.id())).ok()?.flatten();
            let opens = |link: &Path| std::fs::read_link(link).is_ok_and(|to| to.to_string_lossy().ends_with(sign));
            links.any(|link| opens(&link.path())).then_some(())
        });
        let mut interrupt = Command::new("kill");
        process::run(interrupt.args(["-INT", &child.id().to_string()]), None, PATIENCE).ok();
        let status = process::eventually("its end", PATIENCE, || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(130), "stdin {stdin}");
    }
}
