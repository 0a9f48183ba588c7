//! Links in the chapters that would lead nowhere on the site: those that leave `docs/` lead to the file in the
//! repository instead, and those to a `README.md` to the `index.html` that mdBook makes of it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Result;
use crate::markdown::links;

/// The folder of the chapters.
const PAGES: &str = "docs";

/// Rewrites the links in all chapters of a book.
pub fn link(book: &mut Value) -> Result<()> {
    match book {
        Value::Array(items) => items.iter_mut().try_for_each(link),
        Value::Object(fields) => {
            let page = fields.get("source_path").and_then(Value::as_str).map(PathBuf::from);
            if let (Some(page), Some(Value::String(text))) = (page, fields.get_mut("content")) {
                *text = linked(&page, text)?;
            }
            fields.values_mut().try_for_each(link)
        }
        _ => Ok(()),
    }
}

/// The text of a page, whose path is below `docs/`.
fn linked(page: &Path, text: &str) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize()?;
    let pages = root.join(PAGES);
    let folder = pages.join(page.parent().unwrap_or(Path::new("")));
    let mut linked = text.to_owned();
    // From the end, so that the places of the others stay right.
    for link in links(text).into_iter().rev().filter(|link| link.is_relative()) {
        let (path, anchor) = link.parts();
        let target = folder.join(path);
        let target = target.canonicalize().map_err(|why| format!("{}: {path}: {why}", page.display()))?;
        let address = if !target.starts_with(&pages) {
            in_the_repository(&target, target.strip_prefix(&root)?)
        } else if let Some(beside) = path.strip_suffix("README.md") {
            format!("{beside}index.md")
        } else {
            continue;
        };
        let anchor = if anchor.is_empty() { String::new() } else { format!("#{anchor}") };
        linked.replace_range(link.place, &format!("{address}{anchor}"));
    }
    Ok(linked)
}

/// Where people read a file or a folder of the repository.
fn in_the_repository(target: &Path, path: &Path) -> String {
    let view = if target.is_dir() { "tree" } else { "blob" };
    format!("{}/{view}/main/{}", env!("CARGO_PKG_REPOSITORY"), path.display())
}
