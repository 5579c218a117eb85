//! Images in Docker's words: the JSON of `inspect`, the rows of `images` and of `history`.
//!
//! Pure functions of the facts.

use serde_json::{Value, json};

use crate::base::{Paths, Reference, Timestamp, units};
use crate::docker::container::{age, date, or_null, set};
use crate::docker::format::Listing;
use crate::docker::{shapes, words};
use crate::model::image::{Image, ImageConfig};

/// What stands where there is nothing.
const NONE: &str = "<none>";
/// What stands where a layer has no image of its own.
const MISSING: &str = "<missing>";
/// How many characters of a step a history shows.
const STEP_WIDTH: usize = 45;

/// The JSON of `docker image inspect` for one image (Docker Engine API 1.43, `ImageInspect`).
pub fn inspect(image: &Image, paths: &Paths) -> Value {
    let mut value = json!({
        "Id": image.id,
        "RepoTags": image.tags,
        "RepoDigests": image.digests,
        "Parent": "",
        "Comment": image.history.last().and_then(|step| step.comment.as_deref()).unwrap_or_default(),
        "Created": image.created,
        "DockerVersion": "",
        "Author": image.author.as_deref().unwrap_or_default(),
        "Config": config(&image.config),
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size_bytes(),
        "VirtualSize": image.size_bytes(),
        "GraphDriver": graph_driver(image, paths),
        "RootFS": { "Type": "layers", "Layers": image.layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>() },
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
    });
    // Docker leaves these out when they are not set.
    if let Some(variant) = &image.variant {
        value["Variant"] = variant.as_str().into();
    }
    if image.created.is_none()
        && let Some(map) = value.as_object_mut()
    {
        map.shift_remove("Created");
    }
    shapes::in_order(value, shapes::IMAGE)
}

/// `docker images`.
pub const LISTING: Listing = Listing {
    type_name: "*formatter.imageContext",
    columns: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
    table: r"{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    quiet: "{{.ID}}",
    raw: Some(
        r"repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n",
    ),
    quiet_wins: false,
};
/// As [`LISTING`]'s table, with digests.
pub const DIGEST_TABLE: &str = r"{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";

/// `docker history`.
pub const HISTORY: Listing = Listing {
    type_name: "*image.historyContext",
    columns: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    table: r"{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
    raw: None,
    quiet_wins: false,
};

/// A line of `docker images`: an image under one of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// `debian`, `<none>`.
    pub repository: String,
    /// `12`, `<none>`.
    pub tag: String,
    /// `sha256:…` in full.
    pub id: String,
    /// Twelve digits.
    pub short_id: String,
    /// The digest by which its repository knows it, or that of its manifest.
    pub digest: String,
    /// When it was made, by its own word.
    pub created: Option<Timestamp>,
    /// Bytes of its layers.
    pub size_bytes: u64,
}

impl ImageRow {
    /// `3 days ago`, `N/A`.
    pub fn created_cell(&self) -> String {
        self.created.map_or_else(|| "N/A".into(), age)
    }

    /// `12.3MB`.
    pub fn size_cell(&self) -> String {
        units::human_size(self.size_bytes)
    }

    /// A row of `docker images`.
    pub fn json(&self, no_trunc: bool) -> Value {
        json!({
            "Containers": "N/A",
            "CreatedAt": self.created.map_or_else(|| "N/A".into(), date),
            "CreatedSince": self.created_cell(),
            "Digest": self.digest,
            "ID": if no_trunc { &self.id } else { &self.short_id },
            "Repository": self.repository,
            "SharedSize": "N/A",
            "Size": self.size_cell(),
            "Tag": self.tag,
            "UniqueSize": "N/A",
            "VirtualSize": units::finer_size(self.size_bytes),
        })
    }
}

/// The lines of an image, one for each of its names; one of `<none>` when it has no name.
pub fn list_rows(image: &Image) -> Vec<ImageRow> {
    let known = |repository: &str| {
        let of_it =
            image.digests.iter().filter_map(|name| name.split_once('@')).filter(|(name, _)| *name == repository);
        let digests: Vec<&str> = of_it.map(|(_, digest)| digest).collect();
        // Its own manifest's, where that is one of several.
        let own = digests.iter().find(|digest| **digest == image.manifest.as_str());
        own.or(digests.first()).map(|digest| (*digest).to_owned())
    };
    let row = |repository: String, tag: String| ImageRow {
        id: image.id.to_string(),
        short_id: image.id.short().to_owned(),
        digest: known(&repository).unwrap_or_else(|| image.manifest.to_string()),
        repository,
        tag,
        created: image.created,
        size_bytes: image.size_bytes(),
    };
    if image.tags.is_empty() && !image.digests.is_empty() {
        let names = image.digests.iter().filter_map(|name| name.split_once('@'));
        return names.map(|(repository, _)| row(repository.to_owned(), NONE.into())).collect();
    }
    if image.tags.is_empty() {
        return vec![row(NONE.into(), NONE.into())];
    }
    image.tags.iter().map(|name| split_name(name)).map(|(repository, tag)| row(repository, tag)).collect()
}

/// A line of `docker history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// The image's id for the newest step, `<missing>` for the others.
    pub id: String,
    /// As `id`, with twelve digits.
    pub short_id: String,
    /// When the step was done.
    pub created: Option<Timestamp>,
    /// What it did.
    pub created_by: String,
    /// Bytes of its layer.
    pub size_bytes: u64,
    /// Remarks.
    pub comment: String,
}

impl HistoryRow {
    /// `3 days ago`, `N/A`.
    pub fn created_cell(&self) -> String {
        self.created.map_or_else(|| "N/A".into(), age)
    }

    /// The step on one line, cut to 45 characters.
    pub fn step_cell(&self, no_trunc: bool) -> String {
        let line = self.created_by.replace(['\t', '\n'], " ");
        if no_trunc { line } else { words::ellipsis(&line, STEP_WIDTH) }
    }

    /// A row of `docker history`; not for humans it has times and bytes.
    pub fn json(&self, no_trunc: bool, human: bool) -> Value {
        let created = self.created.map(rfc3339).unwrap_or_default();
        json!({
            "Comment": self.comment,
            "CreatedAt": created,
            "CreatedBy": self.step_cell(no_trunc),
            "CreatedSince": if human { self.created_cell() } else { created.clone() },
            "ID": if no_trunc { &self.id } else { &self.short_id },
            "Size": if human { units::human_size(self.size_bytes) } else { self.size_bytes.to_string() },
        })
    }
}

/// The history of an image, newest step first. A layer of which the history says nothing has a line of its own, at the
/// bottom of the stack.
pub fn history_rows(image: &Image) -> Vec<HistoryRow> {
    let told = image.history.iter().filter(|step| !step.empty_layer).count();
    let untold = image.layers.len().saturating_sub(told);
    let (bottom, mut rest) = image.layers.split_at(untold);
    let row = |created, created_by: &str, size_bytes, comment: &str| HistoryRow {
        id: MISSING.into(),
        short_id: MISSING.into(),
        created,
        created_by: created_by.into(),
        size_bytes,
        comment: comment.into(),
    };
    let mut rows: Vec<HistoryRow> = bottom.iter().map(|layer| row(image.created, "", layer.size_bytes, "")).collect();
    for step in &image.history {
        let size_bytes = match rest.split_first() {
            Some((layer, others)) if !step.empty_layer => {
                rest = others;
                layer.size_bytes
            }
            _ => 0,
        };
        rows.push(row(step.created, &step.created_by, size_bytes, step.comment.as_deref().unwrap_or_default()));
    }
    rows.reverse();
    if let Some(newest) = rows.first_mut() {
        newest.id = image.id.to_string();
        newest.short_id = image.id.short().to_owned();
    }
    rows
}

/// To the second, as listings have it.
fn rfc3339(time: Timestamp) -> String {
    Timestamp::from_nanos(time.as_secs() * 1_000_000_000).to_string()
}

/// Repository and tag of a familiar reference.
fn split_name(name: &str) -> (String, String) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') && !name.contains('@') => (repository.to_owned(), tag.to_owned()),
        _ => match Reference::parse(name) {
            Ok(_) => (name.split('@').next().unwrap_or(name).to_owned(), NONE.to_owned()),
            Err(_) => (name.to_owned(), NONE.to_owned()),
        },
    }
}

fn config(config: &ImageConfig) -> Value {
    let mut value = json!({
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": false,
        "OpenStdin": false,
        "StdinOnce": false,
        "Env": or_null(&config.env),
        "Cmd": or_null(&config.cmd),
        "Image": "",
        "Volumes": if config.volumes.is_empty() { Value::Null } else { set(&config.volumes) },
        "WorkingDir": config.working_dir,
        "Entrypoint": or_null(&config.entrypoint),
        "OnBuild": or_null(&config.on_build),
        "Labels": if config.labels.is_empty() { Value::Null } else { json!(config.labels) },
    });
    // Docker leaves these out when they are not set.
    if !config.exposed_ports.is_empty() {
        value["ExposedPorts"] = set(&config.exposed_ports);
    }
    if let Some(signal) = &config.stop_signal {
        value["StopSignal"] = signal.as_str().into();
    }
    if !config.shell.is_empty() {
        value["Shell"] = json!(config.shell);
    }
    if let Some(check) = &config.healthcheck {
        value["Healthcheck"] = check.to_json();
    }
    value
}

fn graph_driver(image: &Image, paths: &Paths) -> Value {
    let mut dirs = image
        .layers
        .iter()
        .rev()
        .map(|layer| paths.layers().join(layer.chain_id.hex()).join("diff").display().to_string());
    let upper = dirs.next().unwrap_or_default();
    let lower: Vec<String> = dirs.collect();
    let mut data = json!({ "UpperDir": upper });
    if !lower.is_empty() {
        data["LowerDir"] = lower.join(":").into();
    }
    json!({ "Data": data, "Name": "overlay2" })
}
