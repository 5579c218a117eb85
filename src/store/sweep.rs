//! What nobody uses, taken away: layers and blobs without a user, files without a record, leftovers of killed processes.
//!
//! The order makes it safe to die anywhere: records first, in one transaction, made durable before any file goes, so that
//! a record never outlives its file. Files are moved to `tmp/` under the publish lock and removed after it: importers do
//! not wait for a large tree, and a file without a record is garbage for the next sweep.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde_json::Value;

use crate::base::{Context as _, Digest, Id, Result, failpoint};
use crate::store::Store;
use crate::store::db::{Noun, Tx};
use crate::store::lease::LEASE_PREFIX;
use crate::sys::lock::{self, Lock, Mode};

/// What a sweep took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Chain ids of layers.
    pub layers: Vec<Digest>,
    /// Digests of blobs.
    pub blobs: Vec<Digest>,
    /// Files and folders that belonged to no record: names below the state root.
    pub leftovers: Vec<String>,
    /// Bytes that are free again: blobs and contents of layers, by their records.
    pub freed_bytes: u64,
}

impl Store {
    /// Takes away every layer and blob that no record and no living lease uses, pulls that nobody went on with, and what
    /// killed processes left. Layers first, since each uses its blob.
    ///
    /// # Errors
    /// `timeout` when another process publishes for longer than ten seconds; what removing gives. What was taken from the
    /// records is gone then; the files go with the next sweep.
    pub fn sweep(&self) -> Result<Swept> {
        // A trace for the next command, should this one be killed. A full disk may refuse it, and is to be swept all the more.
        let _lease = self.lease();
        self.sweep_leased().inspect_err(|_| {
            // Likewise when it fails; without a trace the next sweep still finds everything.
            let _ = std::fs::write(self.paths().locks().join(FAILED), "");
        })
    }

    fn sweep_leased(&self) -> Result<Swept> {
        let mut swept = Swept::default();
        {
            let _publishing = self.publishing()?;
            self.write(|tx| {
                self.end_dead_leases(tx)?;
                tx.pulls_end_late()?;
                swept.layers = sweep_noun(tx, Noun::Layer, "size_bytes", &mut swept.freed_bytes)?;
                swept.blobs = sweep_noun(tx, Noun::Blob, "size_bytes", &mut swept.freed_bytes)?;
                Ok(())
            })?;
            if !swept.layers.is_empty() || !swept.blobs.is_empty() {
                self.flush()?;
            }
            failpoint::hit("store.sweep.records")?;
            for (noun, folder) in [(Noun::Layer, self.paths().layers()), (Noun::Blob, self.paths().blobs())] {
                let listed = if noun == Noun::Layer { &swept.layers } else { &swept.blobs };
                for name in self.unlisted(noun)? {
                    if !listed.iter().any(|digest| digest.hex() == name) {
                        let relative = folder.strip_prefix(self.paths().root()).unwrap_or(&folder).join(&name);
                        swept.leftovers.push(relative.display().to_string());
                    }
                    self.set_aside(&folder.join(&name))?;
                }
            }
            failpoint::hit("store.sweep.files")?;
        }
        let scratch = self.sweep_scratch()?;
        let dead = scratch.into_iter().filter(|name| !name.starts_with(ASIDE));
        swept.leftovers.extend(dead.map(|name| format!("tmp/{name}")));
        Ok(swept)
    }

    /// Sweeps when there is a trace of a killed process: something half-made, or a lease, that nobody holds any more.
    /// Cheap when there is none; every command calls it. That the sweep fails is no error: it leaves a trace, and what it
    /// could not take away is in nobody's way.
    ///
    /// # Errors
    /// Only when the traces cannot be looked for.
    pub fn recover(&self) -> Result<()> {
        if !self.dead_scratch()?.is_empty() || self.has_dead_lease()? {
            let _ = self.sweep(); // see above
        }
        Ok(())
    }

    /// Whether a lease's lock file has no holder. It is removed then: a lease without one is dead.
    fn has_dead_lease(&self) -> Result<bool> {
        let folder = self.paths().locks();
        let mut found = false;
        for entry in std::fs::read_dir(&folder).context(|| format!("reading {folder:?}"))? {
            let entry = entry.context(|| format!("reading {folder:?}"))?;
            if entry.file_name().as_bytes().starts_with(LEASE_PREFIX.as_bytes()) {
                let lock = lock::try_acquire(&entry.path(), Mode::Exclusive)?;
                found |= lock.map(Lock::remove_on_drop).is_some();
            }
        }
        Ok(found)
    }

    /// Names in the folder of layers or blobs that belong to no record. Exact only under the publish lock.
    pub(super) fn unlisted(&self, noun: Noun) -> Result<Vec<String>> {
        let folder = if noun == Noun::Layer { self.paths().layers() } else { self.paths().blobs() };
        let ids = self.read(|tx| tx.ids(noun))?;
        let known: std::collections::HashSet<&str> =
            ids.iter().map(|id| id.rsplit(':').next().unwrap_or_default()).collect();
        let mut unlisted = Vec::new();
        for entry in std::fs::read_dir(&folder).context(|| format!("reading {folder:?}"))? {
            let name = entry.context(|| format!("reading {folder:?}"))?.file_name();
            match name.to_str() {
                Some(name) if !known.contains(name) => unlisted.push(name.to_owned()),
                Some(_) => {}
                // Our names are hexadecimal; what cannot even be text is not listed by anyone.
                None => self.set_aside(&folder.join(std::ffi::OsStr::from_bytes(name.as_bytes())))?,
            }
        }
        unlisted.sort();
        Ok(unlisted)
    }

    /// Moves something to `tmp/`, unlocked: the next sweep of it removes it. Already gone is success.
    fn set_aside(&self, path: &Path) -> Result<()> {
        let target = self.paths().tmp().join(format!("{ASIDE}{}", Id::random()?.short()));
        match std::fs::rename(path, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.context(|| format!("moving {path:?} away")),
        }
    }
}

/// The trace of a sweep that failed: a lease that nobody holds.
const FAILED: &str = "lease-failed";

/// How names of things in `tmp/` begin that a sweep put there.
const ASIDE: &str = "swept-";

/// Deletes the unused records of a kind and adds up their sizes.
fn sweep_noun(tx: &Tx<'_>, noun: Noun, size: &str, freed_bytes: &mut u64) -> Result<Vec<Digest>> {
    let mut swept = Vec::new();
    for id in tx.unused(noun)? {
        // A record that cannot be read is as good as any to remove; its size is unknown.
        let body = tx.get::<Value>(noun, &id).ok().flatten().map(|row| row.body);
        *freed_bytes += body.and_then(|body| body.get(size)?.as_u64()).unwrap_or(0);
        tx.delete(noun, &id)?;
        if let Ok(digest) = Digest::parse(&id) {
            swept.push(digest);
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Paths;

    #[test]
    fn traces_of_a_killed_process_are_swept_by_the_next_command() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Paths::new(folder.path().join("root"))).unwrap();
        let (tmp, locks, blobs) = (store.paths().tmp(), store.paths().locks(), store.paths().blobs());
        let left = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
        // A blob that was renamed and never recorded; nothing says so until a trace is found.
        std::fs::write(blobs.join("0".repeat(64)), "x").unwrap();
        store.recover().unwrap();
        assert_eq!(left(&blobs), 1);
        std::fs::write(locks.join("lease-dead"), "").unwrap();
        store.recover().unwrap();
        assert_eq!((left(&blobs), locks.join("lease-dead").exists()), (0, false));
        std::fs::create_dir(tmp.join("layer-dead")).unwrap();
        store.recover().unwrap();
        assert_eq!(left(&tmp), 0);
        // The living are spared.
        let _lease = store.lease().unwrap();
        let scratch = store.scratch_dir("layer").unwrap();
        store.recover().unwrap();
        assert!(scratch.path().exists());
    }
}
