//! A full disk, on a small tmpfs of its own.

use std::path::Path;

use rhumb::base::{Kind, Paths};
use rhumb::store::Store;
use rhumb::store::db::{Noun, Phase};
use rhumb::store::layer::LayerSource;
use rhumb::store::pack::{PackOptions, pack};

use crate::tree::run;

/// A tmpfs that goes with the value.
pub(crate) struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    pub(crate) fn new(size: &str) -> Tmpfs {
        let folder = tempfile::tempdir().unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "none", folder.path().to_str().unwrap()]);
        Tmpfs(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run("umount", &["-l", self.path().to_str().unwrap()]);
    }
}

fn fill(path: &Path) {
    let mut file = std::fs::File::create(path.join("lost+found")).unwrap();
    let error = loop {
        if let Err(error) = std::io::Write::write_all(&mut file, &[1; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn an_import_on_a_full_disk_is_no_space_and_works_later() {
    let source = tempfile::tempdir().unwrap();
    for number in 0..40 {
        std::fs::write(source.path().join(number.to_string()), vec![number; 200_000]).unwrap();
    }
    let mut bytes = Vec::new();
    pack(source.path(), &PackOptions::default(), &mut bytes).unwrap();
    let disk = Tmpfs::new("14m");
    let store = Store::open(&Paths::new(disk.path())).unwrap();
    let import = |compress| {
        let source = LayerSource { compress, ..LayerSource::default() };
        store.layer_import(&mut bytes.as_slice(), &source)
    };
    let error = import(false).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace, "{error}");
    for folder in [store.paths().tmp(), store.paths().blobs(), store.paths().layers()] {
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{folder:?}");
    }
    let layer = import(true).unwrap();
    assert!(store.layer_diff(&layer.chain_id).join("39").exists());
}

#[test]
fn records_can_be_read_and_removed_with_no_byte_free() {
    let disk = Tmpfs::new("12m");
    let paths = Paths::new(disk.path());
    let store = Store::open(&paths).unwrap();
    let body = "b".repeat(2000);
    for number in 0..200 {
        let id = format!("{number:04}");
        store.write(|tx| tx.insert(Noun::Container, &id, Phase::Ready, &body)).unwrap();
    }
    drop(store);
    fill(disk.path());
    let store = Store::open(&paths).unwrap();
    assert_eq!(store.read(|tx| tx.count(Noun::Container)).unwrap(), 200);
    for number in 0..200 {
        let id = format!("{number:04}");
        store.write(|tx| tx.set_phase(Noun::Container, &id, Phase::Removing)).unwrap();
        store.write(|tx| tx.delete(Noun::Container, &id)).unwrap();
    }
    assert_eq!(store.read(|tx| tx.count(Noun::Container)).unwrap(), 0);
    // What does not fit any more says so, and harms nothing.
    let large = "b".repeat(8_000_000);
    let error = store.write(|tx| tx.insert(Noun::Container, "large", Phase::Ready, &large)).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace, "{error}");
    std::fs::remove_file(disk.path().join("lost+found")).unwrap();
    store.write(|tx| tx.insert(Noun::Container, "large", Phase::Ready, &large)).unwrap();
}

#[test]
fn a_store_that_cannot_be_made_says_why() {
    let disk = Tmpfs::new("16k");
    fill(disk.path());
    let error = Store::open(&Paths::new(disk.path())).err().unwrap();
    assert_eq!(error.kind(), Kind::NoSpace, "{error}");
    let error = Store::open(&Paths::new("/proc/rhumb")).err().unwrap();
    assert!(matches!(error.kind(), Kind::PermissionDenied | Kind::NotFound), "{error:?}");
    let error = Store::open(&Paths::new("relative/root")).err().unwrap();
    assert_eq!(error.kind(), Kind::InvalidArgument);
}
