//! Ranges of the host's ids for user namespaces: which ones there are, and who has them.
//!
//! ```text
//! /etc/subuid, /etc/subgid      the ranges of the user "rhumb", else of "containers" (the name that Podman uses), else
//! 2147483648 to 4294901759      where no distribution gives ids to users
//! ```
//!
//! A range is a field of the container's record, set in the transaction that makes the record and gone with it. So two
//! commands never get the same ids, a killed one leaves none behind, and a container has the same ids at every start.
//! What other engines on this machine give out from the same files is not known here.

use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use serde::Deserialize;

use crate::base::{Context as _, Error, Id, Result};
use crate::engine::Engine;
use crate::model::container::{ContainerOptions, ContainerRecord, DEFAULT_ID_COUNT, IdRange, UsernsMode};
use crate::store::db::{Noun, Tx};
use crate::sys::mount;

/// Where ranges come from when the machine has no word of its own.
const DEFAULT_POOL: Pool = Pool { first: 1 << 31, count: (1 << 31) - DEFAULT_ID_COUNT };
/// Whose ranges are taken, the first that has any.
const USERS: [&str; 2] = ["rhumb", "containers"];
/// The most that an image can ask for by its own files; ids above it are nobody's in the container.
const MAX_AUTOMATIC: u32 = 1 << 20;
/// The largest passwd or group file of an image that is read, in bytes (CVE-2024-9676).
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A run of the host's ids that may be given to containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pool {
    first: u32,
    count: u32,
}

/// What a container with an automatic user namespace wants.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    size: u32,
    uids: Vec<Pool>,
    gids: Vec<Pool>,
    /// Where to begin to look in the default pool: state roots on one machine know nothing of each other.
    start: u32,
}

impl Engine {
    /// What to lease for a container that is about to be made; none unless its user namespace is automatic.
    pub(super) fn id_wish(&self, record: &ContainerRecord) -> Result<Option<Wish>> {
        let UsernsMode::Auto { size } = record.options.userns_mode else { return Ok(None) };
        let size = match size {
            Some(size) => size,
            None => self.fitting_size(record)?,
        };
        let root_id = u32::from_str_radix(&self.paths().root_id(), 16).unwrap_or(0);
        Ok(Some(Wish {
            size,
            uids: pools("/etc/subuid")?,
            gids: pools("/etc/subgid")?,
            start: root_id % (DEFAULT_POOL.count / DEFAULT_ID_COUNT) * DEFAULT_ID_COUNT,
        }))
    }

    /// So many ids that every user and group of the image has one, and what programs expect at least.
    fn fitting_size(&self, record: &ContainerRecord) -> Result<u32> {
        let doing = || "looking for the users of the image";
        let root = super::content::view(&self.lower_dirs(&record.layers)).context(doing)?;
        let mut highest = 0;
        for (path, fields) in [("etc/passwd", 2..4), ("etc/group", 2..3)] {
            let text = small_file(root.as_fd(), Path::new(path)).context(doing)?;
            for line in text.lines() {
                let numbers = line.split(':').skip(fields.start).take(fields.len());
                highest = numbers.filter_map(|number| number.parse().ok()).fold(highest, u32::max);
            }
        }
        let named = record.user.split(':').chain(record.options.group_add.iter().map(String::as_str));
        highest = named.filter_map(|name| name.parse().ok()).fold(highest, u32::max);
        Ok(highest.saturating_add(1).clamp(DEFAULT_ID_COUNT, MAX_AUTOMATIC))
    }
}

/// The record as it will be but for which ids it gets, to check everything else before it is made.
pub(super) fn as_if_leased(record: &ContainerRecord, wish: &Option<Wish>) -> ContainerRecord {
    let range = wish.as_ref().map(|wish| IdRange { uid_base: 0, gid_base: 0, size: wish.size });
    ContainerRecord { id_range: range, ..record.clone() }
}

/// The part of a container's record that tells of ids.
#[derive(Deserialize)]
struct Holder {
    id: Id,
    options: ContainerOptions,
    #[serde(default)]
    id_range: Option<IdRange>,
}

/// Ids that nobody else has, for a record that is made in the same transaction.
///
/// # Errors
/// `no_space` when all are given away; `conflict` when the ones that were asked for are another container's own.
pub(super) fn lease(tx: &Tx<'_>, record: &ContainerRecord, wish: &Option<Wish>) -> Result<Option<IdRange>> {
    let asked = match record.options.userns_mode {
        UsernsMode::Host => return Ok(None),
        UsernsMode::Mapped { base, size } => Some(IdRange { uid_base: base, gid_base: base, size }),
        UsernsMode::Auto { .. } => None,
    };
    let holders = tx.list::<Holder>(Noun::Container)?.into_iter().map(|row| row.body);
    let holders: Vec<(Holder, IdRange)> =
        holders.filter_map(|holder| range_of(&holder).map(|range| (holder, range))).collect();
    if let Some(asked) = asked {
        // Two that were given the same numbers on purpose may share them; an automatic one was promised its own.
        let automatic =
            |(holder, _): &&(Holder, IdRange)| matches!(holder.options.userns_mode, UsernsMode::Auto { .. });
        let in_the_way = |(_, range): &&(Holder, IdRange)| {
            overlap((asked.uid_base, asked.size), (range.uid_base, range.size))
                || overlap((asked.gid_base, asked.size), (range.gid_base, range.size))
        };
        return match holders.iter().filter(automatic).find(in_the_way) {
            Some((holder, _)) => Err(Error::conflict(format!(
                "the ids {} to {} belong to the container {} in part",
                asked.uid_base,
                asked.uid_base.saturating_add(asked.size) - 1,
                holder.id.short()
            ))
            .with_hint("choose other ids, or write auto")),
            None => Ok(Some(asked)),
        };
    }
    let wish = wish.as_ref().ok_or_else(|| Error::failed("nobody said how many ids the container wants"))?;
    let uids: Vec<(u32, u32)> = holders.iter().map(|(_, range)| (range.uid_base, range.size)).collect();
    let gids: Vec<(u32, u32)> = holders.iter().map(|(_, range)| (range.gid_base, range.size)).collect();
    let free = |what: &str, pools: &[Pool], taken: &[(u32, u32)]| {
        find_free(pools, taken, wish.size, wish.start).ok_or_else(|| {
            Error::no_space(format!("no {} {what} ids in a row are left for a user namespace", wish.size))
                .with_hint("remove containers that have ids, ask for fewer with auto:size=N, or add a range")
        })
    };
    Ok(Some(IdRange {
        uid_base: free("user", &wish.uids, &uids)?,
        gid_base: free("group", &wish.gids, &gids)?,
        size: wish.size,
    }))
}

fn range_of(holder: &Holder) -> Option<IdRange> {
    holder.id_range.or(match holder.options.userns_mode {
        UsernsMode::Mapped { base, size } => Some(IdRange { uid_base: base, gid_base: base, size }),
        _ => None,
    })
}

/// Whether two runs, each a first id and a count, have an id in common.
fn overlap(a: (u32, u32), b: (u32, u32)) -> bool {
    let end = |run: (u32, u32)| u64::from(run.0) + u64::from(run.1);
    u64::from(a.0) < end(b) && u64::from(b.0) < end(a)
}

/// The first of `size` free ids in a row. In the default pool the search begins at `start` and comes around.
fn find_free(pools: &[Pool], taken: &[(u32, u32)], size: u32, start: u32) -> Option<u32> {
    for pool in pools {
        let start = if *pool == DEFAULT_POOL { pool.first.saturating_add(start) } else { pool.first };
        let end = u64::from(pool.first) + u64::from(pool.count);
        let mut ends: Vec<u32> = taken
            .iter()
            .filter_map(|(first, count)| first.checked_add(*count))
            .filter(|id| *id >= pool.first && u64::from(*id) < end)
            .collect();
        ends.sort_unstable();
        let (before, after): (Vec<u32>, Vec<u32>) = ends.into_iter().partition(|id| *id < start);
        let mut candidates = std::iter::once(start).chain(after).chain([pool.first]).chain(before);
        let free = candidates.find(|first| {
            u64::from(*first) + u64::from(size) <= end && !taken.iter().any(|run| overlap((*first, size), *run))
        });
        if free.is_some() {
            return free;
        }
    }
    None
}

/// The ranges of a file of the form of subuid(5).
fn pools(path: &str) -> Result<Vec<Pool>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(pools_in(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(vec![DEFAULT_POOL]),
        Err(error) => Err(Error::from(error).context(format!("reading {path:?}"))),
    }
}

fn pools_in(text: &str) -> Vec<Pool> {
    for user in USERS {
        let ranges: Vec<Pool> = text
            .lines()
            .filter_map(|line| {
                let mut fields = line.trim().split(':');
                let (name, first, count) = (fields.next()?, fields.next()?, fields.next()?);
                let (first, count): (u32, u32) = (first.parse().ok()?, count.parse().ok()?);
                // The last id means "none" to the kernel, and root's own must never be anybody's.
                let usable = name == user && first > 0 && count > 0 && first.checked_add(count).is_some();
                usable.then_some(Pool { first, count })
            })
            .collect();
        if !ranges.is_empty() {
            return ranges;
        }
    }
    vec![DEFAULT_POOL]
}

/// A small regular file of an image; nothing when it is missing or something else, which whoever starts the container says.
fn small_file(root: BorrowedFd<'_>, path: &Path) -> Result<String> {
    let file = match mount::open_regular(root, path) {
        Ok(file) => file,
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidInput) =>
        {
            return Ok(String::new());
        }
        Err(error) => return Err(Error::from(error).context(format!("opening the image's {path:?}"))),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).context(|| format!("reading the image's {path:?}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_come_from_the_engines_user_then_from_podmans_then_from_high_above() {
        let pool = |first, count| Pool { first, count };
        let text = "root:100000:65536\ncontainers:200000:1000\nrhumb:300000:10\n# rhumb:1:1\nrhumb:400000:20\n";
        assert_eq!(pools_in(text), [pool(300_000, 10), pool(400_000, 20)]);
        assert_eq!(pools_in("containers:200000:1000\n"), [pool(200_000, 1000)]);
        for text in ["", "root:1:1\n", "rhumb:x:1\n", "rhumb:0:5\n", "rhumb:4294967295:2\n", "rhumb:5:0\n", "rhumb:5"] {
            assert_eq!(pools_in(text), [DEFAULT_POOL], "{text:?}");
        }
    }

    #[test]
    fn free_ids_are_found_between_those_that_are_taken() {
        let pools = [Pool { first: 100, count: 20 }, Pool { first: 200, count: 50 }];
        assert_eq!(find_free(&pools, &[], 10, 7), Some(100));
        assert_eq!(find_free(&pools, &[(100, 10)], 10, 0), Some(110));
        assert_eq!(find_free(&pools, &[(100, 10)], 11, 0), Some(200));
        assert_eq!(find_free(&pools, &[(105, 5), (200, 10), (220, 10)], 5, 0), Some(100));
        assert_eq!(find_free(&pools, &[(105, 5), (200, 10), (220, 10)], 12, 0), Some(230));
        assert_eq!(find_free(&pools, &[(0, u32::MAX)], 1, 0), None);
        assert_eq!(find_free(&pools, &[], 51, 0), None);
    }

    #[test]
    fn the_search_in_the_default_pool_comes_around() {
        let start = DEFAULT_POOL.count - DEFAULT_ID_COUNT;
        let last = DEFAULT_POOL.first + start;
        assert_eq!(find_free(&[DEFAULT_POOL], &[], DEFAULT_ID_COUNT, start), Some(last));
        assert_eq!(find_free(&[DEFAULT_POOL], &[(last, 5)], DEFAULT_ID_COUNT, start), Some(DEFAULT_POOL.first));
        assert!(u64::from(DEFAULT_POOL.first) + u64::from(DEFAULT_POOL.count) < u64::from(u32::MAX));
    }

    #[test]
    fn runs_that_touch_do_not_overlap() {
        assert!(!overlap((0, 10), (10, 10)) && !overlap((10, 10), (0, 10)));
        assert!(overlap((0, 11), (10, 10)) && overlap((12, 1), (10, 10)) && !overlap((u32::MAX, 1), (0, u32::MAX)));
    }
}
