//! What a root holds, as text that can be compared: the judge of "fully or not at all" and of "the others are untouched".

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rhumb::base::Digest;
use serde_json::Value;

use crate::support::Rhumb;
use crate::support::rhumb::string;

/// Every object by what a user knows of it. Identifiers that chance made do not count, so that two runs compare.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Observation {
    /// Containers: name and state.
    pub(crate) containers: BTreeMap<String, String>,
    /// Images: reference (or `<none>` and a number) and id.
    pub(crate) images: Vec<String>,
    /// Named volumes with the digest of their content.
    pub(crate) volumes: BTreeMap<String, String>,
    /// How many volumes without a name there are.
    pub(crate) anonymous: usize,
    /// Networks that were made, and who is connected to them.
    pub(crate) networks: BTreeMap<String, Vec<String>>,
    /// Files that the verbs write for the user, without what is hidden beside them until it is whole: it lies outside of
    /// the root, where the next verb for the same file takes it away. A digest counts together with its archive.
    pub(crate) files: Vec<String>,
}

impl std::fmt::Display for Observation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "containers {:?}, images {:?}, volumes {:?}", self.containers, self.images, self.volumes)?;
        write!(f, ", networks {:?}, {} anonymous, files {:?}", self.networks, self.anonymous, self.files)
    }
}

/// Reads what the root holds through the command line.
#[track_caller]
pub(crate) fn observe(rhumb: &Rhumb) -> Observation {
    let mut seen = Observation { containers: rhumb.states(), ..Observation::default() };
    let image = |row: &Value| {
        let (repository, id) = (string(&row["Repository"]), string(&row["ID"]));
        // The time of a commit is in its image's id: what the verbs make is known by its layers.
        let identity = if repository == "extra" { layers(rhumb, &id) } else { id };
        format!("{repository}:{} {identity}", string(&row["Tag"]))
    };
    seen.images = rhumb.rows("images").iter().map(image).collect();
    seen.images.sort();
    for name in rhumb.run(["volume", "ls", "-q"]).ok().lines() {
        if name.len() == 64 {
            seen.anonymous += 1;
        } else {
            let text = rhumb.run(["volume", "inspect", name]).ok();
            let facts: Value = serde_json::from_str(&text).expect("inspect prints JSON");
            let data = string(&facts[0]["Mountpoint"]);
            seen.volumes.insert(name.into(), tree_digest(Path::new(&data)));
        }
    }
    for name in rhumb.run(["network", "ls", "-q", "--filter", "type=custom", "--format", "{{.Name}}"]).ok().lines() {
        seen.networks.insert(name.into(), Vec::new());
    }
    for name in seen.containers.keys() {
        let networks =
            rhumb.run(["inspect", "-f", "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}", name]);
        // One that goes away meanwhile is seen no more by whoever looks again.
        for network in networks.stdout.split_whitespace().filter(|network| *network != "none") {
            seen.networks.entry(network.into()).or_default().push(name.clone());
        }
    }
    for entry in fs::read_dir(rhumb.path("out")).into_iter().flatten() {
        seen.files.push(entry.expect("reading a folder").file_name().to_string_lossy().into_owned());
    }
    seen.files.retain(|name| !(name.starts_with('.') && name.contains(".rhumb-")));
    let there = seen.files.clone();
    seen.files.retain(|name| name.strip_suffix(".sha256").is_none_or(|archive| there.iter().any(|n| n == archive)));
    seen.files.sort();
    seen
}

/// The layers of an image.
#[track_caller]
fn layers(rhumb: &Rhumb, image: &str) -> String {
    let facts: Value = serde_json::from_str(&rhumb.run(["image", "inspect", image]).ok()).expect("inspect prints JSON");
    facts[0]["RootFS"]["Layers"].to_string()
}

/// One digest over names, kinds, modes and content of a folder.
pub(crate) fn tree_digest(dir: &Path) -> String {
    let mut listing = String::new();
    list(dir, dir, &mut listing);
    Digest::of(listing.as_bytes()).hex()[..16].to_owned()
}

fn list(top: &Path, dir: &Path, listing: &mut String) {
    use std::fmt::Write as _;
    use std::os::unix::fs::MetadataExt as _;
    let mut paths: Vec<_> = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let facts = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.strip_prefix(top).expect("below the top").display().to_string();
        let content = match facts.file_type() {
            kind if kind.is_file() => Digest::of(&fs::read(&path).unwrap()).hex().to_owned(),
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
            _ => String::new(),
        };
        writeln!(listing, "{name} {:o} {} {} {content}", facts.mode(), facts.uid(), facts.gid()).unwrap();
        if facts.is_dir() {
            list(top, &path, listing);
        }
    }
}
