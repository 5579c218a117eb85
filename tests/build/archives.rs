//! Archives that `ADD` unpacks, by what is in them and not by their names.

use std::io::Read;

use crate::dockerfile::{build, context, seen};
use crate::support::Rhumb;

/// A tar of these files.
pub(crate) fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    archive(&[], files)
}

/// A tar of these links, with what they lead to, and of these files.
pub(crate) fn archive(links: &[(&str, &str)], files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, name, target).unwrap();
    }
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The ways in which an archive may be compressed.
pub(crate) fn forms(plain: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let all = |mut encoder: Box<dyn Read + '_>| {
        let mut bytes = Vec::new();
        encoder.read_to_end(&mut bytes).unwrap();
        bytes
    };
    vec![
        ("none", plain.to_vec()),
        ("gzip", all(Box::new(flate2::read::GzEncoder::new(plain, flate2::Compression::fast())))),
        ("zstd", zstd::encode_all(plain, 1).unwrap()),
        ("xz", all(Box::new(liblzma::read::XzEncoder::new(plain, 6)))),
        ("bzip2", all(Box::new(bzip2::read::BzEncoder::new(plain, bzip2::Compression::fast())))),
    ]
}

#[test]
fn an_archive_of_any_compression_is_unpacked_and_another_file_is_not() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[]);
    let plain = layer(&[("inside", "content"), ("dir/more", "x")]);
    for (name, bytes) in forms(&plain) {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    // Compressed, but no archive: it is copied as it is.
    for (name, bytes) in forms(b"plain text that is no archive") {
        std::fs::write(folder.join(format!("{name}.text")), bytes).unwrap();
    }
    let mut dockerfile = "FROM base:1\n".to_owned();
    for (name, _) in forms(b"") {
        dockerfile.push_str(&format!("ADD {name} /{name}/\nADD {name}.text /text/\nCOPY {name} /copied/\n"));
    }
    build(&rhumb, &dockerfile, &["-t", "made:1"]).ok();
    for (name, bytes) in forms(&plain) {
        let look = format!("cat /{name}/inside /{name}/dir/more; ls /text/{name}.text; wc -c < /copied/{name}");
        let wanted = format!("contentx/text/{name}.text\n{}", bytes.len());
        assert_eq!(seen(&rhumb, "made:1", &look), wanted, "{name}");
    }
}

#[test]
fn an_archive_that_is_cut_is_said_to_be() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[]);
    // What compresses badly, and more than one block of any form: the beginning is whole, the end is not.
    let mut state = 1_u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    let noise: String = (0..1_000_000).map(|_| letter()).collect();
    let plain = layer(&[("first", "x"), ("noise", &noise), ("last", "x")]);
    for (name, bytes) in forms(&plain) {
        std::fs::write(folder.join("cut"), &bytes[..bytes.len() - bytes.len() / 3]).unwrap();
        let outcome = build(&rhumb, "FROM base:1\nADD cut /\n", &[]);
        assert!(!outcome.success(), "{name}: {outcome}");
        assert!(outcome.stderr.contains("unpacking \"cut\""), "{name}: {outcome}");
    }
}

#[test]
fn images_and_file_systems_of_any_compression_are_loaded() {
    let rhumb = Rhumb::with_base();
    let saved = rhumb.path("saved.tar");
    rhumb.run(["save", "-o", saved.to_str().unwrap(), "base:1"]).ok();
    let saved = std::fs::read(&saved).unwrap();
    let id = rhumb.run(["images", "-q", "--no-trunc", "base:1"]).ok();
    let plain = layer(&[("inside", "content")]);
    for ((name, image), (_, tree)) in forms(&saved).into_iter().zip(forms(&plain)) {
        let (image_path, tree_path) = (rhumb.path(format!("{name}.image")), rhumb.path(format!("{name}.tree")));
        std::fs::write(&image_path, image).unwrap();
        std::fs::write(&tree_path, tree).unwrap();
        rhumb.run(["rmi", "-f", "base:1"]).ok();
        let line = format!(
            r#"image::load("{}"); let i = image::from_tar("{}", "tree:{name}"); print(i.layers.len())"#,
            image_path.display(),
            tree_path.display()
        );
        assert_eq!(rhumb.script(&line).ok(), "1", "{name}");
        assert_eq!(rhumb.run(["images", "-q", "--no-trunc", "base:1"]).ok(), id, "{name}");
    }
    rhumb.assert_consistent();
}
