//! Values of the flags of `rhumb build`.

use std::collections::BTreeMap;

use crate::base::{Context as _, Error, Result, Timestamp};
use crate::cli::Session;
use crate::cli::flags::flag;
use crate::docker::build::{self as docker, EPOCH, fields};
use crate::docker::dockerfile::contexts;
use crate::docker::dockerfile::translate::Named;
use crate::docker::{env, words};
use crate::engine::build::FetchedContext;
use crate::model::build::{Attest, CachePlace, CacheTarget, Credentials, Network, SecretValue, SshAgent};

/// The argument that has an image carry its cache.
pub(crate) const INLINE_CACHE: &str = "BUILDKIT_INLINE_CACHE";
/// The largest secret; Docker's number.
const MOST_SECRET_BYTES: u64 = 500 * 1024;

/// `--build-arg`: the last one of a name counts; a bare name that this environment lacks says nothing.
pub(crate) fn arguments(given: &[String]) -> Result<BTreeMap<String, String>> {
    let mut arguments = BTreeMap::new();
    for text in given {
        arguments.extend(env::entry(text)?);
    }
    Ok(arguments)
}

/// `--build-context`. What is elsewhere is fetched, and there as long as `held` has it.
pub(crate) fn contexts(
    given: &[String],
    session: &Session,
    credentials: &Credentials,
    held: &mut Vec<FetchedContext>,
) -> Result<BTreeMap<String, Named>> {
    let mut named = BTreeMap::new();
    for text in given {
        let Some((name, value)) = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty())
        else {
            return Err(Error::invalid(format!("{text:?} is no build context"))
                .with_hint("write NAME=DIR, NAME=docker-image://IMAGE, NAME=oci-layout://DIR or NAME=URL"));
        };
        named.insert(name.to_owned(), contexts::named(&mut || session.engine(), value, credentials, held)?);
    }
    Ok(named)
}

/// `--secret`: `id=ID,src=FILE`, `id=ID,env=NAME`, or `id=ID` with a variable or a file of that name.
pub(crate) fn secrets(given: &[String]) -> Result<BTreeMap<String, SecretValue>> {
    let mut secrets = BTreeMap::new();
    for text in given {
        let mut fields = fields("secret", text, &["id", "src", "env", "type"])?;
        let (file, variable) = (fields.remove("src"), fields.remove("env"));
        let Some(id) = fields.remove("id").or_else(|| file.clone()).filter(|id| !id.is_empty()) else {
            return Err(Error::invalid(format!("the secret {text:?} has no id")).with_hint("write id=ID,src=FILE"));
        };
        let kind = fields.remove("type");
        let (file, variable) = match (kind.as_deref(), file, variable) {
            // `type=env,src=NAME` is another way to say `env=NAME`.
            (Some("env"), file, variable) => (None, Some(variable.or(file).unwrap_or_else(|| id.clone()))),
            (Some("file"), file, None) => (Some(file.unwrap_or_else(|| id.clone())), None),
            (None, None, None) if std::env::var_os(&id).is_some() => (None, Some(id.clone())),
            (None, None, None) => (Some(id.clone()), None),
            (None, file, variable) if file.is_none() || variable.is_none() => (file, variable),
            _ => return Err(Error::invalid(format!("the secret {id:?} is a file or a variable, not both"))),
        };
        let value = match (file, variable) {
            (Some(file), _) => secret_file(&id, &file)?,
            (None, Some(name)) => {
                let value = std::env::var_os(&name)
                    .ok_or_else(|| Error::not_found(format!("there is no variable {name:?} for the secret {id:?}")))?;
                value.into_encoded_bytes()
            }
            (None, None) => Vec::new(),
        };
        secrets.insert(id, SecretValue(value));
    }
    Ok(secrets)
}

fn secret_file(id: &str, path: &str) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let reading = || match id == path {
        true => format!("reading the secret {id:?}"),
        false => format!("reading the secret {id:?} from {path:?}"),
    };
    let file = std::fs::File::open(path).context(reading)?;
    let mut value = Vec::new();
    file.take(MOST_SECRET_BYTES + 1).read_to_end(&mut value).context(reading)?;
    if value.len() as u64 > MOST_SECRET_BYTES {
        return Err(Error::invalid(format!("the secret {id:?} is larger than {MOST_SECRET_BYTES} bytes")));
    }
    Ok(value)
}

/// `--ssh`: `ID`, with the agent of this environment, `ID=SOCKET`, or `ID=KEY,…`.
pub(crate) fn agents(given: &[String]) -> Result<BTreeMap<String, SshAgent>> {
    let mut agents = BTreeMap::new();
    for text in given {
        let (id, agent) = match text.split_once('=') {
            Some((id, paths)) => (id, docker::ssh_agent(paths)),
            None => {
                let socket = std::env::var("SSH_AUTH_SOCK").ok().filter(|socket| !socket.is_empty());
                let socket = socket.ok_or_else(|| {
                    Error::not_found("there is no ssh agent: SSH_AUTH_SOCK is not set")
                        .with_hint("start one with ssh-agent, or name its socket or a key: --ssh default=FILE")
                })?;
                (text.as_str(), docker::ssh_agent(&socket))
            }
        };
        agents.insert(id.to_owned(), agent.context(|| format!("reading --ssh {id}"))?);
    }
    Ok(agents)
}

/// `--network`.
pub(crate) fn network(given: Option<&str>) -> Result<Network> {
    match given {
        None | Some("default" | "bridge") => Ok(Network::Default),
        Some("none") => Ok(Network::None),
        Some("host") => Ok(Network::Host),
        Some(other) => Err(Error::unsupported(format!("steps cannot be on the network {other:?}"))
            .with_hint("use default, none or host")),
    }
}

/// `--add-host`.
pub(crate) fn hosts(given: &[String]) -> Result<Vec<String>> {
    for text in given {
        flag("--add-host", words::extra_host(text))?;
    }
    Ok(given.to_vec())
}

/// `--label`.
pub(crate) fn labels(given: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(Error::invalid(format!("the label {text:?} has no name")));
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    given.iter().map(pair).collect()
}

/// `SOURCE_DATE_EPOCH`, of the arguments or of this environment.
pub(crate) fn epoch(arguments: &BTreeMap<String, String>) -> Result<Option<Timestamp>> {
    let text = arguments.get(EPOCH).cloned().or_else(|| std::env::var(EPOCH).ok());
    text.map_or(Ok(None), |text| docker::epoch(&text))
}

/// The older way to say `--cache-to type=inline`.
pub(crate) fn inline(arguments: &BTreeMap<String, String>) -> Option<Result<CacheTarget>> {
    let given = arguments.get(INLINE_CACHE).is_some_and(|value| matches!(value.as_str(), "1" | "true"));
    given.then_some(Ok(CacheTarget { place: CachePlace::Inline, mounts: false }))
}

/// `--attest`, `--provenance` and `--sbom`.
pub(crate) fn attest(given: &[String], provenance: Option<&str>, sbom: Option<&str>) -> Result<Attest> {
    let truth = |flag: &str, value: Option<&str>| match value {
        None | Some("false") => Ok(false),
        // Docker's two modes: what would be more in the larger one is never written.
        Some("true" | "mode=min" | "mode=max") => Ok(true),
        Some(other) => Err(Error::invalid(format!("--{flag} is true or false, not {other:?}"))),
    };
    let mut all = Attest { provenance: truth("provenance", provenance)?, sbom: truth("sbom", sbom)? };
    for text in given {
        let mut fields = fields("attestation", text, &["type", "mode", "disabled"])?;
        let wanted = fields.remove("disabled").as_deref() != Some("true");
        match fields.remove("type").as_deref() {
            Some("provenance") => all.provenance = wanted,
            Some("sbom") => all.sbom = wanted,
            _ => {
                return Err(Error::invalid(format!("{text:?} is no attestation"))
                    .with_hint("write type=provenance or type=sbom"));
            }
        }
    }
    Ok(all)
}
