//! Headers that lie, archives that end too early, and single bytes that were flipped.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::raw::{
    CHECKSUM, MAJOR, MODE, MTIME, Raw, SIZE, UID, archive, dir, file, gnu_long, gnu_sparse, pax, pax_raw, symlink,
};
use super::{Arena, exists};
use rhumb::base::Kind;

/// An archive with some of everything.
fn sample() -> Vec<u8> {
    archive(&[
        dir("d/"),
        file("d/one", &"1".repeat(700)),
        pax(&[("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b"), ("path", "p".repeat(150).as_bytes())]),
        file("x", "two"),
        symlink("s", "d/one"),
        gnu_long(b'L', &[b'l'; 120]),
        file("x", "three"),
        super::raw::hard_link("h", "d/one"),
        pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9000")]),
        Raw::new(b'0', b"sparse", b"", &[format!("{:\0<512}", "1\n8000\n3\n").as_bytes(), b"abc"].concat()),
        file("d/.wh.gone", ""),
        file("last", "last"),
    ])
}

fn through(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn an_archive_cut_anywhere_is_refused() {
    let mut arena = Arena::new();
    let plain = sample();
    arena.accepted("whole", &plain);
    for end in (0..plain.len()).step_by(256) {
        let what = format!("cut at {end} of {}", plain.len());
        assert_eq!(arena.rejected(&what, &plain[..end]), Kind::Corrupt, "{what}");
    }
    for compressed in [through("gzip", &plain), through("zstd", &plain)] {
        arena.accepted("whole", &compressed);
        for end in (8..compressed.len()).step_by(7) {
            let what = format!("compressed, cut at {end} of {}", compressed.len());
            assert_eq!(arena.rejected(&what, &compressed[..end]), Kind::Corrupt, "{what}");
        }
    }
}

#[test]
fn flipped_bytes_are_refused_or_contained() {
    let mut arena = Arena::new();
    let plain = sample();
    let zipped = through("gzip", &plain);
    let framed = through("zstd", &plain);
    // The same numbers every time.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for (name, bytes) in [("plain", &plain), ("gzip", &zipped), ("zstd", &framed)] {
        for round in 0..250 {
            let mut bytes = bytes.clone();
            for _ in 0..1 + round % 3 {
                let at = random() % bytes.len();
                bytes[at] = random() as u8;
            }
            arena.case(&format!("{name} flipped, round {round}"), &bytes);
        }
    }
    // With true checksums, so that the fields themselves are reached.
    for round in 0..300 {
        let mut header = [0u8; 512];
        header.copy_from_slice(&file("name", "").bytes()[..512]);
        for _ in 0..1 + round % 4 {
            header[random() % 512] = random() as u8;
        }
        let entry = Raw::new(header[156], &header[..100], &header[157..257], b"content").put(257..512, &header[257..]);
        let entry = entry.put(MODE, &header[MODE]).put(UID, &header[UID]).put(MTIME, &header[MTIME]);
        arena.case(&format!("fields flipped, round {round}"), &archive(&[entry, file("after", "x")]));
    }
}

#[test]
fn what_follows_the_end_is_ignored_but_hashed() {
    let mut arena = Arena::new();
    let mut bytes = sample();
    bytes.extend_from_slice(&file("../evil", "x").bytes());
    bytes.extend_from_slice(b"junk");
    let verdict = arena.case("junk behind the end", &bytes);
    assert_eq!(verdict.result.unwrap().diff_id, rhumb::base::Digest::of(&bytes));
    assert!(!exists(&verdict.diff.join("evil")));
    let zipped = through("gzip", &sample());
    arena.rejected("junk behind a gzip member", &[&zipped[..], b"junk and more junk"].concat());
    let halves = sample();
    let (first, second) = halves.split_at(1000);
    arena.accepted("two members", &[through("gzip", first), through("gzip", second)].concat());
    arena.accepted("two frames", &[through("zstd", first), through("zstd", second)].concat());
    for bytes in [&b""[..], b"x", b"not a tar at all", &[0x1f, 0x8b], &[0x1f, 0x8b, 8, 0, 0, 0], &[0; 512], &[1; 2048]]
    {
        arena.rejected("no archive", bytes);
    }
    arena.accepted("an empty archive", &[0; 1024]);
}

#[test]
fn numbers_that_lie_are_refused_or_clamped() {
    let mut arena = Arena::new();
    let base256 = |bytes: &[u8]| {
        let mut field = [0u8; 12];
        field[0] = 0x80;
        field[12 - bytes.len()..].copy_from_slice(bytes);
        field
    };
    let sizes = [&b"77777777777"[..], &base256(&[0x7f; 8]), &base256(&[0xff; 8]), &[0xff; 12], b"9", b"-1", b"1e3"];
    for size in sizes {
        for kind in [b'0', b'x', b'g', b'L', b'K', b'S', b'V', b'5', b'3', b'6', b'7'] {
            let what = format!("size {size:?} on {:?}", char::from(kind));
            let entry = Raw::new(kind, b"n", b"", b"").put(SIZE, size);
            arena.rejected(&what, &archive(&[entry, file("after", "x")]));
        }
    }
    for size in ["1", "511", "513", "18446744073709551615", "18446744073709551616", "-1", "x", "9223372036854775807"] {
        arena.case(
            &format!("pax size {size}"),
            &archive(&[pax(&[("size", size.as_bytes())]), file("n", &"x".repeat(600))]),
        );
    }
    for (what, entry) in [
        ("a wrong checksum", file("n", "").put(CHECKSUM, b"0000001")),
        ("a checksum of letters", file("n", "").put(CHECKSUM, b"abcdefg")),
        ("letters for the mode", file("n", "").put(MODE, b"rwxr-xr")),
        ("letters for the owner", file("n", "").put(UID, b"root")),
        ("a negative owner", file("n", "").put(UID, &[0xff; 8])),
        ("the owner that means unchanged", file("n", "").put(UID, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])),
        ("an owner over 32 bits", file("n", "").put(UID, &[0x80, 0, 0, 1, 0, 0, 0, 0])),
        ("a device number over 32 bits", Raw::new(b'3', b"n", b"", b"").put(MAJOR, &[0x80, 0, 1, 0, 0, 0, 0, 0])),
        ("a folder with content", Raw::new(b'5', b"n", b"", b"content")),
        ("a device with content", Raw::new(b'3', b"n", b"", b"content")),
        ("a slash behind a file with content", file("n/", "content")),
        ("a link to nothing", symlink("n", "")),
    ] {
        arena.rejected(what, &archive(&[entry]));
    }
    for time in [&[0xff; 12][..], &[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], b"77777777777"] {
        arena.accepted("an odd time", &archive(&[file("n", "").put(MTIME, time)]));
    }
    for (key, value) in
        [("uid", "4294967295"), ("uid", "-1"), ("gid", "99999999999999999999"), ("mtime", "nan"), ("mtime", "1e9")]
    {
        arena.rejected(&format!("{key}={value}"), &archive(&[pax(&[(key, value.as_bytes())]), file("n", "")]));
    }
    let diff = arena.accepted("all mode bits", &archive(&[file("n", "").put(MODE, b"7777777")]));
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(std::fs::metadata(diff.join("n")).unwrap().mode(), 0o107_777);
}

#[test]
fn extended_headers_that_lie_are_refused() {
    let mut arena = Arena::new();
    for body in [
        &b"x"[..],
        b"0 a=b\n",
        b"99999 a=b\n",
        b"6 a=bc",
        b"7 a b c\n",
        b"-5 a=b\n",
        b"6\na=b\n",
        b"\0\0\0\0",
        b"6 a=b\n6 ",
    ] {
        arena.rejected(&format!("{body:?}"), &archive(&[pax_raw(body), file("n", "")]));
    }
    arena.rejected("two MiB of pax", &archive(&[pax(&[("comment", &vec![b'c'; 2 << 20])]), file("n", "")]));
    arena.rejected("two MiB of name", &archive(&[gnu_long(b'L', &vec![b'n'; 2 << 20]), file("n", "")]));
    arena.rejected("nothing after pax", &archive(&[pax(&[("path", b"n")])]));
    arena.rejected("nothing after a long name", &archive(&[gnu_long(b'L', b"n")]));
    arena.accepted(
        "a thousand extended headers",
        &archive(&[vec![pax(&[("path", b"p")]); 1000], vec![file("n", "")]].concat()),
    );
    let global = Raw::new(b'g', b"g", b"", b"17 path=../evil\n\n");
    let diff = arena.accepted("a global header", &archive(&[global, file("n", "")]));
    assert!(exists(&diff.join("n")));
    let diff = arena.accepted("pax wins", &archive(&[pax(&[("path", b"pax")]), gnu_long(b'L', b"gnu"), file("n", "")]));
    assert!(exists(&diff.join("pax")));
    arena.case("a huge attribute", &archive(&[pax(&[("SCHILY.xattr.user.a", &vec![b'v'; 200_000])]), file("n", "")]));
    let capability = [("SCHILY.xattr.security.capability", &b"nonsense"[..])];
    arena.rejected("a broken capability", &archive(&[pax(&capability), file("n", "")]));
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    let mut arena = Arena::new();
    let version1 = |map: &str, content: &[u8], real: &str| {
        let records: [(&str, &[u8]); 3] =
            [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", real.as_bytes())];
        let map = format!("{map:\0<width$}", width = map.len().next_multiple_of(512));
        archive(&[pax(&records), Raw::new(b'0', b"n", b"", &[map.as_bytes(), content].concat()), file("after", "x")])
    };
    arena.accepted("a true map", &version1("1\n100\n3\n", b"abc", "1000"));
    for map in [
        "",
        "\n",
        "x\n",
        "1\n",
        "1\n0\n",
        "2\n0\n1\n0\n2\n",
        "1\n999\n3\n",
        "1\n0\n4\n",
        "99999999999\n",
        "-1\n0\n3\n",
        "1\n18446744073709551615\n3\n",
        "18446744073709551616\n",
        "1 0 3",
        "1\n0\n3",
    ] {
        arena.rejected(&format!("version 1 map {map:?}"), &version1(map, b"abc", "1000"));
    }
    arena.case("a huge hole", &version1("1\n0\n3\n", b"abc", "9223372036854775807"));
    arena.case("a larger hole", &version1("1\n0\n3\n", b"abc", "18446744073709551615"));
    let diff = arena.accepted("a hole larger than the disk", &version1("1\n0\n3\n", b"abc", "10000000000"));
    assert_eq!(std::fs::metadata(diff.join("n")).unwrap().len(), 10_000_000_000);
    for records in [
        vec![("GNU.sparse.map", "0,3")],
        vec![("GNU.sparse.map", "0"), ("GNU.sparse.size", "9")],
        vec![("GNU.sparse.map", "0,9"), ("GNU.sparse.size", "9")],
        vec![("GNU.sparse.map", "2,1,0,2"), ("GNU.sparse.size", "9")],
        vec![("GNU.sparse.numbytes", "3"), ("GNU.sparse.size", "9")],
        vec![("GNU.sparse.offset", "1"), ("GNU.sparse.offset", "2")],
        vec![("GNU.sparse.major", "2"), ("GNU.sparse.minor", "7")],
        vec![("GNU.sparse.name", "../evil"), ("GNU.sparse.map", "0,3"), ("GNU.sparse.size", "3")],
    ] {
        let records: Vec<(&str, &[u8])> = records.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
        let verdict = arena.case(&format!("{records:?}"), &archive(&[pax(&records), file("n", "abc")]));
        assert!(verdict.result.is_err() || records.len() == 1, "{records:?}");
    }
    let sparse = |pairs: &[(u64, u64)], real: &str, extended| {
        archive(&[gnu_sparse("n", pairs, real, extended, b"abc"), file("after", "x")])
    };
    arena.accepted("an old map", &sparse(&[(0, 1), (512, 2)], "00000002000", false));
    arena.rejected("an old map that overlaps", &sparse(&[(0, 2), (1, 1)], "00000002000", false));
    arena.rejected("an old map past the end", &sparse(&[(0, 3)], "00000000001", false));
    arena.rejected("an old map with less", &sparse(&[(0, 1)], "00000002000", false));
    arena.case("an old map whose rest is a file", &sparse(&[(0, 3)], "00000002000", true));
    arena.case("an old real size of nonsense", &sparse(&[(0, 3)], "nonsense", false));
    // A chain of map blocks without an end.
    let mut endless = gnu_sparse("n", &[(0, 3)], "00000002000", true, b"abc").bytes();
    endless.truncate(512);
    for number in 0..40_000u64 {
        let mut block = [0u8; 512];
        for pair in 0..21 {
            let offset = format!("{:011o}", 3 + number * 21 + pair);
            block[pair as usize * 24..][..11].copy_from_slice(offset.as_bytes());
            block[pair as usize * 24 + 12..][..11].copy_from_slice(b"00000000000");
        }
        block[504] = 1;
        endless.extend_from_slice(&block);
    }
    arena.rejected("a map without an end", &endless);
}

#[test]
fn endless_input_is_stopped() {
    let mut arena = Arena::new();
    // A file that goes on for ever meets the end of the disk, zeros behind the end mark an expected size.
    let header = file("n", "").put(SIZE, b"77777777777").bytes();
    let verdict = arena.case_from("an endless file", &mut header.chain(std::io::repeat(b'x')));
    assert_eq!(verdict.result.unwrap_err().kind(), Kind::NoSpace);
    let bomb = through("gzip", &[file("n", "").put(SIZE, b"77777777777").bytes(), vec![0; 64 << 20]].concat());
    let verdict = arena.case("a bomb on a small disk", &bomb);
    assert!(matches!(verdict.result.unwrap_err().kind(), Kind::NoSpace | Kind::Corrupt));
}
