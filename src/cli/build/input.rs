//! Where a build's context, its recipe and its ignore file are.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Result};
use crate::docker::dockerfile::{FILE_NAMES, IGNORE_FILE, MAX_BYTES, ignore_lines};

/// The name of a build script: it is looked for before a Dockerfile.
const SCRIPT: &str = "build.rhai";

/// What builds.
pub(crate) enum Recipe {
    /// A build script.
    Script(PathBuf),
    /// A Dockerfile: its name, as the user knows it, and where it is; none is standard input.
    Dockerfile(String, Option<PathBuf>),
}

/// What a build begins with.
pub(crate) struct Input {
    pub(crate) context: PathBuf,
    pub(crate) recipe: Recipe,
    /// The lines of the ignore file, and which one it was.
    pub(crate) ignore: Vec<String>,
    pub(crate) ignore_file: PathBuf,
}

impl Input {
    /// # Errors
    /// `not_found`; `unsupported` for contexts that are no folders.
    pub(crate) fn find(context: &str, file: Option<&str>) -> Result<Input> {
        if context.contains("://") || context.starts_with("git@") {
            return Err(Error::unsupported(format!("the build context {context:?} is not a folder"))
                .with_hint("fetch it first"));
        }
        if context == "-" {
            if file.is_some() {
                return Err(Error::invalid(
                    "with - as the context the Dockerfile is what comes in: --file is too much",
                ));
            }
            let recipe = Recipe::Dockerfile("Dockerfile".to_owned(), None);
            // There is none.
            let context = PathBuf::new();
            return Ok(Input { context, recipe, ignore: Vec::new(), ignore_file: PathBuf::new() });
        }
        let context = PathBuf::from(context);
        let about = std::fs::metadata(&context).context(|| format!("looking at the build context {context:?}"))?;
        if !about.is_dir() {
            return Err(Error::invalid(format!("the build context {context:?} is not a folder")));
        }
        let recipe = match file {
            Some("-") => Recipe::Dockerfile("Dockerfile".to_owned(), None),
            Some(file) => recipe(Path::new(file), file)?,
            None => found(&context)?,
        };
        let own = match (&recipe, file) {
            (Recipe::Dockerfile(name, _), None) => Some(context.join(format!("{name}.dockerignore"))),
            (Recipe::Dockerfile(..), Some(file)) if file != "-" => Some(PathBuf::from(format!("{file}.dockerignore"))),
            _ => None,
        };
        let candidates = own.into_iter().chain([context.join(IGNORE_FILE)]);
        let ignore_file = candidates.into_iter().find(|path| path.is_file()).unwrap_or_default();
        let ignore = if ignore_file.as_os_str().is_empty() { Vec::new() } else { ignore_lines(&ignore_file)? };
        Ok(Input { context, recipe, ignore, ignore_file })
    }
}

impl Input {
    /// The Dockerfile's name and text.
    ///
    /// # Errors
    /// What reading gives.
    pub(crate) fn dockerfile(&self) -> Result<(String, Vec<u8>)> {
        let Recipe::Dockerfile(name, path) = &self.recipe else {
            return Err(Error::invalid("the recipe is a build script"));
        };
        let text = match path {
            None => limited(std::io::stdin().lock()).context(|| "reading the Dockerfile from standard input")?,
            Some(path) => {
                let file = std::fs::File::open(path).context(|| format!("opening {path:?}"))?;
                limited(file).context(|| format!("reading {path:?}"))?
            }
        };
        Ok((name.clone(), text))
    }
}

/// The recipe of a folder.
fn found(context: &Path) -> Result<Recipe> {
    let script = context.join(SCRIPT);
    if script.is_file() {
        return Ok(Recipe::Script(script));
    }
    match FILE_NAMES.iter().find(|name| context.join(name).is_file()) {
        Some(name) => recipe(&context.join(name), name),
        None => {
            Err(Error::not_found(format!("{context:?} has no {SCRIPT} and no Dockerfile"))
                .with_hint("name it with --file"))
        }
    }
}

fn recipe(path: &Path, name: &str) -> Result<Recipe> {
    if path.extension().is_some_and(|extension| extension == "rhai") {
        std::fs::metadata(path).context(|| format!("looking at {path:?}"))?;
        return Ok(Recipe::Script(path.to_owned()));
    }
    Ok(Recipe::Dockerfile(name.to_owned(), Some(path.to_owned())))
}

/// As much as a Dockerfile may have, and one byte more, by which one sees that it has too much.
fn limited(reader: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    reader.take(MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}
