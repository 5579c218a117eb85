//! Devices by the names that their vendors give them, `vendor.com/class=name`: files say what a container with such a device
//! gets (Container Device Interface, version 1.0).
//!
//! ```text
//! /etc/cdi, then /var/run/cdi     *.json, *.yaml     a device of the second folder hides one of the first
//!   kind vendor.com/class ── containerEdits          for whoever has one of its devices
//!                         └─ devices ── name, containerEdits
//! ```
//!
//! The files belong to this machine's administrator, and are trusted as its programs are: they may name hooks. One that
//! cannot be read is no reason to refuse a device of another.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::{Context as _, Error, Kind, Result, suggest};
use crate::engine::container::host::{HostDevice, node};
use crate::sys::path::EntryKind;

/// Where the files are; those of a later folder win.
const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// The most files that are looked at, and the most bytes of one.
const MOST_FILES: usize = 1000;
const MOST_BYTES: u64 = 16 << 20;
/// The moments that a hook may name.
const MOMENTS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// What the devices change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Variables, `name=value`.
    pub env: Vec<String>,
    /// Nodes.
    pub devices: Vec<HostDevice>,
    /// Mounts, as the OCI specification has them.
    pub mounts: Vec<Value>,
    /// Hooks, by their moments.
    pub hooks: BTreeMap<String, Vec<Value>>,
    /// Further groups.
    pub groups: Vec<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    cdi_version: String,
    kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Device {
    name: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Mount>,
    hooks: Vec<Hook>,
    additional_gids: Vec<u32>,
    intel_rdt: Option<Value>,
    net_devices: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Node {
    path: PathBuf,
    host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<u32>,
    minor: Option<u32>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mount {
    host_path: PathBuf,
    container_path: PathBuf,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Hook {
    hook_name: String,
    path: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    timeout: Option<u32>,
}

/// A device that was found: the file that it is in, what that says for all, and what for the device.
struct Known {
    file: PathBuf,
    rank: usize,
    common: Edits,
    own: Edits,
}

/// Whether this names a device so, and not by a path.
pub(in crate::engine) fn is_name(text: &str) -> bool {
    !text.starts_with('/') && text.contains('=')
}

/// What the devices of these names change, in order.
///
/// # Errors
/// `not_found` for a device that no file has; `conflict` when two files have it; `unsupported`, `invalid_argument` for what
/// a file wants.
pub(super) fn changes<'a>(names: impl Iterator<Item = &'a str>) -> Result<Changes> {
    let mut changes = Changes::default();
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Ok(changes);
    }
    let known = Files::read(&FOLDERS.map(Path::new));
    let mut seen: Vec<&Path> = Vec::new();
    for name in names {
        let device = known.find(name)?;
        let doing = || format!("preparing the device {name:?} of {:?}", device.file);
        if !seen.contains(&device.file.as_path()) {
            seen.push(&device.file);
            changes.apply(&device.common).context(doing)?;
        }
        changes.apply(&device.own).context(doing)?;
    }
    Ok(changes)
}

/// Where the devices of these names mount something.
///
/// # Errors
/// As [`changes`].
pub(in crate::engine) fn targets(devices: &[String]) -> Result<Vec<String>> {
    let names = devices.iter().map(String::as_str).filter(|name| is_name(name));
    let mounts = changes(names)?.mounts;
    Ok(mounts.iter().filter_map(|mount| Some(mount["destination"].as_str()?.to_owned())).collect())
}

/// What a device is, for whoever has to know whether it is another one; none when no file has it.
///
/// # Errors
/// As [`changes`].
pub(in crate::engine) fn identity(name: &str) -> Result<Option<String>> {
    match Files::read(&FOLDERS.map(Path::new)).find(name) {
        Ok(device) => Ok(Some(json!([device.common, device.own]).to_string())),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Everything that the folders say.
#[derive(Default)]
struct Files {
    devices: BTreeMap<String, Vec<Known>>,
    /// Files that cannot be read.
    bad: Vec<Error>,
}

impl Files {
    fn read(folders: &[&Path]) -> Files {
        let mut files = Files::default();
        for (rank, folder) in folders.iter().enumerate() {
            // A machine without such devices has no such folder.
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let is_file = |path: &PathBuf| {
                path.extension()
                    .is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known))
            };
            let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_file).collect();
            paths.sort();
            for path in paths.into_iter().take(MOST_FILES) {
                if let Err(error) = files.add(&path, rank) {
                    files.bad.push(error.context(format!("reading {path:?}")));
                }
            }
        }
        files
    }

    fn add(&mut self, path: &Path, rank: usize) -> Result<()> {
        let mut text = String::new();
        std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MOST_BYTES {
            return Err(Error::invalid(format!("it is larger than {MOST_BYTES} bytes")));
        }
        let Document { cdi_version, kind, devices, container_edits, .. } =
            match path.extension().is_some_and(|extension| extension == "json") {
                true => serde_json::from_str(&text).map_err(|error| Error::invalid(error.to_string()))?,
                false => serde_yaml_ng::from_str(&text).map_err(|error| Error::invalid(error.to_string()))?,
            };
        let major = cdi_version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major > 1) {
            return Err(Error::unsupported(format!("its version is {cdi_version:?}, and 1 is known")));
        }
        if !is_kind(&kind) {
            return Err(Error::invalid(format!("its kind {kind:?} is no vendor.com/class")));
        }
        for device in devices {
            let known =
                Known { file: path.to_owned(), rank, common: container_edits.clone(), own: device.container_edits };
            self.devices.entry(format!("{kind}={}", device.name)).or_default().push(known);
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<&Known> {
        let all = self.devices.get(name).map_or(&[][..], Vec::as_slice);
        let highest = all.iter().map(|known| known.rank).max();
        let mut best = all.iter().filter(|known| Some(known.rank) == highest);
        match (best.next(), best.next()) {
            (Some(known), None) => Ok(known),
            (Some(one), Some(other)) => Err(Error::conflict(format!(
                "the device {name:?} is in two files, {:?} and {:?}",
                one.file, other.file
            ))),
            _ => {
                let error = Error::not_found(format!("no file of {} has the device {name:?}", FOLDERS.join(" and ")));
                let known = self.devices.keys().map(String::as_str);
                let hint = suggest::hint(name, known).or_else(|| {
                    let all = self.devices.keys().take(10).cloned().collect::<Vec<_>>().join(", ");
                    (!all.is_empty()).then(|| format!("there are {all}"))
                });
                let error = hint.into_iter().fold(error, Error::with_hint);
                Err(match self.bad.first() {
                    Some(bad) => {
                        let said = [bad.message().to_owned()].into_iter().chain(bad.chain()).collect::<Vec<_>>();
                        error.with_source(Error::failed(said.join(": ")))
                    }
                    None => error,
                })
            }
        }
    }
}

/// A vendor's name as in DNS, a slash, a class.
fn is_kind(text: &str) -> bool {
    let word = |text: &str, further: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || further.contains(c);
        let edge = |c: char| c.is_ascii_alphanumeric();
        !text.is_empty() && text.chars().all(inner) && text.starts_with(edge) && text.ends_with(edge)
    };
    let Some((vendor, class)) = text.split_once('/') else { return false };
    vendor.len() <= 253 && word(vendor, "-_.") && class.len() <= 63 && word(class, "-_")
}

impl Changes {
    fn apply(&mut self, edits: &Edits) -> Result<()> {
        if edits.intel_rdt.is_some() || !edits.net_devices.is_empty() {
            return Err(Error::unsupported("it wants resource classes of Intel's or network devices"));
        }
        for entry in &edits.env {
            let named = entry.split_once('=').is_some_and(|(name, _)| !name.is_empty());
            if !named || entry.contains('\0') {
                return Err(Error::invalid(format!("{entry:?} is no variable")));
            }
        }
        self.env.extend(edits.env.iter().cloned());
        for node in &edits.device_nodes {
            let device = node.device()?;
            self.devices.retain(|known| known.path != device.path);
            self.devices.push(device);
        }
        self.mounts.extend(edits.mounts.iter().map(Mount::mount));
        for hook in &edits.hooks {
            if !MOMENTS.contains(&hook.hook_name.as_str()) {
                return Err(Error::unsupported(format!("there is no moment {:?} for a hook", hook.hook_name)));
            }
            self.hooks.entry(hook.hook_name.clone()).or_default().push(hook.hook());
        }
        self.groups.extend(edits.additional_gids.iter().filter(|group| **group > 0));
        Ok(())
    }
}

impl Node {
    /// What the file leaves out is what the host's node is.
    fn device(&self) -> Result<HostDevice> {
        let source = self.host_path.clone().unwrap_or_else(|| self.path.clone());
        let access = self.permissions.clone().filter(|access| !access.is_empty()).unwrap_or_else(|| "rwm".to_owned());
        if !self.path.is_absolute() || !access.chars().all(|letter| "rwm".contains(letter)) {
            return Err(Error::invalid(format!("{:?} is no device with the access {access:?}", self.path)));
        }
        let kind = match self.kind.as_deref() {
            None | Some("") => None,
            Some("b") => Some(true),
            Some("c" | "u") => Some(false),
            Some(other) => return Err(Error::unsupported(format!("{:?} is of the type {other:?}", self.path))),
        };
        let facts = match (kind, self.major, self.minor) {
            (Some(_), Some(_), Some(_)) => node(&source).ok(),
            _ => Some(node(&source).context(|| format!("looking at the device {source:?}"))?),
        };
        let own = facts.as_ref();
        if own.is_some_and(|own| !matches!(own.kind, EntryKind::CharDevice | EntryKind::BlockDevice)) {
            return Err(Error::invalid(format!("{source:?} is not a device")));
        }
        let number = |of: fn((u32, u32)) -> u32| own.map_or(0, |own| of(own.device));
        Ok(HostDevice {
            source,
            path: self.path.clone(),
            block: kind.unwrap_or_else(|| own.is_some_and(|own| own.kind == EntryKind::BlockDevice)),
            number: (
                self.major.unwrap_or_else(|| number(|number| number.0)),
                self.minor.unwrap_or_else(|| number(|number| number.1)),
            ),
            mode: self.file_mode.or(own.map(|own| own.mode)).unwrap_or(0o660) & 0o777,
            owner: (self.uid.or(own.map(|own| own.uid)).unwrap_or(0), self.gid.or(own.map(|own| own.gid)).unwrap_or(0)),
            access,
        })
    }
}

impl Mount {
    fn mount(&self) -> Value {
        let kind = self.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("bind");
        let mut options = self.options.clone();
        if kind == "bind" && !options.iter().any(|option| matches!(option.as_str(), "bind" | "rbind")) {
            options.insert(0, "rbind".to_owned());
        }
        json!({ "destination": self.container_path, "type": kind, "source": self.host_path, "options": options })
    }
}

impl Hook {
    fn hook(&self) -> Value {
        let mut hook = json!({ "path": self.path, "args": self.args, "env": self.env });
        if let Some(timeout) = self.timeout.filter(|timeout| *timeout > 0) {
            hook["timeout"] = json!(timeout);
        }
        hook
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(first: &[(&str, &str)], second: &[(&str, &str)]) -> Files {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for (folder, files) in folders.iter().zip([first, second]) {
            files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        }
        Files::read(&[folders[0].path(), folders[1].path()])
    }

    const ONE: &str = r#"{ "cdiVersion": "0.6.0", "kind": "vendor.com/dev", "devices": [{ "name": "a", "containerEdits":
        { "env": ["A=1"], "deviceNodes": [{ "path": "/dev/x", "hostPath": "/dev/null" }] } }],
        "containerEdits": { "env": ["ALL=1"] } }"#;
    const TWO: &str =
        "cdiVersion: 1.0.0\nkind: vendor.com/dev\ndevices:\n- name: a\n  containerEdits:\n    env: [A=2]\n";

    #[test]
    fn the_later_folder_wins_and_two_in_one_are_none() {
        let found = files(&[("x.json", ONE)], &[]);
        let known = found.find("vendor.com/dev=a").unwrap();
        let mut changes = Changes::default();
        changes.apply(&known.common).unwrap();
        changes.apply(&known.own).unwrap();
        assert_eq!(changes.env, ["ALL=1", "A=1"]);
        assert_eq!((changes.devices[0].number, changes.devices[0].path.as_path()), ((1, 3), Path::new("/dev/x")));
        let found = files(&[("x.json", ONE)], &[("y.yaml", TWO)]);
        assert_eq!(found.find("vendor.com/dev=a").unwrap().own.env, ["A=2"]);
        let found = files(&[("x.json", ONE), ("y.yaml", TWO)], &[]);
        assert_eq!(found.find("vendor.com/dev=a").err().unwrap().kind(), Kind::Conflict);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_when_a_device_is_missing() {
        let found = files(&[("bad.json", "{"), ("odd.txt", ONE), ("x.json", ONE)], &[]);
        assert!(found.find("vendor.com/dev=a").is_ok());
        let error = found.find("vendor.com/dev=b").err().unwrap();
        assert_eq!(error.hint(), Some("did you mean \"vendor.com/dev=a\"?"));
        assert!(error.chain().join(" ").contains("bad.json\": EOF"), "{error:?}");
        for (what, text) in [
            ("a version", ONE.replace("0.6.0", "2.0.0")),
            ("a kind", ONE.replace("vendor.com/dev", "dev")),
            ("a field", ONE.replace("\"env\"", "\"environment\"")),
        ] {
            assert_eq!(files(&[("x.json", &text)], &[]).bad.len(), 1, "{what}");
        }
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        let edits = |text: &str| Changes::default().apply(&serde_json::from_str::<Edits>(text).unwrap());
        for text in [
            r#"{ "env": ["=x"] }"#,
            r#"{ "deviceNodes": [{ "path": "/etc/passwd" }] }"#,
            r#"{ "deviceNodes": [{ "path": "/dev/nope-at-all" }] }"#,
            r#"{ "deviceNodes": [{ "path": "/dev/null", "permissions": "x" }] }"#,
            r#"{ "deviceNodes": [{ "path": "/dev/null", "type": "p" }] }"#,
            r#"{ "hooks": [{ "hookName": "never", "path": "/bin/true" }] }"#,
            r#"{ "netDevices": [{}] }"#,
        ] {
            assert!(edits(text).is_err(), "{text}");
        }
        edits(r#"{ "deviceNodes": [{ "path": "/dev/made", "type": "c", "major": 1, "minor": 5 }] }"#).unwrap();
    }
}
