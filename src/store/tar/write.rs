//! Entries into a stream, the same bytes for the same entries every time.
//!
//! Headers are ustar where everything fits, with a PAX header before them for what does not: names over 100 bytes, large
//! numbers, times with a fraction, extended attributes, sparse maps (form 1.0). Users and groups are numbers only.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::{BLOCK, Entry, Kind, number, pax, sparse};

/// The largest number that the eight-byte fields hold in octal.
const OCTAL_7: u64 = 0o7_777_777;
/// The largest number that the twelve-byte fields hold in octal.
const OCTAL_11: u64 = 0o77_777_777_777;

/// Writes entries in order; [`Writer::finish`] writes the end.
pub(crate) struct Writer<W> {
    out: W,
    /// Bytes of content that the last header promised and that were not written yet, and the padding behind them.
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Writes to `out`, in pieces of at least a block.
    pub(crate) fn new(out: W) -> Writer<W> {
        Writer { out, left: 0, padding: 0 }
    }

    /// Writes the head of an entry. For a file, [`Writer::content`] must follow until its content is complete: all of it,
    /// or the stretches of its map.
    ///
    /// # Errors
    /// What writing gives; `InvalidInput` when the content before is not complete.
    pub(crate) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.pad()?;
        let map = entry.data.as_deref().map(sparse::format_inline);
        let stored: u64 = match (&entry.data, entry.kind) {
            (Some(data), Kind::File) => data.iter().map(|(_, length)| length).sum(),
            (None, Kind::File) => entry.size_bytes,
            _ => 0,
        };
        let size = stored + map.as_ref().map_or(0, |map| map.len() as u64);
        let extensions = extensions(entry, size);
        if !extensions.is_empty() {
            let mut header = Header::new_ustar();
            put_name(&mut header, b"pax");
            fill(&mut header, EntryType::XHeader, 0o644, extensions.len() as u64);
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(&extensions)?;
            let padding = extensions.len().next_multiple_of(BLOCK) - extensions.len();
            self.out.write_all(&[0; BLOCK][..padding])?;
        }
        self.out.write_all(header_of(entry, size).as_bytes())?;
        if let (Some(map), Kind::File) = (&map, entry.kind) {
            self.out.write_all(map)?;
        }
        self.left = stored;
        self.padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
        Ok(())
    }

    /// Writes content of the last entry.
    ///
    /// # Errors
    /// What writing gives; `InvalidInput` for more than its header promised.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| unequal("more"))?;
        self.out.write_all(bytes)
    }

    /// Writes the end of the archive and returns the stream.
    ///
    /// # Errors
    /// What writing gives; `InvalidInput` when the last content is not complete.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.pad()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn pad(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(unequal("less"));
        }
        self.out.write_all(&[0; BLOCK][..std::mem::take(&mut self.padding)])
    }
}

fn unequal(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("an entry has {what} content than its header says"))
}

/// What the header of this entry cannot hold, as PAX records.
fn extensions(entry: &Entry, size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let mut record = |key: &str, value: &[u8]| pax::write_record(&mut records, key.as_bytes(), value);
    let file = entry.kind == Kind::File;
    let path_key = if entry.data.is_some() && file { "GNU.sparse.name" } else { "path" };
    let is_long = entry.path.len() > 100 || entry.path.is_empty();
    if let (Some(_), true) = (&entry.data, file) {
        record("GNU.sparse.major", b"1");
        record("GNU.sparse.minor", b"0");
        record(path_key, &entry.path);
        record("GNU.sparse.realsize", entry.size_bytes.to_string().as_bytes());
    } else if is_long {
        record(path_key, &entry.path);
    }
    if entry.link.len() > 100 {
        record("linkpath", &entry.link);
    }
    if size > OCTAL_11 {
        record("size", size.to_string().as_bytes());
    }
    if u64::from(entry.uid) > OCTAL_7 {
        record("uid", entry.uid.to_string().as_bytes());
    }
    if u64::from(entry.gid) > OCTAL_7 {
        record("gid", entry.gid.to_string().as_bytes());
    }
    if entry.mtime.nanos != 0 || u64::try_from(entry.mtime.seconds).map_or(true, |seconds| seconds > OCTAL_11) {
        record("mtime", number::format_time(entry.mtime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        let key = [pax::XATTR, name].concat();
        pax::write_record(&mut records, &key, value);
    }
    records
}

fn header_of(entry: &Entry, size: u64) -> Header {
    let mut header = Header::new_ustar();
    put_name(&mut header, &entry.path);
    let kind = match entry.kind {
        Kind::File => EntryType::Regular,
        Kind::HardLink => EntryType::Link,
        Kind::Symlink => EntryType::Symlink,
        Kind::CharDevice => EntryType::Char,
        Kind::BlockDevice => EntryType::Block,
        Kind::Dir => EntryType::Directory,
        Kind::Fifo => EntryType::Fifo,
    };
    let length = entry.link.len().min(100);
    header.as_old_mut().linkname[..length].copy_from_slice(&entry.link[..length]);
    number::format(&mut header.as_old_mut().uid, clamp(entry.uid.into(), OCTAL_7));
    number::format(&mut header.as_old_mut().gid, clamp(entry.gid.into(), OCTAL_7));
    number::format(&mut header.as_old_mut().mtime, clamp(entry.mtime.seconds.try_into().unwrap_or(0), OCTAL_11));
    let ustar = header.as_ustar_mut().expect("it was made as ustar");
    number::format(&mut ustar.dev_major, entry.device.0.into());
    number::format(&mut ustar.dev_minor, entry.device.1.into());
    fill(&mut header, kind, entry.mode, size);
    header
}

/// A PAX record holds the value that does not fit here.
fn clamp(value: u64, most: u64) -> i64 {
    value.min(most).cast_signed()
}

fn put_name(header: &mut Header, name: &[u8]) {
    let length = name.len().min(100);
    header.as_old_mut().name[..length].copy_from_slice(&name[..length]);
}

fn fill(header: &mut Header, kind: EntryType, mode: u32, size: u64) {
    header.set_entry_type(kind);
    number::format(&mut header.as_old_mut().mode, mode.into());
    number::format(&mut header.as_old_mut().size, clamp(size, OCTAL_11));
    header.set_cksum();
}

#[cfg(test)]
mod tests {
    use super::super::read::Reader;
    use super::*;
    use crate::sys::node::Time;

    fn entry(kind: Kind, path: &[u8]) -> Entry {
        Entry {
            path: path.to_vec(),
            link: Vec::new(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Time { seconds: 1, nanos: 0 },
            size_bytes: 0,
            data: None,
            device: (0, 0),
            xattrs: Vec::new(),
            offset: 0,
        }
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let long = vec![b'n'; 5000];
        let mut entries = vec![entry(Kind::Dir, b"d/"), entry(Kind::Fifo, b"d/pipe")];
        entries.push(Entry {
            size_bytes: 3,
            uid: 4_000_000_000,
            gid: 3_000_000,
            mode: 0o6755,
            mtime: Time { seconds: -3, nanos: 5 },
            xattrs: vec![(b"user.x=y".to_vec(), vec![0, 10, 255])],
            ..entry(Kind::File, &long)
        });
        entries[2].xattrs[0].0 = b"user.x".to_vec();
        entries.push(Entry { link: long.clone(), ..entry(Kind::HardLink, b"hard") });
        entries.push(Entry { link: b"target\n".to_vec(), ..entry(Kind::Symlink, b"\xff\xfe new\nline") });
        entries.push(Entry { device: (8, 1_048_575), ..entry(Kind::BlockDevice, b"sda") });
        entries.push(Entry { size_bytes: 1 << 40, data: Some(vec![(7, 3), (1 << 40, 0)]), ..entry(Kind::File, b"s") });
        let mut writer = Writer::new(Vec::new());
        for entry in &entries {
            writer.entry(entry).unwrap();
            if entry.kind == Kind::File {
                writer.content(b"abc").unwrap();
            }
        }
        let bytes = writer.finish().unwrap();
        let mut reader = Reader::new(bytes.as_slice());
        for entry in &entries {
            let found = reader.next().unwrap().unwrap();
            assert_eq!(Entry { offset: 0, ..found }, *entry);
            if entry.kind == Kind::File {
                let mut content = [0; 10];
                assert_eq!(reader.content(&mut content).unwrap(), 3);
                assert_eq!(&content[..3], b"abc");
            }
        }
        assert!(reader.next().unwrap().is_none() && reader.has_end_mark());
    }

    #[test]
    fn content_must_be_what_the_header_says() {
        let mut writer = Writer::new(Vec::new());
        writer.entry(&Entry { size_bytes: 3, ..entry(Kind::File, b"x") }).unwrap();
        assert!(writer.content(b"abcd").is_err());
        writer.content(b"ab").unwrap();
        assert!(writer.entry(&entry(Kind::Dir, b"d")).is_err());
    }
}
