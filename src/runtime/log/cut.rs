//! Cuts the bytes of a stream into entries: lines, and pieces of lines that are longer than an entry may be.

use super::MAX_PIECE_BYTES;

/// The cutter of one stream: what it has is a line without its end.
#[derive(Default)]
pub(super) struct Cutter {
    partial: Vec<u8>,
}

impl Cutter {
    /// Gives each entry that `bytes` completes to `each`; the rest waits for more.
    pub(super) fn cut(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let line_end = memchr::memchr(b'\n', rest).map(|at| at + 1);
            if self.partial.is_empty()
                && let Some(end) = line_end.filter(|end| *end <= MAX_PIECE_BYTES)
            {
                each(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            let room = MAX_PIECE_BYTES - self.partial.len();
            let take = line_end.unwrap_or(rest.len()).min(room);
            self.partial.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
            if self.partial.last() == Some(&b'\n') {
                each(&self.partial);
                self.partial.clear();
            } else if self.partial.len() == MAX_PIECE_BYTES {
                let whole = whole_characters(&self.partial);
                each(&self.partial[..whole]);
                self.partial.drain(..whole);
            }
        }
        if self.partial.is_empty() && self.partial.capacity() > 0 {
            self.partial = Vec::new();
        }
    }

    /// Gives a last line that never got its end.
    pub(super) fn finish(&mut self, each: impl FnOnce(&[u8])) {
        let partial = std::mem::take(&mut self.partial);
        if !partial.is_empty() {
            each(&partial);
        }
    }
}

/// How much of `bytes` ends on a character: at most three bytes less, if it is UTF-8 at all.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_the_bytes_arrive() {
        let text = b"one\n\ntwo two\nthree";
        for size in 1..text.len() {
            let (mut cutter, mut entries) = (Cutter::default(), Vec::new());
            for chunk in text.chunks(size) {
                cutter.cut(chunk, |entry| entries.push(entry.to_vec()));
            }
            cutter.finish(|entry| entries.push(entry.to_vec()));
            assert_eq!(
                entries,
                [b"one\n".to_vec(), b"\n".to_vec(), b"two two\n".to_vec(), b"three".to_vec()],
                "{size}"
            );
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let (mut cutter, mut entries) = (Cutter::default(), Vec::new());
        let line = format!("x{}\n", "ä".repeat(MAX_PIECE_BYTES));
        cutter.cut(line.as_bytes(), |entry| entries.push(entry.to_vec()));
        assert!(entries.iter().all(|entry| entry.len() <= MAX_PIECE_BYTES && std::str::from_utf8(entry).is_ok()));
        assert_eq!(entries.concat(), line.as_bytes());
        cutter.finish(|_| panic!("nothing is left"));
    }
}
