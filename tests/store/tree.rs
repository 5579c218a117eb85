//! Trees for tests, and the account of one that two trees are compared by.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rhumb::base::{Digest, Paths};
use rhumb::store::Store;

/// A store in a folder of its own.
pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Paths::new(folder.path().join("root"))).unwrap();
    (folder, store)
}

/// Runs a program to success.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Everything that a tar can carry, in one tree.
pub(crate) fn make_everything(root: &Path) {
    std::fs::create_dir_all(root.join("dir/sub")).unwrap();
    let long = "long-".repeat(45);
    std::fs::create_dir_all(root.join(&long).join(&long)).unwrap();
    std::fs::write(root.join(&long).join(&long).join("leaf"), "leaf").unwrap();
    std::fs::write(root.join("dir/file"), "content").unwrap();
    std::fs::write(root.join("dir/empty"), "").unwrap();
    std::fs::write(root.join("dir/sub/big"), vec![7u8; 3_000_001]).unwrap();
    std::fs::write(root.join("new\nline \u{fc}"), "x").unwrap();
    std::fs::hard_link(root.join("dir/file"), root.join("hard")).unwrap();
    symlink("dir/file", root.join("link")).unwrap();
    symlink(format!("/nowhere/{long}"), root.join("dangling")).unwrap();
    std::fs::hard_link(root.join("link"), root.join("link2")).unwrap();
    let mut script = std::fs::File::create(root.join("suid")).unwrap();
    script.write_all(b"#!/bin/sh\n").unwrap();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    run("chown", &["1234:3000000", &path("dir/sub/big")]);
    run("chown", &["-h", "55:66", &path("link")]);
    run("chown", &["4000000000:7", &path("suid")]);
    std::fs::set_permissions(root.join("suid"), std::fs::Permissions::from_mode(0o6711)).unwrap();
    std::fs::set_permissions(root.join("dir/sub"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    run("mknod", &[&path("null"), "c", "1", "3"]);
    run("mknod", &["-m", "0640", &path("disk"), "b", "8", "17"]);
    run("mkfifo", &["-m", "0622", &path("pipe")]);
    let sparse = std::fs::File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"first", 1 << 20).unwrap();
    sparse.write_all_at(b"second", 5 << 20).unwrap();
    sparse.set_len((9 << 20) + 17).unwrap();
    std::fs::File::create(root.join("hole")).unwrap().set_len(1 << 22).unwrap();
    set_xattr(&root.join("dir/file"), "user.note", b"a\nb");
    set_xattr(&root.join("dir"), "user.folder", &[0, 1, 255]);
    // cap_net_raw=ep, version 2 (capabilities(7)).
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_xattr(&root.join("dir/sub/big"), "security.capability", &capability);
    for (name, time) in
        [("dir/file", "@-5.25"), ("suid", "@1700000000.123456789"), ("dir/sub", "@1000"), ("dir", "@999")]
    {
        run("touch", &["-d", time, &path(name)]);
    }
    run("touch", &["-h", "-d", "@77", &path("link")]);
}

pub(crate) fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = rhumb::sys::path::Dir::open(path.parent().unwrap()).unwrap();
    let file = path.file_name().unwrap().as_bytes();
    rhumb::sys::node::set_xattr(&dir, file, name.as_bytes(), value).unwrap();
}

/// One line for everything below `root`, and for `root` itself. Times are to the second unless `nanoseconds`.
pub(crate) fn account(root: &Path, nanoseconds: bool) -> BTreeMap<PathBuf, String> {
    let mut lines = BTreeMap::new();
    let mut links = BTreeMap::new();
    // Not by recursion: a hostile tree may be deeper than the stack.
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let path = root.join(&relative);
        lines.insert(relative.clone(), line(&path, &relative, nanoseconds, &mut links));
        if std::fs::symlink_metadata(&path).unwrap().is_dir() {
            let mut names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            waiting.extend(names.into_iter().rev().map(|name| relative.join(name)));
        }
    }
    lines
}

fn line(path: &Path, relative: &Path, nanoseconds: bool, links: &mut BTreeMap<u64, PathBuf>) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let facts = std::fs::symlink_metadata(path).unwrap();
    let kind = facts.file_type();
    let content = if kind.is_file() && facts.len() < 1 << 30 {
        let mut file = std::fs::File::open(path).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        Digest::of(&bytes).to_string()
    } else if kind.is_symlink() {
        format!("{:?}", std::fs::read_link(path).unwrap())
    } else if kind.is_block_device() || kind.is_char_device() {
        facts.rdev().to_string()
    } else {
        String::new()
    };
    let dir = rhumb::sys::path::Dir::open(path.parent().unwrap()).unwrap();
    let xattrs = rhumb::sys::node::xattrs(&dir, path.file_name().unwrap().as_bytes()).unwrap();
    let nanos = if nanoseconds { facts.mtime_nsec() } else { 0 };
    let first = if kind.is_dir() { relative } else { links.entry(facts.ino()).or_insert(relative.to_owned()) };
    let size = if kind.is_dir() { 0 } else { facts.len() };
    format!(
        "{:o} {}:{} {size} {}.{nanos} {content} {xattrs:?} same as {first:?}",
        facts.mode(),
        facts.uid(),
        facts.gid(),
        facts.mtime(),
    )
}

/// Compares two accounts and shows the first lines that differ.
#[track_caller]
pub(crate) fn assert_same(left: &BTreeMap<PathBuf, String>, right: &BTreeMap<PathBuf, String>) {
    let mut differences = Vec::new();
    for path in left.keys().chain(right.keys()) {
        if left.get(path) != right.get(path) {
            differences.push(format!("{path:?}\n  {:?}\n  {:?}", left.get(path), right.get(path)));
        }
    }
    differences.dedup();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
