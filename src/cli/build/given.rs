//! Which flags of `rhumb build` stand on the command line, and which of them mean something for a build script.
//!
//! A flag is refused for scripts unless it is named here: one that is new is never passed over in silence.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::base::{Error, Result};

/// What a script gets as its arguments, and what counts for all builds that it makes.
const FOR_SCRIPTS: &[&str] = &[
    "root",
    "file",
    "context",
    "tag",
    "build_arg",
    "platform",
    "label",
    "annotation",
    "secret",
    "ssh",
    "no_cache",
    "no_cache_filter",
    "cache_from",
    "cache_to",
    "pull",
    "progress",
    "quiet",
    "network",
    "allow",
    "add_host",
    "ulimit",
    "shm_size",
    "memory",
    "memory_swap",
    "cpu_shares",
    "cpu_quota",
    "cpu_period",
    "cpuset_cpus",
    "cpuset_mems",
    "cgroup_parent",
    "load",
    "rm",
    "force-rm",
    "compress",
];

/// What scripts write instead of a flag.
const INSTEAD: &[(&str, &str)] = &[
    ("output", "b.output(DIR)"),
    ("push", "b.commit(NAME, #{ push: true })"),
    ("provenance", "b.commit(NAME, #{ push: true, provenance: true })"),
    ("sbom", "b.commit(NAME, #{ push: true, sbom: true })"),
    ("attest", "b.commit(NAME, #{ push: true, provenance: true })"),
    ("verify", "b.verify()"),
    ("interactive", "b.sh()"),
    ("iidfile", "host::write(FILE, b.commit(NAME).id)"),
    ("build_context", "b.copy(SOURCE, TARGET, #{ from: build::scratch(#{ context: DIR }).copy(\".\", \"/\") })"),
    ("target", "build::dockerfile(DIR, #{ target: STAGE }), or commit another build"),
];

/// The flags that were given, by the names of their fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct GivenFlags(Vec<String>);

impl GivenFlags {
    /// # Errors
    /// `invalid_argument` names the first one that means nothing for a script.
    pub(crate) fn check_for_script(&self) -> Result<()> {
        let Some(given) = self.0.iter().find(|given| !FOR_SCRIPTS.contains(&given.as_str())) else { return Ok(()) };
        let error = Error::invalid(format!("--{} is for Dockerfiles, and the recipe is a build script", long(given)));
        Err(match INSTEAD.iter().find(|(name, _)| name == given) {
            Some((_, instead)) => error.with_hint(format!("in a script write {instead}")),
            None => error.with_hint("name a Dockerfile with --file"),
        })
    }
}

/// As it is written.
fn long(field: &str) -> String {
    field.replace('_', "-")
}

impl Args for GivenFlags {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

impl FromArgMatches for GivenFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<GivenFlags, clap::Error> {
        // Groups of flags are there as well, by the names of their types.
        let is_flag = |name: &str| !name.starts_with(|c: char| c.is_ascii_uppercase());
        let is_given = |name: &&str| is_flag(name) && matches.value_source(name) == Some(ValueSource::CommandLine);
        Ok(GivenFlags(matches.ids().map(clap::Id::as_str).filter(is_given).map(str::to_owned).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = GivenFlags::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::build::BuildArgs;

    #[test]
    fn what_is_named_here_is_a_flag() {
        let command = BuildArgs::augment_args(Command::new("build"));
        let flags: Vec<(&str, Option<&str>)> =
            command.get_arguments().map(|arg| (arg.get_id().as_str(), arg.get_long())).collect();
        let named = FOR_SCRIPTS.iter().chain(INSTEAD.iter().map(|(name, _)| name)).filter(|name| **name != "root");
        for name in named {
            assert!(flags.iter().any(|(id, _)| id == name), "{name}");
        }
        for (id, flag) in flags {
            assert!(flag.is_none_or(|flag| flag == long(id)), "{id}: the message would name another flag");
        }
    }

    #[test]
    fn a_flag_that_nobody_thought_of_is_refused() {
        let command = BuildArgs::augment_args(Command::new("build")).arg(clap::Arg::new("new_one").long("new-one"));
        let given = |words: &[&str]| {
            let matches = command.clone().try_get_matches_from(std::iter::once(&"build").chain(words)).unwrap();
            BuildArgs::from_arg_matches(&matches).unwrap().given.check_for_script()
        };
        assert!(given(&["--quiet", "-t", "x", "--memory", "1g", "--no-cache", "--load", "dir"]).is_ok());
        for flag in ["--new-one=1", "--push", "--timeline=x"] {
            let error = given(&["-q", flag]).unwrap_err();
            assert!(error.message().starts_with(flag.split('=').next().unwrap()), "{error}");
        }
    }
}
