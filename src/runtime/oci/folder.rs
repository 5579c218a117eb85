//! The state folder of a container: its record, its copy of the configuration, its lock, the socket that its start goes to.
//!
//! ```text
//! <root>/<id>/              0700; flock on the folder itself: one verb at a time changes the container
//!   state.json              Record, replaced by rename; written before anything else of the container exists
//!   config.json             the bundle's, as it was at create
//!   start.sock              the init listens here until it is started
//! ```
//!
//! The record says who the container's first process is, never what it does: that is asked of the kernel. A process is a
//! number, its start time and the boot. A folder without a readable record is of a `create` that was killed before anything
//! else existed.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::base::{Context as _, Error, Result, Timestamp};
use crate::runtime::cgroup::{Cgroup, Place};
use crate::runtime::hooks::{self, State};
use crate::runtime::oci::bundle::{self, CONFIG};
use crate::runtime::oci::{Root, SPEC_VERSION, validate};
use crate::runtime::state::{boot_id, start_time, write_json};
use crate::sys::lock::{self, Lock, Mode};
use crate::sys::{mount, process, socket};

/// The record's name.
const RECORD: &str = "state.json";
/// The socket's name.
const SOCKET: &str = "start.sock";
/// The most that is read of a record, in bytes: annotations are in it.
const MAX_RECORD: u64 = 16 * 1024 * 1024;
/// The longest id.
const MAX_ID: usize = 1024;

/// What is known of a container besides its configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// The state as of the last change, for those who read this file; the status in it is not to be trusted.
    #[serde(flatten)]
    pub(crate) state: State,
    /// The version of this format.
    pub(crate) rhumb_state: u32,
    /// The boot it was made in.
    pub(crate) boot_id: String,
    /// When the first process started, in clock ticks since boot.
    pub(crate) start_time: u64,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// The root file system's folder.
    pub(crate) rootfs: PathBuf,
    /// Its cgroup.
    pub(crate) cgroup: Place,
}

/// The format that is written.
const FORMAT: u32 = 1;

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// `create` is at work.
    Creating,
    /// It waits for its start.
    Created,
    /// Its command runs.
    Running,
    /// All of its processes are frozen.
    Paused,
    /// Its first process is gone.
    Stopped,
}

impl Status {
    /// Its name in the specification.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container's state folder, not locked.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// The container's id.
    pub(crate) id: String,
    /// The folder.
    pub(crate) path: PathBuf,
}

/// A container as a listing shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// The version of the specification that this follows.
    pub oci_version: String,
    /// Its id.
    pub id: String,
    /// The first process; 0 for none.
    pub pid: i32,
    /// What it does.
    pub status: String,
    /// The bundle's folder.
    pub bundle: String,
    /// The root file system's folder.
    pub rootfs: String,
    /// When it was made.
    pub created: String,
    /// The specification's annotations.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub annotations: std::collections::BTreeMap<String, String>,
    /// The name of the user who made it.
    pub owner: String,
}

/// That there is no such container, in runc's words.
pub(crate) fn missing(id: &str) -> Error {
    Error::not_found(format!("container does not exist: {id:?}"))
}

impl Folder {
    /// The folder of the container `id`, whether it exists or not.
    ///
    /// # Errors
    /// `invalid_argument` for what cannot be an id.
    pub(crate) fn of(root: &Root, id: &str) -> Result<Folder> {
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.'));
        if id.is_empty() || !plain || id.len() > MAX_ID || id == "." || id == ".." {
            return Err(Error::invalid(format!("invalid container ID format: {id:?}"))
                .with_hint("letters, digits, _, +, - and . make an id"));
        }
        Ok(Folder { id: id.to_owned(), path: root.0.join(id) })
    }

    /// Makes the folder and locks it.
    ///
    /// # Errors
    /// `already_exists` when there is such a container, whatever became of it.
    pub(crate) fn make(&self) -> Result<Lock> {
        let doing = || format!("making {:?}", self.path);
        let builder = || {
            let mut builder = DirBuilder::new();
            builder.mode(0o700);
            builder
        };
        let made = builder().create(&self.path).or_else(|error| match (error.kind(), self.path.parent()) {
            (ErrorKind::NotFound, Some(root)) => {
                builder().recursive(true).create(root)?;
                builder().create(&self.path)
            }
            _ => Err(error),
        });
        match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::already_exists(format!("container with given ID already exists: {:?}", self.id)));
            }
            made => made.context(doing)?,
        }
        self.lock()
    }

    /// Locks the container.
    ///
    /// # Errors
    /// `not_found`; `timeout` when another verb works on it for ten seconds.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let begun = Instant::now();
        loop {
            let left = lock::DEADLINE.saturating_sub(begun.elapsed());
            let lock = match lock::acquire_folder(&self.path, Mode::Exclusive, left) {
                Err(error) if error.kind() == crate::base::Kind::NotFound => return Err(missing(&self.id)),
                lock => lock?,
            };
            // Deleted while we waited, and perhaps made again since.
            if lock.is_current().context(|| format!("locking {:?}", self.path))? {
                return Ok(lock);
            }
        }
    }

    /// Another process works on it right now.
    pub(crate) fn is_busy(&self) -> bool {
        let Ok(dir) = File::open(&self.path) else { return false };
        match lock::try_lock(&dir, Mode::Shared) {
            Ok(true) => {
                lock::unlock(&dir);
                false
            }
            Ok(false) => true,
            Err(_) => false,
        }
    }

    /// Writes the record.
    pub(crate) fn write(&self, record: &Record) -> Result<()> {
        // Without fsync: no process of a container survives a power cut, so nothing that this could tell does.
        write_json(&self.path.join(RECORD), record, false)
    }

    /// Keeps the configuration's text.
    pub(crate) fn keep_config(&self, text: &[u8]) -> Result<()> {
        let path = self.path.join(CONFIG);
        std::fs::write(&path, text).context(|| format!("writing {path:?}"))
    }

    /// The configuration as it was at `create`.
    pub(crate) fn spec(&self) -> Result<Spec> {
        // Whoever made it was warned.
        validate::parse(&bundle::read(&self.path.join(CONFIG))?, &mut Vec::new())
    }

    /// The record.
    ///
    /// # Errors
    /// `not_found` when there is none; `corrupt`.
    pub(crate) fn read(&self) -> Result<Record> {
        use std::io::Read as _;
        let path = self.path.join(RECORD);
        let mut text = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_RECORD).read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(missing(&self.id));
            }
            Err(error) => return Err(Error::from(error).context(format!("reading {path:?}"))),
        }
        let unreadable = || format!("unreadable state file {path:?}");
        let record: Record =
            serde_json::from_slice(&text).map_err(|error| Error::corrupt(unreadable()).with_source(error))?;
        if record.rhumb_state > FORMAT {
            return Err(Error::corrupt(unreadable()).with_hint("a later version of this program wrote it"));
        }
        Ok(record)
    }

    /// Opens the socket where the init waits for its start.
    pub(crate) fn listen(&self) -> Result<OwnedFd> {
        let dir = mount::open_folder(&self.path).context(|| format!("opening {:?}", self.path))?;
        socket::listen(dir.as_fd(), SOCKET).context(|| "opening the socket for the start")
    }

    /// Connects to the init; none when it does not wait there.
    pub(crate) fn knock(&self) -> Result<Option<OwnedFd>> {
        let doing = || "asking the container's first process";
        let dir = match mount::open_folder(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            dir => dir.context(doing)?,
        };
        match socket::connect_now(dir.as_fd(), SOCKET) {
            Ok(connection) => Ok(Some(connection)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(Error::unavailable("the container's first process is busy").with_hint("a hook may take its time"))
            }
            Err(error) => Err(Error::from(error).context(doing())),
        }
    }

    /// What the container does.
    pub(crate) fn status(&self, record: &Record) -> Result<Status> {
        if record.process()?.is_none() {
            return Ok(if record.state.pid.is_none() && self.is_busy() { Status::Creating } else { Status::Stopped });
        }
        if record.cgroup()?.is_frozen()? {
            return Ok(Status::Paused);
        }
        // A program that was executed has closed the socket without knowing it.
        match self.knock() {
            Ok(None) => Ok(Status::Running),
            Ok(Some(_)) => Ok(Status::Created),
            // It does not come to the door, but it is there.
            Err(error) if error.kind() == crate::base::Kind::Unavailable => Ok(Status::Created),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing is in the folder but what is written here: a wrong root can lead to any folder.
    ///
    /// # Errors
    /// `conflict` when there is something else.
    pub(crate) fn expect_own(&self) -> Result<()> {
        let doing = || format!("reading {:?}", self.path);
        for entry in std::fs::read_dir(&self.path).context(doing)? {
            let name = entry.context(doing)?.file_name();
            if ![RECORD, "state.tmp", CONFIG, SOCKET].iter().any(|own| name == *own) {
                let what = self.path.join(name);
                return Err(Error::conflict(format!("{:?} is not of a container: there is {what:?}", self.path)));
            }
        }
        Ok(())
    }

    /// Takes the folder away.
    pub(crate) fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::from(error).context(format!("removing {:?}", self.path)))
            }
            _ => Ok(()),
        }
    }
}

impl Record {
    /// The record of a container that is about to be made.
    pub(crate) fn intent(id: &str, bundle: &bundle::Bundle, rootfs: &Path, cgroup: Place) -> Result<Record> {
        Ok(Record {
            state: hooks::state(&bundle.spec, id, &bundle.dir, Status::Creating.as_str(), 0),
            rhumb_state: FORMAT,
            boot_id: boot_id()?,
            start_time: 0,
            created: Timestamp::now(),
            rootfs: rootfs.to_owned(),
            cgroup,
        })
    }

    /// Both are of the same container, and not of a later one with its id.
    pub(crate) fn is_of(&self, other: &Record) -> bool {
        let key = |record: &Record| (record.boot_id.clone(), record.state.pid, record.start_time, record.created);
        key(self) == key(other)
    }

    /// Its cgroup.
    pub(crate) fn cgroup(&self) -> Result<Cgroup> {
        Cgroup::at(self.cgroup.clone())
    }

    /// It was made since the machine started: only then can anything of it be alive.
    pub(crate) fn is_of_this_boot(&self) -> Result<bool> {
        Ok(self.boot_id == boot_id()?)
    }

    /// Its first process, if that is alive: a descriptor that is of it and of no later process with its number.
    pub(crate) fn process(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = self.state.pid.filter(|pid| *pid > 0) else { return Ok(None) };
        if !self.is_of_this_boot()? {
            return Ok(None);
        }
        let Ok(pidfd) = process::pidfd(pid) else { return Ok(None) };
        // Looked at after the descriptor was opened: the number may have been another's before.
        match start_time(pid) {
            Ok(start) if start == self.start_time => Ok(Some(pidfd).filter(|pidfd| !has_ended(pidfd))),
            _ => Ok(None),
        }
    }

    /// Waits for the end of its first process.
    ///
    /// # Errors
    /// `timeout`.
    pub(crate) fn wait_for_end(&self, limit: Duration) -> Result<()> {
        let Some(pidfd) = self.process()? else { return Ok(()) };
        let mut interests = [socket::Interest::new(pidfd.as_fd(), true, false)];
        socket::wait(&mut interests, Some(limit)).context(|| "waiting for the container's end")?;
        match interests[0].readable() {
            true => Ok(()),
            false => Err(Error::timeout(format!("the container {:?} does not end", self.state.id))),
        }
    }
}

/// A process descriptor is readable from the end of its process on, also before anyone took that in.
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut interests = [socket::Interest::new(pidfd.as_fd(), true, false)];
    socket::wait(&mut interests, Some(Duration::ZERO)).is_ok() && interests[0].readable()
}

/// All containers below a root, by their ids. Those that go meanwhile are left out.
///
/// # Errors
/// What reading the folder gives; `corrupt`.
pub fn list(root: &Root, warnings: &mut Vec<String>) -> Result<Vec<Container>> {
    let doing = || format!("reading {:?}", root.0);
    let entries = match std::fs::read_dir(&root.0) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(doing)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.context(doing)?.file_name();
        let Some(folder) = name.to_str().and_then(|id| Folder::of(root, id).ok()) else { continue };
        match describe(&folder) {
            Ok(container) => found.push(container),
            Err(error) if error.kind() == crate::base::Kind::NotFound => {}
            // One that cannot be read hides no other.
            Err(error) => warnings.push(format!("cannot list the container {:?}: {error}", folder.id)),
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// One container.
///
/// # Errors
/// `not_found`; `corrupt`.
pub fn container(root: &Root, id: &str) -> Result<Container> {
    describe(&Folder::of(root, id)?)
}

fn describe(folder: &Folder) -> Result<Container> {
    let record = folder.read()?;
    let status = folder.status(&record)?;
    let pid = record.state.pid.filter(|_| status != Status::Stopped).unwrap_or(0);
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&folder.path)?);
    Ok(Container {
        oci_version: SPEC_VERSION.to_owned(),
        pid,
        status: status.as_str().to_owned(),
        bundle: record.state.bundle,
        rootfs: record.rootfs.to_string_lossy().into_owned(),
        created: record.created.to_string(),
        annotations: record.state.annotations,
        id: record.state.id,
        owner: if owner == 0 { "root".to_owned() } else { format!("#{owner}") },
    })
}
