//! Text in XML, for the pictures that we draw. It writes no elements.

/// Text for an element or a quoted attribute. What XML cannot hold (XML 1.0, section 2.2), and every other control character
/// but the line's end, is a space; so is what turns the direction of text around, which would show another name.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped("<a b=\"c\">&\u{1b}\u{ffff}\u{202e}\n"), "&lt;a b=&quot;c&quot;&gt;&amp;   \n");
    }
}
