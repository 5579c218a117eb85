//! One pass over a layer: bytes to a blob, and through a pipe between two threads to a folder.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::decompress::{self, Compression};
use super::form::{self, Recorded};
use super::unpack::{self, Purpose, Unpacked};
use super::{LayerSource, chain_id};
use crate::base::digest::Hashing;
use crate::base::{Context as _, Digest, Error, Kind, Result, failpoint};
use crate::model::image::{Layer, LayerCompression};
use crate::store::Store;
use crate::store::blob::{Blob, BlobSource, BlobWriter};
use crate::store::db::{Noun, Phase};
use crate::store::scratch::Scratch;
use crate::sys::path::Dir;
use crate::sys::{fs, node};

/// Bytes in one message between the threads: below glibc's threshold for a mapping of its own.
const PIECE_BYTES: usize = 64 * 1024;
/// Messages that may wait.
const PIECES: usize = 32;
/// The level of zstd for layers that arrive uncompressed: its default.
pub(super) const ZSTD_LEVEL: i32 = 3;

impl Store {
    /// Reads a layer (a tar, plain or compressed, told by its first bytes), keeps its blob, unpacks it, and records both.
    /// What is compressed in a way that layers are not is kept as zstd. A layer that is there already is only checked. The
    /// reader is read to its end. The layer that is returned names the blob of *this* input, which may be another
    /// compression of the same layer.
    ///
    /// # Errors
    /// `corrupt` when it is truncated, not a tar, or a digest or size differs; `invalid_argument` for an entry that
    /// would leave the layer; `unsupported` for another compression; `no_space`. Nothing is kept then.
    pub fn layer_import(&self, reader: &mut dyn Read, source: &LayerSource) -> Result<Layer> {
        let _lease = self.lease()?;
        let known = match &source.expect_diff_id {
            // A blob that was lost or cut comes back with the layer.
            Some(diff_id) => self.layer_whole(&chain_id(source.parent.as_ref(), diff_id))?,
            None => None,
        };
        // One byte more than expected is enough to see that it is too long.
        let limit = source.expect_size_bytes.map_or(u64::MAX, |size| size.saturating_add(1));
        let (compression, reader) = decompress::detect(reader.take(limit)).context(|| "reading a layer")?;
        let (compression, reader, foreign) = match compression {
            kept if kept.is_for_layers() => (kept, Box::new(reader) as Box<dyn Read>, false),
            other if source.expect_blob.is_none() && source.expect_size_bytes.is_none() => {
                (Compression::None, decompress::decompress(other, reader)?, true)
            }
            other => {
                return Err(Error::unsupported(format!("a layer of an image is compressed with {other:?}"))
                    .with_hint("layers are plain, or compressed with gzip or zstd"));
            }
        };
        let mut input = Input::new(self, reader, foreign || (compression == Compression::None && source.compress))?;
        let target = if known.is_some() { None } else { Some(self.layer_scratch()?) };
        let (diff_id, unpacked) = pump(&mut input, compression, target.as_ref())?;
        if let Some(expected) = &source.expect_diff_id
            && *expected != diff_id
        {
            return Err(Error::corrupt(format!("a layer has diff id {diff_id}, expected {expected}")));
        }
        let proven = unpacked.end_mark || source.expect_blob.is_some() || source.expect_diff_id.is_some();
        if !proven {
            return Err(Error::corrupt("the archive is cut short: it has no end mark"));
        }
        if let (Some(known), true) = (&known, input.recompresses()) {
            return Ok(known.clone());
        }
        let recompressed = input.recompresses();
        let blob = input.finish(self, source)?;
        failpoint::hit("layer.import.blob")?;
        let media_type = form::media_type(match compression {
            _ if recompressed => LayerCompression::Zstd,
            Compression::Gzip => LayerCompression::Gzip,
            Compression::Zstd => LayerCompression::Zstd,
            // What layers are not compressed with was decompressed before.
            Compression::None | Compression::Xz | Compression::Bzip2 => LayerCompression::Uncompressed,
        });
        let mut layer = Layer {
            chain_id: chain_id(source.parent.as_ref(), &diff_id),
            diff_id,
            blob: blob.digest,
            media_type: media_type.to_owned(),
            blob_size_bytes: blob.size_bytes,
            size_bytes: unpacked.content_bytes,
            came: false,
        };
        match (known, target) {
            (Some(known), _) => layer.size_bytes = known.size_bytes,
            (None, Some(target)) => self.layer_publish(&mut layer, target)?,
            (None, None) => {}
        }
        Ok(layer)
    }

    /// Unpacks the blob of a recorded layer whose folder is gone, under its old name.
    pub(in crate::store) fn layer_unpack_again(&self, blob: &mut dyn Read, layer: &Layer) -> Result<()> {
        let (compression, reader) = decompress::detect(blob).context(|| "reading a layer")?;
        let target = self.layer_scratch()?;
        let mut input = Input { reader, sink: Sink::None };
        let (diff_id, _) = pump(&mut input, compression, Some(&target))?;
        if diff_id != layer.diff_id {
            return Err(Error::corrupt(format!("a layer has diff id {diff_id}, expected {}", layer.diff_id)));
        }
        self.layer_publish(&mut layer.clone(), target)
    }

    fn layer_scratch(&self) -> Result<Scratch> {
        let scratch = self.scratch_dir("layer")?;
        let dir = Dir::open(scratch.path())?;
        dir.make_dir(b"diff", 0o755).context(|| "making a layer's folder")?;
        node::set_mode(&dir, b"diff", 0o755).context(|| "making a layer's folder")?;
        Ok(scratch)
    }

    /// Gives an unpacked layer its name and records it; another import's equal one is kept instead.
    fn layer_publish(&self, layer: &mut Layer, scratch: Scratch) -> Result<()> {
        fs::sync_file_system(scratch.as_file()).context(|| "flushing a layer")?;
        failpoint::hit("layer.import.synced")?;
        let _publishing = self.publishing()?;
        let folder = self.layer_folder(&layer.chain_id);
        let id = layer.chain_id.as_str();
        let recorded = self.read(|tx| tx.get::<Layer>(Noun::Layer, id))?;
        match &recorded {
            Some(row) if self.layer_diff(&layer.chain_id).is_dir() => layer.size_bytes = row.body.size_bytes,
            _ => {
                // What is there was renamed by an import that was killed before it was recorded, or is damaged.
                crate::sys::path::remove_tree(&folder).context(|| format!("removing {folder:?}"))?;
                scratch.publish(&folder).context(|| format!("making {folder:?}"))?;
            }
        }
        failpoint::hit("layer.import.renamed")?;
        self.write(|tx| {
            let used = (Noun::Blob, layer.blob.as_str());
            match form::recorded(tx, &layer.chain_id)? {
                None => {
                    tx.insert(Noun::Layer, id, Phase::Ready, layer)?;
                    tx.add_use((Noun::Layer, id), used)?;
                }
                // Its blob was lost; this one has the same content.
                Some(row) if !self.blob_looks_whole(&row.layer.blob, row.layer.blob_size_bytes) => {
                    let new = Recorded { layer: layer.clone(), forms: row.forms };
                    tx.update(Noun::Layer, id, &new)?;
                    if !new.has(&row.layer.blob) {
                        tx.drop_use((Noun::Layer, id), (Noun::Blob, row.layer.blob.as_str()))?;
                    }
                    tx.add_use((Noun::Layer, id), used)?;
                }
                Some(_) => {}
            }
            self.lease_in(tx, (Noun::Layer, id))
        })
    }
}

/// The stream as it is read, with everything that was read written to a blob.
struct Input<R> {
    reader: R,
    sink: Sink,
}

enum Sink {
    /// Nowhere: the blob is there.
    None,
    /// As it is.
    Blob(BlobWriter),
    /// Compressed on the way; the input's own digest is for the caller's expectation.
    Compressed { encoder: Box<zstd::stream::write::Encoder<'static, BlobWriter>>, plain: Hashing<io::Sink> },
}

impl<R: Read> Input<R> {
    fn new(store: &Store, reader: R, compress: bool) -> Result<Input<R>> {
        let blob = store.blob_create()?;
        let sink = if compress {
            let encoder = Box::new(zstd::stream::write::Encoder::new(blob, ZSTD_LEVEL)?);
            Sink::Compressed { encoder, plain: Hashing::new(io::sink()) }
        } else {
            Sink::Blob(blob)
        };
        Ok(Input { reader, sink })
    }

    fn recompresses(&self) -> bool {
        matches!(self.sink, Sink::Compressed { .. })
    }

    fn finish(self, store: &Store, source: &LayerSource) -> Result<Blob> {
        let expected = BlobSource { expect: source.expect_blob.clone(), expect_size_bytes: source.expect_size_bytes };
        match self.sink {
            Sink::None => Err(Error::failed("a stream that is not kept has no blob")),
            Sink::Blob(blob) => store.blob_commit(blob, &expected),
            Sink::Compressed { encoder, plain } => {
                let (_, digest, size_bytes) = plain.finish();
                crate::store::blob::check(&digest, size_bytes, &expected)?;
                let blob = encoder.finish().context(|| "writing a blob")?;
                store.blob_commit(blob, &BlobSource::default())
            }
        }
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let bytes = &buffer[..count];
        match &mut self.sink {
            Sink::None => {}
            Sink::Blob(blob) => blob.write_all(bytes)?,
            Sink::Compressed { encoder, plain } => {
                plain.write_all(bytes)?;
                encoder.write_all(bytes)?;
            }
        }
        Ok(count)
    }
}

/// Moves everything from the input, decompressed, to a thread that hashes and unpacks it. Without a target it is hashed
/// and its form is taken on trust: the same bytes were unpacked before.
fn pump(
    input: &mut Input<impl Read>,
    compression: Compression,
    target: Option<&Scratch>,
) -> Result<(Digest, Unpacked)> {
    let Some(target) = target else {
        let mut hashing = Hashing::new(io::sink());
        let mut reader = decompress::decompress(compression, &mut *input)?;
        io::copy(&mut reader, &mut hashing).map_err(read_error)?;
        drop(reader);
        drain(input)?;
        let (_, diff_id, _) = hashing.finish();
        return Ok((diff_id, Unpacked { end_mark: true, ..Unpacked::default() }));
    };
    let root = Dir::open(&target.path().join("diff")).context(|| "opening a layer's folder")?;
    let (sender, receiver) = sync_channel(PIECES);
    let (recycle, recycled) = sync_channel(PIECES);
    std::thread::scope(|scope| {
        let unpacking = std::thread::Builder::new().name("unpack".into()).spawn_scoped(scope, || {
            let mut stream = Hashing::new(Pipe { receiver, recycle, piece: Vec::new(), at: 0 });
            let unpacked = unpack::unpack(&root, &mut stream, Purpose::Layer)?;
            let (_, diff_id, _) = stream.finish();
            Ok((diff_id, unpacked))
        })?;
        let fed = feed(input, compression, &sender, &recycled);
        if let Err(error) = &fed {
            // The other thread must not take the cut for the end; it may be gone already.
            let _ = sender.send(Err(io::Error::other(error.to_string())));
        }
        drop(sender);
        let unpacked = unpacking.join().unwrap_or_else(|_| Err(Error::failed("the unpacking thread panicked")));
        // When unpacking stopped first, feeding found nobody to feed: that is not an error of its own.
        fed.and(unpacked)
    })
}

/// What travels between the threads.
type Message = io::Result<Vec<u8>>;

fn feed(
    input: &mut Input<impl Read>,
    compression: Compression,
    sender: &SyncSender<Message>,
    recycled: &Receiver<Vec<u8>>,
) -> Result<()> {
    let mut reader = decompress::decompress(compression, &mut *input)?;
    loop {
        let mut piece = recycled.try_recv().unwrap_or_default();
        piece.resize(PIECE_BYTES, 0);
        let mut filled = 0;
        while filled < PIECE_BYTES {
            match reader.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error)),
            }
        }
        if filled == 0 {
            break;
        }
        piece.truncate(filled);
        if sender.send(Ok(piece)).is_err() {
            return Ok(());
        }
    }
    drop(reader);
    drain(input)
}

/// A decompressor may stop before the end of its input; every byte belongs to the blob.
fn drain(input: &mut Input<impl Read>) -> Result<()> {
    io::copy(input, &mut io::sink()).map(drop).map_err(read_error)
}

pub(super) fn read_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Error::new(Kind::Corrupt, "decompressing a layer").with_source(error)
        }
        _ => Error::from(error).context("reading a layer"),
    }
}

/// The receiving end as a stream.
struct Pipe {
    receiver: Receiver<Message>,
    recycle: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => {
                    let used = std::mem::replace(&mut self.piece, piece?);
                    self.at = 0;
                    let _ = self.recycle.try_send(used); // when nobody wants it, it is freed
                }
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
