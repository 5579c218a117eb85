//! What origins mean: folders of this machine, what other stages came to, images.

use std::sync::{Arc, Mutex};

use super::Solver;
use super::copy::{Tree, Work};
use super::run::chain_ids;
use super::walk::Memory;
use crate::base::ignore::Ignore;
use crate::base::{Context as _, Digest, Error, Result};
use crate::model::build::Origin;
use crate::sys::path::Dir;

impl Solver<'_> {
    /// The layers of a stage or an image, the lowest first.
    pub(super) fn layers_of(&self, origin: &Origin) -> Result<Vec<Digest>> {
        match origin {
            Origin::Stage(index) => Ok(chain_ids(&*self.wait(*index)?)),
            Origin::Image(name) => Ok(self.image(name)?.layers.into_iter().map(|layer| layer.chain_id).collect()),
            Origin::Context(_) => Ok(Vec::new()),
        }
    }

    /// A folder of this machine and what is left out of it.
    pub(super) fn context(&self, index: usize) -> Result<(Dir, Ignore)> {
        let context = self.graph.contexts.get(index).filter(|context| !context.path.as_os_str().is_empty());
        let Some(context) = context else {
            return Err(Error::invalid("the build has no context").with_hint("give it a folder"));
        };
        let root = Dir::open(&context.path).context(|| format!("opening the build context {:?}", context.path))?;
        Ok((root, Ignore::new(context.ignore.iter().map(String::as_str))?))
    }

    pub(super) fn memory_of(&self, index: usize) -> Arc<Mutex<Memory>> {
        let path = self.graph.contexts.get(index).map(|context| context.path.clone()).unwrap_or_default();
        let path = std::path::absolute(&path).unwrap_or(path);
        // A context that was fetched is gone after the build.
        if path.starts_with(self.engine.paths().tmp()) {
            let memory = || Arc::new(Mutex::new(Memory::default()));
            return Arc::clone(super::lock(&self.memories).entry(index).or_insert_with(memory));
        }
        let name = Digest::of(path.as_os_str().as_encoded_bytes()).hex()[..32].to_owned();
        let file = self.engine.paths().builds().join("contexts").join(name);
        let memory = || Arc::new(Mutex::new(Memory::load(file)));
        Arc::clone(super::lock(&self.memories).entry(index).or_insert_with(memory))
    }

    pub(super) fn with_tree(&self, origin: &Origin, work: &mut Work<'_>) -> Result<()> {
        if let Origin::Context(index) = origin {
            let (root, ignore) = self.context(*index)?;
            let memory = self.memory_of(*index);
            let name = "the build context".to_owned();
            let memory = &mut super::lock(&memory);
            return work(Tree { root: &root, ignore: &ignore, memory, check: &|| self.check(), name });
        }
        let name = match origin {
            Origin::Image(name) => format!("the image {name:?}"),
            _ => "that stage".to_owned(),
        };
        let Some(root) = self.engine.build_view(&self.layers_of(origin)?)? else {
            return Err(Error::not_found(format!("{name} is empty")));
        };
        let (ignore, memory) = (&Ignore::default(), &mut Memory::default());
        work(Tree { root: &root, ignore, memory, check: &|| self.check(), name })
    }
}
