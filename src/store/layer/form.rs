//! Forms of a layer: the same tar in further blobs, compressed otherwise, for those that do not read the layer's own.
//!
//! ```text
//! blob ─▶ decompress ─▶ hash (diff id) ─▶ compress ─▶ blob      no unpacking, one piece after the other
//! ```
//!
//! A form is made once: the layer's record names it and uses its blob, which goes with the layer. What makes it is fixed
//! (level, header, the size of pieces), so that two machines come to one digest. A layer that is compressed as wished is
//! never touched, whoever compressed it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::decompress;
use super::import::{ZSTD_LEVEL, read_error};
use crate::base::digest::Hasher;
use crate::base::{Context as _, Digest, Error, Result, failpoint};
use crate::model::image::{Layer, LayerCompression};
use crate::store::Store;
use crate::store::blob::{Blob, BlobSource, BlobWriter};
use crate::store::db::{Noun, Tx};

/// The level of gzip: its default.
const GZIP_LEVEL: u32 = 6;
/// "Unknown" (RFC 1952, 2.3.1, "OS"): the blob is the same wherever it is made.
const GZIP_SYSTEM: u8 = 255;
/// What is compressed in one step: what a compressor comes to may depend on it.
const PIECE_BYTES: usize = 64 * 1024;

/// The body of a layer's record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Recorded {
    #[serde(flatten)]
    pub(super) layer: Layer,
    /// Its further forms, one for each compression.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) forms: Vec<Form>,
}

/// A further blob with a layer's tar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Form {
    compression: LayerCompression,
    pub(super) blob: Digest,
    blob_size_bytes: u64,
}

/// What a media type says of a layer's compression.
pub fn compression_of(media_type: &str) -> LayerCompression {
    match media_type.rsplit(['+', '.']).next() {
        Some("gzip") => LayerCompression::Gzip,
        Some("zstd") => LayerCompression::Zstd,
        _ => LayerCompression::Uncompressed,
    }
}

impl Store {
    /// The layer with a blob that is compressed so; the held lease keeps it. It is made when it is not there, and remembered;
    /// `check` may end that.
    ///
    /// # Errors
    /// `corrupt` when the layer's own blob is lost or damaged; what `check` gives; `no_space`. Nothing is kept then.
    pub fn layer_recompressed(
        &self,
        layer: &Layer,
        to: LayerCompression,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<Layer> {
        if compression_of(&layer.media_type) == to {
            return Ok(layer.clone());
        }
        let _lease = self.lease()?;
        if self.layer_adopt(&layer.chain_id)?.is_none() {
            return Err(Error::corrupt(format!("the layer {} is not here any more", layer.chain_id)));
        }
        let known = self.read(|tx| recorded(tx, &layer.chain_id))?;
        let known = known.into_iter().flat_map(|row| row.forms).find(|form| form.compression == to);
        let form = match known.filter(|form| self.blob_looks_whole(&form.blob, form.blob_size_bytes)) {
            Some(form) => form,
            None => self.form_make(layer, to, check)?,
        };
        let media_type = media_type(to).to_owned();
        Ok(Layer { blob: form.blob, blob_size_bytes: form.blob_size_bytes, media_type, came: false, ..layer.clone() })
    }

    /// What the further forms of layers take; layers without any are left out.
    ///
    /// # Errors
    /// `corrupt` when a record cannot be read.
    pub fn forms_bytes(&self) -> Result<BTreeMap<Digest, u64>> {
        let rows = self.read(|tx| tx.list::<Recorded>(Noun::Layer))?;
        let bytes = |row: &Recorded| row.forms.iter().map(|form| form.blob_size_bytes).sum();
        let with_forms = rows.into_iter().map(|row| row.body).filter(|body| !body.forms.is_empty());
        Ok(with_forms.map(|body| (body.layer.chain_id.clone(), bytes(&body))).collect())
    }

    /// Makes a blob again that is the form of a layer; false when it is none.
    pub(in crate::store) fn form_restore(&self, blob: &Digest) -> Result<bool> {
        for (noun, layer) in self.read(|tx| tx.users((Noun::Blob, blob.as_str())))? {
            if noun != Noun::Layer {
                continue;
            }
            let Some(row) = self.read(|tx| tx.body::<Recorded>(noun, &layer))? else { continue };
            if let Some(form) = row.forms.iter().find(|form| form.blob == *blob) {
                let _lease = self.lease()?;
                // Another version of the compressor may come to another blob: who names the old one has lost it.
                return Ok(self.form_make(&row.layer, form.compression, &|| Ok(()))?.blob == *blob);
            }
        }
        Ok(false)
    }

    /// Makes a form and puts it on record.
    fn form_make(&self, layer: &Layer, to: LayerCompression, check: &dyn Fn() -> Result<()>) -> Result<Form> {
        let lost = |error: Error| {
            Error::corrupt(format!("the blob of the layer {} is lost", layer.diff_id)).with_source(error)
        };
        let blob = self.blob_open(&layer.blob).map_err(lost)?;
        let making = || format!("compressing the layer {}", layer.diff_id);
        let written = recompress(blob, self.blob_create()?, to, &layer.diff_id, check).context(making)?;
        failpoint::hit("layer.form.written")?;
        let Blob { digest, size_bytes } = self.blob_commit(written, &BlobSource::default())?;
        failpoint::hit("layer.form.blob")?;
        let form = Form { compression: to, blob: digest, blob_size_bytes: size_bytes };
        let id = layer.chain_id.as_str();
        self.write(|tx| {
            // Nobody can have removed it: the lease has it.
            let row = recorded(tx, &layer.chain_id)?;
            let mut row = row.ok_or_else(|| Error::corrupt(format!("the layer {id} has no record")))?;
            // Another maker's is as good, and the same unless it is lost.
            let old = row.forms.iter().position(|old| old.compression == to).map(|place| row.forms.remove(place));
            row.forms.push(form.clone());
            tx.update(Noun::Layer, id, &row)?;
            tx.add_use((Noun::Layer, id), (Noun::Blob, form.blob.as_str()))?;
            match old.filter(|old| !row.has(&old.blob)) {
                Some(old) => tx.drop_use((Noun::Layer, id), (Noun::Blob, old.blob.as_str())),
                None => Ok(()),
            }
        })?;
        failpoint::hit("layer.form.record")?;
        Ok(form)
    }
}

impl Recorded {
    /// Whether one of its blobs is this.
    pub(super) fn has(&self, blob: &Digest) -> bool {
        self.layer.blob == *blob || self.forms.iter().any(|form| form.blob == *blob)
    }
}

/// A layer's record, in a transaction.
pub(super) fn recorded(tx: &Tx<'_>, chain_id: &Digest) -> Result<Option<Recorded>> {
    tx.body(Noun::Layer, chain_id.as_str())
}

/// The media type of a layer (OCI image specification, "Image Media Types").
pub fn media_type(compression: LayerCompression) -> &'static str {
    match compression {
        LayerCompression::Uncompressed => "application/vnd.oci.image.layer.v1.tar",
        LayerCompression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        LayerCompression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

/// What compresses.
enum Encoder {
    Plain(BlobWriter),
    Gzip(Box<flate2::write::GzEncoder<BlobWriter>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, BlobWriter>>),
}

impl Encoder {
    fn new(out: BlobWriter, to: LayerCompression) -> Result<Encoder> {
        Ok(match to {
            LayerCompression::Uncompressed => Encoder::Plain(out),
            LayerCompression::Gzip => {
                let header = flate2::GzBuilder::new().mtime(0).operating_system(GZIP_SYSTEM);
                Encoder::Gzip(Box::new(header.write(out, flate2::Compression::new(GZIP_LEVEL))))
            }
            LayerCompression::Zstd => Encoder::Zstd(Box::new(zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?)),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Plain(out) => out.write_all(bytes),
            Encoder::Gzip(out) => out.write_all(bytes),
            Encoder::Zstd(out) => out.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<BlobWriter> {
        match self {
            Encoder::Plain(out) => Ok(out),
            Encoder::Gzip(out) => out.finish(),
            Encoder::Zstd(out) => out.finish(),
        }
    }
}

/// Writes a layer's tar, compressed otherwise, to a blob.
fn recompress(
    blob: impl Read,
    out: BlobWriter,
    to: LayerCompression,
    diff_id: &Digest,
    check: &dyn Fn() -> Result<()>,
) -> Result<BlobWriter> {
    let (compression, reader) = decompress::detect(blob).context(|| "reading a layer")?;
    let mut plain = decompress::decompress(compression, reader)?;
    let mut encoder = Encoder::new(out, to)?;
    let mut hasher = Hasher::new();
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    loop {
        check()?;
        piece.clear();
        let count = plain.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(read_error)?;
        if count == 0 {
            break;
        }
        hasher.update(&piece);
        encoder.write(&piece).context(|| "writing a blob")?;
    }
    let found = hasher.finish();
    if found != *diff_id {
        return Err(Error::corrupt(format!("a layer has diff id {found}, expected {diff_id}"))
            .with_hint("\"rhumb system check --rehash\" finds what is damaged; load or pull the image again"));
    }
    encoder.finish().context(|| "writing a blob")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Kind, Paths};
    use crate::store::layer::LayerSource;

    /// A store with a layer of a file that compresses neither well nor badly.
    fn store() -> (tempfile::TempDir, Store, Layer) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Paths::new(folder.path().join("root"))).unwrap();
        let text: String = (0..200_000_u64).map(|n| format!("{:x} ", n.wrapping_mul(n) % 7919)).collect();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, "file", text.as_bytes()).unwrap();
        let tar = tar.into_inner().unwrap();
        let source = LayerSource { compress: true, ..LayerSource::default() };
        let layer = store.layer_import(&mut tar.as_slice(), &source).unwrap();
        (folder, store, layer)
    }

    fn gzip(store: &Store, layer: &Layer) -> Result<Layer> {
        store.layer_recompressed(layer, LayerCompression::Gzip, &|| Ok(()))
    }

    fn plain(store: &Store, layer: &Layer) -> Vec<u8> {
        let (compression, reader) = decompress::detect(store.blob_open(&layer.blob).unwrap()).unwrap();
        let mut plain = Vec::new();
        decompress::decompress(compression, reader).unwrap().read_to_end(&mut plain).unwrap();
        plain
    }

    #[test]
    fn media_types_say_how_layers_are_compressed() {
        for (text, wanted) in [
            ("application/vnd.oci.image.layer.v1.tar", LayerCompression::Uncompressed),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", LayerCompression::Gzip),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", LayerCompression::Gzip),
            ("application/vnd.docker.image.rootfs.diff.tar", LayerCompression::Uncompressed),
            ("application/vnd.oci.image.layer.v1.tar+zstd", LayerCompression::Zstd),
        ] {
            assert_eq!(compression_of(text), wanted, "{text}");
        }
        for all in [LayerCompression::Gzip, LayerCompression::Zstd, LayerCompression::Uncompressed] {
            assert_eq!(compression_of(media_type(all)), all);
        }
    }

    #[test]
    fn a_form_is_made_once_and_everywhere_the_same() {
        let (_folder, store, layer) = store();
        let made = gzip(&store, &layer).unwrap();
        assert_eq!((&made.chain_id, &made.diff_id), (&layer.chain_id, &layer.diff_id));
        assert_eq!(plain(&store, &made), plain(&store, &layer));
        // RFC 1952, 2.3: deflate, no flags, no time, no extra flags, unknown system.
        let bytes = std::fs::read(store.blob_path(&made.blob)).unwrap();
        assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        let written = || std::fs::metadata(store.blob_path(&made.blob)).unwrap().modified().unwrap();
        let before = written();
        assert_eq!(gzip(&store, &layer).unwrap(), made);
        assert_eq!(written(), before);
        assert_eq!(gzip(&store, &made).unwrap(), made);
        let (_other, other, same) = self::store();
        assert_eq!(gzip(&other, &same).unwrap().blob, made.blob);
        // However it lay there before.
        let bare = other.layer_recompressed(&same, LayerCompression::Uncompressed, &|| Ok(())).unwrap();
        assert_eq!(
            (&bare.blob, bare.media_type.as_str()),
            (&layer.diff_id, media_type(LayerCompression::Uncompressed))
        );
        assert_eq!(other.layer_recompressed(&bare, LayerCompression::Gzip, &|| Ok(())).unwrap().blob, made.blob);
        assert_eq!(store.forms_bytes().unwrap(), [(layer.chain_id.clone(), made.blob_size_bytes)].into());
    }

    #[test]
    fn a_form_lives_as_long_as_its_layer() {
        let (_folder, store, layer) = store();
        let user = (Noun::Image, "user");
        store
            .write(|tx| {
                tx.insert(user.0, user.1, crate::store::db::Phase::Ready, &())?;
                tx.add_use(user, (Noun::Layer, layer.chain_id.as_str()))
            })
            .unwrap();
        let made = gzip(&store, &layer).unwrap();
        assert_eq!(store.sweep().unwrap().freed_bytes, 0);
        assert!(store.blob_path(&made.blob).exists());
        // What is lost is made again, by the one who needs it and by an examination.
        std::fs::remove_file(store.blob_path(&made.blob)).unwrap();
        assert_eq!(gzip(&store, &layer).unwrap(), made);
        std::fs::write(store.blob_path(&made.blob), "damaged").unwrap();
        let options = crate::model::system::CheckOptions { rehash: true, repair: true };
        let found = store.check(options).unwrap().problems;
        assert!(matches!(found.as_slice(), [one] if one.repaired && one.name == made.blob.as_str()), "{found:?}");
        assert_eq!(store.check(options).unwrap().problems, []);
        store.write(|tx| tx.delete(user.0, user.1)).unwrap();
        let swept = store.sweep().unwrap();
        assert!(swept.blobs.contains(&made.blob) && swept.blobs.contains(&layer.blob), "{swept:?}");
        assert!(gzip(&store, &layer).is_err());
    }

    #[test]
    fn a_layer_whose_blob_is_lost_keeps_its_forms() {
        let (_folder, store, layer) = store();
        let _lease = store.lease().unwrap();
        let made = gzip(&store, &layer).unwrap();
        let bytes = std::fs::read(store.blob_path(&made.blob)).unwrap();
        std::fs::remove_file(store.blob_path(&layer.blob)).unwrap();
        let source = LayerSource { expect_diff_id: Some(layer.diff_id.clone()), ..LayerSource::default() };
        let again = store.layer_import(&mut bytes.as_slice(), &source).unwrap();
        assert_eq!(again.blob, made.blob);
        assert_eq!(gzip(&store, &layer).unwrap().blob, made.blob);
        let uses = store.read(|tx| tx.uses((Noun::Layer, layer.chain_id.as_str()))).unwrap();
        assert_eq!(uses, [(Noun::Blob, made.blob.as_str().to_owned())]);
    }

    #[test]
    fn what_is_damaged_or_interrupted_leaves_nothing() {
        let (_folder, store, layer) = store();
        let before = store.read(|tx| tx.ids(Noun::Blob)).unwrap();
        let stopped = store.layer_recompressed(&layer, LayerCompression::Gzip, &|| Err(Error::interrupted("stop")));
        assert_eq!(stopped.unwrap_err().kind(), Kind::Interrupted);
        let mut bytes = std::fs::read(store.blob_path(&layer.blob)).unwrap();
        let whole = bytes.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        for damaged in [&bytes[..], &whole[..middle], b"", b"no layer at all"] {
            std::fs::write(store.blob_path(&layer.blob), damaged).unwrap();
            assert_eq!(gzip(&store, &layer).unwrap_err().kind(), Kind::Corrupt);
        }
        std::fs::remove_file(store.blob_path(&layer.blob)).unwrap();
        assert_eq!(gzip(&store, &layer).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(store.read(|tx| tx.ids(Noun::Blob)).unwrap(), before);
        assert_eq!(std::fs::read_dir(store.paths().tmp()).unwrap().count(), 0);
        std::fs::write(store.blob_path(&layer.blob), whole).unwrap();
        gzip(&store, &layer).unwrap();
    }
}
