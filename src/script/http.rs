//! HTTP in scripts: `host::http_get`. Nothing is sent but GET: who wants more has programs for it.

use std::time::Instant;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::units::short_duration;
use crate::base::{Error, Result};
use crate::registry::http::{self, Answer, Question};
use crate::script::container::DEFAULT_WAIT;
use crate::script::context::{Host, tag};
use crate::script::convert::Keys;
use crate::script::error::{Fallible, Raise};
use crate::script::secret::bytes_of;
use crate::script::setup::MAX_STRING_BYTES;

fn get(host: &Host, url: &str, options: Map) -> Result<Answer> {
    let mut keys = Keys::new("host::http_get", options);
    let mut headers = Vec::new();
    if let Some(map) = keys.take("headers") {
        let map = map.read_lock::<Map>().ok_or_else(|| Error::invalid("\"headers\" of host::http_get is a map"))?;
        for (name, value) in map.iter() {
            headers.push((name.to_string(), bytes_of(value)?));
        }
    }
    let timeout = keys.duration("timeout")?.unwrap_or(DEFAULT_WAIT);
    let follow = keys.optional_flag("follow")?.unwrap_or(true);
    keys.finish()?;
    let question = Question { url: url.to_owned(), headers, follow, most_bytes: MAX_STRING_BYTES };
    let begin = Instant::now();
    http::get(&question, &|| {
        if host.is_stopping() {
            return Err(Error::interrupted("interrupted"));
        }
        match begin.elapsed() < timeout {
            true => Ok(()),
            false => Err(Error::timeout(format!("there was no answer within {}", short_duration(timeout)))),
        }
    })
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod http_functions {
    use super::*;

    /// Gets a URL over HTTP or HTTPS: `status ok body headers url elapsed`. A status that is no success is no error, `ok` is
    /// false then; a server that cannot be reached is `unavailable`. Options: `headers`, `timeout` (60 s), `follow`
    /// (redirections, which it does).
    ///
    /// ```rhai
    /// try {
    ///     print(host::http_get("http://127.0.0.1:9/", #{ timeout: 5.s }).status);
    /// } catch (e) {
    ///     assert(e.kind == "unavailable");
    /// }
    /// ```
    #[rhai_fn(name = "http_get", return_raw)]
    pub fn http_get_with(ctx: NativeCallContext, url: ImmutableString, options: Map) -> Fallible<Map> {
        let begin = Instant::now();
        let host = tag(&ctx)?.host;
        let answer = get(&host, &url, options).raise(&ctx)?;
        let mut headers = Map::new();
        for (name, value) in answer.headers {
            // One that comes several times is a list, as HTTP reads it (RFC 9110 5.2).
            let text = match headers.get(name.as_str()) {
                Some(before) => format!("{before}, {value}"),
                None => value,
            };
            headers.insert(name.into(), text.into());
        }
        let mut map = Map::new();
        map.insert("status".into(), i64::from(answer.status).into());
        map.insert("ok".into(), (200..300).contains(&answer.status).into());
        map.insert("url".into(), answer.url.into());
        map.insert("headers".into(), headers.into());
        map.insert("body".into(), String::from_utf8_lossy(&answer.body).into_owned().into());
        map.insert("elapsed".into(), Dynamic::from(begin.elapsed()));
        Ok(map)
    }

    #[rhai_fn(name = "http_get", return_raw)]
    pub fn http_get_default(ctx: NativeCallContext, url: ImmutableString) -> Fallible<Map> {
        http_get_with(ctx, url, Map::new())
    }
}
