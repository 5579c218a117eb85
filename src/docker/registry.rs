//! What Docker's client knows of registries: `config.json` with names and passwords, the programs that keep them
//! (docker/docker-credential-helpers, "Development"), and folders with certificates.
//!
//! A file that cannot be read is an error, never nobody (CVE-2021-41092). What is not ours in it stays as it is.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::base::error::quoted;
use crate::base::{Context as _, Error, Result};
use crate::registry::access::{Access, Credentials, Known};
use crate::sys::new_file::NewFile;
use crate::sys::path::Dir;

/// The file with what was signed in.
const FILE: &str = "config.json";
/// Docker's name for its own registry in that file.
const HUB: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");
/// The name under which a program keeps an identity token.
const TOKEN_USER: &str = "<token>";
/// What such a program says when it does not know a registry.
const NOT_KNOWN: &str = "credentials not found";
/// The most bytes of the file, and of what a program says.
const MOST_BYTES: u64 = 4 << 20;

/// Where things are kept.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The folder with `config.json`: `$DOCKER_CONFIG`, or `.docker` in one's home.
    pub config: Option<PathBuf>,
    /// Folders with a folder of certificates for each registry, the first one that has one counts.
    pub certificates: Vec<PathBuf>,
    /// Registries that may speak plain HTTP, or show a certificate that nobody signed: hosts with their ports.
    pub insecure: Vec<String>,
    /// Where programs are looked up.
    pub search_path: Vec<PathBuf>,
}

/// The file: where it is, all of it, and what we read of it.
#[derive(Debug, Default)]
struct Opened {
    path: PathBuf,
    all: Map<String, Value>,
    config: Config,
}

/// What we read of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
    #[serde(rename = "credsStore")]
    helper: Option<String>,
}

/// What the file says of one registry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Known for Places {
    fn trust(&self, host: &str) -> Result<Access> {
        let insecure = self.insecure.iter().any(|insecure| insecure == host);
        let mut access = Access { insecure, ..Access::default() };
        self.certificates(host, &mut access)?;
        Ok(access)
    }

    fn credentials(&self, host: &str) -> Result<Option<Credentials>> {
        let Some(Opened { path, config, .. }) = self.read()? else { return Ok(None) };
        if let Some(helper) = config.helper(host, &path)? {
            return self.ask(&helper, &key(host));
        }
        let auths = config.auths.unwrap_or_default();
        // Old clients wrote addresses; the exact name counts before them.
        let exact = auths.get(&key(host));
        let Some(entry) = exact.or_else(|| auths.iter().find(|(name, _)| same(name, host)).map(|(_, entry)| entry))
        else {
            return Ok(None);
        };
        credentials(entry).map_err(|error| error.context(format!("reading what {path:?} says of {host}")))
    }
}

impl Places {
    /// Keeps who one is there; gives whether everybody can read it who can read the file.
    ///
    /// # Errors
    /// `not_found` when it is not known where; `corrupt` for a file that makes no sense; what a program and writing give.
    pub fn sign_in(&self, host: &str, credentials: &Credentials) -> Result<bool> {
        let Opened { path, mut all, config } = self.to_change()?;
        let key = key(host);
        if let Some(helper) = config.helper(host, &path)? {
            let (user, secret) = match credentials {
                Credentials::Password { user, password } => (user.as_str(), password.as_str()),
                Credentials::Identity(token) => (TOKEN_USER, token.as_str()),
            };
            let said = json!({ "ServerURL": key, "Username": user, "Secret": secret });
            self.tell(&helper, "store", said.to_string().as_bytes())?;
            return Ok(false);
        }
        let auths = all.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        let Some(auths) = auths.as_object_mut() else { return Err(malformed(&path, "auths is not an object")) };
        auths.retain(|name, _| !same(name, host));
        let entry = match credentials {
            Credentials::Password { user, password } => {
                json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
            }
            Credentials::Identity(token) => json!({ "identitytoken": token }),
        };
        auths.insert(key, entry);
        write(&path, &all).map(|()| true)
    }

    /// Forgets who one is there; gives whether it was known.
    ///
    /// # Errors
    /// As [`Places::sign_in`].
    pub fn sign_out(&self, host: &str) -> Result<bool> {
        let Opened { path, mut all, config } = self.to_change()?;
        if let Some(helper) = config.helper(host, &path)? {
            let known = self.ask(&helper, &key(host))?.is_some();
            if known {
                self.tell(&helper, "erase", key(host).as_bytes())?;
            }
            return Ok(known);
        }
        let Some(auths) = all.get_mut("auths").and_then(Value::as_object_mut) else { return Ok(false) };
        let before = auths.len();
        auths.retain(|name, _| !same(name, host));
        if auths.len() == before {
            return Ok(false);
        }
        write(&path, &all)?;
        Ok(true)
    }

    fn to_change(&self) -> Result<Opened> {
        let folder = self.config.as_ref().ok_or_else(|| {
            Error::not_found("it is not known where to keep that").with_hint("set DOCKER_CONFIG to a folder")
        })?;
        Ok(self.read()?.unwrap_or_else(|| Opened { path: folder.join(FILE), ..Opened::default() }))
    }

    /// Reads the file; none when there is none.
    fn read(&self) -> Result<Option<Opened>> {
        let Some(folder) = &self.config else { return Ok(None) };
        let path = folder.join(FILE);
        let Some(bytes) = bytes_of(&path)? else { return Ok(None) };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Opened { path, ..Opened::default() }));
        }
        let read = serde_json::from_slice::<Map<String, Value>>(&bytes)
            .and_then(|all| serde_json::from_slice::<Config>(&bytes).map(|config| (all, config)));
        let (all, config) = read.map_err(|error| malformed(&path, &quoted(&error)))?;
        Ok(Some(Opened { path, all, config }))
    }

    /// What a program knows of a registry.
    fn ask(&self, helper: &str, key: &str) -> Result<Option<Credentials>> {
        let Some(said) = self.tell(helper, "get", key.as_bytes())? else { return Ok(None) };
        let said: Value = serde_json::from_slice(&said)
            .map_err(|error| Error::corrupt(format!("{helper} gave no JSON: {}", quoted(&error))))?;
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (user, password) = (text("Username"), text("Secret"));
        Ok(match (user.as_str(), password.as_str()) {
            (_, "") => None,
            (TOKEN_USER, _) => Some(Credentials::Identity(password)),
            _ => Some(Credentials::Password { user, password }),
        })
    }

    /// Runs such a program; none when it does not know what it was asked for.
    fn tell(&self, helper: &str, verb: &str, said: &[u8]) -> Result<Option<Vec<u8>>> {
        let running = || format!("running {helper}");
        let found = self.search_path.iter().map(|folder| folder.join(helper)).find(|path| path.is_file());
        let program = found.ok_or_else(|| {
            Error::not_found(format!("there is no program {helper}, in which passwords are kept"))
                .with_hint("install it, or take credsStore and credHelpers out of config.json")
        })?;
        let mut child = Command::new(program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(running)?;
        if let Some(mut input) = child.stdin.take() {
            // One that does not listen says why by how it ends.
            let _ = input.write_all(said);
        }
        let output = child.wait_with_output().context(running)?;
        if output.stdout.len() as u64 > MOST_BYTES {
            return Err(Error::corrupt(format!("{helper} says too much")));
        }
        if output.status.success() {
            return Ok(Some(output.stdout));
        }
        let words = [output.stdout, output.stderr].concat();
        let words = String::from_utf8_lossy(&words);
        if verb == "get" && words.to_ascii_lowercase().contains(NOT_KNOWN) {
            return Ok(None);
        }
        Err(Error::failed(format!("{helper} {verb} failed: {}", quoted(&words.trim()))))
    }

    /// `*.crt` are authorities, `client.cert` and `client.key` (or any such pair) what one shows.
    fn certificates(&self, host: &str, access: &mut Access) -> Result<()> {
        let Some(folder) = self.certificates.iter().map(|all| all.join(host)).find(|folder| folder.is_dir()) else {
            return Ok(());
        };
        let reading = || format!("reading {folder:?}");
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&folder).context(reading)? {
            paths.push(entry.context(reading)?.path());
        }
        paths.sort();
        for path in &paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => access.authorities.extend(bytes_of(path)?),
                Some("cert") => {
                    let mut pem = bytes_of(path)?.unwrap_or_default();
                    let key = path.with_extension("key");
                    let bytes = bytes_of(&key)?;
                    pem.push(b'\n');
                    pem.extend(bytes.ok_or_else(|| Error::not_found(format!("{path:?} has no key {key:?}")))?);
                    access.identity = Some(pem);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The bytes of a file; none when there is none.
fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let reading = || format!("reading {path:?}");
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.context(reading)?,
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).context(reading)?;
    Ok(Some(bytes))
}

/// Writes the file anew, for its owner alone. A link is followed, as Docker does.
fn write(path: &Path, config: &Map<String, Value>) -> Result<()> {
    let writing = || format!("writing {path:?}");
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(Error::invalid(format!("{target:?} is no file")));
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).context(writing)?;
    let text = serde_json::to_string_pretty(config).map_err(|error| Error::failed(error.to_string()))?;
    let new = NewFile::create(&Dir::open(folder).context(writing)?).context(writing)?;
    new.file().write_all(format!("{text}\n").as_bytes()).context(writing)?;
    new.publish(name.as_bytes()).context(writing)
}

impl Config {
    /// The program that keeps what one says to a registry, when there is one.
    fn helper(&self, host: &str, path: &Path) -> Result<Option<String>> {
        let own = self.helpers.iter().flatten().find(|(name, _)| same(name, host)).map(|(_, helper)| helper);
        let Some(name) = own.or(self.helper.as_ref()).filter(|name| !name.is_empty()) else { return Ok(None) };
        // It is looked up in folders: it may name no other.
        if name.contains('/') {
            return Err(malformed(path, &format!("{name:?} names no program that keeps passwords")));
        }
        Ok(Some(format!("docker-credential-{name}")))
    }
}

fn credentials(entry: &Entry) -> Result<Option<Credentials>> {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(token) = text(&entry.identitytoken) {
        return Ok(Some(Credentials::Identity(token)));
    }
    match (text(&entry.username), text(&entry.password)) {
        (Some(user), Some(password)) => return Ok(Some(Credentials::Password { user, password })),
        (Some(_), None) if entry.auth.is_none() => return Err(Error::corrupt("there is a name without a password")),
        _ => {}
    }
    let Some(auth) = text(&entry.auth) else { return Ok(None) };
    let wrong = || Error::corrupt("auth is not NAME:PASSWORD in base64");
    let plain = STANDARD.decode(auth).ok().and_then(|plain| String::from_utf8(plain).ok()).ok_or_else(wrong)?;
    let (user, password) = plain.split_once(':').ok_or_else(wrong)?;
    // Old clients end it with zeros.
    Ok(Some(Credentials::Password { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() }))
}

/// The name of a registry in the file.
fn key(host: &str) -> String {
    if host == HUB.0 { HUB.1.to_owned() } else { host.to_owned() }
}

/// Whether a name in the file is this registry: old clients wrote addresses. What names a part of one is for podman alone.
fn same(name: &str, host: &str) -> bool {
    let bare = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    let bare = bare
        .split_once('/')
        .map_or(bare, |(bare, rest)| if matches!(rest, "" | "v1/" | "v2/" | "v1" | "v2") { bare } else { "" });
    bare == host || (host == HUB.0 && matches!(bare, "index.docker.io" | "registry-1.docker.io"))
}

fn malformed(path: &Path, why: &str) -> Error {
    Error::corrupt(format!("{path:?} is malformed: {why}"))
        .with_hint("mend it, or name another folder in DOCKER_CONFIG: nobody is asked for without it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;
    use std::os::unix::fs::PermissionsExt as _;

    fn places(folder: &Path, config: &str) -> Places {
        std::fs::write(folder.join(FILE), config).unwrap();
        Places { config: Some(folder.to_owned()), search_path: vec![folder.to_owned()], ..Places::default() }
    }

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn what_docker_wrote_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(
            folder.path(),
            r#"{"auths": {"https://index.docker.io/v1/": {"auth": "bWU6YTpi"}, "r.example": {"identitytoken": "t"},
                "http://old.example:5000/v1/": {"username": "u", "password": "p"}, "none.example": {},
                "bad.example": {"auth": "!"}}}"#,
        );
        let who = |host: &str| places.credentials(host);
        assert_eq!(who("docker.io").unwrap(), password("me", "a:b"));
        assert_eq!(who("r.example").unwrap(), Some(Credentials::Identity("t".into())));
        assert_eq!(who("old.example:5000").unwrap(), password("u", "p"));
        assert_eq!(who("none.example").unwrap(), None);
        assert_eq!(who("example").unwrap(), None);
        assert_eq!(who("bad.example").unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn a_broken_file_is_an_error_and_not_nobody() {
        let folder = tempfile::tempdir().unwrap();
        for text in [
            "{",
            "[]",
            r#"{"auths": {}"#,
            r#"{"auths": []}"#,
            r#"{"auths": {"x.example": "y"}}"#,
            r#"{"auths": {"x.example": {"auth": 5}}}"#,
            r#"{"auths": {"x.example": {"username": "u"}}}"#,
            r#"{"credsStore": 5}"#,
            r#"{"credsStore": "a/b"}"#,
            r#"{"credHelpers": []}"#,
        ] {
            let known = places(folder.path(), text).credentials("x.example");
            assert_eq!(known.unwrap_err().kind(), Kind::Corrupt, "{text}");
        }
        assert_eq!(places(folder.path(), " ").credentials("x.example").unwrap(), None);
    }

    #[test]
    fn the_exact_name_counts_first() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"auths": {"http://h.example": {"auth": "YTpi"}, "h.example": {"auth": "Yzpk"},
            "h.example/team": {"auth": "ZTpm"}, "other.example/team": {"auth": "ZTpm"}}}"#;
        let places = places(folder.path(), text);
        assert_eq!(places.credentials("h.example").unwrap(), password("c", "d"));
        assert_eq!(places.credentials("other.example").unwrap(), None);
    }

    #[test]
    fn signing_in_and_out_leaves_the_rest_alone() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path(), r#"{"HttpHeaders": {"a": "b"}, "auths": {"a.example": {"auth": "eDp5"}}}"#);
        let who = Credentials::Password { user: "me".into(), password: "secret".into() };
        places.sign_in("b.example:5000", &who).unwrap();
        assert_eq!(places.credentials("b.example:5000").unwrap(), Some(who));
        assert_eq!(places.credentials("a.example").unwrap(), password("x", "y"));
        let path = folder.path().join(FILE);
        assert!(std::fs::read_to_string(&path).unwrap().contains("HttpHeaders"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(places.sign_out("b.example:5000").unwrap());
        assert!(!places.sign_out("b.example:5000").unwrap());
        assert_eq!(places.credentials("b.example:5000").unwrap(), None);
    }

    #[test]
    fn a_program_keeps_passwords() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path(), r#"{"credsStore": "x", "credHelpers": {"gone.example": "nope"}}"#);
        let program = folder.path().join("docker-credential-x");
        let script = "#!/bin/sh\nread -r line\ncase \"$1 $line\" in\n\
            'get a.example') echo '{\"Username\":\"u\",\"Secret\":\"p\"}';;\n\
            'get t.example') echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}';;\n\
            'get bad.example') echo oh no >&2; exit 1;;\n\
            get*) echo credentials not found in native keychain; exit 1;;\n\
            store*) echo \"$line\" > \"${0%/*}/stored\";;\nesac\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let who = |host: &str| places.credentials(host);
        assert_eq!(who("a.example").unwrap(), password("u", "p"));
        assert_eq!(who("t.example").unwrap(), Some(Credentials::Identity("t".into())));
        assert_eq!(who("other.example").unwrap(), None);
        assert_eq!(who("bad.example").unwrap_err().kind(), Kind::Failed);
        assert_eq!(who("gone.example").unwrap_err().kind(), Kind::NotFound);
        places.sign_in("a.example", &Credentials::Identity("i".into())).unwrap();
        assert!(std::fs::read_to_string(folder.path().join("stored")).unwrap().contains("<token>"));
    }

    #[test]
    fn certificates_lie_in_a_folder_of_the_registry() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("r.example:5000");
        std::fs::create_dir(&own).unwrap();
        for (name, text) in [("ca.crt", "A"), ("client.cert", "C"), ("client.key", "K"), ("readme", "")] {
            std::fs::write(own.join(name), text).unwrap();
        }
        let places = Places {
            certificates: vec![folder.path().join("none"), folder.path().to_owned()],
            insecure: vec!["i.example".into()],
            ..Places::default()
        };
        let access = places.trust("r.example:5000").unwrap();
        assert_eq!((access.authorities, access.identity), (vec![b"A".to_vec()], Some(b"C\nK".to_vec())));
        assert!(!access.insecure && places.trust("i.example").unwrap().insecure);
        std::fs::remove_file(own.join("client.key")).unwrap();
        assert_eq!(places.trust("r.example:5000").unwrap_err().kind(), Kind::NotFound);
    }
}
