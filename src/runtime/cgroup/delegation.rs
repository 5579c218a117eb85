//! Whose cgroup it is: a container that can reach its own may be given it (config-linux.md, "Cgroup ownership").
//!
//! Version 2 only: on version 1 the owner of a folder could lift limits.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::chown;
use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use super::Cgroup;
use crate::base::{Context as _, Result};

/// What the owner of a cgroup may write, for kernels that do not say.
const FILES: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// The host's number of the user that is to have the container's cgroup: that of its process, if it has a cgroup
/// namespace of its own and a view of its cgroup that can be written.
pub(crate) fn owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let is_new = |kind| {
        let namespaces = linux.namespaces().iter().flatten();
        namespaces.into_iter().any(|one| one.typ() == kind && one.path().is_none())
    };
    let writable = |mount: &Mount| {
        let of_cgroups = |text: Option<&str>| matches!(text, Some("cgroup" | "cgroup2"));
        let source = mount.source().as_ref().and_then(|source| source.to_str());
        mount.destination() == Path::new("/sys/fs/cgroup")
            && (of_cgroups(source) || of_cgroups(mount.typ().as_deref()))
            && !mount.options().iter().flatten().any(|option| option == "ro")
    };
    if !is_new(LinuxNamespaceType::Cgroup) || !spec.mounts().iter().flatten().any(writable) {
        return None;
    }
    let uid = spec.process().as_ref().map_or(0, |process| process.user().uid());
    if !is_new(LinuxNamespaceType::User) {
        return Some(uid);
    }
    linux.uid_mappings().iter().flatten().find_map(|map| {
        let offset = uid.checked_sub(map.container_id()).filter(|offset| *offset < map.size())?;
        map.host_id().checked_add(offset)
    })
}

impl Cgroup {
    /// Gives the cgroup to a user of the host, so that he can make cgroups of his own below it. On version 1 nothing is
    /// done.
    pub(crate) fn delegate(&self, uid: u32) -> Result<()> {
        if !self.is_v2() {
            return Ok(());
        }
        let dir = self.folder("");
        let doing = || format!("giving the cgroup {dir:?} to user {uid}");
        let listed = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_else(|_| FILES.to_owned());
        chown(&dir, Some(uid), None).context(doing)?;
        for file in listed.lines().filter(|file| !file.is_empty() && !file.contains('/')) {
            match chown(dir.join(file), Some(uid), None) {
                // Not every cgroup has every file.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result.context(doing)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn owner_of(namespaces: Value, options: Value) -> Option<u32> {
        let spec = json!({
            "ociVersion": "1.2.0",
            "process": {"cwd": "/", "user": {"uid": 7, "gid": 0}},
            "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}],
            "linux": {"namespaces": namespaces, "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 8}]},
        });
        owner(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn only_who_can_write_his_own_cgroup_gets_it() {
        let new = json!([{"type": "cgroup"}, {"type": "user"}]);
        assert_eq!(owner_of(new.clone(), json!(["rw"])), Some(1007));
        assert_eq!(owner_of(new, json!(["nosuid", "ro"])), None);
        assert_eq!(owner_of(json!([{"type": "cgroup"}]), json!([])), Some(7));
        assert_eq!(owner_of(json!([{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]), json!([])), None);
        assert_eq!(owner_of(json!([{"type": "user"}]), json!([])), None);
    }
}
