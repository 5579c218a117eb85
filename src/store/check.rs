//! The store examined: do records, files and uses agree, and do blobs still have their digests.
//!
//! It looks at what the store knows of; containers, cgroups and mounts are the engine's. With `repair` it mends what can
//! be mended without losing anything: a layer whose folder is gone is unpacked from its blob again, a blob that is another form
//! of a layer's is made again, leftovers are swept.

use std::io::BufReader;

use crate::base::{Digest, Result};
use crate::model::image::Layer;
use crate::model::system::{CheckOptions, CheckReport, Problem};
use crate::store::Store;
use crate::store::blob::Blob;
use crate::store::db::Noun;

impl Store {
    /// Examines records, blobs, layers and leftovers.
    ///
    /// # Errors
    /// Only when the examination itself cannot be done: `corrupt` for a database that cannot be read at all.
    pub fn check(&self, options: CheckOptions) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        self.check_database(&mut report)?;
        self.check_blobs(options, &mut report)?;
        self.check_layers(options, &mut report)?;
        self.check_uses(options, &mut report)?;
        self.check_leftovers(options, &mut report)?;
        self.check_events(options, &mut report)?;
        Ok(report)
    }

    fn check_database(&self, report: &mut CheckReport) -> Result<()> {
        report.checked += 1;
        let found = self.read(|tx| tx.integrity())?;
        report.problems.extend(found.into_iter().map(|text| problem("record", "rhumb.db", &text)));
        Ok(())
    }

    fn check_blobs(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        for id in self.read(|tx| tx.ids(Noun::Blob))? {
            report.checked += 1;
            let found = self.check_blob(&id, options.rehash);
            if let Err(error) = found {
                // Another process may have removed it in between.
                if self.read(|tx| tx.phase(Noun::Blob, &id))?.is_some() {
                    let mut found = problem("blob", &id, &error.to_string());
                    if options.repair {
                        // One that was made of another one is made again.
                        let restored = Digest::parse(&id).and_then(|digest| self.form_restore(&digest));
                        match restored {
                            Ok(repaired) => found.repaired = repaired,
                            Err(error) => {
                                found.problem = format!("{}; it cannot be made again: {error}", found.problem)
                            }
                        }
                    }
                    report.problems.push(found);
                }
            }
        }
        Ok(())
    }

    fn check_blob(&self, id: &str, rehash: bool) -> Result<()> {
        let digest = Digest::parse(id)?;
        let record = self.read(|tx| tx.get::<Blob>(Noun::Blob, id))?;
        let size_bytes = self.blob_open(&digest)?.metadata()?.len();
        match record {
            Some(row) if row.body.size_bytes != size_bytes => Err(crate::base::Error::corrupt(format!(
                "it has {size_bytes} bytes, its record says {}",
                row.body.size_bytes
            ))),
            _ if rehash => self.blob_verify(&digest).map(drop),
            _ => Ok(()),
        }
    }

    fn check_layers(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        for id in self.read(|tx| tx.ids(Noun::Layer))? {
            report.checked += 1;
            let layer = match self.read(|tx| tx.get::<Layer>(Noun::Layer, &id)) {
                Ok(Some(row)) => row.body,
                Ok(None) => continue,
                Err(error) => {
                    report.problems.push(problem("layer", &id, &error.to_string()));
                    continue;
                }
            };
            if self.layer_diff(&layer.chain_id).is_dir() {
                continue;
            }
            let mut found = problem("layer", &id, "its folder is gone");
            if options.repair {
                match self.layer_restore(&layer) {
                    Ok(()) => found.repaired = true,
                    Err(error) => found.problem = format!("{}; it cannot be unpacked again: {error}", found.problem),
                }
            }
            report.problems.push(found);
        }
        Ok(())
    }

    /// Unpacks a layer again whose folder is gone.
    fn layer_restore(&self, layer: &Layer) -> Result<()> {
        let blob = self.blob_open(&layer.blob)?;
        self.layer_unpack_again(&mut BufReader::new(blob), layer)
    }

    /// Names without a record, uses of things that have no record, and users that have none.
    fn check_uses(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        for noun in Noun::ALL {
            for name in self.read(|tx| tx.dangling_names(noun))? {
                let mut found = problem("record", &name, &format!("the name belongs to no {noun}"));
                if options.repair {
                    self.write(|tx| tx.unname(noun, &name))?;
                    found.repaired = true;
                }
                report.problems.push(found);
            }
        }
        for dangling in self.read(|tx| tx.dangling_uses())? {
            report.checked += 1;
            let text = format!("it uses the {} {:?}, which has no record", dangling.target.0, dangling.target.1);
            let mut found = problem(&dangling.user.0, &dangling.user.1, &text);
            if dangling.user_is_gone {
                found.problem = format!("it has no record but uses the {} {:?}", dangling.target.0, dangling.target.1);
                if options.repair {
                    self.write(|tx| tx.forget_user(&dangling.user.0, &dangling.user.1))?;
                    found.repaired = true;
                }
            }
            report.problems.push(found);
        }
        Ok(())
    }

    fn check_leftovers(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        let mut found = Vec::new();
        {
            let _publishing = self.publishing()?;
            for (noun, folder) in [(Noun::Layer, "layers"), (Noun::Blob, "blobs/sha256")] {
                found.extend(self.unlisted(noun)?.into_iter().map(|name| format!("{folder}/{name}")));
            }
        }
        found.extend(self.dead_scratch()?.into_iter().map(|name| format!("tmp/{name}")));
        let repaired = options.repair && !found.is_empty() && self.sweep().is_ok();
        report.checked += found.len() as u64;
        report.problems.extend(found.into_iter().map(|name| Problem {
            repaired,
            ..problem("folder", &name, "it belongs to no record: a killed process left it")
        }));
        Ok(())
    }
}

fn problem(noun: &str, name: &str, problem: &str) -> Problem {
    Problem { noun: noun.to_owned(), name: name.to_owned(), problem: problem.to_owned(), repaired: false }
}
