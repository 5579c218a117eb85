//! The database: records with names, phases and uses, atomic across processes. The one door to `rusqlite`.
//!
//! SQLite in WAL mode: one writer at a time, readers never wait for it. A commit is not fsynced on its own
//! (`synchronous=NORMAL`): a power cut may lose the last commits but never tears one, which is what a start that takes
//! milliseconds needs. [`Store::flush`] makes all commits so far durable; a verb that acknowledges something calls it.
//!
//! It does not know what a body means, and it does not follow uses: deleting a record that others use is the caller's
//! decision, made in the same transaction that asked [`Tx::users`].

mod check;
mod claim;
mod error;
mod lease;
mod schema;
mod tx;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

pub use self::claim::Claim;
pub use self::tx::Tx;
use crate::base::{Context as _, Error, Paths, Result};
use crate::store::Store;
use crate::sys::lock;

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Noun {
    /// A container; names are unique, ids are [`crate::base::Id`].
    Container,
    /// An image; the id is its config digest, names are full references.
    Image,
    /// A layer; the id is its chain id.
    Layer,
    /// A blob; the id is its digest.
    Blob,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// A step of a build that was done; the id is its key.
    Step,
    /// A pull that has not ended; the id is the manifest's digest.
    Pull,
}

impl Noun {
    /// Every noun.
    pub const ALL: [Noun; 8] =
        [Noun::Container, Noun::Image, Noun::Layer, Noun::Blob, Noun::Volume, Noun::Network, Noun::Step, Noun::Pull];

    /// The word for it, in the database and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Noun::Container => "container",
            Noun::Image => "image",
            Noun::Layer => "layer",
            Noun::Blob => "blob",
            Noun::Volume => "volume",
            Noun::Network => "network",
            Noun::Step => "step",
            Noun::Pull => "pull",
        }
    }

    fn from_name(name: &str) -> Option<Noun> {
        Noun::ALL.into_iter().find(|noun| noun.as_str() == name)
    }

    /// Its ids are digests, `sha256:…`.
    fn has_digests(self) -> bool {
        matches!(self, Noun::Image | Noun::Layer | Noun::Blob | Noun::Step | Noun::Pull)
    }
}

impl std::fmt::Display for Noun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a record is whole. A record that is not `Ready` belongs to a verb under way or interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being made.
    Creating,
    /// Whole.
    Ready,
    /// Being taken away.
    Removing,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Phase::Creating => "creating",
            Phase::Ready => "ready",
            Phase::Removing => "removing",
        }
    }

    fn from_name(name: &str) -> Option<Phase> {
        [Phase::Creating, Phase::Ready, Phase::Removing].into_iter().find(|phase| phase.as_str() == name)
    }
}

/// A record as stored.
#[derive(Debug, Clone)]
pub struct Row<T> {
    /// Its identity.
    pub id: String,
    /// Its names, sorted.
    pub names: Vec<String>,
    /// Whether it is whole.
    pub phase: Phase,
    /// Its body.
    pub body: T,
}

/// The connections of one process to the database. A thread takes one for a transaction and puts it back, so that
/// readers of one process do not wait for its writer either.
pub struct Db {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// An open connection.
struct Link {
    connection: Connection,
    /// Held by a connection that locks everybody out until it is closed; none for one that others may use the database
    /// beside, so that it may be kept.
    alone: Option<lock::Lock>,
}

/// Connections kept for the next transaction; more threads than this open one each time.
const MOST_IDLE: usize = 8;
/// Pages in the log after which a commit copies them back; bounds the log's size (SQLite, "Write-Ahead Logging" §3.1).
/// The log that [`schema`] reserves is larger, so that it need not grow on a full disk.
const CHECKPOINT_PAGES: u32 = 256;
/// The length to which a log is cut when it begins anew, in bytes: more than what [`schema`] reserves.
const LOG_BYTES: u64 = 2 << 20;
/// A log that is longer was written while others read without a pause, so that it could not begin anew; and the first
/// process to come reads all of it.
const LONG_LOG_BYTES: u64 = 2 * LOG_BYTES;
/// How long a connection that must be alone waits for the others before it looks whether it must.
const ALONE_PATIENCE: Duration = Duration::from_millis(100);
/// Room in the cache for every statement that this module has.
const STATEMENTS: usize = 64;

impl Db {
    /// Opens the database, making or migrating it when needed.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(super) fn open(paths: &Paths) -> Result<Db> {
        let db = Db { path: paths.database(), idle: Mutex::new(Vec::new()) };
        let doing = || format!("opening the database {:?}", db.path);
        let link = match db.connect_existing().context(doing)? {
            Some(mut link) => {
                db.shorten_log(&mut link, LONG_LOG_BYTES);
                link
            }
            None => {
                let _lock = lock::acquire(&paths.locks().join("store"), lock::Mode::Exclusive, lock::DEADLINE)?;
                db.create().context(doing)?
            }
        };
        db.put_back(link);
        Ok(db)
    }

    /// A connection to a database with the current schema; none when it must be made or migrated.
    fn connect_existing(&self) -> Result<Option<Link>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let link = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let current = schema::is_current(&link.connection)?.map_err(|error| self.error(error))?;
        Ok(current.then_some(link))
    }

    /// Makes or migrates the database. Another process may have been faster: the version is read again.
    fn create(&self) -> Result<Link> {
        let mut link = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        if !schema::is_current(&link.connection)?.map_err(|error| self.error(error))? {
            schema::migrate(&mut link.connection).map_err(|error| self.error(error))?;
        }
        Ok(link)
    }

    /// Connects, and reads for the first time, which is where SQLite makes its index of the log in shared memory: a file,
    /// which the first process truncates and lets grow again. Where the disk has no room for it the index goes into this
    /// process's own memory, for which nobody else may use the database (SQLite, "Write-Ahead Logging" §8, "Use of WAL
    /// Without Shared-Memory"): looking and removing must work on a full disk.
    fn connect(&self, flags: OpenFlags) -> Result<Link> {
        let begun = Instant::now();
        loop {
            match self.open_file(flags, false) {
                Err(error) if error::lacks_shared_memory(&error) => {}
                Err(error) => return Err(self.error(error)),
                Ok(connection) => return Ok(Link { connection, alone: None }),
            }
            // Those who want to be alone keep SQLite's lock of readers while they wait for that of writers, so that two of
            // them would wait for each other: they take turns at a lock of their own.
            let turn = lock::acquire(&self.log(), lock::Mode::Exclusive, lock::DEADLINE)?;
            match self.open_file(flags, true) {
                // Somebody got the shared memory after all, and uses it.
                Err(error) if error::is_busy(&error) && begun.elapsed() < lock::DEADLINE => {}
                Err(error) => return Err(self.error(error)),
                Ok(connection) => return Ok(Link { connection, alone: Some(turn) }),
            }
        }
    }

    fn open_file(&self, flags: OpenFlags, alone: bool) -> rusqlite::Result<Connection> {
        let mut connection = Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        if alone {
            connection.busy_handler(Some(wait_until(ALONE_PATIENCE)))?;
            // Before anything that reads, as the next statement does.
            connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
        } else {
            connection.busy_handler(Some(wait_until(lock::DEADLINE)))?;
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // Otherwise SQLite looks at the values of parameters when it plans, and plans anew whenever they change.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
        connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES as i64, |_| Ok(()))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_query_value(None, "schema_version", |_| Ok(()))?;
        Ok(connection)
    }

    /// Begins the log anew when it is longer than this, unless somebody uses the database just now. Whether it can be done
    /// decides nothing.
    fn shorten_log(&self, link: &mut Link, most_bytes: u64) {
        let length = std::fs::metadata(self.log()).map_or(0, |file| file.len());
        if length <= most_bytes || link.alone.is_some() {
            return;
        }
        let connection = &mut link.connection;
        let shorten = || -> rusqlite::Result<()> {
            connection.busy_timeout(Duration::ZERO)?;
            connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))?;
            // The next write goes to the start of the log, and with it the log is cut. This one changes nothing, whatever
            // version of the schema another process may have made meanwhile.
            connection.pragma_update(None, "application_id", schema::APPLICATION_ID)
        };
        // Another command finds the log as long as it is.
        let _ = shorten();
        // It cannot fail: SQLite only notes it.
        let _ = connection.busy_handler(Some(wait_until(lock::DEADLINE)));
    }

    /// The log of what was written since the last checkpoint.
    fn log(&self) -> PathBuf {
        let mut log = self.path.as_os_str().to_owned();
        log.push("-wal");
        log.into()
    }

    fn take(&self) -> Result<Link> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(Link { connection, alone: None }),
            None => self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE),
        }
    }

    fn put_back(&self, link: Link) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if link.alone.is_none() && idle.len() < MOST_IDLE {
            idle.push(link.connection);
        }
    }

    pub(super) fn transact<T>(&self, writable: bool, work: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let link = self.take()?;
        let connection = &link.connection;
        let run = |sql: &str| {
            let done = connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
            done.map_err(|error| self.error(error))
        };
        // As statements that stay prepared: a transaction that reads one record is mostly these two. One that panics is
        // rolled back with the end of its connection.
        run(if writable { "BEGIN IMMEDIATE" } else { "BEGIN DEFERRED" })?;
        let result = work(&Tx::new(connection, self, writable)).and_then(|value| run("COMMIT").map(|_| value));
        if result.is_err() && !connection.is_autocommit() {
            // The caller needs the first error; a connection that cannot roll back is not used again.
            let _ = run("ROLLBACK");
        }
        if link.connection.is_autocommit() {
            self.put_back(link);
        }
        result
    }

    fn error(&self, error: rusqlite::Error) -> Error {
        error::translate(error, &self.path)
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A busy handler that polls more often than SQLite's own (which sleeps up to 100 ms), for so long. SQLite calls it with the number of calls before for the same lock.
fn wait_until(limit: Duration) -> impl FnMut(i32) -> bool + Send + 'static {
    let mut start = Instant::now();
    move |before| {
        if before == 0 {
            start = Instant::now();
        }
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(Duration::from_micros(if before < 10 { 300 } else { 2000 }));
        true
    }
}

impl Store {
    /// Runs `work` in a write transaction (`BEGIN IMMEDIATE`), committed when it returns `Ok`. Never call it from inside
    /// `work`: it would wait for itself.
    ///
    /// # Errors
    /// What `work` gives; `timeout` when another process holds the database for longer than ten seconds; `no_space`.
    pub fn write<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.db.transact(true, work)
    }

    /// Runs `work` on one consistent snapshot; never waits for a writer.
    ///
    /// # Errors
    /// What `work` gives.
    pub fn read<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.db.transact(false, work)
    }

    /// Has the log of the database begin anew, unless somebody uses it just now; whether it can be done decides nothing. The
    /// first process to come reads all of the log, which takes up to a millisecond; this takes two writes to the disk, so it
    /// is for the end of something long.
    pub fn fold_log(&self) {
        if let Ok(mut link) = self.db.take() {
            self.db.shorten_log(&mut link, 0);
            self.db.put_back(link);
        }
    }

    /// Makes every commit so far survive a power cut.
    ///
    /// # Errors
    /// `no_space`, `failed` when the disk refuses.
    pub fn flush(&self) -> Result<()> {
        let log = self.db.log();
        // The log carries no locks of SQLite, unlike the database file: opening and closing it here is harmless.
        match std::fs::File::open(&log) {
            Ok(file) => file.sync_data().context(|| format!("flushing {log:?}")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::from(error).context(format!("flushing {log:?}"))),
        }
    }
}

#[cfg(test)]
mod tests;
