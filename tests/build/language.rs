//! The finer points of Dockerfiles, where builders differ: what Docker's own builder does, we do.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::dockerfile::{build, context, seen};
use crate::support::Rhumb;
use crate::support::process::{self, PATIENCE};

#[test]
fn a_pattern_may_mean_nothing() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("package.json", "{}")]);
    build(&rhumb, "FROM base:1\nCOPY package.json yarn.lock* /app/\nCOPY *.nothing /none/\n", &["-t", "made:1"]).ok();
    assert_eq!(seen(&rhumb, "made:1", "ls /app"), "package.json");
    let missing = build(&rhumb, "FROM base:1\nCOPY package.json yarn.lock /app/\n", &[]);
    assert_eq!(missing.code, 3, "{missing}");
}

#[test]
fn arguments_go_on_in_a_stage_on_top() {
    let rhumb = Rhumb::with_base();
    let dockerfile = "FROM base:1 AS first\nARG WHO=me\nFROM first AS second\nRUN echo \"<$WHO>\" > /who\n\
                      FROM base:1\nRUN echo \"<$WHO>\" > /nobody\nCOPY --from=second /who /who\n";
    build(&rhumb, dockerfile, &["-t", "made:1"]).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /who /nobody"), "<me>\n<>");
    build(&rhumb, dockerfile, &["-t", "made:1", "--build-arg", "WHO=you"]).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /who"), "<you>");
}

#[test]
fn a_pivot_says_how_much_of_a_path_is_kept() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("a/b/one", "1"), ("a/c/two", "2"), ("a/c/deep/three", "3")]);
    let dockerfile = "FROM base:1\nCOPY --parents a/./b/one /named/\nCOPY --parents ./a/./*/t* /pattern/\n\
                      COPY --parents a/c/./**/three /deep/\nCOPY --parents a/./c /folder/\nCOPY --parents a/./ /all/\n";
    build(&rhumb, dockerfile, &["-t", "made:1"]).ok();
    let found = seen(&rhumb, "made:1", "find /named /pattern /deep /folder /all -type f | sort");
    let wanted = "/all/b/one\n/all/c/deep/three\n/all/c/two\n/deep/deep/three\n/folder/c/deep/three\n/folder/c/two\n\
                  /named/b/one\n/pattern/c/two";
    assert_eq!(found, wanted);
}

#[test]
fn a_dot_is_a_folder_whatever_is_there() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("a.txt", "a")]);
    let dockerfile = "FROM base:1\nWORKDIR /app\nCOPY --link a.txt .\nWORKDIR /app/deep\nCOPY --link a.txt ..\nCOPY --link a.txt ./\n";
    build(&rhumb, dockerfile, &["-t", "made:1"]).ok();
    assert_eq!(seen(&rhumb, "made:1", "find /app -type f | sort"), "/app/a.txt\n/app/deep/a.txt");
}

#[test]
fn a_file_of_several_names_keeps_its_content_when_one_is_replaced() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("one/a", "first"), ("two/a", "second")]);
    std::fs::hard_link(folder.join("one/a"), folder.join("one/b")).unwrap();
    std::fs::hard_link(folder.join("one/a"), folder.join("one/c")).unwrap();
    build(&rhumb, "FROM base:1\nCOPY one two /x/\nCOPY one /y/\n", &["-t", "made:1"]).ok();
    let look = "cat /x/a; echo; cat /x/b; echo; cat /x/c; echo; stat -c %h /y/a";
    assert_eq!(seen(&rhumb, "made:1", look), "second\nfirst\nfirst\n3");
}

#[test]
fn every_port_of_a_range_is_exposed() {
    let rhumb = Rhumb::with_base();
    build(&rhumb, "FROM base:1\nEXPOSE 8000-8002/udp 80\n", &["-t", "made:1"]).ok();
    let ports = serde_json::json!({ "80/tcp": {}, "8000/udp": {}, "8001/udp": {}, "8002/udp": {} });
    assert_eq!(rhumb.inspect("made:1")["Config"]["ExposedPorts"], ports);
    // What stands in front means nothing, and is warned of.
    let dockerfile = "FROM base:1\nEXPOSE 80:80 1.2.3.4:80-81:82 [::1]::83/UDP\n";
    let outcome = build(&rhumb, dockerfile, &["-t", "made:2"]);
    assert_eq!(outcome.stderr.matches("ExposeInvalidFormat").count(), 3, "{outcome}");
    let ports = serde_json::json!({ "80/tcp": {}, "82/tcp": {}, "83/udp": {} });
    assert_eq!(rhumb.inspect("made:2")["Config"]["ExposedPorts"], ports);
}

#[test]
fn the_beginning_of_an_id_is_no_name_of_a_base() {
    let rhumb = Rhumb::with_base();
    let id = rhumb.inspect("base:1")["Id"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let short = &id[..6];
    for dockerfile in [format!("FROM {short}\n"), format!("FROM base:1\nCOPY --from=x{short} /bin/sh /x\n")] {
        build(&rhumb, &dockerfile, &["--pull=never"]).fails_with(3, "no such image");
    }
    let script = format!(
        "build::from(\"base:1\").copy(\"/bin/sh\", \"/x\", #{{ from: {short:?} }}).solve(#{{ pull: \"never\" }});"
    );
    rhumb.script(&script).fails_with(3, "no such image");
    for base in [&id[..12], &id, &format!("sha256:{short}")] {
        build(&rhumb, &format!("FROM {base}\n"), &["--pull=never"]).ok();
    }
    // A name of such letters is a name.
    rhumb.run(["tag", "base:1", short]).ok();
    build(&rhumb, &format!("FROM {short}\n"), &["--pull=never"]).ok();
}

#[test]
fn what_cannot_be_is_said_before_anything_is_done() {
    let rhumb = Rhumb::with_base();
    for (flags, wanted) in [
        (["--add-host", "a"], "reading option \"--add-host\": \"a\" is not a host entry"),
        (["--ulimit", "nofile=x"], "reading option \"--ulimit\""),
    ] {
        let outcome = build(&rhumb, "FROM base:1\nCOPY nothing /\nRUN true\n", &flags);
        outcome.fails_with(2, wanted);
    }
}

#[test]
fn a_named_context_has_an_ignore_file_of_its_own() {
    let rhumb = Rhumb::with_base();
    let folder =
        context(&rhumb, &[("assets/logo", "logo"), ("assets/.env", "token"), ("assets/.dockerignore", ".env\n")]);
    let flag = format!("assets={}", folder.join("assets").display());
    let dockerfile = "FROM base:1\nCOPY --from=assets . /x/\nRUN --mount=from=assets,target=/mnt ! test -e /mnt/.env\n";
    build(&rhumb, dockerfile, &["-t", "made:1", "--build-context", &flag]).ok();
    assert_eq!(seen(&rhumb, "made:1", "ls -A /x"), ".dockerignore\nlogo");
    let script = format!(
        "let b = build::dockerfile({:?}, #{{ contexts: #{{ assets: {:?} }} }}); b.run(\"! test -e /x/.env\").solve();",
        folder.display().to_string(),
        folder.join("assets").display().to_string()
    );
    rhumb.script(&script).ok();
}

#[test]
fn nothing_is_in_a_context_that_is_not_given() {
    let rhumb = Rhumb::with_base();
    for step in ["COPY . /x", "RUN --mount=target=/x true"] {
        let outcome = rhumb.run_with_input(["build", "-"], format!("FROM base:1\n{step}\n").as_bytes());
        assert!(!outcome.success() && outcome.stderr.contains("the build has no context"), "{outcome}");
    }
}

#[test]
fn mount_points_behind_links_leave_nothing() {
    let rhumb = Rhumb::with_base();
    let secret = format!("id=s,src={}", context(&rhumb, &[("s", "secret")]).join("s").display());
    let dockerfile = "FROM base:1\nRUN mkdir /real && ln -s real /alias && ln -s /alias /other\n\
                      RUN --mount=type=cache,target=/alias/sub/cache --mount=type=secret,id=s,target=/other/key true\n\
                      RUN --mount=type=tmpfs,target=/alias/kept echo x > /real/file\n";
    build(&rhumb, dockerfile, &["-t", "made:1", "--secret", &secret]).ok();
    assert_eq!(seen(&rhumb, "made:1", "ls -A /real"), "file");
}

/// Two steps that want two caches, each in another order; and one that wants a cache twice.
#[test]
fn steps_do_not_wait_for_each_other_in_a_circle() {
    let rhumb = Rhumb::with_base();
    let mount = |id: &str, target: &str| format!("--mount=type=cache,sharing=locked,id={id},target={target}");
    let steps = |first: &str, second: &str| {
        let step = format!("RUN {} {} true", mount(first, "/1"), mount(second, "/2"));
        (0..10).map(|at| format!("{step} {at}\n")).collect::<String>()
    };
    let dockerfile = format!(
        "FROM base:1 AS one\n{}FROM base:1 AS two\n{}FROM base:1\nRUN {} {} echo x > /1/f && cat /2/f\n\
         COPY --from=one /bin/true /x1\nCOPY --from=two /bin/true /x2\n",
        steps("a", "b"),
        steps("b", "a"),
        mount("c", "/1"),
        mount("c", "/2")
    );
    build(&rhumb, &dockerfile, &[]).ok();
}

#[test]
fn a_line_without_an_end_is_shown_in_pieces() {
    let rhumb = Rhumb::with_base();
    let outcome = build(&rhumb, "FROM base:1\nRUN head -c 3000000 /dev/zero | tr '\\0' x\n", &["--progress", "plain"]);
    assert!(outcome.success(), "{outcome}");
    let longest = outcome.stderr.lines().map(str::len).max().unwrap_or_default();
    assert!(longest < 300_000, "{longest}");
    let shown = outcome.stderr.bytes().filter(|byte| *byte == b'x').count();
    assert!(shown >= 3_000_000, "{shown}");
}

/// What a name of a layer's file would hide is not hidden by a device that looks like it.
#[test]
fn nothing_that_is_copied_hides_what_is_below() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("dir/other", "other")]);
    let node = folder.join("dir/keep");
    process::run(Command::new("mknod").arg(&node).args(["c", "0", "0"]), None, PATIENCE).ok();
    let mut archive = tar::Builder::new(Vec::new());
    for name in ["etc/.wh.keep", "etc/.wh..wh..opq", "etc/more"] {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &[][..]).unwrap();
    }
    std::fs::write(folder.join("evil.tar"), archive.into_inner().unwrap()).unwrap();
    let dockerfile = "FROM base:1\nRUN mkdir -p /etc && echo kept > /etc/keep\nCOPY dir /etc/\n";
    build(&rhumb, dockerfile, &["-t", "made:1"]).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /etc/keep && ls /etc/other"), "kept\n/etc/other");
    // The tar of a layer is no archive of files, and what it leaves out is said.
    let outcome = build(&rhumb, &format!("{dockerfile}ADD evil.tar /\n"), &[]);
    assert!(!outcome.success() && outcome.stderr.contains("\"etc/keep\" of the archive would hide"), "{outcome}");
}

#[test]
fn what_is_ignored_is_not_reached_through_a_link() {
    let rhumb = Rhumb::with_base();
    let folder =
        context(&rhumb, &[("secret", "hunter22"), ("hidden/key", "hunter22"), (".dockerignore", "secret\nhidden\n")]);
    symlink("secret", folder.join("public")).unwrap();
    symlink("hidden", folder.join("folder")).unwrap();
    for source in ["public", "folder/key", "folder", "pub*c", "folde?/key"] {
        let dockerfile =
            format!("FROM base:1\nRUN true\nCOPY {source} /stolen\nRUN cat /stolen /stolen/key; test ! -e /stolen\n");
        let outcome = build(&rhumb, &dockerfile, &[]);
        assert!(!outcome.stderr.contains("hunter22"), "{source}: {outcome}");
        assert!(source.contains(['*', '?']) || outcome.stderr.contains("an ignore pattern leaves it out"), "{outcome}");
    }
}

#[test]
fn a_build_that_fails_leaves_what_was_there() {
    let rhumb = Rhumb::with_base();
    let tar = rhumb.path("out.tar");
    let flag = format!("type=tar,dest={}", tar.display());
    build(&rhumb, "FROM scratch\nCOPY Dockerfile /\n", &["-o", &flag]).ok();
    let before = std::fs::read(&tar).unwrap();
    assert!(!build(&rhumb, "FROM base:1\nRUN false\n", &["-o", &flag]).success());
    assert_eq!(std::fs::read(&tar).unwrap(), before);
    let script = format!(
        "build::from(\"base:1\").run(\"false\").output({:?}, #{{ type: \"tar\" }});",
        tar.display().to_string()
    );
    assert!(!rhumb.script(&script).success());
    assert_eq!(std::fs::read(&tar).unwrap(), before);
}

#[test]
fn what_makes_no_sense_is_an_error_and_no_panic() {
    let rhumb = Rhumb::with_base();
    for (options, wanted) in
        [("mounts: \"x\"", "array of maps"), ("mounts: [1]", "a mount is a map"), ("cache: [1]", "takes a map")]
    {
        let outcome = rhumb.script(&format!("build::from(\"base:1\").run(\"true\", #{{ {options} }});"));
        assert!(outcome.stderr.contains(wanted) && !outcome.stderr.contains("panicked"), "{outcome}");
    }
    for mount in ["type=tmpfs,target=/", "type=bind,target=/", "type=cache,target=.."] {
        let outcome = build(&rhumb, &format!("FROM base:1\nRUN --mount={mount} true\n"), &[]);
        assert!(!outcome.success() && !outcome.stderr.contains("panicked"), "{mount}: {outcome}");
    }
}
