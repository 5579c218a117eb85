//! The database: records with names, phases and uses, atomic across processes. The one door to `rusqlite`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::Result;
use crate::store::Store;

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

/// The connection.
pub struct Db {}

/// A transaction: everything in it happens or nothing does.
pub struct Tx<'a> {
    _conn: &'a (),
}

impl Store {
    /// Runs `work` in a write transaction (`BEGIN IMMEDIATE`), committed when it returns `Ok`.
    ///
    /// # Errors
    /// What `work` gives; `timeout` when another process holds the database for longer than ten seconds; `no_space`.
    pub fn write<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let _ = work;
        todo!()
    }

    /// Runs `work` on one consistent snapshot; never waits for a writer.
    ///
    /// # Errors
    /// What `work` gives.
    pub fn read<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let _ = work;
        todo!()
    }
}

impl Tx<'_> {
    /// Adds a record. Errors: `already_exists` when the id is taken.
    pub fn insert(&self, noun: Noun, id: &str, phase: Phase, body: &impl Serialize) -> Result<()> {
        let _ = (noun, id, phase, body);
        todo!()
    }
    /// Replaces the body. Errors: `not_found`.
    pub fn update(&self, noun: Noun, id: &str, body: &impl Serialize) -> Result<()> {
        let _ = (noun, id, body);
        todo!()
    }
    /// Changes the phase. Errors: `not_found`.
    pub fn set_phase(&self, noun: Noun, id: &str, phase: Phase) -> Result<()> {
        let _ = (noun, id, phase);
        todo!()
    }
    /// Removes a record with its names and its uses of others; true when there was one.
    pub fn delete(&self, noun: Noun, id: &str) -> Result<bool> {
        let _ = (noun, id);
        todo!()
    }
    /// Gives `id` a further name. Errors: `already_exists` naming the holder's id when the name is taken by another.
    pub fn name(&self, noun: Noun, name: &str, id: &str) -> Result<()> {
        let _ = (noun, name, id);
        todo!()
    }
    /// Takes a name away; returns the id that had it.
    pub fn unname(&self, noun: Noun, name: &str) -> Result<Option<String>> {
        let _ = (noun, name);
        todo!()
    }
    /// The id with exactly this name.
    pub fn named(&self, noun: Noun, name: &str) -> Result<Option<String>> {
        let _ = (noun, name);
        todo!()
    }
    /// The id for what a user wrote: an exact name, a whole id, or a unique beginning of one. For digests the beginning
    /// may leave out `sha256:`. Errors: `not_found` (`no such container "x"`), `conflict` when several ids begin so.
    pub fn find(&self, noun: Noun, text: &str) -> Result<String> {
        let _ = (noun, text);
        todo!()
    }
    /// The record with this id. Errors: `corrupt` when its body cannot be read.
    pub fn get<T: DeserializeOwned>(&self, noun: Noun, id: &str) -> Result<Option<Row<T>>> {
        let _ = (noun, id);
        todo!()
    }
    /// All records of a kind, oldest first.
    pub fn list<T: DeserializeOwned>(&self, noun: Noun) -> Result<Vec<Row<T>>> {
        let _ = noun;
        todo!()
    }
    /// Ids of a kind that are not `Ready`.
    pub fn unfinished(&self, noun: Noun) -> Result<Vec<(String, Phase)>> {
        let _ = noun;
        todo!()
    }
    /// Notes that `user` needs `target`; idempotent.
    pub fn add_use(&self, user: (Noun, &str), target: (Noun, &str)) -> Result<()> {
        let _ = (user, target);
        todo!()
    }
    /// Forgets that `user` needs `target`; idempotent.
    pub fn drop_use(&self, user: (Noun, &str), target: (Noun, &str)) -> Result<()> {
        let _ = (user, target);
        todo!()
    }
    /// Who needs `target`.
    pub fn users(&self, target: (Noun, &str)) -> Result<Vec<(Noun, String)>> {
        let _ = target;
        todo!()
    }
    /// What `user` needs.
    pub fn uses(&self, user: (Noun, &str)) -> Result<Vec<(Noun, String)>> {
        let _ = user;
        todo!()
    }
}
