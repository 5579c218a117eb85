//! Content-addressed blobs: `blobs/sha256/<hex>`, written beside and renamed into place, never changed.
//!
//! A blob has a record ([`Noun::Blob`]) from the moment its file has its name; who needs it is said by uses. It knows
//! nothing of what is inside, and it trusts no file: whoever reads a manifest gets bytes that were hashed just now.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::digest::Hashing;
use crate::base::{Context as _, Digest, Error, Result, failpoint};
use crate::store::Store;
use crate::store::db::{Noun, Phase};
use crate::store::scratch::Scratch;
use crate::sys::lock::{self, Lock, Mode};

/// The most that a manifest, an index or a config may have, as registries hold it too.
pub const METADATA_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// The least that is moved in one call when a stream is copied.
const COPY_BYTES: usize = 128 * 1024;

/// A blob in the store; also the body of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size_bytes: u64,
}

/// What is known of a blob before it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlobSource {
    /// The digest that it must have.
    pub expect: Option<Digest>,
    /// The number of bytes that it must have; not one more is read.
    pub expect_size_bytes: Option<u64>,
}

/// A blob under way: what is written to it is hashed and kept in `tmp/`. Dropping it forgets it.
pub struct BlobWriter {
    out: Hashing<Scratch>,
}

impl Write for Scratch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.as_file().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Store {
    /// Begins a blob. Whoever writes should write in large pieces: nothing is buffered.
    ///
    /// # Errors
    /// `no_space` and what else making a file gives.
    pub fn blob_create(&self) -> Result<BlobWriter> {
        Ok(BlobWriter { out: Hashing::new(self.scratch_file("blob")?) })
    }

    /// Ends a blob: checks it against what was expected, makes it durable, gives it its name and records it. One that is
    /// there already is kept, its file replaced by the equal new one.
    ///
    /// # Errors
    /// `corrupt` when digest or size differ; `no_space`. Nothing is kept then.
    pub fn blob_commit(&self, writer: BlobWriter, source: &BlobSource) -> Result<Blob> {
        let _lease = self.lease()?;
        let (scratch, digest, size_bytes) = writer.out.finish();
        check(&digest, size_bytes, source)?;
        scratch.as_file().sync_all().context(|| format!("writing blob {digest}"))?;
        failpoint::hit("blob.commit.synced")?;
        let blob = Blob { digest, size_bytes };
        let _publishing = self.publishing()?;
        let target = self.blob_path(&blob.digest);
        scratch.publish(&target).context(|| format!("writing {target:?}"))?;
        failpoint::hit("blob.commit.renamed")?;
        self.write(|tx| {
            let id = blob.digest.as_str();
            if tx.phase(Noun::Blob, id)?.is_none() {
                tx.insert(Noun::Blob, id, Phase::Ready, &blob)?;
            }
            self.lease_in(tx, (Noun::Blob, id))
        })?;
        Ok(blob)
    }

    /// Stores everything that `reader` gives. A blob that is there already (by the expected digest) is only compared.
    ///
    /// # Errors
    /// As [`Store::blob_commit`], and what reading gives.
    pub fn blob_write(&self, reader: &mut dyn Read, source: &BlobSource) -> Result<Blob> {
        let _lease = self.lease()?;
        // One byte more than expected is enough to see that it is too long.
        let limit = source.expect_size_bytes.map_or(u64::MAX, |size| size.saturating_add(1));
        let mut limited = reader.take(limit);
        if let Some(blob) = source.expect.as_ref().map(|digest| self.blob_adopt(digest)).transpose()?.flatten() {
            let mut hashing = Hashing::new(io::sink());
            copy(&mut limited, &mut hashing).context(|| "reading a blob")?;
            let (_, digest, size_bytes) = hashing.finish();
            check(&digest, size_bytes, source)?;
            return Ok(blob);
        }
        let mut writer = self.blob_create()?;
        copy(&mut limited, &mut writer).context(|| "writing a blob")?;
        self.blob_commit(writer, source)
    }

    /// Stores these bytes, also over a file of that name which holds something else by now.
    ///
    /// # Errors
    /// `no_space`.
    pub fn blob_put(&self, bytes: &[u8]) -> Result<Blob> {
        let source = BlobSource { expect: Some(Digest::of(bytes)), expect_size_bytes: Some(bytes.len() as u64) };
        let _lease = self.lease()?;
        let whole = |blob: &Blob| self.blob_verify(&blob.digest).is_ok();
        if let Some(blob) = source.expect.as_ref().map(|digest| self.blob_adopt(digest)).transpose()?.flatten()
            && whole(&blob)
        {
            return Ok(blob);
        }
        let mut writer = self.blob_create()?;
        writer.write_all(bytes).context(|| "writing a blob")?;
        self.blob_commit(writer, &source)
    }

    /// The blob when it is in the store; the held lease keeps it from now on.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn blob_adopt(&self, digest: &Digest) -> Result<Option<Blob>> {
        let Some(blob) = self.blob_get(digest)? else { return Ok(None) };
        self.write(|tx| match tx.phase(Noun::Blob, digest.as_str())? {
            Some(_) => self.lease_in(tx, (Noun::Blob, digest.as_str())).map(|()| Some(blob)),
            None => Ok(None),
        })
    }

    /// The facts of a blob; none when it is not in the store, by record and by file.
    ///
    /// # Errors
    /// `corrupt` when its record cannot be read.
    pub fn blob_get(&self, digest: &Digest) -> Result<Option<Blob>> {
        let blob = self.read(|tx| tx.body::<Blob>(Noun::Blob, digest.as_str()))?;
        Ok(blob.filter(|_| self.blob_path(digest).exists()))
    }

    /// Whether a blob's file is there with as many bytes; what they are is not read.
    pub(super) fn blob_looks_whole(&self, digest: &Digest, size_bytes: u64) -> bool {
        std::fs::metadata(self.blob_path(digest)).is_ok_and(|facts| facts.len() == size_bytes)
    }

    /// Where a blob is or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.paths().blobs().join(digest.hex())
    }

    /// Opens a blob for reading. Its content is as it was stored, not checked again.
    ///
    /// # Errors
    /// `not_found`.
    pub fn blob_open(&self, digest: &Digest) -> Result<File> {
        File::open(self.blob_path(digest)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::not_found(format!("no such blob {digest}")),
            _ => Error::from(error).context(format!("opening blob {digest}")),
        })
    }

    /// Reads a whole blob of at most `limit_bytes` (for manifests and configs: [`METADATA_LIMIT_BYTES`]) and checks its
    /// digest.
    ///
    /// # Errors
    /// `not_found`; `corrupt` when the digest differs; `invalid_argument` when it is larger.
    pub fn blob_read(&self, digest: &Digest, limit_bytes: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = self.blob_open(digest)?.take(limit_bytes.saturating_add(1));
        file.read_to_end(&mut bytes).context(|| format!("reading blob {digest}"))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(Error::invalid(format!("blob {digest} is larger than {limit_bytes} bytes")));
        }
        check(
            &Digest::of(&bytes),
            bytes.len() as u64,
            &BlobSource { expect: Some(digest.clone()), ..Default::default() },
        )?;
        Ok(bytes)
    }

    /// Reads a whole blob and compares it with its digest and its recorded size.
    ///
    /// # Errors
    /// `not_found`; `corrupt`.
    pub fn blob_verify(&self, digest: &Digest) -> Result<Blob> {
        let mut hashing = Hashing::new(io::sink());
        copy(&mut self.blob_open(digest)?, &mut hashing).context(|| format!("reading blob {digest}"))?;
        let (_, found, size_bytes) = hashing.finish();
        let recorded = self.blob_get(digest)?.map(|blob| blob.size_bytes);
        check(&found, size_bytes, &BlobSource { expect: Some(digest.clone()), expect_size_bytes: recorded })?;
        Ok(Blob { digest: found, size_bytes })
    }

    /// The lock under which files get or lose their real names, and records follow. It is held for moments only.
    pub(super) fn publishing(&self) -> Result<Lock> {
        lock::acquire(&self.paths().locks().join("publish"), Mode::Exclusive, lock::DEADLINE)
    }
}

pub(super) fn check(digest: &Digest, size_bytes: u64, source: &BlobSource) -> Result<()> {
    if let Some(expected) = source.expect_size_bytes
        && expected != size_bytes
    {
        let found = if size_bytes > expected { "more".to_owned() } else { size_bytes.to_string() };
        return Err(Error::corrupt(format!("a blob has {found} bytes, expected {expected}")));
    }
    match &source.expect {
        Some(expected) if expected != digest => {
            Err(Error::corrupt(format!("a blob has digest {digest}, expected {expected}")))
        }
        _ => Ok(()),
    }
}

/// Copies in large pieces; interrupted calls are repeated.
fn copy(reader: &mut dyn Read, writer: &mut dyn Write) -> io::Result<u64> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut total = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        writer.write_all(&buffer[..count])?;
        total += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Kind, Paths};

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Paths::new(folder.path().join("root"))).unwrap();
        (folder, store)
    }

    fn empty(store: &Store) -> bool {
        std::fs::read_dir(store.paths().tmp()).unwrap().count() == 0
            && std::fs::read_dir(store.paths().blobs()).unwrap().count() == 0
    }

    #[test]
    fn a_blob_is_stored_once_and_read_back() {
        let (_folder, store) = store();
        let blob = store.blob_put(b"abc").unwrap();
        assert_eq!(store.blob_put(b"abc").unwrap(), blob);
        assert_eq!(store.blob_read(&blob.digest, 3).unwrap(), b"abc");
        assert_eq!(store.blob_get(&blob.digest).unwrap().unwrap(), blob);
        assert_eq!(store.blob_verify(&blob.digest).unwrap(), blob);
        assert_eq!(store.blob_read(&blob.digest, 2).unwrap_err().kind(), Kind::InvalidArgument);
        let other = Digest::of(b"other");
        assert_eq!(store.blob_open(&other).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(store.blob_get(&other).unwrap(), None);
    }

    #[test]
    fn a_wrong_digest_or_size_keeps_nothing() {
        let (_folder, store) = store();
        let wrong = BlobSource { expect: Some(Digest::of(b"x")), expect_size_bytes: None };
        assert_eq!(store.blob_write(&mut &b"abc"[..], &wrong).unwrap_err().kind(), Kind::Corrupt);
        for size in [2, 4] {
            let wrong = BlobSource { expect: None, expect_size_bytes: Some(size) };
            assert_eq!(store.blob_write(&mut &b"abc"[..], &wrong).unwrap_err().kind(), Kind::Corrupt);
        }
        let endless = BlobSource { expect: None, expect_size_bytes: Some(1000) };
        assert_eq!(store.blob_write(&mut io::repeat(0), &endless).unwrap_err().kind(), Kind::Corrupt);
        assert!(empty(&store));
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let (_folder, store) = store();
        let blob = store.blob_put(b"abc").unwrap();
        std::fs::write(store.blob_path(&blob.digest), b"abd").unwrap();
        assert_eq!(store.blob_verify(&blob.digest).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(store.blob_read(&blob.digest, 10).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(store.blob_put(b"abc").unwrap(), blob);
        assert_eq!(store.blob_verify(&blob.digest).unwrap(), blob);
        std::fs::remove_file(store.blob_path(&blob.digest)).unwrap();
        assert_eq!(store.blob_verify(&blob.digest).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(store.blob_put(b"abc").unwrap(), blob);
        assert_eq!(store.blob_verify(&blob.digest).unwrap(), blob);
    }
}
