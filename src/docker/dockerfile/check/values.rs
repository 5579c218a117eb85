//! Checks of what instructions say: variables, paths, ports, secrets.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::suggest;
use crate::docker::dockerfile::ast::{CopySource, Dockerfile, Instruction, InstructionKind, Stage, Word};
use crate::docker::dockerfile::check::{About, Found};
use crate::docker::dockerfile::translate::PROXIES;
use crate::docker::dockerfile::{expand, sources};

/// Parts of names that hold secrets.
const SECRETS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// The names that a stage knows, and whether its working directory is known.
#[derive(Debug, Clone, Default)]
struct Known {
    names: BTreeSet<String>,
    workdir: bool,
}

pub(super) fn check(file: &Dockerfile, about: &About<'_>, found: &mut Found<'_>) {
    for instruction in &file.arguments {
        secrets(instruction, found);
    }
    let mut stages: BTreeMap<String, Known> = BTreeMap::new();
    for stage in &file.stages {
        let mut known = match stages.get(&stage.base.text.to_ascii_lowercase()) {
            Some(known) => known.clone(),
            None => of_base(stage, about),
        };
        for instruction in &stage.instructions {
            one(file, instruction, &mut known, about, found);
        }
        if let Some(name) = &stage.name {
            stages.insert(name.text.to_ascii_lowercase(), known);
        }
    }
}

fn of_base(stage: &Stage, about: &About<'_>) -> Known {
    let config = about.images.and_then(|images| images(&stage.base.text)).unwrap_or_default();
    let of_image = config.env.iter().map(|entry| entry.split('=').next().unwrap_or_default().to_owned());
    let names = of_image.chain(["PATH".to_owned()]).chain(PROXIES.map(str::to_owned)).collect();
    Known { names, workdir: false }
}

fn one(file: &Dockerfile, instruction: &Instruction, known: &mut Known, about: &About<'_>, found: &mut Found<'_>) {
    secrets(instruction, found);
    for word in words(instruction) {
        let lookup = |name: &str| known.names.contains(name).then(String::new);
        // What cannot be expanded at all is an error of the build.
        let Ok((_, missing)) = expand::word(&word.text, file.escape, &lookup) else { continue };
        for name in missing.iter().filter(|name| name.starts_with(|c: char| c.is_alphabetic() || c == '_')) {
            let names = known.names.iter().map(String::as_str);
            let near =
                suggest::nearest(name, names).map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
            let message = format!("Usage of undefined variable '${name}'{near}");
            found.add("UndefinedVar", instruction.span, message);
        }
    }
    match &instruction.kind {
        InstructionKind::Arg(pairs) => known.names.extend(pairs.iter().map(|pair| pair.name.text.clone())),
        InstructionKind::Env(pairs) => known.names.extend(pairs.pairs.iter().map(|pair| pair.name.text.clone())),
        InstructionKind::Workdir(word) => {
            let is_variable = word.text.starts_with('$');
            if !known.workdir && !is_variable && !word.text.trim_start_matches(['"', '\'']).starts_with('/') {
                let message =
                    format!("Relative workdir {:?} can have unexpected results if the base image changes", word.text);
                found.add("WorkdirRelativePath", instruction.span, message);
            }
            known.workdir = true;
        }
        InstructionKind::Expose(ports) => ports.iter().for_each(|port| expose(port, found)),
        InstructionKind::Copy(copy) if copy.from.is_none() => {
            for source in &copy.sources {
                if let (CopySource::Path(word), Some(ignore)) = (source, about.ignore) {
                    let path = word.text.trim_start_matches("./").trim_matches('/');
                    let remote = copy.add && sources::is_remote(&word.text);
                    if !remote && !path.is_empty() && path != "." && !path.contains('$') && ignore.excludes(path) {
                        let message =
                            format!("Attempting to Copy file {:?} that is excluded by .dockerignore", word.text);
                        found.add("CopyIgnoredFile", word.span, message);
                    }
                }
            }
        }
        _ => {}
    }
}

/// The words of an instruction in which variables get their values.
fn words(instruction: &Instruction) -> Vec<&Word> {
    match &instruction.kind {
        InstructionKind::Arg(pairs) => pairs.iter().filter_map(|pair| pair.value.as_ref()).collect(),
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
            pairs.pairs.iter().flat_map(|pair| [Some(&pair.name), pair.value.as_ref()]).flatten().collect()
        }
        InstructionKind::Expose(words) | InstructionKind::Volume(words) => words.iter().collect(),
        InstructionKind::User(word) | InstructionKind::Workdir(word) | InstructionKind::StopSignal(word) => vec![word],
        InstructionKind::Copy(copy) => {
            let paths = copy.sources.iter().filter_map(|source| match source {
                CopySource::Path(word) => Some(word),
                CopySource::Document(_) => None,
            });
            let flags = [&copy.chown, &copy.chmod, &copy.checksum].into_iter().flatten();
            paths.chain([&copy.target]).chain(flags).collect()
        }
        _ => Vec::new(),
    }
}

fn expose(port: &Word, found: &mut Found<'_>) {
    if port.text.contains('$') {
        return;
    }
    if port.text.contains(':') {
        let message =
            format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{}'", port.text);
        found.add("ExposeInvalidFormat", port.span, message);
    }
    if let Some((_, protocol)) = port.text.split_once('/')
        && protocol != protocol.to_ascii_lowercase()
    {
        let message = format!("Defined protocol '{}' in EXPOSE instruction should be lowercase", port.text);
        found.add("ExposeProtoCasing", port.span, message);
    }
}

fn secrets(instruction: &Instruction, found: &mut Found<'_>) {
    let (name, pairs) = match &instruction.kind {
        InstructionKind::Arg(pairs) => ("ARG", pairs),
        InstructionKind::Env(pairs) => ("ENV", &pairs.pairs),
        _ => return,
    };
    for pair in pairs {
        let lower = pair.name.text.to_ascii_lowercase();
        let parts = || lower.split('_');
        if parts().any(|part| SECRETS.contains(&part)) && !parts().any(|part| part == "public") {
            let message =
                format!("Do not use ARG or ENV instructions for sensitive data ({name} {:?})", pair.name.text);
            found.add("SecretsUsedInArgOrEnv", pair.name.span, message);
        }
    }
}
