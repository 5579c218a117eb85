//! Images from registries that break off, lie, or ask who one is, and to them; all on loopback. What real registries and
//! other programs say of ours is in `tests/interop_registry.rs`.

#[path = "../support/mod.rs"]
mod support;

mod identity;
mod pulled;
mod server;

use std::path::PathBuf;

use support::Rhumb;
use support::process::Outcome;

/// The base image as an OCI layout, and a root without it.
fn layout() -> (Rhumb, PathBuf) {
    let rhumb = Rhumb::with_base();
    let path = rhumb.path("layout");
    rhumb.run(["save", "--format", "oci-dir", "-o", path.to_str().unwrap(), "base:1"]).ok();
    rhumb.run(["rmi", "base:1"]).ok();
    (rhumb, path)
}

/// Nothing is left of a pull that failed.
#[track_caller]
fn assert_nothing_came(rhumb: &Rhumb, outcome: &Outcome, kind: i32, text: &str) {
    outcome.fails_with(kind, text);
    assert_eq!(rhumb.run(["images", "-q"]).ok(), "");
    let blobs = std::fs::read_dir(rhumb.root().join("blobs/sha256")).unwrap().count();
    let layers = std::fs::read_dir(rhumb.root().join("layers")).unwrap().count();
    assert_eq!((blobs, layers), (0, 0), "{outcome}");
    rhumb.assert_consistent();
}
