//! Events: what happened to which object, and which of them somebody asks for.
//!
//! [`TYPES`] is the list of everything that can happen; a further noun adds a row. An event is one line of the durable log
//! (`store/event` reads it, engines and monitors append to it), which is all that this file knows of the log:
//!
//! ```text
//! {"v":1,"time":1795492969257963289,"type":"container","action":"start","id":"0123…","attributes":{"image":"base:1",…}}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Reference, Result, Timestamp, error};

/// The form of a line of the log.
const VERSION: u32 = 1;
/// The longest line of the log, in bytes: what is longer loses the ends of its words, see [`Event::to_line`].
pub const MAX_LINE: usize = 64 * 1024;
/// The most bytes of an action or an attribute in a line that would be too long otherwise.
const CUT_WORD: usize = 1024;
/// Attributes that a line which is too long keeps before a container's labels.
const OWN: [&str; 6] = ["execID", "exitCode", "image", "name", "oldName", "signal"];
/// Where all events are from; Docker has another word for those of a swarm.
pub const SCOPE: &str = "local";

/// The type of containers' events.
pub const CONTAINER: &str = "container";
/// The type of images' events.
pub const IMAGE: &str = "image";
/// The type of volumes' events.
pub const VOLUME: &str = "volume";
/// The type of networks' events.
pub const NETWORK: &str = "network";
/// The type of the events of this engine itself.
pub const DAEMON: &str = "daemon";

/// Every type of events with its actions, in Docker's words. An action may carry more behind a colon: `exec_create: sh`,
/// `health_status: healthy`.
pub const TYPES: &[(&str, &[&str])] = &[
    (
        CONTAINER,
        &[
            "archive-path",
            "attach",
            "commit",
            "copy",
            "create",
            "destroy",
            "detach",
            "die",
            "exec_create",
            "exec_detach",
            "exec_die",
            "exec_start",
            "export",
            "extract-to-dir",
            "health_status",
            "kill",
            "oom",
            "pause",
            "prune",
            "rename",
            "resize",
            "restart",
            "start",
            "stop",
            "top",
            "unpause",
            "update",
        ],
    ),
    (IMAGE, &["delete", "import", "load", "prune", "pull", "push", "save", "tag", "untag"]),
    (VOLUME, &["create", "destroy", "mount", "prune", "rename", "unmount"]),
    (NETWORK, &["connect", "create", "destroy", "disconnect", "prune", "remove", "rename", "update"]),
    ("builder", &["prune"]),
    (DAEMON, &["lost", "reload"]),
];

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was known to have happened.
    pub time: Timestamp,
    /// What kind of object it happened to, one of [`TYPES`].
    pub noun: String,
    /// What happened, with its argument behind `: ` where it has one.
    pub action: String,
    /// The object: a container's or an image's id, a volume's name; empty for a prune.
    pub id: String,
    /// Docker's attributes: a container's labels with `image` and `name`, an exit code, …
    pub attributes: BTreeMap<String, String>,
}

/// A line of the log.
#[derive(Serialize, Deserialize)]
struct Line {
    v: u32,
    time: u64,
    #[serde(rename = "type")]
    noun: String,
    action: String,
    id: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// Why a line of the log is no event.
#[derive(Debug)]
pub enum BadLine {
    /// It breaks off: its writer was killed, or found the disk full, in the middle of it. Nothing else is wrong.
    Torn,
    /// It was never an event of ours, or was changed since.
    Damaged(Error),
}

impl Event {
    /// Something that happens now.
    pub fn new(noun: &str, action: impl Into<String>, id: impl Into<String>) -> Event {
        Event {
            time: Timestamp::now(),
            noun: noun.to_owned(),
            action: action.into(),
            id: id.into(),
            attributes: BTreeMap::new(),
        }
    }

    /// Adds an attribute, in place of one of the same name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Event {
        self.attributes.insert(name.to_owned(), value.to_string());
        self
    }

    /// Adds attributes, in place of those of the same names.
    #[must_use]
    pub fn with_all(mut self, attributes: &BTreeMap<String, String>) -> Event {
        self.attributes.extend(attributes.iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }

    /// The line of the log. It begins with a line end of its own, so that what an earlier writer left unfinished is a line
    /// for itself. What would be longer than [`MAX_LINE`] has its action and attributes cut to their beginnings, and
    /// loses the last labels if need be.
    pub fn to_line(&self) -> Vec<u8> {
        let bytes = self.as_line();
        if bytes.len() <= MAX_LINE {
            return bytes;
        }
        let mut small = Event { attributes: BTreeMap::new(), ..self.clone() };
        small.action = beginning(&self.action);
        small.id = beginning(&self.id);
        // A byte becomes six at most (`\u0001`), and what names the attributes stands before and behind each.
        let mut room = MAX_LINE / 6 - small.action.len() - small.id.len() - small.noun.len() - 100;
        let (own, labels): (Vec<_>, Vec<_>) =
            self.attributes.iter().partition(|(name, _)| OWN.contains(&name.as_str()));
        for (name, value) in own.into_iter().chain(labels) {
            let value = beginning(value);
            let takes = name.len() + value.len() + 6;
            if takes > room {
                break;
            }
            room -= takes;
            small.attributes.insert(name.clone(), value);
        }
        small.as_line()
    }

    fn as_line(&self) -> Vec<u8> {
        let line = Line {
            v: VERSION,
            time: self.time.as_nanos(),
            noun: self.noun.clone(),
            action: self.action.clone(),
            id: self.id.clone(),
            attributes: self.attributes.clone(),
        };
        let mut bytes = vec![b'\n'];
        serde_json::to_writer(&mut bytes, &line).expect("plain data with string keys is always JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a line of the log, without its line ends.
    ///
    /// # Errors
    /// Why it is none.
    pub fn from_line(line: &[u8]) -> Result<Event, BadLine> {
        // A power cut can leave zeros where the disk had not been written yet.
        let start = line.iter().position(|byte| *byte != 0).unwrap_or(line.len());
        let line: Line = serde_json::from_slice(&line[start..]).map_err(|error| match error.is_eof() {
            true => BadLine::Torn,
            false => BadLine::Damaged(Error::corrupt(error::quoted(&error))),
        })?;
        if line.v != VERSION {
            let words = format!("it has the version {}, and this program knows {VERSION}", line.v);
            return Err(BadLine::Damaged(Error::unsupported(words).with_hint("use a later version of rhumb")));
        }
        Ok(Event {
            time: Timestamp::from_nanos(line.time),
            noun: line.noun,
            action: line.action,
            id: line.id,
            attributes: line.attributes,
        })
    }

    /// The action without its argument: `exec_create` of `exec_create: sh`.
    pub fn verb(&self) -> &str {
        self.action.split_once(": ").map_or(&self.action, |(verb, _)| verb)
    }

    /// The object's name as far as the event knows it: its attribute `name`, or a volume's identity, which is its name.
    pub fn name(&self) -> &str {
        self.attributes.get("name").map_or(&self.id, String::as_str)
    }
}

fn beginning(text: &str) -> String {
    text.char_indices().take_while(|(at, _)| *at < CUT_WORD).map(|(_, character)| character).collect()
}

/// Which events somebody asks for. Several words for one key widen it, several keys narrow it; `Default` is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Types.
    pub noun: Vec<String>,
    /// Actions; one without an argument also stands for those with one.
    pub action: Vec<String>,
    /// Beginnings of containers' ids or names.
    pub container: Vec<String>,
    /// Images: an id, a reference or a repository, of images' own events and of their containers'.
    pub image: Vec<String>,
    /// Beginnings of volumes' names.
    pub volume: Vec<String>,
    /// Beginnings of networks' ids or names.
    pub network: Vec<String>,
    /// Beginnings of the engine's id or name.
    pub daemon: Vec<String>,
    /// Scopes; [`SCOPE`] is the only one.
    pub scope: Vec<String>,
    /// Labels, `key` or `key=value`, all of which it must have.
    pub label: Vec<String>,
}

impl EventFilter {
    /// The event is asked for.
    pub fn takes(&self, event: &Event) -> bool {
        let any = |list: &[String], fits: &dyn Fn(&str) -> bool| list.is_empty() || list.iter().any(|word| fits(word));
        // Docker looks at beginnings here.
        let named = |list: &[String], noun: &str| {
            let fits =
                |word: &str| event.noun == noun && (event.id.starts_with(word) || event.name().starts_with(word));
            any(list, &fits)
        };
        let label = |word: &str| match word.split_once('=') {
            Some((key, value)) => event.attributes.get(key).is_some_and(|have| have == value),
            None => event.attributes.contains_key(word),
        };
        any(&self.noun, &|word| event.noun == word)
            && any(&self.action, &|word| event.action == word || event.verb() == word)
            && named(&self.container, CONTAINER)
            && named(&self.volume, VOLUME)
            && named(&self.network, "network")
            && named(&self.daemon, DAEMON)
            && any(&self.image, &|word| is_of_image(event, word))
            && any(&self.scope, &|word| word == SCOPE)
            && self.label.iter().all(|word| label(word))
    }
}

/// As Docker does it: the id, the reference or the repository of it, written in full.
fn is_of_image(event: &Event, word: &str) -> bool {
    let of_repository = |name: &str| {
        let name = Reference::parse(name).ok();
        name.is_some_and(|name| name.familiar().rsplit_once(':').is_some_and(|(repository, _)| repository == word))
    };
    let attribute = if event.noun == IMAGE { "name" } else { "image" };
    let name = event.attributes.get(attribute).map_or("", String::as_str);
    event.id == word || name == word || of_repository(name)
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventStart {
    /// With the oldest event that is kept.
    #[default]
    Oldest,
    /// With what happened at this time or later.
    Since(Timestamp),
    /// With what happens from now on.
    Now,
}

/// A question to the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Where to begin.
    pub start: EventStart,
    /// Only what happened at this time or earlier; a reader that follows ends when it has passed.
    pub until: Option<Timestamp>,
    /// Go on with what happens, until it is past `until`, or for ever.
    pub follow: bool,
    /// Which ones.
    pub filter: EventFilter,
}

impl EventQuery {
    /// The event is asked for.
    pub fn takes(&self, event: &Event) -> bool {
        let begun = match self.start {
            EventStart::Since(since) => event.time >= since,
            EventStart::Oldest | EventStart::Now => true,
        };
        begun && self.until.is_none_or(|until| event.time <= until) && self.filter.takes(event)
    }
}

/// What a reader of the log finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventItem {
    /// An event.
    Event(Event),
    /// Something that should be an event, or should be there, and is not: words for the user.
    Note(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::new(CONTAINER, "exec_create: sh -c ls", "ab12")
            .with("name", "web")
            .with("image", "base:1")
            .with("l", "1")
    }

    #[test]
    fn a_line_is_read_back_and_closes_what_stands_before_it() {
        let line = event().to_line();
        assert_eq!((line[0], line[line.len() - 1]), (b'\n', b'\n'));
        let back = Event::from_line(line.trim_ascii()).unwrap();
        assert_eq!((back.verb(), back.name(), &back), ("exec_create", "web", &Event { time: back.time, ..event() }));
        let mut zeros = vec![0; 5];
        zeros.extend_from_slice(line.trim_ascii());
        assert_eq!(Event::from_line(&zeros).unwrap(), back);
    }

    #[test]
    fn every_beginning_of_a_line_is_torn_and_other_bytes_are_damage() {
        let line = event().to_line();
        let line = line.trim_ascii();
        for length in 0..line.len() {
            assert!(matches!(Event::from_line(&line[..length]), Err(BadLine::Torn)), "{length}");
        }
        assert!(matches!(Event::from_line(&[0; 9]), Err(BadLine::Torn)));
        for bytes in [
            b"x".as_slice(),
            b"{}",
            b"[]",
            b"\xff\xfe",
            br#"{"v":2,"time":1,"type":"a","action":"b","id":"c"}"#,
            br#"{"v":1,"time":-1,"type":"a","action":"b","id":"c"}"#,
            br#"{"v":1,"time":1,"type":"a","action":"b","id":"c"} more"#,
            br#"{"v":1,"time":1,"type":"a","action":"b","id":"c","attributes":{"x":1}}"#,
        ] {
            assert!(matches!(Event::from_line(bytes), Err(BadLine::Damaged(_))), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_line_that_would_be_too_long_keeps_what_identifies_it() {
        let mut long = event();
        long.action = format!("exec_create: {}", "\u{1f6a2}".repeat(50_000));
        for number in 0..5000 {
            long.attributes.insert(format!("a{number}"), "\u{1}".repeat(number));
        }
        let line = long.to_line();
        assert!(line.len() <= MAX_LINE);
        let back = Event::from_line(line.trim_ascii()).unwrap();
        assert_eq!((back.verb(), back.name()), ("exec_create", "web"));
        assert_eq!(back.attributes["image"], "base:1");
    }

    #[test]
    fn filters_are_dockers() {
        let takes = |change: &dyn Fn(&mut EventFilter)| {
            let mut filter = EventFilter::default();
            change(&mut filter);
            filter.takes(&event())
        };
        assert!(takes(&|_| {}));
        assert!(takes(&|filter| filter.noun = vec!["image".into(), "container".into()]));
        assert!(!takes(&|filter| filter.noun = vec!["image".into()]));
        assert!(takes(&|filter| filter.action = vec!["exec_create".into()]));
        assert!(takes(&|filter| filter.action = vec!["exec_create: sh -c ls".into()]));
        assert!(!takes(&|filter| filter.action = vec!["exec".into()]));
        assert!(takes(&|filter| filter.container = vec!["we".into()]));
        assert!(takes(&|filter| filter.container = vec!["ab1".into()]));
        assert!(!takes(&|filter| filter.container = vec!["eb".into()]));
        assert!(takes(&|filter| filter.image = vec!["base".into()]));
        assert!(takes(&|filter| filter.image = vec!["base:1".into()]));
        assert!(!takes(&|filter| filter.image = vec!["bas".into()]));
        assert!(!takes(&|filter| filter.volume = vec!["web".into()]));
        assert!(takes(&|filter| filter.label = vec!["l".into(), "l=1".into()]));
        assert!(!takes(&|filter| filter.label = vec!["l".into(), "l=2".into()]));
        assert!(!takes(&|filter| filter.scope = vec!["swarm".into()]));
        assert!(takes(&|filter| filter.scope = vec!["local".into()]));
    }

    #[test]
    fn since_and_until_are_both_inclusive() {
        let event = event();
        let at = |nanos: i64| Timestamp::from_nanos(event.time.as_nanos().wrapping_add_signed(nanos));
        let takes = |since, until| {
            EventQuery { start: EventStart::Since(since), until: Some(until), ..EventQuery::default() }.takes(&event)
        };
        assert!(takes(at(0), at(0)));
        assert!(!takes(at(1), at(2)));
        assert!(!takes(at(-2), at(-1)));
    }
}
