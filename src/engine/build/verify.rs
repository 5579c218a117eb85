//! Building twice: whether a build comes to the same whatever is around it, and where it does not, at which step and file.
//!
//! Both times every step is done anew. The second time the host's name, the number of processors, the time of day, the umask
//! and the order of folders' entries are others, and with them process numbers and whatever is random. That a file's group
//! may write it under the other umask is no difference: the engine gives every step the same umask on every machine. What a
//! command makes of it is one.

use std::path::Path;
use std::time::Duration;

use super::run::OTHER_UMASK;
use super::walk::{self, Item, Memory};
use super::{Debug, Progress};
use crate::base::ignore::Ignore;
use crate::base::{Context as _, Result};
use crate::engine::Engine;
use crate::engine::pipe::Check;
use crate::model::build::{BuildOptions, BuildReport, Difference, Graph, StepReport};
use crate::sys::path::Dir;

/// Times are kept to the second: the second build begins in another one.
const LATER: Duration = Duration::from_millis(1100);
/// The umask of processes that are given none.
const USUAL_UMASK: u32 = 0o022;

impl Engine {
    /// Builds the target twice without the cache, under changed conditions. None when both come to the same.
    ///
    /// # Errors
    /// As [`Engine::build_solve`].
    pub fn build_verify(
        &self,
        graph: &Graph,
        options: &BuildOptions,
        progress: &Progress<'_>,
    ) -> Result<Option<Difference>> {
        let _lease = self.store.lease()?;
        let options = BuildOptions { no_cache: true, cache_to: Vec::new(), ..options.clone() };
        let first = self.solve_with(graph, &options, progress, &Debug::default())?.report;
        std::thread::sleep(LATER);
        let elsewhere = Debug { elsewhere: true, ..Debug::default() };
        let second = self.solve_with(graph, &options, progress, &elsewhere);
        let second =
            second.context(|| "building a second time, with another host name, umask and number of processors")?.report;
        self.first_difference(&first, &second)
    }

    fn first_difference(&self, first: &BuildReport, second: &BuildReport) -> Result<Option<Difference>> {
        let id = |step: &StepReport| step.layer.as_ref().map(|layer| layer.diff_id.clone());
        let items = |step: &StepReport| match &step.layer {
            Some(layer) => list(&self.store.layer_diff(&layer.chain_id), &|| self.check_interrupt()),
            None => Ok(Vec::new()),
        };
        for (one, other) in first.steps.iter().zip(&second.steps).filter(|(one, other)| id(one) != id(other)) {
            if let Some((path, what)) = difference(&items(one)?, &items(other)?) {
                return Ok(Some(Difference { text: one.text.clone(), position: one.position.clone(), path, what }));
            }
        }
        Ok(None)
    }
}

fn list(folder: &Path, check: &Check<'_>) -> Result<Vec<Item>> {
    let none = Ignore::default();
    let root = Dir::open(folder).context(|| format!("opening {folder:?}"))?;
    let mut items = walk::list(&root, b"", &none, &none, &mut Memory::default(), check)?;
    // The folder itself is made when a layer is unpacked, and no part of it.
    items.retain(|item| !item.path.is_empty());
    Ok(items)
}

/// The first path that is not the same, and how; none when the umask alone made the difference.
fn difference(one: &[Item], other: &[Item]) -> Option<(String, String)> {
    let shown = |item: &Item| format!("/{}", String::from_utf8_lossy(&item.path));
    let mut others = other.iter().peekable();
    // Which mode bits the second umask lets through.
    let let_through = USUAL_UMASK & !OTHER_UMASK;
    let mut by_umask = false;
    for item in one {
        let Some(twin) = others.next() else { return Some((shown(item), "is there the first time only".to_owned())) };
        if twin.path != item.path {
            return Some(match item.path < twin.path {
                true => (shown(item), "is there the first time only".to_owned()),
                false => (shown(twin), "is there the second time only".to_owned()),
            });
        }
        let (a, b) = (&item.facts, &twin.facts);
        let checks = [
            ("is of another kind", a.kind == b.kind && a.device == b.device),
            ("has other content", item.digest == twin.digest && item.link == twin.link),
            ("has another mode", a.mode == b.mode || a.mode | let_through == b.mode),
            ("has another owner", (a.uid, a.gid) == (b.uid, b.gid)),
            ("has other attributes", item.xattrs == twin.xattrs),
            ("has another time", a.mtime.seconds == b.mtime.seconds),
        ];
        by_umask |= a.mode != b.mode;
        if let Some((what, _)) = checks.iter().find(|(_, same)| !same) {
            return Some((shown(item), (*what).to_owned()));
        }
    }
    match others.next() {
        Some(item) => Some((shown(item), "is there the second time only".to_owned())),
        None if by_umask => None,
        None => Some(("/".to_owned(), "is the same, but the layers are not".to_owned())),
    }
}
