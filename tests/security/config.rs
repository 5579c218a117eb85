//! Hostile config.json (RELIABILITY.md, "Hostile input"): every field with every wrong value, text that is no JSON, absurd
//! numbers, lists without end, what later versions may say. Each is taken as it is meant or refused with one line, soon
//! and in little memory, and what is taken never has fewer namespaces than it asks for.
//!
//! All of them go through what decides about a configuration before anything is made, a sample through the real binary.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rhumb::runtime::oci;
use rhumb::sys::namespace;
use serde_json::{Value, json};

use crate::stage::Stage;
use crate::support::process::{self, PATIENCE};

/// A configuration with every field of the specification, and good.
const RICH: &str = include_str!("rich.json");
/// The specification's time limit for any of them.
const PATIENCE_FOR_ONE: Duration = Duration::from_secs(5);

fn rich() -> Value {
    serde_json::from_str(RICH).unwrap()
}

/// The pointers of everything in a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{}", key.replace('/', "~1")), found))
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), found))
        }
        _ => {}
    }
}

/// What no field, or hardly any, may be.
fn wrong_values() -> Vec<String> {
    let plain = [
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "1e400",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "4294967296",
        "\"\"",
        "\"\\u0000\"",
        "\"../../../../etc\"",
        "\"/proc/self/fd/3\"",
        "\"a\\nb\"",
        "\"\u{202e}\"",
        "[]",
        "{}",
        "[[]]",
        "[null]",
        "{\"\": null}",
    ];
    let mut values: Vec<String> = plain.map(str::to_owned).to_vec();
    values.push(format!("\"{}\"", "x".repeat(100_000)));
    values.push(format!("{}{}", "[".repeat(64), "]".repeat(64)));
    values
}

/// `value` as text, with `raw` in place of what `pointer` names.
fn with_raw(value: &Value, pointer: &str, raw: &str) -> String {
    let mut value = value.clone();
    *value.pointer_mut(pointer).unwrap() = json!("@@HERE@@");
    value.to_string().replacen("\"@@HERE@@\"", raw, 1)
}

/// The namespaces that a text asks for, when it is JSON, as flags.
fn asked(text: &[u8]) -> u64 {
    let Ok(value) = serde_json::from_slice::<Value>(text) else { return 0 };
    let kinds = value.pointer("/linux/namespaces").and_then(Value::as_array).cloned().unwrap_or_default();
    kinds.iter().fold(0, |all, one| {
        all | match one["type"].as_str().unwrap_or_default() {
            "pid" => namespace::PID,
            "network" => namespace::NETWORK,
            "ipc" => namespace::IPC,
            "uts" => namespace::UTS,
            "mount" => namespace::MOUNT,
            "cgroup" => namespace::CGROUP,
            "user" => namespace::USER,
            "time" => namespace::TIME,
            // Never taken: it cannot be made.
            _ => 1 << 63,
        }
    })
}

/// Asks for a decision on one text; returns whether it was taken.
#[track_caller]
fn decide(what: &str, text: &[u8]) -> bool {
    let begin = Instant::now();
    let result = oci::plan(text);
    assert!(begin.elapsed() < PATIENCE_FOR_ONE, "{what}: took {:?}", begin.elapsed());
    match result {
        Ok(planned) => {
            let asked = asked(text);
            assert_eq!(planned.namespaces & asked, asked, "{what}: fewer namespaces than asked for");
            true
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && !said.contains('\n') && said.len() < 300_000, "{what}: {said:?}");
            false
        }
    }
}

/// All texts of the corpus, with a word about each.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let rich = rich();
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    let mut places = Vec::new();
    pointers(&rich, "", &mut places);
    for place in &places {
        for raw in wrong_values() {
            let shown = raw.chars().take(20).collect::<String>();
            cases.push((format!("{place} = {shown}"), with_raw(&rich, place, &raw).into_bytes()));
        }
        // Left out, and there twice.
        if let Some((parent, key)) = place.rsplit_once('/') {
            let mut without = rich.clone();
            if let Some(map) = without.pointer_mut(parent).and_then(Value::as_object_mut) {
                let value = map.remove(key);
                cases.push((format!("without {place}"), without.to_string().into_bytes()));
                if let (Some(value), Some(Value::Object(map))) = (value, rich.pointer(parent)) {
                    let body = Value::Object(map.clone()).to_string();
                    let twice = format!("{{\"{key}\":{value},{}", &body[1..]);
                    cases.push((format!("{place} twice"), with_raw(&rich, parent, &twice).into_bytes()));
                    let future = format!("{{\"fromTheFuture\":{{\"a\":[1,null]}},{}", &body[1..]);
                    cases.push((format!("beside {place}"), with_raw(&rich, parent, &future).into_bytes()));
                }
            }
        }
    }
    let text = RICH.as_bytes();
    for cut in (0..text.len()).step_by(17) {
        cases.push((format!("cut at {cut}"), text[..cut].to_vec()));
    }
    for at in (0..text.len()).step_by(29) {
        for byte in [0, 0xff, b'"', b'{', b'\\'] {
            let mut bytes = text.to_vec();
            bytes[at] = byte;
            cases.push((format!("byte {at} is {byte}"), bytes));
        }
    }
    cases.extend(absurd());
    cases
}

/// Long lists, deep nesting, odd encodings.
fn absurd() -> Vec<(String, Vec<u8>)> {
    let rich = rich();
    let many = |count: usize, one: &dyn Fn(usize) -> String| {
        let all: Vec<String> = (0..count).map(one).collect();
        format!("[{}]", all.join(","))
    };
    let mut cases = vec![
        ("nothing".to_owned(), Vec::new()),
        ("a byte order mark".to_owned(), [b"\xef\xbb\xbf", RICH.as_bytes()].concat()),
        ("something after the end".to_owned(), [RICH.as_bytes(), b"{}"].concat()),
        ("NULs after the end".to_owned(), [RICH.as_bytes(), &[0; 4096]].concat()),
        ("utf-16".to_owned(), RICH.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("deep lists".to_owned(), "[".repeat(200_000).into_bytes()),
        ("deep objects".to_owned(), "{\"a\":".repeat(200_000).into_bytes()),
        ("deep in annotations".to_owned(), with_raw(&rich, "/annotations", &"[".repeat(100_000)).into_bytes()),
    ];
    let mapping = |number: usize| format!(r#"{{"containerID":{number},"hostID":{},"size":1}}"#, number + 100_000);
    let overlapping = |_| r#"{"containerID":0,"hostID":0,"size":4294967295}"#.to_owned();
    let hook = |number| format!(r#"{{"path":"/hook/{number}"}}"#);
    let namespace = |_| r#"{"type":"pid"}"#.to_owned();
    let device = |number| format!(r#"{{"path":"/dev/d{number}","type":"c","major":1,"minor":3}}"#);
    let mount = |number| format!(r#"{{"destination":"/m{number}","type":"tmpfs","source":"tmpfs"}}"#);
    let call = |number| {
        format!(
            r#"{{"names":["mkdir","open","read","n{number}"],"action":"SCMP_ACT_ERRNO","errnoRet":{}}}"#,
            number % 4000
        )
    };
    let argument = |number: usize| {
        format!(
            r#"{{"names":["mkdir"],"action":"SCMP_ACT_KILL","args":[{{"index":{},"value":{number},"op":"SCMP_CMP_EQ"}}]}}"#,
            number % 6
        )
    };
    let string = |number| format!("\"/proc/p{number}\"");
    let group = |number: usize| number.to_string();
    let lists: Vec<(&str, String)> = vec![
        ("/linux/uidMappings", many(10_000, &mapping)),
        ("/linux/gidMappings", many(10_000, &mapping)),
        ("/linux/uidMappings", many(340, &mapping)),
        ("/linux/uidMappings", many(341, &mapping)),
        ("/linux/uidMappings", many(3, &overlapping)),
        ("/linux/namespaces", many(10_000, &namespace)),
        ("/hooks/prestart", many(10_000, &hook)),
        ("/linux/devices", many(10_000, &device)),
        (
            "/linux/resources/devices",
            many(10_000, &|n| format!(r#"{{"allow":true,"type":"c","major":{n},"minor":1,"access":"r"}}"#)),
        ),
        ("/mounts", many(10_000, &mount)),
        ("/linux/seccomp/syscalls", many(10_000, &call)),
        ("/linux/seccomp/syscalls", many(10_000, &argument)),
        ("/linux/maskedPaths", many(10_000, &string)),
        ("/linux/readonlyPaths", many(10_000, &string)),
        ("/process/args", many(100_000, &string)),
        ("/process/env", many(100_000, &string)),
        ("/process/user/additionalGids", many(100_000, &group)),
        ("/process/rlimits", many(10_000, &|_| r#"{"type":"RLIMIT_NOFILE","soft":1,"hard":1}"#.to_owned())),
        (
            "/annotations",
            format!("{{{}}}", (0..50_000).map(|n| format!("\"k{n}\":\"v\"")).collect::<Vec<_>>().join(",")),
        ),
        (
            "/linux/sysctl",
            format!("{{{}}}", (0..50_000).map(|n| format!("\"net.k{n}\":\"v\"")).collect::<Vec<_>>().join(",")),
        ),
    ];
    cases.extend(
        lists
            .into_iter()
            .map(|(place, raw)| (format!("a long list at {place}"), with_raw(&rich, place, &raw).into_bytes())),
    );
    for kinds in [
        r#"[{"type":"pid"},{"type":"pid"}]"#,
        r#"[{"type":"mnt"}]"#,
        r#"[{"type":"Mount"}]"#,
        r#"[{"type":"mount "}]"#,
        r#"[{"type":""}]"#,
        r#"[{"type":"net"}]"#,
        r#"[{"type":"future"}]"#,
        r#"[{}]"#,
        r#"[{"type":"user","path":"/proc/1/ns/user"},{"type":"user"}]"#,
        r#"[{"path":"/proc/1/ns/pid"}]"#,
        r#"[{"type":"pid","path":"relative"}]"#,
        r#"[{"type":"pid","path":""}]"#,
        r#"[{"type":["pid"]}]"#,
        r#"[{"type":"pid","type":"mount"}]"#,
        "\"pid\"",
    ] {
        cases.push((format!("namespaces {kinds}"), with_raw(&rich, "/linux/namespaces", kinds).into_bytes()));
        let mut small = json!({"ociVersion": "1.2.0", "root": {"path": "rootfs"}, "process": {"args": ["x"], "cwd": "/", "user": {"uid": 0, "gid": 0}}, "linux": {}});
        small["linux"]["namespaces"] = json!("@@");
        cases.push((format!("only namespaces {kinds}"), small.to_string().replace("\"@@\"", kinds).into_bytes()));
    }
    cases
}

#[test]
fn every_hostile_configuration_is_taken_as_meant_or_refused() {
    assert!(decide("the good one", RICH.as_bytes()), "{:?}", oci::plan(RICH.as_bytes()));
    let cases = corpus();
    assert!(cases.len() > 4000, "{}", cases.len());
    let half = cases.len() / 2;
    let taken: usize = std::thread::scope(|scope| {
        let halves = [&cases[..half], &cases[half..]];
        let workers: Vec<_> = halves
            .map(|part| scope.spawn(move || part.iter().filter(|(what, text)| decide(what, text)).count()))
            .into();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    // Some wrong values are good ones for some fields, and unknown fields are ignored.
    assert!(taken > 200 && taken < cases.len() * 3 / 4, "{taken} of {} were taken", cases.len());
}

#[test]
fn unknown_and_future_fields_are_ignored_and_named_kinds_are_not() {
    let mut value = rich();
    value["linux"]["fromTheFuture"] = json!({"x": 1});
    value["process"]["alsoNew"] = json!([1]);
    value["ociVersion"] = json!("1.99.0");
    assert!(decide("unknown fields", value.to_string().as_bytes()));
    let namespaces = value.pointer_mut("/linux/namespaces").unwrap();
    namespaces.as_array_mut().unwrap().push(json!({"type": "future"}));
    assert!(!decide("an unknown namespace", value.to_string().as_bytes()), "it would have fewer than it asks for");
}

/// A bundle for the real binary, with a root file system that is good enough for what is refused.
struct Bundle<'a> {
    stage: &'a Stage,
    folder: PathBuf,
}

impl Bundle<'_> {
    fn new(stage: &Stage) -> Bundle<'_> {
        let folder = stage.rhumb.path("bundle");
        fs::create_dir_all(folder.join("rootfs/bin")).unwrap();
        Bundle { stage, folder }
    }

    /// Creates it with limits on memory and time; whatever comes of it, nothing may be left after `delete --force`.
    #[track_caller]
    fn create(&self, what: &str, text: &[u8]) {
        fs::write(self.folder.join("config.json"), text).unwrap();
        let state = self.stage.rhumb.path("oci");
        let mut command = Command::new("/bin/sh");
        // 256 MiB beside the program itself, which a test build makes large.
        command.args(["-c", "ulimit -v 786432 -t 10; exec rhumb oci --root \"$1\" create -b \"$2\" hostile", "sh"]);
        self.stage.rhumb.environ(command.arg(&state).arg(&self.folder));
        let outcome = process::run(&mut command, None, PATIENCE);
        assert!(outcome.elapsed < PATIENCE_FOR_ONE * 2, "{what}: {:?}", outcome.elapsed);
        if !outcome.success() {
            let short: String = outcome.stderr.chars().take(2000).collect();
            assert_eq!(outcome.code, 1, "{what}: {short}");
            assert!(!outcome.stderr.contains("panicked"), "{what}: {short}");
            assert!((1..=3).contains(&outcome.stderr.lines().count()), "{what}: {short}");
            assert!(fs::read_dir(&state).map_or(0, Iterator::count) == 0, "{what}: state is left: {short}");
        }
        let mut delete = Command::new(crate::support::rhumb::binary());
        delete.args(["oci", "--root"]).arg(&state).args(["delete", "--force", "hostile"]);
        process::run(&mut delete, None, PATIENCE).ok();
        assert_eq!(fs::read_dir(&state).map_or(0, Iterator::count), 0, "{what}");
    }
}

/// Row 15: the size of a message to the stage that makes namespaces overflowed, and they were left out.
#[test]
fn cve_2021_43784() {
    let stage = Stage::empty();
    let bundle = Bundle::new(&stage);
    let cases = absurd();
    let cgroup = format!("/rhumb-{}/hostile", stage.rhumb.root_id());
    for (what, text) in &cases {
        // In a cgroup that the guard of this test knows.
        let text = String::from_utf8_lossy(text).replace("/never-made", &cgroup).into_bytes();
        bundle.create(what, &text);
    }
    for (number, (what, text)) in corpus().iter().enumerate() {
        if number % 211 == 0 {
            let text = String::from_utf8_lossy(text).replace("/never-made", &cgroup).into_bytes();
            bundle.create(what, &text);
        }
    }
    // Cyclic links where the root file system should be, and in it.
    fs::remove_dir_all(bundle.folder.join("rootfs")).unwrap();
    std::os::unix::fs::symlink("rootfs", bundle.folder.join("rootfs")).unwrap();
    bundle.create("a cyclic root", RICH.replace("/never-made", &cgroup).as_bytes());
    fs::remove_file(bundle.folder.join("rootfs")).unwrap();
    fs::create_dir(bundle.folder.join("rootfs")).unwrap();
    for name in ["proc", "dev", "data", "bin"] {
        std::os::unix::fs::symlink(name, bundle.folder.join("rootfs").join(name)).unwrap();
    }
    bundle.create("cyclic links in the root", RICH.replace("/never-made", &cgroup).as_bytes());
    fs::remove_file(bundle.folder.join("config.json")).unwrap();
    for other in ["/dev/zero", "/dev/tty", "config.json", "/proc/self/mem", "rootfs"] {
        std::os::unix::fs::symlink(other, bundle.folder.join("config.json")).unwrap();
        let mut command = stage.rhumb.command(["oci", "--root"]);
        command.arg(stage.rhumb.path("oci")).args(["create", "-b"]).arg(&bundle.folder).arg("hostile");
        let outcome = process::run(&mut command, None, PATIENCE);
        assert!(outcome.code == 1 && outcome.stderr.lines().count() <= 3, "{other}: {outcome}");
        fs::remove_file(bundle.folder.join("config.json")).unwrap();
    }
}
