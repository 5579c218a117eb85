//! Every line, with the number of its step and the time since that began: it can be read when steps run side by side.

use std::collections::HashMap;
use std::time::Instant;

use super::{Key, Names, View, key, print, seconds};
use crate::model::build::BuildEvent;

/// A line that is longer is shown in pieces.
const MOST_LINE_BYTES: usize = 64 << 10;

pub(super) struct Plain {
    names: Names,
    numbers: usize,
    running: HashMap<Key, Running>,
}

struct Running {
    number: usize,
    begun: Instant,
    /// The line that has no end yet.
    line: Vec<u8>,
}

impl Plain {
    pub(super) fn new(names: Names) -> Plain {
        Plain { names, numbers: 0, running: HashMap::new() }
    }

    fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }

    fn ended(&mut self, key: Key, word: &str) {
        let Some(running) = self.running.remove(&key) else { return };
        let number = running.number;
        let mut text = Vec::new();
        put(&mut text, &running, &running.line);
        text.extend_from_slice(format!("#{number} {word} {}\n", seconds(running.begun)).as_bytes());
        print(&text);
    }
}

fn put(text: &mut Vec<u8>, running: &Running, line: &[u8]) {
    if !line.is_empty() {
        let time = running.begun.elapsed().as_secs_f64();
        text.extend_from_slice(format!("#{} {time:.3} ", running.number).as_bytes());
        text.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        text.push(b'\n');
    }
}

impl View for Plain {
    fn event(&mut self, event: &BuildEvent<'_>) {
        let key = key(event);
        match event {
            BuildEvent::Started { .. } => {
                let number = self.number();
                print(format!("#{number} {}\n", self.names.get(key)).as_bytes());
                self.running.insert(key, Running { number, begun: Instant::now(), line: Vec::new() });
            }
            BuildEvent::Output { bytes, .. } => {
                let Some(running) = self.running.get_mut(&key) else { return };
                let mut text = Vec::new();
                let mut held = std::mem::take(&mut running.line);
                held.extend_from_slice(bytes);
                for line in held.split_inclusive(|byte| *byte == b'\n') {
                    match line {
                        b"\n" => text.extend_from_slice(format!("#{}\n", running.number).as_bytes()),
                        line if line.ends_with(b"\n") || line.len() > MOST_LINE_BYTES => put(&mut text, running, line),
                        line => running.line = line.to_vec(),
                    }
                }
                print(&text);
            }
            // Changes of the config are no work.
            BuildEvent::Finished(report) if report.key.is_none() => {}
            BuildEvent::Finished(report) if report.cached => {
                let number = self.number();
                print(format!("#{number} {}\n#{number} CACHED\n", self.names.get(key)).as_bytes());
            }
            BuildEvent::Finished(_) => self.ended(key, "DONE"),
            BuildEvent::Failed { .. } => self.ended(key, "ERROR after"),
        }
    }
}
