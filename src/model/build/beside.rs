//! What a command has beside it: devices, and services.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::build::Origin;
use crate::model::container::ContainerOptions;

/// A device that a command has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// As the options of containers have it: `vendor.com/class=name`, or `host[:container[:rwm]]`.
    pub name: String,
    /// Fail when it is not there.
    pub required: bool,
}

/// A container beside a command, which reaches it by its name. It is there before the command begins, and gone after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its name in the network of the step.
    pub name: String,
    /// The image that it is made from, or a stage.
    pub image: Origin,
    /// The container.
    pub options: ContainerOptions,
    /// Variables whose values are secrets, by the secrets' ids.
    pub secret_env: BTreeMap<String, String>,
    /// How long it may take to be ready; none is a minute.
    pub timeout: Option<Duration>,
    /// What it writes is shown with the step's output.
    pub logs: bool,
    /// The services that it begins after, and how far these must be.
    pub depends_on: BTreeMap<String, Condition>,
}

/// How far a service is, as the Compose specification has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Its process runs.
    Started,
    /// It is ready.
    #[default]
    Healthy,
    /// It has done its work, and ended well.
    Completed,
}
