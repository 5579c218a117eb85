//! Hostile archives (RELIABILITY.md, "Hostile input"): each is rejected or contained. Nothing outside the layer changes,
//! nothing is left half-made, nothing panics, nothing takes long.

mod headers;
mod links;
mod names;
mod raw;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rhumb::base::{Kind, Paths, Result};
use rhumb::model::image::Layer;
use rhumb::store::Store;
use rhumb::store::layer::LayerSource;

use crate::disk::Tmpfs;
use crate::tree::account;

/// A store on a small disk of its own, and beside it what must not change.
struct Arena {
    disk: Tmpfs,
    store: Store,
    before: BTreeMap<PathBuf, String>,
    cases: u32,
}

/// What came of a case.
struct Verdict {
    result: Result<Layer>,
    /// The layer's folder, when there is one.
    diff: PathBuf,
}

impl Arena {
    fn new() -> Arena {
        let disk = Tmpfs::new("48m");
        let outside = disk.path().join("outside");
        std::fs::create_dir_all(outside.join("dir")).unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        std::fs::write(outside.join("dir/file"), "file").unwrap();
        std::os::unix::fs::symlink("secret", outside.join("link")).unwrap();
        let store = Store::open(&Paths::new(disk.path().join("root"))).unwrap();
        let before = account(&outside, true);
        Arena { disk, store, before, cases: 0 }
    }

    /// The absolute path of something outside.
    fn outside(&self, name: &str) -> String {
        self.disk.path().join("outside").join(name).to_str().unwrap().to_owned()
    }

    /// Imports an archive and checks everything that holds for every archive.
    #[track_caller]
    fn case(&mut self, what: &str, bytes: &[u8]) -> Verdict {
        self.case_from(what, &mut &bytes[..])
    }

    #[track_caller]
    fn case_from(&mut self, what: &str, reader: &mut dyn std::io::Read) -> Verdict {
        self.cases += 1;
        self.store.sweep().unwrap();
        let begin = Instant::now();
        let result = self.store.layer_import(reader, &LayerSource::default());
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(5), "{what}: took {took:?}");
        assert_eq!(account(&self.disk.path().join("outside"), true), self.before, "{what}: changed the outside");
        let count = |folder: PathBuf| std::fs::read_dir(folder).unwrap().count();
        let paths = self.store.paths();
        let left = account(&paths.tmp(), false);
        assert_eq!(left.len(), 1, "{what}: left something in tmp: {left:?} ({result:?})");
        let kept = usize::from(result.is_ok());
        assert_eq!((count(paths.layers()), count(paths.blobs())), (kept, kept), "{what}: {result:?}");
        let diff = match &result {
            Ok(layer) => {
                let diff = self.store.layer_diff(&layer.chain_id);
                for (path, line) in account(&diff, false) {
                    let steers = line.contains("trusted.overlay.") && !line.contains("trusted.overlay.opaque");
                    assert!(!steers && !line.contains("user.overlay."), "{what}: {path:?} {line}");
                }
                diff
            }
            Err(error) => {
                let expected = [Kind::Corrupt, Kind::InvalidArgument, Kind::Unsupported, Kind::NoSpace];
                assert!(expected.contains(&error.kind()), "{what}: {error:?}");
                assert!(error.to_string().len() < 1500 && !error.to_string().contains('\n'), "{what}: {error}");
                PathBuf::new()
            }
        };
        Verdict { result, diff }
    }

    /// As [`Arena::case`] for what must be rejected.
    #[track_caller]
    fn rejected(&mut self, what: &str, bytes: &[u8]) -> Kind {
        match self.case(what, bytes).result {
            Ok(layer) => panic!("{what}: accepted as {layer:?}"),
            Err(error) => error.kind(),
        }
    }

    /// As [`Arena::case`] for what must be accepted; returns the layer's folder.
    #[track_caller]
    fn accepted(&mut self, what: &str, bytes: &[u8]) -> PathBuf {
        let verdict = self.case(what, bytes);
        match verdict.result {
            Ok(_) => verdict.diff,
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// Whether anything has this name, links too.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
