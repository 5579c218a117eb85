//! Layers in and out: what comes back is what went in, with GNU tar on either side.

use std::path::Path;
use std::process::{Command, Stdio};

use rhumb::base::{Digest, Kind};
use rhumb::store::Store;
use rhumb::store::layer::{LayerSource, chain_id};
use rhumb::store::pack::{PackForm, PackOptions, Packed, pack};

use crate::tree::{account, assert_same, make_everything, run, set_xattr, store};

fn import(store: &Store, bytes: &[u8]) -> rhumb::base::Result<rhumb::model::image::Layer> {
    store.layer_import(&mut &bytes[..], &LayerSource::default())
}

fn packed(tree: &Path, options: PackOptions) -> (Vec<u8>, Packed) {
    let mut bytes = Vec::new();
    let done = pack(tree, &options, &mut bytes).unwrap();
    (bytes, done)
}

/// Feeds bytes to a program's standard input.
#[track_caller]
fn feed(program: &str, args: &[&str], bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child =
        Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        let out = child.stdout.take().unwrap();
        let reader = scope.spawn(move || std::io::read_to_string(out).map(String::into_bytes).unwrap_or_default());
        stdin.write_all(bytes).unwrap();
        drop(stdin);
        reader.join().unwrap()
    });
    let mut errors = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut errors).unwrap();
    assert!(child.wait().unwrap().success(), "{program}: {errors}");
    output
}

#[test]
fn every_format_of_gnu_tar_unpacks_as_gnu_tar_does() {
    for (number, format) in [
        &["--format=pax"][..],
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
        &["--format=pax", "--sparse", "--gzip"],
        &["--format=pax", "--sparse", "--zstd"],
    ]
    .into_iter()
    .enumerate()
    {
        let (folder, store) = store();
        let source = folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        make_everything(&source);
        let archive = folder.path().join("archive");
        let (source_text, archive_text) = (source.to_str().unwrap(), archive.to_str().unwrap());
        let pax = format[0] == "--format=pax";
        let mut args = vec!["--create", "--numeric-owner", "--file", archive_text, "--directory"];
        args.extend([source_text].iter().chain(format).chain(if pax { &["--xattrs", "."][..] } else { &["."] }));
        run("tar", &args);
        let bytes = std::fs::read(&archive).unwrap();
        let layer = import(&store, &bytes).unwrap_or_else(|error| panic!("{format:?}: {error}"));
        let (mut left, mut right) = (account(&source, pax), account(&store.layer_diff(&layer.chain_id), pax));
        if !pax {
            // Only pax carries attributes, and names the time before 1970 to the fraction.
            for side in [&mut left, &mut right] {
                side.values_mut().for_each(|line| *line = line.split('[').next().unwrap().to_owned());
            }
        }
        assert_same(&left, &right);
        let blocks = run("du", &["-k", store.layer_diff(&layer.chain_id).join("hole").to_str().unwrap()]);
        let is_sparse = format.contains(&"--sparse");
        assert_eq!(blocks.starts_with(b"0\t"), is_sparse, "case {number}");
        assert_eq!(layer.blob, Digest::of(&bytes));
        assert_eq!(layer.blob_size_bytes, bytes.len() as u64);
        let compressed = format.iter().any(|option| *option == "--gzip" || *option == "--zstd");
        assert_eq!(layer.diff_id == layer.blob, !compressed);
        assert_eq!(store.layer_get(&layer.chain_id).unwrap().unwrap(), layer);
    }
}

#[test]
fn what_is_packed_unpacks_the_same_here_and_with_gnu_tar() {
    let (folder, store) = store();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    make_everything(&source);
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let options = PackOptions { form: PackForm::Tree, root_entry: true, nanoseconds: true, ..PackOptions::default() };
    let (bytes, done) = packed(&source, options);
    assert_eq!(packed(&source, options).0, bytes);
    assert_eq!((done.skipped_sockets, done.changed_files), (1, 0));
    assert!(done.content_bytes < 4_000_000, "the holes were packed: {done:?}");
    std::fs::remove_file(source.join("socket")).unwrap();
    run("touch", &["-d", "@5", source.to_str().unwrap()]);
    let (bytes, done) = packed(&source, options);
    assert_eq!(done.newest.unwrap().as_secs(), {
        let times = account(&source, false).into_keys().map(|path| std::fs::symlink_metadata(source.join(path)));
        times.map(|facts| std::os::unix::fs::MetadataExt::mtime(&facts.unwrap())).max().unwrap() as u64
    });
    let expected = account(&source, true);
    assert_eq!(done.entries as usize, expected.len());
    let layer = import(&store, &bytes).unwrap();
    assert_same(&expected, &account(&store.layer_diff(&layer.chain_id), true));
    let target = folder.path().join("target");
    std::fs::create_dir(&target).unwrap();
    let options =
        ["--extract", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-permissions", "--directory"];
    feed("tar", &[&options[..], &[target.to_str().unwrap()]].concat(), &bytes);
    assert_same(&expected, &account(&target, true));
}

#[test]
fn a_whole_second_archive_is_plain_ustar_for_plain_trees() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "x").unwrap();
    let (bytes, _) = packed(folder.path(), PackOptions::default());
    assert_eq!(bytes.len(), 512 + 512 + 1024);
    assert_eq!(&bytes[257..265], b"ustar\x0000");
}

#[test]
fn an_upper_folder_becomes_a_layer_and_comes_back_the_same() {
    let (folder, store) = store();
    let upper = folder.path().join("upper");
    std::fs::create_dir_all(upper.join("new/inner")).unwrap();
    std::fs::create_dir_all(upper.join("dir")).unwrap();
    std::fs::write(upper.join("new/file"), "x").unwrap();
    set_xattr(&upper.join("new"), "trusted.overlay.opaque", b"y");
    for name in ["gone", "dir/gone too"] {
        run("mknod", &["-m", "0", upper.join(name).to_str().unwrap(), "c", "0", "0"]);
    }
    let (bytes, _) = packed(&upper, PackOptions { form: PackForm::Upper, ..PackOptions::default() });
    let names = String::from_utf8(feed("tar", &["--list"], &bytes)).unwrap();
    let expected = ["dir/", "dir/.wh.gone too", ".wh.gone", "new/", "new/.wh..wh..opq", "new/file", "new/inner/"];
    assert_eq!(names.lines().collect::<Vec<_>>(), expected);
    let layer = import(&store, &bytes).unwrap();
    let diff = store.layer_diff(&layer.chain_id);
    let strip = |lines: std::collections::BTreeMap<_, String>| {
        let lines = lines.into_iter().filter(|(path, _): &(std::path::PathBuf, _)| path != Path::new(""));
        // The time of a whiteout means nothing and is not kept.
        lines.filter(|(path, _)| !path.to_string_lossy().contains("gone")).collect()
    };
    assert_same(&strip(account(&upper, false)), &strip(account(&diff, false)));
    for name in ["gone", "dir/gone too"] {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        let facts = std::fs::symlink_metadata(diff.join(name)).unwrap();
        assert!(facts.file_type().is_char_device() && facts.rdev() == 0, "{name}");
    }
    set_xattr(&upper.join("dir"), "trusted.overlay.redirect", b"elsewhere");
    let mut sink = std::io::sink();
    let options = PackOptions { form: PackForm::Upper, ..PackOptions::default() };
    assert_eq!(pack(&upper, &options, &mut sink).unwrap_err().kind(), Kind::Unsupported);
    std::fs::write(folder.path().join(".wh.x"), "").unwrap();
    let options = PackOptions { form: PackForm::Layer, ..PackOptions::default() };
    assert_eq!(pack(folder.path(), &options, &mut sink).unwrap_err().kind(), Kind::InvalidArgument);
}

#[test]
fn a_tree_that_changes_while_it_is_packed_makes_a_whole_archive() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0u32;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                let path = tree.join(format!("f{}", number % 7));
                std::fs::write(&path, vec![1u8; (number as usize * 7919) % 300_000]).unwrap();
                if number.is_multiple_of(3) {
                    let _ = std::fs::remove_file(&path);
                    let _ = std::os::unix::fs::symlink("/etc/shadow", &path);
                    let _ = std::fs::remove_file(&path);
                }
            }
        });
        for _ in 0..60 {
            let (bytes, done) = packed(&tree, PackOptions { nanoseconds: true, ..PackOptions::default() });
            let names = feed("tar", &["--list"], &bytes);
            assert_eq!(String::from_utf8(names).unwrap().lines().count() as u64, done.entries);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn an_expectation_that_fails_keeps_nothing() {
    let (folder, store) = store();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let (bytes, _) = packed(&folder.path().join("root/layers"), PackOptions::default());
    let wrong = Some(Digest::of(b"something else"));
    for source in [
        LayerSource { expect_blob: wrong.clone(), ..LayerSource::default() },
        LayerSource { expect_diff_id: wrong.clone(), ..LayerSource::default() },
        LayerSource { expect_size_bytes: Some(bytes.len() as u64 - 1), ..LayerSource::default() },
        LayerSource { expect_size_bytes: Some(bytes.len() as u64 + 1), ..LayerSource::default() },
    ] {
        let error = store.layer_import(&mut bytes.as_slice(), &source).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{source:?}: {error}");
        for folder in [store.paths().tmp(), store.paths().blobs(), store.paths().layers()] {
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{folder:?} after {source:?}");
        }
    }
}

#[test]
fn a_known_layer_is_checked_and_another_compression_of_it_is_one_more_blob() {
    let (folder, store) = store();
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "x".repeat(10_000)).unwrap();
    let (bytes, _) = packed(&tree, PackOptions::default());
    let source = LayerSource { compress: true, ..LayerSource::default() };
    let first = store.layer_import(&mut bytes.as_slice(), &source).unwrap();
    assert!(first.media_type.ends_with("+zstd") && first.blob_size_bytes < 1000, "{first:?}");
    assert_eq!(first.diff_id, Digest::of(&bytes));
    let expected = LayerSource { expect_diff_id: Some(first.diff_id.clone()), ..LayerSource::default() };
    let zipped = feed_bytes(&bytes);
    let second = store.layer_import(&mut zipped.as_slice(), &expected).unwrap();
    assert_eq!((&second.chain_id, second.size_bytes), (&first.chain_id, first.size_bytes));
    assert!(second.blob != first.blob && second.media_type.ends_with("+gzip"));
    assert_eq!(store.blob_get(&second.blob).unwrap().unwrap().size_bytes, zipped.len() as u64);
    let wrong = [&zipped[..zipped.len() / 2], b"x"].concat();
    assert_eq!(store.layer_import(&mut wrong.as_slice(), &expected).unwrap_err().kind(), Kind::Corrupt);
    let upper = LayerSource { parent: Some(first.chain_id.clone()), ..LayerSource::default() };
    let upper = store.layer_import(&mut bytes.as_slice(), &upper).unwrap();
    assert_eq!(upper.chain_id, chain_id(Some(&first.chain_id), &first.diff_id));
    assert!(store.layer_diff(&upper.chain_id).join("file").exists());
}

/// Cause: `umoci insert` writes its layer without the padding of the last file and without an end mark.
#[test]
fn an_archive_that_was_never_closed_needs_a_digest() {
    let (folder, store) = store();
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "abc").unwrap();
    let (bytes, _) = packed(&tree, PackOptions::default());
    let start = bytes.windows(3).position(|bytes| bytes == b"abc").unwrap();
    let open = &bytes[..start + 3];
    assert_eq!(import(&store, open).unwrap_err().kind(), Kind::Corrupt);
    let expect = |bytes| LayerSource { expect_diff_id: Some(Digest::of(bytes)), ..LayerSource::default() };
    let layer = store.layer_import(&mut &open[..], &expect(open)).unwrap();
    assert_eq!(std::fs::read(store.layer_diff(&layer.chain_id).join("file")).unwrap(), b"abc");
    let cut = &bytes[..start + 2];
    assert_eq!(store.layer_import(&mut &cut[..], &expect(cut)).unwrap_err().kind(), Kind::Corrupt);
}

fn feed_bytes(bytes: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, bytes).unwrap();
    run("gzip", &[path.to_str().unwrap()]);
    std::fs::read(folder.path().join("x.gz")).unwrap()
}

#[test]
fn what_layers_are_not_compressed_with_is_kept_as_zstd() {
    let (folder, store) = store();
    let archive = folder.path().join("a.tar");
    run("tar", &["--create", "--file", archive.to_str().unwrap(), "--directory", "/etc", "hostname"]);
    for program in ["xz", "bzip2"] {
        let Ok(output) = Command::new(program).args(["--keep", "--stdout"]).arg(&archive).output() else { continue };
        let layer = import(&store, &output.stdout).unwrap();
        assert!(layer.media_type.ends_with("tar+zstd"), "{layer:?}");
        assert_eq!(layer.diff_id, Digest::of(&std::fs::read(&archive).unwrap()));
        let cut = import(&store, &output.stdout[..output.stdout.len() - 9]).unwrap_err();
        assert_eq!(cut.kind(), Kind::Corrupt, "{program}: {cut:?}");
        let blob = LayerSource { expect_blob: Some(Digest::of(&output.stdout)), ..LayerSource::default() };
        let error = store.layer_import(&mut &output.stdout[..], &blob).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{program}: {error:?}");
    }
    let error = import(&store, b"\x04\x22\x4d\x18 lz4").unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.hint().unwrap().contains("lz4"), "{error:?}");
}

#[test]
fn the_same_layer_is_imported_by_many_at_once() {
    let (folder, store) = store();
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    make_everything(&tree);
    let (bytes, _) = packed(&tree, PackOptions::default());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            // Each its own store over the same root, as processes have.
            let (paths, bytes) = (store.paths(), &bytes);
            scope.spawn(move || import(&Store::open(paths).unwrap(), bytes).unwrap());
        }
    });
    let layers: Vec<_> = std::fs::read_dir(store.paths().layers()).unwrap().collect();
    assert_eq!((layers.len(), std::fs::read_dir(store.paths().blobs()).unwrap().count()), (1, 1));
    assert_eq!(std::fs::read_dir(store.paths().tmp()).unwrap().count(), 0);
}
