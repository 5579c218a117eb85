//! Mount options by what they mean: the table of the OCI runtime specification (config.md, "Linux mount options"), which
//! follows mount(8). What is not in it belongs to the file system.

use crate::base::{Error, Result};
use crate::sys::mount::{self, Propagation};

/// What is said about the attributes of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Attributes to set, the way of keeping access times included.
    pub(crate) set: u64,
    /// Attributes that must not be.
    pub(crate) clear: u64,
    /// The way of keeping access times is said: what `set` has of it replaces all.
    pub(crate) atime: bool,
}

impl Change {
    /// Nothing is said.
    pub(crate) fn is_empty(self) -> bool {
        self == Change::default()
    }

    /// For mount_setattr(2) of one mount: what to clear. Who names one way of keeping access times names them all, as with
    /// mount(8); and who only says what is not wanted changes nothing about them.
    pub(crate) fn to_clear(self) -> u64 {
        let named = self.atime || self.set & mount::NO_DIR_ATIME != 0;
        (self.clear & !TIMES) | if named { TIMES } else { 0 }
    }

    /// As [`Change::to_clear`] for a mount and all below, where each word is about itself.
    pub(crate) fn to_clear_everywhere(self) -> u64 {
        (self.clear & !mount::ATIME_FIELD) | if self.atime { mount::ATIME_FIELD } else { 0 }
    }

    fn apply(&mut self, bits: u64, on: bool) {
        let (to, from) = if on { (&mut self.set, &mut self.clear) } else { (&mut self.clear, &mut self.set) };
        *to |= bits;
        *from &= !bits;
    }

    fn take(&mut self, word: Word) {
        match word {
            Word::Set(bits) => self.apply(bits, true),
            Word::Clear(bits) => self.apply(bits, false),
            Word::Atime(bits) => {
                // One of three: the last that is said holds.
                self.set = (self.set & !mount::ATIME_FIELD) | bits;
                self.atime = true;
            }
            Word::Diratime(on) => self.apply(mount::NO_DIR_ATIME, !on),
            Word::NoAtime(bits) => self.apply(bits, false),
        }
    }
}

/// The attributes about access times.
const TIMES: u64 = mount::ATIME_FIELD | mount::NO_DIR_ATIME;

/// What an option does to attributes.
#[derive(Debug, Clone, Copy)]
enum Word {
    Set(u64),
    Clear(u64),
    /// Access times are kept this way; none of the bits is `relatime`.
    Atime(u64),
    /// Access times of folders are kept as those of files.
    Diratime(bool),
    /// Access times are not kept this way, but as mount(2) does by default.
    NoAtime(u64),
}

/// Options that are attributes of a mount. With an `r` before it, each is one of all mounts below as well.
const ATTRIBUTES: [(&str, Word); 18] = [
    ("ro", Word::Set(mount::READ_ONLY)),
    ("rw", Word::Clear(mount::READ_ONLY)),
    ("nosuid", Word::Set(mount::NO_SUID)),
    ("suid", Word::Clear(mount::NO_SUID)),
    ("nodev", Word::Set(mount::NO_DEV)),
    ("dev", Word::Clear(mount::NO_DEV)),
    ("noexec", Word::Set(mount::NO_EXEC)),
    ("exec", Word::Clear(mount::NO_EXEC)),
    ("nosymfollow", Word::Set(mount::NO_SYMFOLLOW)),
    ("symfollow", Word::Clear(mount::NO_SYMFOLLOW)),
    ("noatime", Word::Atime(mount::NO_ATIME)),
    ("atime", Word::NoAtime(mount::NO_ATIME)),
    ("relatime", Word::Atime(0)),
    ("norelatime", Word::NoAtime(0)),
    ("strictatime", Word::Atime(mount::STRICT_ATIME)),
    ("nostrictatime", Word::NoAtime(mount::STRICT_ATIME)),
    ("nodiratime", Word::Diratime(false)),
    ("diratime", Word::Diratime(true)),
];

/// Options of the file system itself that are alike for all, and whether they are on.
const COMMON: [(&str, &str, bool); 12] = [
    ("sync", "sync", true),
    ("async", "sync", false),
    ("dirsync", "dirsync", true),
    ("lazytime", "lazytime", true),
    ("nolazytime", "lazytime", false),
    ("mand", "mand", true),
    ("nomand", "mand", false),
    ("iversion", "iversion", true),
    ("noiversion", "iversion", false),
    ("silent", "silent", true),
    ("loud", "silent", false),
    ("defaults", "", false),
];

/// How mounts spread.
const PROPAGATION: [(&str, Propagation); 4] = [
    ("private", Propagation::Private),
    ("slave", Propagation::Slave),
    ("shared", Propagation::Shared),
    ("unbindable", Propagation::Unbindable),
];

/// What else is known.
const FURTHER: [&str; 6] = ["bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"];

/// All options that are not left to the file system, for whoever asks what this runtime knows.
pub(crate) fn known() -> Vec<String> {
    let recursive = |name: &str| format!("r{name}");
    let plain = ATTRIBUTES.iter().map(|(name, _)| *name);
    let spread = PROPAGATION.iter().map(|(name, _)| *name);
    let mut all: Vec<String> = plain.clone().chain(spread.clone()).map(recursive).collect();
    all.extend(plain.chain(spread).chain(COMMON.iter().map(|(name, ..)| *name)).chain(FURTHER).map(str::to_owned));
    all.sort();
    all
}

/// The options of one mount.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Of the mount itself.
    pub(crate) own: Change,
    /// Of it and all below.
    pub(crate) recursive: Change,
    /// An attribute of the mount itself was named: a bind loses what its source has and nobody named.
    pub(crate) named: bool,
    /// It is a bind.
    pub(crate) bind: bool,
    /// With what is mounted below.
    pub(crate) rbind: bool,
    /// Change what is mounted there.
    pub(crate) remount: bool,
    /// Fill it with what was there.
    pub(crate) copy_up: bool,
    /// Map ids, and with `true` those of the mounts below as well.
    pub(crate) idmap: Option<bool>,
    /// How mounts spread, in order, and whether that holds for the mounts below as well.
    pub(crate) propagation: Vec<(Propagation, bool)>,
    /// Options that all file systems know.
    pub(crate) common: Vec<&'static str>,
    /// Options of the file system.
    pub(crate) data: Vec<(String, Option<String>)>,
}

impl Options {
    /// Reads the options of a mount.
    ///
    /// # Errors
    /// `invalid_argument` for a zero byte.
    pub(crate) fn parse(texts: &[String]) -> Result<Options> {
        let mut options = Options::default();
        for text in texts {
            if text.contains('\0') {
                return Err(Error::invalid(format!("the mount option {text:?} contains a null byte")));
            }
            if !options.take(text) {
                options.data.extend(split(text).map(pair));
            }
        }
        Ok(options)
    }

    /// Takes an option that is in the table.
    fn take(&mut self, text: &str) -> bool {
        let attribute = |name: &str| ATTRIBUTES.iter().find(|(known, _)| *known == name).map(|(_, word)| *word);
        let spread = |name: &str| PROPAGATION.iter().find(|(known, _)| *known == name).map(|(_, how)| *how);
        let recursive = text.strip_prefix('r');
        if let Some(word) = attribute(text) {
            self.own.take(word);
            self.named = true;
        } else if let Some(how) = spread(text) {
            self.propagation.push((how, false));
        } else if let Some((_, name, on)) = COMMON.iter().find(|(known, ..)| *known == text) {
            self.common.retain(|known| known != name);
            self.common.extend(on.then_some(*name));
        } else if let Some(word) = recursive.and_then(attribute) {
            // Not to keep times one way means the default here: there is a recursive form only to change something.
            self.recursive.take(match word {
                Word::NoAtime(_) => Word::Atime(0),
                word => word,
            });
        } else if let Some(how) = recursive.and_then(spread) {
            self.propagation.push((how, true));
        } else {
            match text {
                "bind" => self.bind = true,
                "rbind" => (self.bind, self.rbind) = (true, true),
                "remount" => self.remount = true,
                "tmpcopyup" => self.copy_up = true,
                "idmap" => self.idmap = Some(false),
                "ridmap" => self.idmap = Some(true),
                "" => {}
                _ => return false,
            }
        }
        true
    }
}

/// Several options in one text are separated by commas, but not those in quotes or after a backslash: labels and the
/// layers of an overlay have them.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        let separates = c == ',' && !quoted && !escaped;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        separates
    })
    .filter(|option| !option.is_empty())
}

fn pair(option: &str) -> (String, Option<String>) {
    match option.split_once('=') {
        Some((key, value)) => {
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            (key.to_owned(), Some(value.to_owned()))
        }
        None => (option.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Options {
        Options::parse(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn every_option_of_the_specification_is_known() {
        // config.md of version 1.2, without those that the table lists for other systems.
        let table = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev \
                     nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private \
                     ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime \
                     rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid \
                     rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable \
                     idmap ridmap";
        let known = known();
        for option in table.split_whitespace() {
            assert!(known.iter().any(|one| one == option), "{option}");
            assert!(parse(&[option]).data.is_empty(), "{option}");
        }
        for option in ["acl", "mode=755", "rsync", "rbindx", "r", "rro=1", "newinstance"] {
            assert_eq!(parse(&[option]).data.len(), 1, "{option}");
        }
    }

    #[test]
    fn the_last_word_holds_and_access_times_are_one_field() {
        let options = parse(&["ro", "nosuid", "rw", "sync", "async", "lazytime", "silent", "loud"]);
        assert_eq!((options.own.set, options.own.clear), (mount::NO_SUID, mount::READ_ONLY));
        assert_eq!(options.common, ["lazytime"]);
        let own = |options: &[&str]| {
            let own = parse(options).own;
            (own.set, own.to_clear())
        };
        let (field, folders) = (mount::ATIME_FIELD, mount::NO_DIR_ATIME);
        assert_eq!(own(&["noatime", "strictatime"]), (mount::STRICT_ATIME, field | folders));
        assert_eq!(own(&["relatime"]), (0, field | folders));
        assert_eq!(own(&["nodiratime"]), (folders, field | folders));
        // As mount(8): these alone change nothing.
        for option in ["atime", "diratime", "norelatime", "nostrictatime"] {
            assert_eq!(own(&[option]), (0, 0), "{option}");
        }
        let recursive = parse(&["rro", "rnodev", "rdev", "ratime", "rnodiratime"]);
        assert!(!recursive.named);
        let change = recursive.recursive;
        assert_eq!((change.set, change.to_clear_everywhere()), (mount::READ_ONLY | folders, mount::NO_DEV | field));
        assert_eq!(parse(&["rdiratime"]).recursive.to_clear_everywhere(), folders);
    }

    #[test]
    fn options_of_file_systems_keep_their_commas_and_lose_their_quotes() {
        let data = parse(&["mode=755,size=1k", "context=\"a:c1,c2\"", "lowerdir=/a\\,b:/c", "acl", "", "x="]).data;
        let text: Vec<String> = data.iter().map(|(key, value)| format!("{key} {value:?}")).collect();
        let expected = [
            "mode Some(\"755\")",
            "size Some(\"1k\")",
            "context Some(\"a:c1,c2\")",
            "lowerdir Some(\"/a\\\\,b:/c\")",
            "acl None",
            "x Some(\"\")",
        ];
        assert_eq!(text, expected);
        assert!(Options::parse(&["a\0b".to_owned()]).is_err());
    }
}
