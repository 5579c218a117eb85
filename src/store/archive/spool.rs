//! Getting at an archive: which form it has, and a copy that can be sought in when it is compressed or a stream.
//!
//! The copy is a file of the store's `tmp` without a name: nothing is left of it, however this process ends.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::members::Members;
use crate::base::{Context as _, Error, Result};
use crate::store::Store;
use crate::store::layer::decompress::{Compression, decompress, detect};

/// Bytes that are moved in one step.
const PIECE_BYTES: usize = 1 << 17;

impl Store {
    /// Opens an archive: a folder, or a file that is a tar, plain or compressed.
    ///
    /// # Errors
    /// `not_found`; `corrupt` when it is truncated or no tar; `unsupported` for other compressions; `no_space`.
    pub fn archive_open(&self, path: &Path) -> Result<Members> {
        let metadata = std::fs::metadata(path).context(|| format!("opening the archive {path:?}"))?;
        if metadata.is_dir() {
            return Members::of_folder(path);
        }
        let mut file = File::open(path).context(|| format!("opening the archive {path:?}"))?;
        if !metadata.is_file() {
            return self.archive_spool(&mut file, &format!("{path:?}"));
        }
        let (compression, _) =
            detect(&mut file).map_err(|error| error.context(format!("reading the archive {path:?}")))?;
        file.seek(SeekFrom::Start(0)).context(|| format!("reading the archive {path:?}"))?;
        if compression != Compression::None {
            return self.archive_spool(&mut file, &format!("{path:?}"));
        }
        Members::of_tar(file, format!("{path:?}"))
    }

    /// Reads an archive from a stream, plain or compressed; `shown` names it in errors.
    ///
    /// # Errors
    /// As [`Store::archive_open`].
    pub fn archive_spool(&self, reader: &mut dyn Read, shown: &str) -> Result<Members> {
        let mut spool = self.spool()?;
        unpack(reader, &mut spool).map_err(|error| error.context(format!("reading the archive {shown}")))?;
        Members::of_tar(spool, shown.to_owned())
    }

    /// A file without a name on the store's file system.
    ///
    /// # Errors
    /// `no_space`.
    pub fn spool(&self) -> Result<File> {
        // The end of the scratch file takes the name away; the file lives as long as it is open.
        let scratch = self.scratch_file("spool")?;
        scratch.as_file().try_clone().context(|| format!("opening {:?}", scratch.path()))
    }
}

/// Copies a stream and takes its compression off, whichever its first bytes name.
pub(super) fn unpack(reader: &mut dyn Read, out: &mut File) -> Result<()> {
    let (compression, peeked) = detect(reader)?;
    let mut plain = decompress(compression, peeked)?;
    let mut piece = vec![0u8; PIECE_BYTES];
    loop {
        let n = match plain.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // An error of the disk keeps its number; a decoder's own has none.
            Err(error) if error.raw_os_error().is_some() => return Err(error.into()),
            Err(error) => return Err(Error::corrupt("the compressed data is damaged or cut off").with_source(error)),
        };
        out.write_all(&piece[..n]).context(|| "copying it")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Kind, Paths};
    use crate::store::archive::tarball::Tarball;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Paths::new(folder.path().join("root"))).unwrap();
        (folder, store)
    }

    fn tar() -> Vec<u8> {
        let mut tar = Tarball::new(Vec::new());
        tar.bytes("hello", 0o644, b"world").unwrap();
        tar.finish().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_form_of_an_archive_is_opened_and_nothing_is_left() {
        let (folder, store) = store();
        let forms = [("plain", tar()), ("gzip", gzip(&tar())), ("zstd", zstd::encode_all(&tar()[..], 3).unwrap())];
        for (name, bytes) in &forms {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(store.archive_open(&path).unwrap().read("hello", 10).unwrap(), b"world", "{name}");
            let members = store.archive_spool(&mut &bytes[..], "a stream").unwrap();
            assert_eq!(members.read("hello", 10).unwrap(), b"world", "{name} as a stream");
        }
        assert_eq!(std::fs::read_dir(store.paths().tmp()).unwrap().count(), 0);
    }

    #[test]
    fn damaged_compression_is_corrupt_and_other_compression_unsupported() {
        let (_folder, store) = store();
        let zstd = zstd::encode_all(&tar()[..], 3).unwrap();
        let mut flipped = gzip(&tar());
        let last = flipped.len() - 6;
        flipped[last] ^= 0x40;
        for bytes in [&gzip(&tar())[..20], &zstd[..zstd.len() - 3], &flipped, &[0x1f, 0x8b]] {
            assert_eq!(store.archive_spool(&mut &*bytes, "x").err().unwrap().kind(), Kind::Corrupt);
        }
        for (bytes, kind) in [(&b"\xfd7zXZ\0rest"[..], Kind::Corrupt), (b"\x04\x22\x4d\x18rest", Kind::Unsupported)] {
            assert_eq!(store.archive_spool(&mut &*bytes, "x").err().unwrap().kind(), kind);
        }
    }
}
