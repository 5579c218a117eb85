//! Docker's build checks: what builds, but is likely not what was meant. Each is a warning with a place.
//!
//! `# check=skip=RULE,RULE;error=true;experimental=all` at the top of a file chooses; [`RULES`] names them all. The two
//! experimental ones are silent unless they are asked for, as with Docker.

mod names;
mod style;
mod values;

use crate::base::ignore::Ignore;
use crate::docker::dockerfile::ast::{Dockerfile, Span, Word};
use crate::model::image::ImageConfig;

/// Every rule.
pub const RULES: [&str; 21] = [
    "ConsistentInstructionCasing",
    "CopyIgnoredFile",
    "DuplicateStageName",
    "ExposeInvalidFormat",
    "ExposeProtoCasing",
    "FromAsCasing",
    "FromPlatformFlagConstDisallowed",
    "InvalidDefaultArgInFrom",
    "InvalidDefinitionDescription",
    "JSONArgsRecommended",
    "LegacyKeyValueFormat",
    "MaintainerDeprecated",
    "MultipleInstructionsDisallowed",
    "NoEmptyContinuation",
    "RedundantTargetPlatform",
    "ReservedStageName",
    "SecretsUsedInArgOrEnv",
    "StageNameCasing",
    "UndefinedArgInFrom",
    "UndefinedVar",
    "WorkdirRelativePath",
];

/// Those that must be asked for.
const EXPERIMENTAL: [&str; 2] = ["CopyIgnoredFile", "InvalidDefinitionDescription"];

/// The most warnings of one file.
const MAX_WARNINGS: usize = 1000;

/// Something that is likely not what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Its rule, of [`RULES`].
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
}

/// What the checks came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// In the order of the file.
    pub warnings: Vec<Warning>,
    /// The file says that a warning fails the build.
    pub fails: bool,
}

/// What a file says of its checks.
#[derive(Debug, Default)]
struct Choice<'a> {
    skip: Vec<&'a str>,
    experimental: Vec<&'a str>,
    error: bool,
}

impl<'a> Choice<'a> {
    fn read(word: Option<&'a Word>) -> Choice<'a> {
        let mut choice = Choice::default();
        for part in word.map_or("", |word| word.text.as_str()).split(';') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let list = || value.split(',').map(str::trim).filter(|rule| !rule.is_empty()).collect();
            match name.trim().to_ascii_lowercase().as_str() {
                "skip" => choice.skip = list(),
                "experimental" => choice.experimental = list(),
                "error" => choice.error = value.trim().eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        choice
    }

    fn wants(&self, rule: &str) -> bool {
        let among = |list: &[&str]| list.iter().any(|name| name.eq_ignore_ascii_case(rule) || *name == "all");
        !among(&self.skip) && (!EXPERIMENTAL.contains(&rule) || among(&self.experimental))
    }
}

/// What an image says; none when nobody knows.
pub type Images<'a> = &'a dyn Fn(&str) -> Option<ImageConfig>;

/// What the checks ask about the world.
#[derive(Default)]
pub struct About<'a> {
    /// What is not in the build context.
    pub ignore: Option<&'a Ignore>,
    /// What images say; none when nobody knows.
    pub images: Option<Images<'a>>,
}

/// Runs all checks.
pub fn check(file: &Dockerfile, about: &About<'_>) -> Checked {
    let choice = Choice::read(file.check.as_ref());
    let mut found = Found { warnings: Vec::new(), choice };
    style::check(file, &mut found);
    names::check(file, &mut found);
    values::check(file, about, &mut found);
    let Found { mut warnings, choice } = found;
    warnings.sort_by(|a, b| (a.span, a.rule, &a.message).cmp(&(b.span, b.rule, &b.message)));
    Checked { fails: choice.error && !warnings.is_empty(), warnings }
}

/// Collects warnings of rules that are wanted.
struct Found<'a> {
    warnings: Vec<Warning>,
    choice: Choice<'a>,
}

impl Found<'_> {
    fn add(&mut self, rule: &'static str, span: Span, message: String) {
        debug_assert!(RULES.contains(&rule));
        if self.warnings.len() < MAX_WARNINGS && self.choice.wants(rule) {
            self.warnings.push(Warning { rule, message, span });
        }
    }
}
