//! What a container's processes may do: capabilities, security options, kernel parameters.

use oci_spec::runtime::LinuxSeccomp;

use crate::base::{Error, Result, suggest};
use crate::engine::container::host::HostFacts;
use crate::engine::container::seccomp;
use crate::model::container::{ContainerOptions, IpcMode, NamespaceMode, NetworkMode};

/// The capabilities that Docker leaves to a container.
pub(super) const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Kernel parameters that belong to an ipc namespace (namespaces(7) and Docker's list).
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Security options by what they mean.
#[derive(Debug, Default)]
pub(super) struct Security {
    /// No program may gain rights.
    pub no_new_privileges: bool,
    /// The AppArmor profile to run under.
    pub apparmor: Option<String>,
}

/// A name of `--cap-add` or `--cap-drop`.
#[derive(PartialEq)]
enum Named {
    All,
    One(String),
}

/// The capabilities that are granted, sorted. Docker's rules: `ALL` added is everything but what is dropped, `ALL` dropped
/// is nothing but what is added, and otherwise an addition wins over a drop.
pub(super) fn capabilities(options: &ContainerOptions, host: &HostFacts) -> Result<Vec<String>> {
    let held = |name: &String| host.capabilities.contains(name);
    let dropped = options.cap_drop.iter().map(|name| named(name, host)).collect::<Result<Vec<_>>>()?;
    let added = options.cap_add.iter().map(|name| named(name, host)).collect::<Result<Vec<_>>>()?;
    if options.privileged {
        return Ok(host.capabilities.clone());
    }
    let is_dropped = |name: &String| dropped.contains(&Named::One(name.clone()));
    let mut granted: Vec<String> = if added.contains(&Named::All) {
        host.capabilities.iter().filter(|name| !is_dropped(name)).cloned().collect()
    } else {
        let base = if dropped.contains(&Named::All) { &[] } else { DEFAULT_CAPABILITIES.as_slice() };
        // An engine with less than the default set passes on what it has.
        let base = base.iter().map(|name| (*name).to_owned()).filter(|name| held(name) && !is_dropped(name));
        let mut granted: Vec<String> = base.collect();
        for name in added {
            let Named::One(name) = name else { continue };
            if !held(&name) {
                return Err(Error::permission_denied(format!("the engine does not hold {name} itself"))
                    .with_hint("leave it out, or run the engine with more rights"));
            }
            granted.push(name);
        }
        granted
    };
    granted.sort();
    granted.dedup();
    Ok(granted)
}

fn named(name: &str, host: &HostFacts) -> Result<Named> {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" || upper == "CAP_ALL" {
        return Ok(Named::All);
    }
    let upper = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if host.known_capabilities.contains(&upper) {
        return Ok(Named::One(upper));
    }
    let error = Error::invalid(format!("{name:?} is not a capability"));
    Err(match suggest::hint(&upper, host.known_capabilities.iter().map(String::as_str)) {
        Some(hint) => error.with_hint(hint),
        None => error,
    })
}

/// Reads the security options but for those that other parts of the specification look at themselves: the seccomp profile,
/// and `systempaths`, which the record has decided already.
pub(super) fn security(options: &ContainerOptions, host: &HostFacts) -> Result<Security> {
    let mut security = Security::default();
    for option in &options.security_opt {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match (key, value) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("systempaths", "unconfined") | ("label", "disable") | ("apparmor", "unconfined") => {}
            // Decided by `filter`.
            ("seccomp", _) => {}
            ("apparmor", profile) if host.apparmor => security.apparmor = Some(profile.to_owned()),
            ("apparmor", profile) => {
                return Err(Error::unsupported(format!(
                    "the AppArmor profile {profile:?} cannot be applied: AppArmor is not enabled on this machine"
                ))
                .with_hint("leave it out, or write apparmor=unconfined"));
            }
            ("label", label) if host.selinux => {
                return Err(Error::unsupported(format!("the SELinux label {label:?} is not built yet"))
                    .with_hint("write label=disable"));
            }
            ("label", label) => {
                return Err(Error::unsupported(format!(
                    "the label {label:?} cannot be applied: SELinux is not enabled on this machine"
                ))
                .with_hint("leave it out, or write label=disable"));
            }
            _ => {
                let known = ["no-new-privileges", "systempaths", "seccomp", "apparmor", "label"];
                let error = Error::invalid(format!("unknown security option {option:?}"));
                return Err(match suggest::hint(key, known) {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                });
            }
        }
    }
    Ok(security)
}

/// The system calls that may be made: Docker's default for these capabilities, or the profile that the options carry. The
/// last option counts. `privileged` has no default.
pub(super) fn filter(options: &ContainerOptions, capabilities: &[String]) -> Result<Option<LinuxSeccomp>> {
    let profile = options.security_opt.iter().rev().find_map(|option| option.strip_prefix("seccomp="));
    match profile {
        Some("unconfined") => Ok(None),
        None if options.privileged => Ok(None),
        None | Some("builtin") => Ok(seccomp::default_profile(capabilities)),
        Some(profile) => seccomp::parse_profile(profile, capabilities).map(Some),
    }
}

/// Refuses to spare a container from the out-of-memory killer when the kernel would (proc_pid_oom_score_adj(5)).
pub(super) fn check_oom_score(options: &ContainerOptions, host: &HostFacts) -> Result<()> {
    match options.oom_score_adj {
        Some(score)
            if score < host.oom_score_adj && !host.capabilities.iter().any(|name| name == "CAP_SYS_RESOURCE") =>
        {
            let own = host.oom_score_adj;
            Err(Error::permission_denied(format!("the out-of-memory score {score} is below the engine's own, {own}"))
                .with_hint("sparing a container takes CAP_SYS_RESOURCE, which the engine does not have"))
        }
        _ => Ok(()),
    }
}

/// Refuses kernel parameters that are not of the container's own new namespaces: they would be the host's, or another
/// container's. The runtime refuses them again, when it knows what is new.
pub(super) fn check_sysctls(options: &ContainerOptions) -> Result<()> {
    for name in options.sysctls.keys() {
        let dotted = name.replace('/', ".");
        let own_ipc = matches!(options.ipc_mode, IpcMode::Private | IpcMode::None | IpcMode::Shareable);
        let (belongs, own) = if dotted.starts_with("net.") {
            ("network", matches!(options.network_mode, NetworkMode::None | NetworkMode::Bridge))
        } else if dotted.starts_with("fs.mqueue.") || IPC_SYSCTLS.contains(&dotted.as_str()) {
            ("ipc", own_ipc)
        } else if dotted == "kernel.domainname" {
            ("uts", options.uts_mode == NamespaceMode::Private)
        } else {
            return Err(Error::invalid(format!("the kernel parameter {name:?} is the whole machine's"))
                .with_hint("a container can set net.*, fs.mqueue.*, kernel.msg*, kernel.sem and kernel.shm*"));
        };
        if !own {
            return Err(Error::invalid(format!(
                "the kernel parameter {name:?} is not the container's own: its {belongs} namespace is shared"
            ))
            .with_hint(format!("give the container a {belongs} namespace of its own")));
        }
    }
    Ok(())
}
