//! Getting at an archive: which form it has, and a copy that can be sought in when it is compressed or a stream.
//!
//! The copy is a file of the store's `tmp` without a name: nothing is left of it, however this process ends.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write};
use std::path::Path;

use super::members::Members;
use crate::base::{Context as _, Error, Result};
use crate::store::Store;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const BZIP2: &[u8] = b"BZh";
/// The largest zstd window: 128 MiB, what the zstd program takes without being told.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Up to here a compressed archive may unpack to whatever it says …
const FREE_BYTES: u64 = 1 << 30;
/// … and from there on to this many times its compressed size (gzip's best is 1,032).
const MAX_RATIO: u64 = 1100;

impl Store {
    /// Opens an archive: a folder, or a file that is a tar, plain or compressed with gzip or zstd.
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
        let mut start = [0u8; 6];
        let n = read_fully(&mut file, &mut start).context(|| format!("reading the archive {path:?}"))?;
        file.seek(SeekFrom::Start(0))?;
        if is_compressed(&start[..n]) {
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

fn is_compressed(start: &[u8]) -> bool {
    [GZIP, ZSTD, XZ, BZIP2].iter().any(|magic| start.starts_with(magic))
}

/// Copies a stream and takes its compression off, whichever its first bytes name.
pub(super) fn unpack(reader: &mut dyn Read, out: &mut File) -> Result<()> {
    let mut start = [0u8; 6];
    let n = read_fully(reader, &mut start)?;
    let start = &start[..n];
    if start.starts_with(XZ) || start.starts_with(BZIP2) {
        return Err(Error::unsupported("compressed with xz or bzip2").with_hint("unpack it first, with xz or bzip2 -d"));
    }
    let mut counted = Counted { inner: start.chain(reader), count: 0 };
    if start.starts_with(GZIP) {
        let mut decoder = flate2::read::MultiGzDecoder::new(BufReader::with_capacity(1 << 16, &mut counted));
        copy(&mut decoder, out, |decoder| decoder.get_ref().get_ref().count)
    } else if start.starts_with(ZSTD) {
        let mut decoder = zstd::stream::read::Decoder::new(&mut counted)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        copy(&mut decoder, out, |decoder| decoder.get_ref().get_ref().count)
    } else {
        io::copy(&mut counted, out).map(drop).map_err(Error::from)
    }
}

/// Copies what a decoder gives, as long as it stays in proportion to what it took.
fn copy<D: Read>(decoder: &mut D, out: &mut File, taken: impl Fn(&D) -> u64) -> Result<()> {
    let mut buffer = vec![0u8; 1 << 17];
    let mut written = 0u64;
    loop {
        let n = match decoder.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // An error of the disk keeps its number; a decoder's own has none.
            Err(error) if error.raw_os_error().is_some() => return Err(error.into()),
            Err(error) => return Err(Error::corrupt("the compressed data is damaged or cut off").with_source(error)),
        };
        written += n as u64;
        if written > FREE_BYTES && written / MAX_RATIO > taken(decoder) {
            return Err(Error::corrupt(format!("it unpacks to more than {MAX_RATIO} times its size")));
        }
        out.write_all(&buffer[..n])?;
    }
}

fn read_fully(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        Ok(n)
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
        let error = store.archive_spool(&mut &b"\xfd7zXZ\0rest"[..], "x").err().unwrap();
        assert_eq!(error.kind(), Kind::Unsupported);
    }
}
