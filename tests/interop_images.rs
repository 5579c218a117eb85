//! Images with the programs of other projects: what we save they read, what they write we load, with the same digests.
//! A peer that is not installed is a counted skip (see `support/peers.rs`).

#[path = "support/archives.rs"]
mod archives;
#[path = "support/peers.rs"]
#[allow(dead_code, reason = "other test crates use the rest")]
mod peers;

use std::path::Path;
use std::process::Command;

use archives::{Layout, Root, files_of, gzip, layer};
use peers::peer;
use rhumb::model::image::{ArchiveFormat, Image};
use serde_json::Value;

/// Runs a peer and gives what it printed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An image of two layers, one of which takes a file of the other away.
fn image(root: &Root) -> Image {
    let layers = [
        gzip(&layer(&[("etc/one", "1"), ("etc/two", "2"), ("bin/tool", "#!/bin/sh\n")])),
        zstd::encode_all(&layer(&[("etc/.wh.one", ""), ("srv/x", "x")])[..], 3).unwrap(),
    ];
    let folder = root.scratch("made");
    Layout::new(&layers).name("example.org/app:1.0").write(&folder);
    root.engine.image_load(&folder).unwrap().remove(0)
}

fn diff_ids(image: &Image) -> Vec<String> {
    image.layers.iter().map(|layer| layer.diff_id.to_string()).collect()
}

const FORMS: [(ArchiveFormat, &str); 3] = [
    (ArchiveFormat::OciDir, "oci"),
    (ArchiveFormat::OciArchive, "oci-archive"),
    (ArchiveFormat::DockerArchive, "docker-archive"),
];

#[test]
fn skopeo_reads_and_copies_everything_that_we_save() {
    if peer("skopeo").is_none() {
        return;
    }
    let root = Root::new();
    let ours = image(&root);
    for (format, transport) in FORMS {
        let path = root.scratch(&format!("saved-{transport}"));
        root.engine.image_save(&["example.org/app:1.0".into()], &path, format).unwrap();
        let source = format!("{transport}:{}", path.display());
        let facts: Value = serde_json::from_str(&run(peer("skopeo").unwrap().args(["inspect", &source]))).unwrap();
        assert_eq!(facts["Os"], "linux", "{transport}");
        assert_eq!(facts["Layers"].as_array().unwrap().len(), 2, "{transport}");
        assert_eq!(facts["Env"][0], "A=b", "{transport}");
        if format != ArchiveFormat::DockerArchive {
            assert_eq!(
                facts["Digest"],
                ours.manifest.to_string(),
                "{transport}: the manifest is byte by byte the same"
            );
        }
        for (_, target) in FORMS {
            if target == "docker-archive" && transport != target {
                // Its version here cannot bring a layer of zstd into Docker's form: see the test after this one.
                continue;
            }
            let copy = root.scratch(&format!("{transport}-to-{target}"));
            let reference = if target == "oci" { String::new() } else { ":example.org/app:2.0".into() };
            let target_name = format!("{target}:{}{reference}", copy.display());
            run(peer("skopeo").unwrap().args(["copy", "--quiet", "--insecure-policy", &source, &target_name]));
            let other = Root::new();
            let loaded = other.engine.image_load(&copy).unwrap().remove(0);
            assert_eq!(diff_ids(&loaded), diff_ids(&ours), "{transport} to {target}");
            assert_eq!(loaded.config, ours.config, "{transport} to {target}");
            if target != "docker-archive" && transport != "docker-archive" {
                assert_eq!((&loaded.id, &loaded.manifest), (&ours.id, &ours.manifest), "{transport} to {target}");
            }
            if target != "oci" {
                assert_eq!(loaded.tags, ["example.org/app:2.0"], "{transport} to {target}");
            }
        }
    }
}

#[test]
fn skopeo_brings_our_gzip_layers_into_dockers_form() {
    let Some(mut skopeo) = peer("skopeo") else { return };
    let root = Root::new();
    let folder = root.scratch("made");
    Layout::new(&[gzip(&layer(&[("a", "1")])), layer(&[("b", "2")])]).name("app:1").write(&folder);
    let ours = root.engine.image_load(&folder).unwrap().remove(0);
    root.engine.image_save(&["app:1".into()], &root.scratch("saved"), ArchiveFormat::OciDir).unwrap();
    let copy = root.scratch("copy.tar");
    let source = format!("oci:{}:app:1", root.scratch("saved").display());
    let target = format!("docker-archive:{}:app:2", copy.display());
    run(skopeo.args(["copy", "--quiet", "--insecure-policy", &source, &target]));
    let other = Root::new();
    let loaded = other.engine.image_load(&copy).unwrap().remove(0);
    assert_eq!(diff_ids(&loaded), diff_ids(&ours));
    assert_eq!((loaded.tags, loaded.config), (vec!["app:2".to_owned()], ours.config));
}

/// A podman with a store of its own, which goes with the folder.
fn podman(folder: &Path) -> Option<Command> {
    let mut command = peer("podman")?;
    command.arg("--root").arg(folder.join("storage")).arg("--runroot").arg(folder.join("run"));
    command.args(["--storage-driver", "vfs", "--events-backend", "none"]);
    command.env("TMPDIR", folder);
    Some(command)
}

#[test]
fn podman_loads_what_we_save_and_we_load_what_podman_saves() {
    if peer("podman").is_none() {
        return;
    }
    let root = Root::new();
    let ours = root.engine.image_from_host(&["sh".into(), "cat".into()], Some("example.org/base:1")).unwrap();
    for (format, name) in [(ArchiveFormat::DockerArchive, "docker"), (ArchiveFormat::OciArchive, "oci")] {
        let path = root.scratch(&format!("{name}.tar"));
        root.engine.image_save(&["example.org/base:1".into()], &path, format).unwrap();
        let theirs = tempfile::Builder::new().prefix("rhumb-test-").tempdir().unwrap();
        let said = run(podman(theirs.path()).unwrap().args(["load", "--input"]).arg(&path));
        assert!(said.contains("example.org/base:1"), "{name}: {said}");
        let id = run(podman(theirs.path()).unwrap().args(["images", "--quiet", "--no-trunc"]));
        assert_eq!(id.trim(), ours.id.to_string(), "{name}: the same identity");
        for form in ["docker-archive", "oci-archive"] {
            if form == "docker-archive" && name == "oci" {
                // Its version here cannot bring a layer of zstd into Docker's form.
                continue;
            }
            let back = root.scratch(&format!("{name}-{form}.tar"));
            let mut save = podman(theirs.path()).unwrap();
            run(save.args(["save", "--quiet", "--format", form, "--output"]).arg(&back).arg("example.org/base:1"));
            let other = Root::new();
            let loaded = other.engine.image_load(&back).unwrap().remove(0);
            assert_eq!(loaded.tags, ["example.org/base:1"], "{name} back as {form}");
            assert_eq!(diff_ids(&loaded), diff_ids(&ours), "{name} back as {form}");
            assert_eq!(loaded.config, ours.config, "{name} back as {form}");
        }
    }
}

#[test]
fn umoci_and_we_agree_on_what_an_image_unpacks_to() {
    let Some(mut umoci) = peer("umoci") else { return };
    let root = Root::new();
    let layout = root.scratch("umoci");
    let reference = format!("{}:app", layout.display());
    run(umoci.args(["init", "--layout"]).arg(&layout));
    let umoci = || peer("umoci").unwrap();
    run(umoci().args(["new", "--image", &reference]));
    let tree = root.scratch("tree");
    std::fs::create_dir_all(tree.join("inner")).unwrap();
    std::fs::write(tree.join("inner/x"), "x").unwrap();
    std::fs::write(tree.join("gone"), "gone").unwrap();
    std::os::unix::fs::symlink("inner/x", tree.join("link")).unwrap();
    std::fs::hard_link(tree.join("inner/x"), tree.join("hard")).unwrap();
    run(umoci().args(["insert", "--image", &reference]).arg(&tree).arg("/srv"));
    run(umoci().args(["insert", "--image", &reference, "--whiteout", "/srv/gone"]));
    run(umoci().args(["config", "--image", &reference, "--config.cmd", "/srv/x", "--config.user", "7:8"]));
    let image = root.engine.image_load(&layout).unwrap().remove(0);
    assert_eq!(image.tags, ["app:latest"]);
    assert_eq!((image.config.cmd.as_slice(), image.config.user.as_str()), (&["/srv/x".to_owned()][..], "7:8"));
    assert_eq!(image.layers.len(), 2);
    let lowest = root.engine.paths().layers().join(image.layers[0].chain_id.hex()).join("diff/srv");
    assert_eq!(files_of(&lowest).into_iter().collect::<Vec<_>>(), ["gone", "hard", "inner", "link"]);
    assert_eq!(std::fs::read_to_string(lowest.join("link")).unwrap(), "x");
    // Its own unpacking of what we save gives the tree without what the second layer takes away.
    let saved = root.scratch("saved");
    root.engine.image_save(&["app".into()], &saved, ArchiveFormat::OciDir).unwrap();
    let bundle = root.scratch("bundle");
    run(umoci().args(["unpack", "--image", &format!("{}:app:latest", saved.display())]).arg(&bundle));
    let names = files_of(&bundle.join("rootfs/srv"));
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["hard", "inner", "link"]);
}
