//! Files that pin a public surface. `UPDATE_GOLDEN=1 cargo test --test cli` writes them anew; read the difference.

use std::path::Path;

/// Compares `text` with `tests/golden/<name>`.
#[track_caller]
pub(crate) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expect = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expect == text, "{} differs; UPDATE_GOLDEN=1 writes it anew:\n{text}", path.display());
}
