//! Volumes end to end: names, uses, backup and restore of anything a container can leave behind, differences, copy-up, and
//! what is left after a process died in the middle.

#[path = "support/archives.rs"]
mod archives;

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use archives::{Root, files_of, gzip, layer};
use rhumb::base::{Digest, Kind, Paths};
use rhumb::model::volume::{DifferenceKind, Volume, VolumeFilter, VolumeOptions};
use rhumb::store::Store;
use rhumb::store::db::{Noun, Phase};

fn named(name: &str) -> VolumeOptions {
    VolumeOptions { name: Some(name.to_owned()), ..VolumeOptions::default() }
}

fn make(root: &Root, name: &str) -> Volume {
    root.engine.volume_create(&named(name)).unwrap()
}

/// The store under an engine, to play the container's part.
fn store(root: &Root) -> Store {
    Store::open(&Paths::new(root.engine.paths().root())).unwrap()
}

const USER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn use_by_container(root: &Root, volume: &Volume) {
    store(root)
        .write(|tx| {
            tx.insert(Noun::Container, USER, Phase::Ready, &serde_json::json!({}))?;
            tx.add_use((Noun::Container, USER), (Noun::Volume, volume.id.as_str()))
        })
        .unwrap();
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Every kind of file that a container can leave in a volume, except a socket, which no tar can hold.
fn hostile(path: &Path) {
    std::fs::create_dir_all(path.join("a/b")).unwrap();
    std::fs::write(path.join("a/file"), b"content").unwrap();
    std::fs::hard_link(path.join("a/file"), path.join("a/b/hard")).unwrap();
    symlink("/etc/passwd", path.join("out")).unwrap();
    symlink("..", path.join("up")).unwrap();
    run("mkfifo", &[path.join("pipe").to_str().unwrap()]);
    run("mknod", &[path.join("null").to_str().unwrap(), "c", "1", "3"]);
    run("mknod", &[path.join("disk").to_str().unwrap(), "b", "7", "250"]);
    std::fs::write(path.join("setuid"), b"x").unwrap();
    std::os::unix::fs::chown(path.join("setuid"), Some(1000), Some(1001)).unwrap();
    std::fs::set_permissions(path.join("setuid"), std::fs::Permissions::from_mode(0o6755)).unwrap();
    let odd: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"odd\xff\n\x80");
    std::fs::write(path.join(odd), b"odd").unwrap();
    std::fs::write(path.join(".wh.plain"), b"a name like any other").unwrap();
    std::fs::write(path.join("n".repeat(255)), b"long").unwrap();
    let sparse = std::fs::File::create(path.join("sparse")).unwrap();
    sparse.write_at(b"end", 100 << 20).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o1770)).unwrap();
}

#[test]
fn volumes_are_made_once_and_listed_by_name() {
    let root = Root::new();
    let one = make(&root, "one");
    assert_eq!(make(&root, "one"), one);
    assert!(one.mountpoint.is_dir());
    assert_eq!(one.mountpoint.metadata().unwrap().mode() & 0o7777, 0o755);
    let anonymous = root.engine.volume_create(&VolumeOptions::default()).unwrap();
    assert!(anonymous.anonymous && anonymous.name == anonymous.id.as_str());
    let labels = BTreeMap::from([("backup".to_owned(), "nightly".to_owned())]);
    let two = root.engine.volume_create(&VolumeOptions { labels: labels.clone(), ..named("two") }).unwrap();
    assert_eq!(
        root.engine.volume_create(&VolumeOptions { labels, ..named("one") }).unwrap_err().kind(),
        Kind::Conflict
    );
    let list = |filter: VolumeFilter| {
        root.engine.volume_list(&filter).unwrap().into_iter().map(|volume| volume.name).collect::<Vec<_>>()
    };
    assert_eq!(list(VolumeFilter::default()).len(), 3);
    let label = |text: &str| VolumeFilter { label: vec![text.to_owned()], ..VolumeFilter::default() };
    assert_eq!(list(label("backup=nightly")), ["two"]);
    assert_eq!(list(label("backup")), ["two"]);
    assert!(list(label("backup=never")).is_empty());
    assert_eq!(list(VolumeFilter { name: vec!["tw".into()], ..VolumeFilter::default() }), ["two"]);
    assert_eq!(root.engine.volume_get(two.id.short()).unwrap(), two);
    for bad in ["", "../x", "a/b", "-x"] {
        assert_eq!(root.engine.volume_create(&named(bad)).unwrap_err().kind(), Kind::InvalidArgument, "{bad:?}");
    }
    let nfs = VolumeOptions { driver: Some("nfs".into()), ..named("x") };
    assert_eq!(root.engine.volume_create(&nfs).unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn a_name_is_a_label_and_moves_freely() {
    let root = Root::new();
    let one = make(&root, "one");
    make(&root, "two");
    std::fs::write(one.mountpoint.join("x"), "x").unwrap();
    root.engine.volume_rename("one", "three").unwrap();
    let three = root.engine.volume_get("three").unwrap();
    assert_eq!((three.id, three.mountpoint), (one.id.clone(), one.mountpoint.clone()));
    assert_eq!(root.engine.volume_get("one").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(root.engine.volume_rename("three", "two").unwrap_err().kind(), Kind::AlreadyExists);
    assert_eq!(root.engine.volume_rename("three", "a b").unwrap_err().kind(), Kind::InvalidArgument);
    root.engine.volume_rename("three", "three").unwrap();
    let anonymous = root.engine.volume_create(&VolumeOptions::default()).unwrap();
    root.engine.volume_rename(anonymous.id.short(), "given").unwrap();
    assert!(!root.engine.volume_get("given").unwrap().anonymous);
}

#[test]
fn a_volume_in_use_stays() {
    let root = Root::new();
    let volume = make(&root, "data");
    let anonymous = root.engine.volume_create(&VolumeOptions::default()).unwrap();
    use_by_container(&root, &volume);
    let error = root.engine.volume_remove("data", true).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains(&USER[..12]) && error.hint().is_some(), "{error:?}");
    assert_eq!(root.engine.volume_users("data").unwrap()[0].as_str(), USER);
    assert_eq!(
        root.engine.volume_prune(true, &rhumb::model::system::PruneFilter::default()).unwrap().items,
        [anonymous.name]
    );
    store(&root).write(|tx| tx.delete(Noun::Container, USER)).unwrap();
    assert!(
        root.engine.volume_prune(false, &rhumb::model::system::PruneFilter::default()).unwrap().items.is_empty(),
        "a named volume is not pruned unasked"
    );
    root.engine.volume_remove("data", false).unwrap();
    assert_eq!(root.engine.volume_remove("data", false).unwrap_err().kind(), Kind::NotFound);
    root.engine.volume_remove("data", true).unwrap();
    assert!(files_of(&root.engine.paths().volumes()).is_empty());
}

#[test]
fn anything_survives_backup_and_restore_and_no_link_is_followed() {
    let root = Root::new();
    let source = make(&root, "source");
    hostile(&source.mountpoint);
    for name in ["b.tar.zst", "b.tar"] {
        let path = root.scratch(name);
        let backup = root.engine.volume_backup("source", &path).unwrap();
        assert_eq!(backup.digest, Digest::of_reader(std::fs::File::open(&path).unwrap()).unwrap());
        assert_eq!(backup.size_bytes, path.metadata().unwrap().len());
        assert!(backup.files >= 13 && backup.size_bytes < 1 << 20, "{backup:?}");
        run("sh", &["-c", &format!("cd '{}' && sha256sum -c --status {name}.sha256", root.folder.display())]);
        assert_eq!(root.engine.backup_verify(&path).unwrap().digest, backup.digest);
        let copy = make(&root, &format!("copy-{name}"));
        std::fs::write(copy.mountpoint.join("old"), "goes").unwrap();
        let restored = root.engine.volume_restore(&copy.name, &path).unwrap();
        assert_eq!((restored.digest, restored.files), (backup.digest, backup.files));
        assert_eq!(root.engine.volume_diff("source", &copy.name).unwrap(), []);
        let same = |name: &str| copy.mountpoint.join(name).symlink_metadata().unwrap();
        assert_eq!(same("a/file").ino(), same("a/b/hard").ino());
        assert!(same("sparse").blocks() * 512 < 1 << 20, "the hole was filled");
        assert_eq!(same("setuid").mode() & 0o7777, 0o6755);
        let error = root.engine.volume_backup("source", &path).unwrap_err();
        assert_eq!(error.kind(), Kind::AlreadyExists);
    }
    assert!(files_of(&root.engine.paths().tmp()).is_empty());
    let left: Vec<_> = files_of(&root.folder).into_iter().filter(|name| name.starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn archives_of_plain_tar_restore_and_ours_unpack_with_plain_tar() {
    let root = Root::new();
    let source = make(&root, "source");
    hostile(&source.mountpoint);
    let archive = root.scratch("gnu.tar.gz");
    run(
        "tar",
        &[
            "-C",
            source.mountpoint.to_str().unwrap(),
            "--format=pax",
            "--sparse",
            "-czf",
            archive.to_str().unwrap(),
            ".",
        ],
    );
    make(&root, "copy");
    root.engine.volume_restore("copy", &archive).unwrap();
    assert_eq!(root.engine.volume_diff("source", "copy").unwrap(), []);
    let ours = root.scratch("ours.tar");
    root.engine.volume_backup("source", &ours).unwrap();
    let target = make(&root, "target");
    run("tar", &["-C", target.mountpoint.to_str().unwrap(), "--same-owner", "-xpf", ours.to_str().unwrap()]);
    let differences = root.engine.volume_diff("source", "target").unwrap();
    assert_eq!(differences, [], "GNU tar unpacks what we pack");
}

#[test]
fn damaged_and_hostile_backups_change_nothing() {
    let root = Root::new();
    let volume = make(&root, "data");
    std::fs::write(volume.mountpoint.join("precious"), "data").unwrap();
    std::fs::write(volume.mountpoint.join("random"), (0..50_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>())
        .unwrap();
    let good = root.scratch("good.tar.zst");
    root.engine.volume_backup("data", &good).unwrap();
    let plain = root.scratch("good.tar");
    root.engine.volume_backup("data", &plain).unwrap();
    make(&root, "reference");
    root.engine.volume_restore("reference", &good).unwrap();
    let (zst, tar) = (std::fs::read(&good).unwrap(), std::fs::read(&plain).unwrap());
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0x10;
        bytes
    };
    let mut cases: Vec<(String, Vec<u8>, bool)> = vec![
        ("empty".into(), Vec::new(), false),
        ("text".into(), b"this is no archive".to_vec(), false),
        ("other digest".into(), flipped(&tar, tar.len() / 2), true),
        ("no end mark".into(), tar[..tar.len() - tar.len() % 512 - 1024].to_vec(), false),
        ("leaves".into(), layer(&[("../../../../../../tmp/rhumb-escape", "x")]), false),
    ];
    for n in 1..12 {
        cases.push((format!("zst cut {n}"), zst[..zst.len() * n / 12].to_vec(), false));
        cases.push((format!("zst flip {n}"), flipped(&zst, zst.len() * n / 12), false));
        cases.push((format!("tar cut {n}"), tar[..tar.len() * n / 12].to_vec(), false));
        let gz = gzip(&tar);
        cases.push((format!("gz cut {n}"), gz[..gz.len() * n / 12].to_vec(), false));
    }
    for (name, bytes, with_digest) in cases {
        let path = root.file("bad", &bytes);
        let sidecar = root.scratch("bad.sha256");
        if with_digest {
            std::fs::write(&sidecar, format!("{}  bad\n", Digest::of(&tar).hex())).unwrap();
        }
        let error = match root.engine.volume_restore("data", &path) {
            Err(error) => error,
            Ok(_) => panic!("{name} was restored"),
        };
        assert!(matches!(error.kind(), Kind::Corrupt | Kind::InvalidArgument), "{name}: {error:?}");
        assert!(root.engine.backup_verify(&path).is_err(), "{name}");
        assert_eq!(root.engine.volume_diff("reference", "data").unwrap(), [], "{name}");
        assert!(files_of(&root.engine.paths().tmp()).is_empty(), "{name}");
        let _ = std::fs::remove_file(sidecar);
    }
    assert!(!Path::new("/tmp/rhumb-escape").exists());
    assert_eq!(root.engine.volume_restore("data", &root.scratch("none")).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(root.engine.volume_restore("data", &root.folder).unwrap_err().kind(), Kind::InvalidArgument);
    root.engine.volume_restore("data", &good).unwrap();
}

#[test]
fn differences_are_named_by_kind() {
    let root = Root::new();
    let (one, two) = (make(&root, "one"), make(&root, "two"));
    std::fs::write(one.mountpoint.join("same"), "x").unwrap();
    std::fs::write(one.mountpoint.join("gone"), "x").unwrap();
    root.engine.volume_backup("one", &root.scratch("b.tar")).unwrap();
    root.engine.volume_restore("two", &root.scratch("b.tar")).unwrap();
    std::fs::remove_file(two.mountpoint.join("gone")).unwrap();
    std::fs::write(two.mountpoint.join("new"), "x").unwrap();
    std::fs::write(two.mountpoint.join("same"), "y").unwrap();
    let found = root.engine.volume_diff("one", "two").unwrap();
    let found: Vec<_> = found.iter().map(|d| (d.path.as_str(), d.kind)).collect();
    assert_eq!(
        found,
        [("gone", DifferenceKind::Removed), ("new", DifferenceKind::Added), ("same", DifferenceKind::Changed)]
    );
    assert!(root.engine.volume_size_bytes("two").unwrap() >= 8192);
}

#[test]
fn an_empty_volume_is_filled_from_inside_the_image_only() {
    let root = Root::new();
    let store = store(&root);
    let image = root.scratch("image");
    std::fs::create_dir_all(image.join("data/sub")).unwrap();
    std::fs::write(image.join("data/sub/x"), "from the image").unwrap();
    std::os::unix::fs::chown(image.join("data"), Some(7), Some(8)).unwrap();
    std::fs::set_permissions(image.join("data"), std::fs::Permissions::from_mode(0o2750)).unwrap();
    symlink("/data", image.join("link")).unwrap();
    symlink("../../../../etc", image.join("evil")).unwrap();
    std::fs::write(image.join("file"), "no folder").unwrap();
    let rootfs = std::fs::File::open(&image).unwrap();
    let fill = |name: &str, path: &str| {
        let volume = make(&root, name);
        store.volume_copy_up(&volume.id, rootfs.as_fd(), path, true, || Ok(false)).unwrap();
        volume.mountpoint
    };
    for (name, path) in [("plain", "/data"), ("dots", "/../../data/../data"), ("link", "/link")] {
        let data = fill(name, path);
        assert_eq!(std::fs::read_to_string(data.join("sub/x")).unwrap(), "from the image", "{name}");
        let facts = data.metadata().unwrap();
        assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777), (7, 8, 0o2750), "{name}");
    }
    for (name, path) in [("evil", "/evil"), ("missing", "/nothing"), ("file", "/file"), ("out", "/../../../etc")] {
        assert!(files_of(&fill(name, path)).is_empty(), "{name}");
    }
    let filled = make(&root, "filled");
    std::fs::write(filled.mountpoint.join("mine"), "mine").unwrap();
    assert_eq!(files_of(&fill("filled", "/data")).into_iter().collect::<Vec<_>>(), ["mine"]);
}

#[test]
fn what_a_dead_process_left_is_undone_at_the_next_open() {
    let root = Root::new();
    let kept = make(&root, "kept");
    let half = make(&root, "half");
    let going = make(&root, "going");
    let store = store(&root);
    store
        .write(|tx| {
            tx.set_phase(Noun::Volume, half.id.as_str(), Phase::Creating)?;
            tx.set_phase(Noun::Volume, going.id.as_str(), Phase::Removing)
        })
        .unwrap();
    assert_eq!(root.engine.volume_get("half").unwrap_err().kind(), Kind::NotFound);
    let late = store.write(|tx| {
        tx.insert(Noun::Container, USER, Phase::Creating, &serde_json::json!({}))?;
        tx.add_use((Noun::Container, USER), (Noun::Volume, going.id.as_str()))
    });
    assert_eq!(late.unwrap_err().kind(), Kind::NotFound, "nobody takes a volume that is going");
    let engine = root.reopen();
    assert_eq!(engine.volume_list(&VolumeFilter::default()).unwrap(), std::slice::from_ref(&kept));
    assert_eq!(files_of(&root.engine.paths().volumes()).into_iter().collect::<Vec<_>>(), [kept.id.as_str()]);
    assert!(store.read(|tx| tx.unfinished(Noun::Volume)).unwrap().is_empty());
    make(&root, "half");
}

#[test]
fn many_makers_of_one_name_make_one_volume() {
    let root = Root::new();
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| root.reopen().volume_create(&named("one")).map(|volume| volume.id)))
            .collect();
        let ids: Vec<_> = makers.into_iter().map(|maker| maker.join().unwrap()).collect();
        let made: Vec<_> = ids.into_iter().map(Result::unwrap).collect();
        assert!(made.iter().all(|id| *id == made[0]), "{made:?}");
    });
    assert_eq!(root.engine.volume_list(&VolumeFilter::default()).unwrap().len(), 1);
}
