//! What is said of an image that was built: how (SLSA provenance, version 1) and what is in it (SPDX 2.3), each as an in-toto
//! statement about the image's manifest.
//!
//! The packages are those that the image's own databases name, Debian's and Alpine's: files are not looked through. Neither
//! a secret's value nor a build argument's is in a statement, and no step's text, in which such might stand.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use serde_json::{Value, json};

use super::plan;
use crate::base::reference::without_user;
use crate::base::{Context as _, Error, Result, Timestamp};
use crate::engine::Engine;
use crate::model::build::{Action, Attest, Base, BuildOptions, BuildReport, Graph, MountKind, Origin, Source, Step};
use crate::model::image::{Attestation, Image};
use crate::sys::path::Dir;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";
/// What kind of build it was, and who built.
const BUILD_TYPE: &str = "urn:rhumb:build:1";
const BUILDER: &str = "urn:rhumb:builder";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The most bytes of a database of packages.
const MOST_DATABASE_BYTES: u64 = 64 << 20;
/// The most packages that are listed.
const MOST_PACKAGES: usize = 200_000;

/// A package that is installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    /// `deb` or `apk`.
    kind: &'static str,
    name: String,
    version: String,
    architecture: String,
}

impl Engine {
    /// The statements about an image that a build came to.
    ///
    /// # Errors
    /// What reading the image gives; `corrupt` for a database of packages that is none.
    pub fn build_attest(
        &self,
        graph: &Graph,
        options: &BuildOptions,
        report: &BuildReport,
        image: &Image,
        what: Attest,
    ) -> Result<Vec<Attestation>> {
        let mut all = Vec::new();
        if what.provenance {
            all.push(statement(image, PROVENANCE, self.provenance(graph, options, report)?));
        }
        if what.sbom {
            all.push(statement(image, SPDX, self.packages(image).context(|| "listing the image's packages")?));
        }
        Ok(all)
    }

    fn provenance(&self, graph: &Graph, options: &BuildOptions, report: &BuildReport) -> Result<Value> {
        let target = graph.stages.get(graph.target).and_then(|stage| stage.name.as_ref());
        let steps: Vec<Value> = report
            .steps
            .iter()
            .filter_map(|step| {
                let layer = step.layer.as_ref().map(|layer| layer.diff_id.as_str());
                step.key.as_ref().map(|key| json!({ "key": key, "layer": layer, "cached": step.cached }))
            })
            .collect();
        let finished = Timestamp::now();
        Ok(json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "target": target,
                    "platform": graph.stages.get(graph.target).and_then(|stage| stage.platform.as_ref()),
                    "secrets": options.credentials.secrets.keys().collect::<Vec<_>>(),
                    "ssh": options.credentials.ssh.keys().collect::<Vec<_>>(),
                    "sourceDateEpoch": options.epoch.map(Timestamp::as_secs),
                },
                "internalParameters": { "steps": steps },
                "resolvedDependencies": self.dependencies(graph)?,
            },
            "runDetails": {
                "builder": { "id": BUILDER, "version": { "rhumb": VERSION } },
                "metadata": {
                    "invocationId": report.id,
                    "startedOn": seconds(finished.before(report.elapsed)),
                    "finishedOn": seconds(finished),
                },
            },
        }))
    }

    /// The images, files and commits that a build took, with their digests where these are known.
    fn dependencies(&self, graph: &Graph) -> Result<Vec<Value>> {
        let mut images = BTreeSet::new();
        let mut found = BTreeMap::new();
        for index in plan::needed(graph)? {
            let stage = &graph.stages[index];
            if let Base::Image(name) = &stage.base {
                images.insert(name.clone());
            }
            taken(&stage.steps, &mut images, &mut found);
        }
        for name in images {
            let digest = self.image_get_for_build(&name)?.manifest;
            found.insert(format!("pkg:docker/{}", encoded(&name)), json!({ "sha256": digest.hex() }));
        }
        let entry = |(uri, digest): (String, Value)| match digest {
            Value::Null => json!({ "uri": uri }),
            digest => json!({ "uri": uri, "digest": digest }),
        };
        Ok(found.into_iter().map(entry).collect())
    }

    /// The image's packages as an SPDX document.
    fn packages(&self, image: &Image) -> Result<Value> {
        let layers: Vec<_> = image.layers.iter().map(|layer| layer.chain_id.clone()).collect();
        let view = self.build_view(&layers)?;
        let (packages, system) = match &view {
            Some(view) => (installed(view)?, system(view)),
            None => (Vec::new(), BTreeMap::new()),
        };
        Ok(spdx(image, &packages, &system))
    }
}

/// What steps take from elsewhere.
fn taken(steps: &[Step], images: &mut BTreeSet<String>, found: &mut BTreeMap<String, Value>) {
    let mut origin = |origin: &Origin| {
        if let Origin::Image(name) = origin {
            images.insert(name.clone());
        }
    };
    for step in steps {
        match &step.action {
            Action::Run(run) => {
                run.mounts.iter().for_each(|mount| match &mount.kind {
                    MountKind::Bind { from, .. } => origin(from),
                    MountKind::Cache(cache) => cache.from.iter().for_each(&mut origin),
                    _ => {}
                });
                run.services.iter().for_each(|service| origin(&service.image));
            }
            Action::Copy(copy) => copy.sources.iter().for_each(|source| match source {
                Source::Path { from, .. } => origin(from),
                Source::Url { url, checksum, .. } => {
                    let digest = checksum.as_ref().map(|checksum| json!({ "sha256": checksum.hex() }));
                    found.insert(without_user(url), digest.unwrap_or_default());
                }
                Source::Git { url, reference, checksum, .. } => {
                    let uri = match reference {
                        Some(reference) => format!("git+{}@{reference}", without_user(url)),
                        None => format!("git+{}", without_user(url)),
                    };
                    let commit = checksum.as_ref().filter(|commit| commit.len() == 40);
                    let digest = commit.map(|commit| json!({ "gitCommit": commit }));
                    found.insert(uri, digest.unwrap_or_default());
                }
                Source::Inline(_) => {}
            }),
            Action::Config(_) => {}
            Action::Layer(_) => {}
        }
    }
    for step in steps {
        if let Action::Layer(steps) = &step.action {
            taken(steps, images, found);
        }
    }
}

fn statement(image: &Image, predicate_type: &str, predicate: Value) -> Attestation {
    let name = image.tags.first().map_or_else(|| image.id.to_string(), |tag| format!("pkg:docker/{}", encoded(tag)));
    let statement = json!({
        "_type": STATEMENT,
        "subject": [{ "name": name, "digest": { "sha256": image.manifest.hex() } }],
        "predicateType": predicate_type,
        "predicate": predicate,
    });
    Attestation { predicate_type: predicate_type.to_owned(), statement: statement.to_string().into_bytes() }
}

/// The packages of all databases that are there, sorted.
fn installed(root: &Dir) -> Result<Vec<Package>> {
    let mut packages = BTreeSet::new();
    let mut debian: Vec<Vec<u8>> = vec![b"var/lib/dpkg/status".to_vec()];
    // Images without a package manager have a file for each package.
    if let Ok(folder) = root.open_dir_in(b"var/lib/dpkg/status.d") {
        let names =
            folder.entries()?.into_iter().map(|(name, _)| [b"var/lib/dpkg/status.d/", name.as_slice()].concat());
        debian.extend(names.filter(|name| !name.ends_with(b".md5sums")));
    }
    for path in debian {
        for fields in stanzas(&text(root, &path)?) {
            let is_there = fields.get("Status").is_none_or(|status| status.ends_with(" installed"));
            let field = |name: &str| fields.get(name).map(|value| (*value).to_owned()).unwrap_or_default();
            if is_there && fields.contains_key("Package") {
                let (name, version, architecture) = (field("Package"), field("Version"), field("Architecture"));
                packages.insert(Package { kind: "deb", name, version, architecture });
            }
        }
    }
    for path in [&b"lib/apk/db/installed"[..], b"usr/lib/apk/db/installed"] {
        for fields in stanzas(&text(root, path)?) {
            let field = |name: &str| fields.get(name).map(|value| (*value).to_owned()).unwrap_or_default();
            if fields.contains_key("P") {
                let (name, version, architecture) = (field("P"), field("V"), field("A"));
                packages.insert(Package { kind: "apk", name, version, architecture });
            }
        }
    }
    if packages.len() > MOST_PACKAGES {
        return Err(Error::unsupported(format!("the image has more than {MOST_PACKAGES} packages")));
    }
    Ok(packages.into_iter().collect())
}

/// A file of the image as text; empty when it is not there.
fn text(root: &Dir, path: &[u8]) -> Result<String> {
    let shown = || format!("reading {:?}", String::from_utf8_lossy(path));
    let file = match root.open_file_in(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        // Something else than a file, or a link that leads nowhere.
        Err(error) if matches!(error.raw_os_error(), None | Some(20 | 40)) => return Ok(String::new()),
        file => file.context(shown)?,
    };
    let mut bytes = Vec::new();
    file.take(MOST_DATABASE_BYTES + 1).read_to_end(&mut bytes).context(shown)?;
    if bytes.len() as u64 > MOST_DATABASE_BYTES {
        return Err(Error::corrupt("it is too large for a list of packages").context(shown()));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `name: value` lines between empty ones; lines that go on are left out.
fn stanzas(text: &str) -> impl Iterator<Item = BTreeMap<&str, &str>> {
    text.split("\n\n").map(|stanza| {
        let lines = stanza.lines().filter(|line| !line.starts_with([' ', '\t']));
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim())).collect()
    })
}

/// What the system says that it is: `os-release(5)`.
fn system(root: &Dir) -> BTreeMap<String, String> {
    let mut release = text(root, b"etc/os-release").unwrap_or_default();
    if release.is_empty() {
        release = text(root, b"usr/lib/os-release").unwrap_or_default();
    }
    let pairs = release.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned())).collect()
}

/// A document of SPDX 2.3.
fn spdx(image: &Image, packages: &[Package], system: &BTreeMap<String, String>) -> Value {
    let name = image.tags.first().cloned().unwrap_or_else(|| image.id.to_string());
    let distribution = system.get("ID").map(String::as_str);
    let release = system.get("VERSION_ID");
    let mut all = vec![json!({
        "SPDXID": "SPDXRef-Image",
        "name": name,
        "versionInfo": image.manifest,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "CONTAINER",
    })];
    let relation = |from: &str, how: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": how, "relatedSpdxElement": to });
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image")];
    for (index, Package { kind, name, version, architecture }) in packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{}", index + 1);
        let usual = if *kind == "deb" { "debian" } else { "alpine" };
        let mut locator =
            format!("pkg:{kind}/{}/{}@{}", distribution.unwrap_or(usual), encoded(name), encoded(version));
        let mut qualifiers = Vec::new();
        qualifiers.extend((!architecture.is_empty()).then(|| format!("arch={}", encoded(architecture))));
        qualifiers
            .extend(release.map(|release| format!("distro={}-{}", distribution.unwrap_or(usual), encoded(release))));
        if !qualifiers.is_empty() {
            locator.push_str(&format!("?{}", qualifiers.join("&")));
        }
        all.push(json!({
            "SPDXID": id,
            "name": name,
            "versionInfo": version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": locator,
            }],
        }));
        relations.push(relation("SPDXRef-Image", "CONTAINS", &id));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:rhumb:sbom:{}", image.manifest),
        "creationInfo": {
            // The image's own date: the same image has the same list.
            "created": seconds(image.created.unwrap_or(Timestamp::from_nanos(0))),
            "creators": [format!("Tool: rhumb-{VERSION}")],
        },
        "packages": all,
        "relationships": relations,
    })
}

/// A time to the second, as SPDX asks.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_nanos(time.as_secs() * 1_000_000_000).to_string()
}

/// A part of a package URL.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_from_every_database() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "var/lib/dpkg/status",
            "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2+b1\nDescription: x\n Package: no\n\n\
             Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
        );
        write("var/lib/dpkg/status.d/b", "Package: b\nVersion: 3\n");
        write("var/lib/dpkg/status.d/b.md5sums", "Package: no\n");
        write("lib/apk/db/installed", "P:c\nV:4-r0\nA:x86_64\nF:bin\n\nP:d\nV:5\n\n");
        write("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
        let root = Dir::open(folder.path()).unwrap();
        let names: Vec<String> =
            installed(&root).unwrap().iter().map(|package| format!("{}:{}", package.kind, package.name)).collect();
        assert_eq!(names, ["apk:c", "apk:d", "deb:a", "deb:b"]);
        assert_eq!(system(&root)["VERSION_ID"], "12");
        // What is no file is no list.
        std::fs::remove_file(folder.path().join("var/lib/dpkg/status")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("var/lib/dpkg/status")).unwrap();
        assert_eq!(installed(&root).unwrap().len(), 3);
    }

    #[test]
    fn addresses_say_nothing_of_who_fetches() {
        for (url, plain) in [
            ("https://user:token@h/x.git", "https://h/x.git"),
            ("https://h/a@b", "https://h/a@b"),
            ("git@h:a/b.git", "git@h:a/b.git"),
        ] {
            assert_eq!(without_user(url), plain);
        }
        assert_eq!(encoded("1:2+b1~x"), "1%3A2%2Bb1~x");
    }
}
