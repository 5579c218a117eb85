//! The schema: one number in `user_version`, one list of migrations.
//!
//! ```text
//! records   seq (age), noun, id, phase, body (JSON)        one row per thing
//! names     noun, name → id                                unique per noun
//! claims    space, key → holder                            what one alone can have: addresses, ports
//! uses      user_noun, user → target_noun, target          who keeps what; a user may be a lease
//! ```
//!
//! A process that finds an older number migrates under the store lock; one that finds a later number refuses.

use rusqlite::Connection;

use crate::base::{Error, Result};

/// Statements that lead from version *n* to *n + 1*, in order. Never change one that was released.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE records (
        seq   INTEGER PRIMARY KEY,
        noun  TEXT NOT NULL,
        id    TEXT NOT NULL,
        phase TEXT NOT NULL,
        body  TEXT NOT NULL,
        UNIQUE (noun, id)
    ) STRICT;
    CREATE INDEX unfinished_records ON records (noun, id) WHERE phase <> 'ready';
    CREATE TABLE names (
        noun TEXT NOT NULL,
        name TEXT NOT NULL,
        id   TEXT NOT NULL,
        PRIMARY KEY (noun, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX names_by_id ON names (noun, id);
    CREATE TABLE uses (
        user_noun   TEXT NOT NULL,
        user        TEXT NOT NULL,
        target_noun TEXT NOT NULL,
        target      TEXT NOT NULL,
        PRIMARY KEY (user_noun, user, target_noun, target)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX uses_by_target ON uses (target_noun, target);
",
    "
    CREATE TABLE claims (
        space  TEXT NOT NULL,
        key    TEXT NOT NULL,
        holder TEXT NOT NULL,
        PRIMARY KEY (space, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX claims_by_holder ON claims (holder);
",
];

/// Marks the file as ours (SQLite file format, "Application ID"): "Rhmb".
pub(super) const APPLICATION_ID: i32 = 0x5268_6d62;

/// The version that this program writes.
pub(super) const CURRENT: usize = MIGRATIONS.len();

/// Bytes that a new database reserves in its file and in its log, so that removing things works on a full disk.
const RESERVE_BYTES: usize = 1280 * 1024;

/// True when the schema is the current one, false when it must be made or migrated.
///
/// # Errors
/// `unsupported` for a later version; `corrupt` for somebody else's database.
pub(super) fn is_current(connection: &Connection) -> Result<rusqlite::Result<bool>> {
    let read = || -> rusqlite::Result<(i64, i32, bool)> {
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == CURRENT as i64 {
            return Ok((version, APPLICATION_ID, true));
        }
        let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((version, application, tables > 0))
    };
    let (version, application, filled) = match read() {
        Ok(facts) => facts,
        Err(error) => return Ok(Err(error)),
    };
    match version {
        version if version == CURRENT as i64 => Ok(Ok(true)),
        0 if !filled => Ok(Ok(false)),
        version if application != APPLICATION_ID => {
            Err(Error::corrupt(format!("the database is not ours: version {version}, application {application:#x}")))
        }
        version if version > CURRENT as i64 => {
            Err(Error::unsupported(format!("the database has version {version}, this program knows {CURRENT}"))
                .with_hint("use the version of rhumb that wrote it, or a later one"))
        }
        _ => Ok(Ok(false)),
    }
}

/// Brings the schema up to date. Call it under the store lock, outside a transaction.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        // Kept in the file: later connections find it so.
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for migration in &MIGRATIONS[usize::try_from(version).unwrap_or(0)..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", CURRENT as i64)?;
    transaction.commit()?;
    if version == 0 { reserve(connection) } else { Ok(()) }
}

/// Makes both files larger than they need to be: pages that were used once are free for later rows, and the log is
/// overwritten from its start after each checkpoint.
fn reserve(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "CREATE TABLE reserve (bytes BLOB);
         INSERT INTO reserve VALUES (zeroblob({RESERVE_BYTES}));
         DROP TABLE reserve;"
    ))?;
    connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
}
