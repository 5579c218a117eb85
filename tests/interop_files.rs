//! Copying, comparing and committing beside a real Docker daemon: the same commands on equivalent containers do the same.
//! Without docker and dockerd it is a counted skip (see `support/peers.rs`).
//!
//! What differs on purpose is not in here but in tests/security/cp.rs: out of a container, what grants rights comes only
//! with `--archive`, which Docker ignores in that direction.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::peers::peer;
use support::process::{self, Outcome, PATIENCE};
use support::{BASE, Rhumb, Scratch};

/// A Docker daemon of our own.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It ends its containerd too, which a plain kill would not.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// One of the two engines, and a folder of the host for it.
struct Side<'a> {
    name: &'static str,
    command: Box<dyn Fn() -> Command + 'a>,
    folder: PathBuf,
    run: &'static [&'static str],
}

impl Side<'_> {
    fn call(&self, args: &[&str]) -> Outcome {
        process::run((self.command)().args(args).current_dir(&self.folder), None, PATIENCE)
    }

    /// A line of shell in the folder of the host, in which `E` is the engine.
    fn line(&self, line: &str) -> Outcome {
        let engine = (self.command)();
        let words: Vec<String> = std::iter::once(engine.get_program())
            .chain(engine.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let script = format!("E() {{ {} \"$@\"; }}\n{line}", words.join(" "));
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script]).current_dir(&self.folder);
        for (name, value) in engine.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        process::run(&mut shell, None, PATIENCE)
    }

    #[track_caller]
    fn inside(&self, line: &str) -> String {
        self.call(&["exec", "box", "sh", "-c", line]).ok()
    }

    /// Everything that a copy may have changed: on the host, and in the container.
    fn look(&self) -> String {
        let list = "find . -printf '%p %y %m %U:%G %l\\n' | sort; find . -type f -exec sha256sum {} + | sort";
        let host = process::run(Command::new("sh").args(["-c", list]).current_dir(&self.folder), None, PATIENCE).ok();
        format!("host:\n{host}\ncontainer:\n{}", self.inside(&format!("cd /w && {list}")))
    }
}

/// The files that both have: a line of shell, run on the host and in the containers' `/w`.
const FILES: &str = "
    mkdir -p d/e tree/a empty; echo f > f; echo g > g; echo deep > tree/a/b; echo e > d/e/x; ln -s f to-f; ln -s d to-d;
    ln -s nowhere dangling; ln f hard; chmod 640 g; chmod 1777 empty; chmod 750 tree/a; chown 12:34 g tree/a/b;
    touch -d @1000000000 f tree/a/b tree/a tree";

/// Operands of `cp`, all run one after the other.
const COPIES: &[&str] = &[
    // In: what is there, and what is not.
    "f box:/w/new",
    "f box:/w/g",
    "f box:/w/d",
    "f box:/w/d/",
    "f box:/w/none/",
    "f box:/w/none/x",
    "f box:/w/g/x",
    "f box:w/relative",
    "./f box:/w/../w/dots",
    "g box:/w/owned",
    "-a g box:/w/archived",
    "hard box:/w/hard-in",
    "f box:/w/to-f",
    "f box:/w/to-d",
    "f box:/w/dangling",
    "f box:/w/to-d/through",
    "tree box:/w/d",
    "tree box:/w/named",
    "tree box:/w/slash/",
    "tree/ box:/w/slash2",
    "tree/. box:/w/content",
    "tree/. box:/w/d",
    "tree box:/w/g",
    "tree box:/w/none/x",
    "tree/. box:/w/g",
    "empty box:/w/empty-in",
    ". box:/w/all",
    "to-f box:/w/d/",
    "to-d box:/w/link-in",
    "to-d/ box:/w/followed",
    "to-d/. box:/w/followed2",
    "-L to-f box:/w/d/",
    "-L to-d box:/w/d/",
    "dangling box:/w/d/",
    "-L dangling box:/w/d/",
    "nosuch box:/w",
    "f/ box:/w",
    "f/. box:/w",
    "f box:/w/empty/f",
    "tree/a/b box:/w/tree/a",
    "tree/a box:/w/f",
    // Out.
    "box:/w/f new",
    "box:/w/f g",
    "box:/w/f d",
    "box:/w/f d/",
    "box:/w/f none/",
    "box:/w/f none/x",
    "box:/w/f g/x",
    "box:w/f relative",
    "box:/w/../w/f dots",
    "box:/w/g owned",
    "box:/w/hard hard-out",
    "box:/w/f to-f",
    "box:/w/f to-d",
    "box:/w/f dangling",
    "box:/w/tree d",
    "box:/w/tree named",
    "box:/w/tree slash/",
    "box:/w/tree/ slash2",
    "box:/w/tree/. content",
    "box:/w/tree/. d",
    "box:/w/tree g",
    "box:/w/tree none/x",
    "box:/w/tree/. g",
    "box:/w/empty empty-out",
    "box:/w/to-f d/",
    "box:/w/to-d link-out",
    "box:/w/to-d/ followed",
    "box:/w/to-d/. followed2",
    "-L box:/w/to-f d/",
    "-L box:/w/to-d d/",
    "box:/w/nosuch .",
    "box:/w/f/ .",
    "box:/w/f /dev/null",
    // Folders and files in each other's way, deep below.
    "f box:/w/d/e",
    "d box:/w/content/a/b",
    "box:/w/d/e f",
    "box:/w/f nosuchfolder/",
    "box:/w/f box:/w/x",
    "f g",
    "f nosuchcontainer:/",
    "nosuchcontainer:/x .",
];

#[test]
fn docker_copies_compares_and_commits_alike() {
    if peer("docker").is_none() || peer("dockerd").is_none() {
        return;
    }
    let rhumb = Rhumb::with_base();
    let ground = Scratch::new();
    let parent = format!("rhumb-test-files-{}", std::process::id());
    let socket = format!("unix://{}", ground.join("docker.sock").display());
    let mut dockerd = peer("dockerd").unwrap();
    dockerd.arg("--data-root").arg(ground.join("data")).arg("--exec-root").arg(ground.join("exec"));
    dockerd.arg("--pidfile").arg(ground.join("pid")).args(["-H", &socket, "--iptables=false", "--bridge=none"]);
    dockerd.args(["--ip6tables=false", "--storage-driver=vfs", &format!("--cgroup-parent=/{parent}")]);
    let log = fs::File::create(ground.join("log")).unwrap();
    dockerd.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let daemon = Daemon(dockerd.spawn().unwrap());
    let folder = |name: &str| {
        let folder = ground.join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let docker = Side {
        name: "docker",
        command: Box::new(|| {
            let mut command = peer("docker").unwrap();
            command.args(["-H", &socket]);
            command
        }),
        folder: folder("docker"),
        run: &["--net=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096"],
    };
    let ours = Side {
        name: "rhumb",
        command: Box::new(|| {
            let mut command = Command::new(support::rhumb::binary());
            rhumb.environ(&mut command);
            command
        }),
        folder: folder("rhumb"),
        run: &[],
    };
    let begun = Instant::now();
    while !docker.call(&["version"]).success() {
        let said = fs::read_to_string(ground.join("log")).unwrap_or_default();
        assert!(begun.elapsed() < Duration::from_secs(60), "the daemon does not come up: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let image = ground.join("base.tar").display().to_string();
    rhumb.run(["save", "-o", &image, BASE]).ok();
    docker.call(&["load", "-i", &image]).ok();
    let sides = [&docker, &ours];
    for side in sides {
        let container =
            ["-d", "--name=box", "--user=0", "-e", "A=1", "--label=kind=test", "-v", "/data", "--expose=80"];
        let args = ["run"].iter().chain(side.run).chain(&container).chain(&[BASE, "sleep", "1000"]);
        side.call(&args.copied().collect::<Vec<_>>()).ok();
        process::run(Command::new("sh").args(["-ec", FILES]).current_dir(&side.folder), None, PATIENCE).ok();
        side.inside(&format!("mkdir /w; cd /w; {FILES}"));
    }
    let mut differences = Vec::new();
    for operands in COPIES {
        let [theirs, mine] = sides.map(|side| {
            let outcome = side.line(&format!("E cp {operands}"));
            (outcome.success(), side.look(), outcome.stderr)
        });
        if (theirs.0, &theirs.1) != (mine.0, &mine.1) {
            let lines = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
            let (a, b) = (lines(&theirs.1), lines(&mine.1));
            differences.push(format!(
                "cp {operands}\n  docker: {} {}  only there: {:?}\n  rhumb: {} {}  only here: {:?}",
                theirs.0,
                theirs.2,
                a.difference(&b).collect::<Vec<_>>(),
                mine.0,
                mine.2,
                b.difference(&a).collect::<Vec<_>>()
            ));
        }
    }
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), COPIES.len(), differences.join("\n"));
    tars_are_alike(&sides);
    diffs_are_alike(&sides);
    commits_are_alike(&sides);
    docker.call(&["rm", "-f", "-v", "box"]).ok();
    drop(daemon);
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = fs::remove_dir(hierarchy.path().join(&parent));
    }
}

/// `-`, both ways.
fn tars_are_alike(sides: &[&Side<'_>; 2]) {
    for line in [
        "E cp box:/w/tree - | tar --numeric-owner -tv | awk '{$4 = $5 = \"\"; print}'",
        "E cp box:/w/tree/. - | tar --numeric-owner -tv | awk '{$4 = $5 = \"\"; print}'",
        "E cp box:/w/f - | tar --numeric-owner -tv | awk '{$4 = $5 = \"\"; print}'",
        "E cp box:/w/to-d - | tar --numeric-owner -tv | awk '{$4 = $5 = \"\"; print}'",
        "tar -c tree f | E cp - box:/w/empty; E exec box find /w/empty | sort",
        "tar -c tree | E cp - box:/w/nosuch || echo refused",
        "tar -c tree | E cp - box:/w/f || echo refused",
        "tar -cz tree | E cp - box:/w/to-d; E exec box find /w/d | sort",
        "E export box | tar -t | sed 's#/$##; s#^./##' | grep ^w/ | sort",
        "E export -o exported.tar box && tar -xOf exported.tar w/tree/a/b",
    ] {
        let [theirs, mine] = sides.map(|side| side.line(line));
        let mut lines = [theirs.stdout.lines().collect::<Vec<_>>(), mine.stdout.lines().collect::<Vec<_>>()];
        lines.iter_mut().for_each(|lines| lines.sort_unstable());
        assert_eq!(lines[0], lines[1], "{line}\n{theirs}\n{mine}");
    }
}

fn diffs_are_alike(sides: &[&Side<'_>; 2]) {
    let changes = "chmod 700 /usr/bin/tr; rm /usr/bin/seq; mv /etc/passwd /etc/moved; rm -r /w; mkdir -p /made/anew; \
                   rm -r /usr/bin/../../etc/group; mkdir /etc/group; touch /etc/group/now-a-folder; ln -s x /link; \
                   touch -d @1000000000 /made/anew/file; touch -d @1000000000 /made/anew; touch -d @1000000000 /made; \
                   printf content > /made/content; chown 5:6 /made/content; ln /made/content /made/hard";
    let [theirs, mine] = sides.map(|side| {
        side.inside(changes);
        let mut lines: Vec<String> = side.call(&["diff", "box"]).ok().lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    });
    assert_eq!(theirs, mine);
}

/// The config, and what is in the new layer.
fn commits_are_alike(sides: &[&Side<'_>; 2]) {
    let changes = [
        &[][..],
        &["-a", "me", "-m", "a remark", "-c", "CMD [\"ls\",\"/made\"]", "-c", "ENV A=2 B=3", "-c", "EXPOSE 81/udp"][..],
        &[
            "-c",
            "ENTRYPOINT [\"ls\"]",
            "-c",
            "WORKDIR /made",
            "-c",
            "USER 5:6",
            "-c",
            "VOLUME /more",
            "-c",
            "LABEL a=b",
        ],
        &["-c", "ENTRYPOINT []", "-c", "WORKDIR made", "-c", "ONBUILD RUN true"],
        &["-c", "CMD ls /made", "-c", "ENV C d e", "-c", "HEALTHCHECK --interval=5s --retries=2 CMD true"],
        &["-c", "HEALTHCHECK NONE", "--pause=false"],
    ];
    for change in changes {
        let [theirs, mine] = sides.map(|side| {
            let args = ["commit"].iter().chain(change).chain(&["box", "made:1"]).copied().collect::<Vec<_>>();
            let id = side.call(&args).ok();
            assert!(id.starts_with("sha256:"), "{}: {id}", side.name);
            let facts: Value = serde_json::from_str(&side.call(&["image", "inspect", "made:1"]).ok()).unwrap();
            facts[0].clone()
        });
        for field in ["Author", "Comment", "Os", "Architecture"] {
            assert_eq!(theirs[field], mine[field], "{change:?} {field}");
        }
        for field in [
            "User",
            "ExposedPorts",
            "Env",
            "Cmd",
            "Entrypoint",
            "Volumes",
            "WorkingDir",
            "Labels",
            "StopSignal",
            "OnBuild",
            "Healthcheck",
            "Shell",
        ] {
            let [theirs, mine] = [&theirs, &mine].map(|facts| unless_empty(&facts["Config"][field]));
            assert_eq!(theirs, mine, "{change:?} {field}");
        }
        let [theirs, mine] = sides.map(|side| history(side)[0].clone());
        assert_eq!(theirs, mine, "{change:?}");
    }
    let [theirs, mine] = sides.map(top_layer);
    assert_eq!(theirs, mine);
}

fn unless_empty(value: &Value) -> Option<Value> {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    (!empty).then(|| value.clone())
}

fn history(side: &Side<'_>) -> Vec<String> {
    let lines = side.call(&["history", "--no-trunc", "--format", "json", "made:1"]).ok();
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        format!("{} {}", row["CreatedBy"], row["Comment"])
    };
    lines.lines().map(row).collect()
}

/// Modes, owners, sizes and names in the topmost layer, without times.
fn top_layer(side: &Side<'_>) -> Vec<String> {
    let folder = side.folder.join("saved");
    fs::create_dir(&folder).unwrap();
    side.line("E save made:1 | tar -x -C saved").ok();
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let layer = manifest[0]["Layers"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
    let list =
        process::run(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(folder.join(layer)), None, PATIENCE);
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words[5..].join(" ");
        // Times are those of two containers.
        format!("{} {} {} {}", words[0], words[1], words[2], Path::new(&name).display())
    };
    // An overlay marks a folder that was made anew; Docker, which compares two trees here, lists what it lacks instead.
    let list = list.ok();
    let mut lines: Vec<String> = list.lines().filter(|line| !line.ends_with(".wh..wh..opq")).map(line).collect();
    lines.sort();
    lines
}
