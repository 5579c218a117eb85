//! Pulls that have not come to their end: layers that came are kept for the next try.
//!
//! ```text
//! record (Noun::Pull, id = the manifest's digest)   uses = layers that are here and whole
//! ```
//!
//! The record goes with the image's own record, with a prune, or when nothing came for a day: a sweep looks for that.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Result, Timestamp};
use crate::model::image::Layer;
use crate::store::Store;
use crate::store::db::{Noun, Phase, Tx};

/// How long a layer waits for the rest of its image; containerd's time for what is on its way.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// When a layer came last.
    came: Timestamp,
}

impl Store {
    /// Keeps a layer for the image with this manifest.
    ///
    /// # Errors
    /// `no_space`.
    pub fn pull_keep(&self, manifest: &Digest, layer: &Digest) -> Result<()> {
        let id = manifest.as_str();
        let record = Record { came: Timestamp::now() };
        self.write(|tx| {
            match tx.phase(Noun::Pull, id)? {
                Some(_) => tx.update(Noun::Pull, id, &record)?,
                None => tx.insert(Noun::Pull, id, Phase::Ready, &record)?,
            }
            tx.add_use((Noun::Pull, id), (Noun::Layer, layer.as_str()))
        })
    }

    /// The layers that wait for the rest of their images.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn pull_layers(&self) -> Result<Vec<Layer>> {
        self.read(|tx| {
            let mut layers = Vec::new();
            for id in tx.ids(Noun::Pull)? {
                for (_, layer) in tx.uses((Noun::Pull, &id))? {
                    layers.extend(tx.body::<Layer>(Noun::Layer, &layer)?);
                }
            }
            Ok(layers)
        })
    }
}

impl Tx<'_> {
    /// Forgets a pull: its image is on record.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn pull_end(&self, manifest: &Digest) -> Result<()> {
        self.delete(Noun::Pull, manifest.as_str()).map(drop)
    }

    /// Forgets pulls of which nothing came since `until`, or all. A pull that goes on keeps its layers by its lease.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn pulls_end(&self, until: Option<Timestamp>) -> Result<()> {
        for id in self.ids(Noun::Pull)? {
            // What cannot be read is as good as any to go.
            let came = self.body::<Record>(Noun::Pull, &id).ok().flatten().map(|record| record.came);
            if until.is_none_or(|until| came.is_none_or(|came| came < until)) {
                self.delete(Noun::Pull, &id)?;
            }
        }
        Ok(())
    }

    /// As [`Tx::pulls_end`], for those that waited too long.
    pub(in crate::store) fn pulls_end_late(&self) -> Result<()> {
        self.pulls_end(Some(Timestamp::now().before(PATIENCE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Paths;
    use crate::store::layer::LayerSource;

    #[test]
    fn what_came_waits_for_the_rest_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Paths::new(folder.path().join("root"))).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        tar.append_data(&mut header, "file", &b"x"[..]).unwrap();
        let bytes = tar.into_inner().unwrap();
        let manifest = Digest::of(b"manifest");
        let keep = || {
            let _lease = store.lease().unwrap();
            let layer = store.layer_import(&mut bytes.as_slice(), &LayerSource::default()).unwrap();
            store.pull_keep(&manifest, &layer.chain_id).unwrap();
            layer.chain_id
        };
        let layers = || store.read(|tx| tx.count(Noun::Layer)).unwrap();
        keep();
        keep();
        store.sweep().unwrap();
        assert_eq!(layers(), 1, "the pull may go on");
        store.write(|tx| tx.pulls_end(Some(Timestamp::now().before(Duration::from_secs(60))))).unwrap();
        store.sweep().unwrap();
        assert_eq!(layers(), 1, "it came a moment ago");
        let late = Record { came: Timestamp::now().before(2 * PATIENCE) };
        store.write(|tx| tx.update(Noun::Pull, manifest.as_str(), &late)).unwrap();
        store.sweep().unwrap();
        assert_eq!(layers(), 0, "nobody goes on with it");
        keep();
        store.write(|tx| tx.pull_end(&manifest)).unwrap();
        store.sweep().unwrap();
        assert_eq!((layers(), store.read(|tx| tx.count(Noun::Pull)).unwrap()), (0, 0));
    }
}
