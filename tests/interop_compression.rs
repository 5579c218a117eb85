//! Images whose layers are gzip, written to Debian's registry, and read there by programs that know no zstd: Docker 20.10 and
//! skopeo 1.9. What is made for them here is in `tests/build/compressed.rs`.

#[path = "support/mod.rs"]
mod support;

use serde_json::Value;
use support::docker::Docker;
use support::process::{self, PATIENCE};
use support::registry::Registry;
use support::{Rhumb, peer};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// Runs skopeo; none when it is not installed.
#[track_caller]
fn skopeo(args: &[&str]) -> Option<String> {
    Some(process::run(peer("skopeo")?.args(args), None, PATIENCE).ok())
}

/// The digest of an image in a registry, and the media types of its layers.
#[track_caller]
fn there(name: &str) -> Option<(String, Vec<String>)> {
    let image = format!("docker://{name}");
    let manifest = skopeo(&["inspect", "--raw", "--tls-verify=false", &image])?;
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    let types = layers.map(|layer| layer["mediaType"].as_str().unwrap().to_owned()).collect();
    let digest = skopeo(&["inspect", "--format", "{{.Digest}}", "--tls-verify=false", &image])?;
    Some((digest.trim().to_owned(), types))
}

/// A root with an image of three layers.
fn root(name: &str) -> Rhumb {
    let rhumb = Rhumb::with_base();
    build(&rhumb, "FROM base:1\nRUN seq 100000 >/one\nRUN echo two >/two; rm /bin/ls\n", &["-t", name]).ok();
    rhumb
}

#[track_caller]
fn build(rhumb: &Rhumb, dockerfile: &str, flags: &[&str]) -> process::Outcome {
    let context = rhumb.path("context");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    rhumb.run(["build", "-q"].iter().chain(flags).chain([&context.to_str().unwrap()]))
}

/// The digest that a push tells.
#[track_caller]
fn push(rhumb: &Rhumb, name: &str, flags: &[&str]) -> (String, process::Outcome) {
    let outcome = rhumb.run(["push"].iter().chain(flags).chain([&name]));
    let said = outcome.ok();
    (said.rsplit("digest: ").next().unwrap().trim().to_owned(), outcome)
}

#[test]
fn programs_that_know_no_zstd_read_what_we_push() {
    let Some(registry) = Registry::start(None) else { return };
    let name = registry.name("me/app:1");
    let rhumb = root(&name);
    let (usual, _) = push(&rhumb, &name, &[]);
    let Some((digest, types)) = there(&name) else { return };
    assert_eq!((&digest, types), (&usual, vec![ZSTD.to_owned(); 3]));
    let Some(docker) = Docker::start() else { return };
    assert!(!docker.run(&["pull", &name]).success(), "this version of Docker reads zstd");
    let (gzip, outcome) = push(&rhumb, &name, &["--compression-format", "gzip"]);
    assert_eq!(outcome.stderr.matches("Pushed").count(), 3, "{outcome}");
    assert_eq!(there(&name).unwrap(), (gzip.clone(), vec![GZIP.to_owned(); 3]));
    docker.run(&["pull", &name]).ok();
    let seen =
        docker.run(&["run", "--rm", "--net=none", &name, "sh", "-c", "cat /two; tail -n 1 /one; test ! -e /bin/ls"]);
    assert_eq!(seen.ok(), "two\n100000");
    let facts = |text: String| -> Value { serde_json::from_str::<Value>(&text).unwrap()[0].clone() };
    let (theirs, ours) = (facts(docker.run(&["image", "inspect", &name]).ok()), rhumb.inspect(&name));
    assert_eq!((&theirs["Id"], &theirs["RootFS"]["Layers"]), (&ours["Id"], &ours["RootFS"]["Layers"]));
    // It is known by both digests, and the image here is what it was.
    let digests: Vec<&str> = ours["RepoDigests"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for digest in [&usual, &gzip] {
        assert!(digests.contains(&format!("{}@{digest}", registry.name("me/app")).as_str()), "{digests:?}");
    }
    // Nothing is made and nothing is sent a second time; without a word all is as before.
    let (again, outcome) = push(&rhumb, &name, &["--compression-format=gzip"]);
    assert_eq!((again, outcome.stderr.matches("Already exists").count()), (gzip.clone(), 3), "{outcome}");
    assert_eq!(push(&rhumb, &name, &[]).0, usual);
    // Another machine comes to the same.
    let other = root(&name);
    let (same, outcome) = push(&other, &name, &["--compression-format", "gzip"]);
    assert_eq!((same, outcome.stderr.matches("Already exists").count()), (gzip, 3), "{outcome}");
    // So does one that pulled it, and Docker's own archive is read by skopeo.
    let third = Rhumb::new();
    third.run(["pull", "-q", &name]).ok();
    let archive = third.path("app.tar");
    third.run(["save", "--compression-format", "gzip", "-o", archive.to_str().unwrap(), &name]).ok();
    let copy = format!("dir:{}", third.path("copy").display());
    skopeo(&["copy", "--insecure-policy", &format!("docker-archive:{}", archive.display()), &copy]);
    docker.run(&["rmi", &name]).ok();
    docker.run(&["load", "-i", archive.to_str().unwrap()]).ok();
    assert_eq!(docker.run(&["run", "--rm", "--net=none", &name, "cat", "/two"]).ok(), "two");
    for rhumb in [rhumb, other, third] {
        rhumb.assert_consistent();
    }
}

#[test]
fn builds_write_layers_as_they_are_told() {
    let Some(registry) = Registry::start(None) else { return };
    let base = registry.name("me/base:1");
    let first = root(&base);
    push(&first, &base, &[]);
    let rhumb = Rhumb::new();
    rhumb.run(["pull", "-q", &base]).ok();
    let name = registry.name("me/more:1");
    let dockerfile = format!("FROM {base}\nRUN echo three >/three\n");
    let output = |text: &str| format!("type=registry,name={name},{text}");
    for (flags, wanted) in [
        (&["-o", &*output("compression=gzip")][..], [ZSTD, ZSTD, ZSTD, GZIP]),
        (&["-o", &*output("compression=gzip,force-compression=true")], [GZIP; 4]),
        (&["-o", &*output("compression=uncompressed,force-compression=true")], [PLAIN; 4]),
        (&["-t", &*name, "--push", "-o", "type=image,compression=gzip"], [ZSTD, ZSTD, ZSTD, GZIP]),
        (&["-t", &*name, "--push"], [ZSTD; 4]),
    ] {
        build(&rhumb, &dockerfile, flags).ok();
        let Some((_, types)) = there(&name) else { return };
        assert_eq!(types, wanted, "{flags:?}");
    }
    // What came with gzip stays so, and what is made of it here goes as it is asked for.
    let gzip = registry.name("me/gzip:1");
    first.run(["tag", &base, &gzip]).ok();
    push(&first, &gzip, &["--compression-format", "gzip"]);
    let other = Rhumb::new();
    other.run(["pull", "-q", &gzip]).ok();
    let of_gzip = format!("FROM {gzip}\nRUN echo three >/three\n");
    build(&other, &of_gzip, &["-o", &output("compression=zstd")]).ok();
    assert_eq!(there(&name).unwrap().1, [GZIP, GZIP, GZIP, ZSTD]);
    // A script says it as well; what refers to the image refers to what was written.
    let script = format!(
        r#"let i = build::from("{base}").run("echo three >/three").commit("{name}", #{{ push: true, compression: "gzip",
               force_compression: true, provenance: true }});
           print(i.push("{name}", #{{ compression: "gzip" }}));"#
    );
    let digest = rhumb.script(&script).ok();
    let digest = digest.trim();
    assert_eq!(there(&name).unwrap(), (digest.to_owned(), vec![GZIP.to_owned(); 4]));
    // This registry keeps them under the tag that stands for it.
    let script = format!(
        r#"print(host::http_get("http://{}/v2/me/more/manifests/{}",
               #{{ headers: #{{ Accept: "application/vnd.oci.image.index.v1+json" }} }}).body);"#,
        registry.host,
        digest.replacen(':', "-", 1)
    );
    let referrers = rhumb.script(&script).ok();
    assert!(referrers.contains("https://slsa.dev/provenance/v1"), "{referrers}");
    // What a build makes is its own, also when somebody pulled the very same before.
    build(&rhumb, &dockerfile, &["-t", &name, "--push"]).ok();
    let puller = Rhumb::new();
    for image in [&base, &name] {
        puller.run(["pull", "-q", image]).ok();
    }
    push(&puller, &name, &["--compression-format", "gzip", "--force-compression=false"]);
    assert_eq!(there(&name).unwrap().1, [ZSTD; 4]);
    build(&puller, &dockerfile, &["-o", &output("compression=gzip")]).ok();
    assert_eq!(there(&name).unwrap().1, [ZSTD, ZSTD, ZSTD, GZIP]);
    // Buildah reads it.
    if let Some(mut buildah) = peer("buildah") {
        let storage = rhumb.path("storage");
        buildah.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
        buildah.args(["--storage-driver", "vfs", "pull", "-q", "--tls-verify=false", &name]);
        process::run(&mut buildah, None, PATIENCE).ok();
    }
    for rhumb in [first, rhumb, other, puller] {
        rhumb.assert_consistent();
    }
}
