//! Two names exchanged in one step, so that neither is ever missing.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Exchanges what two trusted paths on one file system name (renameat2(2), `RENAME_EXCHANGE`), and flushes their folders.
///
/// # Errors
/// `NotFound` when one of them is missing; `InvalidInput` where the file system cannot.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    [one, other].iter().filter_map(|path| path.parent()).try_for_each(crate::sys::fs::sync_dir)
}
