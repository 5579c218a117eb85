//! A case: a sentence of the specification, a bundle, and what must hold.

use crate::bundle::Bundle;
use crate::runtime::Runtime;

/// A sentence of the specification and how it is checked.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// A name that says the behaviour.
    pub(crate) name: &'static str,
    /// The file and the anchor of the specification, version 1.2.
    pub(crate) section: &'static str,
    /// What it says there, in short.
    pub(crate) says: &'static str,
    /// How it is checked.
    pub(crate) test: Test,
    /// The runtimes for which it does not hold, and why. One for which it does is a failure too.
    pub(crate) deviations: &'static [(Runtime, &'static str)],
}

/// How a case is checked. A patch is a JSON merge patch (RFC 7386) of the ordinary configuration in which a member whose
/// name ends in `+` adds to an array, and `@scratch@` stands for the case's folder.
#[derive(Clone, Copy)]
pub(crate) enum Test {
    /// A container runs `script` and prints exactly this, but for white space around it.
    Prints { patch: &'static str, script: &'static str, output: &'static str },
    /// `create` fails, and nothing is left.
    Refuses { patch: &'static str },
    /// A mount of a tmpfs, or a bind mount of a folder when the options say so, shows these options and not those.
    Mounts { options: &'static [&'static str], shows: &'static [&'static str], lacks: &'static [&'static str] },
    /// Anything else.
    Acts(fn(&mut Bundle)),
}

/// A container prints something.
pub(crate) const fn prints(
    name: &'static str,
    section: &'static str,
    says: &'static str,
    patch: &'static str,
    script: &'static str,
    output: &'static str,
) -> Case {
    Case { name, section, says, test: Test::Prints { patch, script, output }, deviations: &[] }
}

/// A configuration is refused.
pub(crate) const fn refuses(
    name: &'static str,
    section: &'static str,
    says: &'static str,
    patch: &'static str,
) -> Case {
    Case { name, section, says, test: Test::Refuses { patch }, deviations: &[] }
}

/// A mount has options.
pub(crate) const fn mounts(
    name: &'static str,
    says: &'static str,
    options: &'static [&'static str],
    shows: &'static [&'static str],
    lacks: &'static [&'static str],
) -> Case {
    let test = Test::Mounts { options, shows, lacks };
    Case { name, section: "config.md#configLinuxMountOptions", says, test, deviations: &[] }
}

/// Steps of their own.
pub(crate) const fn acts(
    name: &'static str,
    section: &'static str,
    says: &'static str,
    steps: fn(&mut Bundle),
) -> Case {
    Case { name, section, says, test: Test::Acts(steps), deviations: &[] }
}

impl Case {
    /// With runtimes for which it does not hold.
    pub(crate) const fn but(mut self, deviations: &'static [(Runtime, &'static str)]) -> Case {
        self.deviations = deviations;
        self
    }

    /// Checks it.
    pub(crate) fn check(&self, bundle: &mut Bundle) {
        match self.test {
            Test::Prints { patch, script, output } => {
                bundle.patch(patch);
                let printed = bundle.prints(script);
                assert_eq!(printed.trim(), output.trim(), "what `{script}` prints");
            }
            Test::Refuses { patch } => {
                bundle.patch(patch);
                bundle.refused();
            }
            Test::Mounts { options, shows, lacks } => check_mount(bundle, options, shows, lacks),
            Test::Acts(steps) => steps(bundle),
        }
    }
}

fn check_mount(bundle: &mut Bundle, options: &[&str], shows: &[&str], lacks: &[&str]) {
    let binds = options.iter().any(|option| matches!(*option, "bind" | "rbind"));
    let (kind, source) = if binds { ("none", bundle.folder("source")) } else { ("tmpfs", "tmpfs".into()) };
    bundle.mount("/mnt", kind, &source.display().to_string(), options);
    let seen = bundle.mount_options("/mnt");
    let all = || seen.join(",");
    for option in shows {
        assert!(seen.iter().any(|seen| seen == option), "{option} is missing from {}", all());
    }
    for option in lacks {
        assert!(seen.iter().all(|seen| seen != option), "{option} is in {}", all());
    }
}
