//! Questions that an examination of the database asks.

use rusqlite::params;

use super::{Noun, Tx};
use crate::base::Result;

/// A use that points from or to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct DanglingUse {
    /// Noun and id of the user.
    pub(in crate::store) user: (String, String),
    /// Noun and id of what it uses.
    pub(in crate::store) target: (String, String),
    /// It is the user that has no record.
    pub(in crate::store) user_is_gone: bool,
}

impl Tx<'_> {
    /// What SQLite finds wrong with its own file; empty when it is sound.
    pub(in crate::store) fn integrity(&self) -> Result<Vec<String>> {
        let mut found: Vec<String> = self.many("PRAGMA quick_check(20)", [], |row| row.get(0))?;
        found.retain(|line| line != "ok");
        Ok(found)
    }

    /// Uses whose target or user has no record. Leases have none by nature.
    pub(in crate::store) fn dangling_uses(&self) -> Result<Vec<DanglingUse>> {
        let sql = "
            SELECT user_noun, user, target_noun, target, user_gone FROM (
                SELECT uses.*,
                    user_noun <> 'lease' AND NOT EXISTS
                        (SELECT 1 FROM records WHERE noun = user_noun AND id = user) AS user_gone,
                    NOT EXISTS (SELECT 1 FROM records WHERE noun = target_noun AND id = target) AS target_gone
                FROM uses)
            WHERE user_gone OR target_gone";
        self.many(sql, [], |row| {
            Ok(DanglingUse {
                user: (row.get(0)?, row.get(1)?),
                target: (row.get(2)?, row.get(3)?),
                user_is_gone: row.get(4)?,
            })
        })
    }

    /// Takes away every use by this user.
    pub(in crate::store) fn forget_user(&self, noun: &str, id: &str) -> Result<()> {
        self.execute("DELETE FROM uses WHERE user_noun = ?1 AND user = ?2", params![noun, id])?;
        Ok(())
    }

    /// Names that belong to no record.
    pub(in crate::store) fn dangling_names(&self, noun: Noun) -> Result<Vec<String>> {
        let sql = "SELECT name FROM names WHERE noun = ?1 AND NOT EXISTS
                   (SELECT 1 FROM records WHERE records.noun = ?1 AND records.id = names.id) ORDER BY name";
        self.many(sql, params![noun.as_str()], |row| row.get(0))
    }
}
