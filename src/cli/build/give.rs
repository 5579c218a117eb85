//! What becomes of a build: `--output`, and the files that tell about it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::base::{Context as _, Error, Result};
use crate::cli::Session;
use crate::cli::container::refuse_terminal;
use crate::docker::build::fields;
use crate::engine::Engine;
use crate::engine::build::Progress;
use crate::engine::image::SaveTo;
use crate::model::build::{BuildOptions, BuildReport, Graph};
use crate::model::image::{ArchiveFormat, Attestation, Image};

/// What an output may say.
const FIELDS: &[&str] = &["type", "dest", "tar", "name", "push"];

/// Where the result goes. Without a path it is standard output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An image here.
    Image,
    /// An image here, and in an archive or a folder.
    Archive { path: Option<PathBuf>, format: ArchiveFormat },
    /// An image here, and at the registries that its names name.
    Registry,
    /// The files, in a folder.
    Folder(PathBuf),
    /// The files, in a tar.
    Tar(Option<PathBuf>),
}

impl Target {
    /// Standard output is the result's own.
    pub(crate) fn takes_standard_output(&self) -> bool {
        matches!(self, Target::Tar(None) | Target::Archive { path: None, .. })
    }
}

/// The names that outputs give the image: `type=image,name=NAME`, one an output.
pub(crate) fn names(given: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for text in given.iter().filter(|text| text.contains('=')) {
        let fields = fields("output", text, FIELDS)?;
        names.extend(fields.get("name").filter(|name| !name.is_empty()).cloned());
    }
    Ok(names)
}

/// `--output`; without one an image is made.
pub(crate) fn targets(given: &[String]) -> Result<Vec<Target>> {
    if given.is_empty() {
        return Ok(vec![Target::Image]);
    }
    let targets = given.iter().map(|text| target(text)).collect::<Result<Vec<_>>>()?;
    if targets.iter().filter(|target| target.takes_standard_output()).count() > 1 {
        return Err(Error::invalid("only one output can go to standard output"));
    }
    Ok(targets)
}

fn target(text: &str) -> Result<Target> {
    if text == "-" {
        return Ok(Target::Tar(None));
    }
    if !text.contains('=') {
        return Ok(Target::Folder(PathBuf::from(text)));
    }
    let fields = fields("output", text, FIELDS)?;
    let field = |name: &str| fields.get(name).map(String::as_str);
    let path = field("dest").filter(|dest| *dest != "-").map(PathBuf::from);
    let archive = match field("tar") {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(Error::invalid(format!("tar of an output is true or false, not {other:?}"))),
    };
    match (field("type"), path) {
        (Some("local"), Some(path)) => Ok(Target::Folder(path)),
        (Some("local"), None) => {
            Err(Error::invalid("an output of the type \"local\" needs a folder").with_hint("add dest=DIR"))
        }
        (Some("tar"), path) => Ok(Target::Tar(path)),
        (Some("oci"), path) if archive => Ok(Target::Archive { path, format: ArchiveFormat::OciArchive }),
        (Some("oci"), Some(path)) => Ok(Target::Archive { path: Some(path), format: ArchiveFormat::OciDir }),
        (Some("oci"), None) => Err(Error::invalid("an OCI layout needs a folder").with_hint("add dest=DIR")),
        (Some("docker"), Some(path)) => Ok(Target::Archive { path: Some(path), format: ArchiveFormat::DockerArchive }),
        (Some("docker"), None) if field("dest") == Some("-") => {
            Ok(Target::Archive { path: None, format: ArchiveFormat::DockerArchive })
        }
        (Some("registry"), _) => Ok(Target::Registry),
        (Some("image"), _) if field("push") == Some("true") => Ok(Target::Registry),
        (Some("docker" | "image"), _) => Ok(Target::Image),
        (Some(other), _) => Err(Error::invalid(format!("there is no output of the type {other:?}"))
            .with_hint("use local, tar, oci, docker, image or registry")),
        (None, _) => {
            Err(Error::invalid("an output needs a type")
                .with_hint("add type=local, tar, oci, docker, image or registry"))
        }
    }
}

/// Builds and writes the files as a tar.
pub(crate) fn tar(
    engine: &Engine,
    graph: &Graph,
    options: &BuildOptions,
    hears: &Progress<'_>,
    path: Option<&Path>,
    session: &mut Session,
) -> Result<BuildReport> {
    let Some(path) = path else {
        refuse_terminal("a tar", "dest=FILE")?;
        return engine.build_tar(graph, options, hears, &mut session.out.writer());
    };
    engine.build_tar_at(graph, options, hears, path)
}

/// Writes the image as an archive, with its names.
pub(crate) fn archive(
    engine: &Engine,
    image: &Image,
    tags: &[String],
    path: Option<&Path>,
    format: ArchiveFormat,
    session: &mut Session,
    attestations: Vec<Attestation>,
) -> Result<()> {
    let names = if tags.is_empty() { vec![image.id.to_string()] } else { tags.to_vec() };
    let Some(path) = path else {
        refuse_terminal("an archive", "dest=FILE")?;
        let to = SaveTo::Stream(&mut session.out.writer());
        return engine.image_save_attested(&names, to, format, attestations);
    };
    engine.image_save_attested(&names, SaveTo::Path(path), format, attestations)
}

/// `--metadata-file`, under Docker's names.
pub(crate) fn metadata(path: &Path, image: Option<&Image>, report: &BuildReport) -> Result<()> {
    let mut facts = json!({
        "rhumb.build.id": report.id,
        "rhumb.build.seconds": report.elapsed.as_secs_f64(),
        "rhumb.build.steps": report.steps,
    });
    if let Some(image) = image {
        facts["containerimage.config.digest"] = json!(image.id);
        facts["containerimage.digest"] = json!(image.manifest);
        facts["image.name"] = json!(image.tags.join(","));
    }
    file(path, format!("{facts:#}\n").as_bytes())
}

/// Writes a small file.
pub(crate) fn file(path: &Path, bytes: &[u8]) -> Result<()> {
    let writing = || format!("writing {path:?}");
    File::create(path).and_then(|mut file| file.write_all(bytes)).context(writing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_docker_writes_them() {
        let archive = |format| Target::Archive { path: Some(PathBuf::from("x")), format };
        for (text, wanted) in [
            ("out", Target::Folder(PathBuf::from("out"))),
            ("-", Target::Tar(None)),
            ("type=local,dest=out", Target::Folder(PathBuf::from("out"))),
            ("type=tar", Target::Tar(None)),
            ("type=tar,dest=x", Target::Tar(Some(PathBuf::from("x")))),
            ("type=oci,dest=x", archive(ArchiveFormat::OciArchive)),
            ("type=oci,dest=x,tar=false", archive(ArchiveFormat::OciDir)),
            ("type=docker,dest=x", archive(ArchiveFormat::DockerArchive)),
            ("type=docker", Target::Image),
            ("type=image", Target::Image),
            ("type=image,push=true", Target::Registry),
            ("type=registry,name=r.example/a:1", Target::Registry),
        ] {
            assert_eq!(target(text).unwrap(), wanted, "{text}");
        }
        for text in ["type=local", "type=nope,dest=x", "dest=x", "type=tar,nope=1", "type=oci,tar=x"] {
            assert!(target(text).is_err(), "{text}");
        }
        assert!(targets(&["-".to_owned(), "type=oci".to_owned()]).is_err());
    }
}
