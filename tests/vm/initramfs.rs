//! The archive that a kernel unpacks as its first root: cpio in the form "newc", one file after the other.
//!
//! It knows folders, files and symbolic links, all of root; nothing else is needed here. Format: the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst.

use std::fs;
use std::path::Path;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that grows.
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// An archive of these empty folders; a folder must come before what is in it.
    pub(crate) fn new(folders: &[&str]) -> Archive {
        let mut archive = Archive { bytes: Vec::new(), entries: 0 };
        for folder in folders {
            archive.push(folder, FOLDER, b"");
        }
        archive
    }

    /// Adds a file that may be executed.
    pub(crate) fn program(&mut self, name: &str, content: &[u8]) {
        self.push(name, PROGRAM, content);
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, name: &str, target: &str) {
        self.push(name, LINK, target.as_bytes());
    }

    /// Ends the archive and writes it to `path`.
    pub(crate) fn write(mut self, path: &Path) {
        self.push("TRAILER!!!", 0, b"");
        fs::write(path, self.bytes).expect("writing the initramfs");
    }

    fn push(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("a file below 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a short name");
        // inode, mode, uid, gid, links, mtime, size, device (2), device node (2), size of the name, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
