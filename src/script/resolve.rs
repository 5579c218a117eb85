//! `import`: `std/…` from the embedded standard library, everything else from the folder of the importing script.
//!
//! A module is read, compiled and evaluated once. The author of a script is trusted, so a path may lead anywhere; there
//! is no search path and nothing is fetched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

use include_dir::{Dir, include_dir};
use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

use crate::script::error::Fallible;

/// A loaded module.
type SharedModule = Shared<Module>;

/// The standard library: `std/assert` is `stdlib/assert.rhai`.
static STDLIB: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/stdlib");
/// What stands for the standard library's folder in error messages.
const STDLIB_NAME: &str = "<stdlib>/";

/// Loaded modules; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Modules(Arc<Mutex<Loaded>>);

#[derive(Default)]
struct Loaded {
    ready: BTreeMap<String, SharedModule>,
    loading: Vec<(ThreadId, String)>,
}

/// The text of a source that an error names.
pub(crate) fn source_text(name: &str) -> Option<String> {
    match name.strip_prefix(STDLIB_NAME) {
        Some(file) => STDLIB.get_file(file).and_then(|file| file.contents_utf8()).map(str::to_owned),
        None => std::fs::read_to_string(name).ok().map(|text| without_shebang(&text)),
    }
}

/// The names of the standard library's modules, as they are imported.
pub fn standard_modules() -> Vec<String> {
    let mut names: Vec<String> =
        STDLIB.files().map(|file| format!("std/{}", file.path().with_extension("").display())).collect();
    names.sort();
    names
}

/// The text of a module of the standard library, by the name that imports it.
pub(crate) fn standard_text(module: &str) -> Option<String> {
    source_text(&locate(None, module)).filter(|_| module.starts_with("std/"))
}

/// A script without its `#!` line, lines counted as before.
pub(crate) fn without_shebang(text: &str) -> String {
    match text.strip_prefix("#!") {
        Some(rest) => rest.find('\n').map_or_else(String::new, |end| rest[end..].to_owned()),
        None => text.to_owned(),
    }
}

/// The full name of an import.
fn locate(source: Option<&str>, path: &str) -> String {
    if let Some(name) = path.strip_prefix("std/") {
        return format!("{STDLIB_NAME}{name}.rhai");
    }
    if let Some(folder) = source.and_then(|source| source.strip_prefix(STDLIB_NAME)) {
        let folder = Path::new(folder).parent().unwrap_or(Path::new(""));
        return format!("{STDLIB_NAME}{}.rhai", folder.join(path).display());
    }
    let folder = source.map(Path::new).and_then(Path::parent).map_or_else(PathBuf::new, Path::to_owned);
    let mut file = folder.join(path);
    if file.extension().is_none() {
        file.set_extension("rhai");
    }
    file.to_string_lossy().into_owned()
}

impl ModuleResolver for Modules {
    fn resolve(&self, engine: &Engine, source: Option<&str>, path: &str, position: Position) -> Fallible<SharedModule> {
        let name = locate(source, path);
        let me = (std::thread::current().id(), name.clone());
        {
            let mut loaded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(module) = loaded.ready.get(&name) {
                return Ok(module.clone());
            }
            if loaded.loading.contains(&me) {
                let message = format!("the module {path:?} imports itself");
                return Err(EvalAltResult::ErrorRuntime(message.into(), position).into());
            }
            loaded.loading.push(me.clone());
        }
        let module = load(engine, &name, path, position);
        let mut loaded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.loading.retain(|other| *other != me);
        let module = module?;
        // Two threads may have loaded it at once; all see the first.
        Ok(loaded.ready.entry(name).or_insert(module).clone())
    }
}

fn load(engine: &Engine, name: &str, path: &str, position: Position) -> Fallible<SharedModule> {
    let text = source_text(name).ok_or_else(|| EvalAltResult::ErrorModuleNotFound(path.to_owned(), position))?;
    let inside = |error: Box<EvalAltResult>| EvalAltResult::ErrorInModule(name.to_owned(), error, position);
    let mut ast = engine.compile(text).map_err(|error| inside(error.into()))?;
    ast.set_source(name);
    let module = Module::eval_ast_as_new(Scope::new(), &ast, engine).map_err(inside)?;
    Ok(module.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_beside_the_importing_script() {
        assert_eq!(locate(Some("/a/b/main.rhai"), "lib/x"), "/a/b/lib/x.rhai");
        assert_eq!(locate(Some("main.rhai"), "x"), "x.rhai");
        assert_eq!(locate(None, "x.rhai"), "x.rhai");
        assert_eq!(locate(Some("/a/main.rhai"), "std/assert"), "<stdlib>/assert.rhai");
        assert_eq!(locate(Some("<stdlib>/deep/a.rhai"), "b"), "<stdlib>/deep/b.rhai");
    }

    #[test]
    fn a_shebang_line_leaves_its_line_empty() {
        assert_eq!(without_shebang("#!/usr/bin/env rhumb\nx"), "\nx");
        assert_eq!(without_shebang("x"), "x");
        assert_eq!(without_shebang("#!"), "");
    }
}
