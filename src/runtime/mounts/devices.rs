//! The devices and links that a container has: those that the specification demands of every one, and its own.

use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::{Step, clean};
use crate::base::{Error, Result};
use crate::sys::mount::{Device, DeviceKind};

/// Devices that every container has: name, major, minor.
const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that every container has; the last is a habit of Docker and runc.
const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
];

/// What makes terminals is always the container's own.
const MULTIPLEXER: &str = "/dev/ptmx";

/// Adds the steps for the default devices and for those that are `given`. In a user namespace nothing can be made, so the
/// host's are bound.
pub(super) fn plan(given: &[LinuxDevice], bind: bool, steps: &mut Vec<Step>) -> Result<()> {
    let given = given.iter().map(|device| step(device, bind)).collect::<Result<Vec<Step>>>()?;
    let is_given =
        |name: &str| given.iter().any(|step| matches!(step, Step::Device { path, .. } if path == Path::new(name)));
    for (path, major, minor) in DEVICES {
        if !is_given(path) {
            let device = Device { kind: DeviceKind::Char, major, minor };
            steps.push(Step::Device { path: path.into(), device, mode: 0o666, owner: (0, 0), bind });
        }
    }
    let is_multiplexer = |step: &Step| matches!(step, Step::Device { path, .. } if path == Path::new(MULTIPLEXER));
    steps.extend(given.into_iter().filter(|step| !is_multiplexer(step)));
    steps.extend(LINKS.map(|(path, to)| Step::Link { path: path.into(), to, replace: false }));
    steps.push(Step::Link { path: MULTIPLEXER.into(), to: "pts/ptmx", replace: true });
    Ok(())
}

fn step(given: &LinuxDevice, bind: bool) -> Result<Step> {
    let path = clean(given.path())?;
    if ["/", "/proc", "/sys"]
        .iter()
        .any(|system| path == Path::new(system) || *system != "/" && path.starts_with(system))
    {
        return Err(Error::invalid(format!("a device at {path:?} is not allowed")));
    }
    let number = |number: i64, max: u32, what: &str| {
        let number = u32::try_from(number).ok().filter(|number| *number <= max);
        number.ok_or_else(|| Error::invalid(format!("the device {path:?} has no {what} number that the kernel knows")))
    };
    let kind = match given.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => return Err(Error::invalid(format!("invalid device type \"a\" of the device {path:?}"))),
    };
    let device = match kind {
        DeviceKind::Fifo => Device { kind, major: 0, minor: 0 },
        _ => Device {
            kind,
            major: number(given.major(), Device::MAX_MAJOR, "major")?,
            minor: number(given.minor(), Device::MAX_MINOR, "minor")?,
        },
    };
    Ok(Step::Device {
        device,
        mode: given.file_mode().unwrap_or(0o666) & 0o7777,
        owner: (given.uid().unwrap_or(0), given.gid().unwrap_or(0)),
        path,
        // A pipe is the container's own thing, and can be made anywhere.
        bind: bind && kind != DeviceKind::Fifo,
    })
}
