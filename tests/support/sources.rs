//! The source code as text, for tests of rules that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

/// Source files below `folder`, without their tests, as `(path, text)`.
pub fn sources(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(&root.join(folder), &mut files);
    // `fixture.rs` is what the unit tests of decisions start from.
    let is_test = |path: &Path| {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        stem.ends_with("tests") || stem == "fixture"
    };
    files.retain(|path| !is_test(path));
    assert!(!files.is_empty(), "{folder} has no sources");
    let text = |path: &PathBuf| fs::read_to_string(path).expect("a source file");
    let code = |text: String| text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
    let name = |path: &PathBuf| path.strip_prefix(root).expect("below the root").display().to_string();
    files.iter().map(|path| (name(path), code(text(path)))).collect()
}
