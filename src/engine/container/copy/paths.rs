//! Paths as `cp` means them: Docker's rules about what a slash or a dot at the end says (reference of `docker cp`), and
//! patterns. Pure; nothing is looked up.

use crate::base::{Error, Result};

/// A path of an operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    /// Absolute, without `.`, `..`, doubled and trailing slashes. As with Docker `..` is taken from the text, before any
    /// link is followed.
    pub(super) path: Vec<u8>,
    /// It ends in a slash or a dot: only a folder will do, and a link at its end is followed.
    pub(super) folder: bool,
    /// It ends in a dot: what is in the folder is meant, and not the folder.
    pub(super) content: bool,
}

impl Given {
    /// Reads a path in a container: it is always absolute.
    ///
    /// # Errors
    /// `invalid_argument` when it is empty, or has a zero byte.
    pub(super) fn parse(text: &[u8]) -> Result<Given> {
        if text.is_empty() {
            return Err(Error::invalid("the path in the container is empty").with_hint("write NAME:/ for the root"));
        }
        if text.contains(&0) {
            return Err(Error::invalid("the path in the container has a zero byte in it"));
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in text.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let path = [b"/", parts.join(&b'/').as_slice()].concat();
        let content = text.rsplit(|byte| *byte == b'/').next() == Some(b".");
        Ok(Given { folder: content || text.ends_with(b"/") || path == b"/", content, path })
    }

    /// The folder that it lies in; of the root, the root.
    pub(super) fn parent(&self) -> &[u8] {
        match self.path.iter().rposition(|byte| *byte == b'/') {
            None | Some(0) => b"/",
            Some(slash) => &self.path[..slash],
        }
    }

    /// Its last name; empty for the root.
    pub(super) fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// How the archive calls it.
    pub(super) fn alias(&self) -> Vec<u8> {
        match self.name() {
            _ if self.content => b".".to_vec(),
            b"" => b".".to_vec(),
            name => name.to_vec(),
        }
    }

    /// The path that a link at this place leads to.
    pub(super) fn through(&self, link: &[u8]) -> Result<Given> {
        match link.first() {
            Some(b'/') => Given::parse(link),
            _ => Given::parse(&[self.parent(), b"/", link].concat()),
        }
    }
}

/// What is where something is copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// Nothing.
    Nothing,
    /// A folder.
    Folder,
    /// A file.
    File,
}

/// Where the entries of an archive go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// Below the target, by their own name.
    Target,
    /// Beside the target, by its name.
    Parent,
}

/// Docker's table. `must_be_folder`: the target ends in a slash or a dot.
///
/// # Errors
/// `invalid_argument` for a folder onto a file; `not_found` for a file into a folder that is not there.
pub(super) fn decide(source_is_folder: bool, there: There, must_be_folder: bool, shown: &str) -> Result<Into> {
    match there {
        There::Folder => Ok(Into::Target),
        There::File if source_is_folder => Err(Error::invalid(format!("cannot copy a folder onto the file {shown}"))),
        There::File if must_be_folder => Err(Error::invalid(format!("{shown} is not a folder"))),
        There::Nothing if must_be_folder && !source_is_folder => {
            Err(Error::not_found(format!("no such folder {shown}"))
                .with_hint("make it first, or leave out the last slash"))
        }
        There::File | There::Nothing => Ok(Into::Parent),
    }
}

/// Whether a path has characters that make it a pattern.
pub(super) fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| b"*?[".contains(byte))
}

/// Whether one name fits a pattern: `*` is any run of bytes, `?` any byte, `[a-z]` and `[!a-z]` a set. A dot at the
/// beginning must be written (glob(7)).
pub(super) fn fits(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => match set(&pattern[p..], name[n]) {
                Some((length, true)) => Some(length),
                Some((_, false)) => None,
                None => (name[n] == b'[').then_some(1),
            },
            Some(byte) if *byte == name[n] => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => (p, n) = (p + length, n + 1),
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The length of the set at the beginning of a pattern, and whether it has this byte; none when the set is not closed.
fn set(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let end = first + 1 + pattern.get(first + 1..)?.iter().position(|byte| *byte == b']')?;
    let members = &pattern[first..end];
    let mut has = false;
    let mut at = 0;
    while at < members.len() {
        match members.get(at..at + 3) {
            Some([low, b'-', high]) => {
                has |= (*low..=*high).contains(&byte);
                at += 3;
            }
            _ => {
                has |= members[at] == byte;
                at += 1;
            }
        }
    }
    Some((end + 1, has != negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_dots_at_the_end_say_what_is_meant() {
        let given = |text: &str| Given::parse(text.as_bytes()).unwrap();
        let path = |path: &str, folder, content| Given { path: path.into(), folder, content };
        assert_eq!(given("etc/x"), path("/etc/x", false, false));
        assert_eq!(given("/etc//x/"), path("/etc/x", true, false));
        assert_eq!(given("/etc/x/."), path("/etc/x", true, true));
        assert_eq!(given("."), path("/", true, true));
        assert_eq!(given("/"), path("/", true, false));
        assert_eq!(given("/a/../../b"), path("/b", false, false));
        assert!(Given::parse(b"").is_err() && Given::parse(b"a\0").is_err());
        assert_eq!((given("/a/b").parent(), given("/a").parent()), (&b"/a"[..], &b"/"[..]));
        assert_eq!(
            (given("/a/b/").alias(), given("/a/.").alias(), given("/").alias()),
            (b"b".to_vec(), b".".to_vec(), b".".to_vec())
        );
        assert_eq!(given("/a/link").through(b"../x").unwrap().path, b"/x");
        assert_eq!(given("/a/link").through(b"/x/").unwrap(), path("/x", true, false));
    }

    #[test]
    fn the_table_is_dockers() {
        use There::{File, Folder, Nothing};
        let decided = |source_is_folder, there, slash| decide(source_is_folder, there, slash, "\"x\"").ok();
        assert_eq!(decided(false, Nothing, false), Some(Into::Parent));
        assert_eq!(decided(false, Nothing, true), None);
        assert_eq!(decided(false, File, false), Some(Into::Parent));
        assert_eq!(decided(false, File, true), None);
        assert_eq!(decided(false, Folder, true), Some(Into::Target));
        assert_eq!(decided(true, Nothing, true), Some(Into::Parent));
        assert_eq!(decided(true, File, false), None);
        assert_eq!(decided(true, Folder, false), Some(Into::Target));
    }

    #[test]
    fn patterns_fit_names_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.log", "a.log", true),
            ("*.log", ".log", false),
            (".*", ".log", true),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
