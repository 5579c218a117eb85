//! The members of an archive by name: of a tar file that can be sought in, or of a folder.
//!
//! A name is only ever looked up among the members: links inside a tar are followed within the tar, links in a folder
//! not at all, and nothing is unpacked. The index is made from the raw headers, so that every size is known to lie
//! within the file and every extended header is bounded before it is read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use tar::{EntryType, Header};

use crate::base::{Context as _, Error, Kind, Result};
use crate::sys::path::{Dir, EntryKind};

const BLOCK: u64 = 512;
/// The most members that an image archive is read with: 500 layers of three files each, with room.
const MAX_MEMBERS: usize = 100_000;
/// The most bytes of one extended header.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;
/// How many links are followed from one member to the next.
const MAX_LINKS: usize = 8;

/// An archive that is ready to be read.
pub struct Members {
    place: Place,
    shown: String,
}

enum Place {
    Tar { file: File, index: HashMap<String, Member> },
    Folder(Dir),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

impl Members {
    /// Indexes an uncompressed tar; `shown` names it in errors.
    ///
    /// # Errors
    /// `corrupt` when it is truncated or no tar.
    pub fn of_tar(file: File, shown: String) -> Result<Members> {
        let index = index(&file).map_err(|error| error.context(format!("reading the archive {shown}")))?;
        Ok(Members { place: Place::Tar { file, index }, shown })
    }

    /// Reads from a folder.
    ///
    /// # Errors
    /// What opening it gives.
    pub fn of_folder(folder: &Path) -> Result<Members> {
        let dir = Dir::open(folder).context(|| format!("opening {folder:?}"))?;
        Ok(Members { place: Place::Folder(dir), shown: format!("{folder:?}") })
    }

    /// Names the archive in errors.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether there is a regular file of this name.
    ///
    /// # Errors
    /// What opening gives, except that it is not there.
    pub fn has(&self, name: &str) -> Result<bool> {
        match self.open(name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::Corrupt => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens a member; its size in bytes is known.
    ///
    /// # Errors
    /// `corrupt` when the archive has no such regular file.
    pub fn open(&self, name: &str) -> Result<MemberReader<'_>> {
        let missing = || Error::corrupt(format!("the archive {} has no file {name:?}", self.shown));
        let mut name = normal(name).ok_or_else(missing)?;
        match &self.place {
            Place::Tar { file, index } => {
                for _ in 0..=MAX_LINKS {
                    match index.get(&name).ok_or_else(missing)? {
                        Member::File { offset, size } => {
                            return Ok(MemberReader { file: Source::Tar(file), offset: *offset, left: *size });
                        }
                        Member::Link(target) => name.clone_from(target),
                    }
                }
                Err(Error::corrupt(format!("the archive {} has a loop of links at {name:?}", self.shown)))
            }
            Place::Folder(folder) => {
                let file = open_in_folder(folder, &name)
                    .context(|| format!("opening {name:?} in {}", self.shown))?
                    .ok_or_else(missing)?;
                let size = file.metadata()?.len();
                Ok(MemberReader { file: Source::File(file), offset: 0, left: size })
            }
        }
    }

    /// Reads a whole member of at most `limit_bytes`.
    ///
    /// # Errors
    /// `corrupt` when it is missing or larger.
    pub fn read(&self, name: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        let mut reader = self.open(name)?;
        if reader.left > limit_bytes {
            return Err(Error::corrupt(format!(
                "{name:?} in the archive {} has {} bytes, more than {limit_bytes}",
                self.shown, reader.left
            )));
        }
        let mut bytes = Vec::with_capacity(reader.left as usize);
        reader.read_to_end(&mut bytes).context(|| format!("reading {name:?} in the archive {}", self.shown))?;
        Ok(bytes)
    }
}

/// The bytes of one member.
pub struct MemberReader<'a> {
    file: Source<'a>,
    offset: u64,
    left: u64,
}

enum Source<'a> {
    Tar(&'a File),
    File(File),
}

impl MemberReader<'_> {
    /// The number of bytes not yet read.
    pub fn size_bytes(&self) -> u64 {
        self.left
    }
}

impl Read for MemberReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let file = match &self.file {
            Source::Tar(file) => file,
            Source::File(file) => file,
        };
        let n = file.read_at(&mut buffer[..wanted], self.offset)?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive became shorter while it was read"));
        }
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// Opens a regular file below `folder`; no component may be a link, and nothing else is opened.
fn open_in_folder(folder: &Dir, name: &str) -> io::Result<Option<File>> {
    let open = || {
        let (folders, file) = name.rsplit_once('/').map_or((None, name), |(folders, file)| (Some(folders), file));
        let mut current = folder.try_clone()?;
        for part in folders.into_iter().flat_map(|folders| folders.split('/')) {
            if current.kind_of(part.as_bytes())? != EntryKind::Dir {
                return Ok(None);
            }
            current = current.child(part.as_bytes())?;
        }
        match current.kind_of(file.as_bytes())? {
            EntryKind::File => current.open_file(file.as_bytes()).map(Some),
            _ => Ok(None),
        }
    };
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other,
    }
}

/// A plain relative name: `./` and doubled slashes are dropped; absolute names and `..` are no names.
fn normal(name: &str) -> Option<String> {
    resolve("", name)
}

/// `name` as seen from the folder `base`; none when it leaves the archive or is empty.
fn resolve(base: &str, name: &str) -> Option<String> {
    if name.starts_with('/') || name.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." if base.is_empty() => return None,
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Reads every header of the tar (POSIX.1-2017 "ustar" and "pax", and GNU's long names).
fn index(file: &File) -> Result<HashMap<String, Member>> {
    let length = file.metadata()?.len();
    let mut index = HashMap::new();
    let mut pending = Pending::default();
    let mut at = 0u64;
    while at < length {
        let bad = |what: &str| Error::corrupt(format!("{what} at byte {at}"));
        let mut block = [0u8; BLOCK as usize];
        if length - at < BLOCK {
            return Err(bad("the archive is truncated"));
        }
        file.read_exact_at(&mut block, at)?;
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let header = Header::from_byte_slice(&block);
        let sum: u32 =
            block.iter().enumerate().map(|(i, b)| u32::from(if (148..156).contains(&i) { b' ' } else { *b })).sum();
        if header.cksum().ok() != Some(sum) {
            return Err(bad("this is not a tar header"));
        }
        let kind = header.entry_type();
        let extension = matches!(
            kind,
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
        );
        let mut size = header.entry_size().map_err(|_| bad("a malformed size"))?;
        if !extension && let Some(real) = pending.size {
            size = real;
        }
        let body = at + BLOCK;
        let has_body = !matches!(
            kind,
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Directory
                | EntryType::Fifo
                | EntryType::Char
                | EntryType::Block
        );
        let size = if has_body { size } else { 0 };
        let padded = size.div_ceil(BLOCK).saturating_mul(BLOCK);
        if padded > length.saturating_sub(body) {
            return Err(bad("the archive is truncated: a member reaches beyond its end"));
        }
        if extension {
            if size > MAX_EXTENSION_BYTES {
                return Err(bad("an extended header of more than a mebibyte"));
            }
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, body)?;
            pending.take_in(kind, &bytes).map_err(|error| error.context(format!("reading the header at byte {at}")))?;
        } else {
            let current = std::mem::take(&mut pending);
            let name = match current.name {
                Some(name) => name,
                None => String::from_utf8_lossy(&header.path_bytes()).into_owned(),
            };
            if let Some(name) = normal(&name) {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                let link = || match &current.link {
                    Some(link) => link.clone(),
                    None => {
                        header.link_name_bytes().map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
                    }
                };
                let member = match kind {
                    EntryType::Regular | EntryType::Continuous => Some(Member::File { offset: body, size }),
                    EntryType::Link => normal(&link()).map(Member::Link),
                    // A link from the top has no folder to start from, and may not leave it.
                    EntryType::Symlink => resolve(folder, &link()).map(Member::Link),
                    _ => None,
                };
                match member {
                    // The last of a name counts, as when unpacking; anything else of that name hides it.
                    Some(member) => index.insert(name, member),
                    None => index.remove(&name),
                };
                if index.len() > MAX_MEMBERS {
                    return Err(Error::corrupt(format!("the archive has more than {MAX_MEMBERS} members")));
                }
            }
        }
        at = body + padded;
    }
    Ok(index)
}

/// What extended headers say of the member after them.
#[derive(Default)]
struct Pending {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl Pending {
    fn take_in(&mut self, kind: EntryType, bytes: &[u8]) -> Result<()> {
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        match kind {
            EntryType::GNULongName => self.name = Some(text(bytes)),
            EntryType::GNULongLink => self.link = Some(text(bytes)),
            EntryType::XHeader => {
                for record in tar::PaxExtensions::new(bytes) {
                    let record = record.map_err(|error| Error::corrupt("a malformed pax record").with_source(error))?;
                    match record.key_bytes() {
                        b"path" => self.name = Some(text(record.value_bytes())),
                        b"linkpath" => self.link = Some(text(record.value_bytes())),
                        b"size" => {
                            let size = record.value().ok().and_then(|value| value.parse().ok());
                            self.size = Some(size.ok_or_else(|| Error::corrupt("a malformed size in a pax record"))?);
                        }
                        key if key.starts_with(b"GNU.sparse") => {
                            return Err(Error::unsupported("an image archive with sparse members is not read"));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn members(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Result<Members> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        of_bytes(&builder.into_inner().unwrap())
    }

    fn of_bytes(bytes: &[u8]) -> Result<Members> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Members::of_tar(file, "test.tar".into())
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    }

    fn link(builder: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &str, target: &str) {
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_entry_type(kind);
        builder.append_link(&mut header, name, target).unwrap();
    }

    #[test]
    fn links_are_followed_inside_the_archive_only() {
        let long = format!("{}/layer.tar", "d".repeat(150));
        let members = members(|tar| {
            add(tar, "./a/layer.tar", b"layer");
            add(tar, &long, b"long");
            link(tar, EntryType::Symlink, "b/layer.tar", "../a/layer.tar");
            link(tar, EntryType::Link, "c/layer.tar", "a/layer.tar");
            link(tar, EntryType::Symlink, "out", "../../etc/passwd");
            link(tar, EntryType::Symlink, "abs", "/etc/passwd");
            link(tar, EntryType::Symlink, "loop", "x/../loop");
            link(tar, EntryType::Symlink, "l1/x", "../l2/x");
            link(tar, EntryType::Symlink, "l2/x", "../l1/x");
        })
        .unwrap();
        for name in ["a/layer.tar", "./a//layer.tar", "b/layer.tar", "c/layer.tar"] {
            assert_eq!(members.read(name, 10).unwrap(), b"layer", "{name}");
        }
        assert_eq!(members.read(&long, 10).unwrap(), b"long");
        for name in ["out", "abs", "loop", "l1/x", "../a/layer.tar", "/a/layer.tar", "a", "", "/etc/passwd"] {
            assert_eq!(members.read(name, 10).unwrap_err().kind(), Kind::Corrupt, "{name}");
        }
        assert!(members.read("a/layer.tar", 4).is_err());
    }

    #[test]
    fn truncated_and_foreign_files_are_corrupt() {
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder, "a", &[7; 2000]);
        let whole = builder.into_inner().unwrap();
        for cut in [1, 511, 513, 1024, 2000, 2511] {
            let error = of_bytes(&whole[..cut]).err().unwrap_or_else(|| panic!("cut at {cut} was read"));
            assert_eq!(error.kind(), Kind::Corrupt, "cut at {cut}: {error}");
        }
        assert!(of_bytes(&vec![b'x'; 4096]).is_err());
        let mut large = whole.clone();
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(u64::MAX / 4);
        header.set_cksum();
        large[..512].copy_from_slice(header.as_bytes());
        assert!(of_bytes(&large).is_err());
    }

    #[test]
    fn a_folder_is_read_without_following_links() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("blobs")).unwrap();
        std::fs::write(folder.path().join("blobs/x"), b"x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("evil")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("etc")).unwrap();
        let members = Members::of_folder(folder.path()).unwrap();
        assert_eq!(members.read("blobs/x", 10).unwrap(), b"x");
        for name in ["evil", "etc/passwd", "blobs", "nothing", "../x", "blobs/x/y"] {
            assert_eq!(members.read(name, 1 << 20).unwrap_err().kind(), Kind::Corrupt, "{name}");
        }
    }
}
