//! Where a container's cgroup is: the name below each hierarchy's root, and which parents go away with it. Plain data,
//! kept in a container's state so that another process finds the same place again.
//!
//! Nothing here looks at the kernel except for which parents exist.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::{Error, Result};

/// Where cgroups of `rhumb oci` are that ask for a relative place.
const DEFAULT_PARENT: &str = "rhumb-oci";
/// How parents of Rhumb's own begin.
const OWN: &str = "rhumb";
/// The longest path that is taken, in bytes; a name is at most 255.
const LONGEST: usize = 2048;

/// The place of one cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Relative to each hierarchy's root; only plain names.
    pub(crate) name: PathBuf,
    /// What goes away with it.
    pub(crate) parents: Parents,
}

/// The parents that are taken away once they are empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Parents {
    /// All: they are Rhumb's own.
    All,
    /// The cgroup lies in somebody else's: only these folders, which were missing before.
    Missing(Vec<PathBuf>),
}

impl Place {
    /// A place of the engine's: `rhumb-1a2b3c4d/<id>`, or in a cgroup that the user named. Such a one stays, with the
    /// limits that it may have.
    pub(crate) fn own(name: &str) -> Result<Place> {
        let path = PathBuf::from(name);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || path.components().count() < 2 {
            return Err(Error::invalid(format!("{name:?} is not the name of a container's cgroup")));
        }
        let own = name.starts_with(OWN);
        Ok(Place { name: path, parents: if own { Parents::All } else { Parents::Missing(Vec::new()) } })
    }

    /// What `linux.cgroupsPath` of a specification means: an absolute path is relative to each hierarchy's root, a
    /// relative one to Rhumb's own parent; none is the container's id at the root, as with runc and crun. `..` never leads
    /// out of either.
    pub(crate) fn asked(path: Option<&Path>, id: &str) -> Result<Place> {
        let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
            // Without a parent: making and removing one in each hierarchy is a third of all that cgroups cost a start.
            let plain = Path::new(id).components().eq([Component::Normal(id.as_ref())]);
            return if plain {
                Ok(Place { name: id.into(), parents: Parents::Missing(Vec::new()) })
            } else {
                Err(Error::invalid(format!("{id:?} is no name for a cgroup")))
            };
        };
        let text = path.to_string_lossy();
        if !path.is_absolute() && text.split(':').count() == 3 {
            return Err(Error::unsupported(format!("the cgroup path {text:?} asks for a systemd slice"))
                .with_hint("cgroups are made without systemd: give a path such as \"/parent/container\""));
        }
        let bad = |why: &str| Err(Error::invalid(format!("the cgroup path {text:?} {why}")));
        if text.len() > LONGEST || text.contains(['\n', '\0']) {
            return bad("is too long or has a line break");
        }
        let cleaned = clean(path);
        if cleaned.as_os_str().is_empty() {
            return bad("is the root of the hierarchies, which is everybody's");
        }
        if path.is_absolute() {
            Ok(Place { name: cleaned, parents: Parents::Missing(Vec::new()) })
        } else {
            Ok(Place { name: Path::new(DEFAULT_PARENT).join(cleaned), parents: Parents::All })
        }
    }

    /// Remembers which parents are missing below the roots of hierarchies, when that matters.
    pub(crate) fn look(&mut self, roots: &[PathBuf]) {
        let Parents::Missing(missing) = &mut self.parents else { return };
        let Some(parent) = self.name.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return };
        for root in roots {
            let above = parent.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty());
            missing.extend(above.map(|ancestor| root.join(ancestor)).take_while(|folder| !folder.exists()));
        }
    }

    /// The parents to take away, the deepest first, given the cgroup's folders.
    pub(crate) fn removable(&self, folders: &[PathBuf]) -> Vec<PathBuf> {
        match &self.parents {
            Parents::Missing(missing) => missing.clone(),
            Parents::All => {
                let depth = self.name.components().count();
                folders
                    .iter()
                    .flat_map(|folder| folder.ancestors().skip(1).take(depth - 1))
                    .map(Path::to_owned)
                    .collect()
            }
        }
    }
}

/// The path as names only, where `..` stops at the root.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> String {
        Place::asked(Some(Path::new(path)), "id").unwrap().name.to_str().unwrap().to_owned()
    }

    #[test]
    fn names_of_the_engine_cannot_leave_the_hierarchy() {
        for name in ["", "/", "/x/y", "a/../b", "..", "a", "./a/b"] {
            assert!(Place::own(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_path_of_a_specification_stays_where_it_belongs() {
        assert_eq!(name("/a/b"), "a/b");
        assert_eq!(name("/../../a/./b//"), "a/b");
        assert_eq!(name("a/b"), "rhumb-oci/a/b");
        assert_eq!(name("../../../a"), "rhumb-oci/a");
        assert_eq!(Place::asked(None, "id").unwrap().name, Path::new("id"));
        assert_eq!(Place::asked(Some(Path::new("")), "id").unwrap().name, Path::new("id"));
        assert!(["", "..", "a/b", "/"].iter().all(|id| Place::asked(None, id).is_err()));
        for path in ["/", "/..", "..", "/a/..", "user.slice:rhumb:x", "/a\nb"] {
            assert!(Place::asked(Some(Path::new(path)), "id").is_err(), "{path:?}");
        }
        assert!(Place::asked(Some(Path::new(&"/x".repeat(2000))), "id").is_err());
    }

    #[test]
    fn only_missing_parents_of_others_are_taken_away() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("theirs")).unwrap();
        let mut place = Place::asked(Some(Path::new("/theirs/a/b/c")), "id").unwrap();
        place.look(&[root.path().to_owned()]);
        let folder = root.path().join("theirs/a/b/c");
        let expected = [root.path().join("theirs/a/b"), root.path().join("theirs/a")];
        assert_eq!(place.removable(&[folder]), expected);
        let own = Place::own("rhumb-x/id").unwrap();
        assert_eq!(own.removable(&[PathBuf::from("/h/rhumb-x/id")]), [PathBuf::from("/h/rhumb-x")]);
        assert_eq!(Place::own("users/id").unwrap().removable(&[PathBuf::from("/h/users/id")]), Vec::<PathBuf>::new());
        let text = serde_json::to_string(&place).unwrap();
        assert_eq!(serde_json::from_str::<Place>(&text).unwrap(), place);
    }
}
