//! Images whose layers are compressed otherwise where they go: what is in an OCI layout then, what it costs here, and what is
//! left when it is cut short. Registries and other programs are in `tests/interop_compression.rs`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::dockerfile::build;
use crate::support::Rhumb;
use crate::support::process::{self, PATIENCE};

const DOCKERFILE: &str = "FROM base:1\nRUN seq 100000 >/one\nRUN echo two >/two\n";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    layout.join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"))
}

/// The first manifest of a layout, and its digest.
fn manifest(layout: &Path) -> (String, Value) {
    let entry = &json(&layout.join("index.json"))["manifests"][0];
    (entry["digest"].as_str().unwrap().to_owned(), json(&blob(layout, entry)))
}

fn types(manifest: &Value) -> Vec<String> {
    manifest["layers"].as_array().unwrap().iter().map(|layer| layer["mediaType"].as_str().unwrap().to_owned()).collect()
}

/// Saves an image as an OCI layout, compressed otherwise.
fn save(rhumb: &Rhumb, image: &str, name: &str, flags: &[&str]) -> PathBuf {
    let path = rhumb.path(name);
    let begin = ["save", "--format", "oci-dir", "-o", path.to_str().unwrap()];
    rhumb.run(begin.iter().chain(flags).chain([&image])).ok();
    path
}

fn blobs(rhumb: &Rhumb) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(rhumb.root().join("blobs/sha256")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn images_bytes(rhumb: &Rhumb) -> u64 {
    let line = r#"print(system::df().filter(|row| row.noun == "Images")[0].size.bytes);"#;
    rhumb.script(line).ok().trim().parse().unwrap()
}

#[test]
fn layers_go_as_an_output_says_and_stay_as_they_are() {
    let rhumb = Rhumb::with_base();
    let output = |name: &str, more: &str| {
        let path = rhumb.path(name);
        let text = format!("type=oci,dest={},tar=false{more}", path.display());
        (path, text)
    };
    let (plain, text) = output("plain", ",annotation.a=b");
    build(&rhumb, DOCKERFILE, &["-q", "-t", "app:1", "-o", &text]).ok();
    let before = rhumb.inspect("app:1");
    let (digest, usual) = manifest(&plain);
    assert_eq!(types(&usual), [ZSTD, ZSTD, ZSTD]);
    let (path, text) = output("gzip", ",annotation.a=b,compression=gzip");
    let facts = rhumb.path("facts");
    let flags = ["-q", "-t", "app:1", "-o", &text, "--provenance", "--metadata-file", facts.to_str().unwrap()];
    build(&rhumb, DOCKERFILE, &flags).ok();
    let (other, gzip) = manifest(&path);
    assert_eq!(types(&gzip), [GZIP, GZIP, GZIP]);
    assert_eq!((&gzip["annotations"], &gzip["config"]), (&usual["annotations"], &usual["config"]));
    assert_eq!(gzip["annotations"]["a"], "b");
    for layer in gzip["layers"].as_array().unwrap() {
        let bytes = std::fs::read(blob(&path, layer)).unwrap();
        assert_eq!(bytes.len() as u64, layer["size"].as_u64().unwrap());
        assert!(bytes.starts_with(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]));
    }
    // What is said of it is said of what is there, and so are the facts.
    let statement = json(&blob(&path, &json(&path.join("index.json"))["manifests"][1]));
    assert_eq!(statement["subject"]["digest"], other.as_str());
    assert_eq!(json(&facts)["containerimage.digest"], other.as_str());
    // The image here is as it was.
    assert_eq!(rhumb.inspect("app:1"), before);
    assert_eq!(manifest(&save(&rhumb, "app:1", "again", &[])).0, digest);
    assert_eq!(manifest(&save(&rhumb, "app:1", "saved", &["--compression-format", "gzip"])).0, other);
    let (path, text) = output("none", ",compression=uncompressed");
    build(&rhumb, DOCKERFILE, &["-q", "-t", "app:1", "-o", &text]).ok();
    assert_eq!(types(&manifest(&path).1), [PLAIN, PLAIN, PLAIN]);
    // Loaded elsewhere it is the same image; what came so stays so, unless that is forced.
    let there = Rhumb::new();
    for name in ["gzip", "none"] {
        there.run(["load", "-q", "-i", rhumb.path(name).to_str().unwrap()]).ok();
        assert_eq!(there.inspect("app:1")["Id"], before["Id"]);
        assert_eq!(there.run(["run", "--rm", "app:1", "cat", "/two"]).ok(), "two");
        there.run(["rmi", "app:1"]).ok();
    }
    there.run(["load", "-q", "-i", plain.to_str().unwrap()]).ok();
    let path = there.path("forced");
    let dockerfile = "FROM app:1\nRUN echo three >/three\n";
    for (force, wanted) in [("false", [ZSTD, ZSTD, ZSTD, GZIP]), ("true", [GZIP; 4])] {
        let text = format!("type=oci,dest={},tar=false,compression=gzip,force-compression={force}", path.display());
        build(&there, dockerfile, &["-q", "-t", "three:1", "-o", &text]).ok();
        assert_eq!(types(&manifest(&path).1), wanted, "{force}");
        std::fs::remove_dir_all(&path).unwrap();
    }
    let script = format!(
        r#"let i = image::get("app:1"); let path = "{}"; i.save(path, #{{ format: "oci-dir", compression: "gzip" }});
           host::run(["rm", "-r", path]);
           i.save(path, #{{ format: "oci-dir", compression: "gzip", force_compression: false }});
           build::from("app:1").run("echo three >/three").output(path + "3", #{{ type: "oci", compression: "uncompressed" }});"#,
        path.display()
    );
    there.script(&script).ok();
    assert_eq!(types(&manifest(&path).1), [ZSTD; 3]);
    assert_eq!(types(&manifest(&there.path("forced3")).1), [ZSTD, ZSTD, ZSTD, PLAIN]);
    // In Docker's form too.
    let archive = there.path("docker.tar");
    let flags = ["--compression-format", "gzip", "-o", archive.to_str().unwrap(), "app:1"];
    there.run(["save"].iter().chain(&flags)).ok();
    let mut members = tar::Archive::new(std::fs::File::open(&archive).unwrap());
    let mut starts = Vec::new();
    for member in members.entries().unwrap() {
        let mut member = member.unwrap();
        if member.path().unwrap().extension().is_some_and(|ending| ending == "tar") {
            let mut start = [0; 2];
            std::io::Read::read_exact(&mut member, &mut start).unwrap();
            starts.push(start);
        }
    }
    assert_eq!(starts, [[0x1f, 0x8b]; 3]);
    rhumb.run(["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    assert_eq!(rhumb.inspect("app:1"), before);
    rhumb.assert_consistent();
    there.assert_consistent();
}

#[test]
fn what_cannot_be_is_refused() {
    let rhumb = Rhumb::with_base();
    for (flags, code, text) in [
        (&["-o", "type=image,compression=gzip"][..], 7, "this one stays here"),
        (&["-o", "type=docker,compression=gzip"], 7, "--compression-format"),
        (&["-o", "type=oci,dest=x,compression=lz4"], 7, "gzip, zstd or uncompressed"),
        (&["-o", "type=oci,dest=x,compression=gzip,compression-level=9"], 7, "compression-level"),
        (&["-o", "type=oci,dest=x,force-compression=1"], 2, "true or false"),
        (&["-o", "type=local,dest=x,compression=gzip"], 2, "files are not compressed"),
    ] {
        build(&rhumb, DOCKERFILE, flags).fails_with(code, text);
    }
    rhumb.run(["save", "-o", "x", "--compression-format", "zip", "base:1"]).fails_with(7, "--compression-format");
    rhumb.run(["save", "-o", "x", "--force-compression", "base:1"]).fails_with(2, "--compression-format");
    for (script, text) in [
        (r#"build::from("base:1").commit("a:1", #{ compression: "gzip" })"#, "add push: true"),
        (r#"build::from("base:1").output("x", #{ compression: "gzip" })"#, "files are not compressed"),
        (r#"image::get("base:1").save("x", #{ force_compression: true })"#, "none is said"),
        (r#"image::get("base:1").push("r.example/a", #{ compresion: "gzip" })"#, "compression"),
    ] {
        let outcome = rhumb.script(script);
        assert!(!outcome.success() && outcome.stderr.contains(text), "{script}: {outcome}");
    }
    assert!(!rhumb.path("x").exists());
}

#[test]
fn what_is_made_is_made_once_and_goes_with_the_layers() {
    let (rhumb, other) = (Rhumb::with_base(), Rhumb::with_base());
    let args = ["-q", "-t", "app:1"];
    build(&rhumb, DOCKERFILE, &args).ok();
    let (few, small) = (blobs(&rhumb), images_bytes(&rhumb));
    let gzip = ["--compression-format", "gzip"];
    let first = manifest(&save(&rhumb, "app:1", "first", &gzip)).0;
    let many = blobs(&rhumb);
    assert_eq!(many.len(), few.len() + 3);
    let made: u64 = many.iter().filter(|path| !few.contains(path)).map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(images_bytes(&rhumb), small + made);
    let times = || blobs(&rhumb).iter().map(|path| path.metadata().unwrap().modified().unwrap()).collect::<Vec<_>>();
    let before = times();
    assert_eq!(manifest(&save(&rhumb, "app:1", "second", &gzip)).0, first);
    assert_eq!(times(), before);
    // Elsewhere, from other steps, at another time, two at once.
    build(&other, DOCKERFILE, &args).ok();
    let mut children: Vec<_> = (0..3)
        .map(|number| {
            let to = format!("at-once-{number}");
            let command = ["save", "--format", "oci-dir", "-o", &to, "--compression-format", "gzip", "app:1"];
            (to.clone(), other.command(command).spawn().unwrap())
        })
        .collect();
    for (to, child) in &mut children {
        assert!(child.wait().unwrap().success());
        assert_eq!(manifest(&other.path(to)).0, first);
    }
    assert_eq!(
        blobs(&other),
        many.iter().map(|path| other.root().join("blobs/sha256").join(path.file_name().unwrap())).collect::<Vec<_>>()
    );
    // A prune leaves what belongs to layers that are used; it goes with them, and is made again.
    rhumb.run(["image", "prune", "-f"]).ok();
    assert_eq!(blobs(&rhumb), many);
    rhumb.script("build::cache(#{ prune: true });").ok();
    rhumb.run(["rmi", "app:1"]).ok();
    let left = blobs(&rhumb);
    let is_of_base = |path: &&PathBuf| !few.contains(path) && many.contains(path);
    assert_eq!(left.iter().filter(is_of_base).count(), 1, "{left:?}");
    build(&rhumb, DOCKERFILE, &args).ok();
    assert_eq!(manifest(&save(&rhumb, "app:1", "third", &gzip)).0, first);
    assert_eq!(blobs(&rhumb), many);
    rhumb.assert_consistent();
    other.assert_consistent();
}

#[test]
fn what_is_damaged_is_said_and_mended() {
    let rhumb = Rhumb::with_base();
    build(&rhumb, DOCKERFILE, &["-q", "-t", "app:1"]).ok();
    let own = blobs(&rhumb);
    let gzip = ["save", "--format", "oci-archive", "-o", "out.tar", "--compression-format", "gzip", "app:1"];
    let biggest = |among: &[PathBuf]| among.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap().clone();
    let layer = biggest(&own);
    let (whole, mut bytes) = (std::fs::read(&layer).unwrap(), std::fs::read(&layer).unwrap());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    std::fs::write(&layer, &bytes).unwrap();
    rhumb.run(gzip).fails_with(10, "compressing the layer");
    assert!(!rhumb.path("out.tar").exists());
    std::fs::write(&layer, &whole).unwrap();
    rhumb.run(gzip).ok();
    // One that was made is noticed when it is written, and is made again.
    let made: Vec<PathBuf> = blobs(&rhumb).into_iter().filter(|path| !own.contains(path)).collect();
    let form = biggest(&made);
    let (whole, mut bytes) = (std::fs::read(&form).unwrap(), std::fs::read(&form).unwrap());
    bytes[middle] ^= 0x20;
    std::fs::write(&form, &bytes).unwrap();
    std::fs::remove_file(rhumb.path("out.tar")).unwrap();
    rhumb.run(gzip).fails_with(10, "is damaged on disk");
    let mended = rhumb.run(["system", "check", "--rehash", "--repair"]);
    assert!(mended.stdout.contains(form.file_name().unwrap().to_str().unwrap()), "{mended}");
    assert_eq!(std::fs::read(&form).unwrap(), whole);
    rhumb.run(["system", "check", "--rehash"]).ok();
    std::fs::remove_file(&form).unwrap();
    rhumb.run(gzip).ok();
    assert_eq!(std::fs::read(&form).unwrap(), whole);
}

#[test]
fn whatever_it_dies_of_nothing_half_made_is_left() {
    let rhumb = Rhumb::with_base();
    let own = blobs(&rhumb);
    let args = ["save", "--format", "oci-dir", "-o", "out", "--compression-format", "gzip", "base:1"];
    for action in ["kill", "error", "enospc"] {
        for point in ["layer.form.written", "layer.form.blob", "layer.form.record", "image.save.folder"] {
            let mut command = rhumb.command(args);
            command.env("RHUMB_FAILPOINT", format!("{point}={action}"));
            let outcome = process::run(&mut command, None, PATIENCE);
            assert!(!outcome.success(), "{point}={action} was not passed:\n{outcome}");
            rhumb.assert_consistent();
            assert!(!rhumb.path("out").exists(), "{point}={action}");
            rhumb.run(args).ok();
            assert_eq!(blobs(&rhumb).len(), own.len() + 1, "after {point}={action}");
            assert_eq!(std::fs::read_dir(rhumb.root().join("tmp")).unwrap().count(), 0, "after {point}={action}");
            std::fs::remove_dir_all(rhumb.path("out")).unwrap();
            // Without the image its other form goes, and all begins anew.
            let archive = rhumb.path("base.tar");
            rhumb.run(["save", "-o", archive.to_str().unwrap(), "base:1"]).ok();
            rhumb.run(["rmi", "base:1"]).ok();
            assert_eq!(blobs(&rhumb), Vec::<PathBuf>::new(), "after {point}={action}");
            rhumb.run(["load", "-q", "-i", archive.to_str().unwrap()]).ok();
        }
    }
}
