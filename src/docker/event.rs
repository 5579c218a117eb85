//! Events in Docker's words: the line of `docker events`, its JSON, `--format`, and its filters.
//!
//! Pure functions of the facts. Times are printed in UTC; Docker's command line prints them in the zone of who asks.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::{Error, Result, Timestamp, suggest, units};
use crate::docker::template::{Shape, Subject, Template};
use crate::model::event::{CONTAINER, Event, EventFilter, IMAGE, SCOPE, TYPES};

/// The filters, in Docker's words.
pub const FILTERS: [&str; 9] = ["container", "daemon", "event", "image", "label", "network", "scope", "type", "volume"];
/// Filters that Docker has for nouns that are not built here.
const LATER: [&str; 5] = ["config", "node", "plugin", "secret", "service"];

/// What templates see: Go's `events.Message`.
const MESSAGE: Shape = Shape::Struct(&[
    ("Status", Shape::Text),
    ("ID", Shape::Text),
    ("From", Shape::Text),
    ("Type", Shape::Text),
    ("Action", Shape::Text),
    ("Actor", Shape::Struct(&[("ID", Shape::Text), ("Attributes", Shape::Map(&Shape::Text))])),
    ("Scope", Shape::Text),
    ("Time", Shape::Number),
    ("TimeNano", Shape::Number),
]);

/// How an event is printed.
#[derive(Debug, Default)]
pub enum Format {
    /// One line for people.
    #[default]
    Text,
    /// JSON on one line.
    Json,
    /// What a template makes of it.
    Template(Template),
}

impl Format {
    /// Reads `--format`: `json`, or a template, which must fit events.
    ///
    /// # Errors
    /// `invalid_argument` in Docker's words.
    pub fn parse(text: Option<&str>) -> Result<Format> {
        match text.map(str::trim) {
            None | Some("") => Ok(Format::Text),
            Some("json" | "{{json .}}" | "{{ json . }}") => Ok(Format::Json),
            Some(_) => {
                let format = Format::Template(Template::parse(text.unwrap_or_default())?);
                format.line(&Event::new(CONTAINER, "start", "")).map(|_| format)
            }
        }
    }

    /// The line for an event.
    ///
    /// # Errors
    /// `invalid_argument` when the template does not fit this one.
    pub fn line(&self, event: &Event) -> Result<String> {
        match self {
            Format::Text => Ok(text(event)),
            Format::Json => Ok(json(event).to_string()),
            Format::Template(template) => {
                let value = message(event);
                template.render_subject(&Subject { value: &value, shape: MESSAGE, methods: &[] })
            }
        }
    }
}

/// The event under the names of Go's fields.
fn message(event: &Event) -> Value {
    let json = json(event);
    let get = |name: &str| json.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "Status": get("status"), "ID": get("id"), "From": get("from"), "Type": event.noun, "Action": event.action,
        "Actor": get("Actor"), "Scope": SCOPE, "Time": get("time"), "TimeNano": get("timeNano"),
    })
}

/// The line of `docker events`, with what would be an order to a terminal, or another line, written as an escape.
pub fn text(event: &Event) -> String {
    let mut line = format!("{} {} {} {}", time(event.time), event.noun, event.action, event.id);
    if !event.attributes.is_empty() {
        let attributes: Vec<_> = event.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        line.push_str(&format!(" ({})", attributes.join(", ")));
    }
    if !line.contains(char::is_control) {
        return line;
    }
    let mut plain = String::with_capacity(line.len());
    for character in line.chars() {
        match character.is_control() {
            true => plain.extend(character.escape_default()),
            false => plain.push(character),
        }
    }
    plain
}

/// RFC 3339 with nine digits of a second, so that columns line up.
fn time(time: Timestamp) -> String {
    let text = time.to_string();
    let (seconds, fraction) = text.trim_end_matches('Z').split_once('.').unwrap_or((text.trim_end_matches('Z'), ""));
    let mut fixed = seconds.to_owned();
    write!(fixed, ".{fraction:0<9}Z").expect("writing to a String cannot fail");
    fixed
}

/// The JSON of `GET /events` (Docker Engine API 1.43), with its deprecated `status`, `id` and `from`, which containers and
/// images alone have.
pub fn json(event: &Event) -> Value {
    let mut map = Map::new();
    if event.noun == CONTAINER || event.noun == IMAGE {
        map.insert("status".into(), json!(event.action));
        if !event.id.is_empty() {
            map.insert("id".into(), json!(event.id));
        }
        if let Some(image) = event.attributes.get("image").filter(|_| event.noun == CONTAINER) {
            map.insert("from".into(), json!(image));
        }
    }
    map.insert("Type".into(), json!(event.noun));
    map.insert("Action".into(), json!(event.action));
    map.insert("Actor".into(), json!({ "ID": event.id, "Attributes": event.attributes }));
    map.insert("scope".into(), json!(SCOPE));
    map.insert("time".into(), json!(event.time.as_secs()));
    map.insert("timeNano".into(), json!(event.time.as_nanos()));
    Value::Object(map)
}

/// Adds a filter: the key is one of [`FILTERS`].
///
/// # Errors
/// `invalid_argument` for an unknown key, type or action; `unsupported` for what only swarms and plugins have.
pub fn add_filter(filter: &mut EventFilter, key: &str, value: &str) -> Result<()> {
    let list = match key {
        "container" => &mut filter.container,
        "daemon" => &mut filter.daemon,
        "event" | "action" => {
            check_action(value)?;
            &mut filter.action
        }
        "image" => &mut filter.image,
        "label" => &mut filter.label,
        "network" => &mut filter.network,
        "scope" => &mut filter.scope,
        "type" => {
            known("event type", value, TYPES.iter().map(|(noun, _)| *noun))?;
            &mut filter.noun
        }
        "volume" => &mut filter.volume,
        _ if LATER.contains(&key) => {
            return Err(Error::unsupported(format!("filter {key:?} is not supported yet"))
                .with_hint(format!("filters are {}", FILTERS.join(", "))));
        }
        _ => return known("filter", key, FILTERS.into_iter()),
    };
    // Docker writes a container's name with a slash in places.
    let value = if key == "container" { value.strip_prefix('/').unwrap_or(value) } else { value };
    list.push(value.to_owned());
    Ok(())
}

/// A typing error in an action would look like an engine in which nothing happens.
fn check_action(action: &str) -> Result<()> {
    let verb = action.split_once(':').map_or(action, |(verb, _)| verb);
    known("event", verb, TYPES.iter().flat_map(|(_, actions)| actions.iter().copied()))
}

fn known<'a>(what: &str, word: &str, mut words: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
    if words.clone().any(|known| known == word) {
        return Ok(());
    }
    let hint = suggest::hint(word, words.clone()).unwrap_or_else(|| {
        let mut names: Vec<_> = words.by_ref().collect();
        names.sort_unstable();
        names.dedup();
        format!("known are {}", names.join(", "))
    });
    Err(Error::invalid(format!("unknown {what} {word:?}")).with_hint(hint))
}

/// Reads Docker's `--since` and `--until`: a time, seconds since 1970, or an age such as `10m`; a negative age is a time to
/// come.
///
/// # Errors
/// `invalid_argument`.
pub fn point_in_time(text: &str) -> Result<Timestamp> {
    let error = match Timestamp::parse(text) {
        Ok(time) => return Ok(time),
        Err(error) => error,
    };
    if let Some(Ok(ahead)) = text.strip_prefix('-').map(units::parse_duration) {
        let ahead = u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX);
        return Ok(Timestamp::from_nanos(Timestamp::now().as_nanos().saturating_add(ahead)));
    }
    units::parse_duration(text).map(|age: Duration| Timestamp::now().before(age)).map_err(|_| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let mut event = Event::new(CONTAINER, "start", "0123").with("name", "web").with("image", "base:1");
        event.time = Timestamp::from_nanos(1_795_492_901_391_895_000);
        event
    }

    #[test]
    fn text_and_json_are_dockers() {
        assert_eq!(text(&event()), "2026-11-24T04:01:41.391895000Z container start 0123 (image=base:1, name=web)");
        assert_eq!(
            json(&event()).to_string(),
            r#"{"status":"start","id":"0123","from":"base:1","Type":"container","Action":"start","Actor":{"ID":"0123","Attributes":{"image":"base:1","name":"web"}},"scope":"local","time":1795492901,"timeNano":1795492901391895000}"#
        );
        let mut volume = Event::new("volume", "prune", "").with("reclaimed", 0);
        volume.time = Timestamp::from_nanos(1_000_000_000);
        assert_eq!(text(&volume), "1970-01-01T00:00:01.000000000Z volume prune  (reclaimed=0)");
        assert_eq!(
            json(&volume).to_string(),
            r#"{"Type":"volume","Action":"prune","Actor":{"ID":"","Attributes":{"reclaimed":"0"}},"scope":"local","time":1,"timeNano":1000000000}"#
        );
    }

    #[test]
    fn templates_see_gos_message() {
        let line = |template: &str| Format::parse(Some(template)).unwrap().line(&event()).unwrap();
        assert_eq!(line("{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.ID}}"), "container start web 0123");
        assert_eq!(line("{{.Status}}@{{.Time}} {{.From}} {{.Scope}}"), "start@1795492901 base:1 local");
        assert_eq!(line("{{json .Actor}}"), r#"{"ID":"0123","Attributes":{"image":"base:1","name":"web"}}"#);
        assert_eq!(line("{{index .Actor.Attributes \"x\"}}|{{.Actor.Attributes.x}}"), "|<no value>");
        assert_eq!(line("{{json .}}"), json(&event()).to_string());
        for template in ["{{.Foo}}", "{{.Type", "{{.Actor.Foo}}"] {
            assert!(Format::parse(Some(template)).is_err(), "{template}");
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_a_command_has_in_it() {
        let mut event = event();
        event.action = "exec_create: sh -c a\nb\u{1b}[2J".into();
        assert!(text(&event).contains("sh -c a\\nb\\u{1b}[2J"));
        assert_eq!(json(&event)["Action"], "exec_create: sh -c a\nb\u{1b}[2J");
    }

    #[test]
    fn filters_are_read_and_others_refused() {
        let mut filter = EventFilter::default();
        for (key, value) in
            [("container", "/web"), ("event", "die"), ("event", "health_status: healthy"), ("type", "image")]
        {
            add_filter(&mut filter, key, value).unwrap();
        }
        assert_eq!((filter.container[0].as_str(), filter.action.len(), filter.noun.len()), ("web", 2, 1));
        for (key, value, hint) in [
            ("event", "dye", "did you mean \"die\"?"),
            ("type", "containers", "did you mean \"container\"?"),
            ("contaner", "x", "did you mean \"container\"?"),
            ("service", "x", "filters are container"),
        ] {
            let error = add_filter(&mut filter, key, value).unwrap_err();
            assert!(error.hint().is_some_and(|have| have.starts_with(hint)), "{error:?}");
        }
    }

    #[test]
    fn times_are_points_ages_and_seconds() {
        let now = Timestamp::now();
        assert_eq!(point_in_time("1795492901").unwrap().as_secs(), 1_795_492_901);
        assert!(point_in_time("10m").unwrap() < now);
        assert!(point_in_time("-10m").unwrap() > now);
        for text in ["", "soon", "--1s", "-"] {
            assert!(point_in_time(text).is_err(), "{text:?}");
        }
    }
}
