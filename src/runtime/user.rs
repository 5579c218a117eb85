//! Who a process in a container runs as: the container's own `/etc/passwd` and `/etc/group`, read from inside its root.
//!
//! No name service of the host is asked and no code of the container is run (CVE-2019-14271). Files are read only when
//! they are regular and small (CVE-2024-9676). Numbers come first and must fit; an unknown name is an error, never root
//! (CVE-2016-3697, CVE-2024-40635). Further groups are those of the container's group file (CVE-2022-36109).

use std::io::{ErrorKind, Read as _};
use std::os::fd::BorrowedFd;
use std::path::Path;

use oci_spec::runtime::User as SpecUser;

use crate::base::{Error, Result};
use crate::sys::mount;

/// The largest passwd or group file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The largest id; the next one means "no change" to the kernel.
const MAX_ID: u32 = u32::MAX - 1;

/// A resolved user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    /// The user's number.
    pub(crate) uid: u32,
    /// The primary group's number.
    pub(crate) gid: u32,
    /// Further groups' numbers, with the primary one's.
    pub(crate) groups: Vec<u32>,
    /// The home folder.
    pub(crate) home: String,
}

/// Resolves `user[:group]` and further groups in the root file system `root`.
pub(crate) fn resolve(root: BorrowedFd<'_>, user: &str, group_add: &[String]) -> Result<User> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    resolve_in(&passwd, &group, user, group_add)
}

/// The user of a specification, whose numbers say all; the home folder is looked up unless it is known.
pub(crate) fn numbers(root: BorrowedFd<'_>, user: &SpecUser, has_home: bool) -> Result<User> {
    let range = user.additional_gids().iter().flatten().chain([&user.uid(), &user.gid()]).copied().max();
    if range.is_some_and(|id| id > MAX_ID) {
        return Err(Error::invalid(format!("a user or group is out of range, which is 0 to {MAX_ID}")));
    }
    let home = if has_home {
        String::new()
    } else {
        // An odd file is nobody's business here: the numbers need no file.
        let passwd = read(root, "/etc/passwd").unwrap_or_default();
        let entry = passwd.lines().filter_map(PasswdEntry::parse).find(|entry| entry.uid == user.uid());
        entry.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned()
    };
    let groups = user.additional_gids().clone().unwrap_or_default();
    Ok(User { uid: user.uid(), gid: user.gid(), groups, home })
}

fn resolve_in(passwd: &str, group: &str, user: &str, group_add: &[String]) -> Result<User> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = number(name)?;
    let entry = passwd.lines().filter_map(PasswdEntry::parse).find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None => entry.name == name,
    });
    let uid = match (number, &entry) {
        (Some(uid), _) => uid,
        (None, Some(entry)) => entry.uid,
        (None, None) => {
            return Err(Error::not_found(format!("no user {name:?} in the container's /etc/passwd"))
                .with_hint("use a number, or an image that has the user"));
        }
    };
    let mut groups = Vec::new();
    let gid = match group_name {
        Some(group_name) => find_group(group, group_name)?,
        None => {
            if let Some(entry) = &entry {
                let members = group.lines().filter_map(GroupEntry::parse);
                groups.extend(members.filter(|group| group.has(entry.name)).map(|group| group.gid));
            }
            entry.as_ref().map_or(0, |entry| entry.gid)
        }
    };
    for name in group_add {
        groups.push(find_group(group, name)?);
    }
    // Among the further ones as well: a program that drops its primary group must not slip past a file that denies it to
    // that group.
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    let home = entry.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    Ok(User { uid, gid, groups, home })
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl PasswdEntry<'_> {
    fn parse(line: &str) -> Option<PasswdEntry<'_>> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
        Some(PasswdEntry { name, uid: id(uid)?, gid: id(gid)?, home })
    }
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl GroupEntry<'_> {
    fn parse(line: &str) -> Option<GroupEntry<'_>> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members, ..] = fields.as_slice() else { return None };
        Some(GroupEntry { name, gid: id(gid)?, members })
    }

    fn has(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member.trim() == user)
    }
}

fn find_group(file: &str, name: &str) -> Result<u32> {
    if let Some(gid) = number(name)? {
        return Ok(gid);
    }
    let found = file.lines().filter_map(GroupEntry::parse).find(|group| group.name == name);
    found.map(|group| group.gid).ok_or_else(|| {
        Error::not_found(format!("no group {name:?} in the container's /etc/group"))
            .with_hint("use a number, or an image that has the group")
    })
}

fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

/// The number that `text` is, if it is one; a number that does not fit is an error and not a name.
fn number(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match id(text) {
        Some(id) if text == digits => Ok(Some(id)),
        _ => Err(Error::invalid(format!("{text} is not a user or group: the range is 0 to {MAX_ID}"))),
    }
}

/// A small regular file of the container as text; nothing when it is missing.
fn read(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    let refuse = |why: &str| Error::invalid(format!("the container's {path} {why}"));
    let file = match mount::open_regular(root, Path::new(path)) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(error) if error.kind() == ErrorKind::InvalidInput => return Err(refuse("is not a regular file")),
        Err(error) => return Err(Error::from(error).context(format!("opening the container's {path}"))),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::from(error).context(format!("reading the container's {path}")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(refuse("is larger than 1 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# a remark\nbroken\nwww:x:33:34::/var/www:/bin/false\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nadm:x:4:www,other\ndocker:x:99:www\n";

    #[test]
    fn names_and_numbers_find_groups_and_home() {
        let user = resolve_in(PASSWD, GROUP, "www", &[]).unwrap();
        assert_eq!(user, User { uid: 33, gid: 34, groups: vec![4, 34, 99], home: "/var/www".into() });
        assert_eq!(resolve_in(PASSWD, GROUP, "33", &[]).unwrap(), user);
        let user = resolve_in(PASSWD, GROUP, "www:adm", &["docker".into(), "7".into()]).unwrap();
        assert_eq!((user.gid, user.groups), (4, vec![4, 7, 99]));
        let user = resolve_in(PASSWD, GROUP, "1234", &[]).unwrap();
        assert_eq!((user.uid, user.gid, user.home.as_str()), (1234, 0, "/"));
        assert_eq!(resolve_in("", "", "", &[]).unwrap().uid, 0);
    }

    #[test]
    fn what_is_not_there_is_never_root() {
        for (user, kind) in [
            ("nobody", Kind::NotFound),
            ("www:nogroup", Kind::NotFound),
            ("4294967295", Kind::InvalidArgument),
            ("4294967296", Kind::InvalidArgument),
            ("99999999999999999999", Kind::InvalidArgument),
            ("-1", Kind::InvalidArgument),
            ("+0", Kind::InvalidArgument),
            ("0:-1", Kind::InvalidArgument),
            (" 0", Kind::NotFound),
        ] {
            assert_eq!(resolve_in(PASSWD, GROUP, user, &[]).unwrap_err().kind(), kind, "{user:?}");
        }
    }
}
