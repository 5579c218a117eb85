//! Interfaces that go with their network namespace, and those that should have and did not.
//!
//! The kernel takes the interfaces of a namespace away when its last process is gone, and nobody has to wait for it: to
//! remove one by hand takes a grace period of its locks, which is longer than all else that a container's end costs. So a
//! release leaves a note of the interface, `<network>/.gone-<interface>`. Should something keep the namespace, such as
//! another container in it, the interface is removed when the note has grown old: by the clean-up that follows a monitor,
//! by the next container on the network, by `network prune`.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::{Context as _, Error, Id, Result};
use crate::engine::Engine;
use crate::net::setup;

/// How the note of an interface begins that is to go.
const GONE: &str = ".gone-";
/// How long the kernel may take to remove a network namespace.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

impl Engine {
    /// Notes that the interface of a container on a network is to go with the namespace that it leads to.
    pub(super) fn note_gone(&self, network: &Id, container: &Id) -> Result<()> {
        let link = self.link_name(container, network);
        if !setup::exists(&link) {
            return Ok(());
        }
        let path = self.paths().network_run(network).join(format!("{GONE}{link}"));
        match std::fs::write(&path, container.as_str()) {
            // Without the folder there was no endpoint: nothing was made.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.context(|| format!("writing {path:?}")),
        }
    }

    /// Removes interfaces on a network that outlived their containers for as long as `patience`. Gives how many are still
    /// to go.
    pub(in crate::engine) fn network_bury(&self, network: &Id, patience: Duration) -> Result<usize> {
        let folder = self.paths().network_run(network);
        let mut left = 0;
        for name in names_in(&folder)? {
            let Some(link) = name.strip_prefix(GONE) else { continue };
            let path = folder.join(&name);
            let age = || path.metadata().and_then(|facts| facts.modified()).ok()?.elapsed().ok();
            if setup::exists(link) {
                if age().is_some_and(|age| age < patience) {
                    left += 1;
                    continue;
                }
                // The same container may have been started again, and have one of the same name.
                let holder = Id::parse(std::fs::read_to_string(&path).unwrap_or_default().trim());
                let Ok(holder) = holder else { continue };
                let Some(_lock) = self.try_lock_container(&holder)? else { continue };
                if self.network_endpoint(network, &holder)?.is_none() {
                    setup::remove_links([link])?;
                }
            }
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::from(error).context(format!("removing {path:?}")));
                }
                _ => {}
            }
        }
        Ok(left)
    }

    /// Waits until the interfaces of a container are gone, and removes them when they do not go.
    pub(in crate::engine) fn network_bury_all(&self, networks: &[Id]) -> Result<()> {
        let begin = Instant::now();
        for network in networks {
            while self.network_bury(network, PATIENCE)? > 0 && begin.elapsed() < 2 * PATIENCE {
                std::thread::sleep(PATIENCE / 20);
            }
        }
        Ok(())
    }
}

/// The names in a folder; none when it is missing.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(|| format!("reading {folder:?}"))?,
    };
    let name = |entry: std::io::Result<std::fs::DirEntry>| -> Result<String> {
        Ok(entry.context(|| format!("reading {folder:?}"))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}
