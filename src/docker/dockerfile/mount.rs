//! `RUN --mount=type=…`: fields between commas, in CSV's quoting.

use crate::base::{Error, Result, suggest, units};
use crate::docker::dockerfile::ast::Word;
use crate::docker::dockerfile::at;
use crate::docker::words::comma_fields;

/// The kinds of mounts.
pub const KINDS: [&str; 5] = ["bind", "cache", "secret", "ssh", "tmpfs"];

/// Every field's name.
const FIELDS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "mode",
    "uid",
    "gid",
    "size",
    "env",
];

/// A mount, its values expanded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// `bind`, `cache`, `secret`, `ssh` or `tmpfs`.
    pub kind: String,
    /// A stage, an image, or a named context.
    pub from: Option<String>,
    /// A path of it.
    pub source: Option<String>,
    /// Where.
    pub target: Option<String>,
    /// As asked for.
    pub read_only: Option<bool>,
    /// The id of a cache, a secret or an agent.
    pub id: Option<String>,
    /// `shared`, `private` or `locked`.
    pub sharing: Option<String>,
    /// It must be there.
    pub required: bool,
    /// Octal.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// Of a tmpfs.
    pub size_bytes: Option<u64>,
    /// The variable of a secret.
    pub env: Option<String>,
}

/// Whether the text can be a mount, as far as one can say without variables' values.
///
/// # Errors
/// `invalid_argument` with the place.
pub(crate) fn check(file: &str, word: &Word) -> Result<()> {
    read(file, word, &mut |value: &str| Ok(value.to_owned()), true).map(|_| ())
}

/// Reads a mount; `expand` gives the value of what has variables.
///
/// # Errors
/// `invalid_argument` with the place.
pub fn parse(file: &str, word: &Word, expand: &mut dyn FnMut(&str) -> Result<String>) -> Result<Fields> {
    read(file, word, expand, false)
}

/// The `from` of a mount.
pub(crate) fn from(word: &Word) -> Option<String> {
    let of = |field: String| {
        field.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("from")).map(|(_, from)| from.to_owned())
    };
    comma_fields(&word.text).ok()?.into_iter().rev().find_map(of)
}

fn read(file: &str, word: &Word, expand: &mut dyn FnMut(&str) -> Result<String>, unexpanded: bool) -> Result<Fields> {
    let bad = |message: String| at(file, word.span, message);
    let mut fields = Fields { kind: "bind".to_owned(), ..Fields::default() };
    let mut required = None;
    for field in comma_fields(&word.text).map_err(|error| bad(error.message().to_owned()))? {
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name.to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.to_ascii_lowercase(), None),
        };
        if !FIELDS.contains(&name.as_str()) {
            let error = bad(format!("a mount has no field {name:?}"));
            return Err(hinted(error, &name, &FIELDS));
        }
        if name == "from" && unexpanded && value.as_deref().is_some_and(|value| value.contains('$')) {
            let error = bad("\"from\" of a mount takes no variables".to_owned());
            return Err(error.with_hint("name a stage: FROM $x AS name"));
        }
        if unexpanded && value.as_deref().is_some_and(|value| value.contains('$')) {
            if name == "type" {
                return Ok(fields);
            }
            continue;
        }
        let value = value.map(|value| expand(&value)).transpose()?;
        let truth = |value: &Option<String>| match value.as_deref() {
            None | Some("" | "1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(bad(format!("{name:?} is true or false, not {other:?}"))),
        };
        let needed = || value.clone().ok_or_else(|| bad(format!("{name:?} needs a value")));
        let number = |radix: u32| {
            let text = needed()?;
            u32::from_str_radix(&text, radix).map_err(|_| bad(format!("{text:?} is no value of {name:?}")))
        };
        match name.as_str() {
            "type" => {
                let kind = needed()?.to_ascii_lowercase();
                if !KINDS.contains(&kind.as_str()) {
                    return Err(hinted(bad(format!("there is no mount of the type {kind:?}")), &kind, &KINDS));
                }
                fields.kind = kind;
            }
            "from" => fields.from = Some(needed()?),
            "source" | "src" => fields.source = Some(needed()?),
            "target" | "dst" | "destination" => fields.target = Some(needed()?),
            "readonly" | "ro" => fields.read_only = Some(truth(&value)?),
            "readwrite" | "rw" => fields.read_only = Some(!truth(&value)?),
            "id" => fields.id = Some(needed()?),
            "env" => fields.env = Some(needed()?),
            "required" => required = Some(truth(&value)?),
            "sharing" => {
                let sharing = needed()?.to_ascii_lowercase();
                let known = ["shared", "private", "locked"];
                if !known.contains(&sharing.as_str()) {
                    return Err(hinted(bad(format!("a cache is not shared {sharing:?}")), &sharing, &known));
                }
                fields.sharing = Some(sharing);
            }
            "mode" => fields.mode = Some(number(8)?),
            "uid" => fields.uid = Some(number(10)?),
            "gid" => fields.gid = Some(number(10)?),
            _ => {
                let text = needed()?;
                fields.size_bytes = Some(units::parse_bytes(&text).map_err(|error| bad(error.to_string()))?);
            }
        }
    }
    fields.required = required.unwrap_or(false);
    belongs(&fields, required.is_some()).map_err(bad)?;
    if !unexpanded {
        complete(&fields).map_err(bad)?;
    }
    Ok(fields)
}

/// Refuses fields that are of other kinds.
fn belongs(fields: &Fields, required: bool) -> Result<(), String> {
    let kind = fields.kind.as_str();
    let checks = [
        ("mode", fields.mode.is_some(), ["cache", "secret", "ssh"].as_slice()),
        ("uid", fields.uid.is_some(), &["cache", "secret", "ssh"]),
        ("gid", fields.gid.is_some(), &["cache", "secret", "ssh"]),
        ("sharing", fields.sharing.is_some(), &["cache"]),
        ("size", fields.size_bytes.is_some(), &["tmpfs"]),
        ("required", required, &["secret", "ssh"]),
        ("env", fields.env.is_some(), &["secret"]),
        ("from", fields.from.is_some(), &["bind", "cache"]),
        ("id", fields.id.is_some(), &["cache", "secret", "ssh"]),
    ];
    match checks.iter().find(|(_, given, kinds)| *given && !kinds.contains(&kind)) {
        Some((name, ..)) => Err(format!("a mount of the type {kind:?} has no {name:?}")),
        None => Ok(()),
    }
}

/// Refuses mounts that lack something.
fn complete(fields: &Fields) -> Result<(), String> {
    let has_target = fields.target.as_deref().is_some_and(|target| !target.is_empty());
    match fields.kind.as_str() {
        "secret" if fields.id.is_none() && fields.source.is_none() && !has_target => {
            Err("a mount of the type \"secret\" needs an id or a target".to_owned())
        }
        "bind" | "cache" | "tmpfs" if !has_target => {
            Err(format!("a mount of the type {:?} needs a target", fields.kind))
        }
        _ => Ok(()),
    }
}

fn hinted(error: Error, word: &str, known: &[&str]) -> Error {
    // A word that is longer than any known one by far is near to none.
    let near = if word.len() > 60 { None } else { suggest::hint(word, known.iter().copied()) };
    near.into_iter().fold(error, Error::with_hint)
}
