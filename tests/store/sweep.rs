//! What nobody uses goes, what somebody uses stays, and what is broken is found.

use rhumb::base::{Digest, Kind};
use rhumb::model::image::Layer;
use rhumb::model::system::CheckOptions;
use rhumb::store::Store;
use rhumb::store::db::{Noun, Phase};
use rhumb::store::layer::LayerSource;
use rhumb::store::pack::{PackOptions, pack};

use crate::tree::store;

/// A layer with one file that holds `text`.
fn layer(store: &Store, text: &str) -> Layer {
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("file"), text).unwrap();
    let mut bytes = Vec::new();
    pack(tree.path(), &PackOptions::default(), &mut bytes).unwrap();
    store.layer_import(&mut bytes.as_slice(), &LayerSource::default()).unwrap()
}

fn image(store: &Store, layer: &Layer) -> String {
    let id = Digest::of(layer.chain_id.as_str().as_bytes()).to_string();
    store
        .write(|tx| {
            tx.insert(Noun::Image, &id, Phase::Ready, &())?;
            tx.add_use((Noun::Image, &id), (Noun::Layer, layer.chain_id.as_str()))
        })
        .unwrap();
    id
}

fn count(store: &Store, folder: &str) -> usize {
    std::fs::read_dir(store.paths().root().join(folder)).unwrap().count()
}

#[test]
fn what_no_record_uses_is_swept_with_its_blob() {
    let (_folder, store) = store();
    let (used, unused) = (layer(&store, "used"), layer(&store, "unused"));
    let loose = store.blob_put(b"loose").unwrap();
    let id = image(&store, &used);
    let swept = store.sweep().unwrap();
    assert_eq!(swept.layers, std::slice::from_ref(&unused.chain_id));
    assert_eq!(swept.blobs, [unused.blob.clone(), loose.digest]);
    assert_eq!(swept.freed_bytes, 6 + unused.blob_size_bytes + 5);
    assert!(swept.leftovers.is_empty(), "{swept:?}");
    assert!(store.layer_get(&used.chain_id).unwrap().is_some() && store.blob_open(&used.blob).is_ok());
    assert!(store.layer_get(&unused.chain_id).unwrap().is_none());
    assert_eq!((count(&store, "layers"), count(&store, "blobs/sha256"), count(&store, "tmp")), (1, 1, 0));
    store.write(|tx| tx.delete(Noun::Image, &id)).unwrap();
    assert_eq!(store.sweep().unwrap().layers, [used.chain_id]);
    assert_eq!(store.sweep().unwrap(), Default::default());
}

#[test]
fn a_lease_keeps_imports_until_a_record_uses_them() {
    let (_folder, store) = store();
    let other = Store::open(store.paths()).unwrap();
    let lease = store.lease().unwrap();
    let layer = layer(&store, "x");
    let blob = store.blob_put(b"config").unwrap();
    assert_eq!(other.sweep().unwrap(), Default::default());
    assert!(other.read(|tx| tx.users((Noun::Layer, layer.chain_id.as_str()))).unwrap().is_empty());
    image(&store, &layer);
    drop(lease);
    assert_eq!(other.sweep().unwrap().blobs, [blob.digest]);
    assert!(store.layer_get(&layer.chain_id).unwrap().is_some());
    assert_eq!(std::fs::read_dir(store.paths().locks()).unwrap().count(), 2, "store and publish alone");
}

#[test]
fn the_lease_of_a_dead_process_holds_nothing_back() {
    let (_folder, store) = store();
    let lease = store.lease().unwrap();
    let layer = layer(&store, "x");
    // As after a kill and a boot: the uses are on record, the lock is not held and its file is gone.
    for entry in std::fs::read_dir(store.paths().locks()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("lease-") {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::mem::forget(lease);
    assert_eq!(store.sweep().unwrap().layers, [layer.chain_id]);
}

#[test]
fn imports_and_sweeps_at_once_never_lose_a_used_layer() {
    let (_folder, store) = store();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let paths = store.paths();
            scope.spawn(move || {
                let store = Store::open(paths).unwrap();
                for round in 0..15 {
                    let _lease = store.lease().unwrap();
                    // All threads make the same layers, and sweeps take them in between.
                    let made = layer(&store, &format!("{}", round % 3));
                    let text = std::fs::read_to_string(store.layer_diff(&made.chain_id).join("file")).unwrap();
                    assert_eq!(text, format!("{}", round % 3), "thread {thread}");
                    store.blob_verify(&made.blob).unwrap();
                }
            });
        }
        let sweeper = Store::open(store.paths()).unwrap();
        scope.spawn(move || {
            for _ in 0..60 {
                sweeper.sweep().unwrap();
            }
        });
    });
    store.sweep().unwrap();
    let options = CheckOptions { rehash: true, repair: false };
    assert_eq!(store.check(options).unwrap().problems, []);
    assert_eq!((count(&store, "layers"), count(&store, "blobs/sha256"), count(&store, "tmp")), (0, 0, 0));
}

#[test]
fn a_check_finds_every_damage_and_repairs_what_it_can() {
    let (_folder, store) = store();
    let (a, b, c) = (layer(&store, "a"), layer(&store, "b"), layer(&store, "c"));
    for layer in [&a, &b, &c] {
        image(&store, layer);
    }
    let all = CheckOptions { rehash: true, repair: false };
    assert_eq!(store.check(all).unwrap().problems, []);
    let mut bytes = std::fs::read(store.blob_path(&a.blob)).unwrap();
    bytes[700] ^= 1;
    std::fs::write(store.blob_path(&a.blob), bytes).unwrap();
    std::fs::remove_dir_all(store.layer_diff(&b.chain_id)).unwrap();
    std::fs::remove_file(store.blob_path(&c.blob)).unwrap();
    std::fs::create_dir(store.paths().layers().join("stray")).unwrap();
    std::fs::write(store.paths().tmp().join("half"), "x").unwrap();
    store.write(|tx| tx.name(Noun::Volume, "lost", "nobody")).unwrap();
    let report = store.check(all).unwrap();
    let found: Vec<_> = report.problems.iter().map(|problem| (problem.noun.as_str(), problem.name.as_str())).collect();
    let expected = [
        ("blob", a.blob.as_str()),
        ("blob", c.blob.as_str()),
        ("layer", b.chain_id.as_str()),
        ("record", "lost"),
        ("folder", "layers/stray"),
        ("folder", "tmp/half"),
    ];
    assert_eq!(found, expected, "{report:?}");
    assert_eq!(store.check(CheckOptions::default()).unwrap().problems.len(), 5, "a flipped bit takes a rehash");
    let report = store.check(CheckOptions { rehash: true, repair: true }).unwrap();
    let repaired: Vec<_> = report.problems.iter().map(|problem| problem.repaired).collect();
    assert_eq!(repaired, [false, false, true, true, true, true], "{report:?}");
    assert_eq!(std::fs::read_to_string(store.layer_diff(&b.chain_id).join("file")).unwrap(), "b");
    assert_eq!(store.check(all).unwrap().problems.len(), 2);
    assert_eq!(store.blob_verify(&a.blob).unwrap_err().kind(), Kind::Corrupt);
}
