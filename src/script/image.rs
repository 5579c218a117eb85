//! The noun `image` in scripts: functions that find and make images, and the handle's properties and methods.

use std::fs::File;
use std::path::Path;

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::error::Context as _;
use crate::base::{Digest, Error, Result, Timestamp};
use crate::engine::Engine;
use crate::engine::image::{BootstrapOptions, ImportOptions, PushOptions, SaveOptions, SaveTo};
use crate::model::image::{ArchiveFormat, ImageFilter, ImageRemoved, LayerCompression, Recompress};
use crate::model::system::PruneFilter;
use crate::script::context::engine;
use crate::script::convert::{Keys, from_json};
use crate::script::error::{Fallible, Raise};
use crate::script::system::prune_filter;
use crate::script::units::{Size, a_type};

/// An image: its id, and the engine to ask about it.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) engine: Engine,
    pub(crate) id: Digest,
}

/// An [`Image`], a reference or an id.
pub(crate) type OneImage = Dynamic;

impl Image {
    fn now(&self) -> Result<crate::model::image::Image> {
        self.engine.image_get(self.id.as_str())
    }

    /// Its text: name and short id.
    pub(crate) fn shown(&self) -> String {
        match self.now() {
            Ok(image) => {
                let tag = image.tags.first().map_or("<none>", String::as_str);
                format!("Image({tag} {})", self.id.short())
            }
            Err(_) => format!("Image({})", self.id.short()),
        }
    }
}

/// What the engine is told: a handle's first tag, so that containers show a name, or its id.
pub(crate) fn image_name(engine: &Engine, image: &OneImage) -> Result<String> {
    if let Some(image) = image.read_lock::<Image>() {
        let tags = engine.image_get(image.id.as_str())?.tags;
        return Ok(tags.into_iter().next().unwrap_or_else(|| image.id.to_string()));
    }
    image
        .as_immutable_string_ref()
        .map(|text| text.to_string())
        .map_err(|_| Error::invalid(format!("expected an image, not {}", a_type(image))))
}

fn handle(engine: &Engine, image: crate::model::image::Image) -> Image {
    Image { engine: engine.clone(), id: image.id }
}

fn pull(engine: &Engine, reference: &str, options: Map) -> Result<Image> {
    let mut keys = Keys::new("image::pull", options);
    let platform = keys.text("platform")?;
    keys.finish()?;
    engine.image_pull(reference, platform.as_deref(), &|_| {}).map(|pulled| handle(engine, pulled.image))
}

/// How layers are compressed where an image goes; `forced` when it is not said whether those that came are, too.
pub(crate) fn compression(keys: &mut Keys, forced: bool) -> Result<Option<Recompress>> {
    let to = keys.text("compression")?.map(|text| LayerCompression::parse(&text)).transpose()?;
    match (to, keys.optional_flag("force_compression")?) {
        (Some(to), force) => Ok(Some(Recompress { to, force: force.unwrap_or(forced) })),
        (None, Some(true)) => Err(Error::invalid("force_compression is of a compression, and none is said")
            .with_hint("add compression: \"gzip\"")),
        (None, _) => Ok(None),
    }
}

fn push(image: &Image, reference: &str, options: Map) -> Result<String> {
    let mut keys = Keys::new("push", options);
    let compression = compression(&mut keys, true)?;
    keys.finish()?;
    // What is pushed goes under a name of its own.
    image.engine.image_tag(image.id.as_str(), reference)?;
    let options = PushOptions { compression, ..PushOptions::default() };
    Ok(image.engine.image_push(reference, &options, &|_| {})?.to_string())
}

fn list(engine: &Engine, options: Map) -> Result<Array> {
    let mut keys = Keys::new("image::list", options);
    let filter = ImageFilter {
        reference: keys.texts("reference")?,
        label: keys.texts("label")?,
        dangling: keys.optional_flag("dangling")?,
        before: keys.text("before")?,
        since: keys.text("since")?,
        until: keys.time("until")?,
    };
    keys.finish()?;
    Ok(engine.image_list(&filter)?.into_iter().map(|image| Dynamic::from(handle(engine, image))).collect())
}

fn bootstrap(engine: &Engine, suite: &str, options: Map) -> Result<Image> {
    let mut keys = Keys::new("image::bootstrap", options);
    let options = BootstrapOptions {
        packages: keys.texts("packages")?,
        mirror: keys.text("mirror")?,
        variant: keys.text("variant")?,
        tag: keys.text("tag")?,
    };
    keys.finish()?;
    engine.image_bootstrap(suite, &options).map(|image| handle(engine, image))
}

fn from_tar(engine: &Engine, path: &str, tag: &str, options: Map) -> Result<Image> {
    let mut keys = Keys::new("image::from_tar", options);
    let options = ImportOptions { changes: keys.texts("changes")?, message: keys.text("message")? };
    keys.finish()?;
    let mut tar = File::open(path).context(|| format!("opening {path:?}"))?;
    engine.image_from_tar(&mut tar, Some(tag), &options).map(|image| handle(engine, image))
}

fn save(image: &Image, path: &str, options: Map) -> Result<()> {
    let mut keys = Keys::new("save", options);
    let format = match keys.text("format")?.as_deref() {
        None | Some("docker-archive") => ArchiveFormat::DockerArchive,
        Some("oci-archive") => ArchiveFormat::OciArchive,
        Some("oci-dir") => ArchiveFormat::OciDir,
        Some(other) => {
            return Err(Error::invalid(format!("{other:?} is not a format"))
                .with_hint("docker-archive, oci-archive or oci-dir"));
        }
    };
    let compression = compression(&mut keys, true)?;
    keys.finish()?;
    // By name, so that the archive carries the names; an image without one goes by its id.
    let names = match image.now()?.tags {
        tags if tags.is_empty() => vec![image.id.to_string()],
        tags => tags,
    };
    let options = SaveOptions { compression, ..SaveOptions::new(format) };
    image.engine.image_save_with(&names, SaveTo::Path(Path::new(path)), options)
}

fn remove(image: &Image, options: Map) -> Result<Array> {
    let mut keys = Keys::new("remove", options);
    let force = keys.flag("force")?;
    keys.finish()?;
    Ok(removed_lines(image.engine.image_remove(image.id.as_str(), force)?))
}

fn untag(image: &Image, reference: &str) -> Result<Array> {
    // Asked for by name, the reference must be this image's.
    if image.engine.image_get(reference)?.id != image.id {
        return Err(Error::invalid(format!("{reference:?} is another image's reference")));
    }
    image.engine.image_remove(reference, false).map(removed_lines)
}

fn removed_lines(removed: Vec<ImageRemoved>) -> Array {
    let line = |removed: ImageRemoved| match removed {
        ImageRemoved::Untagged(name) => format!("untagged {name}").into(),
        ImageRemoved::Deleted(id) => format!("deleted {id}").into(),
    };
    removed.into_iter().map(line).collect()
}

fn history(image: &Image) -> Result<Array> {
    let row = |line: crate::model::image::History| {
        let mut map = Map::new();
        map.insert("created".into(), line.created.map_or(Dynamic::UNIT, Dynamic::from));
        map.insert("created_by".into(), line.created_by.into());
        map.insert("comment".into(), line.comment.unwrap_or_default().into());
        map.insert("empty_layer".into(), line.empty_layer.into());
        Dynamic::from(map)
    };
    Ok(image.now()?.history.into_iter().map(row).collect())
}

fn layers(image: &Image) -> Result<Array> {
    let row = |layer: crate::model::image::Layer| {
        let mut map = Map::new();
        map.insert("chain_id".into(), layer.chain_id.to_string().into());
        map.insert("diff_id".into(), layer.diff_id.to_string().into());
        map.insert("size".into(), Dynamic::from(Size(layer.size_bytes)));
        Dynamic::from(map)
    };
    Ok(image.now()?.layers.into_iter().map(row).collect())
}

fn words(programs: &Array) -> Result<Vec<String>> {
    let word = |value: &Dynamic| value.as_immutable_string_ref().map(|word| word.to_string());
    programs.iter().map(word).collect::<Result<_, _>>().map_err(|_| Error::invalid("programs are an array of names"))
}

/// A time, or unit.
type MaybeTime = Dynamic;

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod image_functions {
    use super::*;

    /// The image of this reference, id, or unique beginning of an id.
    ///
    /// ```rhai
    /// print(image::get("base").size);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn get(ctx: NativeCallContext, reference: ImmutableString) -> Fallible<Image> {
        let engine = engine(&ctx)?;
        let image = engine.image_get(&reference).raise(&ctx)?;
        Ok(handle(&engine, image))
    }

    /// The images, newest first. Filters: `reference` (`*` is a wildcard), `label`, `dangling`.
    ///
    /// ```rhai
    /// for i in image::list() { print(`${i.tags} ${i.size}`); }
    /// ```
    #[rhai_fn(name = "list", return_raw)]
    pub fn list_default(ctx: NativeCallContext) -> Fallible<Array> {
        list(&engine(&ctx)?, Map::new()).raise(&ctx)
    }

    #[rhai_fn(name = "list", return_raw)]
    pub fn list_with(ctx: NativeCallContext, options: Map) -> Fallible<Array> {
        list(&engine(&ctx)?, options).raise(&ctx)
    }

    /// Makes an image from programs of this machine and the libraries that they load: a base that needs no network.
    ///
    /// ```rhai
    /// let tools = image::from_host(["sh", "echo"], "tools:1");
    /// tools.remove();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn from_host(ctx: NativeCallContext, programs: Array, tag: ImmutableString) -> Fallible<Image> {
        let engine = engine(&ctx)?;
        let image = words(&programs).and_then(|words| engine.image_from_host(&words, Some(&tag))).raise(&ctx)?;
        Ok(handle(&engine, image))
    }

    /// Makes an image of one layer from a folder.
    ///
    /// ```rhai
    /// let dir = host::temp_dir();
    /// host::write(`${dir}/hello.txt`, "hello");
    /// let i = image::from_dir(dir, "folder:1");
    /// i.remove();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn from_dir(ctx: NativeCallContext, path: ImmutableString, tag: ImmutableString) -> Fallible<Image> {
        let engine = engine(&ctx)?;
        let image = engine.image_from_dir(Path::new(path.as_str()), Some(&tag)).raise(&ctx)?;
        Ok(handle(&engine, image))
    }

    /// Makes an image of one layer from a tar (`docker import`). Options: `changes` such as `["CMD [\"sh\"]"]`,
    /// `message`.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// let tar = `${host::temp_dir()}/root.tar`;
    /// c.export_tar(tar);
    /// c.remove();
    /// let i = image::from_tar(tar, "imported:1", #{ changes: ["ENV GREETING=hello"] });
    /// i.remove();
    /// ```
    #[rhai_fn(name = "from_tar", return_raw)]
    pub fn from_tar_with(
        ctx: NativeCallContext,
        path: ImmutableString,
        tag: ImmutableString,
        options: Map,
    ) -> Fallible<Image> {
        from_tar(&engine(&ctx)?, &path, &tag, options).raise(&ctx)
    }

    #[rhai_fn(name = "from_tar", return_raw)]
    pub fn from_tar_default(ctx: NativeCallContext, path: ImmutableString, tag: ImmutableString) -> Fallible<Image> {
        from_tar(&engine(&ctx)?, &path, &tag, Map::new()).raise(&ctx)
    }

    /// Fetches an image from its registry, in case it is not here or there is a newer one. `platform` is another than this
    /// machine's, such as `linux/arm64`.
    ///
    /// ```rhai
    /// if flag("online") { print(image::pull("debian:12").digest); }
    /// ```
    #[rhai_fn(name = "pull", return_raw)]
    pub fn pull_with(ctx: NativeCallContext, reference: ImmutableString, options: Map) -> Fallible<Image> {
        pull(&engine(&ctx)?, &reference, options).raise(&ctx)
    }

    #[rhai_fn(name = "pull", return_raw)]
    pub fn pull_default(ctx: NativeCallContext, reference: ImmutableString) -> Fallible<Image> {
        pull(&engine(&ctx)?, &reference, Map::new()).raise(&ctx)
    }

    /// Loads an archive (docker-archive or OCI layout, a tar or a folder) and returns its first image.
    ///
    /// ```rhai
    /// let tar = `${host::temp_dir()}/base.tar`;
    /// image::get("base").save(tar);
    /// assert(image::load(tar) == image::get("base"));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn load(ctx: NativeCallContext, path: ImmutableString) -> Fallible<Image> {
        let engine = engine(&ctx)?;
        let images = engine.image_load(Path::new(path.as_str())).raise(&ctx)?;
        let first = images.into_iter().next().ok_or_else(|| Error::corrupt(format!("{path:?} holds no image")));
        first.map(|image| handle(&engine, image)).raise(&ctx)
    }

    /// Loads every image of an archive and returns them in its order.
    ///
    /// ```rhai
    /// let tar = `${host::temp_dir()}/base.tar`;
    /// image::get("base").save(tar);
    /// assert(image::load_all(tar).len == 1);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn load_all(ctx: NativeCallContext, path: ImmutableString) -> Fallible<Array> {
        let engine = engine(&ctx)?;
        let images = engine.image_load(Path::new(path.as_str())).raise(&ctx)?;
        Ok(images.into_iter().map(|image| Dynamic::from(handle(&engine, image))).collect())
    }

    /// Makes a Debian base with mmdebstrap or debootstrap. Options: `packages mirror variant tag`. It needs the network
    /// and takes a minute.
    ///
    /// ```rhai
    /// if flag("with-network") { image::bootstrap("bookworm", #{ packages: ["ca-certificates"] }); }
    /// ```
    #[rhai_fn(name = "bootstrap", return_raw)]
    pub fn bootstrap_with(ctx: NativeCallContext, suite: ImmutableString, options: Map) -> Fallible<Image> {
        bootstrap(&engine(&ctx)?, &suite, options).raise(&ctx)
    }

    #[rhai_fn(name = "bootstrap", return_raw)]
    pub fn bootstrap_default(ctx: NativeCallContext, suite: ImmutableString) -> Fallible<Image> {
        bootstrap(&engine(&ctx)?, &suite, Map::new()).raise(&ctx)
    }

    /// Removes images without a name that no container uses (`all: true`: with a name too); returns `count`, `freed` and
    /// `items`.
    ///
    /// ```rhai
    /// print(image::prune().freed);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn prune(ctx: NativeCallContext) -> Fallible<Map> {
        engine(&ctx)?.image_prune(false, &PruneFilter::default()).and_then(crate::script::system::report).raise(&ctx)
    }

    #[rhai_fn(name = "prune", return_raw)]
    pub fn prune_with(ctx: NativeCallContext, options: Map) -> Fallible<Map> {
        let engine = engine(&ctx)?;
        let mut keys = Keys::new("image::prune", options);
        let all = keys.flag("all").raise(&ctx)?;
        let filter = prune_filter(&mut keys).and_then(|filter| keys.finish().map(|()| filter)).raise(&ctx)?;
        engine.image_prune(all, &filter).and_then(crate::script::system::report).raise(&ctx)
    }

    /// The id: the digest of the image's config.
    ///
    /// ```rhai
    /// assert(image::get("base").id.starts_with("sha256:"));
    /// ```
    #[rhai_fn(global, get = "id")]
    pub fn id(image: Image) -> String {
        image.id.to_string()
    }

    /// The digest of the image's manifest.
    ///
    /// ```rhai
    /// assert(image::get("base").digest.starts_with("sha256:"));
    /// ```
    #[rhai_fn(global, get = "digest", return_raw)]
    pub fn digest(ctx: NativeCallContext, image: Image) -> Fallible<String> {
        image.now().map(|now| now.manifest.to_string()).raise(&ctx)
    }

    /// Its references.
    ///
    /// ```rhai
    /// assert(image::get("base").tags.contains("base:latest"));
    /// ```
    #[rhai_fn(global, get = "tags", return_raw)]
    pub fn tags(ctx: NativeCallContext, image: Image) -> Fallible<Array> {
        Ok(image.now().raise(&ctx)?.tags.into_iter().map(Dynamic::from).collect())
    }

    /// The size of its files, layers shared with other images included.
    ///
    /// ```rhai
    /// assert(image::get("base").size > 1.kb);
    /// ```
    #[rhai_fn(global, get = "size", return_raw)]
    pub fn size(ctx: NativeCallContext, image: Image) -> Fallible<Size> {
        image.now().map(|now| Size(now.size_bytes())).raise(&ctx)
    }

    /// Its layers, lowest first: maps with `chain_id diff_id size`.
    ///
    /// ```rhai
    /// assert(image::get("base").layers.len >= 1);
    /// ```
    #[rhai_fn(global, get = "layers", return_raw)]
    pub fn layers_of(ctx: NativeCallContext, image: Image) -> Fallible<Array> {
        layers(&image).raise(&ctx)
    }

    /// What it runs on: `linux/amd64`.
    ///
    /// ```rhai
    /// assert(image::get("base").platform.starts_with("linux/"));
    /// ```
    #[rhai_fn(global, get = "platform", return_raw)]
    pub fn platform(ctx: NativeCallContext, image: Image) -> Fallible<String> {
        image.now().map(|now| now.platform()).raise(&ctx)
    }

    /// When it was made by its own word, unit when it does not say.
    ///
    /// ```rhai
    /// print(image::get("base").created);
    /// ```
    #[rhai_fn(global, get = "created", return_raw)]
    pub fn created(ctx: NativeCallContext, image: Image) -> Fallible<MaybeTime> {
        let created: Option<Timestamp> = image.now().raise(&ctx)?.created;
        Ok(created.map_or(Dynamic::UNIT, Dynamic::from))
    }

    /// What it says about running it: `user env entrypoint cmd working_dir labels exposed_ports volumes stop_signal shell`.
    ///
    /// ```rhai
    /// print(image::get("base").config);
    /// ```
    #[rhai_fn(global, get = "config", return_raw)]
    pub fn config(ctx: NativeCallContext, image: Image) -> Fallible<Dynamic> {
        let config = image.now().raise(&ctx)?.config;
        serde_json::to_value(config)
            .map(|json| from_json(&json))
            .map_err(|error| Error::failed(error.to_string()))
            .raise(&ctx)
    }

    /// Its labels.
    ///
    /// ```rhai
    /// assert(type_of(image::get("base").labels) == "map");
    /// ```
    #[rhai_fn(global, get = "labels", return_raw)]
    pub fn labels(ctx: NativeCallContext, image: Image) -> Fallible<Map> {
        let labels = image.now().raise(&ctx)?.config.labels;
        Ok(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// Gives the image a further reference, taking it from another image when needed; returns the image.
    ///
    /// ```rhai
    /// let i = image::from_host(["echo"], "first:1");
    /// i.tag("second:1");
    /// assert(image::get("second:1") == i);
    /// i.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn tag(ctx: NativeCallContext, image: Image, reference: ImmutableString) -> Fallible<Image> {
        image.engine.image_tag(image.id.as_str(), &reference).raise(&ctx)?;
        Ok(image)
    }

    /// Writes the image to the registry that the reference names, which becomes a name of the image; returns the manifest's
    /// digest. With `compression` (`gzip`, `zstd`, `uncompressed`) its layers are compressed so there, with
    /// `force_compression: false` except for those that came compressed otherwise.
    ///
    /// ```rhai
    /// if flag("online") { print(image::get("base").push("registry.example/base:1", #{ compression: "gzip" })); }
    /// ```
    #[rhai_fn(global, name = "push", return_raw)]
    pub fn push_with(
        ctx: NativeCallContext,
        image: Image,
        reference: ImmutableString,
        options: Map,
    ) -> Fallible<ImmutableString> {
        push(&image, &reference, options).map(Into::into).raise(&ctx)
    }

    #[rhai_fn(global, name = "push", return_raw)]
    pub fn push_image(ctx: NativeCallContext, image: Image, reference: ImmutableString) -> Fallible<ImmutableString> {
        push(&image, &reference, Map::new()).map(Into::into).raise(&ctx)
    }

    /// Writes the image to an archive. `format` is `docker-archive` (default), `oci-archive` or `oci-dir`; `compression` and
    /// `force_compression` are as `push` has them.
    ///
    /// ```rhai
    /// image::get("base").save(`${host::temp_dir()}/base.tar`, #{ format: "oci-archive" });
    /// ```
    #[rhai_fn(global, name = "save", return_raw)]
    pub fn save_with(ctx: NativeCallContext, image: Image, path: ImmutableString, options: Map) -> Fallible<()> {
        save(&image, &path, options).raise(&ctx)
    }

    #[rhai_fn(global, name = "save", return_raw)]
    pub fn save_default(ctx: NativeCallContext, image: Image, path: ImmutableString) -> Fallible<()> {
        save(&image, &path, Map::new()).raise(&ctx)
    }

    /// How it was made, oldest first: maps with `created created_by comment empty_layer`.
    ///
    /// ```rhai
    /// print(image::get("base").history());
    /// ```
    #[rhai_fn(global, name = "history", return_raw)]
    pub fn history_of(ctx: NativeCallContext, image: Image) -> Fallible<Array> {
        history(&image).raise(&ctx)
    }

    /// Removes the image with its reference; returns what was done. A container on it makes it a `conflict`, and so do
    /// several references unless `force: true` takes them all.
    ///
    /// ```rhai
    /// let i = image::from_host(["echo"], "brief:1");
    /// i.remove();
    /// ```
    #[rhai_fn(global, name = "remove", return_raw)]
    pub fn remove_default(ctx: NativeCallContext, image: Image) -> Fallible<Array> {
        remove(&image, Map::new()).raise(&ctx)
    }

    #[rhai_fn(global, name = "remove", return_raw)]
    pub fn remove_with(ctx: NativeCallContext, image: Image, options: Map) -> Fallible<Array> {
        remove(&image, options).raise(&ctx)
    }

    /// Docker's JSON about the image, as a map.
    ///
    /// ```rhai
    /// assert(image::get("base").inspect().Os == "linux");
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn inspect(ctx: NativeCallContext, image: Image) -> Fallible<Dynamic> {
        let now = image.now().raise(&ctx)?;
        Ok(from_json(&crate::docker::inspect::image(&now, image.engine.paths())))
    }

    /// Takes one reference away, and the image with its last one; returns what was done.
    ///
    /// ```rhai
    /// let i = image::from_host(["echo"], "one:1");
    /// i.tag("two:1");
    /// i.untag("one:1");
    /// assert(i.tags == ["two:1"]);
    /// i.untag("two:1");
    /// ```
    #[rhai_fn(global, name = "untag", return_raw)]
    pub fn untag_reference(ctx: NativeCallContext, image: Image, reference: ImmutableString) -> Fallible<Array> {
        untag(&image, &reference).raise(&ctx)
    }

    #[rhai_fn(global, name = "==")]
    pub fn equal(a: Image, b: Image) -> bool {
        a.id == b.id
    }
    #[rhai_fn(global, name = "!=")]
    pub fn unequal(a: Image, b: Image) -> bool {
        a.id != b.id
    }
    #[rhai_fn(global, name = "to_string", name = "to_debug")]
    pub fn text(image: Image) -> String {
        image.shown()
    }
}

/// The columns of a listing.
pub(crate) fn row(image: &Image) -> Result<Map> {
    let now = image.now()?;
    let mut map = Map::new();
    map.insert("id".into(), image.id.short().into());
    map.insert("tags".into(), now.tags.join(", ").into());
    map.insert("size".into(), Dynamic::from(Size(now.size_bytes())));
    map.insert("layers".into(), (now.layers.len() as i64).into());
    Ok(map)
}
