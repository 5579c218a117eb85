//! When each step ran: a picture for people (SVG) and a trace for programs that draw such (Chrome's trace event format).

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::base::xml::escaped;
use crate::model::build::{BuildReport, StepReport};

/// Sizes of the picture, in its own units.
const WIDTH: f64 = 960.0;
const ROW: f64 = 22.0;
const MARGIN: f64 = 10.0;
/// Bars are at least so wide that they can be seen.
const THINNEST: f64 = 2.0;
/// Colours of what was done and of what was cached.
const DONE: &str = "#4a78b5";
const CACHED: &str = "#b9c7d8";

/// A row for each step that was work, a bar from its beginning to its end.
pub(crate) fn svg(report: &BuildReport) -> String {
    let steps: Vec<&StepReport> = report.steps.iter().filter(|step| step.key.is_some()).collect();
    let total = report.elapsed.as_secs_f64().max(0.001);
    let height = MARGIN * 2.0 + ROW * (steps.len() as f64 + 1.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n"
    );
    let cached = report.cached();
    let head = format!("build {}: {:.2} s, {} steps, {cached} cached", report.id, total, report.steps.len());
    let mut row = |line: &str| text.push_str(line);
    row(&format!("<text x=\"{MARGIN}\" y=\"{}\">{}</text>\n", MARGIN + 14.0, escaped(&head)));
    for (index, step) in steps.iter().enumerate() {
        let y = MARGIN + ROW * (index as f64 + 1.0);
        let scale = (WIDTH - 2.0 * MARGIN) / total;
        let x = MARGIN + (step.begun.as_secs_f64() * scale).min(WIDTH - 2.0 * MARGIN - THINNEST);
        let width = (step.elapsed.as_secs_f64() * scale).max(THINNEST);
        let colour = if step.cached { CACHED } else { DONE };
        let first = step.text.lines().next().unwrap_or_default();
        let label = format!("{:.2} s  {first}", step.elapsed.as_secs_f64());
        let (bar, words) = (ROW - 4.0, y + 14.0);
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            line,
            "<g><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{bar}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{words:.1}\" {}>{}</text></g>",
            escaped(&step.text),
            // Beside the middle there is room to one of the sides.
            if x > WIDTH / 2.0 { x - 4.0 } else { x + 4.0 },
            if x > WIDTH / 2.0 { "text-anchor=\"end\"" } else { "" },
            escaped(&label),
        );
        row(&line);
    }
    row("</svg>\n");
    text
}

/// The steps as complete events, a thread for each stage.
pub(crate) fn trace(report: &BuildReport) -> Value {
    let micros = |time: std::time::Duration| time.as_micros() as u64;
    let events: Vec<Value> = report
        .steps
        .iter()
        .map(|step| {
            json!({
                "name": step.text, "cat": if step.cached { "cached" } else { "done" }, "ph": "X", "pid": 1,
                "tid": step.stage + 1, "ts": micros(step.begun), "dur": micros(step.elapsed),
                "args": { "key": step.key, "why": step.why },
            })
        })
        .collect();
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn texts_of_steps_are_texts_in_the_picture() {
        let step = StepReport {
            stage: 0,
            step: 0,
            text: "RUN echo \"<script>\" & \u{1b}[2J\nmore".to_owned(),
            position: None,
            cached: false,
            key: Some(crate::base::Digest::of(b"")),
            layer: None,
            why: String::new(),
            begun: Duration::from_millis(900),
            elapsed: Duration::from_millis(100),
        };
        let report = BuildReport {
            id: "x".to_owned(),
            steps: vec![step],
            keys: Vec::new(),
            caches: Vec::new(),
            elapsed: Duration::from_secs(1),
            warnings: Vec::new(),
        };
        let picture = svg(&report);
        assert!(picture.contains("RUN echo &quot;&lt;script&gt;&quot; &amp;  [2J"), "{picture}");
        assert!(picture.contains("text-anchor=\"end\"") && !picture.contains('\u{1b}'));
        let event = &trace(&report)["traceEvents"][0];
        assert_eq!((&event["ts"], &event["dur"]), (&json!(900_000), &json!(100_000)));
    }
}
