//! Backups of volumes: a tar, plain or compressed with zstd, and beside it its digest for `sha256sum -c`.
//!
//! ```text
//! data.tar.zst           pax tar with "./" first, zstd frames with checksums
//! data.tar.zst.sha256    <hex>  data.tar.zst
//! ```
//!
//! A restore unpacks into a new folder first; only an archive that was read to its end, whose digest is the one beside it
//! when there is one, becomes the content. Archives of plain `tar`, also compressed with gzip, are read as well; sockets
//! have no form in a tar and are left out.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::base::digest::Hashing;
use crate::base::{Context as _, Digest, Error, Id, Result, failpoint};
use crate::model::volume::Backup;
use crate::store::Store;
use crate::store::archive::beside::Beside;
use crate::store::layer::decompress;
use crate::store::layer::unpack::{Purpose, unpack};
use crate::store::pack::{self, PackForm, PackOptions, Packed};
use crate::sys::fs::{sync, sync_file_system, write_durably};
use crate::sys::lock::Mode;
use crate::sys::path::Dir;

/// The level of zstd: its default, 300 MB/s on one core.
const LEVEL: i32 = 3;
/// From this much content on, a second thread compresses.
const THREADED_BYTES: u64 = 32 << 20;
const THREADS: u32 = 2;
const BUFFER_BYTES: usize = 1 << 18;
/// The most that a digest file may have: one line with a path.
const MAX_SIDECAR_BYTES: u64 = 16 << 10;

impl Store {
    /// Writes a volume's content to `path`, which must not exist, and its digest beside it.
    ///
    /// # Errors
    /// `already_exists`; `no_space`; nothing is left at `path` then.
    pub fn volume_backup(&self, id: &Id, path: &Path) -> Result<Backup> {
        let start = Instant::now();
        if std::fs::symlink_metadata(path).is_ok() {
            return Err(
                Error::already_exists(format!("{path:?} exists")).with_hint("choose another name, or remove it")
            );
        }
        self.volume_dir(id)?;
        let data = self.paths().volume_data(id);
        let (beside, file) = Beside::file(path)?;
        let mut out = Hashing::new(BufWriter::with_capacity(BUFFER_BYTES, file));
        let packed = if path.extension().is_some_and(|extension| extension == "zst") {
            let mut encoder = zstd::stream::write::Encoder::new(&mut out, LEVEL)?;
            encoder.include_checksum(true)?;
            if self.volume_size_bytes(id)? > THREADED_BYTES {
                encoder.multithread(THREADS)?;
            }
            let mut encoder = BufWriter::with_capacity(BUFFER_BYTES, encoder);
            let packed = pack_tree(&data, &mut encoder)?;
            let encoder = encoder.into_inner().map_err(io::IntoInnerError::into_error);
            encoder.and_then(zstd::stream::write::Encoder::finish).context(|| format!("writing {path:?}"))?;
            packed
        } else {
            pack_tree(&data, &mut out)?
        };
        let (out, digest, size_bytes) = out.finish();
        let file = out.into_inner().map_err(io::IntoInnerError::into_error).context(|| format!("writing {path:?}"))?;
        sync(&file).context(|| format!("flushing {path:?}"))?;
        failpoint::hit("volume.backup.synced")?;
        let sidecar = sidecar(path);
        // The digest first: whoever sees the archive can check it.
        write_durably(&sidecar, 0o600, sidecar_line(&digest, path).as_bytes())
            .context(|| format!("writing {sidecar:?}"))?;
        let finished = failpoint::hit("volume.backup.renamed").and_then(|()| beside.finish());
        if let Err(error) = finished {
            // The error is what the user needs; a digest without its archive harms nobody.
            let _ = std::fs::remove_file(&sidecar);
            return Err(error);
        }
        Ok(Backup {
            path: path.to_owned(),
            files: packed.entries,
            content_bytes: packed.content_bytes,
            size_bytes,
            digest,
            elapsed: start.elapsed(),
        })
    }

    /// Replaces a volume's content by a backup's. `before_exchange`, called while the volume is held, may still refuse.
    ///
    /// # Errors
    /// `not_found`; `corrupt` when the archive is damaged or not the one that its digest file means; `invalid_argument` for
    /// names that would leave the volume; `no_space`. The old content stays then.
    pub fn volume_restore(&self, id: &Id, path: &Path, before_exchange: impl FnOnce() -> Result<()>) -> Result<Backup> {
        let scratch = self.scratch_dir("restore")?;
        let folder = Dir::open(scratch.path())?;
        // An archive that does not speak of its top leaves the volume what a new one has.
        crate::sys::node::set_mode_of(&folder, 0o755)?;
        let backup = self.read_backup(path, &folder)?;
        sync_file_system(&folder).context(|| "flushing a restored volume")?;
        failpoint::hit("volume.restore.unpacked")?;
        let _held = self.volume_hold(id, Mode::Exclusive)?;
        before_exchange()?;
        self.volume_exchange(id, scratch.path())?;
        failpoint::hit("volume.restore.exchanged")?;
        Ok(backup)
    }

    /// Reads a backup as a restore would, and forgets it.
    ///
    /// # Errors
    /// As [`Store::volume_restore`].
    pub fn backup_verify(&self, path: &Path) -> Result<Backup> {
        let scratch = self.scratch_dir("verify")?;
        self.read_backup(path, &Dir::open(scratch.path())?)
    }

    fn read_backup(&self, path: &Path, folder: &Dir) -> Result<Backup> {
        let start = Instant::now();
        let metadata = std::fs::metadata(path).context(|| format!("opening the backup {path:?}"))?;
        if !metadata.is_file() {
            return Err(Error::invalid(format!("the backup {path:?} is not a file")));
        }
        let expected = expected_digest(path)?;
        let file = File::open(path).context(|| format!("opening the backup {path:?}"))?;
        let reading = || format!("reading the backup {path:?}");
        let mut stream = Hashing::new(file);
        let unpacked = {
            let (compression, peeked) = decompress::detect(&mut stream).map_err(|error| error.context(reading()))?;
            let mut plain = decompress::decompress(compression, peeked)?;
            let unpacked = unpack(folder, &mut plain, Purpose::Tree);
            // A checksum may stand behind the end of the tar.
            let rest = unpacked.and_then(|unpacked| {
                io::copy(&mut plain, &mut io::sink()).context(|| "reading its end").map(|_| unpacked)
            });
            rest.map_err(|error| error.context(reading()))?
        };
        io::copy(&mut stream, &mut io::sink()).context(reading)?;
        let (_, digest, size_bytes) = stream.finish();
        if let Some((sidecar, expected)) = expected
            && expected != digest
        {
            return Err(Error::corrupt(format!("the backup {path:?} has the digest {digest}"))
                .with_hint(format!("{sidecar:?} says {expected}: the archive or that file was changed")));
        }
        if !unpacked.end_mark {
            return Err(Error::corrupt(format!("the backup {path:?} is cut off: its end mark is missing")));
        }
        Ok(Backup {
            path: path.to_owned(),
            files: unpacked.entries,
            content_bytes: unpacked.content_bytes,
            size_bytes,
            digest,
            elapsed: start.elapsed(),
        })
    }
}

fn pack_tree(data: &Path, out: &mut dyn Write) -> Result<Packed> {
    let options = PackOptions { form: PackForm::Tree, root_entry: true, nanoseconds: true, ..PackOptions::default() };
    pack::pack(data, &options, out).context(|| "packing a volume")
}

/// The name of the file with the digest.
fn sidecar(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// What `sha256sum` prints: a name with a backslash or a line break is escaped, and the line begins with a backslash.
fn sidecar_line(digest: &Digest, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let escaped = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    let mark = if escaped == name { "" } else { "\\" };
    format!("{mark}{}  {escaped}\n", digest.hex())
}

/// The digest that the file beside the archive names, if there is one.
fn expected_digest(path: &Path) -> Result<Option<(PathBuf, Digest)>> {
    let sidecar = sidecar(path);
    let mut text = String::new();
    match File::open(&sidecar) {
        Ok(file) if file.metadata()?.is_file() => {
            file.take(MAX_SIDECAR_BYTES)
                .read_to_string(&mut text)
                .map_err(|error| Error::corrupt(format!("{sidecar:?} cannot be read")).with_source(error))?;
        }
        Ok(_) => return Err(Error::corrupt(format!("{sidecar:?} is not a file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::from(error).context(format!("opening {sidecar:?}"))),
    }
    let hex = text.trim_start_matches('\\').split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    let digest = Digest::parse(&format!("sha256:{hex}"))
        .map_err(|error| Error::corrupt(format!("{sidecar:?} holds no digest")).with_source(error))?;
    Ok(Some((sidecar, digest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_file_is_what_sha256sum_reads() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["plain.tar.zst", "with space", "odd\\name\nline"] {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            std::fs::write(sidecar(&path), sidecar_line(&Digest::of(name.as_bytes()), &path)).unwrap();
            assert_eq!(expected_digest(&path).unwrap().unwrap().1, Digest::of(name.as_bytes()));
            let check = std::process::Command::new("sha256sum")
                .args(["--check", "--status"])
                .arg(sidecar(&path))
                .current_dir(folder.path())
                .status()
                .unwrap();
            assert!(check.success(), "{name:?}");
        }
        let path = folder.path().join("x");
        assert!(expected_digest(&path).unwrap().is_none());
        std::fs::write(sidecar(&path), "nonsense").unwrap();
        assert!(expected_digest(&path).is_err());
    }
}
