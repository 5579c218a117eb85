//! What a layer's bytes are compressed with, told by the first of them, and their decompression in this process.

use std::io::{self, BufRead, Cursor, Read};

use crate::base::{Error, Result};

/// A decompressor gives at most this many bytes per byte it is given, once it gave [`BOMB_FLOOR_BYTES`]. Deflate cannot
/// give more than 1032, and nothing but a bomb comes near.
const BOMB_RATIO: u64 = 1000;
/// Output below this is never a bomb.
const BOMB_FLOOR_BYTES: u64 = 256 * 1024 * 1024;
/// The largest window that a zstd frame may ask for: 128 MiB, zstd's own default limit.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The most memory that an xz stream may ask for: its highest level takes 65 MiB.
const XZ_MEMORY_BYTES: u64 = 144 * 1024 * 1024;
/// The longest of the marks below.
const MARK_BYTES: usize = 6;
/// Read-ahead before a decompressor.
const BUFFER_BYTES: usize = 64 * 1024;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, one or several members.
    Gzip,
    /// RFC 8878, one or several frames.
    Zstd,
    /// The .xz file format, one or several streams. No layer is kept so: images know no such layers.
    Xz,
    /// bzip2, one or several streams. No layer is kept so, either.
    Bzip2,
}

impl Compression {
    /// One that the layers of images have.
    pub(in crate::store) fn is_for_layers(self) -> bool {
        !matches!(self, Compression::Xz | Compression::Bzip2)
    }
}

/// A stream whose first bytes were looked at and put back.
pub(in crate::store) type Peeked<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// Looks at the first bytes.
///
/// # Errors
/// `unsupported` for lz4; what reading gives.
pub(in crate::store) fn detect<R: Read>(mut reader: R) -> Result<(Compression, Peeked<R>)> {
    let mut mark = Vec::with_capacity(MARK_BYTES);
    reader.by_ref().take(MARK_BYTES as u64).read_to_end(&mut mark)?;
    let compression = match mark.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Compression::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
        [0x04, 0x22, 0x4d, 0x18, ..] => {
            return Err(
                Error::unsupported("the archive is compressed with lz4").with_hint("decompress it first: lz4 -d")
            );
        }
        _ => Compression::None,
    };
    Ok((compression, Cursor::new(mark).chain(reader)))
}

/// Decompresses a stream. Errors of the stream beneath pass through; what is malformed is `InvalidData`.
///
/// # Errors
/// `failed` when a decompressor cannot be set up.
pub(in crate::store) fn decompress<'a>(compression: Compression, reader: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let counted = Counted { inner: io::BufReader::with_capacity(BUFFER_BYTES, reader), count: 0 };
    Ok(match compression {
        Compression::None => Box::new(counted),
        Compression::Gzip => {
            Box::new(Guarded::new(flate2::bufread::MultiGzDecoder::new(counted), |decoder| decoder.get_ref().count))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(counted)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(Guarded::new(decoder, |decoder| decoder.get_ref().count))
        }
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, liblzma::stream::CONCATENATED);
            let stream = stream.map_err(|error| Error::failed("setting up the decompression").with_source(error))?;
            let decoder = liblzma::bufread::XzDecoder::new_stream(counted, stream);
            Box::new(Guarded::new(decoder, |decoder| decoder.get_ref().count))
        }
        Compression::Bzip2 => {
            Box::new(Guarded::new(bzip2::bufread::MultiBzDecoder::new(counted), |decoder| decoder.get_ref().count))
        }
    })
}

/// Counts what a decompressor takes.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }
    fn consume(&mut self, amount: usize) {
        self.count += amount as u64;
        self.inner.consume(amount);
    }
}

/// Stops bombs, and gives decompressors' errors one kind.
struct Guarded<D> {
    decoder: D,
    taken: fn(&D) -> u64,
    given: u64,
}

impl<D: Read> Guarded<D> {
    fn new(decoder: D, taken: fn(&D) -> u64) -> Guarded<D> {
        Guarded { decoder, taken, given: 0 }
    }
}

impl<D: Read> Read for Guarded<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::Other if error.raw_os_error().is_none() => {
                io::Error::new(io::ErrorKind::InvalidData, error)
            }
            _ => error,
        })?;
        self.given += count as u64;
        let bomb = self.given > BOMB_FLOOR_BYTES && self.given / BOMB_RATIO > (self.taken)(&self.decoder);
        if bomb {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it is a decompression bomb: over {BOMB_RATIO} bytes from each"),
            ));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_stopped() {
        // Deflate never reaches the ratio by much, zstd by far.
        let mut packed = zstd::stream::read::Encoder::new(io::repeat(0).take(BOMB_FLOOR_BYTES + (1 << 20)), 1).unwrap();
        let mut bytes = Vec::new();
        packed.read_to_end(&mut bytes).unwrap();
        let (compression, reader) = detect(bytes.as_slice()).unwrap();
        assert_eq!(compression, Compression::Zstd);
        let error = io::copy(&mut decompress(compression, reader).unwrap(), &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("bomb"), "{error}");
    }

    fn tried(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (compression, reader) = detect(bytes).unwrap();
        let mut plain = Vec::new();
        decompress(compression, reader).unwrap().read_to_end(&mut plain).map(|_| plain)
    }

    fn packed(mut encoder: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        encoder.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn xz_and_bzip2_of_several_streams_are_read_and_cut_ones_are_not() {
        let text = (0..20_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
        let xz = packed(liblzma::read::XzEncoder::new(&text[..], 6));
        let bzip2 = packed(bzip2::read::BzEncoder::new(&text[..], bzip2::Compression::best()));
        for bytes in [xz, bzip2] {
            let twice = [bytes.as_slice(), &bytes].concat();
            assert_eq!(tried(&twice).unwrap(), [text.as_slice(), &text].concat());
            for cut in [6, 20, bytes.len() / 2, bytes.len() - 1, bytes.len() + 7] {
                let error = tried(&twice[..cut]).unwrap_err();
                let kind = error.kind();
                assert!(matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof), "{cut}: {error:?}");
            }
            let mut flipped = bytes.clone();
            flipped[bytes.len() / 2] ^= 0x10;
            tried(&flipped).unwrap_err();
        }
    }

    #[test]
    fn bombs_of_xz_and_bzip2_are_stopped() {
        let zeros = || io::repeat(0).take(BOMB_FLOOR_BYTES + (64 << 20));
        let xz = packed(liblzma::read::XzEncoder::new(zeros(), 0));
        let bzip2 = packed(bzip2::read::BzEncoder::new(zeros(), bzip2::Compression::fast()));
        for bytes in [xz, bzip2] {
            let (compression, reader) = detect(bytes.as_slice()).unwrap();
            let error = io::copy(&mut decompress(compression, reader).unwrap(), &mut io::sink()).unwrap_err();
            assert!(error.to_string().contains("bomb"), "{error}");
        }
    }

    #[test]
    fn an_xz_stream_that_asks_for_much_memory_is_refused() {
        use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
        let mut options = LzmaOptions::new_preset(0).unwrap();
        options.dict_size(256 << 20);
        let mut filters = Filters::new();
        filters.lzma2(&options);
        let stream = Stream::new_stream_encoder(&filters, Check::Crc32).unwrap();
        let bytes = packed(liblzma::read::XzEncoder::new_stream(&b"small"[..], stream));
        assert_eq!(tried(&bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_frame_with_a_huge_window_is_refused() {
        // A frame header that asks for 2 GiB (RFC 8878, "Window Descriptor").
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
        let (compression, reader) = detect(&frame[..]).unwrap();
        let error = decompress(compression, reader).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
