//! What `rhumb build` tells of a Dockerfile, and flags of Docker's builders.

use crate::dockerfile::{build, context};
use crate::support::Rhumb;

const DOCKERFILE: &str = "# VERSION which release is built\nARG VERSION=1.2\n# builder makes the program\n\
                          FROM base:1 AS builder\nARG VERSION\nARG JOBS=${VERSION}-x\n\
                          RUN --mount=type=cache,target=/c --mount=type=secret,id=token,required true\n\
                          FROM base:1 AS other\nARG UNUSED\nFROM base:1 AS final\nRUN --mount=type=ssh true\n\
                          COPY --from=builder /bin/sh /sh\n";

#[test]
fn a_dockerfile_says_which_stages_it_has_and_what_they_take() {
    let rhumb = Rhumb::with_base();
    let targets = build(&rhumb, DOCKERFILE, &["--call", "targets"]).ok();
    assert_eq!(targets, "TARGET            DESCRIPTION\nbuilder           makes the program\nother\nfinal (default)");
    let outline = build(&rhumb, DOCKERFILE, &["--call=outline", "--build-arg", "VERSION=2"]).ok();
    for wanted in ["TARGET:      final", "which release is built", "2-x", "token     true", "default   false", "/c"] {
        assert!(outline.contains(wanted), "{wanted}\n{outline}");
    }
    assert!(!outline.contains("UNUSED"), "{outline}");
    let json = |call: &str| -> serde_json::Value {
        serde_json::from_str(&build(&rhumb, DOCKERFILE, &["--call", &format!("{call},format=json")]).ok()).unwrap()
    };
    assert_eq!(json("targets")["targets"][2]["default"], true);
    assert_eq!(json("outline")["secrets"], serde_json::json!([{ "name": "token", "required": true }]));
    let warned = build(&rhumb, "FROM base:1 as x\n", &["--call=check,format=json"]);
    let warnings: serde_json::Value = serde_json::from_str(&warned.stdout).unwrap();
    assert_eq!((warned.code, &warnings["warnings"][0]["ruleName"]), (1, &"FromAsCasing".into()));
    assert_eq!(rhumb.run(["images", "-q"]).ok().lines().count(), 1, "nothing was built");
}

#[test]
fn annotations_are_in_the_manifest_of_what_is_written() {
    let rhumb = Rhumb::with_base();
    let manifest = |flags: &[&str]| -> serde_json::Value {
        let layout = rhumb.path("layout");
        let _ = std::fs::remove_dir_all(&layout);
        build(&rhumb, "FROM base:1\nRUN echo one > /one\n", &[&["-t", "made:1"], flags].concat()).ok();
        rhumb.run(["save", "--format", "oci-dir", "-o", layout.to_str().unwrap(), "made:1"]).ok();
        let read = |path: std::path::PathBuf| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        let digest = read(layout.join("index.json"))["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
        read(layout.join("blobs").join(digest))
    };
    assert_eq!(manifest(&[])["annotations"], serde_json::Value::Null);
    let given = manifest(&["--annotation", "org.example.a=1", "-o", "type=image,annotation.b=2"]);
    assert_eq!(given["annotations"], serde_json::json!({ "org.example.a": "1", "b": "2" }));
    // The same image with other ones: the last build counts.
    assert_eq!(manifest(&["--annotation", "c=3"])["annotations"], serde_json::json!({ "c": "3" }));
    // Nothing that an earlier one said is said by one that says nothing.
    assert_eq!(manifest(&[])["annotations"], serde_json::Value::Null);
    rhumb.assert_consistent();
    build(&rhumb, "FROM base:1\n", &["--annotation", "index:a=1"]).fails_with(7, "no index to annotate");
}

#[test]
fn flags_that_ask_for_what_is_done_anyway_are_taken() {
    let rhumb = Rhumb::with_base();
    let flags =
        ["-q", "--load", "--rm=true", "--force-rm=false", "--compress", "--isolation=default", "--builder=default"];
    let values = ["--no-cache=false", "--push=false", "--check=0", "-o", "type=image,unpack=true,oci-mediatypes=true"];
    build(&rhumb, "FROM base:1\nRUN true\n", &[&flags[..], &values].concat()).ok();
    let again = build(&rhumb, "FROM base:1\nRUN true\n", &["--progress", "plain", "--no-cache=true"]);
    assert!(again.success() && !again.stderr.contains("CACHED"), "{again}");
    let folder = rhumb.path("out");
    let split = format!("type=local,dest={},platform-split=true", folder.display());
    build(&rhumb, "FROM scratch\nCOPY Dockerfile /x\n", &["-o", &split]).ok();
    let mut names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    assert!(names.next().is_some_and(|path| path.join("x").is_file() && names.next().is_none()));
}

#[test]
fn commands_are_in_the_cgroup_that_is_asked_for() {
    let rhumb = Rhumb::with_base();
    let parent = format!("build-{}", rhumb.root_id());
    let inside = build(
        &rhumb,
        "FROM base:1\nRUN --security=insecure sh -c 'cat /proc/1/cgroup /proc/self/mountinfo'\n",
        &["--progress", "plain", "--allow", "security.insecure", "--cgroup-parent", &format!("/{parent}/night")],
    );
    assert!(inside.success(), "{inside}");
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let mut left = 0;
    for dir in hierarchies.chain(["/sys/fs/cgroup".into()]).map(|dir| dir.join(&parent)).filter(|dir| dir.is_dir()) {
        // It stays, as with run, and is empty: a group of its own cannot be removed while something is in it.
        std::fs::remove_dir(dir.join("night")).unwrap();
        std::fs::remove_dir(dir).unwrap();
        left += 1;
    }
    assert!(left > 0, "{inside}");
}

/// What a long step says is not said again and again, and what the kernel does not take has a way out.
#[test]
fn messages_name_a_step_in_short() {
    let rhumb = Rhumb::with_base();
    let long = format!("FROM base:1\nRUN <<EOF\n: {}\nEOF\n", "x".repeat(200_000));
    let outcome = build(&rhumb, &long, &["-q"]);
    assert!(!outcome.success() && outcome.stderr.len() < 2000, "{} bytes", outcome.stderr.len());
    assert!(outcome.stderr.contains("Argument list too long") && outcome.stderr.contains("COPY <<EOF"), "{outcome}");
    let script = long.replace("EOF\n:", "EOF\n#!/bin/sh\n:");
    build(&rhumb, &script, &["-q"]).ok();
    let secret = build(&rhumb, "FROM base:1\nRUN --mount=type=secret,id=s,required true\n", &["-q"]);
    assert!(secret.stderr.contains(" true: there is no secret \"s\""), "{secret}");
    let stage = "FROM base:1 AS builder\nFROM base:1\nCOPY --from=bilder /x /x\n";
    assert!(build(&rhumb, stage, &["-q"]).stderr.contains("did you mean the stage \"builder\"?"));
    context(&rhumb, &[("Dockerfile", "FROM --platform=linux/s390x base:1\n")]);
    let platform = build(&rhumb, "FROM --platform=linux/s390x base:1\nRUN true\n", &["-q"]);
    assert!(platform.stderr.contains("building Dockerfile:1: the stage asks for"), "{platform}");
}
