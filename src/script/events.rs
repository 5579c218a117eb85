//! `system::events`: what happened, as an array, and what happens, for a closure.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rhai::plugin::*;
use rhai::{Array, Dynamic, FnPtr, Map, NativeCallContext};

use crate::base::{Error, Result, time, units};
use crate::docker::event::{FILTERS, add_filter};
use crate::engine::Engine;
use crate::model::event::{Event, EventItem, EventQuery, EventStart};
use crate::script::context::{engine, tag};
use crate::script::convert::Keys;
use crate::script::error::{Fallible, Raise};

/// How long a closure is given events, unless told otherwise.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

/// What a script asks for.
struct Wanted {
    query: EventQuery,
    timeout: Option<Duration>,
}

impl Wanted {
    fn read(options: Map) -> Result<Wanted> {
        let mut keys = Keys::new("system::events", options);
        let mut query = EventQuery { until: keys.time("until")?, ..EventQuery::default() };
        if let Some(since) = keys.time("since")? {
            query.start = EventStart::Since(since);
        }
        let timeout = keys.duration("timeout")?;
        for key in FILTERS.into_iter().chain(["action"]) {
            for value in keys.texts(key)? {
                add_filter(&mut query.filter, key, &value)?;
            }
        }
        keys.finish()?;
        Ok(Wanted { query, timeout })
    }
}

/// An event as scripts see it.
fn map(event: Event) -> Map {
    let mut map = Map::new();
    let name = event.name().to_owned();
    let attributes = event.attributes.into_iter().map(|(name, value)| (name.into(), Dynamic::from(value)));
    map.insert("attributes".into(), Dynamic::from(attributes.collect::<Map>()));
    map.insert("time".into(), Dynamic::from(event.time));
    map.insert("action".into(), event.action.into());
    map.insert("type".into(), event.noun.into());
    map.insert("id".into(), event.id.into());
    map.insert("name".into(), name.into());
    map
}

fn replay(ctx: &NativeCallContext, engine: &Engine, options: Map) -> Result<Array> {
    let Wanted { query, timeout } = Wanted::read(options)?;
    if timeout.is_some() {
        return Err(Error::invalid("system::events takes \"timeout\" only with a closure")
            .with_hint("it returns what happened so far at once"));
    }
    let host = tag(ctx).map(|tag| tag.host).ok();
    let mut list = Array::new();
    engine.system_events(&query, None, &mut |item| {
        match item {
            EventItem::Event(event) => list.push(Dynamic::from(map(event))),
            EventItem::Note(words) => host.iter().for_each(|host| host.note(&words)),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(list)
}

/// Gives events to a closure until it returns false, or the time is over.
fn follow(ctx: &NativeCallContext, engine: &Engine, options: Map, closure: &FnPtr) -> Fallible<()> {
    let host = tag(ctx)?.host;
    let Wanted { mut query, timeout } = Wanted::read(options).raise(ctx)?;
    if query.start == EventStart::Oldest && query.until.is_none() {
        query.start = EventStart::Now;
    }
    query.follow = true;
    // With `until` that time is the end which was asked for, otherwise a deadline that was missed.
    let wait = timeout.unwrap_or(DEFAULT_WAIT);
    let deadline = (timeout.is_some() || query.until.is_none()).then(|| time::deadline(wait));
    let (mut failure, mut satisfied) = (None, false);
    let result = engine.system_events(&query, deadline, &mut |item| {
        let event = match item {
            EventItem::Event(event) => event,
            EventItem::Note(words) => {
                host.note(&words);
                return Ok(ControlFlow::Continue(()));
            }
        };
        match closure.call_within_context::<Dynamic>(ctx, (map(event),)) {
            Ok(answer) if answer.as_bool() == Ok(false) => satisfied = true,
            Ok(_) if host.is_stopping() => satisfied = true,
            Ok(_) => return Ok(ControlFlow::Continue(())),
            Err(error) => failure = Some(error),
        }
        Ok(ControlFlow::Break(()))
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    result.raise(ctx)?;
    if !satisfied && deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        let waited = units::short_duration(wait);
        return Err(Error::timeout(format!("the closure wanted still more events after {waited}"))
            .with_hint("let it return false when it has seen enough, or give \"timeout\" or \"until\""))
        .raise(ctx);
    }
    Ok(())
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod event_functions {
    use super::*;

    /// All that is known of what happened: an array of maps with `time action type id name attributes`, oldest first.
    ///
    /// ```rhai
    /// assert(system::events().some(|e| e.type == "image" && e.action == "import"));
    /// ```
    #[rhai_fn(name = "events", return_raw)]
    pub fn events_all(ctx: NativeCallContext) -> Fallible<Array> {
        replay(&ctx, &engine(&ctx)?, Map::new()).raise(&ctx)
    }

    /// As `events`, of those that fit. Options: `since` and `"until"` (a time or an age; Rhai
    /// wants quotes around the second), and a string or an array of
    /// strings each for `type`, `event` (or `action`), `container`, `image`, `volume`, `network`, `daemon`, `label`, `scope`.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "exit 3" });
    /// c.wait();
    /// let died = system::events(#{ since: 1.min, container: c.id, event: "die" });
    /// assert(died[0].attributes.exitCode == "3" && died[0].name == c.name);
    /// c.remove();
    /// ```
    #[rhai_fn(name = "events", return_raw)]
    pub fn events_with(ctx: NativeCallContext, options: Map) -> Fallible<Array> {
        replay(&ctx, &engine(&ctx)?, options).raise(&ctx)
    }

    /// Gives each event to a closure as it happens, after those since `since`, until the closure returns false. It must do
    /// so within `timeout` (60 s) unless there is an `until`, after which it ends quietly. Other options as above.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "exit 3" });
    /// system::events(#{ since: 1.min, container: c.id, timeout: 20.s }, |e| e.action != "die");
    /// c.remove();
    /// ```
    #[rhai_fn(name = "events", return_raw)]
    pub fn events_follow(ctx: NativeCallContext, options: Map, closure: FnPtr) -> Fallible<()> {
        follow(&ctx, &engine(&ctx)?, options, &closure)
    }
}
