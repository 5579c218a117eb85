//! `docker import --change` and its kin: single Dockerfile instructions that edit an image's config.
//!
//! Knows the instructions that only touch the config (CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL
//! USER VOLUME WORKDIR). It is no Dockerfile reader: no line continuation, no variables, no stages.

use crate::base::{Error, Result, suggest, units};
use crate::model::health::{self, HealthCheck};
use crate::model::image::ImageConfig;

const INSTRUCTIONS: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Applies instructions in order.
///
/// # Errors
/// `invalid_argument` naming the instruction; `config` may have been changed in part then.
pub(in crate::engine) fn apply(config: &mut ImageConfig, changes: &[String]) -> Result<()> {
    for change in changes {
        apply_one(config, change.trim()).map_err(|error| error.context(format!("applying the change {change:?}")))?;
    }
    Ok(())
}

fn apply_one(config: &mut ImageConfig, change: &str) -> Result<()> {
    let (word, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
    let rest = rest.trim();
    let instruction = word.to_ascii_uppercase();
    if !INSTRUCTIONS.contains(&instruction.as_str()) {
        let error = Error::invalid(format!("{word:?} is not an instruction that changes an image's config"));
        return Err(match suggest::nearest(&instruction, INSTRUCTIONS) {
            Some(best) => error.with_hint(format!("did you mean {best}?")),
            None => error.with_hint(format!("use one of {}", INSTRUCTIONS.join(" "))),
        });
    }
    if rest.is_empty() && !matches!(instruction.as_str(), "CMD" | "ENTRYPOINT") {
        return Err(Error::invalid(format!("{instruction} needs an argument")));
    }
    match instruction.as_str() {
        "CMD" => config.cmd = command(rest, config)?,
        "ENTRYPOINT" => config.entrypoint = command(rest, config)?,
        "ENV" => {
            for (name, value) in pairs(rest)? {
                let start = format!("{name}=");
                let entry = format!("{name}={value}");
                match config.env.iter_mut().find(|old| old.starts_with(&start)) {
                    Some(old) => *old = entry,
                    None => config.env.push(entry),
                }
            }
        }
        "LABEL" => config.labels.extend(pairs(rest)?),
        "EXPOSE" => {
            for port in words(rest)? {
                add(&mut config.exposed_ports, expose(&port)?);
            }
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        "VOLUME" => {
            let targets = match json_array(rest)? {
                Some(list) => list,
                None => words(rest)?,
            };
            for target in targets {
                if target.trim().is_empty() {
                    return Err(Error::invalid("a VOLUME needs a path"));
                }
                add(&mut config.volumes, target);
            }
        }
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "USER" => config.user = rest.to_owned(),
        _ => {
            let target = unquote(rest)?;
            config.working_dir = if target.starts_with('/') {
                target
            } else {
                let base = if config.working_dir.is_empty() { "/" } else { config.working_dir.as_str() };
                format!("{}/{target}", base.trim_end_matches('/'))
            };
        }
    }
    Ok(())
}

/// `[--interval=… --timeout=… --start-period=… --start-interval=… --retries=…] CMD command`, or `NONE` (Dockerfile
/// reference, `HEALTHCHECK`).
fn healthcheck(text: &str) -> Result<HealthCheck> {
    let mut check = HealthCheck::default();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (word, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = word.split_once('=').ok_or_else(|| bad_pair(word))?;
        let time = || match units::parse_duration(value)? {
            time if time.is_zero() => Ok(None),
            time if time < health::MIN_TIME => Err(Error::invalid(format!("{name} is shorter than 1 ms"))),
            time => Ok(Some(time)),
        };
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => {
                let retries = value.parse::<u32>();
                let retries = retries.map_err(|_| Error::invalid(format!("{value:?} is not a number of retries")))?;
                check.retries = (retries > 0).then_some(retries);
            }
            _ => return Err(Error::invalid(format!("HEALTHCHECK knows no --{name}"))),
        }
        rest = after.trim_start();
    }
    let (word, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match (word.to_ascii_uppercase().as_str(), command.trim()) {
        ("NONE", "") => Ok(HealthCheck::none()),
        ("CMD", command) if !command.is_empty() => {
            check.test = match json_array(command)? {
                Some(list) => ["CMD".to_owned()].into_iter().chain(list).collect(),
                None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
            };
            Ok(check)
        }
        _ => {
            Err(Error::invalid(format!("{rest:?} is not a health check")).with_hint("write CMD and a command, or NONE"))
        }
    }
}

fn add(list: &mut Vec<String>, item: String) {
    if let Err(place) = list.binary_search(&item) {
        list.insert(place, item);
    }
}

/// The exec form as it is, the shell form behind the image's shell.
fn command(text: &str, config: &ImageConfig) -> Result<Vec<String>> {
    if let Some(list) = json_array(text)? {
        return Ok(list);
    }
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let shell = if config.shell.is_empty() { vec!["/bin/sh".into(), "-c".into()] } else { config.shell.clone() };
    Ok(shell.into_iter().chain([text.to_owned()]).collect())
}

/// A JSON array of strings when the text is one; as in a Dockerfile, anything else is plain text.
fn json_array(text: &str) -> Result<Option<Vec<String>>> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    match serde_json::from_str(text) {
        Ok(list) => Ok(Some(list)),
        Err(error) => Err(Error::invalid(format!("{text:?} is not a JSON array of strings"))
            .with_source(error)
            .with_hint("write [\"program\", \"argument\"] with double quotes, or a command line without brackets")),
    }
}

/// `a=b c="d e"`, or the old form `a b c` of one pair.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let words = words(text)?;
    let first = words.first().map_or("", String::as_str);
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).ok_or_else(|| bad_pair(text))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pairs = words.iter().map(|word| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(bad_pair(word)),
    });
    pairs.collect()
}

fn bad_pair(text: &str) -> Error {
    Error::invalid(format!("{text:?} is not of the form NAME=value"))
}

/// Splits at white space outside quotes; `'…'` is literal, `\` escapes elsewhere.
fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(q), c) if q == c => quote = None,
            (None | Some('"'), '\\') => {
                let next = chars.next().ok_or_else(|| Error::invalid("it ends with a backslash"))?;
                word.get_or_insert_default().push(next);
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Error::invalid("a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

fn unquote(text: &str) -> Result<String> {
    Ok(words(text)?.join(" "))
}

/// `80` → `80/tcp`; ranges stay as they are.
fn expose(text: &str) -> Result<String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    if !number(first) || !number(last) || !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(Error::invalid(format!("{text:?} is not a port")).with_hint("write 80, 80/tcp or 8000-8010/udp"));
    }
    Ok(format!("{ports}/{protocol}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<ImageConfig> {
        let mut config = ImageConfig::default();
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        apply(&mut config, &changes)?;
        Ok(config)
    }

    #[test]
    fn each_instruction_changes_its_field() {
        let config = changed(&[
            r#"CMD ["sh", "-c", "true"]"#,
            "entrypoint exec \"$@\"",
            "ENV A=1 B=\"x y\" C='$z'",
            "ENV A=2",
            "ENV OLD some words",
            "EXPOSE 80 53/udp 8000-8010",
            "LABEL org.example.kind=demo \"a b\"=c",
            "HEALTHCHECK --interval=5s --retries=2 CMD curl -f localhost",
            "ONBUILD RUN true",
            "STOPSIGNAL SIGINT",
            "USER 1000:1000",
            r#"VOLUME ["/data", "/b c"]"#,
            "VOLUME /data /x",
            "WORKDIR /srv",
            "WORKDIR app",
        ])
        .unwrap();
        assert_eq!(config.cmd, ["sh", "-c", "true"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "exec \"$@\""]);
        assert_eq!(config.env, ["A=2", "B=x y", "C=$z", "OLD=some words"]);
        assert_eq!(config.exposed_ports, ["53/udp", "80/tcp", "8000-8010/tcp"]);
        assert_eq!(config.labels["org.example.kind"], "demo");
        assert_eq!(config.labels["a b"], "c");
        assert_eq!(config.on_build, ["RUN true"]);
        let check = config.healthcheck.unwrap();
        assert_eq!(check.test, ["CMD-SHELL", "curl -f localhost"]);
        assert_eq!((check.interval.unwrap().as_secs(), check.retries), (5, Some(2)));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!(config.user, "1000:1000");
        assert_eq!(config.volumes, ["/b c", "/data", "/x"]);
        assert_eq!(config.working_dir, "/srv/app");
    }

    #[test]
    fn bad_instructions_name_what_is_wrong() {
        for (change, word) in [
            ("RUN true", "RUN"),
            ("CMB sh", "CMB"),
            ("ENV", "argument"),
            ("ENV A", "NAME=value"),
            ("ENV A=1 B", "NAME=value"),
            ("ENV A=\"x", "quote"),
            ("HEALTHCHECK --interval=x CMD true", "HEALTHCHECK"),
            ("HEALTHCHECK --every=5s CMD true", "--every"),
            ("HEALTHCHECK true", "health check"),
            ("EXPOSE 0", "port"),
            ("EXPOSE 80/icmp", "port"),
            ("CMD ['sh']", "JSON"),
            ("", "instruction"),
        ] {
            let error = changed(&[change]).unwrap_err();
            assert!(error.to_string().contains(word), "{change}: {error}");
        }
        assert_eq!(changed(&["CMB sh"]).unwrap_err().hint(), Some("did you mean CMD?"));
    }
}
