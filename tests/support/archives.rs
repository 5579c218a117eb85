//! Image archives made by hand, good and bad ones, and a state root to load them into.
#![allow(dead_code, reason = "each test crate uses another part of it")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rhumb::base::Digest;
use rhumb::engine::{Engine, EngineOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A state root of its own with an engine on it, and room for files beside.
pub(crate) struct Root {
    pub(crate) folder: PathBuf,
    pub(crate) engine: Engine,
    _temp: TempDir,
}

impl Root {
    pub(crate) fn new() -> Root {
        let temp = tempfile::Builder::new().prefix("rhumb-test-").tempdir().unwrap();
        let folder = temp.path().join("files");
        std::fs::create_dir(&folder).unwrap();
        let engine = open(&temp.path().join("root"));
        Root { folder, engine, _temp: temp }
    }

    /// A second engine on the same root, as another process has one.
    pub(crate) fn reopen(&self) -> Engine {
        open(self.engine.paths().root())
    }

    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.scratch(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn layers(&self) -> BTreeSet<String> {
        files_of(&self.engine.paths().layers())
    }

    pub(crate) fn blobs(&self) -> BTreeSet<String> {
        files_of(&self.engine.paths().blobs())
    }

    /// Panics unless the root holds no image, layer, blob and half-made thing.
    #[track_caller]
    pub(crate) fn assert_empty(&self, after: &str) {
        let images = self.engine.image_list(&Default::default()).unwrap();
        assert!(images.is_empty(), "{after}: {images:?}");
        for folder in [self.engine.paths().layers(), self.engine.paths().blobs(), self.engine.paths().tmp()] {
            assert_eq!(files_of(&folder), BTreeSet::new(), "{after}: {folder:?}");
        }
    }
}

fn open(root: &Path) -> Engine {
    let default_network = Some("none".to_owned());
    let pull = Some("never".to_owned());
    Engine::open(&EngineOptions { root: Some(root.to_owned()), default_network, pull, ..EngineOptions::default() })
        .unwrap()
}

/// The names in a folder.
pub(crate) fn files_of(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// A tar of these files, whatever their names are.
pub(crate) fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let files: Vec<_> = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    tar_of(&files)
}

/// A tar of these files; the names go into the header as they are.
pub(crate) fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        entry(&mut builder, tar::EntryType::Regular, name, "", bytes);
    }
    builder.into_inner().unwrap()
}

fn entry(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, name: &str, link: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1_600_000_000);
    header.set_uid(0);
    header.set_gid(0);
    let raw = header.as_gnu_mut().unwrap();
    assert!(name.len() <= 100 && link.len() <= 100);
    raw.name[..name.len()].copy_from_slice(name.as_bytes());
    raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    builder.append(&header, bytes).unwrap();
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn config(diff_ids: &[Digest], architecture: &str) -> Vec<u8> {
    let config = json!({
        "architecture": architecture, "os": "linux", "created": "2020-01-01T00:00:00Z",
        "config": { "Env": ["A=b"], "Cmd": ["/run"], "Labels": null },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": [{ "created_by": "a test", "unknown": 1 }],
        "unknown": { "field": true },
    });
    config.to_string().into_bytes()
}

/// A docker-archive.
#[derive(Clone)]
pub(crate) struct Docker {
    layers: Vec<Vec<u8>>,
    tags: Option<Vec<String>>,
    linked: bool,
    layer_name: Option<String>,
    config_name: Option<String>,
    config_link: Option<String>,
    diff_id: Option<Digest>,
    no_layers: bool,
}

impl Docker {
    pub(crate) fn new(layers: &[Vec<u8>]) -> Docker {
        Docker {
            layers: layers.to_vec(),
            tags: None,
            linked: false,
            layer_name: None,
            config_name: None,
            config_link: None,
            diff_id: None,
            no_layers: false,
        }
    }

    pub(crate) fn tags(mut self, tags: &[&str]) -> Docker {
        self.tags = Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
        self
    }

    /// Layers lie elsewhere, and `layer.tar` is a link to them, as old versions of Docker wrote them.
    pub(crate) fn linked(mut self) -> Docker {
        self.linked = true;
        self
    }

    pub(crate) fn with_layer_name(mut self, name: &str) -> Docker {
        self.layer_name = Some(name.to_owned());
        self
    }

    pub(crate) fn with_config_name(mut self, name: &str) -> Docker {
        self.config_name = Some(name.to_owned());
        self
    }

    pub(crate) fn with_config_link(mut self, target: &str) -> Docker {
        self.config_link = Some(target.to_owned());
        self
    }

    pub(crate) fn with_diff_id(mut self, digest: &Digest) -> Docker {
        self.diff_id = Some(digest.clone());
        self
    }

    pub(crate) fn without_layers(mut self) -> Docker {
        self.no_layers = true;
        self
    }

    fn config(&self) -> Vec<u8> {
        let own = self.layers.iter().map(|layer| Digest::of(layer)).collect::<Vec<_>>();
        config(&self.diff_id.clone().map_or(own, |one| vec![one; self.layers.len()]), architecture())
    }

    pub(crate) fn id(&self) -> Digest {
        Digest::of(&self.config())
    }

    fn write(&self, builder: &mut tar::Builder<Vec<u8>>) -> Value {
        let config = self.config();
        let name = self.config_name.clone().unwrap_or_else(|| format!("{}.json", Digest::of(&config).hex()));
        match &self.config_link {
            Some(target) => entry(builder, tar::EntryType::Symlink, &name, target, b""),
            None => entry(builder, tar::EntryType::Regular, &name, "", &config),
        }
        let mut names = Vec::new();
        for layer in &self.layers {
            let name = format!("{}/layer.tar", &Digest::of(layer).hex()[..32]);
            if self.linked {
                let store = format!("store/{}", &Digest::of(layer).hex()[..40]);
                entry(builder, tar::EntryType::Symlink, &name, &format!("../{store}"), b"");
                entry(builder, tar::EntryType::Regular, &store, "", layer);
            } else if !self.no_layers {
                entry(builder, tar::EntryType::Regular, &name, "", layer);
            }
            names.push(self.layer_name.clone().unwrap_or(name));
        }
        json!({ "Config": name, "RepoTags": self.tags, "Layers": names })
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        self.finish(tar::Builder::new(Vec::new()), &[])
    }

    /// This image and another one in one archive.
    pub(crate) fn and_then(&self, other: &Docker) -> Vec<u8> {
        self.finish(tar::Builder::new(Vec::new()), &[other])
    }

    fn finish(&self, mut builder: tar::Builder<Vec<u8>>, others: &[&Docker]) -> Vec<u8> {
        let mut list = vec![self.write(&mut builder)];
        list.extend(others.iter().map(|other| other.write(&mut builder)));
        entry(&mut builder, tar::EntryType::Regular, "manifest.json", "", Value::from(list).to_string().as_bytes());
        builder.into_inner().unwrap()
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An OCI image layout with one image.
#[derive(Clone)]
pub(crate) struct Layout {
    blobs: Vec<Vec<u8>>,
    config: Vec<u8>,
    manifest: Value,
    name: Option<String>,
    architecture: String,
    version: String,
    flip: bool,
}

impl Layout {
    /// Layers as they are, compressed or not.
    pub(crate) fn new(layers: &[Vec<u8>]) -> Layout {
        let mut layout = Layout {
            blobs: layers.to_vec(),
            config: Vec::new(),
            manifest: Value::Null,
            name: None,
            architecture: architecture().to_owned(),
            version: "1.0.0".to_owned(),
            flip: false,
        };
        layout.make();
        layout
    }

    fn make(&mut self) {
        let plain = |blob: &Vec<u8>| match blob.as_slice() {
            [0x1f, 0x8b, ..] => {
                let mut out = Vec::new();
                std::io::copy(&mut flate2::read::MultiGzDecoder::new(&blob[..]), &mut out).unwrap();
                (out, "+gzip")
            }
            [0x28, 0xb5, 0x2f, 0xfd, ..] => (zstd::decode_all(&blob[..]).unwrap(), "+zstd"),
            _ => (blob.clone(), ""),
        };
        let diff_ids: Vec<Digest> = self.blobs.iter().map(|blob| Digest::of(&plain(blob).0)).collect();
        self.config = config(&diff_ids, &self.architecture);
        let layers = self.blobs.iter().map(|blob| {
            let kind = format!("application/vnd.oci.image.layer.v1.tar{}", plain(blob).1);
            json!({ "mediaType": kind, "digest": Digest::of(blob), "size": blob.len() })
        });
        let layers: Vec<Value> = layers.collect();
        self.manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers, "annotations": { "kept": "as it is" },
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::of(&self.config), "size": self.config.len(),
            },
        });
    }

    pub(crate) fn name(mut self, name: &str) -> Layout {
        self.name = Some(name.to_owned());
        self
    }

    pub(crate) fn architecture(mut self, architecture: &str) -> Layout {
        self.architecture = architecture.to_owned();
        self.make();
        self
    }

    pub(crate) fn version(mut self, version: &str) -> Layout {
        self.version = version.to_owned();
        self
    }

    pub(crate) fn edit_manifest(mut self, edit: impl FnOnce(&mut Value)) -> Layout {
        edit(&mut self.manifest);
        self
    }

    /// One bit of the layer differs from what its digest says.
    pub(crate) fn flip_layer(mut self) -> Layout {
        self.flip = true;
        self
    }

    pub(crate) fn config_digest(&self) -> Digest {
        Digest::of(&self.config)
    }

    pub(crate) fn manifest_digest(&self) -> Digest {
        Digest::of(self.manifest.to_string().as_bytes())
    }

    fn descriptor(&self) -> Value {
        let manifest = self.manifest.to_string();
        json!({ "mediaType": MANIFEST, "digest": self.manifest_digest(), "size": manifest.len() })
    }

    fn blob_members(&self) -> Vec<(String, Vec<u8>)> {
        let member = |bytes: &[u8]| (format!("blobs/sha256/{}", Digest::of(bytes).hex()), bytes.to_vec());
        let mut members = vec![member(self.manifest.to_string().as_bytes()), member(&self.config)];
        for blob in &self.blobs {
            let (name, mut bytes) = member(blob);
            if self.flip {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            members.push((name, bytes));
        }
        members
    }

    pub(crate) fn members(&self) -> Vec<(String, Vec<u8>)> {
        let mut entry = self.descriptor();
        if let Some(name) = &self.name {
            entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
        let mut members = vec![
            ("oci-layout".to_owned(), json!({ "imageLayoutVersion": self.version }).to_string().into_bytes()),
            ("index.json".to_owned(), index.to_string().into_bytes()),
        ];
        members.extend(self.blob_members());
        members
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        tar_of(&self.members())
    }

    pub(crate) fn write(&self, folder: &Path) {
        write(folder, &self.members());
    }

    /// A layout whose one entry is an index of these images by platform.
    pub(crate) fn write_nested(folder: &Path, images: &[&Layout], name: &str) {
        let entries: Vec<Value> = images
            .iter()
            .map(|image| {
                let mut entry = image.descriptor();
                entry["platform"] = json!({ "os": "linux", "architecture": image.architecture });
                entry
            })
            .collect();
        let inner = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries }).to_string();
        let outer = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": INDEX, "digest": Digest::of(inner.as_bytes()), "size": inner.len(),
            "annotations": { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": "1" },
        }] });
        let mut members = vec![
            ("oci-layout".to_owned(), json!({ "imageLayoutVersion": "1.0.0" }).to_string().into_bytes()),
            ("index.json".to_owned(), outer.to_string().into_bytes()),
            (format!("blobs/sha256/{}", Digest::of(inner.as_bytes()).hex()), inner.into_bytes()),
        ];
        members.extend(images.iter().flat_map(|image| image.blob_members()));
        write(folder, &members);
    }

    /// Indexes in indexes, deeper than anybody needs. (A true loop would need a digest that contains itself.)
    pub(crate) fn looping() -> Vec<u8> {
        let mut members =
            vec![("oci-layout".to_owned(), json!({ "imageLayoutVersion": "1.0.0" }).to_string().into_bytes())];
        let mut below = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }).to_string();
        for _ in 0..50 {
            let entry = json!({ "mediaType": INDEX, "digest": Digest::of(below.as_bytes()), "size": below.len() });
            members.push((format!("blobs/sha256/{}", Digest::of(below.as_bytes()).hex()), below.into_bytes()));
            below = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }).to_string();
        }
        members.push(("index.json".to_owned(), below.into_bytes()));
        tar_of(&members)
    }
}

fn write(folder: &Path, members: &[(String, Vec<u8>)]) {
    for (name, bytes) in members {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
