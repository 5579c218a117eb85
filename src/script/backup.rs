//! The noun `backup` in scripts: archives that `volume.backup` wrote. Repositories are not here yet.

use std::path::Path;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};

use crate::model::volume::Backup;
use crate::script::context::engine;
use crate::script::error::{Fallible, Raise};
use crate::script::units::Size;

/// A finished backup as scripts see it.
pub(crate) fn backup_map(backup: Backup) -> Map {
    let mut map = Map::new();
    map.insert("path".into(), backup.path.to_string_lossy().into_owned().into());
    map.insert("files".into(), i64::try_from(backup.files).unwrap_or(i64::MAX).into());
    map.insert("content".into(), Dynamic::from(Size(backup.content_bytes)));
    map.insert("size".into(), Dynamic::from(Size(backup.size_bytes)));
    map.insert("digest".into(), backup.digest.to_string().into());
    map.insert("elapsed".into(), Dynamic::from(backup.elapsed));
    map
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod backup_functions {
    use super::*;

    /// Checks an archive that `backup` wrote, without restoring it: its digest, and that every entry can be read.
    ///
    /// ```rhai
    /// let v = volume::create("checked");
    /// let b = v.backup(`${host::temp_dir()}/checked.tar.zst`);
    /// assert(backup::verify(b.path).digest == b.digest);
    /// v.remove();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn verify(ctx: NativeCallContext, path: ImmutableString) -> Fallible<Map> {
        engine(&ctx)?.backup_verify(Path::new(path.as_str())).map(backup_map).raise(&ctx)
    }
}
