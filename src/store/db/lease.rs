//! Leases as users in the database, and the question that a sweep asks. What a lease is: [`crate::store::lease`].

use rusqlite::params;

use super::{Noun, Tx};
use crate::base::Result;

/// The word for a lease in the column of users; no [`Noun`] has it.
const LEASE: &str = "lease";

impl Tx<'_> {
    /// Notes that a lease needs `target`; idempotent.
    pub(in crate::store) fn lease(&self, lease: &str, target: (Noun, &str)) -> Result<()> {
        self.add_use_by(LEASE, lease, target)
    }

    /// Forgets a lease.
    pub(in crate::store) fn end_lease(&self, lease: &str) -> Result<()> {
        self.execute("DELETE FROM uses WHERE user_noun = ?1 AND user = ?2", params![LEASE, lease])?;
        Ok(())
    }

    /// Every lease that uses something.
    pub(in crate::store) fn leases(&self) -> Result<Vec<String>> {
        self.many("SELECT DISTINCT user FROM uses WHERE user_noun = ?1", params![LEASE], |row| row.get(0))
    }

    /// Ids of records that neither a record nor a lease uses, oldest first.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn unused(&self, noun: Noun) -> Result<Vec<String>> {
        let sql = "SELECT id FROM records WHERE noun = ?1 AND NOT EXISTS
                   (SELECT 1 FROM uses WHERE target_noun = ?1 AND target = records.id) ORDER BY seq";
        self.many(sql, params![noun.as_str()], |row| row.get(0))
    }
}
