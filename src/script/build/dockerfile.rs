//! `build::dockerfile`: a Dockerfile as a build, to be gone on with.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rhai::Map;

use super::{Build, Recipe, given, steps};
use crate::base::{Context as _, Error, Kind, Result};
use crate::docker::dockerfile::contexts;
use crate::docker::dockerfile::translate::{Options, check_rights, own_platform, translate};
use crate::docker::dockerfile::{FILE_NAMES, IGNORE_FILE, MAX_BYTES, ignore_lines, parse};
use crate::model::build::{Context, Graph};
use crate::script::context::Host;
use crate::script::convert::Keys;

/// The build that a Dockerfile, or the one in a folder, describes.
pub(super) fn dockerfile(host: &Host, path: &Path, options: Map) -> Result<Build> {
    let engine = host.engine()?;
    let mut keys = Keys::new("build::dockerfile", options);
    let (file, folder) = found(path)?;
    let context = keys.text("context")?.map_or(folder, PathBuf::from);
    let mut own = Recipe::default();
    steps::credentials("build::dockerfile", &mut own, &mut keys)?;
    let credentials = given::options(host, own.credentials.clone()).credentials;
    let mut held = Vec::new();
    let mut named = BTreeMap::new();
    for (name, value) in keys.pairs("contexts")? {
        named.insert(name, contexts::named(&mut || Ok(engine.clone()), &value, &credentials, &mut held)?);
    }
    let beside = file.with_file_name(format!("{}.dockerignore", file_name(&file)));
    let ignore_file = if beside.is_file() { beside } else { context.join(IGNORE_FILE) };
    let translation = Options {
        target: keys.text("target")?,
        arguments: keys.pairs("args")?.into_iter().collect(),
        platform: own_platform(),
        build_platform: own_platform(),
        context: Context { path: context, ignore: ignore_lines(&ignore_file)?, ..Context::default() },
        named,
    };
    let mut allowed = keys.texts("allow")?;
    allowed.extend(host.builds.iter().flat_map(|builds| builds.allow.iter().cloned()));
    keys.finish()?;
    let mut text = Vec::new();
    let reading = || format!("reading {file:?}");
    let opened = std::fs::File::open(&file).context(reading)?;
    opened.take(MAX_BYTES as u64 + 1).read_to_end(&mut text).context(reading)?;
    let mut images = |image: &str, _: Option<&str>| match engine.image_get_for_build(image) {
        Ok(image) => Ok(Some(image.config)),
        // Building says so, with the place.
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let translated = translate(&parse(&file.to_string_lossy(), &text)?, &translation, &mut images)?;
    check_rights(&translated.graph, &allowed)?;
    if let Some(name) = translated.unused_arguments.first() {
        return Err(Error::invalid(format!("no ARG declares {name:?}")).context(reading()));
    }
    Ok(Build::new(
        engine.clone(),
        Recipe {
            credentials: own.credentials,
            _held: held.into_iter().map(Arc::new).collect(),
            ..recipe(translated.graph)
        },
    ))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A Dockerfile and its folder.
fn found(path: &Path) -> Result<(PathBuf, PathBuf)> {
    if path.is_dir() {
        let file = FILE_NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file());
        let file = file.ok_or_else(|| Error::not_found(format!("{path:?} has no Dockerfile")))?;
        return Ok((file, path.to_owned()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((path.to_owned(), folder.to_owned()))
}

/// The target as a recipe: the number of a stage is its number among the parents.
fn recipe(graph: Graph) -> Recipe {
    let mut recipes: Vec<Arc<Recipe>> = Vec::new();
    for stage in graph.stages {
        recipes.push(Arc::new(Recipe {
            base: stage.base,
            steps: stage.steps,
            parents: recipes.clone(),
            contexts: graph.contexts.clone(),
            whole: true,
            name: stage.name,
            platform: stage.platform,
            ..Recipe::default()
        }));
    }
    recipes.get(graph.target).map_or_else(Recipe::default, |recipe| Recipe::clone(recipe))
}
