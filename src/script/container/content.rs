//! What a container's handle can do with what is inside it: its methods that compare, commit and copy it.

use std::path::Path;
use std::sync::atomic::AtomicU64;

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::Result;
use crate::engine::container::{CopySource, CopyTarget};
use crate::model::content::{CommitOptions, CopyOptions};
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

fn copy_options(function: &'static str, options: Map) -> Result<CopyOptions> {
    let mut keys = Keys::new(function, options);
    let options = CopyOptions { archive: keys.flag("archive")?, follow_link: keys.flag("follow_link")? };
    keys.finish()?;
    Ok(options)
}

fn copy_to(container: &Container, from: &str, to: &str, options: Map) -> Result<()> {
    let options = copy_options("copy_to", options)?;
    let (source, moved) = (CopySource::Path(Path::new(from)), AtomicU64::new(0));
    container.engine.container_copy_to(container.id.as_str(), source, to.as_bytes(), options, &moved)?;
    Ok(())
}

fn copy_from(container: &Container, from: &str, to: &str, options: Map) -> Result<()> {
    let options = copy_options("copy_from", options)?;
    let (target, moved) = (CopyTarget::Path(Path::new(to)), AtomicU64::new(0));
    container.engine.container_copy_from(container.id.as_str(), from.as_bytes(), target, options, &moved)?;
    Ok(())
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

    /// Copies a file or folder of this machine into it, by the rules of `docker cp`, whether it runs or not.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// let file = `${host::temp_dir()}/greeting`;
    /// host::write(file, "hi");
    /// c.copy_to(file, "/etc/");
    /// assert(c.diff().some(|change| change.path == "/etc/greeting"));
    /// c.remove();
    /// ```
    #[rhai_fn(global, name = "copy_to", return_raw)]
    pub fn copy_into(
        ctx: NativeCallContext,
        container: Container,
        from: ImmutableString,
        to: ImmutableString,
    ) -> Fallible<()> {
        copy_to(&container, &from, &to, Map::new()).raise(&ctx)
    }

    /// As `copy_to`, with `archive` (everything belongs to the container's user) and `follow_link` (of a link, copy what
    /// it leads to).
    ///
    /// ```rhai
    /// let c = container::create("base", #{ user: "1000" });
    /// let file = `${host::temp_dir()}/owned`;
    /// host::write(file, "hi");
    /// c.copy_to(file, "/owned", #{ archive: true });
    /// c.remove();
    /// ```
    #[rhai_fn(global, name = "copy_to", return_raw)]
    pub fn copy_into_with(
        ctx: NativeCallContext,
        container: Container,
        from: ImmutableString,
        to: ImmutableString,
        options: Map,
    ) -> Fallible<()> {
        copy_to(&container, &from, &to, options).raise(&ctx)
    }

    /// Copies a file or folder out of it to this machine, by the rules of `docker cp`, whether it runs or not. Where
    /// nothing has the name, it may be a pattern: `/var/log/*.log`.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "echo hi > /greeting" });
    /// c.wait();
    /// let folder = host::temp_dir();
    /// c.copy_from("/greeting", folder);
    /// assert(host::read(`${folder}/greeting`) == "hi\n");
    /// c.remove();
    /// ```
    #[rhai_fn(global, name = "copy_from", return_raw)]
    pub fn copy_out(
        ctx: NativeCallContext,
        container: Container,
        from: ImmutableString,
        to: ImmutableString,
    ) -> Fallible<()> {
        copy_from(&container, &from, &to, Map::new()).raise(&ctx)
    }

    /// As `copy_from`, with `archive` (keep owners, set-id bits and devices) and `follow_link` (of a link, copy what it
    /// leads to).
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// c.copy_from("/usr/bin", `${host::temp_dir()}/programs`, #{ archive: true });
    /// c.remove();
    /// ```
    #[rhai_fn(global, name = "copy_from", return_raw)]
    pub fn copy_out_with(
        ctx: NativeCallContext,
        container: Container,
        from: ImmutableString,
        to: ImmutableString,
        options: Map,
    ) -> Fallible<()> {
        copy_from(&container, &from, &to, options).raise(&ctx)
    }
}
