//! Names that want out, on every type of entry and in every place where a name can be written; whiteouts; one name twice.

use super::raw::{Raw, archive, dir, file, gnu_long, hard_link, pax, symlink};
use super::{Arena, exists};

const TYPES: &[u8] = b"\x0001234567SDVMNAZ\xff";

#[test]
fn names_that_want_out_stay_in_on_every_type_of_entry() {
    let mut arena = Arena::new();
    let secret = arena.outside("secret");
    let names: Vec<Vec<u8>> = vec![
        secret.clone().into(),
        format!("..{secret}").into(),
        format!("{}{secret}", "../".repeat(30)).into(),
        format!("a/{}outside/secret", "../".repeat(8)).into(),
        b"../outside/secret".to_vec(),
        b"../../../../outside/dir/new".to_vec(),
        b"..".to_vec(),
        b"/..".to_vec(),
        b"./..".to_vec(),
        b"a/..".to_vec(),
        b"a/../..".to_vec(),
        b"...".to_vec(),
        b"".to_vec(),
        b"/".to_vec(),
        b".".to_vec(),
        b"//".to_vec(),
        b"//a///b//".to_vec(),
        b"a/./b/.".to_vec(),
        b"\\..\\..\\x".to_vec(),
        b"new\nline".to_vec(),
        b"\x1b[2J\xff\xfe".to_vec(),
        b" ".to_vec(),
        b"-rf".to_vec(),
        format!("/proc/self/root{secret}").into(),
        b"/proc/self/cwd/x".to_vec(),
        vec![b'n'; 255],
        vec![b'n'; 256],
        b"d/".repeat(300),
        b"d/".repeat(2100),
        vec![b'/'; 9000],
    ];
    for name in &names {
        for kind in TYPES {
            let what = format!("type {:?} named {:?}", char::from(*kind), String::from_utf8_lossy(name));
            let entry = Raw::new(*kind, if name.len() <= 100 { name } else { b"short" }, b"target", b"");
            arena.case(&format!("{what} in the header"), &archive(std::slice::from_ref(&entry)));
            arena.case(&format!("{what} in pax"), &archive(&[pax(&[("path", name)]), entry.clone()]));
            arena.case(&format!("{what} as a gnu long name"), &archive(&[gnu_long(b'L', name), entry]));
        }
        let entry = Raw::new(b'0', b"f", b"", b"");
        arena.case("a prefix", &archive(&[entry.put(345..500, &name[..name.len().min(155)])]));
    }
    assert!(arena.cases > 1000, "{}", arena.cases);
}

#[test]
fn dots_are_refused_and_a_leading_slash_is_dropped() {
    let mut arena = Arena::new();
    for name in ["../x", "a/../x", "..", "/../x", "a/b/../../../x", "./../x"] {
        arena.rejected(name, &archive(&[file(name, "x")]));
        arena.rejected(name, &archive(&[hard_link("h", name)]));
    }
    let secret = arena.outside("secret");
    let diff = arena.accepted("an absolute name", &archive(&[file(&secret, "mine")]));
    assert_eq!(std::fs::read_to_string(diff.join(&secret[1..])).unwrap(), "mine");
    arena.rejected("a NUL in a pax name", &archive(&[pax(&[("path", b"a\0b")]), file("x", "")]));
    arena.rejected("a file for the root", &archive(&[file(".", "")]));
    arena.accepted("a folder of old for the root", &archive(&[file("./", "")]));
    arena.rejected("a link for the root", &archive(&[symlink("/", "x")]));
    let diff = arena.accepted("odd bytes", &archive(&[pax(&[("path", b"\xff\n\x01")]), file("x", "1")]));
    assert_eq!(std::fs::read_dir(diff).unwrap().count(), 1);
}

#[test]
fn whiteouts_hide_one_plain_name_beside_them() {
    let mut arena = Arena::new();
    for name in
        [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh...", ".wh./x", ".wh../x", ".wh..../x", "d/.wh.x/y"]
    {
        for entry in [file(name, ""), dir(name), symlink(name, "/"), hard_link(name, "x")] {
            arena.rejected(name, &archive(&[file("x", ""), entry]));
        }
    }
    // aufs's own files are nothing; three dots are a plain name.
    for name in [".wh..wh.", ".wh..wh.plnk/1", ".wh..wh..opq/x", "d/.wh..wh..."] {
        arena.accepted(name, &archive(&[file(name, "x")]));
    }
    let diff = arena.accepted("three dots", &archive(&[file(".wh....", "")]));
    assert!(exists(&diff.join("...")));
    let diff = arena.accepted("a whiteout with content", &archive(&[file("d/.wh.x", "content"), file("after", "1")]));
    assert!(exists(&diff.join("d/x")) && std::fs::read(diff.join("after")).unwrap() == b"1");
    for entry in [file("x", "new"), dir("x"), symlink("x", "y")] {
        let diff = arena.accepted("a whiteout first", &archive(&[file(".wh.x", ""), entry.clone()]));
        let kind = std::fs::symlink_metadata(diff.join("x")).unwrap().file_type();
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink());
        let diff = arena.accepted("a whiteout last", &archive(&[entry, file(".wh.x", "")]));
        let kind = std::fs::symlink_metadata(diff.join("x")).unwrap().file_type();
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink());
    }
    arena.rejected("a whiteout below a file", &archive(&[file("f", ""), file("f/.wh.x", "")]));
    arena.rejected("opaque below a file", &archive(&[file("f", ""), file("f/.wh..wh..opq", "")]));
}

#[test]
fn one_name_twice_is_what_came_last() {
    let mut arena = Arena::new();
    let secret = arena.outside("secret");
    let kinds = |name: &str| {
        vec![
            file(name, "content"),
            hard_link(name, "other"),
            symlink(name, &secret),
            symlink(name, "."),
            Raw::new(b'3', name.as_bytes(), b"", b""),
            Raw::new(b'4', name.as_bytes(), b"", b""),
            dir(name),
            Raw::new(b'6', name.as_bytes(), b"", b""),
        ]
    };
    for (number, first) in kinds("n").into_iter().enumerate() {
        for (last_number, last) in kinds("n").into_iter().enumerate() {
            let what = format!("{number} then {last_number}");
            let entries = [file("other", "o"), first.clone(), last.clone(), last];
            let diff = arena.accepted(&what, &archive(&entries));
            use std::os::unix::fs::FileTypeExt as _;
            let kind = std::fs::symlink_metadata(diff.join("n")).unwrap().file_type();
            let right = match last_number {
                0 | 1 => kind.is_file(),
                2 | 3 => kind.is_symlink(),
                4 => kind.is_char_device(),
                5 => kind.is_block_device(),
                6 => kind.is_dir(),
                _ => kind.is_fifo(),
            };
            assert!(right, "{what}: {kind:?}");
            assert_eq!(std::fs::read_to_string(diff.join("other")).unwrap(), "o", "{what}");
        }
        let what = format!("{number} then something below it");
        arena.case(&what, &archive(&[file("other", "o"), first.clone(), file("n/x", "x")]));
        arena.case(&what, &archive(&[file("n/x", "x"), first, file("n/y", "y")]));
    }
}
