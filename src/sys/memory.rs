//! Memory of this process, and files in memory.

#![expect(unsafe_code, reason = "madvise has no safe wrapper")]

use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use rustix::mm::{Advice, madvise};

/// An open file that is nowhere but in memory, with `bytes` to read from its start.
///
/// # Errors
/// What memfd_create(2) and write(2) give.
pub fn file_with(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Takes the pages of the program file that were only needed to start out of this process; the kernel keeps them in its
/// cache, and a page that is needed again comes back by itself. Mappings with changed pages are left alone.
///
/// For long-lived small processes, and between the parts of a start: a static program maps itself in large strides, and
/// each part needs others of them. After the first time it costs two system calls and the faults that follow.
///
/// It is best effort: without smaps nothing happens.
pub fn release_program_pages() {
    static MAPPINGS: OnceLock<Vec<(usize, usize)>> = OnceLock::new();
    let read = || clean_program_mappings(&fs::read_to_string("/proc/self/smaps").unwrap_or_default());
    for (start, length) in MAPPINGS.get_or_init(read).iter().copied() {
        // SAFETY: the range is a whole mapping of a file, private and read-only, in which no page was ever changed
        // (Anonymous: 0 kB in smaps), so what MADV_DONTNEED drops is read again from the file (madvise(2)). No other
        // thread changes mappings: this is called by single-threaded processes, which never unmap or write to what they
        // are made of.
        let _ = unsafe { madvise(start as *mut _, length, Advice::LinuxDontNeed) }; // a refusal only keeps the pages
    }
}

/// Start and length in bytes of read-only private file mappings without changed pages.
fn clean_program_mappings(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-') {
            let fields: Vec<&str> = words.collect();
            let read_only = fields.first().is_some_and(|rights| rights.starts_with("r-") && rights.ends_with('p'));
            let of_file = fields.get(3).is_some_and(|inode| *inode != "0");
            let range = usize::from_str_radix(start, 16).ok().zip(usize::from_str_radix(end, 16).ok());
            current = range.filter(|_| read_only && of_file).map(|(start, end)| (start, end - start));
        } else if first == "Anonymous:" && words.next() == Some("0") {
            found.extend(current.take());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unchanged_read_only_file_mappings_are_taken() {
        let smaps = "00400000-00600000 r-xp 00000000 fe:00 77 /bin/x\nRss: 4 kB\nAnonymous: 0 kB\n\
                     00600000-00700000 r--p 00200000 fe:00 77 /bin/x\nAnonymous: 4 kB\n\
                     00700000-00800000 rw-p 00300000 fe:00 77 /bin/x\nAnonymous: 0 kB\n\
                     00900000-00a00000 r--p 00000000 00:00 0 [vvar]\nAnonymous: 0 kB\n";
        assert_eq!(clean_program_mappings(smaps), [(0x400000, 0x200000)]);
    }

    #[test]
    fn this_process_goes_on_after_its_pages_were_released() {
        let before = std::env::args().count();
        let (start, length) = clean_program_mappings(&fs::read_to_string("/proc/self/smaps").unwrap())[0];
        assert!(start > 0 && length > 0);
        release_program_pages();
        assert_eq!(std::env::args().count(), before);
    }
}
