//! R14: files in the state root are damaged. `system check` finds it, nothing panics, and other objects are unaffected.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::count;
use crate::random::Random;
use crate::support::{BASE, Rhumb};

fn blobs(rhumb: &Rhumb) -> Vec<PathBuf> {
    let entries = fs::read_dir(rhumb.root().join("blobs/sha256")).expect("the folder of blobs");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

/// Flips one bit; returns the function's inverse by being it.
fn flip(path: &Path, position: u64, bit: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("opening a blob");
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).expect("reading a byte");
    file.write_all_at(&[byte[0] ^ (1 << bit)], position).expect("writing a byte");
}

/// A root with small images, so that many checks are quick.
fn small() -> Rhumb {
    let rhumb = Rhumb::new();
    for name in ["one", "two", "three"] {
        let dir = rhumb.path(name);
        fs::create_dir_all(dir.join("etc")).unwrap();
        fs::write(dir.join("etc/name"), name.repeat(5000)).unwrap();
        rhumb.script(&format!(r#"image::from_dir("{name}", "{name}:1").save("{name}.tar")"#)).ok();
    }
    rhumb
}

#[test]
fn every_flipped_bit_in_a_blob_is_found() {
    let rhumb = small();
    rhumb.run(["system", "check", "--rehash"]).ok();
    let mut random = Random::new();
    let mut flips = 0;
    while flips < count(500) {
        let all = blobs(&rhumb);
        let mut flipped = Vec::new();
        for path in &all {
            if random.below(2) == 0 {
                let position = random.below(fs::metadata(path).unwrap().len());
                let bit = random.below(8) as u8;
                flip(path, position, bit);
                flipped.push((path, position, bit));
            }
        }
        let check = rhumb.run(["system", "check", "--rehash"]);
        assert_eq!(check.success(), flipped.is_empty(), "{check}");
        assert!(!check.stderr.contains("panicked"), "{check}");
        let text = format!("{}{}", check.stdout, check.stderr);
        for path in &all {
            let name = path.file_name().unwrap().to_string_lossy();
            let found = text.contains(&name[..12]);
            let damaged = flipped.iter().any(|(other, _, _)| *other == path);
            // An image may be named along with its blob: only what is damaged must be there, and only that is asserted.
            assert!(found || !damaged, "the flipped bit in {name} was not found:\n{check}");
        }
        flips += flipped.len();
        flipped.iter().for_each(|(path, position, bit)| flip(path, *position, *bit));
    }
    rhumb.run(["system", "check", "--rehash"]).ok();
}

#[test]
fn cut_and_deleted_blobs_are_found_and_others_still_load() {
    let mut random = Random::new();
    for _ in 0..count(5) {
        let rhumb = small();
        let all = blobs(&rhumb);
        let victim = &all[random.below(all.len() as u64) as usize];
        let length = fs::metadata(victim).unwrap().len();
        if random.below(2) == 0 {
            fs::remove_file(victim).unwrap();
        } else {
            OpenOptions::new().write(true).open(victim).unwrap().set_len(random.below(length)).unwrap();
        }
        let check = rhumb.run(["system", "check", "--rehash"]);
        assert!(!check.success() && !check.stderr.contains("panicked"), "{check}");
        rhumb.run(["images"]); // may say that a record cannot be read, in words
        // Loading it again brings back what is missing, and the store is whole.
        rhumb.run(["system", "check", "--rehash", "--repair"]);
        for name in ["one", "two", "three"] {
            rhumb.run(["load", "-i", &format!("{name}.tar")]).ok();
        }
        rhumb.run(["image", "prune", "-f"]).ok(); // what the images do not use any more
        rhumb.run(["system", "check", "--rehash"]).ok();
    }
}

#[test]
fn a_layer_or_a_folder_that_nobody_knows_is_found_and_repaired() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "box", BASE, "sleep", "1000"]).ok();
    let stray = "0".repeat(64);
    for place in ["layers", "containers", "volumes"] {
        fs::create_dir_all(rhumb.root().join(place).join(&stray).join("diff")).unwrap();
    }
    fs::write(rhumb.root().join("blobs/sha256").join(&stray), "nobody knows me").unwrap();
    let check = rhumb.run(["system", "check"]);
    assert!(!check.success(), "four strays and no complaint:\n{check}");
    let text = format!("{}{}", check.stdout, check.stderr);
    assert!(text.matches(&stray[..12]).count() >= 4, "a stray was not found:\n{check}");
    rhumb.run(["system", "check", "--repair"]);
    rhumb.run(["system", "check", "--rehash"]).ok();
    assert_eq!(rhumb.run(["exec", "box", "echo", "unharmed"]).ok(), "unharmed");
}

#[test]
fn a_database_that_is_none_is_an_error_and_is_kept() {
    let rhumb = Rhumb::new();
    fs::create_dir_all(rhumb.root()).unwrap();
    let database = rhumb.root().join("rhumb.db");
    fs::write(&database, "this is no database, but somebody's only copy of something\n".repeat(100)).unwrap();
    let before = fs::read(&database).unwrap();
    let outcome = rhumb.run(["ps"]);
    outcome.fails_with(10, "rhumb.db");
    assert_eq!(fs::read(&database).unwrap(), before, "it was overwritten");
    fs::remove_file(database).unwrap();
}
