//! Text in an address: `%2F` is a slash (RFC 3986, section 2.1). It takes no address apart.

/// The bytes that a text with `%XX` means; what is no such thing stays as it is.
pub fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let hex = digits.filter(|_| bytes[at] == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_code_stays() {
        for (text, wanted) in [("a%2Fb%20", "a/b "), ("%", "%"), ("%4", "%4"), ("%+1%zz", "%+1%zz"), ("%25%32", "%2")] {
            assert_eq!(decoded(text), wanted.as_bytes(), "{text}");
        }
    }
}
