//! A container's files while something is copied: its root, and what keeps others away meanwhile.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::{Error, Result};
use crate::engine::Engine;
use crate::engine::container::{Found, files};
use crate::model::container::{ContainerRecord, IdRange, MountPointKind};
use crate::runtime::plan::Rootfs;
use crate::runtime::state::{Life, is_held};
use crate::runtime::visit::{Point, root_of_running, root_of_stopped};
use crate::store::db::Phase;
use crate::sys::lock::{Lock, Mode};
use crate::sys::path::Dir;

/// How often one that is started or ends just now is looked at again.
const TRIES: u32 = 200;
/// How long in between.
const PAUSE: Duration = Duration::from_millis(20);
/// Where a container that does not run has nothing but folders to mount on.
const KERNELS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A container that somebody copies from or to.
pub(super) struct Visit {
    /// Its name.
    pub(super) name: String,
    /// Its record.
    pub(super) record: ContainerRecord,
    /// Its root, with its mounts.
    pub(super) root: Dir,
    /// The files show the host's numbers of its users.
    pub(super) ids: Option<IdRange>,
    /// Keeps it from being started or removed, when it does not run, and its volumes from being exchanged.
    _held: Vec<Lock>,
}

impl Engine {
    /// Goes where a container's files are.
    ///
    /// # Errors
    /// `not_found`; `conflict` while it is made or removed, and when it does not come to rest.
    pub(super) fn container_visit(&self, container: &str) -> Result<Visit> {
        let id = self.container_find(container)?.id;
        for _ in 0..TRIES {
            self.check_interrupt()?;
            let found = self.container_find(id.as_str())?;
            require_there(&found, &self.container_life(&id)?)?;
            if let Life::Alive(run) = self.container_life(&id)? {
                match root_of_running(&run)? {
                    Some(root) => {
                        let root = Dir::from_fd(root.as_fd())?;
                        let ids = found.record.id_range;
                        return Ok(Visit { name: found.name, record: found.record, root, ids, _held: Vec::new() });
                    }
                    None => std::thread::sleep(PAUSE),
                }
                continue;
            }
            let lock = self.lock_container(&id)?;
            let found = self.container_find(id.as_str())?;
            if is_held(&self.paths().container_run(&id))? {
                // It was started meanwhile, or has not quite ended.
                drop(lock);
                std::thread::sleep(PAUSE);
                continue;
            }
            require_there(&found, &self.container_life(&id)?)?;
            return self.visit_stopped(found, lock);
        }
        Err(Error::conflict(format!("the container {container:?} is started or stopped all the time")))
    }

    fn visit_stopped(&self, found: Found, lock: Lock) -> Result<Visit> {
        let record = found.record;
        let state_dir = self.paths().container(&record.id);
        let mut held = vec![lock];
        for id in record.volumes() {
            held.push(self.store.volume_hold(id, Mode::Shared)?);
        }
        let rootfs = Rootfs::Overlay {
            lower: self.container_below(&record)?,
            upper: state_dir.join("upper"),
            work: state_dir.join("work"),
            volatile: false,
        };
        let own = files::MOUNTED.iter().map(|(target, file)| Point {
            source: state_dir.join(file),
            target: PathBuf::from(target),
            read_only: false,
            recursive: false,
        });
        let covered = |target: &str| record.mounts.iter().any(|point| point.target == target);
        let mut points: Vec<Point> = own.filter(|point| !covered(&point.target.to_string_lossy())).collect();
        for point in &record.mounts {
            let source = match &point.kind {
                MountPointKind::Bind { source } => PathBuf::from(source),
                MountPointKind::Volume { id, .. } => self.paths().volume_data(id),
                MountPointKind::Tmpfs => continue,
            };
            let target = PathBuf::from(&point.target);
            if KERNELS.iter().any(|kernel| target.starts_with(kernel)) {
                continue;
            }
            let recursive = !point.options.iter().any(|option| option == "bind");
            points.push(Point { source, target, read_only: point.read_only, recursive });
        }
        let root = root_of_stopped(&rootfs, record.options.read_only, &points)?;
        Ok(Visit { name: found.name, root: Dir::from_fd(root.as_fd())?, record, ids: None, _held: held })
    }
}

fn require_there(found: &Found, life: &Life) -> Result<()> {
    match (found.phase, life) {
        (Phase::Removing, _) => Err(Error::conflict(format!("the container {:?} is being removed", found.name))),
        (Phase::Creating, Life::Never) => Err(Error::conflict(format!("the container {:?} is being made", found.name))),
        _ => Ok(()),
    }
}
