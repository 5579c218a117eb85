//! Fenced blocks of a Markdown text.

/// A fenced block: its language, its text, and the line on which the text begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// The blocks of a text in order (CommonMark 0.31, "Fenced code blocks", with backticks at the start of a line).
pub(crate) fn blocks(markdown: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in markdown.lines().enumerate() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(language), None) => {
                open = Some(Block { language: language.trim().into(), text: String::new(), line: index + 2 });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed: {open:?}");
    found
}

#[test]
fn blocks_are_found() {
    let found = blocks("a\n```sh\nls\npwd\n```\n```\nx\n```\n");
    let of = |language: &str, text: &str, line| Block { language: language.into(), text: text.into(), line };
    assert_eq!(found, [of("sh", "ls\npwd\n", 3), of("", "x\n", 7)]);
}
