//! Flags of `docker build` that this version cannot honour: taken by the parser, refused by name, never ignored.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::base::{Error, Result};

const ONE_BUILDER: &str = "there is one builder: the engine itself";

/// Long name, whether it takes a value, and the hint.
const FLAGS: &[(&str, bool, &str)] = &[
    ("builder", true, ONE_BUILDER),
    ("isolation", true, "this is for Windows"),
    ("policy", true, "a source that must be what it was has a digest: FROM IMAGE@DIGEST, ADD --checksum"),
    ("security-opt", true, "steps run with the engine's own profile"),
    ("squash", false, "write the steps in one RUN"),
];

/// Flags of Docker's builders that ask for what is done anyway: the image is here, no container is left of a step, and the
/// context is not sent anywhere.
const IDLE: &[&str] = &["load", "rm", "force-rm", "compress"];

/// The values that ask for nothing.
const DEFAULTS: &[(&str, &str)] = &[("builder", "default"), ("isolation", "default")];

/// Those of the refused flags that were given.
#[derive(Debug, Clone, Default)]
pub(crate) struct RefusedFlags(Vec<&'static str>);

impl RefusedFlags {
    /// # Errors
    /// `unsupported` names the first one.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(given) = self.0.first() else { return Ok(()) };
        let hint = FLAGS.iter().find(|(name, ..)| name == given).map_or("", |(.., hint)| hint);
        Err(Error::unsupported(format!("option \"--{given}\" is not supported yet")).with_hint(hint))
    }
}

impl Args for RefusedFlags {
    fn augment_args(command: Command) -> Command {
        let idle = IDLE.iter().map(|&name| Arg::new(name).long(name).hide(true).action(ArgAction::SetTrue));
        command.args(idle).args(FLAGS.iter().map(|&(name, takes_value, _)| {
            let action = if takes_value { ArgAction::Append } else { ArgAction::SetTrue };
            Arg::new(name).long(name).hide(true).action(action)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        RefusedFlags::augment_args(command)
    }
}

impl FromArgMatches for RefusedFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<RefusedFlags, clap::Error> {
        let given = |name: &str| matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
        let asks = |flag: &(&str, bool, &str)| {
            let default = DEFAULTS.iter().find(|(name, _)| *name == flag.0).map(|(_, value)| *value);
            let values = || matches.get_many::<String>(flag.0).into_iter().flatten();
            given(flag.0) && !(flag.1 && default.is_some() && values().all(|value| Some(value.as_str()) == default))
        };
        Ok(RefusedFlags(FLAGS.iter().filter(|flag| asks(flag)).map(|(name, ..)| *name).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = RefusedFlags::from_arg_matches(matches)?;
        Ok(())
    }
}
