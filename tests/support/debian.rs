//! Debian with what some tests need, made from its packages: a compiler and Python, or a database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Rhumb;
use super::process;

/// Bootstrapping Debian, and what is built of it, takes a while.
pub(crate) const SLOW: Duration = Duration::from_secs(600);
/// The packages of `debian:base`.
const PACKAGES: [&str; 6] = ["gcc", "libc6-dev", "make", "python3-pip", "python3-setuptools", "python3-wheel"];

/// The image `debian:base` as an archive, which is made once and kept beside what is built.
pub(crate) fn archive(rhumb: &Rhumb) -> PathBuf {
    archive_of(rhumb, "debian", &PACKAGES)
}

/// The image `NAME:base` with these packages as an archive, as [`archive`].
pub(crate) fn archive_of(rhumb: &Rhumb, name: &str, packages: &[&str]) -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interop-{name}.tar"));
    let tag = format!("{name}:base");
    if !kept.exists() {
        let mut command = rhumb.command(["image", "bootstrap", "bookworm", "--tag", &tag]);
        for package in packages {
            command.args(["--package", package]);
        }
        process::run(&mut command, None, SLOW).ok();
        let beside = kept.with_extension("new");
        rhumb.run(["save", "-o", beside.to_str().unwrap(), &tag]).ok();
        std::fs::rename(beside, &kept).unwrap();
    }
    kept
}
