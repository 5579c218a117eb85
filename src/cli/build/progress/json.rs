//! One JSON object a line: `{"event": "started" | "output" | "finished" | "failed", "stage", "step", …}`.

use serde_json::json;

use super::{Names, View, key, print};
use crate::model::build::BuildEvent;
use crate::model::log::Stream;

pub(super) struct Json {
    names: Names,
}

impl Json {
    pub(super) fn new(names: Names) -> Json {
        Json { names }
    }
}

impl View for Json {
    fn event(&mut self, event: &BuildEvent<'_>) {
        let (stage, step) = key(event);
        let name = self.names.get((stage, step));
        let object = match event {
            BuildEvent::Started { .. } => json!({ "event": "started", "stage": stage, "step": step, "name": name }),
            BuildEvent::Output { stream, bytes, .. } => {
                let stream = if matches!(stream, Stream::Stdout) { "stdout" } else { "stderr" };
                let text = String::from_utf8_lossy(bytes);
                json!({ "event": "output", "stage": stage, "step": step, "stream": stream, "text": text })
            }
            BuildEvent::Finished(report) => json!({
                "event": "finished", "stage": stage, "step": step, "name": name, "cached": report.cached,
                "key": report.key, "why": report.why, "seconds": report.elapsed.as_secs_f64(),
            }),
            BuildEvent::Failed { .. } => json!({ "event": "failed", "stage": stage, "step": step, "name": name }),
        };
        print(format!("{object}\n").as_bytes());
    }
}
