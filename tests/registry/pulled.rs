//! What comes, and what does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Answer, Manners, Server, usual};
use crate::support::Rhumb;
use crate::support::process::{PATIENCE, eventually};
use crate::{assert_nothing_came, layout};

/// The digests of the layers of a layout's image.
fn layers(layout: &std::path::Path) -> Vec<String> {
    let read = |path: std::path::PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let index = read(layout.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replacen(':', "/", 1);
    let manifest = read(layout.join("blobs").join(digest));
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// The layer of the layout's image: its digest and its size.
fn layer(layout: &std::path::Path) -> (String, u64) {
    let digest = layers(layout).remove(0);
    let size = std::fs::metadata(layout.join("blobs").join(digest.replacen(':', "/", 1))).unwrap().len();
    (digest, size)
}

/// An image of two layers as an OCI layout, and the root that holds the folder.
fn two_layers() -> (Rhumb, std::path::PathBuf) {
    let (rhumb, layout) = layout();
    rhumb.run(["load", "-q", "-i", layout.to_str().unwrap()]).ok();
    rhumb.script("build::from(\"base:1\").run(\"echo two >/two\").commit(\"two:1\");").ok();
    let path = rhumb.path("two");
    rhumb.run(["save", "--format", "oci-dir", "-o", path.to_str().unwrap(), "two:1"]).ok();
    (rhumb, path)
}

#[test]
fn a_layer_that_breaks_off_goes_on_where_it_was() {
    let (rhumb, path) = layout();
    let (digest, size) = layer(&path);
    for ranges in [true, false] {
        let (count, folder, wanted) = (AtomicUsize::new(0), path.clone(), digest.clone());
        let server = Server::new(path.clone(), move |asked| {
            let mut answer = asked.path.ends_with(&wanted).then(|| usual(asked, &folder))?;
            if !ranges {
                answer = Answer::of(
                    "200 OK",
                    std::fs::read(folder.join("blobs").join(wanted.replacen(':', "/", 1))).unwrap(),
                );
            }
            if count.fetch_add(1, Ordering::Relaxed) < 2 {
                answer.cut = Some(answer.body.len() / 3);
            }
            Some(answer)
        });
        let name = format!("{}/me/base:1", server.host());
        rhumb.run(["pull", "-q", &name]).ok();
        assert_eq!(rhumb.run(["run", "--rm", &name, "sh", "-c", "echo well"]).ok(), "well");
        let of_blob: Vec<_> = server.asked().into_iter().filter(|asked| asked.path.ends_with(&digest)).collect();
        assert_eq!(of_blob.len(), 3);
        let from: u64 = of_blob[2].header("range").unwrap()[6..].trim_end_matches('-').parse().unwrap();
        assert!(from > 0 && from < size, "{from} of {size}");
        rhumb.run(["rmi", &name]).ok();
    }
    rhumb.assert_consistent();
}

#[test]
fn a_registry_that_lies_gives_nothing() {
    let (rhumb, path) = layout();
    let (digest, size) = layer(&path);
    let wanted = |asked: &crate::server::Asked, what: &str| asked.path.ends_with(what);
    let manifest = |asked: &crate::server::Asked| asked.path.contains("/manifests/");
    let lie = |name: &str, lie: Box<Manners>, kind, text: &str| {
        let server = Server::new(path.clone(), lie);
        let outcome = rhumb.run(["pull", &format!("{}/me/base:1", server.host())]);
        assert!(!outcome.success(), "{name}");
        assert_nothing_came(&rhumb, &outcome, kind, text);
    };
    let other = vec![7; size as usize];
    let blob = digest.clone();
    lie(
        "another blob",
        Box::new(move |asked| wanted(asked, &blob).then(|| Answer::of("200 OK", other.clone()))),
        10,
        "layer",
    );
    let (blob, longer) = (digest.clone(), vec![7; size as usize + 1]);
    lie(
        "a longer blob",
        Box::new(move |asked| wanted(asked, &blob).then(|| Answer::of("200 OK", longer.clone()))),
        10,
        "bytes",
    );
    let mut endless = std::fs::read(path.join("blobs").join(digest.replacen(':', "/", 1))).unwrap();
    endless.extend([0; 70_000]);
    let blob = digest.clone();
    let endless = move |asked: &crate::server::Asked| {
        wanted(asked, &blob).then(|| {
            let mut body = format!("{:x}\r\n", endless.len()).into_bytes();
            body.extend_from_slice(&endless);
            body.extend_from_slice(b"\r\n0\r\n\r\n");
            Answer::of("200 OK", body).with("Transfer-Encoding", "chunked")
        })
    };
    lie("a blob without a length", Box::new(endless), 10, "layer");
    let big = vec![b' '; 5 << 20];
    lie(
        "a large manifest",
        Box::new(move |asked| manifest(asked).then(|| Answer::of("200 OK", big.clone()))),
        1,
        "too large",
    );
    lie("no manifest", Box::new(move |asked| manifest(asked).then(|| Answer::of("200 OK", "<html>"))), 10, "malformed");
    let sum = format!("sha256:{}", "0".repeat(64));
    let folder = path.clone();
    let renamed = move |asked: &crate::server::Asked| {
        manifest(asked).then(|| usual(asked, &folder).with("Docker-Content-Digest", sum.clone()))
    };
    lie("another digest", Box::new(renamed), 10, "and not");
    let old = json!({ "schemaVersion": 1, "name": "x", "tag": "1", "fsLayers": [] }).to_string();
    lie(
        "an old manifest",
        Box::new(move |asked| manifest(asked).then(|| Answer::of("200 OK", old.clone()))),
        7,
        "first schema",
    );
    let gone = digest.clone();
    lie("no layer", Box::new(move |asked| wanted(asked, &gone).then(|| Answer::of("404 Not Found", "x"))), 3, "404");
    lie(
        "no registry",
        Box::new(|asked| (asked.path != "/v2/").then(|| Answer::of("500 Oops", "\x1b[31mred"))),
        8,
        "500",
    );
    let elsewhere = |to: String| -> Box<Manners> {
        Box::new(move |asked| {
            (asked.path != "/v2/").then(|| Answer::of("302 Found", "").with("Location", to.replace('*', &asked.path)))
        })
    };
    lie("a circle", elsewhere("*".to_owned()), 1, "too many redirects");
    lie("a file", elsewhere("file:///etc/passwd".to_owned()), 1, "where everybody can read it");
    let kind = "application/vnd.oci.image.index.v1+json";
    let folder = path.clone();
    let disagrees = move |asked: &crate::server::Asked| {
        let mut answer = manifest(asked).then(|| usual(asked, &folder))?;
        answer.headers.retain(|(name, _)| name != "Content-Type");
        Some(answer.with("Content-Type", kind))
    };
    lie("two words for one thing", Box::new(disagrees), 10, "the registry that it is");
}

#[test]
fn the_image_for_a_machine_is_chosen() {
    let (rhumb, path) = layout();
    let index: Value = serde_json::from_slice(&std::fs::read(path.join("index.json")).unwrap()).unwrap();
    let ours = &index["manifests"][0];
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let entry = |digest: &str, size: u64, architecture: &str| {
        json!({ "mediaType": ours["mediaType"], "digest": digest, "size": size,
                "platform": { "os": "linux", "architecture": architecture } })
    };
    let nobody = format!("sha256:{}", "1".repeat(64));
    let several = |ours_for: &str| {
        let kind = "application/vnd.oci.image.index.v1+json";
        let entries = [
            entry(&nobody, 9, "s390x"),
            entry(ours["digest"].as_str().unwrap(), ours["size"].as_u64().unwrap(), ours_for),
        ];
        json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries }).to_string()
    };
    let (good, bad) = (several(architecture), several("riscv64"));
    let by_digest = rhumb::base::Digest::of(good.as_bytes()).to_string();
    let server = Server::new(path, move |asked| {
        let text = match asked.path.rsplit('/').next().unwrap() {
            digest if digest == by_digest => &good,
            "good" => &good,
            "bad" => &bad,
            _ => return None,
        };
        Some(Answer::of("200 OK", text.as_str()).with("Content-Type", "application/vnd.oci.image.index.v1+json"))
    });
    let name = |tag: &str| format!("{}/me/base:{tag}", server.host());
    let outcome = rhumb.run(["pull", &name("bad")]);
    outcome.fails_with(7, "no image for linux/");
    assert!(outcome.stderr.contains("linux/s390x, linux/riscv64"), "{outcome}");
    rhumb.run(["pull", "--platform", "linux/nope", &name("good")]).fails_with(7, "no image for linux/nope");
    let said = rhumb.run(["pull", &name("good")]).ok();
    let digest = said.lines().find_map(|line| line.strip_prefix("Digest: ")).unwrap().to_owned();
    // By the digest of the index as well, without asking anybody.
    let by_digest = format!("{}/me/base@{digest}", server.host());
    let id = |name: &str| rhumb.inspect(name)["Id"].clone();
    assert_eq!(id(&by_digest), id(&name("good")));
    assert!(rhumb.run(["pull", &name("good")]).ok().contains("Status: Image is up to date"));
    assert!(rhumb.run(["pull", &by_digest]).ok().contains(&digest));
    // A tag beside a digest says nothing, whether it is there or not.
    let both = format!("{}/me/base:gone@{digest}", server.host());
    assert_eq!(id(&both), id(&name("good")));
    rhumb.run(["create", "--pull", "never", &both]).ok();
    rhumb.remove_all();
    rhumb.run(["rmi", &name("good")]).ok();
    rhumb.assert_consistent();
}

#[test]
fn a_busy_registry_is_asked_again() {
    let (rhumb, path) = layout();
    let count = AtomicUsize::new(0);
    let server = Server::new(path, move |asked| {
        let at = if asked.path == "/v2/" { 9 } else { count.fetch_add(1, Ordering::Relaxed) };
        match at {
            0 | 1 => Some(Answer::of("429 Too Many Requests", "").with("Retry-After", "1")),
            3 => Some(Answer::of("500 Internal Server Error", "")),
            _ => None,
        }
    });
    let began = Instant::now();
    rhumb.run(["pull", "-q", &format!("{}/me/base:1", server.host())]).ok();
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn what_is_asked_for_is_fetched_when_that_is_wanted() {
    let (rhumb, path) = layout();
    let server = Server::new(path, |_| None);
    let name = format!("{}/me/base:1", server.host());
    let context = rhumb.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), format!("FROM {name}\nRUN echo built >/x\n")).unwrap();
    let build = |pull: &str, more: &[&str]| {
        let mut command = rhumb.command(["build", "-q", "-t", "built:1"]);
        command.args(more).arg(&context).env("RHUMB_PULL", pull);
        crate::support::process::run(&mut command, None, crate::support::process::PATIENCE)
    };
    build("never", &[]).fails_with(3, "no such image");
    assert!(server.asked().is_empty());
    build("missing", &[]).ok();
    assert_eq!(rhumb.run(["run", "--rm", "built:1", "cat", "/x"]).ok(), "built");
    let asked = server.asked().len();
    build("missing", &[]).ok();
    assert_eq!(server.asked().len(), asked, "it is here");
    build("missing", &["--pull"]).ok();
    assert!(server.asked().len() > asked, "there may be a newer one");
    build("what", &[]).fails_with(2, "missing, always or never");
    // Copies fetch as well.
    rhumb.run(["rmi", &name]).ok();
    std::fs::write(context.join("Dockerfile"), format!("FROM scratch\nCOPY --from={name} /bin/sh /sh\n")).unwrap();
    build("missing", &[]).ok();
    let nobody = "FROM 127.0.0.1:1/x:1\n";
    std::fs::write(context.join("Dockerfile"), nobody).unwrap();
    let outcome = build("missing", &[]);
    outcome.fails_with(8, "there is no image \"127.0.0.1:1/x:1\" here");
    assert!(outcome.stderr.contains("Connection refused"), "{outcome}");
}

#[test]
fn a_pull_ends_when_it_is_to_end_or_is_killed() {
    let (rhumb, path) = layout();
    let (digest, _) = layer(&path);
    let (folder, wanted) = (path.clone(), digest.clone());
    let server = Server::new(path.clone(), move |asked| {
        asked.path.ends_with(&wanted).then(|| usual(asked, &folder)).map(Answer::stalled)
    });
    for signal in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGKILL] {
        let before = server.asked().len();
        let mut child = rhumb.spawn(["pull", &format!("{}/me/base:1", server.host())]);
        eventually("the layer is asked for", PATIENCE, || {
            server.asked()[before..].iter().any(|asked| asked.path.ends_with(&digest)).then_some(())
        });
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
        let began = Instant::now();
        child.wait().unwrap();
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(rhumb.run(["images", "-q"]).ok(), "");
    }
    let whole = Server::new(path, |_| None);
    rhumb.run(["pull", "-q", &format!("{}/me/base:1", whole.host())]).ok();
    rhumb.assert_consistent();
}

#[test]
fn one_layer_that_fails_ends_the_others() {
    let (_maker, path) = two_layers();
    // The cache of builds has the layers still.
    let rhumb = Rhumb::new();
    let blobs: Vec<String> = layers(&path);
    let (slow, gone) = (blobs[0].clone(), blobs[1].clone());
    let folder = path.clone();
    let server = Server::new(path, move |asked| {
        if asked.path.ends_with(&gone) {
            return Some(Answer::of("404 Not Found", ""));
        }
        asked.path.ends_with(&slow).then(|| usual(asked, &folder)).map(Answer::stalled)
    });
    let began = Instant::now();
    rhumb.run(["pull", &format!("{}/me/two:1", server.host())]).fails_with(3, "404");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    rhumb.assert_consistent();
}

#[test]
fn the_next_pull_takes_up_what_came() {
    let (_maker, path) = two_layers();
    let blobs = layers(&path);
    for (killed, pruned) in [(false, false), (true, false), (false, true)] {
        let rhumb = Rhumb::new();
        let count = Arc::new(AtomicUsize::new(0));
        let (folder, second, seen) = (path.clone(), blobs[1].clone(), Arc::clone(&count));
        let server = Server::new(path.clone(), move |asked| {
            let is_first = asked.path.ends_with(&second) && seen.load(Ordering::Relaxed) == 0;
            is_first.then(|| usual(asked, &folder)).map(Answer::stalled)
        });
        let name = format!("{}/me/two:1", server.host());
        let layers = || std::fs::read_dir(rhumb.root().join("layers")).map_or(0, Iterator::count);
        let mut child = rhumb.spawn(["pull", &name]);
        eventually("the first layer came", PATIENCE, || (layers() == 1).then_some(()));
        match killed {
            true => child.kill().unwrap(),
            false => {
                let pid = nix::unistd::Pid::from_raw(child.id() as i32);
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
        count.store(1, Ordering::Relaxed);
        rhumb.assert_consistent();
        if pruned {
            rhumb.run(["image", "prune", "-f"]).ok();
            assert_eq!(layers(), 0);
        }
        rhumb.run(["pull", "-q", &name]).ok();
        assert_eq!(rhumb.run(["run", "--rm", &name, "cat", "/two"]).ok(), "two");
        let asked = server.asked().iter().filter(|asked| asked.path.ends_with(&blobs[0])).count();
        assert_eq!(asked, if pruned { 2 } else { 1 }, "killed: {killed}");
        // Nothing keeps what came once its image goes.
        rhumb.run(["rmi", &name]).ok();
        assert_eq!(layers(), 0);
        rhumb.assert_consistent();
    }
}
