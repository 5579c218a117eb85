//! Build contexts that are no folders here: standard input, archives behind addresses, commits, layouts.

use std::path::Path;
use std::sync::Arc;

use crate::archives::{archive, forms, layer};
use crate::dockerfile::{context, seen};
use crate::fetched::{repository, serve};
use crate::support::Rhumb;
use crate::support::process::{self, Outcome, PATIENCE};

const DOCKERFILE: &str = "FROM base:1\nCOPY . /in/\n";

fn build(rhumb: &Rhumb, args: &[&str], stdin: Option<&[u8]>) -> Outcome {
    let mut command = rhumb.command(["build", "-q", "-t", "made:1"]);
    command.args(args);
    process::run(&mut command, stdin, PATIENCE)
}

/// Nothing that was fetched or read stays.
#[track_caller]
fn assert_clean(rhumb: &Rhumb) {
    assert_eq!(std::fs::read_dir(rhumb.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn standard_input_is_an_archive_of_any_compression_or_a_dockerfile() {
    let rhumb = Rhumb::with_base();
    let files = [("Dockerfile", DOCKERFILE), ("other", "FROM base:1\nCOPY a /other\n"), ("a", "content"), ("b", "x")];
    let archive = layer(&[&files[..], &[(".dockerignore", "b\n")]].concat());
    for (name, bytes) in forms(&archive) {
        let outcome = build(&rhumb, &["-"], Some(&bytes));
        assert!(outcome.success(), "{name}: {outcome}");
        assert_eq!(seen(&rhumb, "made:1", "cat /in/a; ls /in"), "contentDockerfile\na\nother", "{name}");
    }
    build(&rhumb, &["-f", "other", "-"], Some(&archive)).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /other"), "content");
    build(&rhumb, &["-"], Some(b"FROM base:1\nRUN echo alone > /alone\n")).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /alone"), "alone");
    for (args, bytes, wanted) in [
        (&["-f", "nope", "-"][..], &archive[..], "has no file \"nope\""),
        (&["-"], &archive[..archive.len() - 1024], "cut short"),
        (&["-"], b"\x00\x01\x02", "neither an archive nor a Dockerfile"),
        (&["-f", "x", "-"], b"FROM base:1\n", "is too much"),
        (&["-f", "-", "-"], b"FROM base:1\n", "standard input is the build context"),
        (&["-"], &layer(&[("a", "x")]), "has no Dockerfile"),
        (&["-"], b"FROM base:1\nCOPY a /\n", "no context"),
    ] {
        let outcome = build(&rhumb, args, Some(bytes));
        assert!(!outcome.success() && outcome.stderr.contains(wanted), "{wanted}\n{outcome}");
        assert_clean(&rhumb);
    }
}

/// A context from elsewhere is hostile: its links lead nowhere but into itself, also those of its Dockerfile and its
/// ignore file, and no script of it runs here.
#[test]
fn the_links_of_a_context_stay_inside_of_it() {
    let rhumb = Rhumb::with_base();
    let secret = rhumb.path("secret");
    std::fs::write(&secret, "FROM base:1\nRUN echo stolen\n").unwrap();
    let up = format!("{}{}", "../".repeat(30), secret.display());
    for target in [up.as_str(), secret.to_str().unwrap()] {
        let outcome = build(&rhumb, &["-"], Some(&archive(&[("Dockerfile", target)], &[])));
        assert!(!outcome.success() && !outcome.stderr.contains("stolen"), "{outcome}");
        let copies = archive(&[("link", target)], &[("Dockerfile", "FROM base:1\nCOPY link /x\n")]);
        let outcome = build(&rhumb, &["-"], Some(&copies));
        assert!(!outcome.success(), "{outcome}");
        let ignores = archive(&[(".dockerignore", target)], &[("Dockerfile", DOCKERFILE), ("a", "x")]);
        build(&rhumb, &["-"], Some(&ignores)).ok();
        assert_eq!(seen(&rhumb, "made:1", "ls /in/a"), "/in/a");
    }
    let inside = archive(&[("Dockerfile", "/real/file")], &[("real/file", DOCKERFILE)]);
    build(&rhumb, &["-"], Some(&inside)).ok();
    let script = archive(&[], &[("build.rhai", "host::run(\"touch /tmp/rhumb-script-ran\")")]);
    let outcome = build(&rhumb, &["-"], Some(&script));
    assert!(outcome.stderr.contains("has no Dockerfile"), "{outcome}");
    let escape = {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.as_old_mut().name[..4].copy_from_slice(b"../x");
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        builder.into_inner().unwrap()
    };
    assert!(!build(&rhumb, &["-"], Some(&escape)).success());
    assert!(!Path::new("/tmp/rhumb-script-ran").exists());
    assert_clean(&rhumb);
}

#[test]
fn an_archive_behind_an_address_is_a_context() {
    let rhumb = Rhumb::with_base();
    let served = rhumb.path("served");
    std::fs::create_dir(&served).unwrap();
    let archive = layer(&[("Dockerfile", DOCKERFILE), ("a", "content"), ("dir/b", "more")]);
    for (name, bytes) in forms(&archive) {
        std::fs::write(served.join(name), bytes).unwrap();
    }
    std::fs::write(served.join("alone"), "FROM base:1\nRUN echo alone > /alone\n").unwrap();
    std::fs::write(served.join("zeros"), [0; 100]).unwrap();
    let port = serve(served, Arc::default());
    let url = |name: &str| format!("http://127.0.0.1:{port}/{name}");
    for (name, _) in forms(b"") {
        let outcome = build(&rhumb, &[&url(name)], None);
        assert!(outcome.success(), "{name}: {outcome}");
        assert_eq!(seen(&rhumb, "made:1", "cat /in/a /in/dir/b"), "contentmore", "{name}");
    }
    build(&rhumb, &[&url("alone")], None).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /alone"), "alone");
    for (name, wanted) in [("gone", "404"), ("zeros", "neither an archive nor a Dockerfile")] {
        let outcome = build(&rhumb, &[&url(name)], None);
        assert!(!outcome.success() && outcome.stderr.contains(wanted), "{wanted}\n{outcome}");
    }
    // By name, and in a script.
    let folder = context(&rhumb, &[("Dockerfile", "FROM base:1\nCOPY --from=far dir/b /far\n")]);
    let named = format!("far={}", url("xz"));
    build(&rhumb, &["--build-context", &named, folder.to_str().unwrap()], None).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /far"), "more");
    let line = format!(
        r#"print(build::from("base:1", #{{ context: "{}" }}).copy("a", "/a").capture("cat /a"));
           print(build::dockerfile("{}", #{{ contexts: #{{ far: "{}" }} }}).capture("cat /far"));"#,
        url("bzip2"),
        folder.display(),
        url("zstd")
    );
    assert_eq!(rhumb.script(&line).ok(), "content\nmore");
    let outcome = build(&rhumb, &["--to-rhai", &url("xz")], None);
    assert!(outcome.stderr.contains("fetch the build context first"), "{outcome}");
    assert_clean(&rhumb);
}

#[test]
fn a_commit_is_a_context() {
    let rhumb = Rhumb::with_base();
    let files = [("Dockerfile", DOCKERFILE), ("sub/Dockerfile", "FROM base:1\nCOPY . /sub/\n"), ("sub/a", "first")];
    let Some(repository) = repository(&rhumb, &files, &[("sub/a", "second")]) else { return };
    let port = serve(repository, Arc::default());
    let url = format!("http://127.0.0.1:{port}/.git");
    build(&rhumb, &[&url], None).ok();
    assert_eq!(
        seen(&rhumb, "made:1", "cat /in/sub/a; ls -A /in; stat -c ' %a' /in/sub"),
        "secondDockerfile\nsub\n 755"
    );
    let id = rhumb.run(["images", "-q", "made:1"]).ok();
    build(&rhumb, &["--no-cache", &url], None).ok();
    assert_eq!(rhumb.run(["images", "-q", "made:1"]).ok(), id, "the same commit, another checkout");
    build(&rhumb, &[&format!("{url}#v1:sub")], None).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /sub/a"), "first");
    build(&rhumb, &[&format!("{url}?branch=main&subdir=sub")], None).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /sub/a"), "second");
    build(&rhumb, &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", &url], None).ok();
    assert_eq!(seen(&rhumb, "made:1", "ls -A /in"), ".git\nDockerfile\nsub");
    let folder = context(&rhumb, &[("Dockerfile", "FROM base:1\nCOPY --from=far a /far\n")]);
    build(&rhumb, &["--build-context", &format!("far={url}?tag=v1&subdir=sub"), folder.to_str().unwrap()], None).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /far"), "first");
    for (fragment, wanted) in
        [("#nope", "nope"), (":nope", "nope"), ("#v1:nope", "nope"), ("#--upload-pack=x", "no branch")]
    {
        let outcome = build(&rhumb, &[&format!("{url}{fragment}")], None);
        assert!(!outcome.success() && outcome.stderr.contains(wanted), "{fragment}\n{outcome}");
    }
    assert_clean(&rhumb);
}

#[test]
fn an_image_of_a_layout_is_a_context() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("Dockerfile", "FROM base:1\nRUN echo laid > /laid\n"), ("sub/x", "")]);
    let layout = rhumb.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    build(&rhumb, &["-o", &output, folder.to_str().unwrap()], None).ok();
    rhumb.run(["rmi", "-f", "made:1"]).ok();
    context(&rhumb, &[("Dockerfile", "FROM laid\nCOPY --from=laid /laid /copied\n")]);
    for suffix in ["", ":1", ":made:1"] {
        let named = format!("laid=oci-layout://{}{suffix}", layout.display());
        let outcome = build(&rhumb, &["--build-context", &named, folder.to_str().unwrap()], None);
        assert!(outcome.success(), "{named}\n{outcome}");
        assert_eq!(seen(&rhumb, "made:1", "cat /laid /copied"), "laid\nlaid");
    }
    for (named, wanted) in [
        (format!("laid=oci-layout://{}:nope", layout.display()), "has no image \"nope\""),
        (format!("laid=oci-layout://{}x", layout.display()), "No such file"),
        ("laid=ftp://h/x".to_owned(), "cannot be fetched"),
        ("laid".to_owned(), "is no build context"),
        ("laid=/nope".to_owned(), "is no folder"),
    ] {
        let outcome = build(&rhumb, &["--build-context", &named, folder.to_str().unwrap()], None);
        assert!(!outcome.success() && outcome.stderr.contains(wanted), "{wanted}\n{outcome}");
    }
}
