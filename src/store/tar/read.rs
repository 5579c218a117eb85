//! Entries out of a stream.
//!
//! Where readers of tar disagree, this one does as Go's `archive/tar` (Docker) when that is harmless and refuses
//! otherwise: a parser that others can be talked past is a way to hide files.
//! - Global extended headers are skipped.
//! - Content of links is none, whatever their size says; content of folders, pipes and devices is refused.
//! - An end without two zero blocks is told ([`Reader::has_end_mark`]); what follows them is not looked at.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::{BLOCK, Entry, Kind, number, pax, shown, sparse};
use crate::base::{Context as _, Error, Result};
use crate::sys::node::Time;

/// The most that one extended header may have, as Go's reader holds it.
const EXTENSION_LIMIT_BYTES: u64 = 1024 * 1024;

/// Reads entries and their content, in order.
pub(crate) struct Reader<R> {
    inner: R,
    /// Bytes read from the stream.
    offset: u64,
    /// Bytes of the current content not yet read, and the padding behind it.
    left: u64,
    padding: u64,
    ended: bool,
    end_mark: bool,
}

impl<R: Read> Reader<R> {
    /// Reads from the start of an archive.
    pub(crate) fn new(inner: R) -> Reader<R> {
        Reader { inner, offset: 0, left: 0, padding: 0, ended: false, end_mark: false }
    }

    /// Whether the archive ended with two zero blocks. Without, it may have been cut between two entries.
    pub(crate) fn has_end_mark(&self) -> bool {
        self.end_mark
    }

    /// The stream, after the last entry.
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry; none at the end. Content of the entry before that was not read is skipped.
    ///
    /// # Errors
    /// `corrupt` naming the offset; `unsupported` for entries that cannot be made; what reading gives.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        let offset = self.offset;
        self.next_inner().map_err(|error| {
            self.ended = true;
            error.context(format!("reading the tar entry at byte {offset}"))
        })
    }

    fn next_inner(&mut self) -> Result<Option<Entry>> {
        let mut extensions = None;
        let (mut long_name, mut long_link) = (None, None);
        loop {
            self.skip_content()?;
            let offset = self.offset;
            let block = if self.ended { None } else { self.block_or_end()? };
            let Some(block) = block else {
                if extensions.is_some() || long_name.is_some() || long_link.is_some() {
                    return Err(Error::corrupt("the archive ends after an extended header"));
                }
                return Ok(None);
            };
            let header = Header::from_byte_slice(&block);
            check_sum(header)?;
            let size = field(header, "size", &header.as_old().size)?;
            let size = u64::try_from(size).map_err(|_| Error::corrupt(format!("an entry has the size {size}")))?;
            match header.entry_type() {
                EntryType::XHeader => extensions = Some(pax::parse(&self.extension(size)?)?),
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                EntryType::GNULongName => long_name = Some(until_nul(self.extension(size)?)),
                EntryType::GNULongLink => long_link = Some(until_nul(self.extension(size)?)),
                // GNU volume labels and old long names: remarks.
                other if matches!(other.as_byte(), b'V' | b'N') => self.content_follows(size),
                _ => {
                    let mut extensions = extensions.take().unwrap_or_default();
                    extensions.path = extensions.path.or(long_name.take());
                    extensions.link = extensions.link.or(long_link.take());
                    return self.entry(header, size, extensions, offset).map(Some);
                }
            }
        }
    }

    fn entry(&mut self, header: &Header, size: u64, mut extensions: pax::Extensions, offset: u64) -> Result<Entry> {
        let path = extensions.sparse.name.take().or(extensions.path).unwrap_or_else(|| header_path(header));
        let kind = kind_of(header.entry_type(), &path)?;
        let stored = extensions.size.unwrap_or(size);
        let old = header.as_old();
        let mode = field(header, "mode", &old.mode)? as u64;
        let link = match kind {
            Kind::HardLink | Kind::Symlink => {
                extensions.link.unwrap_or_else(|| until_nul(header.as_old().linkname.to_vec()))
            }
            _ => Vec::new(),
        };
        let header_mtime =
            || -> Result<Time> { Ok(Time { seconds: field(header, "modification time", &old.mtime)?, nanos: 0 }) };
        let mut entry = Entry {
            path,
            link,
            kind,
            mode: (mode & 0o7777) as u32,
            uid: owner(extensions.uid, header, "owner", &old.uid)?,
            gid: owner(extensions.gid, header, "group", &old.gid)?,
            mtime: extensions.mtime.map_or_else(header_mtime, Ok)?,
            size_bytes: 0,
            data: None,
            device: (0, 0),
            xattrs: extensions.xattrs,
            offset,
        };
        match kind {
            Kind::File => self.begin_file(&mut entry, header, stored, extensions.sparse)?,
            Kind::HardLink | Kind::Symlink => {}
            Kind::CharDevice | Kind::BlockDevice | Kind::Dir | Kind::Fifo if stored > 0 => {
                let path = shown(&entry.path);
                return Err(Error::corrupt(format!("{path} has content but is no file")));
            }
            Kind::CharDevice | Kind::BlockDevice => {
                let fields = header.as_ustar().map(|ustar| (&ustar.dev_major, &ustar.dev_minor));
                let fields = fields.or(header.as_gnu().map(|gnu| (&gnu.dev_major, &gnu.dev_minor)));
                let Some((major, minor)) = fields else {
                    return Err(Error::corrupt(format!("{} is a device without a number", shown(&entry.path))));
                };
                let number = |bytes: &[u8]| {
                    let value = field(header, "device number", bytes)?;
                    u32::try_from(value).map_err(|_| Error::corrupt(format!("a device has the number {value}")))
                };
                entry.device = (number(major)?, number(minor)?);
            }
            Kind::Dir | Kind::Fifo => {}
        }
        Ok(entry)
    }

    /// Sets up the content of a file and reads the map of a sparse one.
    fn begin_file(&mut self, entry: &mut Entry, header: &Header, stored: u64, sparse: sparse::PaxSparse) -> Result<()> {
        let inline = sparse.is_inline()?;
        let (real_size, map) = if header.entry_type() == EntryType::GNUSparse {
            let (real_size, map) = self.old_gnu_map(header)?;
            self.content_follows(stored);
            (real_size, Some(map))
        } else {
            self.content_follows(stored);
            let map = if inline { Some(self.inline_map()?) } else { sparse.map };
            (sparse.real_size.filter(|_| map.is_some()).unwrap_or(stored), map)
        };
        if let Some(map) = &map {
            sparse::check(map, real_size, self.left)?;
        }
        entry.size_bytes = real_size;
        entry.data = map;
        Ok(())
    }

    fn old_gnu_map(&mut self, header: &Header) -> Result<(u64, sparse::Map)> {
        let gnu = header.as_gnu().ok_or_else(|| Error::corrupt("a sparse entry has no GNU header"))?;
        let number = |bytes: &[u8]| {
            let value = field(header, "sparse map", bytes)?;
            u64::try_from(value).map_err(|_| Error::corrupt(format!("a sparse file's map has the number {value}")))
        };
        let mut map = Vec::new();
        let add = |map: &mut sparse::Map, pairs: &[tar::GnuSparseHeader]| -> Result<()> {
            for pair in pairs.iter().take_while(|pair| pair.offset[0] != 0 || pair.numbytes[0] != 0) {
                map.push((number(&pair.offset)?, number(&pair.numbytes)?));
            }
            Ok(())
        };
        add(&mut map, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            if map.len() >= sparse::MOST_STRETCHES {
                return Err(Error::corrupt("a sparse file's map is too long"));
            }
            let mut extension = GnuExtSparseHeader::new();
            self.fill(extension.as_mut_bytes())?;
            add(&mut map, extension.sparse())?;
            more = extension.is_extended();
        }
        Ok((number(&gnu.realsize)?, map))
    }

    /// Reads the map at the head of the content: decimal lines, padded to a block.
    fn inline_map(&mut self) -> Result<sparse::Map> {
        let refuse = || Error::corrupt("a sparse file's map is malformed");
        let mut block = [0u8; BLOCK];
        let mut at = BLOCK;
        let mut numbers: Vec<u64> = Vec::new();
        let mut wanted = 1;
        let mut line: Option<u64> = None;
        while numbers.len() < wanted {
            if at == BLOCK {
                if self.left < BLOCK as u64 {
                    return Err(refuse());
                }
                self.fill(&mut block)?;
                self.left -= BLOCK as u64;
                at = 0;
            }
            match (block[at], line) {
                (digit @ b'0'..=b'9', _) => {
                    let value = line.unwrap_or(0).checked_mul(10);
                    line = Some(value.and_then(|v| v.checked_add(u64::from(digit - b'0'))).ok_or_else(refuse)?);
                }
                (b'\n', Some(value)) => {
                    if numbers.is_empty() {
                        let pairs = usize::try_from(value).ok().filter(|n| *n <= sparse::MOST_STRETCHES);
                        wanted += pairs.ok_or_else(refuse)? * 2;
                    }
                    numbers.push(value);
                    line = None;
                }
                _ => return Err(refuse()),
            }
            at += 1;
        }
        Ok(numbers[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// The body of an extended header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_LIMIT_BYTES {
            return Err(Error::corrupt(format!("an extended header has {size} bytes")));
        }
        let mut body = vec![0; size as usize];
        self.content_follows(size);
        self.fill(&mut body)?;
        self.left = 0;
        self.skip_content()?;
        Ok(body)
    }

    /// Reads content of the entry that was returned last; zero bytes at its end. Of a sparse file it is the data alone.
    ///
    /// # Errors
    /// `corrupt` when the archive ends before; what reading gives.
    pub(crate) fn content(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        loop {
            match self.inner.read(&mut buffer[..most]) {
                Ok(0) => return Err(cut_short()),
                Ok(count) => {
                    self.left -= count as u64;
                    self.offset += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(|| "reading the archive"),
            }
        }
    }

    fn content_follows(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip_content(&mut self) -> Result<()> {
        let mut buffer = [0u8; 16 * 1024];
        let mut left = std::mem::take(&mut self.left);
        while left > 0 {
            let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.fill(&mut buffer[..count])?;
            left -= count as u64;
        }
        // Some programs (umoci insert) leave an archive without a close: no end mark, nor the padding before it. Then
        // nothing but a digest proves that it is whole, and whoever has none refuses it.
        let mut padding = std::mem::take(&mut self.padding);
        while padding > 0 && !self.ended {
            match self.inner.read(&mut buffer[..padding as usize]) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    padding -= count as u64;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(|| "reading the archive"),
            }
        }
        Ok(())
    }

    /// The next block; none at the end of the archive.
    fn block_or_end(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0u8; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => {
                    self.ended = true;
                    return Ok(None);
                }
                Ok(0) => return Err(cut_short()),
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if block.iter().any(|b| *b != 0) {
            return Ok(Some(block));
        }
        // One zero block alone ends the archive too, but does not prove that it is whole.
        self.ended = true;
        self.end_mark = self.fill(&mut block).is_ok() && block.iter().all(|b| *b == 0);
        Ok(None)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self.inner.read_exact(buffer) {
            Ok(()) => {
                self.offset += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(cut_short()),
            Err(error) => Err(error).context(|| "reading the archive"),
        }
    }
}

fn cut_short() -> Error {
    Error::corrupt("the archive is cut short")
}

/// Compares the checksum, which old programs computed over signed bytes.
fn check_sum(header: &Header) -> Result<()> {
    let recorded = field(header, "checksum", &header.as_old().cksum)?;
    let sums = |bytes: &[u8]| -> (i64, i64) {
        let unsigned = bytes.iter().map(|byte| i64::from(*byte)).sum();
        (unsigned, bytes.iter().map(|byte| i64::from(byte.cast_signed())).sum())
    };
    // The field itself counts as eight spaces.
    let (all, own) = (sums(header.as_bytes()), sums(&header.as_old().cksum));
    let spaces = 8 * i64::from(b' ');
    let (unsigned, signed) = (all.0 - own.0 + spaces, all.1 - own.1 + spaces);
    if recorded == unsigned || recorded == signed {
        Ok(())
    } else {
        Err(Error::corrupt("it is not a tar header: the checksum differs"))
    }
}

fn field(header: &Header, what: &str, bytes: &[u8]) -> Result<i64> {
    number::parse(bytes).ok_or_else(|| {
        let name = header.path_bytes();
        Error::corrupt(format!("the {what} of {} is {}", shown(&name), shown(bytes)))
    })
}

/// An owner; the number that means "unchanged" to the kernel is none.
fn owner(extension: Option<u64>, header: &Header, what: &str, bytes: &[u8]) -> Result<u32> {
    let value = match extension {
        Some(value) => i64::try_from(value).unwrap_or(i64::MAX),
        None => field(header, what, bytes)?,
    };
    match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(Error::invalid(format!("the {what} of {} is {value}", shown(&header.path_bytes())))),
    }
}

fn header_path(header: &Header) -> Vec<u8> {
    header.path_bytes().into_owned()
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn kind_of(kind: EntryType, path: &[u8]) -> Result<Kind> {
    Ok(match kind {
        // Before folders had a type they were files with a slash behind.
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Dir,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char => Kind::CharDevice,
        EntryType::Block => Kind::BlockDevice,
        EntryType::Directory => Kind::Dir,
        EntryType::Fifo => Kind::Fifo,
        other => {
            let letter = char::from(other.as_byte()).escape_default();
            return Err(Error::unsupported(format!("{} has the tar entry type '{letter}'", shown(path))));
        }
    })
}
