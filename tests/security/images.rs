//! Image content and archives of images: names, links, attributes, digests, sizes, and what a config says.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use rhumb::base::Digest;
use serde_json::json;

use crate::archives::{Docker, Layout, gzip, layer, tar_of};
use crate::raw::{MODE, Raw, archive, dir, file, hard_link, pax, symlink as link};
use crate::stage::{CANARY, Stage};
use crate::support::process::{self, Outcome, PATIENCE};

impl Stage {
    /// Loads an archive.
    #[track_caller]
    fn load(&self, bytes: &[u8]) -> Outcome {
        self.rhumb.run_with_input(["load"], bytes)
    }

    /// Panics unless an archive is refused and nothing of it is kept.
    #[track_caller]
    fn load_refused(&self, bytes: &[u8]) -> String {
        let before = self.rhumb.run(["images", "-aq"]).ok();
        let said = self.refused(&self.load(bytes));
        assert_eq!(self.rhumb.run(["images", "-aq"]).ok(), before, "something of a refused archive was kept");
        said
    }
}

/// Row 32: `..`, absolute names and links in a layer wrote, linked and changed modes outside.
#[test]
fn cve_2014_6407() {
    let stage = Stage::empty();
    let (outside, canary) = (stage.outside(""), stage.outside("canary"));
    let up = "../".repeat(20);
    let evil = |name: &str| file(name, "evil").put(MODE, b"0006777");
    let cases: Vec<Vec<Raw>> = vec![
        vec![evil(&format!("{up}{}", &canary[1..]))],
        vec![evil(&canary)],
        vec![link("l", &outside), evil("l/canary")],
        vec![link("l", &canary), evil("l")],
        vec![link("l", &format!("{up}{}", &outside[1..])), evil("l/new"), dir("l/d")],
        vec![hard_link("h", &canary), evil("h")],
        vec![hard_link("h", &format!("{up}{}", &canary[1..]))],
        vec![link("l", &canary), hard_link("h", "l").put(MODE, b"0006777")],
        vec![link("l", "/"), Raw::new(b'3', format!("l{outside}null").as_bytes(), b"", b"")],
        vec![link("l", &outside), file("l/.wh.canary", ""), file("l/.wh..wh..opq", "")],
    ];
    for (number, entries) in cases.iter().enumerate() {
        let imported = stage.import(&format!("evil:{number}"), entries, &[]);
        if !imported.success() {
            stage.refused(&imported);
        }
        // The same as a second layer of a docker-archive and of an OCI layout.
        let layers = [layer(&[("a", "1")]), archive(entries)];
        for bytes in [Docker::new(&layers).build(), Layout::new(&layers).tar()] {
            let loaded = stage.load(&bytes);
            assert!(!loaded.stderr.contains("panicked"), "{loaded}");
        }
        stage.quiet();
    }
    stage.image("fair:1", &[dir("d"), file("d/f", "x"), hard_link("d/h", "d/f"), link("d/l", "/d/f")], &[]);
    assert_eq!(stage.run(&["fair:1", "sh", "-c", "cat /d/f /d/h /d/l; stat -c %h /d/f"]).ok(), "xxx2");
    stage.rhumb.assert_consistent();
}

/// Row 31: extraction changed the modes of files of the host through links.
#[test]
fn cve_2021_41089() {
    let stage = Stage::new();
    let canary = stage.outside("canary");
    let entries = [
        link("l", &canary),
        hard_link("h", "l").put(MODE, b"0006777"),
        dir("d").put(MODE, b"0000777"),
        link("d", &canary),
    ];
    stage.import("evil:1", &entries, &[]);
    stage.untouched();
    // A volume's archive likewise.
    let tar = stage.rhumb.path("evil.tar");
    fs::write(&tar, archive(&entries)).unwrap();
    stage.rhumb.run(["volume", "create", "data"]).ok();
    stage.rhumb.run(["volume".as_ref(), "restore".as_ref(), "data".as_ref(), tar.as_os_str()]);
    stage.untouched();
    fs::write(&tar, archive(&[file("f", "x").put(MODE, b"0000640")])).unwrap();
    stage.rhumb.run(["volume".as_ref(), "restore".as_ref(), "data".as_ref(), tar.as_os_str()]).ok();
    assert_eq!(stage.run(&["-v", "data:/d", "base:1", "stat", "-c", "%a", "/d/f"]).ok(), "640");
}

/// Row 33: whiteouts removed what lies outside, or the folder that they lie in.
#[test]
fn whiteout_escapes() {
    let stage = Stage::empty();
    for (number, name) in [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh..."].iter().enumerate() {
        stage.refused(&stage.import(&format!("evil:{number}"), &[file("d/x", ""), file(name, "")], &[]));
    }
    let hostile = [link("away", &stage.outside("")), file("away/.wh.canary", ""), file("away/.wh..wh..opq", "")];
    stage.import("evil:9", &hostile, &[]);
    stage.untouched();
    let layers = [
        archive(&[dir("d"), file("d/kept", "1"), file("d/gone", "2"), dir("o"), file("o/old", "3")]),
        archive(&[file("d/.wh.gone", ""), file("o/.wh..wh..opq", ""), file("o/new", "4")]),
    ];
    stage.load(&Docker::new(&layers).tags(&["fair:1"]).build()).ok();
    stage.rhumb.run(["create", "--name", "fair", "fair:1"]).ok();
    let tar = stage.rhumb.run(["export", "fair"]);
    stage.rhumb.run(["rm", "fair"]).ok();
    let mut names: Vec<String> = tar::Archive::new(&tar.bytes[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string().trim_start_matches("./").to_owned())
        .filter(|name| ["d/", "o/"].iter().any(|folder| name.starts_with(folder) && name.len() > 2))
        .collect();
    names.sort();
    assert_eq!(names, ["d/kept", "o/new"]);
}

/// Row 34: extended attributes of a layer steered the union.
#[test]
fn overlay_xattr_injection() {
    let stage = Stage::empty();
    let steer = pax(&[
        ("SCHILY.xattr.trusted.overlay.redirect", stage.outside("").as_bytes()),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.metacopy", b""),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.redirect", b"/"),
    ]);
    stage.image("evil:1", &[steer.clone(), dir("etc"), steer.clone(), dir("usr"), steer, file("meta", "mine")], &[]);
    let said = stage
        .run(&["evil:1", "sh", "-c", "ls /etc /usr; cat /meta; cat /etc/canary /usr/canary 2>/dev/null; true"])
        .ok();
    assert!(said.contains("bin") && said.contains("mine") && !said.contains(CANARY), "{said}");
    let kept = pax(&[("SCHILY.xattr.user.fair", b"1")]);
    stage.image("fair:1", &[kept, file("with", "x")], &[]);
    assert_eq!(stage.run(&["fair:1", "cat", "/with"]).ok(), "x");
    stage.quiet();
}

/// Row 29: unpacking ran `xz` or `unpigz` that it found by name.
#[test]
fn cve_2026_41567() {
    let stage = Stage::empty();
    let programs = stage.rhumb.path("programs");
    fs::create_dir(&programs).unwrap();
    for name in ["xz", "unxz", "gzip", "gunzip", "pigz", "unpigz", "zstd", "unzstd", "bzip2", "tar", "lz4"] {
        let path = programs.join(name);
        fs::write(&path, format!("#!/bin/sh\necho ran > {}/outside/{name}\ncat\n", stage.rhumb.path("").display()))
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let plain = tar_of(&[("x".to_owned(), b"content".to_vec())]);
    let packed = |mut encoder: Box<dyn std::io::Read + '_>| {
        let mut bytes = Vec::new();
        encoder.read_to_end(&mut bytes).unwrap();
        bytes
    };
    for (name, bytes, good) in [
        ("gzip", gzip(&plain), true),
        ("zstd", zstd::encode_all(&plain[..], 1).unwrap(), true),
        ("xz", packed(Box::new(liblzma::read::XzEncoder::new(&plain[..], 6))), true),
        ("bzip2", packed(Box::new(bzip2::read::BzEncoder::new(&plain[..], bzip2::Compression::fast()))), true),
        ("no-xz", [b"\xfd7zXZ\0", &plain[..]].concat(), false),
        ("no-bzip2", [b"BZh91AY&SY", &plain[..]].concat(), false),
    ] {
        let mut command = stage.rhumb.command(["import", "-", &format!("{name}:1")]);
        let path = command.get_envs().find(|(key, _)| *key == "PATH").and_then(|(_, value)| value).unwrap().to_owned();
        command.env("PATH", format!("{}:{}", programs.display(), path.display()));
        let outcome = process::run(&mut command, Some(&bytes), PATIENCE);
        match good {
            true => drop(outcome.ok()),
            false => drop(stage.refused(&outcome)),
        }
        stage.untouched();
    }
}

/// Row 36: a few bytes became more than any disk or memory holds.
#[test]
fn decompression_bombs() {
    let stage = Stage::empty();
    // 4 GiB of nothing, as an entry and after the end, in a few megabytes, on 1 GiB of address space and little time.
    let header = Raw::new(b'0', b"zeros", b"", b"").put(crate::raw::SIZE, b"37777777777").bytes();
    let bomb = |compress: &str| {
        let mut path = Command::new("/bin/sh");
        let line = format!("(cat header; head -c 4294967296 /dev/zero) | {compress} > bomb");
        fs::write(stage.rhumb.path("header"), &header).unwrap();
        path.args(["-c", &line]).current_dir(stage.rhumb.path("."));
        process::run(&mut path, None, PATIENCE).ok();
        stage.rhumb.path("bomb")
    };
    if crate::support::peers::find("zstd").is_some() {
        let file = bomb("zstd -1 -q");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -v 2097152 -f 262144 -t 60; exec rhumb import bomb evil:1"]);
        stage.rhumb.environ(&mut command);
        let outcome = process::run(&mut command, None, PATIENCE);
        assert!(!outcome.success() && !outcome.stderr.contains("panicked"), "{outcome}");
        fs::remove_file(file).unwrap();
        stage.rhumb.run(["system", "prune", "-f"]).ok();
    }
    assert_eq!(stage.rhumb.run(["images", "-q"]).ok(), "");
    stage.image("fair:1", &[file("zeros", &"\0".repeat(1 << 20))], &[]);
    assert_eq!(stage.run(&["fair:1", "stat", "-c", "%s", "/zeros"]).ok(), "1048576");
}

/// Row 37: a bad layer left the store locked.
#[test]
fn cve_2021_20291() {
    let stage = Stage::empty();
    let bad: Vec<Vec<u8>> = vec![
        Docker::new(&[b"no tar at all".to_vec()]).build(),
        Docker::new(&[archive(&[file("../x", "")])]).build(),
        Layout::new(&[layer(&[("a", "1")])]).flip_layer().tar(),
        Docker::new(&[archive(&[file("x", &"1".repeat(1000))])[..700].to_vec()]).build(),
    ];
    std::thread::scope(|scope| {
        for (number, bytes) in bad.iter().enumerate() {
            let stage = &stage;
            scope.spawn(move || {
                let loaded = stage.load(bytes);
                assert!(loaded.code != 0 && !loaded.stderr.contains("panicked"), "{number}: {loaded}");
            });
        }
        scope.spawn(|| stage.image("fair:1", &[file("x", "1")], &[]));
    });
    let begin = Instant::now();
    stage.load(&Docker::new(&[layer(&[("a", "1")])]).tags(&["good:1"]).build()).ok();
    assert_eq!(stage.run(&["fair:1", "cat", "/x"]).ok(), "1");
    stage.rhumb.run(["rmi", "good:1"]).ok();
    assert!(begin.elapsed() < Duration::from_secs(10), "a lock was waited for");
    stage.rhumb.assert_consistent();
}

/// Row 39: `VOLUME /../../etc` of an image copied the host's folder into the volume.
#[test]
fn cve_2022_23648() {
    let stage = Stage::empty();
    let outside = stage.outside("");
    let up = "../".repeat(20);
    let entries = [
        link("away", &outside),
        link("rel", &format!("{up}{}", &outside[1..])),
        dir("data"),
        file("data/fair", "of the image"),
    ];
    for (number, target) in [
        format!("/../..{outside}"),
        format!("/{up}{outside}"),
        "/away".into(),
        "/rel".into(),
        "/away/..".into(),
        "relative/../../x".into(),
    ]
    .iter()
    .enumerate()
    {
        let image = format!("evil:{number}");
        if !stage.import(&image, &entries, &[&format!("VOLUME {target}")]).success() {
            continue;
        }
        let outcome = stage.run(&[
            &image,
            "sh",
            "-c",
            &format!("cat {target}/canary {outside}canary /away/canary 2>/dev/null; true"),
        ]);
        assert!(!outcome.stdout.contains(CANARY), "{target}: {outcome}");
        stage.quiet();
    }
    stage.image("fair:1", &entries, &["VOLUME /../data/"]);
    assert_eq!(stage.run(&["fair:1", "cat", "/data/fair"]).ok(), "of the image");
}

/// Row 40: filling a volume from the image overwrote what was in it.
#[test]
fn cve_2020_1726() {
    let stage = Stage::empty();
    stage.image("base:1", &[dir("data"), file("data/file", "of the image")], &["VOLUME /data"]);
    stage.run(&["-v", "used:/data", "base:1", "sh", "-c", "echo mine > /data/file; rm -f /data/x"]).ok();
    assert_eq!(stage.run(&["-v", "used:/data", "base:1", "cat", "/data/file"]).ok(), "mine");
    // A name of the image's that is not there any more does not come back while there is anything else.
    stage.run(&["-v", "used:/data", "base:1", "sh", "-c", "rm /data/file; echo mine > /data/.hidden"]).ok();
    assert_eq!(stage.run(&["-v", "used:/data", "base:1", "ls", "-A", "/data"]).ok(), ".hidden");
    assert_eq!(stage.run(&["-v", "fresh:/data", "base:1", "cat", "/data/file"]).ok(), "of the image");
}

/// Row 41: links in a volume made its export read files of the host.
#[test]
fn cve_2023_0778() {
    let stage = Stage::new();
    let canary = stage.outside("canary");
    let script = format!(
        "ln -s {canary} /v/link; ln -s {} /v/dir; mkdir /v/d; echo fair > /v/d/f; ln -s / /v/root",
        stage.outside("")
    );
    stage.run(&["-v", "data:/v", "base:1", "sh", "-c", &script]).ok();
    let backup = stage.rhumb.path("data.tar");
    stage.rhumb.run(["volume".as_ref(), "backup".as_ref(), "data".as_ref(), backup.as_os_str()]).ok();
    let bytes = fs::read(&backup).unwrap();
    assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()), "the host's file is in the backup");
    stage.rhumb.run(["volume", "create", "copy"]).ok();
    stage.rhumb.run(["volume".as_ref(), "restore".as_ref(), "copy".as_ref(), backup.as_os_str()]).ok();
    assert_eq!(
        stage.run(&["-v", "copy:/v", "base:1", "sh", "-c", "readlink /v/link; cat /v/d/f"]).ok(),
        format!("{canary}\nfair")
    );
    stage.untouched();
}

/// Row 47: a digest in an archive was used as a path before anybody looked at it.
#[test]
fn cve_2024_3727() {
    let stage = Stage::empty();
    let good = Layout::new(&[layer(&[("a", "1")])]).name("fair:1");
    for digest in [
        "sha256:../../../../../../etc/passwd",
        "../canary",
        "sha256:",
        "",
        "sha256:zz",
        "sha512:00",
        "sha256:ABCDEF",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:/etc/passwd",
        "sha256:0\0",
    ] {
        for at in ["layers", "config"] {
            let edited = good.clone().edit_manifest(|manifest| match at {
                "layers" => manifest["layers"][0]["digest"] = json!(digest),
                _ => manifest["config"]["digest"] = json!(digest),
            });
            stage.load_refused(&edited.tar());
        }
        let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 7}]});
        let members = [
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), index.to_string().into_bytes()),
        ];
        stage.load_refused(&tar_of(&members));
    }
    stage.load(&good.tar()).ok();
    assert!(stage.rhumb.run(["images"]).ok().contains("fair"));
}

/// Row 52: huge documents in archives, and members that lead out of them.
#[test]
fn cve_2023_25153() {
    let stage = Stage::empty();
    let huge = " ".repeat(40 << 20);
    let members = [
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), huge.clone().into_bytes()),
    ];
    stage.load_refused(&tar_of(&members));
    stage.load_refused(&tar_of(&[("manifest.json".to_owned(), huge.into_bytes())]));
    stage.load_refused(&tar_of(&[("manifest.json".to_owned(), "[".repeat(100_000).into_bytes())]));
    stage.load_refused(&Layout::looping());
    let fair = [layer(&[("a", "1")])];
    stage.load(&Docker::new(&fair).linked().tags(&["fair:1"]).build()).ok();
}

/// Row 52: `Layers: ["../../x"]` and links in an archive read files of the host.
#[test]
fn cve_2014_9357() {
    let stage = Stage::empty();
    let fair = [layer(&[("a", "1")])];
    let canary = stage.outside("canary");
    for name in ["../../x", canary.as_str(), "/etc/passwd", "a/../../../etc/passwd", "", ".", "/proc/self/mem"] {
        stage.load_refused(&Docker::new(&fair).with_layer_name(name).build());
        stage.load_refused(&Docker::new(&fair).with_config_name("x.json").with_config_link(name).build());
    }
    // An unpacked layout in a folder, with a link in place of a blob.
    let folder = stage.rhumb.path("layout");
    Layout::new(&fair).name("evil:1").write(&folder);
    let blob = folder.join(format!("blobs/sha256/{}", Digest::of(&fair[0]).hex()));
    fs::rename(&blob, stage.rhumb.path("moved")).unwrap();
    symlink(stage.rhumb.path("moved"), &blob).unwrap();
    let outcome = stage.rhumb.run(["load".as_ref(), "-i".as_ref(), folder.as_os_str()]);
    stage.refused(&outcome);
    fs::remove_file(&blob).unwrap();
    fs::rename(stage.rhumb.path("moved"), &blob).unwrap();
    stage.rhumb.run(["load".as_ref(), "-i".as_ref(), folder.as_os_str()]).ok();
}

/// Row 53: labels of an image were orders to the engine.
#[test]
fn cve_2026_53488() {
    let stage = Stage::empty();
    let labels: Vec<String> = [
        "io.rhumb.privileged=true",
        "rhumb.cap-add=ALL",
        "com.docker.security=unconfined",
        "io.containerd.cri.exec=touch /evil",
        "io.podman.annotations.privileged=TRUE",
        "run=rhumb run --privileged IMAGE",
        "io.kubernetes.cri-o.userns-mode=host",
        "org.systemd.property.ExecStart=/evil",
        "run.oci.hooks=/evil",
        "io.buildah.volume=/etc:/etc",
    ]
    .iter()
    .map(|label| format!("LABEL {}", label.replacen('=', "=\"", 1) + "\""))
    .collect();
    stage.image("evil:1", &[], &labels.iter().map(String::as_str).collect::<Vec<_>>());
    stage.image("fair:1", &[], &["LABEL fair=1"]);
    let cat = [
        "sh",
        "-c",
        "cat /proc/self/status | grep -E '^(Cap|Seccomp:|NoNew)'; ls /dev | wc -l; wc -l < /proc/self/mountinfo",
    ];
    let evil = stage.run(&[&["evil:1"][..], &cat].concat()).ok();
    assert_eq!(evil, stage.run(&[&["fair:1"][..], &cat].concat()).ok());
    stage.rhumb.run(["create", "--name", "box", "evil:1", "true"]).ok();
    let facts = stage.rhumb.inspect("box");
    assert_eq!(facts["Config"]["Labels"]["io.rhumb.privileged"], json!("true"), "they are data");
    assert_eq!(facts["HostConfig"]["Privileged"], json!(false));
}

/// Row 54: an import set names that nobody asked for, and a log was written through a link.
#[test]
fn cve_2026_50195() {
    let stage = Stage::new();
    let names = file("repositories", r#"{"evil":{"latest":"x"}}"#);
    let manifest = file("manifest.json", r#"[{"Config":"x","RepoTags":["evil:1"],"Layers":[]}]"#);
    stage.image("asked:1", &[names, manifest, file("index.json", "{}")], &[]);
    let images = stage.rhumb.run(["images"]).ok();
    assert!(images.contains("asked") && !images.contains("evil"), "{images}");
    for name in ["../evil:1", "/etc/passwd", "a b", "-x", "evil:1\n"] {
        stage.load_refused(&Docker::new(&[layer(&[("a", "1")])]).tags(&[name]).build());
    }
    let id = stage.rhumb.run(["create", "--name", "box", "base:1", "echo", "into the log"]).ok();
    let log = stage.rhumb.root().join("containers").join(&id).join(format!("{id}-json.log"));
    symlink(stage.outside("canary"), &log).unwrap();
    let started = stage.rhumb.run(["start", "-a", "box"]);
    assert!(!started.success(), "a log that is a link is not written to: {started}");
    stage.untouched();
    fs::remove_file(&log).unwrap();
    stage.rhumb.run(["start", "-a", "box"]).ok();
    assert!(stage.rhumb.run(["logs", "box"]).ok().contains("into the log"));
    assert_eq!(fs::metadata(&log).unwrap().mode() & 0o137, 0o000, "nobody else reads the log");
}
