//! Copying files out of containers and into them.
//!
//! ```text
//! paths   what an operand means (pure)      visit   where a container's files are
//! here    the source and the target, looked up: on the host by the host's rules, in a container inside its root
//! copy    source ─▶ tar ─▶ pipe ─▶ spread over the target; `-` is the tar itself
//! ```
//!
//! Everything in a container is resolved by the kernel inside its root, on descriptors, while its processes may change it:
//! they can choose what of their own is read and written, and never anything of the host's (CVE-2018-15664). Nothing in
//! there is executed or loaded (CVE-2019-14271): users are looked up in its files by ourselves. On the host nothing is
//! reached through what came out of the container.

mod here;
mod paths;
mod visit;

use std::io::{Read, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use crate::base::{Context as _, Error, Result, failpoint};
use crate::engine::Engine;
use crate::engine::pipe::{Metered, through};
use crate::model::content::{Copied, CopyOptions};
use crate::runtime::visit as root;
use crate::store::pack::{PackForm, PackOptions, Packed, Top, pack_tops};
use crate::store::spread::{Ground, Owner, Spread, SpreadOptions, spread};
use crate::sys::path::Dir;
use crate::sys::{node, process};

use here::Source;
use paths::{Given, Into};
use visit::Visit;

/// What is copied into a container.
pub enum CopySource<'a> {
    /// A file or folder of the host. A slash or `/.` at its end counts.
    Path(&'a Path),
    /// A tar, plain or compressed.
    Tar(&'a mut dyn Read),
}

/// Where something is copied to on the host.
pub enum CopyTarget<'a> {
    /// A file or folder. A slash or `/.` at its end counts.
    Path(&'a Path),
    /// A tar of it.
    Tar(&'a mut (dyn Write + Send)),
}

impl Engine {
    /// Copies a file or folder out of a container, by the rules of `docker cp`. Where nothing is at `source` and it is a
    /// pattern, everything that fits it. `moved` counts bytes as they go.
    ///
    /// The files belong to whoever copies and grant no rights; with `archive` they keep owners, set-id bits, capabilities
    /// and devices.
    ///
    /// # Errors
    /// `not_found` for either side; `invalid_argument` for a folder onto a file and the like; `interrupted`; `no_space`.
    /// A file that was there is as before, or whole; of a folder, some files may be there.
    pub fn container_copy_from(
        &self,
        container: &str,
        source: &[u8],
        target: CopyTarget<'_>,
        options: CopyOptions,
        moved: &AtomicU64,
    ) -> Result<Copied> {
        let visit = self.container_visit(container)?;
        let sources = here::in_container(&visit, source, options.follow_link)?;
        failpoint::hit("container.copy_from.open")?;
        let pack = PackOptions { form: PackForm::Tree, ids: visit.ids, ..PackOptions::default() };
        let done = match target {
            CopyTarget::Tar(out) => {
                let tops: Vec<Top<'_>> = sources.iter().map(|source| source.top(None)).collect();
                let mut out = Metered { stream: out, moved, interrupt: &self.interrupt };
                pack_tops(&tops, &pack, &mut out).map(|packed| (packed, Spread::default()))
            }
            CopyTarget::Path(path) => {
                let (folder, rename) = here::on_host(path, &sources)?;
                let folder = Dir::open(&folder).context(|| format!("opening {folder:?}"))?;
                let pack = PackOptions { nanoseconds: true, avoid: Some(node::facts_of(&folder)?.identity), ..pack };
                let owner = if options.archive { Owner::Archive } else { Owner::Caller };
                let how = SpreadOptions { owner, ids: None, privileges: options.archive };
                self.copy_through(&sources, rename.as_deref(), &pack, moved, &|reader| {
                    spread(&Ground::Host(&folder), reader, how)
                })
            }
        };
        let copied = self.copied(done).context(|| format!("copying from the container {:?}", visit.name))?;
        self.tell_of(&visit.record, &visit.name, "archive-path");
        Ok(copied)
    }

    /// Copies a file or folder of the host, or what is in a tar, into a container, by the rules of `docker cp`. `moved`
    /// counts bytes as they go.
    ///
    /// Owners keep their numbers, as with Docker; with `archive` everything belongs to the container's user if it has one.
    ///
    /// # Errors
    /// As [`Engine::container_copy_from`]; `permission_denied` where nothing may be written.
    pub fn container_copy_to(
        &self,
        container: &str,
        source: CopySource<'_>,
        target: &[u8],
        options: CopyOptions,
        moved: &AtomicU64,
    ) -> Result<Copied> {
        let visit = self.container_visit(container)?;
        let target = here::target_in_container(&visit, &Given::parse(target)?)?;
        failpoint::hit("container.copy_to.open")?;
        let done = match source {
            CopySource::Tar(reader) => {
                let path = target.folder()?;
                let mut reader = Metered { stream: reader, moved, interrupt: &self.interrupt };
                self.copy_into(&visit, path, options, &mut reader).map(|spread| (Packed::default(), spread))
            }
            CopySource::Path(path) => {
                let sources = [here::source_on_host(path, options.follow_link)?];
                let into = paths::decide(sources[0].is_folder, target.there, target.given.folder, &target.shown())?;
                let (path, rename) = match into {
                    Into::Target => (target.given.path.as_slice(), None),
                    Into::Parent => (target.given.parent(), Some(target.given.name().to_vec())),
                };
                let folder = self.writable(&visit, path)?;
                let pack = PackOptions {
                    form: PackForm::Tree,
                    nanoseconds: true,
                    avoid: Some(node::facts_of(&folder)?.identity),
                    ..PackOptions::default()
                };
                self.copy_through(&sources, rename.as_deref(), &pack, moved, &|reader| {
                    self.copy_into(&visit, path, options, reader)
                })
            }
        };
        let copied = self.copied(done).context(|| format!("copying to the container {:?}", visit.name))?;
        self.tell_of(&visit.record, &visit.name, "extract-to-dir");
        Ok(copied)
    }

    /// Packs on one side of a pipe, and spreads on the other.
    fn copy_through(
        &self,
        sources: &[Source],
        rename: Option<&[u8]>,
        pack: &PackOptions,
        moved: &AtomicU64,
        spread: &dyn Fn(&mut dyn Read) -> Result<Spread>,
    ) -> Result<(Packed, Spread)> {
        let interrupt = &*self.interrupt;
        through(
            |writer| {
                let tops: Vec<Top<'_>> = sources.iter().map(|source| source.top(rename)).collect();
                pack_tops(&tops, pack, &mut Metered { stream: writer, moved, interrupt })
            },
            |reader| spread(reader),
        )
    }

    /// Spreads a tar over a folder of a container.
    fn copy_into(&self, visit: &Visit, path: &[u8], options: CopyOptions, reader: &mut dyn Read) -> Result<Spread> {
        drop(self.writable(visit, path)?);
        let owner = match visit.record.user.as_str() {
            user if options.archive && !user.is_empty() => {
                let (uid, gid) = root::numbers(visit.root.as_fd(), user)?;
                Owner::Fixed(uid, gid)
            }
            _ => Owner::Archive,
        };
        let how = SpreadOptions { owner, ids: visit.ids, privileges: true };
        let ground = Ground::Container { root: &visit.root, path };
        match visit.ids {
            // With the host's root nothing could be made where it has no number.
            Some(ids) => process::with_file_ids(ids.uid_base, ids.gid_base, || spread(&ground, reader, how)),
            None => spread(&ground, reader, how),
        }
    }

    /// The folder at a path of the container, in which something can be made.
    fn writable(&self, visit: &Visit, path: &[u8]) -> Result<Dir> {
        let folder = here::open_folder(visit, path)?;
        if !root::is_read_only(folder.as_fd())? {
            return Ok(folder);
        }
        let within = |target: &str| {
            path.strip_prefix(target.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let mounted = visit.record.mounts.iter().any(|point| within(&point.target));
        Err(Error::permission_denied(match mounted {
            true => "the mounted volume is marked read-only".to_owned(),
            false => "the container's root is marked read-only".to_owned(),
        }))
    }

    fn copied(&self, done: Result<(Packed, Spread)>) -> Result<Copied> {
        self.check_interrupt()?;
        let (packed, spread) = done?;
        Ok(Copied {
            entries: packed.entries.max(spread.entries),
            content_bytes: packed.content_bytes.max(spread.content_bytes),
            skipped_sockets: packed.skipped_sockets,
            skipped_devices: spread.skipped_devices,
        })
    }
}
