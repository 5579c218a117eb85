//! Links that lead out, and everything that can be tried through them.

use super::raw::{Raw, archive, dir, file, hard_link, pax, symlink};
use super::{Arena, exists};

#[test]
fn nothing_is_done_through_a_link_to_the_outside() {
    let mut arena = Arena::new();
    let outside = arena.outside("");
    let up = "../".repeat(30);
    let chains: Vec<(&str, Vec<Raw>)> = vec![
        ("absolute", vec![symlink("link", &outside)]),
        ("relative", vec![symlink("link", &format!("{up}{}", &outside[1..]))]),
        ("the root", vec![symlink("link", "/")]),
        ("dots", vec![symlink("link", "../../..")]),
        ("itself", vec![symlink("link", "link")]),
        ("a loop", vec![symlink("link", "loop"), symlink("loop", "link")]),
        ("two steps", vec![symlink("a", &outside), symlink("link", "a")]),
        ("through a folder", vec![dir("d"), symlink("d/a", &outside), symlink("link", "d/a")]),
        ("process", vec![symlink("link", "/proc/self/cwd")]),
        ("magic", vec![symlink("link", "/proc/self/root")]),
        ("descriptor", vec![symlink("link", "/proc/self/fd/3")]),
        ("a file", vec![symlink("link", &format!("{outside}secret"))]),
        ("nowhere", vec![symlink("link", "nowhere")]),
        ("hard", vec![symlink("a", &outside), hard_link("link", "a")]),
        ("a folder that became a link", vec![dir("link"), file("link/x", ""), symlink("link", &outside)]),
    ];
    let big = pax(&[("SCHILY.xattr.user.evil", b"1"), ("mtime", b"5.5"), ("uid", b"4242")]);
    let tries: Vec<(&str, Vec<Raw>)> = vec![
        ("a file below", vec![file("link/secret", "evil")]),
        ("a new file below", vec![file("link/new/deep", "evil")]),
        ("a folder below", vec![dir("link/dir").put(super::raw::MODE, b"0000777")]),
        ("a link below", vec![symlink("link/secret", "evil")]),
        ("a hard link below", vec![file("mine", "evil"), hard_link("link/secret", "mine")]),
        ("a hard link from", vec![hard_link("mine", "link/secret"), file("mine", "evil")]),
        ("a hard link to the link", vec![hard_link("mine", "link"), file("mine", "evil")]),
        ("a device below", vec![Raw::new(b'3', b"link/secret", b"", b"")]),
        ("a pipe below", vec![Raw::new(b'6', b"link/secret", b"", b"")]),
        ("a whiteout below", vec![file("link/.wh.secret", "")]),
        ("a whiteout of a folder below", vec![file("link/.wh.dir", "")]),
        ("opaque below", vec![file("link/.wh..wh..opq", "")]),
        ("the link as a file", vec![file("link", "evil")]),
        ("the link as a folder", vec![dir("link").put(super::raw::MODE, b"0000777"), file("link/secret", "evil")]),
        ("attributes of the link", vec![big.clone(), symlink("link", &outside)]),
        ("attributes through", vec![big.clone(), file("link/secret", "evil")]),
        ("attributes of a folder", vec![big, dir("link/dir")]),
        ("a whiteout of the link", vec![file(".wh.link", ""), file("link/secret", "evil")]),
    ];
    for (chain_name, chain) in &chains {
        for (try_name, attempt) in &tries {
            let entries = [chain.as_slice(), attempt].concat();
            arena.case(&format!("{chain_name}: {try_name}"), &archive(&entries));
        }
    }
    assert!(arena.cases > 250, "{}", arena.cases);
}

#[test]
fn hard_links_stay_inside_and_change_nothing() {
    let mut arena = Arena::new();
    let secret = arena.outside("secret");
    for target in [secret.as_str(), "../outside/secret", "../../outside/secret", "missing", "", ".", "/", "d", "d/../x"]
    {
        arena.rejected(target, &archive(&[dir("d"), hard_link("h", target)]));
    }
    // A hard link to a symbolic link is one more name of the link, and a file of that name replaces it.
    let entries = [symlink("s", &secret), hard_link("h", "s"), file("h", "mine")];
    let diff = arena.accepted("a write through", &archive(&entries));
    assert_eq!(std::fs::read_to_string(diff.join("h")).unwrap(), "mine");
    let chmod = hard_link("h", "f").put(super::raw::MODE, b"0006777").put(super::raw::UID, b"0000777");
    let diff = arena.accepted("a chmod through", &archive(&[file("f", "x"), chmod]));
    use std::os::unix::fs::MetadataExt as _;
    let facts = std::fs::metadata(diff.join("f")).unwrap();
    assert_eq!((facts.mode() & 0o7777, facts.uid(), facts.nlink()), (0o755, 0, 2));
    let diff = arena.accepted("itself", &archive(&[file("f", "x"), hard_link("f", "f"), hard_link("./f", "/f")]));
    assert_eq!(std::fs::read_to_string(diff.join("f")).unwrap(), "x");
    let sized = hard_link("h", "f").put(super::raw::SIZE, b"00000000007");
    let diff = arena.accepted("a size", &archive(&[file("f", "x"), sized, file("after", "1")]));
    assert!(exists(&diff.join("after")));
}

#[test]
fn links_inside_the_layer_are_followed_inside() {
    let mut arena = Arena::new();
    let entries = [dir("usr"), dir("usr/lib"), symlink("lib", "/usr/lib"), file("lib/x", "1"), file("lib/.wh.y", "")];
    let diff = arena.accepted("a merged lib", &archive(&entries));
    assert_eq!(std::fs::read_to_string(diff.join("usr/lib/x")).unwrap(), "1");
    assert!(exists(&diff.join("usr/lib/y")) && std::fs::symlink_metadata(diff.join("lib")).unwrap().is_symlink());
}

#[test]
fn attributes_that_steer_the_union_are_dropped() {
    let mut arena = Arena::new();
    let mut records: Vec<(String, &[u8])> = Vec::new();
    for prefix in ["trusted.overlay.", "user.overlay."] {
        for name in ["opaque", "redirect", "metacopy", "whiteout", "whiteouts", "origin", "impure", "nlink", "upper"] {
            records.push((format!("SCHILY.xattr.{prefix}{name}"), b"y"));
        }
    }
    for name in ["security.selinux", "security.evil", "system.evil", "trusted.other", "nonsense", "user."] {
        records.push((format!("SCHILY.xattr.{name}"), b"y"));
    }
    let records: Vec<(&str, &[u8])> = records.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    for entry in [file("n", "x"), dir("n"), symlink("n", "x"), Raw::new(b'3', b"n", b"", b""), dir("./")] {
        let diff = arena.accepted("steering", &archive(&[pax(&records), entry]));
        let lines = format!("{:?}", crate::tree::account(&diff, false));
        for word in ["overlay", "evil", "selinux", "nonsense", "trusted"] {
            assert!(!lines.contains(word), "{word} in {lines}");
        }
    }
}
