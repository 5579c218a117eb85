//! `inspect` for each noun, under the noun's name: `inspect::container(&container, &paths)`; and its `--format`, which sees
//! Docker's Go structs first and the plain JSON when it has none of their fields, as `docker inspect` does.

use serde_json::Value;

use crate::base::Result;
use crate::docker::format::unknown;
use crate::docker::template::{Shape, Subject, Template};

pub use crate::docker::container::inspect as container;
pub use crate::docker::image::inspect as image;
pub use crate::docker::network::inspect as network;
pub use crate::docker::shapes::{ANY, CONTAINER, IMAGE, NETWORK, VOLUME};
pub use crate::docker::volume::inspect as volume;

/// How facts are printed.
#[derive(Debug)]
pub enum Format {
    /// All of them in one indented list.
    Pretty,
    /// All of them in one list on one line.
    Json,
    /// What a template makes of each.
    Template(Template),
}

impl Format {
    /// Reads `--format`, which may be missing.
    ///
    /// # Errors
    /// `invalid_argument` for a template that cannot be read, in Docker's words.
    pub fn parse(text: Option<&str>) -> Result<Format> {
        match text {
            None | Some("") => Ok(Format::Pretty),
            Some("json") => Ok(Format::Json),
            Some(text) if !text.contains("{{") => Err(unknown(text)),
            Some(text) => Template::parse(text).map(Format::Template),
        }
    }

    /// The lines for one object, the last line's end included.
    ///
    /// # Errors
    /// `invalid_argument` for a template that does not fit, in Docker's words.
    pub fn line(&self, value: &Value, shape: Shape) -> Result<String> {
        let made = match self {
            Format::Pretty | Format::Json => value.to_string(),
            Format::Template(template) => render(template, value, shape)?,
        };
        Ok(made + "\n")
    }
}

fn render(template: &Template, value: &Value, shape: Shape) -> Result<String> {
    // Docker's own fields first. The JSON has all that they have, so what it says of a missing one is the error.
    match template.render_subject(&Subject { value, shape, methods: &[] }) {
        Err(_) if !matches!(shape, Shape::Any) => template.render(value),
        done => done,
    }
}
