//! What is said of an image: how it was built and what is in it, beside it in an OCI layout.

use std::path::Path;

use serde_json::Value;

use crate::dockerfile::{build, context};
use crate::support::Rhumb;
use crate::support::peer;
use crate::support::process::{self, PATIENCE};

fn read(layout: &Path, path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(layout.join(path)).unwrap()).unwrap()
}

fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap();
    let path = format!("blobs/{}", digest.replace(':', "/"));
    let bytes = std::fs::read(layout.join(&path)).unwrap();
    assert_eq!(
        (rhumb::base::Digest::of(&bytes).to_string(), bytes.len() as u64),
        (digest.to_owned(), descriptor["size"].as_u64().unwrap())
    );
    read(layout, &path)
}

/// The statements of a layout about its image, by their types.
fn statements(layout: &Path) -> Vec<(String, Value)> {
    let index = read(layout, "index.json");
    let entries = index["manifests"].as_array().unwrap();
    let image = &entries[0];
    assert!(image["artifactType"].is_null(), "{image}");
    entries[1..]
        .iter()
        .map(|entry| {
            assert_eq!(entry["artifactType"], "application/vnd.in-toto+json");
            let manifest = blob(layout, entry);
            assert_eq!(manifest["subject"]["digest"], image["digest"]);
            assert_eq!(blob(layout, &manifest["config"]), serde_json::json!({}));
            let statement = blob(layout, &manifest["layers"][0]);
            let subject = statement["subject"][0]["digest"]["sha256"].as_str().unwrap();
            assert_eq!(format!("sha256:{subject}"), image["digest"].as_str().unwrap());
            (statement["predicateType"].as_str().unwrap().to_owned(), statement["predicate"].clone())
        })
        .collect()
}

#[test]
fn an_image_is_said_to_be_what_it_is() {
    let rhumb = Rhumb::with_base();
    let status = "Package: hello\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2:1.0+x\n";
    let folder = context(&rhumb, &[("status", status), ("key", "hunter22")]);
    let layout = rhumb.path("layout");
    let dockerfile = "FROM base:1 AS tools\nRUN true\nFROM base:1 AS made\nARG PASSWORD\nCOPY status /var/lib/dpkg/status\n\
                      RUN --mount=type=secret,id=key echo $PASSWORD > /tmp/x\nCOPY --from=tools /bin/true /x\n";
    let (secret, output) = (
        format!("id=key,src={}", folder.join("key").display()),
        format!("type=oci,dest={},tar=false", layout.display()),
    );
    let flags =
        ["-t", "made:1", "--secret", &secret, "--build-arg", "PASSWORD=hunter33", "--provenance", "--sbom=true"];
    build(&rhumb, dockerfile, &[&flags[..], &["-o", &output]].concat()).ok();
    let said = statements(&layout);
    let [(first, provenance), (second, sbom)] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((first.as_str(), second.as_str()), ("https://slsa.dev/provenance/v1", "https://spdx.dev/Document"));
    let definition = &provenance["buildDefinition"];
    assert_eq!(definition["externalParameters"]["secrets"], serde_json::json!(["key"]));
    assert_eq!(definition["externalParameters"]["target"], "made");
    let base = rhumb.inspect("base:1")["RepoDigests"].clone();
    let dependency = &definition["resolvedDependencies"][0];
    assert_eq!(dependency["uri"], "pkg:docker/base%3A1", "{base}");
    assert_eq!(dependency["digest"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(definition["internalParameters"]["steps"].as_array().unwrap().len(), 4);
    assert!(provenance["runDetails"]["metadata"]["finishedOn"].as_str().unwrap().ends_with('Z'));
    assert_eq!((&sbom["spdxVersion"], &sbom["SPDXID"]), (&"SPDX-2.3".into(), &"SPDXRef-DOCUMENT".into()));
    let package = &sbom["packages"][1];
    assert_eq!((&package["name"], &package["versionInfo"]), (&"hello".into(), &"2:1.0+x".into()));
    let locator = package["externalRefs"][0]["referenceLocator"].as_str().unwrap();
    assert!(locator.starts_with("pkg:deb/") && locator.contains("/hello@2%3A1.0%2Bx?arch=amd64"), "{locator}");
    // Neither a secret nor an argument is in it.
    assert!(!format!("{said:?}").contains("hunter"));
    // Who takes the image takes no notice of what is said of it.
    let other = Rhumb::new();
    other.run(["load", "-i", layout.to_str().unwrap()]).ok();
    assert_eq!(other.inspect("made:1")["Id"], rhumb.inspect("made:1")["Id"]);
    assert_eq!(other.run(["images", "-q"]).ok().lines().count(), 1);
    if let Some(mut skopeo) = peer("skopeo") {
        let seen =
            process::run(skopeo.args(["inspect", &format!("oci:{}:made:1", layout.display())]), None, PATIENCE).ok();
        assert!(seen.contains("Layers"), "{seen}");
    }
}

#[test]
fn what_is_said_goes_into_a_layout_alone() {
    let rhumb = Rhumb::with_base();
    let archive = rhumb.path("made.tar");
    for flags in [vec!["--sbom"], vec!["--provenance=true", "-o", "type=local,dest=out"], vec!["--attest", "type=sbom"]]
    {
        let refused = build(&rhumb, "FROM base:1\n", &flags);
        assert!(!refused.success() && refused.stderr.contains("type=oci"), "{refused}");
    }
    let docker = format!("type=docker,dest={}", archive.display());
    assert!(build(&rhumb, "FROM base:1\n", &["--sbom", "-o", &docker]).stderr.contains("no place for attestations"));
    assert!(!build(&rhumb, "FROM base:1\n", &["--sbom=perhaps"]).success());
    assert!(build(&rhumb, "FROM base:1\n", &["--sbom=false", "--provenance=false"]).success());
    // A script says it as well; the list of packages is the same each time.
    let layouts: Vec<_> = (1..=2).map(|number| rhumb.path(format!("layout-{number}"))).collect();
    for layout in &layouts {
        let script = format!(
            "build::from(\"base:1\").run(\"true\").output({:?}, #{{ type: \"oci\", sbom: true }});",
            layout.display().to_string()
        );
        rhumb.script(&script).ok();
    }
    let said: Vec<_> = layouts.iter().map(|layout| statements(layout)).collect();
    assert_eq!((said[0].len(), &said[0]), (1, &said[1]));
    let failed = rhumb.script("build::from(\"base:1\").output(\"/nowhere/x\", #{ sbom: true });");
    assert!(failed.stderr.contains("oci-archive"), "{failed}");
}
