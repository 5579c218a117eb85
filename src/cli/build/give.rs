//! What becomes of a build: `--output`, and the files that tell about it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::base::{Context as _, Error, Result};
use crate::cli::Session;
use crate::cli::container::refuse_terminal;
use crate::docker::build::values;
use crate::docker::dockerfile::translate::own_platform;
use crate::docker::words::comma_fields;
use crate::engine::Engine;
use crate::engine::build::Progress;
use crate::engine::image::{SaveOptions, SaveTo};
use crate::model::build::{BuildOptions, BuildReport, Graph};
use crate::model::image::{ArchiveFormat, Image, LayerCompression, Recompress};

/// What an output may say.
const FIELDS: &[&str] = &[
    "type",
    "dest",
    "tar",
    "name",
    "push",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "store",
    "unpack",
    "rewrite-timestamp",
    "platform-split",
];

/// What of Docker's exporters is one way here: the field, the value that says so, and what to do without another one.
const FIXED: &[(&str, &str, &str)] = &[
    ("oci-mediatypes", "true", "images are written as OCI has them; type=docker,dest=FILE is Docker's archive"),
    ("store", "true", "an image is always kept: remove it with rmi"),
    ("unpack", "true", "an image is always unpacked"),
    // With SOURCE_DATE_EPOCH, which is what it speaks of.
    ("rewrite-timestamp", "true", "times are held to SOURCE_DATE_EPOCH when that is given"),
];

/// How the fields begin that put an annotation into the manifest.
const ANNOTATIONS: [&str; 2] = ["annotation.", "annotation-manifest."];

/// Where the result goes. Without a path it is standard output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An image here.
    Image(Option<Recompress>),
    /// An image here, and in an archive or a folder.
    Archive { path: Option<PathBuf>, format: ArchiveFormat, compression: Option<Recompress> },
    /// An image here, and at the registries that its names name.
    Registry(Option<Recompress>),
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

    /// How the image's layers are compressed where it goes.
    pub(crate) fn compression(&self) -> Option<Recompress> {
        match self {
            Target::Archive { compression, .. } | Target::Registry(compression) => *compression,
            Target::Image(_) | Target::Folder(_) | Target::Tar(_) => None,
        }
    }

    /// It asks for an image with layers that an image which stays here does not have.
    fn check(&self) -> Result<()> {
        match self {
            Target::Image(Some(Recompress { to: LayerCompression::Zstd, force: false }) | None) => Ok(()),
            Target::Image(Some(_)) => {
                Err(Error::unsupported("layers are compressed otherwise where an image goes, and this one stays here")
                    .with_hint("add push=true, or push it later with --compression-format"))
            }
            _ => Ok(()),
        }
    }
}

/// The names that outputs give the image: `type=image,name=NAME`, one an output.
pub(crate) fn names(given: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for text in given.iter().filter(|text| text.contains('=')) {
        let fields = values("output", &parted(text)?.0, FIELDS)?;
        names.extend(fields.get("name").filter(|name| !name.is_empty()).cloned());
    }
    Ok(names)
}

/// The annotations of outputs, and those of `--annotation`: `[manifest:]KEY=VALUE`.
///
/// # Errors
/// `invalid_argument`; `unsupported` for an annotation of an index.
pub(crate) fn annotations(given: &[String], outputs: &[String]) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for text in outputs {
        all.extend(parted(text)?.1);
    }
    for text in given {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Error::invalid(format!("{text:?} is no annotation")).with_hint("write KEY=VALUE"))?;
        let key = match key.split_once(':') {
            None => key,
            Some(("manifest", key)) => key,
            Some((level @ ("index" | "index-descriptor" | "manifest-descriptor"), _)) => {
                return Err(Error::unsupported(format!("an image of one platform has no {level} to annotate"))
                    .with_hint("leave the prefix out: the annotation is the manifest's then"));
            }
            Some((level, _)) => {
                return Err(Error::unsupported(format!("{level:?} is nothing that has annotations"))
                    .with_hint("write KEY=VALUE or manifest:KEY=VALUE"));
            }
        };
        all.insert(key.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// Fields, and annotations with their values.
type Parted = (Vec<String>, Vec<(String, String)>);

/// An output without its annotations, and these: their names are anybody's.
fn parted(text: &str) -> Result<Parted> {
    let mut annotations = Vec::new();
    let mut rest = Vec::new();
    for field in comma_fields(text)? {
        let key = ANNOTATIONS.iter().find_map(|start| field.strip_prefix(start));
        match key.and_then(|pair| pair.split_once('=')) {
            Some((key, value)) if !key.is_empty() => annotations.push((key.to_owned(), value.to_owned())),
            _ => rest.push(field),
        }
    }
    Ok((rest, annotations))
}

/// `--output` and `--push`; without either an image is made.
pub(crate) fn targets(given: &[String], push: bool) -> Result<Vec<Target>> {
    let mut targets = given.iter().map(|text| target(text)).collect::<Result<Vec<_>>>()?;
    if push {
        for target in &mut targets {
            if let Target::Image(compression) = target {
                *target = Target::Registry(*compression);
            }
        }
    }
    if targets.is_empty() || (push && !targets.iter().any(|target| matches!(target, Target::Registry(_)))) {
        targets.push(if push { Target::Registry(None) } else { Target::Image(None) });
    }
    targets.iter().try_for_each(Target::check)?;
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
    let fields = values("output", &parted(text)?.0, FIELDS)?;
    for (name, only, why) in FIXED {
        if let Some(value) = fields.get(*name).filter(|value| value != only) {
            return Err(Error::unsupported(format!("{name} of an output is {only}, not {value:?}")).with_hint(*why));
        }
    }
    let field = |name: &str| fields.get(name).map(String::as_str);
    let path = field("dest").filter(|dest| *dest != "-").map(PathBuf::from);
    let compression = compression(&fields)?;
    let archive = flag(&fields, "tar")?.unwrap_or(true);
    let split = flag(&fields, "platform-split")?.unwrap_or(false);
    match (field("type"), path) {
        (Some("local" | "tar"), _) if compression.is_some() => {
            Err(Error::invalid("files are not compressed as layers are").with_hint("leave compression out"))
        }
        // As Docker names the folder of a platform.
        (Some("local"), Some(path)) if split => Ok(Target::Folder(path.join(own_platform().replace('/', "_")))),
        (Some("local"), Some(path)) => Ok(Target::Folder(path)),
        (Some("local"), None) => {
            Err(Error::invalid("an output of the type \"local\" needs a folder").with_hint("add dest=DIR"))
        }
        (Some("tar"), path) => Ok(Target::Tar(path)),
        (Some("oci"), path) if archive => Ok(Target::Archive { path, format: ArchiveFormat::OciArchive, compression }),
        (Some("oci"), path @ Some(_)) => Ok(Target::Archive { path, format: ArchiveFormat::OciDir, compression }),
        (Some("oci"), None) => Err(Error::invalid("an OCI layout needs a folder").with_hint("add dest=DIR")),
        (Some("docker"), path) if field("dest").is_some() => {
            Ok(Target::Archive { path, format: ArchiveFormat::DockerArchive, compression })
        }
        (Some("registry"), _) => Ok(Target::Registry(compression)),
        (Some("image"), _) if field("push") == Some("true") => Ok(Target::Registry(compression)),
        (Some("docker" | "image"), _) => Ok(Target::Image(compression)),
        (Some(other), _) => Err(Error::invalid(format!("there is no output of the type {other:?}"))
            .with_hint("use local, tar, oci, docker, image or registry")),
        (None, _) => {
            Err(Error::invalid("an output needs a type")
                .with_hint("add type=local, tar, oci, docker, image or registry"))
        }
    }
}

/// How the layers of an output's image are compressed, in BuildKit's words.
fn compression(fields: &BTreeMap<String, String>) -> Result<Option<Recompress>> {
    if fields.contains_key("compression-level") {
        return Err(Error::unsupported("layers are compressed at one level, so that two machines make the same ones")
            .with_hint("leave compression-level out"));
    }
    let to = fields.get("compression").map(|text| LayerCompression::parse(text)).transpose()?;
    let force = flag(fields, "force-compression")?.unwrap_or(false);
    Ok((to.is_some() || force).then(|| Recompress { to: to.unwrap_or(LayerCompression::Zstd), force }))
}

/// A field that is true or false.
fn flag(fields: &BTreeMap<String, String>, name: &str) -> Result<Option<bool>> {
    match fields.get(name).map(String::as_str) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(Error::invalid(format!("{name} of an output is true or false, not {other:?}"))),
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
    session: &mut Session,
    options: SaveOptions,
) -> Result<()> {
    let names = if tags.is_empty() { vec![image.id.to_string()] } else { tags.to_vec() };
    let Some(path) = path else {
        refuse_terminal("an archive", "dest=FILE")?;
        let to = SaveTo::Stream(&mut session.out.writer());
        return engine.image_save_with(&names, to, options);
    };
    engine.image_save_with(&names, SaveTo::Path(path), options)
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
        let archive = |format| Target::Archive { path: Some(PathBuf::from("x")), format, compression: None };
        let of = |to, force| Some(Recompress { to, force });
        for (text, wanted) in [
            ("out", Target::Folder(PathBuf::from("out"))),
            ("-", Target::Tar(None)),
            ("type=local,dest=out", Target::Folder(PathBuf::from("out"))),
            ("type=tar", Target::Tar(None)),
            ("type=tar,dest=x", Target::Tar(Some(PathBuf::from("x")))),
            ("type=oci,dest=x", archive(ArchiveFormat::OciArchive)),
            ("type=oci,dest=x,tar=false", archive(ArchiveFormat::OciDir)),
            ("type=docker,dest=x", archive(ArchiveFormat::DockerArchive)),
            ("type=docker", Target::Image(None)),
            ("type=image", Target::Image(None)),
            ("type=local,\"dest=out,here\"", Target::Folder(PathBuf::from("out,here"))),
            ("type=image,push=true", Target::Registry(None)),
            ("type=registry,name=r.example/a:1", Target::Registry(None)),
            (
                "type=image,annotation.a.b=c,compression=zstd,oci-mediatypes=true,unpack=true",
                Target::Image(of(LayerCompression::Zstd, false)),
            ),
            ("type=registry,compression=gzip", Target::Registry(of(LayerCompression::Gzip, false))),
            ("type=image,push=true,force-compression=true", Target::Registry(of(LayerCompression::Zstd, true))),
            (
                "type=docker,dest=-,compression=uncompressed,force-compression=true",
                Target::Archive {
                    path: None,
                    format: ArchiveFormat::DockerArchive,
                    compression: of(LayerCompression::Uncompressed, true),
                },
            ),
        ] {
            assert_eq!(target(text).unwrap(), wanted, "{text}");
        }
        for text in [
            "type=local",
            "type=nope,dest=x",
            "dest=x",
            "type=tar,nope=1",
            "type=oci,tar=x",
            "type=registry,compression=estargz",
            "type=registry,compression=gzip,compression-level=9",
            "type=tar,compression=gzip",
            "type=image,annotation.=x",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
        let all =
            |given: &[&str], push| targets(&given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), push);
        assert!(all(&["-", "type=oci"], false).is_err());
        assert_eq!(all(&[], false).unwrap(), [Target::Image(None)]);
        assert_eq!(all(&["out"], true).unwrap(), [Target::Folder("out".into()), Target::Registry(None)]);
        // What stays here is compressed as all that is here.
        let gzip = "type=image,compression=gzip";
        assert!(all(&[gzip], false).is_err() && all(&["type=image,compression=zstd"], false).is_ok());
        assert_eq!(all(&[gzip], true).unwrap(), [Target::Registry(of(LayerCompression::Gzip, false))]);
    }

    #[test]
    fn annotations_are_of_the_manifest() {
        let of = |given: &[&str], outputs: &[&str]| {
            let owned = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            annotations(&owned(given), &owned(outputs))
        };
        let all = of(&["a=1", "manifest:b=x=y"], &["type=image,\"annotation.c=2,3\",annotation-manifest.a=0"]).unwrap();
        assert_eq!(
            all.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
            ["a=1", "b=x=y", "c=2,3"]
        );
        for text in ["index:a=1", "manifest[linux/amd64]:a=1", "other:a=1", "a", "=1"] {
            assert!(of(&[text], &[]).is_err(), "{text}");
        }
    }
}
