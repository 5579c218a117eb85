//! Floor 8: dispatch. The hidden re-exec verbs first, before anything is parsed, then the command line.

fn main() {}
