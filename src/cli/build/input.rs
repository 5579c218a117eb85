//! Where a build's context, its recipe and its ignore file are.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Result};
use crate::docker::dockerfile::contexts;
use crate::docker::dockerfile::{FILE_NAMES, IGNORE_FILE, MAX_BYTES, ignore_lines};
use crate::engine::Engine;
use crate::engine::build::FetchedContext;
use crate::model::build::Credentials;

/// The name of a build script: it is looked for before a Dockerfile.
const SCRIPT: &str = "build.rhai";

/// What builds.
pub(crate) enum Recipe {
    /// A build script.
    Script(PathBuf),
    /// A Dockerfile of this machine: its name, as the user knows it, and where it is; none is standard input.
    Dockerfile(String, Option<PathBuf>),
    /// A Dockerfile that came with the context, and its name.
    Fetched(String, Vec<u8>),
}

/// What a build begins with.
pub(crate) struct Input {
    /// The build context; empty for none.
    pub(crate) context: PathBuf,
    pub(crate) recipe: Recipe,
    /// The lines of the ignore file, and which one it was.
    pub(crate) ignore: Vec<String>,
    pub(crate) ignore_file: PathBuf,
    /// Keeps what is not of this machine.
    held: Option<FetchedContext>,
}

/// Whether a context is a folder of this machine: a script is taken from no other.
pub(crate) fn is_folder(context: &str) -> bool {
    context != "-" && !contexts::is_elsewhere(context)
}

impl Input {
    /// A folder of this machine; its recipe may have to be a Dockerfile.
    ///
    /// # Errors
    /// `not_found`; `invalid_argument` for what is no folder.
    pub(crate) fn find(context: &str, file: Option<&str>, is_dockerfile: bool) -> Result<Input> {
        let context = PathBuf::from(context);
        let about = std::fs::metadata(&context).context(|| format!("looking at the build context {context:?}"))?;
        if !about.is_dir() {
            return Err(Error::invalid(format!("the build context {context:?} is not a folder"))
                .with_hint("give an archive as standard input: rhumb build - < FILE"));
        }
        let recipe = match file {
            Some("-") => Recipe::Dockerfile("Dockerfile".to_owned(), None),
            Some(file) => recipe(Path::new(file), file)?,
            None => found(&context, is_dockerfile)?,
        };
        if let Recipe::Script(path) = &recipe
            && is_dockerfile
        {
            return Err(Error::invalid(format!(
                "--to-rhai, --check and --call are for Dockerfiles, and {path:?} is a build script"
            ))
            .with_hint("name a Dockerfile with --file"));
        }
        let own = match (&recipe, file) {
            (Recipe::Dockerfile(name, _), None) => Some(context.join(format!("{name}.dockerignore"))),
            (Recipe::Dockerfile(..), Some(file)) if file != "-" => Some(PathBuf::from(format!("{file}.dockerignore"))),
            _ => None,
        };
        let candidates = own.into_iter().chain([context.join(IGNORE_FILE)]);
        let ignore_file = candidates.into_iter().find(|path| path.is_file()).unwrap_or_default();
        let ignore = if ignore_file.as_os_str().is_empty() { Vec::new() } else { ignore_lines(&ignore_file)? };
        Ok(Input { context, recipe, ignore, ignore_file, held: None })
    }

    /// Standard input: an archive, or a Dockerfile alone.
    ///
    /// # Errors
    /// As reading it; `invalid_argument` for what is neither.
    pub(crate) fn read(engine: &Engine, file: Option<&str>) -> Result<Input> {
        if file == Some("-") {
            return Err(Error::invalid("standard input is the build context: the Dockerfile cannot be that, too"));
        }
        Input::of(engine.build_context_read(&mut std::io::stdin().lock(), MAX_BYTES)?, file)
    }

    /// What is elsewhere.
    ///
    /// # Errors
    /// As fetching.
    pub(crate) fn fetch(
        engine: &Engine,
        context: &str,
        file: Option<&str>,
        credentials: &Credentials,
        keep_git_dir: bool,
    ) -> Result<Input> {
        Input::of(contexts::fetched(engine, context, credentials, keep_git_dir)?, file)
    }

    /// The Dockerfile of a context that was fetched is in it; none of it is a script that runs here.
    fn of(context: FetchedContext, file: Option<&str>) -> Result<Input> {
        let Some(folder) = context.path().map(Path::to_owned) else {
            if let Some(file) = file {
                return Err(Error::invalid(format!("the build context is a Dockerfile: --file {file:?} is too much")));
            }
            let text = context.dockerfile().unwrap_or_default().to_vec();
            let recipe = Recipe::Fetched("Dockerfile".to_owned(), text);
            let (context, ignore_file) = (PathBuf::new(), PathBuf::new());
            return Ok(Input { context, recipe, ignore: Vec::new(), ignore_file, held: None });
        };
        let recipe = match file {
            Some("-") => Recipe::Dockerfile("Dockerfile".to_owned(), None),
            Some(name) => Recipe::Fetched(
                name.to_owned(),
                context
                    .read(name, MAX_BYTES)?
                    .ok_or_else(|| Error::not_found(format!("the build context has no file {name:?}")))?,
            ),
            None => {
                let read = |name: &&str| context.read(name, MAX_BYTES).transpose().map(|text| (name.to_string(), text));
                let found = FILE_NAMES.iter().find_map(read);
                let (name, text) = found.ok_or_else(|| {
                    Error::not_found("the build context has no Dockerfile").with_hint("name it with --file")
                })?;
                Recipe::Fetched(name, text?)
            }
        };
        let own = match &recipe {
            Recipe::Fetched(name, _) => Some(name.as_str()),
            _ => None,
        };
        let ignore = contexts::ignored(&context, own)?;
        Ok(Input { context: folder, recipe, ignore, ignore_file: PathBuf::from(IGNORE_FILE), held: Some(context) })
    }
}

impl Input {
    /// The Dockerfile's name and text.
    ///
    /// # Errors
    /// What reading gives.
    pub(crate) fn dockerfile(&self) -> Result<(String, Vec<u8>)> {
        let (name, path) = match &self.recipe {
            Recipe::Script(_) => return Err(Error::invalid("the recipe is a build script")),
            Recipe::Fetched(name, text) => return Ok((name.clone(), text.clone())),
            Recipe::Dockerfile(name, path) => (name, path),
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

    /// Whether it goes when the build is done.
    pub(crate) fn is_passing(&self) -> bool {
        self.held.is_some()
    }
}

/// The recipe of a folder; a script beside a Dockerfile may not count.
fn found(context: &Path, is_dockerfile: bool) -> Result<Recipe> {
    let script = context.join(SCRIPT);
    let dockerfile = FILE_NAMES.iter().find(|name| context.join(name).is_file());
    if script.is_file() && !(is_dockerfile && dockerfile.is_some()) {
        return Ok(Recipe::Script(script));
    }
    match dockerfile {
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
