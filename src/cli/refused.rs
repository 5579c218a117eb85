//! Flags of `docker run` that this version cannot honour: taken by the parser, refused by name, never ignored.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::base::{Error, Result};

const WINDOWS: &str = "this is for Windows";

/// Long name, short name, whether it takes a value, and the hint.
const FLAGS: &[(&str, Option<char>, bool, &str)] = &[
    ("link-local-ip", None, true, "addresses of the link alone are not built yet"),
    ("gpus", None, true, "name the devices with --device"),
    ("kernel-memory", None, true, "the kernel has no such limit any more"),
    ("platform", None, true, "only images of this machine's platform run"),
    ("runtime", None, true, "every container runs on the built-in runtime; \"rhumb oci\" is for other engines"),
    ("storage-opt", None, true, "quotas are not built yet"),
    ("use-api-socket", None, false, "there is no API socket yet"),
    ("volume-driver", None, true, "only the local driver is there"),
    ("cpu-count", None, true, WINDOWS),
    ("cpu-percent", None, true, WINDOWS),
    ("io-maxbandwidth", None, true, WINDOWS),
    ("io-maxiops", None, true, WINDOWS),
    ("isolation", None, true, WINDOWS),
];

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
        command.args(FLAGS.iter().map(|&(name, short, takes_value, _)| {
            let arg = Arg::new(name).long(name).hide(true);
            let arg = match short {
                Some(short) => arg.short(short),
                None => arg,
            };
            arg.action(if takes_value { ArgAction::Append } else { ArgAction::SetTrue })
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        RefusedFlags::augment_args(command)
    }
}

impl FromArgMatches for RefusedFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<RefusedFlags, clap::Error> {
        let given = |name: &str| matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
        Ok(RefusedFlags(FLAGS.iter().map(|(name, ..)| *name).filter(|name| given(name)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = RefusedFlags::from_arg_matches(matches)?;
        Ok(())
    }
}
