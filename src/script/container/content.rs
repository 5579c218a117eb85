//! What a container's handle can do with what is inside it: its methods that compare and commit it.

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::Result;
use crate::model::content::CommitOptions;
use crate::script::container::Container;
use crate::script::convert::Keys;
use crate::script::error::{Fallible, Raise};
use crate::script::image::Image;

fn diff(container: &Container) -> Result<Array> {
    let row = |change: crate::model::content::Change| {
        let mut map = Map::new();
        map.insert("path".into(), change.path.to_string_lossy().into_owned().into());
        map.insert("kind".into(), change.kind.as_str().into());
        Dynamic::from(map)
    };
    Ok(container.engine.container_diff(container.id.as_str())?.into_iter().map(row).collect())
}

fn commit(container: &Container, tag: Option<&str>, options: Map) -> Result<Image> {
    let mut keys = Keys::new("commit", options);
    let options = CommitOptions {
        author: keys.text("author")?,
        message: keys.text("message")?,
        changes: keys.texts("changes")?,
        pause: keys.optional_flag("pause")?.unwrap_or(true),
    };
    keys.finish()?;
    let image = container.engine.container_commit(container.id.as_str(), tag, &options)?;
    Ok(Image { engine: container.engine.clone(), id: image.id })
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod container_content {
    use super::*;

    /// What it changed of its image, volumes left out: maps with `path` and `kind` (`added changed deleted`), sorted.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "echo hi > /greeting" });
    /// c.wait();
    /// assert(c.diff()[0].path == "/greeting" && c.diff()[0].kind == "added");
    /// c.remove();
    /// ```
    #[rhai_fn(global, name = "diff", return_raw)]
    pub fn diff_container(ctx: NativeCallContext, container: Container) -> Fallible<Array> {
        diff(&container).raise(&ctx)
    }

    /// Makes an image of its image and what it changed, volumes left out, without a name.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// let i = c.commit();
    /// assert(i.tags.is_empty());
    /// c.remove();
    /// i.remove();
    /// ```
    #[rhai_fn(global, name = "commit", return_raw)]
    pub fn commit_unnamed(ctx: NativeCallContext, container: Container) -> Fallible<Image> {
        commit(&container, None, Map::new()).raise(&ctx)
    }

    /// Makes an image of its image and what it changed, volumes left out. A running container is frozen meanwhile.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "echo hi > /greeting" });
    /// c.wait();
    /// let i = c.commit("greeter:1");
    /// assert(container::oneshot(i, ["cat", "/greeting"]).stdout == "hi\n");
    /// c.remove();
    /// i.remove();
    /// ```
    #[rhai_fn(global, name = "commit", return_raw)]
    pub fn commit_default(ctx: NativeCallContext, container: Container, tag: ImmutableString) -> Fallible<Image> {
        commit(&container, Some(&tag), Map::new()).raise(&ctx)
    }

    /// As `commit`, with `author`, `message`, `changes` (Dockerfile instructions that change the image's config) and
    /// `pause` (false: do not freeze it).
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// let i = c.commit("said:1", #{ author: "me", message: "says hi", changes: [`CMD ["echo", "hi"]`] });
    /// assert(container::oneshot(i, []).stdout == "hi\n");
    /// c.remove();
    /// i.remove();
    /// ```
    #[rhai_fn(global, name = "commit", return_raw)]
    pub fn commit_with(
        ctx: NativeCallContext,
        container: Container,
        tag: ImmutableString,
        options: Map,
    ) -> Fallible<Image> {
        commit(&container, Some(&tag), options).raise(&ctx)
    }
}
