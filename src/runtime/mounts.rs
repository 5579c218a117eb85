//! The list of everything that is mounted or made in a container's root, as data: a pure function of the specification.
//!
//! It decides and checks; it touches nothing. [`crate::runtime::rootfs`] carries the list out. Mount options are parsed to
//! a closed set here: what is not known is passed to a new file system as its own option and to nothing else.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxNamespaceType, Mount, Spec};

use crate::base::{Error, Result};
use crate::runtime::plan::Rootfs;
use crate::sys::mount::{self, Device, DeviceKind, Propagation};

/// One step of building a root file system, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Say how mounts spread between this whole namespace and others: before anything is attached.
    Spread(Propagation),
    /// Attach the root here; onto `/` covers everything.
    Attach(PathBuf),
    /// Make the root the root. What is before is where hooks of the host's paths can see it; what follows is inside.
    Enter(Entrance),
    /// Say how mounts spread from the root, and with `true` from all mounts below it.
    SpreadRoot(Propagation, bool),
    /// Mount a new file system.
    New {
        /// Its type.
        kind: String,
        /// What it calls its source.
        source: Option<String>,
        /// Its own options.
        options: Vec<(String, Option<String>)>,
        /// Attributes of the mount.
        attributes: u64,
        /// Where.
        target: PathBuf,
    },
    /// Mount something of the host.
    Bind {
        /// Where it is on the host.
        source: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
        /// Attributes to set, on everything below as well.
        set: u64,
        /// Attributes to clear.
        clear: u64,
        /// How later mounts spread.
        propagation: Propagation,
        /// Where.
        target: PathBuf,
    },
    /// Show the container's own cgroups.
    Cgroups {
        /// Not writable.
        read_only: bool,
        /// Where.
        target: PathBuf,
    },
    /// Make a device.
    Device {
        /// Where.
        path: PathBuf,
        /// What.
        device: Device,
        /// Its permissions.
        mode: u32,
        /// Its user and group.
        owner: (u32, u32),
        /// Bind the host's instead: in a user namespace nodes cannot be made.
        bind: bool,
    },
    /// Make a symbolic link.
    Link {
        /// Where.
        path: PathBuf,
        /// Where to.
        to: &'static str,
    },
    /// Mount the container's terminal.
    Console,
    /// Make what is there already read-only.
    ReadOnly(PathBuf),
    /// Hide what is there.
    Mask(PathBuf),
    /// Make the root itself read-only.
    ReadOnlyRoot,
    /// Make a folder when it is missing: the working folder, before the root becomes read-only.
    Folder(PathBuf),
}

/// How the root becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// It takes the place of the old one, which goes away.
    Pivot,
    /// It is moved over the old one: where that cannot go away.
    Move,
    /// For this process and its children alone: where the mount namespace is not the container's own.
    Chroot,
}

/// Paths below `/proc` onto which files may be mounted; anything else could fool those who trust it (CVE-2019-16884).
const ALLOWED_IN_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Devices that every container has: name, major, minor.
const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that every container has.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// The steps for a specification and its root.
///
/// # Errors
/// `invalid_argument` for a target that is not allowed or an option that means nothing; `unsupported`.
pub(crate) fn plan(spec: &Spec, rootfs: &Rootfs) -> Result<Vec<Step>> {
    let new = |kind| is_new(spec, kind);
    let userns = new(LinuxNamespaceType::User);
    let own_mounts = new(LinuxNamespaceType::Mount);
    let (spread, spread_root) = propagation(spec)?;
    let mut steps = Vec::new();
    if own_mounts {
        steps.push(Step::Spread(spread));
    }
    steps.push(match rootfs {
        Rootfs::Bundle { path, .. } => Step::Attach(path.clone()),
        _ if own_mounts => Step::Attach("/".into()),
        _ => return Err(Error::unsupported("a container without a mount namespace of its own")),
    });
    let mut own_dev = false;
    let mut own_pts = false;
    for mount in spec.mounts().as_deref().unwrap_or_default() {
        let target = clean(mount.destination())?;
        let step = plan_mount(mount, target.clone())?;
        // What a user namespace cannot mount anew is the host's, read-only.
        let step = match step {
            Step::New { kind, target, .. }
                if userns
                    && (kind == "sysfs" && !new(LinuxNamespaceType::Network)
                        || kind == "proc" && !new(LinuxNamespaceType::Pid)
                        || kind == "mqueue" && !new(LinuxNamespaceType::Ipc)) =>
            {
                let source = match kind.as_str() {
                    "sysfs" => "/sys",
                    "proc" => "/proc",
                    _ => "/dev/mqueue",
                };
                let set = if kind == "sysfs" { mount::READ_ONLY } else { 0 };
                let set = set | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
                let (recursive, propagation) = (true, Propagation::Private);
                Step::Bind { source: source.into(), recursive, set, clear: 0, propagation, target }
            }
            step => step,
        };
        if target == Path::new("/dev") {
            own_dev = matches!(step, Step::New { .. });
        }
        own_pts |= matches!(&step, Step::New { kind, .. } if kind == "devpts");
        steps.push(step);
    }
    if own_dev {
        let given = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
        plan_devices(given, userns, &mut steps)?;
        steps.extend(LINKS.map(|(path, to)| Step::Link { path: path.into(), to }));
        if own_pts {
            steps.push(Step::Link { path: "/dev/ptmx".into(), to: "pts/ptmx" });
        }
    }
    steps.push(Step::Enter(match rootfs {
        _ if !own_mounts => Entrance::Chroot,
        Rootfs::Bundle { no_pivot: true, .. } => Entrance::Move,
        _ => Entrance::Pivot,
    }));
    if own_dev && spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false) {
        steps.push(Step::Console);
    }
    if let Some(linux) = spec.linux() {
        for path in linux.readonly_paths().as_deref().unwrap_or_default() {
            steps.push(Step::ReadOnly(clean(Path::new(path))?));
        }
        for path in linux.masked_paths().as_deref().unwrap_or_default() {
            steps.push(Step::Mask(clean(Path::new(path))?));
        }
    }
    if spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
        let cwd = spec.process().as_ref().map(|process| clean(process.cwd())).transpose()?;
        steps.extend(cwd.filter(|cwd| cwd != Path::new("/")).map(Step::Folder));
        steps.push(Step::ReadOnlyRoot);
    }
    steps.extend(spread_root.map(|(propagation, recursive)| Step::SpreadRoot(propagation, recursive)));
    Ok(steps)
}

/// How mounts spread between the whole namespace and the host while the root is built, and what becomes of the root then.
/// Whatever is asked for, nothing that is mounted here shows on the host.
fn propagation(spec: &Spec) -> Result<(Propagation, Option<(Propagation, bool)>)> {
    let asked = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref()).unwrap_or_default();
    Ok(match asked {
        "" | "slave" | "rslave" => (Propagation::Slave, None),
        "private" | "rprivate" => (Propagation::Private, None),
        "shared" => (Propagation::Slave, Some((Propagation::Shared, false))),
        "rshared" => (Propagation::Slave, Some((Propagation::Shared, true))),
        "unbindable" => (Propagation::Private, Some((Propagation::Unbindable, false))),
        "runbindable" => (Propagation::Private, Some((Propagation::Unbindable, true))),
        other => return Err(Error::invalid(format!("rootfsPropagation={other} is not supported"))),
    })
}

/// The specification asks for a new namespace of this kind.
pub(crate) fn is_new(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    namespaces.iter().any(|namespace| namespace.typ() == kind && namespace.path().is_none())
}

fn plan_devices(given: &[LinuxDevice], bind: bool, steps: &mut Vec<Step>) -> Result<()> {
    for (path, major, minor) in DEVICES {
        if given.iter().all(|device| device.path() != Path::new(path)) {
            let device = Device { kind: DeviceKind::Char, major, minor };
            steps.push(Step::Device { path: path.into(), device, mode: 0o666, owner: (0, 0), bind });
        }
    }
    for device in given {
        let path = clean(device.path())?;
        if !path.starts_with("/dev/") {
            return Err(Error::invalid(format!("the device {path:?} is not below /dev")));
        }
        let kind = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
            LinuxDeviceType::B => DeviceKind::Block,
            LinuxDeviceType::P => DeviceKind::Fifo,
            LinuxDeviceType::A => return Err(Error::invalid(format!("the device {path:?} has no type"))),
        };
        let number =
            |number: i64| u32::try_from(number).map_err(|_| Error::invalid(format!("{number} is not a device number")));
        steps.push(Step::Device {
            device: Device { kind, major: number(device.major())?, minor: number(device.minor())? },
            mode: device.file_mode().unwrap_or(0o666) & 0o777,
            owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
            path,
            bind,
        });
    }
    Ok(())
}

/// Why nothing may be mounted at `real`, where an image's links lead a target: the rules for a target are about where it
/// really is, and what the system itself is mounted onto must be reached by its own name.
pub(crate) fn refusal_behind_links(real: &Path) -> Option<Error> {
    let system = ["/proc", "/sys", "/dev", "/"].iter().any(|system| real == Path::new(system));
    (system || real.starts_with("/proc")).then(|| {
        Error::invalid(format!("a link of the image leads to {real:?}, where no mount is allowed"))
            .with_hint("name the place itself, or use an image without the link")
    })
}

fn plan_mount(mount: &Mount, target: PathBuf) -> Result<Step> {
    let kind = mount.typ().as_deref().unwrap_or("bind");
    let options = Options::parse(mount.options().as_deref().unwrap_or_default(), &target)?;
    let in_proc = target.starts_with("/proc") && target != Path::new("/proc");
    if in_proc && !ALLOWED_IN_PROC.iter().any(|allowed| target == Path::new(allowed)) {
        return Err(Error::invalid(format!("a mount onto {target:?} is not allowed"))
            .with_hint("what lies below /proc belongs to the kernel"));
    }
    let binds = options.bind || matches!(kind, "bind" | "rbind" | "none");
    if binds && target == Path::new("/proc") {
        // Something else in its place would fool whoever trusts what it says, and escape what is masked (CVE-2019-19921).
        return Err(
            Error::invalid("a bind onto \"/proc\" is not allowed").with_hint("bind it beside, onto /host/proc for one")
        );
    }
    if target == Path::new("/") {
        return Err(Error::invalid("a mount onto the root is not allowed"));
    }
    if binds {
        let source = mount.source().clone().unwrap_or_default();
        if !source.is_absolute() {
            return Err(Error::invalid(format!("the source {source:?} of the mount onto {target:?} is not absolute")));
        }
        if !options.own.is_empty() {
            return Err(Error::invalid(format!(
                "unknown options {:?} for the mount onto {target:?}",
                options.own_names()
            )));
        }
        return Ok(Step::Bind {
            source,
            recursive: options.recursive || kind == "rbind",
            set: options.set,
            clear: options.clear,
            propagation: options.propagation,
            target,
        });
    }
    if target == Path::new("/proc") && kind != "proc" || target == Path::new("/sys") && kind != "sysfs" {
        return Err(Error::invalid(format!("a {kind} onto {target:?} is not allowed")));
    }
    if kind == "cgroup" || kind == "cgroup2" {
        return Ok(Step::Cgroups { read_only: options.set & mount::READ_ONLY != 0, target });
    }
    if !["proc", "sysfs", "tmpfs", "devpts", "mqueue"].contains(&kind) {
        return Err(Error::unsupported(format!("a container cannot mount a {kind} file system")));
    }
    Ok(Step::New {
        source: mount.source().as_ref().map(|source| source.to_string_lossy().into_owned()),
        kind: kind.to_owned(),
        options: options.own,
        attributes: options.set,
        target,
    })
}

/// Mount options by what they mean.
#[derive(Debug, Default)]
struct Options {
    set: u64,
    clear: u64,
    bind: bool,
    recursive: bool,
    propagation: Propagation,
    own: Vec<(String, Option<String>)>,
}

impl Options {
    fn parse(texts: &[String], target: &Path) -> Result<Options> {
        // A copy of a host's mount must not tell the host of what happens below it, unless asked to.
        let mut options = Options { propagation: Propagation::Private, ..Options::default() };
        for text in texts {
            let (name, recursive) = match text.as_str() {
                "rro" => ("ro", true),
                "rrw" => ("rw", true),
                name => (name, false),
            };
            if let Some((bit, on)) = attribute(name) {
                let (to, from) =
                    if on { (&mut options.set, &mut options.clear) } else { (&mut options.clear, &mut options.set) };
                *to |= bit;
                *from &= !bit;
                let _ = recursive; // attributes of a bind always reach everything below it
                continue;
            }
            match name {
                "bind" => options.bind = true,
                "rbind" => (options.bind, options.recursive) = (true, true),
                "private" | "rprivate" => options.propagation = Propagation::Private,
                "slave" | "rslave" => options.propagation = Propagation::Slave,
                "shared" | "rshared" => options.propagation = Propagation::Shared,
                "unbindable" | "runbindable" => options.propagation = Propagation::Unbindable,
                "defaults" | "async" | "relatime" | "nostrictatime" => {}
                "remount" | "idmap" | "ridmap" | "tmpcopyup" => {
                    return Err(Error::unsupported(format!("the option {name} of the mount onto {target:?}")));
                }
                own => {
                    let (key, value) = match own.split_once('=') {
                        Some((key, value)) => (key, Some(value.to_owned())),
                        None => (own, None),
                    };
                    options.own.push((key.to_owned(), value));
                }
            }
        }
        Ok(options)
    }

    fn own_names(&self) -> Vec<&str> {
        self.own.iter().map(|(key, _)| key.as_str()).collect()
    }
}

/// The attribute that an option sets (`true`) or clears.
fn attribute(name: &str) -> Option<(u64, bool)> {
    Some(match name {
        "ro" => (mount::READ_ONLY, true),
        "rw" => (mount::READ_ONLY, false),
        "nosuid" => (mount::NO_SUID, true),
        "suid" => (mount::NO_SUID, false),
        "nodev" => (mount::NO_DEV, true),
        "dev" => (mount::NO_DEV, false),
        "noexec" => (mount::NO_EXEC, true),
        "exec" => (mount::NO_EXEC, false),
        "noatime" => (mount::NO_ATIME, true),
        "atime" => (mount::NO_ATIME, false),
        "strictatime" => (mount::STRICT_ATIME, true),
        "nodiratime" => (mount::NO_DIR_ATIME, true),
        "diratime" => (mount::NO_DIR_ATIME, false),
        "nosymfollow" => (mount::NO_SYMFOLLOW, true),
        "symfollow" => (mount::NO_SYMFOLLOW, false),
        _ => return None,
    })
}

/// An absolute path without `.` and `..`; links in it are resolved when it is used, inside the root.
fn clean(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => clean.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                clean.pop();
            }
        }
    }
    if path.is_absolute() { Ok(clean) } else { Err(Error::invalid(format!("the target {path:?} is not absolute"))) }
}

/// One line, for people and golden tests.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Spread(propagation) => write!(f, "spread {propagation:?}"),
            Step::Attach(path) => write!(f, "attach root at {}", path.display()),
            Step::Enter(entrance) => write!(f, "enter {entrance:?}"),
            Step::SpreadRoot(propagation, recursive) => {
                write!(f, "spread root {propagation:?}{}", if *recursive { " recursively" } else { "" })
            }
            Step::New { kind, source, options, attributes, target } => {
                write!(f, "new {kind} {} on {}", source.as_deref().unwrap_or("-"), target.display())?;
                write!(f, " ({})", attribute_names(*attributes))?;
                for (key, value) in options {
                    write!(f, " {key}{}", value.as_ref().map_or(String::new(), |value| format!("={value}")))?;
                }
                Ok(())
            }
            Step::Bind { source, recursive, set, clear, propagation, target } => {
                let how = if *recursive { "rbind" } else { "bind" };
                write!(f, "{how} {} on {}", source.display(), target.display())?;
                write!(f, " ({})", attribute_names(*set))?;
                if *clear != 0 {
                    write!(f, " not ({})", attribute_names(*clear))?;
                }
                write!(f, " {propagation:?}")
            }
            Step::Cgroups { read_only, target } => {
                write!(f, "cgroups on {} ({})", target.display(), if *read_only { "ro" } else { "" })
            }
            Step::Device { path, device, mode, owner: (uid, gid), bind } => {
                let kind = match device.kind {
                    DeviceKind::Char => 'c',
                    DeviceKind::Block => 'b',
                    DeviceKind::Fifo => 'p',
                };
                let how = if *bind { "bind device" } else { "device" };
                write!(f, "{how} {} {kind} {}:{} {mode:o}", path.display(), device.major, device.minor)?;
                write!(f, " {uid}:{gid}")
            }
            Step::Link { path, to } => write!(f, "link {} to {to}", path.display()),
            Step::Console => f.write_str("console"),
            Step::ReadOnly(path) => write!(f, "read-only {}", path.display()),
            Step::Mask(path) => write!(f, "mask {}", path.display()),
            Step::ReadOnlyRoot => f.write_str("read-only root"),
            Step::Folder(path) => write!(f, "folder {}", path.display()),
        }
    }
}

fn attribute_names(attributes: u64) -> String {
    let names = [
        (mount::READ_ONLY, "ro"),
        (mount::NO_SUID, "nosuid"),
        (mount::NO_DEV, "nodev"),
        (mount::NO_EXEC, "noexec"),
        (mount::NO_ATIME, "noatime"),
        (mount::STRICT_ATIME, "strictatime"),
        (mount::NO_DIR_ATIME, "nodiratime"),
        (mount::NO_SYMFOLLOW, "nosymfollow"),
    ];
    let set: Vec<&str> = names.iter().filter(|(bit, _)| attributes & bit != 0).map(|(_, name)| *name).collect();
    set.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> Spec {
        serde_json::from_value(json).unwrap()
    }

    fn root() -> Rootfs {
        Rootfs::Dir("/root".into())
    }

    fn lines(spec: &Spec) -> String {
        plan(spec, &root()).unwrap().iter().map(|step| format!("{step}\n")).collect()
    }

    #[test]
    fn the_plan_of_an_ordinary_container() {
        let spec = spec(serde_json::json!({
            "ociVersion": "1.2.0",
            "root": {"path": "", "readonly": true},
            "process": {"terminal": true, "user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
                {"destination": "/data/../etc//hosts", "type": "bind", "source": "/h", "options": ["rbind", "ro", "rslave"]},
            ],
            "linux": {
                "namespaces": [{"type": "mount"}],
                "devices": [{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 384, "gid": 7}],
                "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
            },
        }));
        let expected = "\
spread Slave
attach root at /
new proc proc on /proc (nosuid,nodev,noexec)
new tmpfs tmpfs on /dev (nosuid) mode=755 size=65536k
new devpts devpts on /dev/pts (nosuid,noexec) newinstance ptmxmode=0666 mode=0620 gid=5
cgroups on /sys/fs/cgroup (ro)
rbind /h on /etc/hosts (ro) Slave
device /dev/null c 1:3 666 0:0
device /dev/zero c 1:5 666 0:0
device /dev/full c 1:7 666 0:0
device /dev/random c 1:8 666 0:0
device /dev/urandom c 1:9 666 0:0
device /dev/tty c 5:0 666 0:0
device /dev/net/tun c 10:200 600 0:7
link /dev/fd to /proc/self/fd
link /dev/stdin to /proc/self/fd/0
link /dev/stdout to /proc/self/fd/1
link /dev/stderr to /proc/self/fd/2
link /dev/ptmx to pts/ptmx
enter Pivot
console
read-only /proc/sys
mask /proc/kcore
read-only root
";
        assert_eq!(lines(&spec), expected);
    }

    #[test]
    fn a_user_namespace_binds_what_it_cannot_mount() {
        let spec = spec(serde_json::json!({
            "ociVersion": "1.2.0",
            "mounts": [
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs"},
            ],
            "linux": {"namespaces": [{"type": "user"}, {"type": "pid"}, {"type": "mount"}]},
        }));
        let lines = lines(&spec);
        assert!(lines.starts_with("spread Slave\nattach root at /\nrbind /sys on /sys (ro,nosuid,nodev,noexec) Private\nnew proc proc on /proc ()\n"));
        assert!(lines.contains("bind device /dev/null c 1:3"), "{lines}");
    }

    #[test]
    fn mounts_that_would_deceive_or_break_out_are_refused() {
        for mount in [
            serde_json::json!({"destination": "/proc/self/attr", "type": "tmpfs"}),
            serde_json::json!({"destination": "/proc/../proc/sys", "type": "bind", "source": "/x", "options": ["bind"]}),
            serde_json::json!({"destination": "/proc", "type": "tmpfs"}),
            serde_json::json!({"destination": "/sys", "type": "tmpfs"}),
            serde_json::json!({"destination": "/", "type": "tmpfs"}),
            serde_json::json!({"destination": "x", "type": "tmpfs"}),
            serde_json::json!({"destination": "/x", "type": "ext4", "source": "/dev/vda"}),
            serde_json::json!({"destination": "/x", "type": "bind", "source": "relative"}),
            serde_json::json!({"destination": "/x", "type": "bind", "source": "/y", "options": ["bind", "surprise"]}),
        ] {
            let spec = spec(serde_json::json!({
                "ociVersion": "1.2.0", "mounts": [mount], "linux": {"namespaces": [{"type": "mount"}]},
            }));
            assert!(plan(&spec, &root()).is_err(), "{mount}");
        }
    }
}
