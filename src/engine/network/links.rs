//! Who is linked to whom where names are not resolved: a note beside the endpoints, `<network>/.link-<target>-<holder>`, so
//! that a start need not read what everybody has on the network. Notes of those who ended are nobody's and do no harm.

use crate::base::{Context as _, Id, Result};
use crate::engine::Engine;
use crate::engine::network::bury::names_in;
use crate::model::network::Endpoint;

/// How such a note begins.
const LINK: &str = ".link-";

impl Engine {
    /// Notes that `holder` is linked to `target` on a network without names, so that it hears of another address.
    pub(in crate::engine) fn note_link(&self, network: &Id, target: &Id, holder: &Id) -> Result<()> {
        let path = self.paths().network_run(network).join(format!("{LINK}{target}-{holder}"));
        std::fs::write(&path, "").context(|| format!("writing {path:?}"))
    }

    /// What those have on a network who run and are linked to `target` there. Notes of others go.
    pub(in crate::engine) fn network_linked(&self, network: &Id, target: &Id) -> Result<Vec<Endpoint>> {
        let folder = self.paths().network_run(network);
        let mut list = Vec::new();
        for name in names_in(&folder)? {
            let holder = name.strip_prefix(LINK).and_then(|rest| rest.strip_prefix(target.as_str()));
            let Some(holder) = holder.and_then(|rest| Id::parse(rest.strip_prefix('-')?).ok()) else { continue };
            match self.network_endpoint(network, &holder)?.filter(|_| self.is_up(&holder).unwrap_or(false)) {
                Some(endpoint) => list.push(endpoint),
                None => drop(std::fs::remove_file(folder.join(&name))), // it writes another one when it starts
            }
        }
        Ok(list)
    }
}
