//! Values of the flags of `rhumb build`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::{Error, Result};
use crate::docker::dockerfile::translate::Named;
use crate::docker::env;

/// `--build-arg`: the last one of a name counts; a bare name that this environment lacks says nothing.
pub(crate) fn arguments(given: &[String]) -> Result<BTreeMap<String, String>> {
    let mut arguments = BTreeMap::new();
    for text in given {
        arguments.extend(env::entry(text)?);
    }
    Ok(arguments)
}

/// `--build-context`.
pub(crate) fn contexts(given: &[String]) -> Result<BTreeMap<String, Named>> {
    let mut contexts = BTreeMap::new();
    for text in given {
        let Some((name, value)) = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty())
        else {
            return Err(Error::invalid(format!("{text:?} is no build context")).with_hint("write NAME=DIR"));
        };
        let named = match value.split_once("://") {
            Some(("docker-image", image)) => Named::Image(image.to_owned()),
            Some(_) => {
                return Err(Error::unsupported(format!(
                    "the build context {value:?} is neither a folder nor an image"
                )));
            }
            None if !PathBuf::from(value).is_dir() => {
                return Err(Error::not_found(format!("the build context {value:?} is no folder")));
            }
            None => Named::Folder(PathBuf::from(value)),
        };
        contexts.insert(name.to_owned(), named);
    }
    Ok(contexts)
}

/// This machine's architecture in the words of images.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
