//! An image's config: read from what others wrote, written for the images we make (OCI image specification, "config").
//!
//! Reading is as tolerant as Docker's: a field may be absent or null, and what is not known is skipped, since the blob
//! itself is kept byte by byte. It never changes a config that it has read: that would change the image's identity.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::base::error::quoted;
use crate::base::{Digest, Error, Result, Timestamp};
use crate::model::health::HealthCheck;
use crate::model::image::{History, ImageConfig};

/// The most bytes that a config or a manifest may have (as registries hold it).
pub const MAX_JSON_BYTES: u64 = 4 << 20;
/// The most layers that an image may have: what the kernel's overlay takes.
pub const MAX_LAYERS: usize = 500;

/// What a config says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// When it was made.
    pub created: Option<Timestamp>,
    /// By whom.
    pub author: Option<String>,
    /// `amd64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// `v8`.
    pub variant: Option<String>,
    /// What `run` does with it.
    pub config: ImageConfig,
    /// The digests of the layers' tars, lowest first.
    pub diff_ids: Vec<Digest>,
    /// How it was made, oldest first.
    pub history: Vec<History>,
}

/// Reads a config.
///
/// # Errors
/// `corrupt` when it is not JSON of the right shape, too large, or names a malformed digest; `unsupported` for more
/// layers than an overlay can have.
pub fn parse(bytes: &[u8]) -> Result<Parsed> {
    if bytes.len() as u64 > MAX_JSON_BYTES {
        return Err(Error::corrupt(format!("the image config has more than {MAX_JSON_BYTES} bytes")));
    }
    let wire: Wire = serde_json::from_slice(bytes)
        .map_err(|error| Error::corrupt(format!("the image config cannot be read: {}", quoted(&error))))?;
    let rootfs = wire.rootfs.ok_or_else(|| Error::corrupt("the image config has no \"rootfs\""))?;
    if rootfs.kind.as_deref().is_some_and(|kind| kind != "layers") {
        return Err(Error::unsupported("the image config's rootfs is not made of layers"));
    }
    let diff_ids = rootfs.diff_ids.iter().map(|text| Digest::parse(text)).collect::<Result<Vec<_>>>();
    let diff_ids = diff_ids.map_err(|error| Error::corrupt("the image config names a bad layer").with_source(error))?;
    if diff_ids.len() > MAX_LAYERS {
        return Err(Error::unsupported(format!("the image has {} layers, more than {MAX_LAYERS}", diff_ids.len())));
    }
    let run = wire.config.unwrap_or_default();
    Ok(Parsed {
        created: wire.created.as_deref().and_then(time),
        author: wire.author.filter(|author| !author.is_empty()),
        architecture: wire.architecture,
        os: if wire.os.is_empty() { "linux".to_owned() } else { wire.os },
        variant: wire.variant.filter(|variant| !variant.is_empty()),
        config: ImageConfig {
            user: run.user,
            env: run.env,
            entrypoint: run.entrypoint,
            cmd: run.cmd,
            working_dir: run.working_dir,
            labels: run.labels,
            exposed_ports: run.exposed_ports.into_keys().collect(),
            volumes: run.volumes.into_keys().collect(),
            stop_signal: run.stop_signal.filter(|signal| !signal.is_empty()),
            shell: run.shell,
            on_build: run.on_build,
            healthcheck: run.healthcheck.map(HealthCheck::from),
        },
        diff_ids,
        history: wire.history.into_iter().map(History::from).collect(),
    })
}

/// Writes the config of an image that we make: the same facts give the same bytes.
pub fn write(parsed: &Parsed) -> Vec<u8> {
    let mut root = Map::new();
    let put = |map: &mut Map<String, Value>, key: &str, value: Value| {
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(items) => items.is_empty(),
            _ => false,
        };
        if !empty {
            map.insert(key.to_owned(), value);
        }
    };
    let set = |keys: &[String]| Value::Object(keys.iter().map(|key| (key.clone(), json!({}))).collect());
    let mut run = Map::new();
    let config = &parsed.config;
    put(&mut run, "User", json!(config.user));
    put(&mut run, "ExposedPorts", set(&config.exposed_ports));
    put(&mut run, "Env", json!(config.env));
    put(&mut run, "Entrypoint", json!(config.entrypoint));
    put(&mut run, "Cmd", json!(config.cmd));
    put(&mut run, "Volumes", set(&config.volumes));
    put(&mut run, "WorkingDir", json!(config.working_dir));
    put(&mut run, "OnBuild", json!(config.on_build));
    put(&mut run, "Labels", json!(config.labels));
    put(&mut run, "StopSignal", json!(config.stop_signal));
    put(&mut run, "Shell", json!(config.shell));
    put(&mut run, "Healthcheck", config.healthcheck.as_ref().map_or(Value::Null, HealthCheck::to_json));
    put(&mut root, "created", json!(parsed.created));
    put(&mut root, "author", json!(parsed.author));
    put(&mut root, "architecture", json!(parsed.architecture));
    put(&mut root, "variant", json!(parsed.variant));
    put(&mut root, "os", json!(parsed.os));
    root.insert("config".to_owned(), Value::Object(run));
    root.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": parsed.diff_ids }));
    let history = parsed.history.iter().map(|line| {
        let mut entry = Map::new();
        put(&mut entry, "created", json!(line.created));
        put(&mut entry, "created_by", json!(line.created_by));
        put(&mut entry, "author", json!(line.author));
        put(&mut entry, "comment", json!(line.comment));
        if line.empty_layer {
            entry.insert("empty_layer".to_owned(), json!(true));
        }
        Value::Object(entry)
    });
    let history: Vec<Value> = history.collect();
    root.insert("history".to_owned(), Value::Array(history));
    Value::Object(root).to_string().into_bytes()
}

/// The name that images use for this machine's processor, and its variant.
pub fn host_architecture() -> (&'static str, Option<&'static str>) {
    match std::env::consts::ARCH {
        "x86_64" => ("amd64", None),
        "x86" => ("386", None),
        "aarch64" => ("arm64", Some("v8")),
        "arm" => ("arm", Some("v7")),
        "powerpc64" => ("ppc64le", None),
        "loongarch64" => ("loong64", None),
        other => (other, None),
    }
}

/// Go's zero time and unreadable times are no time.
fn time(text: &str) -> Option<Timestamp> {
    if text.starts_with("0001-") { None } else { Timestamp::parse(text).ok() }
}

/// Null is the default, as in Go's decoder.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A list of words, or one word, as early Docker wrote commands.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<Words>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Words::One(word)) => vec![word],
        Some(Words::Many(words)) => words,
    })
}

#[derive(Deserialize)]
struct Wire {
    created: Option<String>,
    author: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    architecture: String,
    #[serde(default, deserialize_with = "nullable")]
    os: String,
    variant: Option<String>,
    config: Option<WireRun>,
    rootfs: Option<WireRootfs>,
    #[serde(default, deserialize_with = "nullable")]
    history: Vec<WireHistory>,
}

#[derive(Deserialize)]
struct WireRootfs {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    diff_ids: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct WireRun {
    #[serde(deserialize_with = "nullable")]
    user: String,
    #[serde(deserialize_with = "nullable")]
    env: Vec<String>,
    #[serde(deserialize_with = "words")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "words")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    working_dir: String,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    exposed_ports: BTreeMap<String, Value>,
    #[serde(deserialize_with = "nullable")]
    volumes: BTreeMap<String, Value>,
    stop_signal: Option<String>,
    #[serde(deserialize_with = "words")]
    shell: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    on_build: Vec<String>,
    healthcheck: Option<WireHealthcheck>,
}

/// Times in nanoseconds; zero, and less than it, is not set.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct WireHealthcheck {
    #[serde(deserialize_with = "nullable")]
    test: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    interval: i64,
    #[serde(deserialize_with = "nullable")]
    timeout: i64,
    #[serde(deserialize_with = "nullable")]
    start_period: i64,
    #[serde(deserialize_with = "nullable")]
    start_interval: i64,
    #[serde(deserialize_with = "nullable")]
    retries: i64,
}

impl From<WireHealthcheck> for HealthCheck {
    fn from(wire: WireHealthcheck) -> HealthCheck {
        let time = |nanos: i64| u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos);
        HealthCheck {
            test: wire.test,
            interval: time(wire.interval),
            timeout: time(wire.timeout),
            start_period: time(wire.start_period),
            start_interval: time(wire.start_interval),
            retries: u32::try_from(wire.retries).ok().filter(|retries| *retries > 0),
        }
    }
}

#[derive(Deserialize)]
struct WireHistory {
    created: Option<String>,
    created_by: Option<String>,
    author: Option<String>,
    comment: Option<String>,
    empty_layer: Option<bool>,
}

impl From<WireHistory> for History {
    fn from(wire: WireHistory) -> History {
        History {
            created: wire.created.as_deref().and_then(time),
            created_by: wire.created_by.unwrap_or_default(),
            author: wire.author.filter(|text| !text.is_empty()),
            comment: wire.comment.filter(|text| !text.is_empty()),
            empty_layer: wire.empty_layer.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[test]
    fn null_fields_and_unknown_fields_are_as_absent_ones() {
        let text = r#"{"created":"0001-01-01T00:00:00Z","architecture":"amd64","os":"linux","x":1,"history":null,
            "config":{"User":null,"Env":null,"Cmd":"sh","Entrypoint":null,"Labels":null,"ExposedPorts":{"80/tcp":{}},
            "Volumes":{"/data":{}},"OnBuild":null,"Healthcheck":{"Test":["NONE"]},"StopSignal":""},
            "rootfs":{"type":"layers","diff_ids":null}}"#;
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.created, None);
        assert_eq!(parsed.config.cmd, ["sh"]);
        assert_eq!(parsed.config.exposed_ports, ["80/tcp"]);
        assert_eq!(parsed.config.volumes, ["/data"]);
        assert_eq!(parsed.config.stop_signal, None);
        assert_eq!(parsed.config.healthcheck, Some(HealthCheck::none()));
        assert!(parsed.diff_ids.is_empty());
    }

    #[test]
    fn a_health_check_is_read_as_docker_reads_it() {
        let read = |check: &str| {
            let text = format!(r#"{{"config":{{"Healthcheck":{check}}},"rootfs":{{"diff_ids":[]}}}}"#);
            parse(text.as_bytes()).map(|parsed| parsed.config.healthcheck)
        };
        let check = read(r#"{"Test":["CMD-SHELL","x"],"Interval":1500000000,"Timeout":-1,"Retries":0,"Later":1}"#);
        let check = check.unwrap().unwrap();
        assert_eq!((check.test.join(" "), check.interval), ("CMD-SHELL x".into(), Some(Duration::from_millis(1500))));
        assert_eq!((check.timeout, check.retries), (None, None));
        assert_eq!(read("null").unwrap(), None);
        assert_eq!(read(r#"{"Test":null}"#).unwrap(), Some(HealthCheck::default()));
        for bad in [r#"{"Test":"curl"}"#, r#"{"Interval":"5s"}"#, r#"{"Test":[1]}"#, r#"{"Retries":1e99}"#] {
            assert_eq!(read(bad).unwrap_err().kind(), Kind::Corrupt, "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_back_and_is_the_same_every_time() {
        let config = ImageConfig {
            user: "1000".into(),
            env: vec!["A=b".into()],
            cmd: vec!["sh".into()],
            volumes: vec!["/data".into()],
            exposed_ports: vec!["80/tcp".into()],
            on_build: vec!["RUN true".into()],
            stop_signal: Some("SIGINT".into()),
            healthcheck: Some(HealthCheck {
                test: vec!["CMD".into(), "true".into()],
                interval: Some(Duration::from_millis(1500)),
                retries: Some(2),
                ..HealthCheck::default()
            }),
            ..ImageConfig::default()
        };
        let parsed = Parsed {
            created: Some(Timestamp::from_nanos(1_000_000_000)),
            architecture: "amd64".into(),
            os: "linux".into(),
            config,
            diff_ids: vec![Digest::of(b"x")],
            history: vec![History { created_by: "from_host sh".into(), ..History::default() }],
            ..Parsed::default()
        };
        let bytes = write(&parsed);
        assert_eq!(parse(&bytes).unwrap(), parsed);
        assert_eq!(write(&parsed), bytes);
    }

    #[test]
    fn configs_of_the_wrong_shape_are_corrupt() {
        let many = format!(
            r#"{{"rootfs":{{"diff_ids":[{}]}}}}"#,
            vec![format!("{:?}", Digest::of(b"").as_str()); 501].join(",")
        );
        for (text, kind) in [
            ("", Kind::Corrupt),
            ("[]", Kind::Corrupt),
            ("{}", Kind::Corrupt),
            (r#"{"rootfs":{"diff_ids":["../../etc"]}}"#, Kind::Corrupt),
            (r#"{"rootfs":{"diff_ids":[]},"rootfs":{"diff_ids":[]}}"#, Kind::Corrupt),
            (r#"{"rootfs":{"diff_ids":[]},"config":{"Env":"A=b"}}"#, Kind::Corrupt),
            (r#"{"rootfs":{"type":"vhd","diff_ids":[]}}"#, Kind::Unsupported),
            (&many, Kind::Unsupported),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), kind, "{text}: {error}");
        }
    }
}
