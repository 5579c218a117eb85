//! The ids of user namespaces: checking maps, giving them to a new namespace, reading those of one that is joined.
//!
//! A map goes to the kernel in one write, which must fit into one page (user_namespaces(7)): everything is checked before,
//! so that what is too large or contradicts itself has a clear error and nothing is half-done.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};

use oci_spec::runtime::LinuxIdMapping;

use crate::base::{Context as _, Error, Result};
use crate::sys::mount;
use crate::sys::process::{self, Groups};

/// The most ranges that the kernel takes (`UID_GID_MAP_MAX_EXTENTS`, Linux 4.15).
const MAX_RANGES: usize = 340;
/// The largest text that it takes: less than a page, and the smallest page is this.
const MAX_BYTES: usize = 4095;

/// A range of ids: the first inside, the first outside, how many.
pub(crate) type Range = (u32, u32, u32);

/// Both maps of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Maps {
    uids: Vec<Range>,
    gids: Vec<Range>,
}

impl Maps {
    /// Checks a specification's maps.
    ///
    /// # Errors
    /// `invalid_argument` for more than the kernel takes, and for ranges that are empty, too long or overlap.
    pub(crate) fn plan(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<Maps> {
        Ok(Maps { uids: check("uid", uids)?, gids: check("gid", gids)? })
    }

    /// Gives the new user namespace of our own child its ids.
    ///
    /// # Errors
    /// What the kernel says: `permission_denied` for ids that the runtime may not give away.
    pub(crate) fn write(&self, pid: i32) -> Result<()> {
        for (name, ranges) in [("uid_map", &self.uids), ("gid_map", &self.gids)] {
            if ranges.is_empty() {
                continue;
            }
            // Our own child, not taken in yet: the number cannot be another's.
            let path = format!("/proc/{pid}/{name}");
            File::options()
                .write(true)
                .open(&path)
                .and_then(|mut file| file.write_all(text(ranges).as_bytes()))
                .context(|| format!("writing the ids of the user namespace to {path:?}"))?;
        }
        Ok(())
    }

    /// Which host ids a user and a group of the container are.
    pub(crate) fn on_host(&self, uid: u32, gid: u32) -> (Option<u32>, Option<u32>) {
        (find(&self.uids, uid), find(&self.gids, gid))
    }

    /// Who to be while the container is set up: its root, or where it has none the user and group `otherwise`.
    ///
    /// # Errors
    /// `invalid_argument` when these are not mapped either: there would be nobody to run as.
    pub(crate) fn first(&self, otherwise: (u32, u32)) -> Result<(u32, u32)> {
        let pick = |kind: &str, ranges: &[Range], id: u32| match (find(ranges, 0), find(ranges, id)) {
            (Some(_), _) => Ok(0),
            (None, Some(_)) => Ok(id),
            (None, None) => Err(Error::invalid(format!("the {kind} {id} is not mapped in the user namespace"))),
        };
        Ok((pick("user", &self.uids, otherwise.0)?, pick("group", &self.gids, otherwise.1)?))
    }
}

/// Gives pipes, which the engine has made, to the root of a user namespace. Inside they could not change hands, since the
/// namespace does not know who made them, and not even its root could open `/dev/stdout` anew.
pub(crate) fn give_pipes(maps: &Maps, streams: &[Option<OwnedFd>; 3]) -> Result<()> {
    let (Some(uid), gid) = maps.on_host(0, 0) else { return Ok(()) };
    for stream in streams.iter().flatten() {
        if mount::is_pipe_or_terminal(stream).context(|| "looking at the streams")? {
            mount::give_to(stream, uid, gid).context(|| "giving the streams to the user namespace")?;
        }
    }
    Ok(())
}

/// How a process stands in the user namespace that it is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The namespace's ids.
    pub(crate) maps: Maps,
    /// Further groups cannot be set there (setgroups(2), "deny").
    pub(crate) groups_fixed: bool,
}

impl Standing {
    /// Of the process whose folder in a trusted process file system is `proc`.
    ///
    /// # Errors
    /// What open(2) and read(2) give; `corrupt` for what is no map.
    pub(crate) fn read(proc: BorrowedFd<'_>) -> Result<Standing> {
        let read = |name: &str| -> Result<String> {
            let doing = || format!("reading {name} of a user namespace");
            let mut text = String::new();
            mount::open_in_proc(proc, name, false).context(doing)?.read_to_string(&mut text).context(doing)?;
            Ok(text)
        };
        let maps = Maps { uids: parse(&read("uid_map")?)?, gids: parse(&read("gid_map")?)? };
        Ok(Standing { maps, groups_fixed: read("setgroups")?.trim() == "deny" })
    }

    /// Becomes somebody in the user namespace that this process has just joined or was born into: its root, or else
    /// `ids`. The rights over the namespace stay.
    ///
    /// # Errors
    /// `invalid_argument` when there is nobody to be; what setresuid(2) gives.
    pub(crate) fn enter(&self, ids: (u32, u32)) -> Result<()> {
        let (uid, gid) = self.maps.first(ids)?;
        let groups = if self.groups_fixed { Groups::Keep } else { Groups::Set(&[]) };
        process::become_user(uid, gid, groups, true).context(|| "becoming a user of the user namespace")
    }

    /// It has exactly these ids.
    pub(crate) fn is(&self, maps: &Maps) -> bool {
        let sorted = |ranges: &[Range]| {
            let mut ranges = ranges.to_vec();
            ranges.sort_unstable();
            ranges
        };
        sorted(&self.maps.uids) == sorted(&maps.uids) && sorted(&self.maps.gids) == sorted(&maps.gids)
    }
}

fn check(kind: &str, mappings: &[LinuxIdMapping]) -> Result<Vec<Range>> {
    if mappings.len() > MAX_RANGES {
        let count = mappings.len();
        return Err(Error::invalid(format!("{count} {kind} mappings are more than the {MAX_RANGES} of the kernel")));
    }
    let ranges: Vec<Range> = mappings.iter().map(|m| (m.container_id(), m.host_id(), m.size())).collect();
    for (inside, outside, size) in &ranges {
        let fits = |first: &u32| *size > 0 && first.checked_add(*size).is_some();
        if !fits(inside) || !fits(outside) {
            return Err(Error::invalid(format!("the {kind} mapping {inside} {outside} {size} is not a range of ids")));
        }
    }
    for (what, side) in [("inside", (|range| range.0) as fn(&Range) -> u32), ("outside", |range| range.1)] {
        let mut sides: Vec<(u32, u32)> = ranges.iter().map(|range| (side(range), range.2)).collect();
        sides.sort_unstable();
        if let Some(pair) = sides.windows(2).find(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
            return Err(Error::invalid(format!("two {kind} mappings have the id {} {what}", pair[1].0)));
        }
    }
    if text(&ranges).len() > MAX_BYTES {
        return Err(Error::invalid(format!(
            "the {} {kind} mappings are longer than the {MAX_BYTES} bytes that the kernel reads",
            ranges.len()
        )));
    }
    Ok(ranges)
}

fn text(ranges: &[Range]) -> String {
    ranges.iter().map(|(inside, outside, size)| format!("{inside} {outside} {size}\n")).collect()
}

fn parse(text: &str) -> Result<Vec<Range>> {
    let line = |line: &str| -> Option<Range> {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        let range = (numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(range)
    };
    let ranges: Option<Vec<Range>> = text.lines().map(line).collect();
    ranges.ok_or_else(|| Error::corrupt(format!("{text:?} is not a map of ids")))
}

fn find(ranges: &[Range], id: u32) -> Option<u32> {
    let range = ranges.iter().find(|(inside, _, size)| id >= *inside && id - inside < *size)?;
    Some(range.1 + (id - range.0))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::base::Kind;

    fn mappings(ranges: &[Range]) -> Vec<LinuxIdMapping> {
        let one = |(inside, outside, size): &Range| {
            serde_json::from_value(serde_json::json!({"containerID": inside, "hostID": outside, "size": size})).unwrap()
        };
        ranges.iter().map(one).collect()
    }

    #[test]
    fn maps_are_checked_before_the_kernel_sees_them() {
        let many = |count: u32| (0..count).map(|n| (n, n + 1000, 1)).collect::<Vec<Range>>();
        let plan = |ranges: &[Range]| Maps::plan(&mappings(ranges), &[]);
        plan(&many(300)).unwrap();
        plan(&[(0, 1000, 10), (10, 500, 500), (4_294_967_294, 1, 1)]).unwrap();
        let long = (0..340).map(|n| (n * 2 + 1_000_000_000, n * 2 + 1_000_000_000, 1)).collect::<Vec<Range>>();
        for ranges in [
            many(341),
            many(10_000),
            long,
            vec![(0, 0, 0)],
            vec![(0, u32::MAX, 2)],
            vec![(u32::MAX, 0, 1)],
            vec![(0, 0, u32::MAX), (5, 5, 1)],
            vec![(0, 1000, 10), (9, 2000, 1)],
            vec![(0, 1000, 10), (20, 1009, 5)],
        ] {
            assert_eq!(plan(&ranges).unwrap_err().kind(), Kind::InvalidArgument, "{:?}", ranges.first());
        }
    }

    #[test]
    fn whoever_is_mapped_is_who_to_be() {
        let maps = Maps::plan(&mappings(&[(5, 100, 10)]), &mappings(&[(0, 200, 1), (7, 300, 1)])).unwrap();
        assert_eq!(maps.first((7, 7)).unwrap(), (7, 0));
        assert_eq!(maps.on_host(7, 7), (Some(102), Some(300)));
        assert_eq!(maps.on_host(15, 1), (None, None));
        assert_eq!(maps.first((1, 0)).unwrap_err().kind(), Kind::InvalidArgument);
    }

    #[test]
    fn the_own_standing_is_read_from_proc() {
        let standing = Standing::read(File::open("/proc/self").unwrap().as_fd()).unwrap();
        assert_eq!(find(&standing.maps.uids, 0), Some(0));
        assert!(!standing.groups_fixed && standing.is(&standing.maps));
        for text in ["x", "1 2", "1 2 3 4", "-1 0 1", "0 0 4294967296"] {
            assert_eq!(parse(text).unwrap_err().kind(), Kind::Corrupt, "{text}");
        }
    }
}
