//! Option maps with the Compose specification's keys, and docker's command-line spellings as aliases, to typed options.

use serde_json::{Map, Value};

use crate::base::Result;
use crate::model::container::ContainerOptions;

/// Reads a map such as `{"name": "web", "volumes": ["data:/data:ro"], "mem_limit": "64m"}`.
///
/// Values take Docker's short strings and the long map form. `command` and `entrypoint`: a string is `sh -c`, an array is
/// argv.
///
/// # Errors
/// `invalid_argument` with a did-you-mean for an unknown key or a malformed value; `unsupported` naming a key that this
/// version cannot honour.
pub fn container_options(map: &Map<String, Value>) -> Result<ContainerOptions> {
    let _ = map;
    todo!()
}
