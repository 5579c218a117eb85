//! Images end to end, without a network: made from this machine, loaded, saved, tagged, removed, and every hostile archive
//! refused with nothing kept. Peers of other projects are in `interop_images.rs`.

#[path = "support/archives.rs"]
mod archives;
#[path = "support/peers.rs"]
#[allow(dead_code, reason = "other test crates use the rest")]
mod peers;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use archives::{Docker, Layout, Root, files_of, gzip, layer, tar_of};
use rhumb::base::{Digest, Kind};
use rhumb::engine::image::ImportOptions;
use rhumb::model::image::{ArchiveFormat, ImageFilter, ImageRemoved};
use rhumb::model::system::PruneFilter;
use serde_json::json;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn programs_of_this_machine_become_an_image_and_the_second_call_is_quick() {
    let root = Root::new();
    let programs = strings(&["sh", "ls", "cat"]);
    let image = root.engine.image_from_host(&programs, Some("base:1")).unwrap();
    assert_eq!(image.tags, ["base:1"]);
    assert_eq!(image.layers.len(), 1);
    assert_eq!(image.config.cmd, ["sh"]);
    assert!(image.config.env[0].starts_with("PATH="));
    let diff = root.engine.paths().layers().join(image.layers[0].chain_id.hex()).join("diff");
    for path in ["etc/passwd", "tmp", "var/tmp", "root", "bin", "proc"] {
        assert!(diff.join(path).symlink_metadata().is_ok(), "{path}");
    }
    // It runs: its own loader and libraries, nothing of this machine.
    let output =
        std::process::Command::new("chroot").arg(&diff).args(["/bin/sh", "-c", "ls /etc && cat /etc/group"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("nogroup"));

    // What is known is not packed again.
    let written = || std::fs::metadata(root.engine.paths().blobs()).unwrap().modified().unwrap();
    let before = written();
    let again = root.engine.image_from_host(&programs, Some("base:2")).unwrap();
    assert_eq!(written(), before);
    assert_eq!(again.id, image.id);
    assert_eq!(again.tags, ["base:1", "base:2"]);

    let other = Root::new();
    assert_eq!(other.engine.image_from_host(&programs, None).unwrap().id, image.id, "another root, the same image");
    let error = root.engine.image_from_host(&strings(&["sh", "no-such-program"]), None).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("no-such-program"), "{error}");
}

#[test]
fn a_python_of_this_machine_brings_its_library() {
    if peers::peer("python3").is_none() {
        return;
    }
    let root = Root::new();
    let image = root.engine.image_from_host(&strings(&["python3"]), None).unwrap();
    let diff = root.engine.paths().layers().join(image.layers[0].chain_id.hex()).join("diff");
    let script = "import http.server, json, socket, ssl, hashlib; print(json.dumps([1]))";
    let output = std::process::Command::new("chroot")
        .arg(&diff)
        .args(["python3", "-c", script])
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_folder_and_a_tar_become_images() {
    let root = Root::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("app/data")).unwrap();
    std::fs::write(folder.path().join("app/data/x"), "content").unwrap();
    std::os::unix::fs::symlink("data/x", folder.path().join("app/link")).unwrap();
    let image = root.engine.image_from_dir(folder.path(), Some("app:1")).unwrap();
    assert_eq!(root.engine.image_from_dir(folder.path(), None).unwrap().id, image.id);
    let diff = root.engine.paths().layers().join(image.layers[0].chain_id.hex()).join("diff");
    assert_eq!(std::fs::read_to_string(diff.join("app/link")).unwrap(), "content");

    let options = ImportOptions {
        changes: strings(&["CMD [\"/app/run\"]", "ENV A=b", "EXPOSE 80", "USER 1000"]),
        message: Some("a remark".into()),
    };
    for bytes in
        [layer(&[("x", "y")]), gzip(&layer(&[("x", "y")])), zstd::encode_all(&layer(&[("x", "y")])[..], 1).unwrap()]
    {
        let image = root.engine.image_from_tar(&mut &bytes[..], Some("imported"), &options).unwrap();
        assert_eq!(image.config.cmd, ["/app/run"]);
        assert_eq!(image.config.exposed_ports, ["80/tcp"]);
        assert_eq!(image.history[0].comment.as_deref(), Some("a remark"));
        assert_eq!(image.layers[0].diff_id, Digest::of(&layer(&[("x", "y")])));
    }
    let bad = ImportOptions { changes: strings(&["RUN x"]), message: None };
    let error = root.engine.image_from_tar(&mut &layer(&[])[..], None, &bad).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    let error = root.engine.image_from_dir(&folder.path().join("app/data/x"), None).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
}

#[test]
fn a_docker_archive_loads_from_file_stream_and_with_linked_layers() {
    let root = Root::new();
    let archive = Docker::new(&[layer(&[("a", "1")]), layer(&[("b", "2")])]).tags(&["app:1", "me/app:2"]);
    let images = root.engine.image_load(&root.file("a.tar", &archive.build())).unwrap();
    assert_eq!(images[0].tags, ["app:1", "me/app:2"]);
    assert_eq!(images[0].id, archive.id());
    assert_eq!(images[0].layers.len(), 2);
    assert_eq!(images[0].config.env, ["A=b"]);
    let linked = Docker::new(&[layer(&[("a", "1")]), layer(&[("b", "2")])]).linked().build();
    let again = root.engine.image_load_from(&mut &gzip(&linked)[..]).unwrap();
    assert_eq!(again[0].id, archive.id());
    assert_eq!(again[0].tags, ["app:1", "me/app:2"]);
    assert_eq!(root.engine.image_list(&ImageFilter::default()).unwrap().len(), 1);
    let zstd = zstd::encode_all(&archive.build()[..], 1).unwrap();
    assert_eq!(root.engine.image_load_from(&mut &zstd[..]).unwrap()[0].id, archive.id());
}

#[test]
fn an_oci_layout_loads_from_folder_and_tar_and_keeps_its_digests() {
    let root = Root::new();
    let layout = Layout::new(&[gzip(&layer(&[("a", "1")])), zstd::encode_all(&layer(&[("b", "2")])[..], 1).unwrap()])
        .name("app:1");
    let folder = root.scratch("layout");
    layout.write(&folder);
    let image = root.engine.image_load(&folder).unwrap().remove(0);
    assert_eq!((&image.id, &image.manifest), (&layout.config_digest(), &layout.manifest_digest()));
    assert_eq!(image.tags, ["app:1"]);
    let tar = tar_of(&layout.members());
    let other = Root::new();
    let same = other.engine.image_load_from(&mut &tar[..]).unwrap().remove(0);
    assert_eq!((same.id, same.manifest), (image.id, image.manifest));
}

#[test]
fn an_index_in_the_index_gives_the_image_of_this_machine() {
    let root = Root::new();
    let ours = Layout::new(&[gzip(&layer(&[("ours", "1")]))]);
    let theirs = Layout::new(&[gzip(&layer(&[("theirs", "1")]))]).architecture("riscv9");
    let folder = root.scratch("layout");
    Layout::write_nested(&folder, &[&theirs, &ours], "multi:1");
    let image = root.engine.image_load(&folder).unwrap().remove(0);
    assert_eq!(image.id, ours.config_digest());
    assert_eq!(image.tags, ["multi:1"]);
    let folder = root.scratch("foreign");
    Layout::write_nested(&folder, &[&theirs], "multi:2");
    let error = root.engine.image_load(&folder).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.hint().unwrap().contains("riscv9"), "{error:?}");
}

#[test]
fn what_is_saved_loads_back_with_the_same_digests_in_every_form() {
    let root = Root::new();
    let layout = Layout::new(&[gzip(&layer(&[("a", "1")]))]).name("app:1");
    let folder = root.scratch("layout");
    layout.write(&folder);
    let one = root.engine.image_load(&folder).unwrap().remove(0);
    let archive = Docker::new(&[layer(&[("a", "1")]), layer(&[("c", "3")])]).tags(&["app:2"]);
    let two = root.engine.image_load(&root.file("b.tar", &archive.build())).unwrap().remove(0);
    let names = strings(&["app:1", "app:2"]);
    for format in [ArchiveFormat::DockerArchive, ArchiveFormat::OciArchive, ArchiveFormat::OciDir] {
        let path = root.scratch(&format!("saved-{format:?}"));
        root.engine.image_save(&names, &path, format).unwrap();
        let other = Root::new();
        let mut loaded = other.engine.image_load(&path).unwrap();
        loaded.sort_by(|a, b| a.tags.cmp(&b.tags));
        assert_eq!(loaded.len(), 2, "{format:?}");
        assert_eq!((&loaded[0].id, &loaded[1].id), (&one.id, &two.id), "{format:?}");
        assert_eq!((&loaded[0].tags, &loaded[1].tags), (&one.tags, &two.tags), "{format:?}");
        if format != ArchiveFormat::DockerArchive {
            assert_eq!((&loaded[0].manifest, &loaded[1].manifest), (&one.manifest, &two.manifest), "{format:?}");
        }
        let diff_ids = |image: &rhumb::model::image::Image| {
            image.layers.iter().map(|layer| layer.diff_id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(diff_ids(&loaded[1]), diff_ids(&two));
    }
    let mut stream = Vec::new();
    root.engine.image_save_to(&names, &mut stream, ArchiveFormat::DockerArchive).unwrap();
    let mut twice = Vec::new();
    root.engine.image_save_to(&names, &mut twice, ArchiveFormat::DockerArchive).unwrap();
    assert_eq!(stream, twice, "an archive does not depend on the time");
    assert!(root.engine.image_save_to(&names, &mut stream, ArchiveFormat::OciDir).is_err());
    // By id an image brings no name along.
    root.engine.image_save(&strings(&[one.id.as_str()]), &root.scratch("nameless"), ArchiveFormat::OciDir).unwrap();
    let nameless = Root::new().engine.image_load(&root.scratch("nameless")).unwrap();
    assert!(nameless[0].tags.is_empty());
}

#[test]
fn save_refuses_filled_folders_and_unknown_images_and_leaves_nothing() {
    let root = Root::new();
    root.engine.image_load(&root.file("a.tar", &Docker::new(&[layer(&[("a", "1")])]).tags(&["app"]).build())).unwrap();
    let filled = root.scratch("filled");
    std::fs::create_dir(&filled).unwrap();
    std::fs::write(filled.join("mine"), "mine").unwrap();
    let before = files_of(&root.folder);
    let app = strings(&["app"]);
    assert_eq!(root.engine.image_save(&app, &filled, ArchiveFormat::OciDir).unwrap_err().kind(), Kind::AlreadyExists);
    assert_eq!(
        root.engine.image_save(&app, &filled, ArchiveFormat::OciArchive).unwrap_err().kind(),
        Kind::AlreadyExists
    );
    let unknown = root.engine.image_save(&strings(&["app", "nothing"]), &root.scratch("x"), ArchiveFormat::OciArchive);
    assert_eq!(unknown.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(files_of(&root.folder), before);
    std::fs::remove_file(filled.join("mine")).unwrap();
    root.engine.image_save(&app, &filled, ArchiveFormat::OciDir).unwrap();
    assert!(filled.join("index.json").exists());
}

#[test]
fn a_damaged_blob_is_not_saved() {
    let root = Root::new();
    let layout = Layout::new(&[gzip(&layer(&[("a", "1")]))]).name("app:1");
    let folder = root.scratch("layout");
    layout.write(&folder);
    let image = root.engine.image_load(&folder).unwrap().remove(0);
    let blob = root.engine.paths().blobs().join(image.layers[0].blob.hex());
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    for format in [ArchiveFormat::DockerArchive, ArchiveFormat::OciArchive, ArchiveFormat::OciDir] {
        let path = root.scratch("out");
        let error = root.engine.image_save(&strings(&["app:1"]), &path, format).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{format:?}: {error}");
        assert!(!path.exists(), "{format:?}");
    }
}

#[test]
fn names_move_and_the_old_image_stays_without_one() {
    let root = Root::new();
    let load = |text: &str, tag: &str| {
        let archive = Docker::new(&[layer(&[("a", text)])]).tags(&[tag]);
        root.engine.image_load_from(&mut &archive.build()[..]).unwrap().remove(0)
    };
    let old = load("1", "app:1");
    let new = load("2", "app:1");
    assert_eq!(root.engine.image_get("app:1").unwrap().id, new.id);
    let old = root.engine.image_get(old.id.as_str()).unwrap();
    assert!(old.tags.is_empty());
    let dangling = root.engine.image_list(&ImageFilter { dangling: Some(true), ..ImageFilter::default() }).unwrap();
    assert_eq!(dangling.iter().map(|image| &image.id).collect::<Vec<_>>(), [&old.id]);
    root.engine.image_tag(old.id.short(), "keep/me").unwrap();
    assert_eq!(root.engine.image_get("keep/me:latest").unwrap().id, old.id);
    for bad in ["UPPER", "", "a b", "x@sha256:1"] {
        assert_eq!(root.engine.image_tag("app:1", bad).unwrap_err().kind(), Kind::InvalidArgument, "{bad:?}");
    }
    assert_eq!(root.engine.image_tag("nothing", "x").unwrap_err().kind(), Kind::NotFound);
    let filter = ImageFilter { reference: strings(&["keep/*"]), ..ImageFilter::default() };
    assert_eq!(root.engine.image_list(&filter).unwrap().len(), 1);
}

#[test]
fn the_last_name_takes_the_image_and_what_only_it_needs() {
    let root = Root::new();
    let shared = layer(&[("shared", "1")]);
    let one = Docker::new(&[shared.clone(), layer(&[("one", "1")])]).tags(&["one:1", "one:2"]);
    let two = Docker::new(&[shared, layer(&[("two", "2")])]).tags(&["two"]);
    let one = root.engine.image_load_from(&mut &one.build()[..]).unwrap().remove(0);
    let two = root.engine.image_load_from(&mut &two.build()[..]).unwrap().remove(0);
    assert_eq!(one.layers[0].chain_id, two.layers[0].chain_id);
    let error = root.engine.image_remove(one.id.as_str(), false).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert_eq!(root.engine.image_remove("one:2", false).unwrap(), [ImageRemoved::Untagged("one:2".into())]);
    let removed = root.engine.image_remove("one:1", false).unwrap();
    assert_eq!(removed[0], ImageRemoved::Untagged("one:1".into()));
    assert_eq!(removed[1], ImageRemoved::Deleted(one.id.to_string()));
    assert!(removed.contains(&ImageRemoved::Deleted(one.layers[1].chain_id.to_string())), "{removed:?}");
    assert!(!removed.contains(&ImageRemoved::Deleted(one.layers[0].chain_id.to_string())), "a shared layer went");
    let left: BTreeSet<String> = two.layers.iter().map(|layer| layer.chain_id.hex().to_owned()).collect();
    assert_eq!(root.layers(), left);
    assert_eq!(root.engine.image_get("one:1").unwrap_err().kind(), Kind::NotFound);
    root.engine.image_remove(two.id.short(), false).unwrap();
    assert!(root.layers().is_empty());
    assert!(root.blobs().is_empty(), "{:?}", root.blobs());
}

#[test]
fn an_image_in_use_stays_and_loses_its_last_name_by_force_only() {
    use rhumb::store::db::{Noun, Phase};
    let root = Root::new();
    let archive = Docker::new(&[layer(&[("a", "1")])]).tags(&["app:1", "app:2"]);
    let image = root.engine.image_load_from(&mut &archive.build()[..]).unwrap().remove(0);
    let container = "b".repeat(64);
    let store = rhumb::store::Store::open(root.engine.paths()).unwrap();
    store
        .write(|tx| {
            tx.insert(Noun::Container, &container, Phase::Ready, &json!({}))?;
            tx.add_use((Noun::Container, &container), (Noun::Image, image.id.as_str()))
        })
        .unwrap();
    assert_eq!(root.engine.image_remove("app:2", false).unwrap(), [ImageRemoved::Untagged("app:2".into())]);
    for (text, force) in [("app:1", false), (image.id.as_str(), false), (image.id.short(), true)] {
        let error = root.engine.image_remove(text, force).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict, "{text}");
        assert!(error.to_string().contains(&container[..12]) && error.hint().is_some(), "{error:?}");
    }
    assert!(root.engine.image_prune(true, &PruneFilter::default()).unwrap().items.is_empty());
    assert_eq!(root.engine.image_remove("app:1", true).unwrap(), [ImageRemoved::Untagged("app:1".into())]);
    assert!(root.engine.image_get(image.id.as_str()).unwrap().tags.is_empty());
    store.write(|tx| tx.delete(Noun::Container, &container)).unwrap();
    assert_eq!(root.engine.image_prune(false, &PruneFilter::default()).unwrap().items, [image.id.to_string()]);
    root.assert_empty("the container is gone");
}

#[test]
fn prune_takes_what_has_no_name() {
    let root = Root::new();
    for (text, tag) in [("1", "app"), ("2", "app"), ("3", "other")] {
        let archive = Docker::new(&[layer(&[("a", text)])]).tags(&[tag]);
        root.engine.image_load_from(&mut &archive.build()[..]).unwrap();
    }
    let report = root.engine.image_prune(false, &PruneFilter::default()).unwrap();
    assert_eq!(report.items.len(), 1);
    assert!(report.freed_bytes > 0);
    assert_eq!(root.engine.image_list(&ImageFilter::default()).unwrap().len(), 2);
    assert_eq!(root.engine.image_prune(true, &PruneFilter::default()).unwrap().items.len(), 2);
    assert!(root.layers().is_empty() && root.blobs().is_empty());
}

/// Every archive here is refused, in bounded time, with the kind it deserves; and nothing at all is kept.
#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    let root = Root::new();
    let good = || Docker::new(&[layer(&[("a", "1")])]).tags(&["app"]);
    let layout = || Layout::new(&[gzip(&layer(&[("a", "1")]))]).name("app");
    let whole = good().build();
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| cases.push((name.to_owned(), bytes));
    add("empty", Vec::new());
    add("zeros", vec![0; 10240]);
    add("not a tar", vec![b'x'; 10240]);
    add("no manifest", layer(&[("etc/passwd", "x")]));
    let content = whole.len() - 1024;
    for cut in (100..content).step_by(content / 23) {
        add(&format!("cut at {cut}"), whole[..cut].to_vec());
    }
    let packed = gzip(&whole);
    for cut in [2, 10, packed.len() / 2, packed.len() - 1] {
        add(&format!("gzip cut at {cut}"), packed[..cut].to_vec());
    }
    let manifest = |text: serde_json::Value| tar_of(&[("manifest.json".into(), text.to_string().into_bytes())]);
    for outside in ["../../etc/passwd", "/etc/passwd", "..", "", "blobs/../../../etc/passwd"] {
        add(&format!("config {outside:?}"), manifest(json!([{ "Config": outside, "RepoTags": null, "Layers": [] }])));
        add(&format!("layer {outside:?}"), good().with_layer_name(outside).build());
    }
    add("manifest is an object", manifest(json!({ "Config": "x" })));
    add("manifest is empty", manifest(json!([])));
    add("manifest is a number", manifest(json!(1)));
    add("manifest too large", manifest(json!("x".repeat(5 << 20))));
    add("deep json", tar_of(&[("manifest.json".into(), vec![b'['; 100_000])]));
    add("bad name", good().tags(&["../../x"]).build());
    add("layers missing", good().without_layers().build());
    add("diff id differs", good().with_diff_id(&Digest::of(b"other")).build());
    add("config digest differs", good().with_config_name(&format!("{}.json", Digest::of(b"x").hex())).build());
    add("config is a link outside", good().with_config_link("../../../etc/passwd").build());
    add("second image bad", good().and_then(&good().with_diff_id(&Digest::of(b"other"))));
    add("layer leaves the root", Docker::new(&[layer(&[("../../escape", "x")])]).build());
    add("layer is no tar", Docker::new(&[vec![b'x'; 2048]]).build());
    add("layer cut", Docker::new(&[layer(&[("a", &"1".repeat(5000))])[..2048].to_vec()]).build());
    add("layout: no blobs", tar_of(&layout().members()[..2]));
    add("layout: manifest and index at once", layout().edit_manifest(|m| m["manifests"] = json!([])).tar());
    add(
        "layout: media type differs",
        layout().edit_manifest(|m| m["mediaType"] = json!("application/vnd.oci.image.index.v1+json")).tar(),
    );
    add(
        "layout: sha512",
        layout().edit_manifest(|m| m["config"]["digest"] = json!(format!("sha512:{}", "0".repeat(128)))).tar(),
    );
    add(
        "layout: path as digest",
        layout().edit_manifest(|m| m["config"]["digest"] = json!("sha256:../../../etc/passwd")).tar(),
    );
    add("layout: size differs", layout().edit_manifest(|m| m["config"]["size"] = json!(1)).tar());
    add("layout: negative size", layout().edit_manifest(|m| m["config"]["size"] = json!(-1)).tar());
    add("layout: layer size differs", layout().edit_manifest(|m| m["layers"][0]["size"] = json!(5)).tar());
    add("layout: layer type", layout().edit_manifest(|m| m["layers"][0]["mediaType"] = json!("text/html")).tar());
    add(
        "layout: encrypted",
        layout()
            .edit_manifest(|m| {
                m["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
            })
            .tar(),
    );
    add(
        "layout: artifact",
        layout().edit_manifest(|m| m["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json")).tar(),
    );
    add("layout: schema 1", layout().edit_manifest(|m| m["schemaVersion"] = json!(1)).tar());
    add("layout: no layers", layout().edit_manifest(|m| m["layers"] = json!([])).tar());
    add("layout: blob flipped", layout().flip_layer().tar());
    add("layout: index loop", Layout::looping());
    add("layout: version", layout().version("9.0").tar());
    assert!(cases.len() > 60);
    let refused = [Kind::Corrupt, Kind::Unsupported, Kind::InvalidArgument];
    for (name, bytes) in cases {
        let start = Instant::now();
        let error = match root.engine.image_load_from(&mut &bytes[..]) {
            Err(error) => error,
            Ok(images) => panic!("{name}: loaded {:?}", images[0].id),
        };
        assert!(refused.contains(&error.kind()), "{name}: {error:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
        let message = error.to_string();
        assert!(!message.contains("root:x:0") && message.len() < 2000 && !message.contains('\n'), "{name}: {message}");
        root.assert_empty(&name);
    }
    // The benign twins.
    root.engine.image_load_from(&mut &whole[..]).unwrap();
    root.engine.image_load_from(&mut &layout().tar()[..]).unwrap();
}

#[test]
fn a_folder_with_links_in_place_of_blobs_is_refused() {
    let root = Root::new();
    let layout = Layout::new(&[gzip(&layer(&[("a", "1")]))]).name("app");
    let folder = root.scratch("layout");
    layout.write(&folder);
    let blob = folder.join("blobs/sha256").join(layout.config_digest().hex());
    let aside = root.file("aside", &std::fs::read(&blob).unwrap());
    std::fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink(&aside, &blob).unwrap();
    assert_eq!(root.engine.image_load(&folder).unwrap_err().kind(), Kind::Corrupt);
    root.assert_empty("a link as a blob");
    assert_eq!(root.engine.image_load(Path::new("/nonexistent")).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn two_roots_and_two_threads_load_at_once() {
    let root = Root::new();
    let bytes = Docker::new(&[layer(&[("a", "1")]), layer(&[("b", "2")])]).tags(&["app"]).build();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (root, bytes) = (&root, &bytes);
            scope.spawn(move || {
                let engine = root.reopen();
                for _ in 0..3 {
                    let image = engine.image_load_from(&mut &bytes[..]).unwrap().remove(0);
                    engine.image_tag(image.id.as_str(), &format!("app:{n}")).unwrap();
                }
            });
        }
    });
    let images = root.engine.image_list(&ImageFilter::default()).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].tags.len(), 5);
    assert_eq!(root.layers().len(), 2);
}
