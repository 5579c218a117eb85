//! Tar archives from raw headers: everything that a library would refuse to write.

/// One header block and what follows it.
#[derive(Clone)]
pub(super) struct Raw {
    header: [u8; 512],
    body: Vec<u8>,
}

/// Where the fields of a ustar header are.
pub(super) const SIZE: std::ops::Range<usize> = 124..136;
pub(super) const MTIME: std::ops::Range<usize> = 136..148;
pub(super) const MODE: std::ops::Range<usize> = 100..108;
pub(super) const UID: std::ops::Range<usize> = 108..116;
pub(super) const CHECKSUM: std::ops::Range<usize> = 148..156;
pub(super) const MAJOR: std::ops::Range<usize> = 329..337;

impl Raw {
    /// An entry with a true size.
    pub(super) fn new(kind: u8, name: &[u8], link: &[u8], body: &[u8]) -> Raw {
        let mut raw = Raw { header: [0; 512], body: body.to_vec() };
        raw.header[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        raw.header[157..][..link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        raw.header[156] = kind;
        raw.header[257..265].copy_from_slice(b"ustar\x0000");
        raw.put(MODE, b"0000755")
            .put(UID, b"0000000")
            .put(116..124, b"0000000")
            .put(SIZE, format!("{:011o}", body.len()).as_bytes())
            .put(MTIME, b"00000000001")
            .put(MAJOR, b"0000001")
            .put(337..345, b"0000003")
    }

    /// Overwrites a field.
    pub(super) fn put(mut self, field: std::ops::Range<usize>, bytes: &[u8]) -> Raw {
        self.header[field.clone()].fill(0);
        self.header[field][..bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The blocks, with a true checksum unless one was put.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut header = self.header;
        if header[CHECKSUM].iter().all(|byte| *byte == 0) {
            header[CHECKSUM].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(&self.body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

impl Raw {
    fn new_gnu(kind: u8, name: &[u8], body: &[u8]) -> Raw {
        Raw::new(kind, name, b"", body).put(257..265, b"ustar  \0")
    }
}

pub(super) fn file(name: &str, content: &str) -> Raw {
    Raw::new(b'0', name.as_bytes(), b"", content.as_bytes())
}

pub(super) fn dir(name: &str) -> Raw {
    Raw::new(b'5', name.as_bytes(), b"", b"")
}

pub(super) fn symlink(name: &str, target: &str) -> Raw {
    Raw::new(b'2', name.as_bytes(), target.as_bytes(), b"")
}

pub(super) fn hard_link(name: &str, target: &str) -> Raw {
    Raw::new(b'1', name.as_bytes(), target.as_bytes(), b"")
}

/// A PAX header of these records, with true lengths.
pub(super) fn pax(records: &[(&str, &[u8])]) -> Raw {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..rest + 9).find(|length| rest + length.to_string().len() == *length).unwrap();
        body.extend_from_slice(format!("{length} {key}=").as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    Raw::new(b'x', b"pax", b"", &body)
}

/// A PAX header with this body.
pub(super) fn pax_raw(body: &[u8]) -> Raw {
    Raw::new(b'x', b"pax", b"", body)
}

/// A GNU long name (`L`) or long link (`K`).
pub(super) fn gnu_long(kind: u8, text: &[u8]) -> Raw {
    Raw::new_gnu(kind, b"././@LongLink", &[text, b"\0"].concat())
}

/// An old GNU sparse entry with these pairs, a real size, and the mark that more follow.
pub(super) fn gnu_sparse(name: &str, pairs: &[(u64, u64)], real_size: &str, extended: bool, body: &[u8]) -> Raw {
    let mut raw = Raw::new_gnu(b'S', name.as_bytes(), body);
    for (number, (offset, length)) in pairs.iter().enumerate() {
        let at = 386 + number * 24;
        raw = raw.put(at..at + 12, format!("{offset:011o}").as_bytes());
        raw = raw.put(at + 12..at + 24, format!("{length:011o}").as_bytes());
    }
    raw.put(482..483, &[u8::from(extended)]).put(483..495, real_size.as_bytes())
}

/// An archive with its end mark.
pub(super) fn archive(entries: &[Raw]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Raw::bytes).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}
