//! Dockerfiles, built: what the instructions do, what the flags do, and what is said when something is wrong.

use std::path::PathBuf;

use crate::support::Rhumb;
use crate::support::process::{self, Outcome, PATIENCE};

/// A context with these files, a path and a text each.
pub(crate) fn context(rhumb: &Rhumb, files: &[(&str, &str)]) -> PathBuf {
    let folder = rhumb.path("context");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// Builds a Dockerfile in a context.
#[track_caller]
pub(crate) fn build(rhumb: &Rhumb, dockerfile: &str, flags: &[&str]) -> Outcome {
    let folder = context(rhumb, &[("Dockerfile", dockerfile)]);
    let mut command = rhumb.command(["build"]);
    command.args(flags).arg(folder);
    process::run(&mut command, None, PATIENCE)
}

/// What a command in the image prints.
#[track_caller]
pub(crate) fn seen(rhumb: &Rhumb, image: &str, command: &str) -> String {
    rhumb.run(["run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c", command]).ok()
}

#[test]
fn every_instruction_does_what_it_says() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("a.txt", "a"), ("b.txt", "b"), ("dir/c.md", "c"), ("dir/d.txt", "d"), ("skipped", "x")]);
    context(&rhumb, &[(".dockerignore", "skipped\n")]);
    let dockerfile = r#"
ARG BASE=base
FROM ${BASE}:1 AS first
ARG GREETING=hello
LABEL one=1 two="2 and ${GREETING}"
ENV PATH=/opt/bin:$PATH NAME=${GREETING}-you
WORKDIR /app
WORKDIR data
COPY *.txt ./
COPY --chmod=640 --chown=5:6 --exclude=*.md dir /copied/
COPY --parents dir/c.md /parents/
COPY <<one <<'two' /inline/
$GREETING
one
$GREETING
two
RUN <<EOF
echo script > /script
EOF
RUN ["sh", "-c", "echo exec > /exec"]
SHELL ["/bin/sh", "-ec"]
RUN echo $NAME > /shell; pwd > /where
USER 7:8
RUN touch /tmp/mine
EXPOSE 80 53/udp
VOLUME /volume
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --retries=2 CMD test -e /shell
ONBUILD RUN echo child > /tmp/child
ENTRYPOINT ["sh"]
CMD ["-c", "cat /shell"]

FROM base:1 AS unneeded
RUN false

FROM first
COPY --from=first --link /shell /linked
"#;
    let flags = ["-t", "made:1", "-t", "made:2", "--label", "three=3", "--build-arg", "GREETING=hi"];
    build(&rhumb, dockerfile, &flags).ok();
    let facts = rhumb.inspect("made:2");
    let config = &facts["Config"];
    assert_eq!(config["Labels"], serde_json::json!({ "one": "1", "three": "3", "two": "2 and hi" }));
    assert_eq!((&config["User"], &config["WorkingDir"]), (&"7:8".into(), &"/app/data".into()));
    assert_eq!(config["Cmd"], serde_json::json!(["-c", "cat /shell"]));
    assert_eq!(config["StopSignal"], "SIGINT");
    assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD-SHELL", "test -e /shell"]));
    assert_eq!(config["OnBuild"], serde_json::Value::Null, "what was done is not to be done again");
    assert!(config["Env"].as_array().unwrap().contains(&"NAME=hi-you".into()), "{config}");
    assert_eq!(rhumb.run(["run", "--rm", "made:1"]).ok(), "hi-you");
    let look = "cat /app/data/a.txt /app/data/b.txt /copied/d.txt /parents/dir/c.md; cat /inline/one /inline/two /script \
                /exec /where /linked /tmp/child; stat -c '%n %a %u:%g' /copied/d.txt /tmp/mine /app/data/a.txt; \
                ls /copied; test ! -e /app/data/skipped";
    let expected = "abdchi\n$GREETING\nscript\nexec\n/app/data\nhi-you\nchild\n/copied/d.txt 640 5:6\n\
                    /tmp/mine 644 7:8\n/app/data/a.txt 644 0:0\nd.txt";
    assert_eq!(seen(&rhumb, "made:1", look), expected);
}

#[test]
fn every_mount_is_there_and_leaves_nothing() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("file", "of the context\n"), ("hidden", "x"), ("sub/deep", "deep\n"), ("secret", "hunter22\n")]);
    context(&rhumb, &[(".dockerignore", "hidden\nsecret\n")]);
    let dockerfile = r#"
FROM base:1 AS other
RUN mkdir /tree && echo one > /tree/one && echo two > /tree/two
RUN rm /tree/two && echo three > /tree/three && echo changed > /tree/one
FROM base:1
RUN --mount=type=bind,target=/mnt ls -A /mnt > /bound && ! touch /mnt/file
RUN --mount=type=bind,source=sub,target=/mnt,rw cat /mnt/deep && echo new > /mnt/new && rm /mnt/deep
RUN --mount=type=bind,source=file,target=/one,rw cat /one && echo changed > /one
RUN --mount=from=other,source=/tree,target=/tree ls /tree > /stage && cat /tree/one >> /stage
RUN --mount=from=other,source=/tree/three,target=/three cat /three >> /stage
RUN --mount=from=other,source=/tree,target=/tree,rw rm /tree/one && ls /tree >> /stage
RUN --mount=type=cache,target=/cache,id=c echo x >> /cache/log
RUN --mount=type=cache,target=/cache,id=c,readonly cat /cache/log > /cached && ! touch /cache/no
RUN --mount=type=cache,target=/filled,id=f,from=other,source=/tree ls /filled > /filling
RUN --mount=type=tmpfs,target=/memory,size=1m touch /memory/x
RUN --mount=type=secret,id=key,target=/key,mode=0440,gid=9 stat -c '%a %g' /key > /key-facts; cat /key
RUN --mount=type=secret,id=key,env=KEY test "${#KEY}" = 9
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent
RUN --mount=type=ssh,mode=0666 test -S $SSH_AUTH_SOCK && stat -c %a $SSH_AUTH_SOCK > /agent
RUN test ! -e /mnt/file && test ! -e /key && test ! -e /cache && test ! -e /run/secrets && test ! -e /memory
"#;
    let agent = rhumb.path("agent");
    let _agent = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let secret = format!("id=key,src={}", rhumb.path("context").join("secret").display());
    let ssh = format!("default={}", agent.display());
    let outcome = build(&rhumb, dockerfile, &["-t", "made:1", "--secret", &secret, "--ssh", &ssh]);
    assert!(outcome.success(), "{outcome}");
    assert!(!outcome.stderr.contains("hunter22"), "{outcome}");
    assert!(!rhumb.run(["build", "logs"]).ok().contains("hunter22"));
    let look = "cat /bound /stage /cached /filling /key-facts /agent; ls -Ad /tree /three /one /key /cache /memory";
    let outcome = rhumb.run(["run", "--rm", "made:1", "sh", "-c", look]);
    let expected =
        ".dockerignore\nDockerfile\nfile\nsub\none\nthree\nchanged\nthree\nthree\nx\none\nthree\n440 9\n666\n";
    assert_eq!(outcome.stdout, expected, "no target is left either");
    let folder = rhumb.path("context");
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "of the context\n");
    assert!(folder.join("sub/deep").exists() && !folder.join("sub/new").exists());
    assert!(!rhumb.run(["history", "--no-trunc", "made:1"]).ok().contains("hunter22"));
}

#[test]
fn a_failing_step_is_shown_with_its_line_and_all_that_it_wrote() {
    let rhumb = Rhumb::with_base();
    let dockerfile =
        "FROM base:1\nRUN echo fine\nRUN seq 1 300; \\\n    echo the end >&2; \\\n    exit 9\nRUN echo never\n";
    for flags in [&["-q"][..], &["--progress", "plain"], &["--progress", "tty"]] {
        let outcome = build(&rhumb, dockerfile, &[flags, &["--no-cache"]].concat());
        assert_eq!(outcome.code, 1, "{outcome}");
        let said = &outcome.stderr;
        for line in ["1", "150", "300", "the end"] {
            assert!(said.lines().any(|shown| shown.trim_end().ends_with(line)), "{flags:?}: {line}: {said}");
        }
        assert!(said.contains("Dockerfile:3: the step \"RUN seq 1 300;"), "{said}");
        assert!(said.contains("ended with 9") && !said.contains("never"), "{said}");
        assert_eq!(outcome.stdout, "");
    }
    let json = build(&rhumb, dockerfile, &["--progress", "json"]);
    let events: Vec<serde_json::Value> =
        json.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(events.last().unwrap()["event"], "failed", "{json}");
    assert!(events.iter().any(|event| event["event"] == "finished" && event["cached"] == true), "{json}");
    let log = rhumb.run(["build", "logs"]).ok();
    assert!(log.contains("#1 RUN echo fine\n#1 cached\n") && log.contains("#2 | 300\n"), "{log}");
    assert_eq!(rhumb.run(["build", "logs", "--list"]).ok().lines().count(), 4);
}

#[test]
fn what_cannot_be_built_is_said_with_its_place() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("main.c", ""), ("ignored", ""), (".dockerignore", "ignored\n")]);
    for (dockerfile, flags, message, hint) in [
        ("FROM nope:1\n", &[][..], "Dockerfile:1: FROM nope:1: no such image", "rhumb load"),
        ("FROM base:1\nCOPY mian.c /\n", &[], "Dockerfile:2: COPY mian.c /: \"mian.c\" is not in", "\"main.c\""),
        ("FROM base:1\nCOPY ignored /\n", &[], "Dockerfile:2: COPY ignored /", "ignore pattern"),
        ("FROM base:1\nCOPY --chown=nobody-here main.c /\n", &[], "no user \"nobody-here\"", "number"),
        ("FROM base:1\nRUN --mount=type=secret,id=x,required true\n", &[], "no secret \"x\"", "--secret"),
        ("FROM base:1\nRUN --mount=type=ssh,required=true true\n", &[], "no ssh agent \"default\"", "--ssh"),
        ("FROM base:1\nRUN --mount=source=/nope,target=/x true\n", &[], "\"/nope\" is not in the build context", ""),
        ("FROM base:1\nADD http://127.0.0.1:1/x /\n", &[], "fetching http://127.0.0.1:1/x", ""),
        ("FROM base:1\n", &["--target", "x"], "no stage \"x\"", ""),
        ("FROM base:1\n", &["--platform", "linux/s390x"], "\"linux/s390x\" are not built on", ""),
        ("FROM base:1\n", &["--pull=what"], "reading --pull", "missing, always or never"),
        ("FROM base:1\n", &["--cache-from", "type=gha"], "type \"gha\" is not supported", "type=local"),
        ("FROM base:1\nRUN --mount=type=ssh true\n", &["--ssh", "default=context/main.c"], "cannot be used", "ssh-add"),
        ("FROM base:1\n", &["--output", "type=nope,dest=x"], "no output of the type \"nope\"", ""),
        ("FROM base:1\n", &["--network", "some"], "network \"some\"", ""),
        ("FROM base:1\n", &["-t", "UPPER"], "UPPER", ""),
        ("# check=error=true\nfrom base:1\nRUN true\n", &[], "asks for no warnings", ""),
    ] {
        let outcome = build(&rhumb, dockerfile, flags);
        assert!(!outcome.success(), "{dockerfile}: {outcome}");
        let said = &outcome.stderr;
        assert!(said.contains(message) && said.contains(hint), "{dockerfile}{flags:?}: {said}");
    }
    let outcome = rhumb.run_with_input(["build", "-"], b"FROM base:1\nMAINTAINER me\nRUN true\n");
    assert!(outcome.success() && outcome.stderr.contains("MaintainerDeprecated: warning"), "{outcome}");
}

#[test]
fn outputs_are_folders_tars_and_archives() {
    let rhumb = Rhumb::with_base();
    let dockerfile = "FROM base:1 AS made\nRUN mkdir /out && echo hi > /out/hi && chmod 750 /out/hi\n\
                      FROM scratch\nCOPY --from=made /out /\nLABEL a=b\n";
    let at = |name: &str| rhumb.path(name).display().to_string();
    let (folder, tar, oci, layout) = (at("out"), at("out.tar"), at("oci.tar"), at("layout"));
    let forms = [format!("type=tar,dest={tar}"), format!("type=oci,dest={oci}")];
    build(&rhumb, dockerfile, &["-o", &folder]).ok();
    assert_eq!(std::fs::read_to_string(format!("{folder}/hi")).unwrap(), "hi\n");
    let (ids, facts) = (at("id"), at("facts"));
    build(&rhumb, dockerfile, &["-o", &forms[0]]).ok();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    let piped = build(&rhumb, dockerfile, &["-o", "-"]);
    assert_eq!(piped.stdout.as_bytes(), std::fs::read(&tar).unwrap());
    build(&rhumb, dockerfile, &["-q", "-t", "a:1", "-o", &forms[1], "--iidfile", &ids, "--metadata-file", &facts]).ok();
    let id = build(&rhumb, dockerfile, &["-q", "-o", &format!("type=oci,tar=false,dest={layout}")]).ok();
    assert_eq!(std::fs::read_to_string(&ids).unwrap(), id);
    let facts: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&facts).unwrap()).unwrap();
    assert_eq!(facts["containerimage.config.digest"], *id);
    let other = Rhumb::with_base();
    assert!(other.run(["load", "-i", &oci]).ok().contains("a:1"));
    assert_eq!(other.inspect("a:1")["Id"], *id);
    assert!(other.run(["load", "-i", &layout]).success());
    let refused = build(&rhumb, dockerfile, &["-o", &folder, "--iidfile", &ids]);
    assert!(refused.stderr.contains("--iidfile is for images"), "{refused}");
}

#[test]
fn the_cache_goes_to_another_machine_in_a_folder() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("a", "1")]);
    let dockerfile =
        "FROM base:1 AS one\nCOPY a /a\nRUN echo made > /made\nRUN true\nFROM base:1\nCOPY --from=one /made /\n";
    let cache = rhumb.path("cache");
    let to = format!("type=local,dest={}", cache.display());
    let from = format!("type=local,src={}", cache.display());
    let id = build(&rhumb, dockerfile, &["--cache-to", &to]).ok();
    let other = Rhumb::with_base();
    context(&other, &[("a", "1")]);
    let outcome = build(&other, dockerfile, &["--progress", "plain", "--cache-from", &from]);
    assert_eq!(outcome.stderr.matches("CACHED").count(), 4, "{outcome}");
    assert_eq!(outcome.ok(), id);
    context(&other, &[("a", "2")]);
    let changed = build(&other, dockerfile, &["--progress", "plain", "--cache-from", &from]);
    assert!(changed.stderr.contains("COPY a /a\n#1 DONE"), "{changed}");
    // A blob that is not what the index says is refused.
    for blob in std::fs::read_dir(cache.join("blobs/sha256")).unwrap() {
        std::fs::write(blob.unwrap().path(), "x").unwrap();
    }
    let third = Rhumb::with_base();
    context(&third, &[("a", "1")]);
    let outcome = build(&third, dockerfile, &["--cache-from", &from]);
    assert!(!outcome.success() && outcome.stderr.contains("taking a step from the cache"), "{outcome}");
    // Nobody writes to a pipe that is there instead.
    let pipe = |path: &std::path::Path| {
        std::fs::remove_file(path).unwrap();
        process::run(std::process::Command::new("mkfifo").arg(path), None, PATIENCE).ok();
        let outcome = build(&third, dockerfile, &["--cache-from", &from]);
        assert!(
            !outcome.success()
                && outcome.stderr.contains("from the cache") | outcome.stderr.contains("reading the cache"),
            "{outcome}"
        );
    };
    std::fs::read_dir(cache.join("blobs/sha256")).unwrap().for_each(|blob| pipe(&blob.unwrap().path()));
    pipe(&cache.join("rhumb-cache.json"));
}

/// buildkit#1474, moby#1996: what commands keep in their caches goes along when it is asked for.
#[test]
fn the_caches_of_commands_go_to_another_machine_in_a_folder() {
    let rhumb = Rhumb::with_base();
    let cache = rhumb.path("cache");
    let (to, from) = (format!("type=local,dest={}", cache.display()), format!("type=local,src={}", cache.display()));
    let step = |line: &str| format!("FROM base:1\nRUN --mount=type=cache,id=kept,target=/kept {line}\n");
    build(&rhumb, &step("mkdir /kept/d && echo warm > /kept/d/f && chown 5:6 /kept/d/f"), &["--cache-to", &to]).ok();
    let blobs = || std::fs::read_dir(cache.join("blobs/sha256")).unwrap().count();
    let without = blobs();
    let with = format!("{to},mounts=true");
    // The step itself is cached by now.
    build(&rhumb, &step("mkdir /kept/d && echo warm > /kept/d/f && chown 5:6 /kept/d/f"), &["--cache-to", &with]).ok();
    assert_eq!(blobs(), without + 1);
    let other = Rhumb::with_base();
    let look = step("cat /kept/d/f; stat -c %u:%g /kept/d/f; echo more > /kept/more");
    let outcome = build(&other, &look, &["--progress", "plain", "--cache-from", &from, "--cache-to", &with]);
    assert!(outcome.success() && outcome.stderr.contains("warm") && outcome.stderr.contains("5:6"), "{outcome}");
    // What it was before is not kept for ever, and what is not what the index says is refused.
    assert_eq!(blobs(), without + 1, "the second step changed no file");
    for blob in std::fs::read_dir(cache.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&bytes[..], &[0; 1024]].concat()).unwrap();
    }
    let third = Rhumb::with_base();
    let outcome = build(&third, &step("cat /kept/d/f"), &["--cache-from", &from]);
    assert!(!outcome.success() && outcome.stderr.contains("taking the cache \"kept\""), "{outcome}");
    assert!(build(&third, &step("! test -e /kept/d"), &[]).success(), "nothing half-filled is left");
}

/// A command may be anybody; what it says to the agent's socket reaches the agent, and the answer comes back.
#[test]
fn an_agent_is_reached_through_a_socket_of_the_steps_own() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    let rhumb = Rhumb::with_base();
    let agent = rhumb.path("agent");
    let listener = UnixListener::bind(&agent).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = [0; 5];
        stream.read_exact(&mut question).unwrap();
        stream.write_all(b"answer").unwrap();
        (question, listener)
    });
    let dockerfile = "FROM base:1\nUSER 5\nRUN --mount=type=ssh,uid=5 test -w $SSH_AUTH_SOCK && sleep 1000\n";
    let folder = context(&rhumb, &[("Dockerfile", dockerfile)]);
    let ssh = format!("default={}", agent.display());
    let mut child = rhumb.spawn(["build", "-q", "--ssh", &ssh, folder.to_str().unwrap()]);
    let tmp = rhumb.root().join("tmp");
    let socket = process::eventually("the socket", PATIENCE, || {
        let folders = std::fs::read_dir(&tmp).ok()?.flatten();
        folders.map(|folder| folder.path().join("agent")).find(|path| path.exists())
    });
    // It has its name a moment before it listens.
    let mut stream = process::eventually("a listener", PATIENCE, || UnixStream::connect(&socket).ok());
    stream.write_all(b"hello").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    // It is not dropped: further questions find an agent that is busy.
    let (question, _listener) = answering.join().unwrap();
    assert_eq!((answer.as_str(), &question), ("answer", b"hello"));
    // A step that asks for connections without end gets so many, and no thread more.
    let many: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    process::eventually("refusals", PATIENCE, || {
        let refused = |mut stream: &UnixStream| {
            stream.set_nonblocking(true).unwrap();
            stream.read(&mut [0]).is_ok_and(|count| count == 0)
        };
        (many.iter().filter(|stream| refused(stream)).count() == 36).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    process::eventually("the end of the step", PATIENCE, || {
        rhumb.run(["ps", "-aq"]).ok();
        (std::fs::read_dir(rhumb.root().join("containers")).map_or(0, Iterator::count) == 0).then_some(())
    });
}
