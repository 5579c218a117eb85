//! What can be done inside a transaction.

use rusqlite::{Connection, OptionalExtension as _, Params, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Db, Noun, Phase, Row};
use crate::base::{Error, Result, suggest};

/// The first part of every digest; a user may leave it out.
const DIGEST_PREFIX: &str = "sha256:";
/// How many matches an error about an ambiguous beginning shows.
const MATCHES_SHOWN: usize = 3;

/// A transaction: everything in it happens or nothing does.
pub struct Tx<'a> {
    connection: &'a Connection,
    db: &'a Db,
    writable: bool,
}

impl<'a> Tx<'a> {
    pub(super) fn new(connection: &'a Connection, db: &'a Db, writable: bool) -> Tx<'a> {
        Tx { connection, db, writable }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// `already_exists` when the id is taken.
    pub fn insert(&self, noun: Noun, id: &str, phase: Phase, body: &impl Serialize) -> Result<()> {
        let body = encode(noun, id, body)?;
        let sql = "INSERT INTO records (noun, id, phase, body) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        match self.execute(sql, params![noun.as_str(), id, phase.as_str(), body])? {
            0 => Err(Error::already_exists(format!("{noun} {id:?} exists already"))),
            _ => Ok(()),
        }
    }

    /// Replaces the body.
    ///
    /// # Errors
    /// `not_found`.
    pub fn update(&self, noun: Noun, id: &str, body: &impl Serialize) -> Result<()> {
        let body = encode(noun, id, body)?;
        let sql = "UPDATE records SET body = ?3 WHERE noun = ?1 AND id = ?2";
        self.must_change(noun, id, self.execute(sql, params![noun.as_str(), id, body])?)
    }

    /// Changes the phase.
    ///
    /// # Errors
    /// `not_found`.
    pub fn set_phase(&self, noun: Noun, id: &str, phase: Phase) -> Result<()> {
        let sql = "UPDATE records SET phase = ?3 WHERE noun = ?1 AND id = ?2";
        self.must_change(noun, id, self.execute(sql, params![noun.as_str(), id, phase.as_str()])?)
    }

    /// Removes a record with its names and its uses of others; true when there was one.
    ///
    /// # Errors
    /// `no_space` and other troubles of the database.
    pub fn delete(&self, noun: Noun, id: &str) -> Result<bool> {
        self.execute("DELETE FROM names WHERE noun = ?1 AND id = ?2", params![noun.as_str(), id])?;
        self.execute("DELETE FROM uses WHERE user_noun = ?1 AND user = ?2", params![noun.as_str(), id])?;
        let removed = self.execute("DELETE FROM records WHERE noun = ?1 AND id = ?2", params![noun.as_str(), id])?;
        Ok(removed > 0)
    }

    /// Gives `id` a further name; idempotent.
    ///
    /// # Errors
    /// `already_exists` naming the holder's id when the name is taken by another.
    pub fn name(&self, noun: Noun, name: &str, id: &str) -> Result<()> {
        let sql = "INSERT INTO names (noun, name, id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        if self.execute(sql, params![noun.as_str(), name, id])? > 0 {
            return Ok(());
        }
        match self.named(noun, name)? {
            Some(holder) if holder == id => Ok(()),
            holder => {
                let holder = holder.unwrap_or_default();
                let short = holder.strip_prefix(DIGEST_PREFIX).unwrap_or(&holder);
                let short = short.get(..12).unwrap_or(short);
                Err(Error::already_exists(format!("the {noun} name {name:?} is taken by {short}"))
                    .with_hint(format!("remove or rename that {noun}, or choose another name")))
            }
        }
    }

    /// Takes a name away; returns the id that had it.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn unname(&self, noun: Noun, name: &str) -> Result<Option<String>> {
        let holder = self.named(noun, name)?;
        if holder.is_some() {
            self.execute("DELETE FROM names WHERE noun = ?1 AND name = ?2", params![noun.as_str(), name])?;
        }
        Ok(holder)
    }

    /// The id with exactly this name.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn named(&self, noun: Noun, name: &str) -> Result<Option<String>> {
        let sql = "SELECT id FROM names WHERE noun = ?1 AND name = ?2";
        self.optional(sql, params![noun.as_str(), name], |row| row.get(0))
    }

    /// The id for what a user wrote: an exact name, a whole id, or a unique beginning of one. For digests the beginning
    /// may leave out `sha256:`.
    ///
    /// # Errors
    /// `not_found` (`no such container "x"`), `conflict` when several ids begin so.
    pub fn find(&self, noun: Noun, text: &str) -> Result<String> {
        if let Some(id) = self.named(noun, text)? {
            return Ok(id);
        }
        let digits = if noun.has_digests() { text.strip_prefix(DIGEST_PREFIX).unwrap_or(text) } else { text };
        let mut matches = Vec::new();
        if !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            let first = if noun.has_digests() { format!("{DIGEST_PREFIX}{digits}") } else { digits.to_owned() };
            // Ids are hexadecimal, so every id that begins with `first` sorts before `first` followed by a "g".
            let sql = "SELECT id FROM records WHERE noun = ?1 AND id >= ?2 AND id < ?2 || 'g' ORDER BY id LIMIT ?3";
            let limit = MATCHES_SHOWN as i64 + 1;
            matches = self.many(sql, params![noun.as_str(), first, limit], |row| row.get::<_, String>(0))?;
        }
        match matches.len() {
            1 => Ok(matches.remove(0)),
            0 => self.not_found(noun, text),
            count => {
                let shown: Vec<&str> = matches.iter().take(MATCHES_SHOWN).map(|id| short(id)).collect();
                let more = if count > MATCHES_SHOWN { ", …" } else { "" };
                Err(Error::conflict(format!("several {noun} ids begin with {text:?}: {}{more}", shown.join(", ")))
                    .with_hint("write more of the id"))
            }
        }
    }

    /// The record with this id.
    ///
    /// # Errors
    /// `corrupt` when its body cannot be read.
    pub fn get<T: DeserializeOwned>(&self, noun: Noun, id: &str) -> Result<Option<Row<T>>> {
        let sql = "SELECT phase, body FROM records WHERE noun = ?1 AND id = ?2";
        let found = self.optional(sql, params![noun.as_str(), id], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        let Some((phase, body)) = found else { return Ok(None) };
        let names = self.names(noun, id)?;
        decode(noun, id.to_owned(), names, &phase, &body).map(Some)
    }

    /// The body of the record with this id.
    ///
    /// # Errors
    /// `corrupt` when it cannot be read.
    pub fn body<T: DeserializeOwned>(&self, noun: Noun, id: &str) -> Result<Option<T>> {
        let sql = "SELECT body FROM records WHERE noun = ?1 AND id = ?2";
        let found = self.optional(sql, params![noun.as_str(), id], |row| row.get::<_, String>(0))?;
        found.map(|body| decode_body(noun, id, &body)).transpose()
    }

    /// The names of a record.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn names(&self, noun: Noun, id: &str) -> Result<Vec<String>> {
        let sql = "SELECT name FROM names WHERE noun = ?1 AND id = ?2 ORDER BY name";
        self.many(sql, params![noun.as_str(), id], |row| row.get(0))
    }

    /// All records of a kind, oldest first.
    ///
    /// # Errors
    /// `corrupt` when a body cannot be read; [`Tx::ids`] works nevertheless.
    pub fn list<T: DeserializeOwned>(&self, noun: Noun) -> Result<Vec<Row<T>>> {
        let mut names = std::collections::HashMap::<String, Vec<String>>::new();
        let sql = "SELECT id, name FROM names WHERE noun = ?1 ORDER BY name";
        for (id, name) in self.many(sql, params![noun.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))? {
            names.entry(id).or_default().push(name);
        }
        let sql = "SELECT id, phase, body FROM records WHERE noun = ?1 ORDER BY seq";
        let rows = self.many(sql, params![noun.as_str()], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })?;
        rows.into_iter()
            .map(|(id, phase, body)| {
                let names = names.remove(&id).unwrap_or_default();
                decode(noun, id, names, &phase, &body)
            })
            .collect()
    }

    /// The ids of a kind, oldest first, whatever their bodies hold.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn ids(&self, noun: Noun) -> Result<Vec<String>> {
        self.many("SELECT id FROM records WHERE noun = ?1 ORDER BY seq", params![noun.as_str()], |row| row.get(0))
    }

    /// How many records of a kind there are, in whatever phase.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn count(&self, noun: Noun) -> Result<u64> {
        let sql = "SELECT count(*) FROM records WHERE noun = ?1";
        let count: Option<i64> = self.optional(sql, params![noun.as_str()], |row| row.get(0))?;
        Ok(count.unwrap_or(0).unsigned_abs())
    }

    /// Whether there is such a record and in which phase, without reading its body.
    ///
    /// # Errors
    /// `corrupt` for an unknown phase.
    pub fn phase(&self, noun: Noun, id: &str) -> Result<Option<Phase>> {
        let sql = "SELECT phase FROM records WHERE noun = ?1 AND id = ?2";
        let phase: Option<String> = self.optional(sql, params![noun.as_str(), id], |row| row.get(0))?;
        phase.map(|phase| read_phase(noun, id, &phase)).transpose()
    }

    /// Ids of a kind that are not `Ready`.
    ///
    /// # Errors
    /// `corrupt` for an unknown phase.
    pub fn unfinished(&self, noun: Noun) -> Result<Vec<(String, Phase)>> {
        let sql = "SELECT id, phase FROM records WHERE noun = ?1 AND phase <> 'ready' ORDER BY seq";
        let rows = self.many(sql, params![noun.as_str()], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        rows.into_iter()
            .map(|(id, phase): (String, String)| {
                let phase = read_phase(noun, &id, &phase)?;
                Ok((id, phase))
            })
            .collect()
    }

    /// Notes that `user` needs `target`; idempotent.
    ///
    /// # Errors
    /// `not_found` when there is no such target, or it is being removed.
    pub fn add_use(&self, user: (Noun, &str), target: (Noun, &str)) -> Result<()> {
        self.add_use_by(user.0.as_str(), user.1, target)
    }

    /// Forgets that `user` needs `target`; idempotent.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn drop_use(&self, user: (Noun, &str), target: (Noun, &str)) -> Result<()> {
        let sql = "DELETE FROM uses WHERE user_noun = ?1 AND user = ?2 AND target_noun = ?3 AND target = ?4";
        self.execute(sql, params![user.0.as_str(), user.1, target.0.as_str(), target.1])?;
        Ok(())
    }

    /// Who needs `target`.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn users(&self, target: (Noun, &str)) -> Result<Vec<(Noun, String)>> {
        let sql = "SELECT user_noun, user FROM uses WHERE target_noun = ?1 AND target = ?2 ORDER BY 1, 2";
        self.related(sql, target)
    }

    /// What `user` needs.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn uses(&self, user: (Noun, &str)) -> Result<Vec<(Noun, String)>> {
        let sql = "SELECT target_noun, target FROM uses WHERE user_noun = ?1 AND user = ?2 ORDER BY 1, 2";
        self.related(sql, user)
    }

    pub(super) fn add_use_by(&self, user_noun: &str, user: &str, target: (Noun, &str)) -> Result<()> {
        // What is being taken away has no future for a user either.
        if matches!(self.phase(target.0, target.1)?, None | Some(Phase::Removing)) {
            return self.not_found(target.0, target.1);
        }
        let sql = "INSERT INTO uses VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        self.execute(sql, params![user_noun, user, target.0.as_str(), target.1])?;
        Ok(())
    }

    /// Runs a query that gives rows of (noun, id); users that are no records (leases) are left out.
    fn related(&self, sql: &str, of: (Noun, &str)) -> Result<Vec<(Noun, String)>> {
        let rows = self.many(sql, params![of.0.as_str(), of.1], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
        Ok(rows.into_iter().filter_map(|(noun, id)| Some((Noun::from_name(&noun)?, id))).collect())
    }

    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        if !self.writable {
            return Err(Error::failed("a read transaction cannot write"));
        }
        let run = || self.connection.prepare_cached(sql)?.execute(params);
        run().map_err(|error| self.db.error(error))
    }

    pub(super) fn many<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let run =
            || self.connection.prepare_cached(sql)?.query_map(params, read)?.collect::<rusqlite::Result<Vec<T>>>();
        run().map_err(|error| self.db.error(error))
    }

    fn optional<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let run = || self.connection.prepare_cached(sql)?.query_row(params, read).optional();
        run().map_err(|error| self.db.error(error))
    }

    fn must_change(&self, noun: Noun, id: &str, changed: usize) -> Result<()> {
        if changed == 0 { self.not_found(noun, id) } else { Ok(()) }
    }

    fn not_found<T>(&self, noun: Noun, text: &str) -> Result<T> {
        let error = Error::not_found(format!("no such {noun} {text:?}"));
        let names: Vec<String> =
            self.many("SELECT name FROM names WHERE noun = ?1", params![noun.as_str()], |row| row.get(0))?;
        Err(match suggest::hint(text, names.iter().map(String::as_str)) {
            Some(hint) => error.with_hint(hint),
            None => error,
        })
    }
}

fn short(id: &str) -> &str {
    let digits = id.strip_prefix(DIGEST_PREFIX).unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

fn encode(noun: Noun, id: &str, body: &impl Serialize) -> Result<String> {
    serde_json::to_string(body)
        .map_err(|error| Error::failed(format!("writing the record of {noun} {id:?}")).with_source(error))
}

fn decode<T: DeserializeOwned>(noun: Noun, id: String, names: Vec<String>, phase: &str, body: &str) -> Result<Row<T>> {
    let phase = read_phase(noun, &id, phase)?;
    let body = decode_body(noun, &id, body)?;
    Ok(Row { id, names, phase, body })
}

fn decode_body<T: DeserializeOwned>(noun: Noun, id: &str, body: &str) -> Result<T> {
    serde_json::from_str(body)
        .map_err(|error| Error::corrupt(format!("the record of {noun} {id:?} cannot be read")).with_source(error))
}

fn read_phase(noun: Noun, id: &str, phase: &str) -> Result<Phase> {
    Phase::from_name(phase)
        .ok_or_else(|| Error::corrupt(format!("the record of {noun} {id:?} has the unknown phase {phase:?}")))
}
