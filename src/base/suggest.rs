//! Did-you-mean: the known word that is nearest to a mistyped one.

/// The most similar of `known`, when it is near enough to be what was meant. In words of one or two letters a changed
/// letter is another word: there only swapped letters count.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| match candidate.len().max(word.len()) {
            0..=2 => candidate.chars().rev().eq(word.chars()),
            length => *distance <= length / 3,
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean "x"?`, or nothing.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|candidate| format!("did you mean {candidate:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["command", "environment", "ports"];
        assert_eq!(nearest("comand", known), Some("command"));
        assert_eq!(nearest("port", known), Some("ports"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest("y", ["E", "PI"]), None);
        assert_eq!(nearest("ls", ["ln"]), None);
        assert_eq!(nearest("sp", ["ps", "cp"]), Some("ps"));
        assert_eq!(hint("enviroment", known).unwrap(), "did you mean \"environment\"?");
    }
}
