//! SQLite's errors in our terms.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::base::{Error, Kind};
use crate::sys::{fs, lock};

/// Less free space than this explains an input/output error of SQLite: it grows its files by whole pages.
const NEARLY_FULL_BYTES: u64 = 64 * 1024;

/// What a failed call on the database at `path` means to a user.
pub(super) fn translate(error: rusqlite::Error, path: &Path) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let holder = lock::holder_of(&shared_memory(path));
            let seconds = lock::DEADLINE.as_secs();
            return Error::timeout(format!("waited {seconds} s for the database {path:?}, held by {holder}"));
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Corrupt,
        Some(ErrorCode::DiskFull) => Kind::NoSpace,
        Some(ErrorCode::SystemIoFailure) if is_nearly_full(path) => Kind::NoSpace,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            Kind::PermissionDenied
        }
        Some(ErrorCode::CannotOpen) if is_nearly_full(path) => Kind::NoSpace,
        _ => Kind::Failed,
    };
    Error::new(kind, format!("using the database {path:?}")).with_source(error)
}

/// The index of the log could not be made as a file beside the database: no room for its pages, or for its name. The
/// database itself had been opened when this is asked, so that `SQLITE_CANTOPEN` speaks of that file too, or of the log.
pub(super) fn lacks_shared_memory(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi;
    let codes = [ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMOPEN, ffi::SQLITE_IOERR_SHMMAP, ffi::SQLITE_CANTOPEN];
    error.sqlite_error().is_some_and(|error| codes.contains(&error.extended_code))
}

/// Somebody else held a lock for too long.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The file that carries the locks of a database in WAL mode. It is only ever looked at by name: closing a descriptor of
/// it would drop this process's own locks (fcntl(2), "Advisory record locking").
fn shared_memory(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-shm");
    name.into()
}

fn is_nearly_full(path: &Path) -> bool {
    path.parent().is_some_and(|folder| fs::free_bytes(folder).is_ok_and(|free| free < NEARLY_FULL_BYTES))
}
