//! A step in one line, for people and golden tests.

use std::fmt;

use super::{Bind, Change, IdMap, New, Remount, Source, Step};
use crate::sys::mount::{self, DeviceKind, NewFilesystem, Propagation};

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Spread(propagation) => write!(f, "spread {propagation:?}"),
            Step::Attach(path) => write!(f, "attach root at {}", path.display()),
            Step::Copy(path) => write!(f, "copy root from {}", path.display()),
            Step::Enter(entrance) => write!(f, "enter {entrance:?}"),
            Step::SpreadRoot(propagation, recursive) => write!(f, "spread root {}", spread(*propagation, *recursive)),
            Step::New(new) => self::new(f, new),
            Step::Bind(one) => bind(f, one),
            Step::Remount(one) => remount(f, one),
            Step::Cgroups { version_2, read_only, target } => {
                let which = if *version_2 { "cgroup2" } else { "cgroups" };
                write!(f, "{which} on {} ({})", target.display(), if *read_only { "ro" } else { "" })
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
            Step::Link { path, to, replace } => {
                write!(f, "link {} to {to}{}", path.display(), if *replace { " in any case" } else { "" })
            }
            Step::Console => f.write_str("console"),
            Step::Seal => f.write_str("seal"),
            Step::ReadOnly(path) => write!(f, "read-only {}", path.display()),
            Step::Mask(path) => write!(f, "mask {}", path.display()),
            Step::ReadOnlyRoot => f.write_str("read-only root"),
            Step::Folder(path) => write!(f, "folder {}", path.display()),
        }
    }
}

fn new(f: &mut fmt::Formatter<'_>, new: &New) -> fmt::Result {
    let what = &new.what;
    write!(f, "new {} {} on {}", what.kind, what.source.as_deref().unwrap_or("-"), new.target.display())?;
    write!(f, " ({})", attributes(what.attributes))?;
    options(f, what)?;
    let words = [(new.copy_up, "copied up"), (new.inherit_mode, "mode inherited"), (new.seal, "sealed later")];
    for (_, word) in words.iter().filter(|(is, _)| *is) {
        write!(f, " {word}")?;
    }
    propagation(f, &new.propagation)?;
    if let Some(instead) = &new.instead {
        write!(f, " or {}", instead.display())?;
    }
    Ok(())
}

fn bind(f: &mut fmt::Formatter<'_>, bind: &Bind) -> fmt::Result {
    let source = match &bind.source {
        Source::Host(path) => path.display().to_string(),
        Source::Root(path) => format!("root's {}", path.display()),
    };
    write!(f, "{} {source} on {}", if bind.recursive { "rbind" } else { "bind" }, bind.target.display())?;
    if bind.named {
        change(f, bind.own, "just")?;
    }
    change(f, bind.everywhere, "all")?;
    if let Some(ids) = &bind.ids {
        let how = if ids.recursive { "ridmap" } else { "idmap" };
        match &ids.map {
            IdMap::Ranges(uids, gids) => write!(f, " {how} {uids:?} {gids:?}")?,
            IdMap::Of(path) => write!(f, " {how} of {}", path.display())?,
        }
    }
    propagation(f, &bind.propagation)
}

fn remount(f: &mut fmt::Formatter<'_>, one: &Remount) -> fmt::Result {
    write!(f, "remount {}", one.target.display())?;
    change(f, one.own, "set")?;
    change(f, one.everywhere, "all")?;
    if let Some(file_system) = &one.file_system {
        f.write_str(" file system")?;
        options(f, file_system)?;
    }
    propagation(f, &one.propagation)
}

fn options(f: &mut fmt::Formatter<'_>, what: &NewFilesystem) -> fmt::Result {
    for name in &what.common {
        write!(f, " {name}")?;
    }
    for (key, value) in &what.options {
        write!(f, " {key}{}", value.as_ref().map_or(String::new(), |value| format!("={value}")))?;
    }
    Ok(())
}

fn propagation(f: &mut fmt::Formatter<'_>, list: &[(Propagation, bool)]) -> fmt::Result {
    list.iter().try_for_each(|(propagation, recursive)| write!(f, " {}", spread(*propagation, *recursive)))
}

fn spread(propagation: Propagation, recursive: bool) -> String {
    format!("{}{propagation:?}", if recursive { "r" } else { "" })
}

fn change(f: &mut fmt::Formatter<'_>, change: Change, word: &str) -> fmt::Result {
    if change.is_empty() && word != "just" {
        return Ok(());
    }
    write!(f, " {word} ({}{})", attributes(change.set), if change.atime { " atime" } else { "" })?;
    if change.clear != 0 {
        write!(f, " not ({})", attributes(change.clear))?;
    }
    Ok(())
}

fn attributes(attributes: u64) -> String {
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
