//! Docker's notations of devices: which ones a container has, rules for them, and limits of disks.
//!
//! Reads and checks text; no device is looked at.

use crate::base::{Error, Result, units};
use crate::model::limits::DeviceValue;

/// The least and the most that a weight can be; Docker's numbers.
const WEIGHTS: std::ops::RangeInclusive<u64> = 10..=1000;

/// Checks a device: `host[:container[:rwm]]`, or the name that its vendor gives it, `vendor.com/class=name`.
///
/// # Errors
/// `invalid_argument`.
pub fn device(text: &str) -> Result<String> {
    let is_name =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
    if let Some((kind, name)) = text.split_once('=').filter(|_| !text.starts_with('/'))
        && kind.split('/').count() == 2
        && kind.split('/').all(is_name)
        && is_name(name)
    {
        return Ok(text.to_owned());
    }
    let parts: Vec<&str> = text.split(':').collect();
    let good = match parts.as_slice() {
        [host] => host.starts_with('/'),
        [host, second] => host.starts_with('/') && (second.starts_with('/') || is_access(second)),
        [host, container, mode] => host.starts_with('/') && container.starts_with('/') && is_access(mode),
        _ => false,
    };
    match (good, parts.as_slice()) {
        // `host:rwm` means the same path on both sides.
        (true, [host, mode]) if !mode.starts_with('/') => Ok(format!("{host}:{host}:{mode}")),
        (true, _) => Ok(text.to_owned()),
        (false, _) => Err(Error::invalid(format!("{text:?} is not a device"))
            .with_hint("write /dev/x, /dev/x:/dev/y, /dev/x:/dev/y:rwm or vendor.com/class=name")),
    }
}

/// One to three of `r`, `w` and `m`, each once.
fn is_access(text: &str) -> bool {
    let each_once = |letter: char| text.matches(letter).count() <= 1;
    !text.is_empty() && text.chars().all(|letter| "rwm".contains(letter) && each_once(letter))
}

/// Checks `--device-cgroup-rule`: `c 1:3 mr`, `b 8:* rwm`, `a *:* rwm`.
///
/// # Errors
/// `invalid_argument`.
pub fn device_cgroup_rule(text: &str) -> Result<String> {
    let number = |text: &str| text == "*" || !text.starts_with('+') && text.parse::<u32>().is_ok();
    let parts: Vec<&str> = text.split(' ').collect();
    let good = match parts.as_slice() {
        [kind @ ("a" | "b" | "c"), numbers, access] => match numbers.split_once(':') {
            // The kernel reads nothing but the kind in such a rule and allows everything: so that is what it must say.
            Some(numbers) if *kind == "a" => numbers == ("*", "*") && is_access(access) && access.len() == 3,
            Some((major, minor)) => number(major) && number(minor) && is_access(access),
            None => false,
        },
        _ => false,
    };
    if good {
        return Ok(text.to_owned());
    }
    Err(Error::invalid(format!("{text:?} is not a device rule"))
        .with_hint("write the kind (a, b, c), the numbers and the access, such as \"c 1:3 mr\" or \"b 8:* rwm\""))
}

/// Reads a rate in bytes for a device: `/dev/sda:1mb`.
///
/// # Errors
/// `invalid_argument`.
pub fn bytes_rate(text: &str) -> Result<DeviceValue> {
    let (path, rate) = device_and_value(text, "/dev/sda:1mb")?;
    device_value(path, units::parse_bytes(rate)?)
}

/// Reads a rate of operations for a device: `/dev/sda:1000`.
///
/// # Errors
/// `invalid_argument`.
pub fn operations_rate(text: &str) -> Result<DeviceValue> {
    const EXAMPLE: &str = "/dev/sda:1000";
    let (path, rate) = device_and_value(text, EXAMPLE)?;
    device_value(path, rate.parse().map_err(|_| refuse(text, EXAMPLE))?)
}

/// Reads a weight for a device: `/dev/sda:500`.
///
/// # Errors
/// `invalid_argument`.
pub fn device_weight(text: &str) -> Result<DeviceValue> {
    const EXAMPLE: &str = "/dev/sda:500";
    let (path, weight) = device_and_value(text, EXAMPLE)?;
    let weight = weight.parse().map_err(|_| refuse(text, EXAMPLE))?;
    device_value(path, weight_of(weight)?.map_or(0, u64::from))
}

/// A rate or weight from its parts.
///
/// # Errors
/// `invalid_argument` for a path outside `/dev` or a zero, which would stop the device for good.
pub(crate) fn device_value(path: &str, value: u64) -> Result<DeviceValue> {
    if !path.starts_with("/dev/") || path.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!("{path:?} is not a path below /dev")));
    }
    if value == 0 {
        return Err(Error::invalid(format!("the limit for {path:?} is zero")));
    }
    Ok(DeviceValue { path: path.to_owned(), value })
}

/// Checks a weight; zero is none.
///
/// # Errors
/// `invalid_argument`.
pub fn weight_of(weight: u64) -> Result<Option<u16>> {
    match u16::try_from(weight) {
        Ok(0) => Ok(None),
        Ok(weight) if WEIGHTS.contains(&u64::from(weight)) => Ok(Some(weight)),
        _ => Err(Error::invalid(format!("the weight {weight} is not between 10 and 1000"))),
    }
}

fn device_and_value<'a>(text: &'a str, example: &str) -> Result<(&'a str, &'a str)> {
    text.rsplit_once(':').ok_or_else(|| refuse(text, example))
}

fn refuse(text: &str, example: &str) -> Error {
    Error::invalid(format!("{text:?} is not a limit for a device")).with_hint(format!("write {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_strictly() {
        for text in ["c 1:3 mr", "b 8:* rwm", "a *:* rwm", "c *:* m", "c 10:200 w"] {
            assert_eq!(device_cgroup_rule(text).unwrap(), text);
        }
        for text in [
            "",
            "c",
            "c 1:3",
            "c 1:3 ",
            "c 1:3 x",
            "c 1:3 rr",
            "c 1:3 rwmr",
            "c  1:3 r",
            "c 1:3 r ",
            "d 1:3 r",
            "p 1:3 r",
            "c 1 r",
            "c 1:3:4 r",
            "c -1:3 r",
            "c +1:3 r",
            "c 4294967296:1 r",
            "c 1:3 r\nc 1:4 r",
            "a 1:3 r",
            "a *:* r",
            "C 1:3 r",
        ] {
            assert!(device_cgroup_rule(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn limits_name_a_device_and_a_number() {
        let value = |path: &str, value| DeviceValue { path: path.into(), value };
        assert_eq!(bytes_rate("/dev/sda:1mb").unwrap(), value("/dev/sda", 1 << 20));
        assert_eq!(
            operations_rate("/dev/disk/by-path/pci-0:0:1000").unwrap(),
            value("/dev/disk/by-path/pci-0:0", 1000)
        );
        assert_eq!(device_weight("/dev/sda:500").unwrap(), value("/dev/sda", 500));
        for text in ["/dev/sda", "sda:1", "/etc/passwd:1", "/dev/../etc/x:1", "/dev/sda:0", "/dev/sda:-1", "/dev/sda:"]
        {
            assert!(bytes_rate(text).is_err() && operations_rate(text).is_err(), "{text:?}");
        }
        assert!(device_weight("/dev/sda:9").is_err() && device_weight("/dev/sda:1001").is_err());
        assert!(device("/dev/a:/dev/b:rr").is_err());
    }
}
