//! Output without the values of secrets, also when one comes in several pieces.

/// A value that is shorter is no secret, and might be anywhere.
const SHORTEST: usize = 4;
/// A line of a secret of several lines, such as a key, that is shorter might be anywhere as well.
const SHORTEST_LINE: usize = 16;
/// What stands in the place of one.
const SHOWN: &[u8] = b"***";

/// Takes a stream piece by piece.
#[derive(Default)]
pub(super) struct Mask {
    secrets: Vec<Vec<u8>>,
    /// What may be the beginning of a secret.
    held: Vec<u8>,
}

impl Mask {
    pub(super) fn new<'a>(secrets: impl Iterator<Item = &'a [u8]>) -> Mask {
        // Shells drop white space around a value, and print files line by line.
        let lines = |secret: &'a [u8]| {
            let lines = secret.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            lines.filter(|line| line.len() >= SHORTEST_LINE).chain([secret.trim_ascii()])
        };
        let mut secrets: Vec<Vec<u8>> = secrets.flat_map(lines).map(<[u8]>::to_vec).collect();
        secrets.retain(|secret| secret.len() >= SHORTEST);
        // One that holds another must go first.
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Mask { secrets, held: Vec::new() }
    }

    /// What can be shown now.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        self.shown(false)
    }

    /// The rest, when no more comes.
    pub(super) fn end(&mut self) -> Vec<u8> {
        self.shown(true)
    }

    /// What is held, but for what may yet become a secret.
    fn shown(&mut self, over: bool) -> Vec<u8> {
        let mut shown = Vec::with_capacity(self.held.len());
        let mut at = 0;
        'bytes: while at < self.held.len() {
            let rest = &self.held[at..];
            for secret in &self.secrets {
                if rest.starts_with(secret) {
                    shown.extend_from_slice(SHOWN);
                    at += secret.len();
                    continue 'bytes;
                }
                if !over && secret.starts_with(rest) {
                    break 'bytes;
                }
            }
            shown.push(rest[0]);
            at += 1;
        }
        self.held.drain(..at);
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(pieces: &[&[u8]], secrets: &[&[u8]]) -> Vec<u8> {
        let mut mask = Mask::new(secrets.iter().copied());
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| mask.take(piece)).collect();
        out.extend(mask.end());
        out
    }

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(masked(&[b"a hunter2 b hunter2"], &[b"hunter2\n"]), b"a *** b ***");
        assert_eq!(masked(&[b"a hun", b"ter", b"2 b"], &[b"hunter2"]), b"a *** b");
        assert_eq!(masked(&[b"a hun"], &[b"hunter2"]), b"a hun");
        assert_eq!(masked(&[b"a b"], &[b"a"]), b"a b");
        assert_eq!(masked(&[b"hunter23"], &[b"hunter2", b"hunter23"]), b"***");
        // What might have been the longer one at the end is the shorter one.
        assert_eq!(masked(&[b"a hunter2"], &[b"hunter2", b"hunter23"]), b"a ***");
        let key = b"BEGIN OF THE KEY\n  and its only line\nend";
        assert_eq!(masked(&[b"1 and its only line\n2 end"], &[key]), b"1 ***\n2 end");
        assert_eq!(masked(&[b"hunter2"], &[b"  hunter2 \n"]), b"***");
    }

    proptest! {
        #[test]
        fn how_output_is_cut_changes_nothing(text in "[ab]{0,40}", cut in 0usize..40, secret in "[ab]{4,6}") {
            let cut = cut.min(text.len());
            let (text, secret) = (text.as_bytes(), secret.as_bytes());
            let whole = masked(&[text], &[secret]);
            prop_assert_eq!(&masked(&[&text[..cut], &text[cut..]], &[secret]), &whole);
            prop_assert!(!whole.windows(secret.len()).any(|window| window == secret));
        }
    }
}
