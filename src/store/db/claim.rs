//! Claims: what one holder alone can have, such as an address of a network or a port of the host. It does not know what
//! spaces, keys and holders mean.

use rusqlite::params;

use super::Tx;
use crate::base::{Error, Result};

/// A claim of somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// What kind of thing it is of.
    pub space: String,
    /// The thing.
    pub key: String,
    /// Who has it.
    pub holder: String,
}

impl Tx<'_> {
    /// Gives `holder` a thing that nobody has; idempotent.
    ///
    /// # Errors
    /// `already_exists` naming the holder's beginning when another has it.
    pub fn claim(&self, space: &str, key: &str, holder: &str) -> Result<()> {
        let sql = "INSERT INTO claims (space, key, holder) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        if self.execute(sql, params![space, key, holder])? > 0 {
            return Ok(());
        }
        match self.claims(space)?.into_iter().find(|claim| claim.key == key) {
            Some(claim) if claim.holder != holder => {
                let short = claim.holder.get(..12).unwrap_or(&claim.holder);
                Err(Error::already_exists(format!("{key} of {space} is taken by {short}")))
            }
            _ => Ok(()),
        }
    }

    /// Everything claimed of one kind.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn claims(&self, space: &str) -> Result<Vec<Claim>> {
        self.claims_where("space = ?1", space)
    }

    /// What a holder has.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn claims_of(&self, holder: &str) -> Result<Vec<Claim>> {
        self.claims_where("holder = ?1", holder)
    }

    /// Everybody who has something.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn claimants(&self) -> Result<Vec<String>> {
        self.many("SELECT DISTINCT holder FROM claims ORDER BY holder", [], |row| row.get(0))
    }

    /// Takes one thing back; true when the holder had it.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn unclaim(&self, space: &str, key: &str, holder: &str) -> Result<bool> {
        let sql = "DELETE FROM claims WHERE space = ?1 AND key = ?2 AND holder = ?3";
        Ok(self.execute(sql, params![space, key, holder])? > 0)
    }

    /// Takes everything back that a holder has.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn unclaim_all(&self, holder: &str) -> Result<()> {
        self.execute("DELETE FROM claims WHERE holder = ?1", params![holder]).map(drop)
    }

    fn claims_where(&self, condition: &str, value: &str) -> Result<Vec<Claim>> {
        let sql = format!("SELECT space, key, holder FROM claims WHERE {condition} ORDER BY space, key");
        self.many(&sql, params![value], |row| Ok(Claim { space: row.get(0)?, key: row.get(1)?, holder: row.get(2)? }))
    }
}
