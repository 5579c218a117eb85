//! Verbs against each other on one root, each test for a fault that once was: names and its cause in a line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::engine::EngineOptions;
use crate::model::container::{ContainerFilter, ContainerRemove};
use crate::model::mount::{Mount, MountSource};
use crate::model::system::CheckOptions;
use crate::model::volume::VolumeFilter;
use crate::model::{container::ContainerOptions, volume::VolumeOptions};
use crate::sys::lock::Mode;

const IMAGE: &str = "base:1";

struct Root {
    engine: Engine,
    _temp: tempfile::TempDir,
}

impl Root {
    fn new() -> Root {
        let temp = tempfile::Builder::new().prefix("rhumb-test-").tempdir().unwrap();
        let files = temp.path().join("files");
        std::fs::create_dir_all(files.join("full")).unwrap();
        std::fs::write(files.join("full/file"), "from the image").unwrap();
        let engine = open(&temp.path().join("root"));
        engine.image_from_dir(&files, Some(IMAGE)).unwrap();
        Root { engine, _temp: temp }
    }

    fn create(&self, options: &ContainerOptions) -> Result<Id> {
        let command = Some(vec!["true".to_owned()]);
        self.engine.container_create(IMAGE, &ContainerOptions { command, ..options.clone() })
    }
}

fn open(root: &Path) -> Engine {
    let default_network = Some("none".to_owned());
    Engine::open(&EngineOptions { root: Some(root.to_owned()), default_network, ..EngineOptions::default() }).unwrap()
}

fn named(name: &str) -> ContainerOptions {
    ContainerOptions { name: Some(name.to_owned()), ..ContainerOptions::default() }
}

fn with_volume(name: Option<&str>, target: &str) -> ContainerOptions {
    let source = MountSource::Volume { name: name.map(str::to_owned), subpath: None, no_copy: false };
    let mount = Mount { target: target.to_owned(), read_only: false, source };
    ContainerOptions { mounts: vec![mount], ..ContainerOptions::default() }
}

/// Runs `work` again and again on another thread while `body` runs.
fn beside(work: impl Fn() + Sync, body: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                work();
            }
        });
        // Also when the body fails: the thread would go on for ever.
        let _end = AtEnd(&done);
        body();
    });
}

/// Sets a flag when it goes.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A mount that ends with the value, also when the test fails.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(path: PathBuf) -> Mounted {
        std::fs::create_dir_all(&path).unwrap();
        assert!(Command::new("mount").args(["-t", "tmpfs", "test"]).arg(&path).status().unwrap().success());
        Mounted(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status(); // the folder's removal would say so
    }
}

/// The old name was looked up outside of the transaction: the second of two renames left both new names.
#[test]
fn renames_at_once_leave_one_name() {
    let root = Root::new();
    for round in 0..10 {
        let id = root.create(&named(&format!("box{round}"))).unwrap();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (engine, id) = (&root.engine, &id);
                scope.spawn(move || engine.container_rename(id.as_str(), &format!("new{round}.{number}")));
            }
        });
        let names = root.engine.store.read(|tx| tx.get::<ContainerRecord>(Noun::Container, id.as_str())).unwrap();
        assert_eq!(names.unwrap().names.len(), 1);
        // And one that was removed meanwhile leaves none.
        std::thread::scope(|scope| {
            scope.spawn(|| root.engine.container_rename(id.as_str(), "late"));
            scope.spawn(|| root.engine.container_remove(id.as_str(), ContainerRemove::default()));
        });
        assert_eq!(root.engine.store.read(|tx| tx.named(Noun::Container, "late")).unwrap(), None);
    }
}

/// What could not be taken away made the opening of the store fail, for every command.
#[test]
fn what_resists_removal_stops_no_other_command() {
    let root = Root::new();
    let id = root.create(&named("stuck")).unwrap();
    let volume = root.engine.volume_create(&VolumeOptions { name: Some("held".into()), ..Default::default() }).unwrap();
    let paths = root.engine.paths().clone();
    let mounts =
        [paths.container(&id).join("upper/m"), paths.volume_data(&volume.id).join("m"), paths.tmp().join("dead/m")]
            .map(Mounted::tmpfs);
    root.engine.container_remove("stuck", ContainerRemove::default()).unwrap_err();
    root.engine.volume_remove("held", false).unwrap_err();
    let engine = open(paths.root());
    engine.container_list(&ContainerFilter { all: true, ..Default::default() }).unwrap();
    let report = engine.system_check(CheckOptions { repair: false, ..Default::default() }).unwrap();
    for noun in ["container", "volume", "folder"] {
        assert!(report.problems.iter().any(|problem| problem.noun == noun && !problem.repaired), "{noun}: {report:?}");
    }
    drop(mounts);
    let stray = paths.locks().join(format!("volume-{}", Id::random().unwrap()));
    std::fs::write(&stray, "").unwrap();
    let report = open(paths.root()).system_check(CheckOptions::default()).unwrap();
    assert!(report.problems.is_empty() && !stray.exists(), "{report:?}");
}

/// The first thing that could not be removed ended a prune, so that everything after it stayed.
#[test]
fn a_prune_goes_on_after_what_it_cannot_remove() {
    let root = Root::new();
    let first = root.create(&named("first")).unwrap();
    let stuck = root.create(&named("stuck")).unwrap();
    let last = root.create(&named("last")).unwrap();
    let volume = |name: &str| VolumeOptions { name: Some(name.into()), ..Default::default() };
    let held = root.engine.volume_create(&volume("held")).unwrap();
    root.engine.volume_create(&volume("free")).unwrap();
    let paths = root.engine.paths().clone();
    let mounts = [paths.container(&stuck).join("upper/m"), paths.volume_data(&held.id).join("m")].map(Mounted::tmpfs);
    let report = root.engine.system_prune(false, false, &Default::default()).unwrap();
    assert_eq!(report.items, [last.to_string(), first.to_string()], "newest first");
    assert!(report.failures.len() == 1 && report.failures[0].contains("\"stuck\""), "{report:?}");
    let report = root.engine.volume_prune(true, &Default::default()).unwrap();
    assert_eq!(report.items, ["free"]);
    assert!(report.failures.len() == 1 && report.failures[0].contains("\"held\""), "{report:?}");
    drop(mounts);
    let report = open(paths.root()).system_check(CheckOptions::default()).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

/// The container's record still called the volume anonymous after somebody had given it a name.
#[test]
fn a_volume_that_was_given_a_name_outlives_its_container() {
    let root = Root::new();
    let id = root.create(&with_volume(None, "/data")).unwrap();
    let volume = root.engine.volume_list(&VolumeFilter::default()).unwrap().remove(0);
    root.engine.volume_rename(volume.id.as_str(), "kept").unwrap();
    root.engine.container_remove(id.as_str(), ContainerRemove { volumes: true, force: true }).unwrap();
    assert!(root.engine.volume_get("kept").unwrap().mountpoint.is_dir());
}

/// The check took what it had read before it held the lock for true, and repaired what had just been made.
#[test]
fn a_repair_takes_nothing_away_that_is_being_made() {
    let root = Root::new();
    let repair = || {
        let report = root.engine.system_check(CheckOptions { repair: true, ..Default::default() }).unwrap();
        assert!(report.problems.is_empty(), "{report:?}");
    };
    beside(repair, || {
        for number in 0..150 {
            let name = format!("v{number}");
            let volume = root.engine.volume_create(&VolumeOptions { name: Some(name), ..Default::default() }).unwrap();
            let id = root.create(&with_volume(None, "/data")).unwrap();
            root.engine.container_get(id.as_str()).unwrap();
            assert!(volume.mountpoint.is_dir() && root.engine.paths().container(&id).join("hosts").exists());
            root.engine.container_remove(id.as_str(), ContainerRemove { volumes: true, force: false }).unwrap();
            root.engine.volume_remove(volume.id.as_str(), false).unwrap();
        }
    });
}

/// A container whose folder was lost took its anonymous volumes, which were whole, with it.
#[test]
fn a_repair_keeps_the_volumes_of_a_container_without_a_folder() {
    let root = Root::new();
    let id = root.create(&with_volume(None, "/data")).unwrap();
    std::fs::remove_dir_all(root.engine.paths().container(&id)).unwrap();
    root.engine.system_check(CheckOptions { repair: true, ..Default::default() }).unwrap();
    assert!(root.engine.container_get(id.as_str()).is_err());
    assert_eq!(root.engine.volume_list(&VolumeFilter::default()).unwrap().len(), 1);
}

/// A prune between the look-up of a named volume and the record that uses it made the creation fail.
#[test]
fn a_prune_does_not_disturb_a_creation() {
    let root = Root::new();
    beside(
        || drop(root.engine.volume_prune(true, &Default::default()).unwrap()),
        || {
            for _ in 0..100 {
                let id = root.create(&with_volume(Some("shared"), "/data")).unwrap();
                root.engine.container_remove(id.as_str(), ContainerRemove::default()).unwrap();
            }
        },
    );
}

/// A filling and a restore exchange the volume's folder; a container that had it mounted went on with the old one, which
/// was then removed with all that it had written.
#[test]
fn the_content_of_a_mounted_volume_is_not_exchanged() {
    let root = Root::new();
    let engine = &root.engine;
    let user = root.create(&with_volume(Some("shared"), "/empty")).unwrap();
    let volume = engine.volume_get("shared").unwrap();
    let inode = || std::os::unix::fs::MetadataExt::ino(&volume.mountpoint.metadata().unwrap());
    let before = inode();
    let backup = root._temp.path().join("backup.tar");
    engine.volume_backup("shared", &backup).unwrap();
    // The monitor's part: it holds the container from before it mounts anything.
    let run = engine.paths().container_run(&user);
    std::fs::create_dir_all(&run).unwrap();
    let monitor = std::fs::File::create(run.join("monitor.lock")).unwrap();
    let starting = engine.store.volume_hold(&volume.id, Mode::Shared).unwrap();
    std::thread::scope(|scope| {
        let restoring = scope.spawn(|| engine.volume_restore("shared", &backup));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!restoring.is_finished(), "it does not wait for a start under way");
        monitor.lock().unwrap();
        drop(starting);
        assert_eq!(restoring.join().unwrap().unwrap_err().kind(), crate::base::Kind::Conflict);
    });
    root.create(&with_volume(Some("shared"), "/full")).unwrap();
    assert_eq!((inode(), volume.mountpoint.join("file").exists()), (before, true));
}
