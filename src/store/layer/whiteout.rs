//! Whiteouts: a layer's way to say "not here" (OCI image specification, "Representing Changes"), turned into overlayfs's
//! (kernel document "overlayfs", "whiteouts and opaque directories") and back.
//!
//! | in a tar | on disk |
//! |---|---|
//! | `dir/.wh.NAME` | character device 0:0 `dir/NAME` |
//! | `dir/.wh..wh..opq` | attribute `trusted.overlay.opaque=y` on `dir` |
//! | other `.wh..wh.…` (aufs's own files) | nothing |
//!
//! Both hide what is in *lower* layers only. The part after `.wh.` is checked as one plain name after it was cut out.

use std::io;

use crate::base::{Error, Result};
use crate::store::tar::shown;
use crate::sys::node::{self, Facts};
use crate::sys::path::{Dir, EntryKind};

const PREFIX: &[u8] = b".wh.";
const META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The attribute that makes a folder hide the folders of its name in lower layers.
pub(in crate::store) const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";

/// What a clean path in a layer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// What it says.
    Plain,
    /// The folder above hides lower folders.
    Opaque,
    /// This name beside it is hidden.
    Whiteout(&'a [u8]),
    /// Nothing to us.
    Ignored,
}

/// Reads a clean path.
///
/// # Errors
/// `invalid_argument` for a whiteout of nothing, of `.` or `..`, and for a whiteout with something below it.
pub(super) fn decode(path: &[u8]) -> Result<Name<'_>> {
    let refuse = || Error::invalid(format!("{} is not a whiteout of anything", shown(path)));
    let mut components = path.split(|b| *b == b'/').peekable();
    while let Some(component) = components.next() {
        let last = components.peek().is_none();
        match component {
            OPAQUE if last => return Ok(Name::Opaque),
            _ if component.starts_with(META_PREFIX) => return Ok(Name::Ignored),
            _ if component.starts_with(PREFIX) => {
                let hidden = &component[PREFIX.len()..];
                if !last || matches!(hidden, b"" | b"." | b"..") {
                    return Err(refuse());
                }
                return Ok(Name::Whiteout(hidden));
            }
            _ => {}
        }
    }
    Ok(Name::Plain)
}

/// Hides `name` of lower layers. What this layer itself has by that name stays; a folder becomes opaque.
pub(super) fn make(dir: &Dir, name: &[u8]) -> io::Result<()> {
    match node::make_node(dir, name, EntryKind::CharDevice, 0, (0, 0)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match dir.kind_of(name)? {
            EntryKind::Dir => make_opaque(dir, name),
            _ => Ok(()),
        },
        other => other,
    }
}

/// Makes the folder called `name` (or `dir` itself, when it is empty) hide lower ones.
pub(super) fn make_opaque(dir: &Dir, name: &[u8]) -> io::Result<()> {
    node::set_xattr(dir, name, OPAQUE_ATTRIBUTE.as_bytes(), b"y")
}

/// Whether a node is a whiteout on disk.
pub(in crate::store) fn is_whiteout(facts: &Facts) -> bool {
    facts.kind == EntryKind::CharDevice && facts.device == (0, 0)
}

/// The name in a tar of a whiteout of `name`.
pub(in crate::store) fn encode(name: &[u8]) -> Vec<u8> {
    [PREFIX, name].concat()
}

/// The name in a tar of the mark of an opaque folder.
pub(in crate::store) fn opaque_name() -> &'static [u8] {
    OPAQUE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_and_then_checked() {
        assert_eq!(decode(b"a/b").unwrap(), Name::Plain);
        assert_eq!(decode(b"a/.who").unwrap(), Name::Plain);
        assert_eq!(decode(b"a/.wh.b").unwrap(), Name::Whiteout(b"b"));
        assert_eq!(decode(b"a/.wh....").unwrap(), Name::Whiteout(b"..."));
        assert_eq!(decode(b".wh..wh..opq").unwrap(), Name::Opaque);
        assert_eq!(decode(b".wh..wh.plnk/1.2").unwrap(), Name::Ignored);
        assert_eq!(decode(b"a/.wh..wh.aufs").unwrap(), Name::Ignored);
        for path in [&b".wh."[..], b"a/.wh..", b"a/.wh...", b".wh.a/b", b"x/.wh.a/.wh.b"] {
            assert!(decode(path).is_err(), "{}", shown(path));
        }
    }
}
