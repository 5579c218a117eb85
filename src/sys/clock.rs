//! The machine's clock as people read it.

#![expect(unsafe_code, reason = "localtime_r has no safe wrapper")]

/// A point in time in the machine's own zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// The year.
    pub year: i32,
    /// The month, from 1.
    pub month: u8,
    /// The day of the month.
    pub day: u8,
    /// The hour.
    pub hour: u8,
    /// The minute.
    pub minute: u8,
}

/// Turns seconds since 1970 into the time on the clock here; the first second of 1970 for a time that has none.
pub fn local(seconds: u64) -> Local {
    let time = libc::time_t::try_from(seconds).unwrap_or_default();
    // SAFETY: all bytes zero are a valid `tm`, whose only pointer may be null.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type; the function keeps neither.
    let known = unsafe { !libc::localtime_r(&raw const time, &raw mut parts).is_null() };
    let small = |number: libc::c_int| u8::try_from(number).unwrap_or_default();
    if !known {
        return Local { year: 1970, month: 1, day: 1, hour: 0, minute: 0 };
    }
    Local {
        year: parts.tm_year + 1900,
        month: small(parts.tm_mon) + 1,
        day: small(parts.tm_mday),
        hour: small(parts.tm_hour),
        minute: small(parts.tm_min),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_a_minute_in_every_zone() {
        let (one, other) = (local(1_700_000_000), local(1_700_000_060));
        assert_eq!(one.year, 2023);
        assert_eq!((one.minute + 1) % 60, other.minute);
    }
}
