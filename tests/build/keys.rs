//! Keys: a step gets a new one exactly when what it comes to can change.
//!
//! The keys are what `--progress json` tells. One world of files and flags is changed in one way at a time, and at random in
//! many: steps that can see a change have a new key, all others keep theirs, and the old world has the old keys again.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::dockerfile::{build, context};
use crate::support::Rhumb;
use crate::support::process::{self, PATIENCE};

/// Everything that a build is given here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct World {
    content: u8,
    mode: u32,
    second_file: bool,
    ignored_content: u8,
    touched: u8,
    argument: u8,
    unused_argument: u8,
    proxy: u8,
    secret_id: u8,
    secret_value: u8,
    base: u8,
    comment: u8,
    stage_before: bool,
}

const WORLD: World = World {
    content: 0,
    mode: 0o644,
    second_file: true,
    ignored_content: 0,
    touched: 0,
    argument: 0,
    unused_argument: 0,
    proxy: 0,
    secret_id: 0,
    secret_value: 0,
    base: 0,
    comment: 0,
    stage_before: false,
};

/// The steps of the last stage: COPY, RUN with the argument, RUN with the secret.
const STEPS: usize = 3;

/// Builds a world, and gives the keys of the last stage's steps.
fn keys(rhumb: &Rhumb, world: &World) -> Vec<String> {
    let w = world;
    let before = if w.stage_before { "FROM base:1 AS other\nRUN true\n" } else { "" };
    let use_before = if w.stage_before { "COPY --from=other /bin/true /tmp/true\n" } else { "" };
    // The stage before is used behind everything else, so that the last stage's number alone changes.
    let dockerfile = format!(
        "# comment {}\n{before}FROM base:{}\nARG WHO\nCOPY dir /dir\nRUN echo $WHO > /who\n\
         RUN --mount=type=secret,id=s{},target=/key test -s /key\n{use_before}",
        w.comment,
        w.base + 1,
        w.secret_id
    );
    let folder = context(
        rhumb,
        &[
            ("Dockerfile", &dockerfile),
            (".dockerignore", "dir/ignored\n"),
            ("dir/a", &format!("content {}", w.content)),
            ("dir/ignored", &format!("ignored {}", w.ignored_content)),
            ("outside", &format!("outside {}", w.touched)),
        ],
    );
    std::fs::set_permissions(folder.join("dir/a"), std::fs::Permissions::from_mode(w.mode)).unwrap();
    let second = folder.join("dir/b");
    match w.second_file {
        true => std::fs::write(second, "b").unwrap(),
        false => drop(std::fs::remove_file(second)),
    }
    let secret = rhumb.path("secret");
    std::fs::write(&secret, format!("value-of-secret-{}", w.secret_value)).unwrap();
    let mut command = rhumb.command(["build", "--progress", "json"]);
    command.arg("--secret").arg(format!("id=s{},src={}", w.secret_id, secret.display()));
    command.arg("--build-arg").arg(format!("WHO={}", w.argument));
    command.arg("--build-arg").arg(format!("UNUSED={}", w.unused_argument));
    command.arg("--build-arg").arg(format!("http_proxy=http://proxy-{}.example.org", w.proxy));
    let outcome = process::run(command.arg(folder), None, PATIENCE);
    assert!(outcome.success(), "{outcome}");
    let stage = u64::from(w.stage_before);
    let mut keys = BTreeMap::new();
    for line in outcome.stderr.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        if event["event"] == "finished" && event["stage"] == stage && event["key"].is_string() {
            keys.insert(event["step"].as_u64().unwrap(), event["key"].as_str().unwrap().to_owned());
        }
    }
    keys.into_values().take(STEPS).collect()
}

/// The first step that can see what differs between two worlds.
fn first_change(one: &World, other: &World) -> usize {
    let copied = |world: &World| (world.base, world.content, world.mode, world.second_file);
    if copied(one) != copied(other) {
        return 0;
    }
    // An argument is seen by every command below it.
    match (one.argument == other.argument, one.secret_id == other.secret_id) {
        (false, _) => 1,
        (true, false) => 2,
        (true, true) => STEPS,
    }
}

fn with_bases() -> Rhumb {
    let rhumb = Rhumb::with_base();
    let other = "FROM base:1\nRUN echo other > /etc/other\n";
    rhumb.run_with_input(["build", "-q", "-t", "base:2", "-"], other.as_bytes()).ok();
    rhumb
}

#[test]
fn a_key_is_new_exactly_when_the_result_can_change() {
    let rhumb = with_bases();
    let first = keys(&rhumb, &WORLD);
    assert_eq!(first.len(), STEPS);
    let changes: [(&str, World); 12] = [
        ("content", World { content: 1, ..WORLD }),
        ("mode", World { mode: 0o600, ..WORLD }),
        ("a deleted file", World { second_file: false, ..WORLD }),
        ("an ignored file", World { ignored_content: 1, ..WORLD }),
        ("a file that is not copied", World { touched: 1, ..WORLD }),
        ("an argument", World { argument: 1, ..WORLD }),
        ("an argument that nobody declares", World { unused_argument: 1, ..WORLD }),
        ("a proxy", World { proxy: 1, ..WORLD }),
        ("the id of a secret", World { secret_id: 1, ..WORLD }),
        ("the value of a secret", World { secret_value: 1, ..WORLD }),
        ("the base", World { base: 1, ..WORLD }),
        ("where things stand", World { comment: 1, stage_before: true, ..WORLD }),
    ];
    for (what, world) in &changes {
        let now = keys(&rhumb, world);
        let same = first.iter().zip(&now).take_while(|(a, b)| a == b).count();
        let expected = first_change(&WORLD, world);
        // A step that came out the same leaves those above it as they are: what is below counts by its content.
        assert!(same == expected || (*what == "the id of a secret" && same == 2), "{what}: {same} of {expected}");
        assert_eq!(keys(&rhumb, &WORLD), first, "{what}");
    }
    // The value of a secret is nowhere.
    let kept = std::fs::read(rhumb.root().join("rhumb.db")).unwrap();
    let wal = std::fs::read(rhumb.root().join("rhumb.db-wal")).unwrap_or_default();
    let value = b"value-of-secret-1";
    assert!(![kept, wal].iter().any(|bytes| bytes.windows(value.len()).any(|window| window == value)));
}

/// What is mounted of a stage is what a command can see of it: the rest of the stage changes nothing.
#[test]
fn a_mount_of_a_stage_counts_by_its_files() {
    let rhumb = Rhumb::with_base();
    let built = |seen: &str, unseen: &str| {
        let dockerfile = format!(
            "FROM base:1 AS other\nRUN mkdir /d && echo {seen} > /d/seen && echo {unseen} > /unseen\nFROM base:1\n\
             RUN --mount=from=other,source=/d,target=/mnt cat /mnt/seen > /got\n\
             RUN --mount=from=other,source=/d/seen,target=/one cat /one > /got\n\
             RUN --mount=from=other,target=/all cat /all/d/seen > /got\n"
        );
        let outcome = build(&rhumb, &dockerfile, &["--progress", "plain"]);
        assert!(outcome.success(), "{outcome}");
        outcome.stderr.matches("CACHED").count()
    };
    assert_eq!(built("one", "1"), 0);
    assert_eq!(built("one", "1"), 4);
    // The stage is done again, and the mount of all of it.
    assert_eq!(built("one", "2"), 2);
    assert_eq!(built("one", "2"), 4);
    assert_eq!(built("two", "2"), 0);
    assert_eq!(built("one", "1"), 4);
}

#[test]
fn any_two_worlds_share_the_keys_that_they_can() {
    let rhumb = with_bases();
    let mut known: Vec<(World, Vec<String>)> = Vec::new();
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let strategy = proptest::array::uniform12(0u8..2);
    runner
        .run(&strategy, |bits| {
            let [content, mode, second, ignored, touched, argument, unused, proxy, id, value, base, stage] = bits;
            known_of(
                &rhumb,
                World {
                    content,
                    mode: if mode == 1 { 0o644 } else { 0o600 },
                    second_file: second == 1,
                    ignored_content: ignored,
                    touched,
                    argument,
                    unused_argument: unused,
                    proxy,
                    secret_id: id,
                    secret_value: value,
                    base,
                    comment: stage,
                    stage_before: stage == 1,
                },
            );
            Ok(())
        })
        .unwrap();
    WORLDS.with_borrow(|worlds| known.extend(worlds.iter().cloned()));
    for (one, keys) in &known {
        for (other, other_keys) in &known {
            let same = keys.iter().zip(other_keys).take_while(|(a, b)| a == b).count();
            assert_eq!(same, first_change(one, other), "{one:?}\n{other:?}");
        }
    }
}

thread_local! {
    /// proptest's cases cannot change what is around them.
    static WORLDS: std::cell::RefCell<Vec<(World, Vec<String>)>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn known_of(rhumb: &Rhumb, world: World) {
    let keys = keys(rhumb, &world);
    WORLDS.with_borrow_mut(|worlds| worlds.push((world, keys)));
}

/// Whoever builds with nothing to do waits for no other writer, and leaves the database as it was.
#[test]
fn a_build_with_nothing_to_do_writes_no_record() {
    let rhumb = Rhumb::with_base();
    let dockerfile = "FROM base:1 AS one\nRUN mkdir /out && echo one > /out/one\nRUN echo two > /out/two\nLABEL a=b\n";
    let flags = ["-q", "-t", "built:1"];
    let id = build(&rhumb, dockerfile, &flags).ok();
    let database =
        || ["rhumb.db", "rhumb.db-wal"].map(|name| std::fs::read(rhumb.root().join(name)).unwrap_or_default());
    let before = database();
    assert_eq!(build(&rhumb, dockerfile, &flags).ok(), id);
    assert!(database() == before, "something was written");
    // What is not there as it should be is written again.
    rhumb.run(["tag", "built:1", "other:1"]).ok();
    rhumb.run(["rmi", "built:1"]).ok();
    assert_eq!(build(&rhumb, dockerfile, &flags).ok(), id);
    assert_eq!(rhumb.run(["images", "-q", "--no-trunc", "built"]).ok(), id);
    let config = rhumb.root().join("blobs/sha256").join(&id["sha256:".len()..]);
    std::fs::write(&config, "damaged").unwrap();
    assert_eq!(build(&rhumb, dockerfile, &flags).ok(), id);
    rhumb.run(["system", "check", "--rehash"]).ok();
}
