//! Images that carry the cache of their build.

use crate::dockerfile::{build, context};
use crate::support::Rhumb;

/// Another machine with these images of the first one.
fn elsewhere(rhumb: &Rhumb, images: &[&str]) -> Rhumb {
    let archive = rhumb.path("images.tar");
    rhumb.run(["save", "-o", archive.to_str().unwrap()].iter().chain(images)).ok();
    let other = Rhumb::new();
    other.run(["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    other
}

const DOCKERFILE: &str = "FROM base:1 AS made\nRUN echo made > /made; cat /proc/sys/kernel/random/uuid > /other\n\
                          FROM base:1\nRUN echo one > /one\nWORKDIR /work\nCOPY file .\nCOPY --from=made /made /made\n\
                          RUN true\nENV A=1\nRUN echo two > /two\n";

#[test]
fn an_image_carries_its_cache_to_another_machine() {
    let rhumb = Rhumb::with_base();
    context(&rhumb, &[("file", "of the context")]);
    let inline = ["-t", "app:1", "--cache-to", "type=inline"];
    build(&rhumb, DOCKERFILE, &inline).ok();
    let id = rhumb.inspect("app:1")["Id"].clone();
    // What came of the cache is the same image, whoever asks for it in which words.
    build(&rhumb, DOCKERFILE, &["-t", "app:2", "--build-arg", "BUILDKIT_INLINE_CACHE=1"]).ok();
    assert_eq!(rhumb.inspect("app:2")["Id"], id);
    build(&rhumb, DOCKERFILE, &["-t", "plain:1"]).ok();
    assert_ne!(rhumb.inspect("plain:1")["Id"], id);

    let other = elsewhere(&rhumb, &["base:1", "app:1"]);
    context(&other, &[("file", "of the context")]);
    let built = build(&other, DOCKERFILE, &["--progress", "plain", "-t", "app:3", "--cache-from", "app:1"]);
    built.ok();
    // The stage that was only copied from is done again, comes to another layer, and to the same file.
    assert_eq!(built.stderr.matches("CACHED").count(), 6, "{built}");
    assert_eq!(other.inspect("app:3")["RootFS"], rhumb.inspect("app:1")["RootFS"]);
    // A change is one, and what is behind it is done.
    context(&other, &[("file", "another")]);
    let built =
        build(&other, DOCKERFILE, &["--progress", "plain", "--no-cache-filter", "made", "--cache-from", "app:1"]);
    assert_eq!(built.stderr.matches("CACHED").count(), 2, "{built}");
}

#[test]
fn an_image_that_carries_nothing_or_nonsense_is_no_cache() {
    let rhumb = Rhumb::with_base();
    let dockerfile = "FROM base:1\nRUN echo one > /one\n";
    for (flags, wanted) in [
        (["--cache-from", "type=inline"], "name the image: type=registry,ref=NAME"),
        (["--cache-to", "type=inline,mounts=true"], "does not carry what commands keep"),
    ] {
        let outcome = build(&rhumb, dockerfile, &flags);
        assert!(!outcome.success() && outcome.stderr.contains(wanted), "{outcome}");
    }
    // The cache of somebody who names layers that are not there.
    build(&rhumb, dockerfile, &["-t", "app:1", "--cache-to", "type=inline"]).ok();
    let layout = rhumb.path("layout");
    rhumb.run(["save", "--format", "oci-dir", "-o", layout.to_str().unwrap(), "app:1"]).ok();
    let blobs = layout.join("blobs/sha256");
    let read = |name: &str| std::fs::read_to_string(blobs.join(name)).unwrap();
    let keep = |text: &str| {
        let digest = rhumb::base::Digest::of(text.as_bytes());
        std::fs::write(blobs.join(digest.hex()), text).unwrap();
        (digest, text.len())
    };
    let index = std::fs::read_to_string(layout.join("index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let hex = |digest: &serde_json::Value| digest.as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let mut manifest: serde_json::Value = serde_json::from_str(&read(&hex(&index["manifests"][0]["digest"]))).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&read(&hex(&manifest["config"]["digest"]))).unwrap();
    for (cache, wanted) in [
        (
            serde_json::json!({ "version": 1, "steps": { format!("sha256:{:064}", 1): 7 } }),
            "a layer that it does not have",
        ),
        (serde_json::json!({ "version": 9 }), "has the version 9"),
        (serde_json::json!([]), "has the version null"),
        (serde_json::json!({ "version": 1, "steps": { "x": null } }), "its cache is malformed"),
    ] {
        config["rhumb.cache"] = cache;
        let (digest, size) = keep(&config.to_string());
        manifest["config"]["digest"] = serde_json::json!(digest);
        manifest["config"]["size"] = serde_json::json!(size);
        let (digest, size) = keep(&manifest.to_string());
        index["manifests"][0]["digest"] = serde_json::json!(digest);
        index["manifests"][0]["size"] = serde_json::json!(size);
        std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
        rhumb.run(["load", "-q", "-i", layout.to_str().unwrap()]).ok();
        let outcome = build(&rhumb, dockerfile, &["--cache-from", "app:1"]);
        assert!(outcome.success() && outcome.stderr.contains(wanted), "{outcome}");
    }
}
