//! Dockerfiles of twenty kinds, built by us and by Debian's buildah: they come to the same files (names, kinds, modes,
//! owners, contents, links) and to the same config. Times are not compared: ours are reproducible, and theirs are not.
//!
//! Each folder of `tests/build/interop` is a build context. That buildah is older than some words of the language: where a
//! Dockerfile has such, `Dockerfile.plain` beside it says the same without them, and buildah gets that one.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::debian::{self, SLOW};
use support::process::{self, PATIENCE};
use support::{Rhumb, Scratch, peer};

/// Where buildah leaves the folders that it mounted on; we take them away.
const MOUNT_POINTS: [&str; 2] = ["root/.cache", "mnt"];
/// What builders leave behind from their own running: mount points and files that they made for a step.
const LEFT: [&str; 7] = ["proc", "sys", "dev", "run", "etc/hosts", "etc/resolv.conf", "etc/hostname"];

/// A buildah with a store of its own.
struct Buildah {
    folder: Scratch,
}

impl Buildah {
    fn command(&self) -> Command {
        let mut command = peer("buildah").expect("it was there before");
        command.arg("--root").arg(self.folder.join("storage")).arg("--runroot").arg(self.folder.join("run"));
        command.args(["--storage-driver", "vfs"]).env("TMPDIR", self.folder.path()).env("HOME", self.folder.path());
        command.env("BUILDAH_ISOLATION", "chroot");
        command
    }

    #[track_caller]
    fn run<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        process::run(self.command().args(args), None, SLOW).ok()
    }

    /// Loads an image that we saved.
    fn load(&self, archive: &Path, name: &str) {
        let id = self.run(["pull", "--quiet", &format!("docker-archive:{}", archive.display())]);
        self.run(["tag", &id, &format!("localhost/{name}")]);
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        for words in [&["umount", "--all"][..], &["rm", "--all"], &["rmi", "--all", "--force"]] {
            // Nothing of it may stay mounted, also when the test failed in between.
            let _ = self.command().args(words).output();
        }
    }
}

/// What the context of a case needs that is not in it, and the flags that both builders get.
fn prepared(name: &str, context: &Path, port: u16) -> Vec<String> {
    let flag = |name: &str, value: String| vec![name.to_owned(), value];
    match name {
        "04_vendored" | "15_secrets" => {
            let token = context.with_extension("token");
            std::fs::write(&token, "hunter22").unwrap();
            flag("--secret", format!("id=token,src={}", token.display()))
        }
        "12_old_style" => {
            let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), Default::default()));
            for (path, text) in [("one", "1"), ("folder/two", "2")] {
                let mut header = tar::Header::new_gnu();
                header.set_size(text.len() as u64);
                header.set_mode(0o640);
                header.set_uid(3);
                header.set_gid(4);
                archive.append_data(&mut header, path, text.as_bytes()).unwrap();
            }
            let bytes = archive.into_inner().unwrap().finish().unwrap();
            std::fs::write(context.join("files.tar.gz"), bytes).unwrap();
            Vec::new()
        }
        "13_add_remote" => flag("--build-arg", format!("ADDRESS=http://127.0.0.1:{port}")),
        "19_unused_stages" => flag("--target", "final".to_owned()),
        "17_named_contexts" => flag("--build-context", format!("assets={}", context.join("assets").display())),
        _ => Vec::new(),
    }
}

/// Everything below a folder: what it is, and what is in it.
fn tree(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let facts = std::fs::symlink_metadata(&path).unwrap();
            let name = String::from_utf8_lossy(path.strip_prefix(root).unwrap().as_os_str().as_bytes()).into_owned();
            if LEFT.contains(&name.as_str()) {
                continue;
            }
            let kind = facts.file_type();
            let what = if kind.is_dir() {
                walk(root, &path, found);
                "folder".to_owned()
            } else if kind.is_symlink() {
                format!("link to {:?}", std::fs::read_link(&path).unwrap())
            } else if kind.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                let digest = rhumb::base::Digest::of(&bytes);
                format!("file of {} bytes, {digest}", bytes.len())
            } else {
                format!("fifo {} device {}", kind.is_fifo(), facts.rdev())
            };
            let mode = if kind.is_symlink() { 0o777 } else { facts.mode() & 0o7777 };
            found.insert(name, format!("{mode:o} {}:{} {what}", facts.uid(), facts.gid()));
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// What differs, a line each.
fn differences(ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differs = names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name));
    differs.map(|name| format!("{name}\n    ours   {:?}\n    theirs {:?}", ours.get(name), theirs.get(name))).collect()
}

/// A config without what says the same in several ways.
fn config(facts: &Value) -> Value {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let mut config = json!({});
    let names = [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "OnBuild",
        "Shell",
    ];
    for name in names {
        let mut value = facts[name].clone();
        if let Value::Object(map) = &mut value {
            map.retain(|key, value| key != "io.buildah.version" && !(name == "Healthcheck" && empty(value)));
        }
        let says_nothing = empty(&value) || (name == "WorkingDir" && value == "/");
        if !says_nothing {
            config[name] = value;
        }
    }
    config
}

/// Serves one text at every address; gives the port.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").unwrap();
        }
    });
    port
}

/// Builds one case with both, and gives what differs.
fn compare(name: &str, rhumb: &Rhumb, buildah: &Buildah, port: u16) -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build/interop").join(name);
    let context = rhumb.path(name);
    process::run(Command::new("cp").args(["-a", "--"]).args([&source, &context]), None, PATIENCE).ok();
    // What a checkout makes of modes depends on its umask.
    process::run(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(&context), None, PATIENCE).ok();
    let flags = prepared(name, &context, port);
    let tree_of_ours = rhumb.path(format!("{name}-ours"));
    let mut build = rhumb.command(["build", "-q", "-t", "made:1"]);
    let built = process::run(build.args(&flags).arg(&context), None, SLOW);
    if !built.success() {
        return vec![format!("{name}: we do not build it: {}", built.stderr)];
    }
    let mut output = rhumb.command(["build", "-q", "-o"]);
    process::run(output.arg(&tree_of_ours).args(&flags).arg(&context), None, SLOW).ok();
    let plain = context.join("Dockerfile.plain");
    let dockerfile = if plain.exists() { plain } else { context.join("Dockerfile") };
    let mut theirs = buildah.command();
    theirs.args(["build", "--isolation", "chroot", "--format", "docker", "--layers=false", "--pull-never", "--quiet"]);
    theirs.args(["--tag", "localhost/theirs:1", "--file"]).arg(&dockerfile).args(&flags).arg(&context);
    let built = process::run(&mut theirs, None, SLOW);
    if !built.success() {
        return vec![format!("{name}: buildah does not build it: {}", built.stderr)];
    }
    let container = buildah.run(["from", "--quiet", "--pull-never", "localhost/theirs:1"]);
    let mounted = buildah.run(["mount", &container]);
    let (our_tree, mut their_tree) = (tree(&tree_of_ours), tree(Path::new(&mounted)));
    their_tree.retain(|name, _| our_tree.contains_key(name) || !MOUNT_POINTS.contains(&name.as_str()));
    let mut found = differences(&our_tree, &their_tree);
    let facts: Value =
        serde_json::from_str(&buildah.run(["inspect", "--type", "image", "localhost/theirs:1"])).unwrap();
    let (ours, theirs) = (config(&rhumb.inspect("made:1")["Config"]), config(&facts["Docker"]["config"]));
    if ours != theirs {
        found.push(format!("the config\n    ours   {ours}\n    theirs {theirs}"));
    }
    buildah.run(["umount", &container]);
    buildah.run(["rm", &container]);
    std::fs::remove_dir_all(tree_of_ours).unwrap();
    found.into_iter().map(|line| format!("{name}: {line}")).collect()
}

#[test]
fn twenty_dockerfiles_come_to_what_buildah_makes_of_them() {
    if peer("buildah").is_none() || (peer("mmdebstrap").is_none() && peer("debootstrap").is_none()) {
        return;
    }
    let rhumb = Rhumb::with_base();
    let buildah = Buildah { folder: Scratch::new() };
    let port = serve();
    let archive = |name: &str| rhumb.path(format!("{}.tar", name.replace(':', "-")));
    rhumb.run_with_input(["build", "-q", "-t", "other:2", "-"], b"FROM base:1\nRUN echo marker > /etc/marker\n").ok();
    for name in ["base:1", "other:2"] {
        rhumb.run(["save", "-o", archive(name).to_str().unwrap(), name]).ok();
        buildah.load(&archive(name), name);
    }
    let debian = debian::archive(&rhumb);
    rhumb.run(["load", "-q", "-i", debian.to_str().unwrap()]).ok();
    buildah.load(&debian, "debian:base");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build/interop");
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 20);
    if let Ok(only) = std::env::var("INTEROP_BUILD") {
        names.retain(|name| name.contains(&only));
    }
    let found: Vec<String> = names.iter().flat_map(|name| compare(name, &rhumb, &buildah, port)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
