//! What builds are told in Docker's words: where caches are (`type=local,dest=DIR`, `type=registry,ref=NAME`, `type=inline`, or
//! a name), and what is in ours; how late files are (reproducible-builds.org, SOURCE_DATE_EPOCH specification).

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use serde_json::json;

use crate::base::{Context as _, Error, Id, Reference, Result, Timestamp, suggest, units};
use crate::docker::container::age;
use crate::docker::format::{Listing, Row};
use crate::docker::words::{self, comma_fields};
use crate::model::build::{CachePlace, CacheTarget, SshAgent};
use crate::model::system::Cached;

/// The longest description in a table.
const TEXT_WIDTH: usize = 27;

/// What `docker system df --verbose` says of the build cache.
pub const LISTING: Listing = Listing {
    type_name: "*formatter.buildCacheContext",
    columns: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("Shared", "SHARED"),
        ("Description", "DESCRIPTION"),
    ],
    table: r"{{.ID}}\t{{.Size}}\t{{.LastUsedSince}}\t{{.Shared}}\t{{.Description}}",
    quiet: "{{.ID}}",
    raw: None,
    quiet_wins: false,
};

/// A row of [`LISTING`].
pub fn cache_row(cached: &Cached, no_trunc: bool) -> Row {
    let since = |time: Option<Timestamp>| time.map_or_else(String::new, age);
    let text = cached.text.replace(['\t', '\n'], " ");
    let id = cached.id.trim_start_matches("sha256:");
    let value = json!({
        "CacheType": if cached.is_mount { "exec.cachemount" } else { "regular" },
        "CreatedSince": since(cached.created),
        "Description": if no_trunc { text } else { words::ellipsis(&text, TEXT_WIDTH) },
        "ID": if no_trunc { id } else { id.get(..Id::SHORT).unwrap_or(id) },
        "LastUsedSince": since(cached.used),
        "Shared": cached.is_shared.to_string(),
        "Size": units::finer_size(cached.size_bytes),
    });
    value.into()
}

/// The variable that says how late the files of a build are at most.
pub const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Reads what [`EPOCH`] says: seconds since 1970; nothing is none.
///
/// # Errors
/// `invalid_argument`.
pub fn epoch(text: &str) -> Result<Option<Timestamp>> {
    if text.is_empty() {
        return Ok(None);
    }
    let seconds = text.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1_000_000_000));
    let nanos = seconds.ok_or_else(|| {
        Error::invalid(format!("{EPOCH} is {text:?}, which is no time")).with_hint("give seconds since 1970")
    })?;
    Ok(Some(Timestamp::from_nanos(nanos)))
}

/// Reads `name=value` between commas, of these names.
///
/// # Errors
/// `invalid_argument` for another name, and for a field without a value.
pub fn fields(what: &str, text: &str, names: &[&str]) -> Result<BTreeMap<String, String>> {
    values(what, &comma_fields(text)?, names)
}

/// As [`fields`], of what was split.
///
/// # Errors
/// As there.
pub fn values(what: &str, given: &[String], names: &[&str]) -> Result<BTreeMap<String, String>> {
    let text = || given.join(",");
    let mut fields = BTreeMap::new();
    for field in given {
        let (name, value) = field.split_once('=').ok_or_else(|| {
            let error = Error::invalid(format!("{field:?} of the {what} {:?} has no value", text()));
            error.with_hint(format!("write {}=VALUE, between commas", names.join("=VALUE or ")))
        })?;
        // Docker's further words.
        let name = match name {
            "source" if !names.contains(&"source") => "src",
            "destination" | "output" if names.contains(&"dest") => "dest",
            name => name,
        };
        if !names.contains(&name) {
            let error = Error::invalid(format!("the {what} {:?} has no field {name:?}", text()));
            let hint = suggest::hint(name, names.iter().copied());
            return Err(error.with_hint(hint.unwrap_or_else(|| format!("it takes {}", names.join(", ")))));
        }
        fields.insert(name.to_owned(), value.to_owned());
    }
    Ok(fields)
}

/// Reads what signs over ssh, as `--ssh ID=…` names it: the socket of an agent, or files of keys between commas.
///
/// # Errors
/// `invalid_argument` for what is neither; `not_found`.
pub fn ssh_agent(text: &str) -> Result<SshAgent> {
    let paths: Vec<PathBuf> = comma_fields(text)?.into_iter().map(PathBuf::from).collect();
    let mut sockets = 0;
    for path in &paths {
        let kind = std::fs::metadata(path).context(|| format!("looking at {path:?} for ssh"))?.file_type();
        sockets += usize::from(kind.is_socket());
        if !kind.is_socket() && !kind.is_file() {
            return Err(Error::invalid(format!("{path:?} is neither the socket of an ssh agent nor a key")));
        }
    }
    match (sockets, &paths[..]) {
        (1, [socket]) => Ok(SshAgent::Socket(socket.clone())),
        (0, _) => Ok(SshAgent::Keys(paths)),
        _ => Err(Error::invalid(format!("{text:?} is more than one ssh agent"))
            .with_hint("give each an id: --ssh ID=SOCKET")),
    }
}

/// Reads `--cache-from`.
///
/// # Errors
/// `invalid_argument`; `unsupported` for a kind of cache that is not built.
pub fn cache_from(text: &str) -> Result<CachePlace> {
    match place(text, "src", &[])?.0 {
        CachePlace::Inline => {
            Err(Error::invalid("a cache of the type \"inline\" is in an image, and has that image's name")
                .with_hint("name the image: type=registry,ref=NAME"))
        }
        place => Ok(place),
    }
}

/// Reads `--cache-to`, with what commands keep when it says `mounts=true`.
///
/// # Errors
/// As [`cache_from`].
pub fn cache_to(text: &str) -> Result<CacheTarget> {
    let (place, mut fields) = place(text, "dest", &["mode", "mounts"])?;
    match fields.remove("mode").as_deref() {
        // The results of all steps are always written.
        None | Some("min" | "max") => {}
        Some(other) => return Err(Error::invalid(format!("mode of a cache is min or max, not {other:?}"))),
    }
    let mounts = match fields.remove("mounts").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(Error::invalid(format!("mounts of a cache is true or false, not {other:?}"))),
    };
    if mounts && place == CachePlace::Inline {
        return Err(Error::unsupported("an image does not carry what commands keep")
            .with_hint("write that with type=registry or type=local"));
    }
    Ok(CacheTarget { place, mounts })
}

fn place(text: &str, path: &str, more: &[&str]) -> Result<(CachePlace, BTreeMap<String, String>)> {
    let hint = format!("write type=local,{path}=DIR or type=registry,ref=NAME");
    if !text.contains('=') {
        return Ok((CachePlace::Registry(Reference::parse(text)?.to_string()), BTreeMap::new()));
    }
    let given = comma_fields(text)?;
    let kind = given.iter().find_map(|field| field.strip_prefix("type="));
    let own = match kind {
        Some("local") => path,
        Some("registry") => "ref",
        Some("inline") => return Ok((CachePlace::Inline, values("cache", &given, &[&["type"], more].concat())?)),
        Some(kind @ ("gha" | "s3" | "azblob" | "gcs")) => {
            return Err(Error::unsupported(format!("a cache of the type {kind:?} is not supported")).with_hint(hint));
        }
        _ => return Err(Error::invalid(format!("the cache {text:?} has no type that is known")).with_hint(hint)),
    };
    let names = [&["type", own], more].concat();
    let mut fields = values("cache", &given, &names)?;
    let value = fields.remove(own).filter(|value| !value.is_empty());
    let value =
        value.ok_or_else(|| Error::invalid(format!("the cache {text:?} does not say where")).with_hint(hint))?;
    let place = match own {
        "ref" => CachePlace::Registry(Reference::parse(&value)?.to_string()),
        _ => CachePlace::Folder(PathBuf::from(value)),
    };
    Ok((place, fields))
}

/// The error of a step without what the step wrote: that has been shown.
pub(crate) fn without_output(error: Error) -> Error {
    let Some(failure) = error.failure().cloned() else { return error };
    let step = error.chain().into_iter().next();
    let short = step.into_iter().fold(Error::command_failed(error.message().to_owned(), failure), |error, step| {
        error.with_source(Error::failed(step))
    });
    short.with_hint(error.hint().unwrap_or("\"rhumb build logs\" prints all that the steps wrote").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[test]
    fn places_are_read_as_docker_writes_them() {
        let registry = |name: &str| CachePlace::Registry(name.to_owned());
        assert_eq!(cache_from("r.example/a:1").unwrap(), registry("r.example/a:1"));
        assert_eq!(cache_from("type=registry,ref=r.example/a").unwrap(), registry("r.example/a:latest"));
        assert_eq!(cache_from("type=local,src=x").unwrap(), CachePlace::Folder("x".into()));
        assert_eq!(cache_from("type=local,\"src=a,b\"").unwrap(), CachePlace::Folder("a,b".into()));
        let to = cache_to("type=local,dest=x,mode=max,mounts=true").unwrap();
        assert_eq!(to, CacheTarget { place: CachePlace::Folder("x".into()), mounts: true });
        let inline = cache_to("type=inline,mode=min").unwrap();
        assert_eq!(inline, CacheTarget { place: CachePlace::Inline, mounts: false });
        assert_eq!(cache_from("type=inline").unwrap_err().kind(), Kind::InvalidArgument);
        for (text, kind) in [
            ("type=local", Kind::InvalidArgument),
            ("type=nope,dest=x", Kind::InvalidArgument),
            ("dest=x", Kind::InvalidArgument),
            ("type=gha", Kind::Unsupported),
            ("type=inline,mounts=true", Kind::Unsupported),
            ("type=inline,dest=x", Kind::InvalidArgument),
            ("type=local,dest=x,nope=1", Kind::InvalidArgument),
            ("type=local,\"dest=x", Kind::InvalidArgument),
            ("type=local,dest=x,mode=some", Kind::InvalidArgument),
            ("type=registry,ref=A", Kind::InvalidArgument),
        ] {
            assert_eq!(cache_to(text).unwrap_err().kind(), kind, "{text}");
        }
    }
}
