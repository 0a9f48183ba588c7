//! All links and all mentions of a page lead somewhere, and every page can be found.

use std::path::{Path, PathBuf};

use regex::Regex;
use walkdir::WalkDir;

use crate::markdown::{anchors, links};
use crate::{read, root};

/// The files of the repository, without what is built. Paths are relative to its root.
fn files() -> Vec<PathBuf> {
    let entries = WalkDir::new(root()).min_depth(1).sort_by_file_name().into_iter();
    let entries = entries.filter_entry(|entry| entry.file_name() != ".git" && entry.file_name() != "target");
    let entries = entries.map(|entry| entry.expect("an entry")).filter(|entry| entry.file_type().is_file());
    entries.map(|entry| entry.path().strip_prefix(root()).expect("below the root").to_owned()).collect()
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// Whether a file exists and, if it is a page, has the anchor. Without one, a folder is a place, too.
fn is_place(path: &Path, anchor: &str) -> bool {
    let path = root().join(path);
    path.exists() && (anchor.is_empty() || path.is_file() && anchors(&read(&path)).contains(anchor))
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut count = 0;
    for page in files().into_iter().filter(|path| is_page(path)) {
        let text = read(&root().join(&page));
        for link in links(&text).into_iter().filter(|link| link.is_relative()) {
            let (path, anchor) = link.parts();
            let beside = page.parent().unwrap_or(Path::new("")).join(path);
            let target = if path.is_empty() { &page } else { &beside };
            if !is_place(target, anchor) {
                broken.push(format!("{}: {}", page.display(), link.destination));
            }
            count += 1;
        }
    }
    assert!(count > 200, "{count} links");
    assert_eq!(broken, Vec::<String>::new());
}

/// In texts that people read on GitHub, in a terminal, in an alert or in the code.
#[test]
fn every_mention_of_a_page_leads_somewhere() {
    let path = r"(docs/[a-z0-9/-]+\.[a-z0-9]+)(?:#([a-z0-9_-]+))?";
    let patterns = [
        Regex::new(&format!(r"(?:^|[\s`'(\[]){path}")).expect("a pattern"),
        Regex::new(&format!("{}/(?:blob|tree)/main/{path}", env!("CARGO_PKG_REPOSITORY")))
            .expect("a pattern"),
    ];
    let mut broken = Vec::new();
    let mut count = 0;
    for file in files() {
        let bytes = std::fs::read(root().join(&file)).expect("a file");
        let Ok(text) = String::from_utf8(bytes) else { continue };
        for found in patterns.iter().flat_map(|pattern| pattern.captures_iter(&text)) {
            let anchor = found.get(2).map_or("", |anchor| anchor.as_str());
            if !is_place(Path::new(&found[1]), anchor) {
                broken.push(format!("{}: {}", file.display(), found[0].trim()));
            }
            count += 1;
        }
    }
    assert!(count > 60, "{count} mentions");
    assert_eq!(broken, Vec::<String>::new());
}

/// The pages that a list on this page leads to, by the first link of each item; paths below `docs/`.
fn listed_on(page: &str) -> Vec<PathBuf> {
    let path = Path::new(page);
    let text = read(&root().join("docs").join(path));
    let is_item = |line: &&str| line.trim_start().starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let first = text.lines().filter(is_item).filter_map(|line| links(line).into_iter().next());
    let beside = |link: &str| path.parent().unwrap_or(Path::new("")).join(link);
    first.map(|link| beside(link.parts().0)).collect()
}

/// Each page exactly once: mdBook builds no page that the summary lacks.
#[test]
fn the_summary_of_the_site_has_every_page() {
    let mut listed = listed_on("SUMMARY.md");
    listed.sort();
    let mut pages: Vec<PathBuf> = files().into_iter().filter(|path| is_page(path)).collect();
    pages.retain(|page| page.starts_with("docs"));
    let below = |page: PathBuf| page.strip_prefix("docs").expect("below docs").to_owned();
    let mut pages: Vec<PathBuf> = pages.into_iter().map(below).collect();
    // The first page is not in the list, and the summary is none.
    let apart = [Path::new("README.md"), Path::new("SUMMARY.md")];
    pages.retain(|page| !apart.contains(&page.as_path()));
    pages.sort();
    assert_eq!(listed, pages, "docs/SUMMARY.md");
}

/// Readers on GitHub and on the site find the same pages in the same order.
#[test]
fn the_tables_of_contents_agree_with_the_summary() {
    let summary = listed_on("SUMMARY.md");
    let (decisions, others): (Vec<PathBuf>, Vec<PathBuf>) =
        summary.into_iter().partition(|page| page.starts_with("adr") && !page.ends_with("README.md"));
    assert_eq!(listed_on("README.md"), others, "docs/README.md");
    assert_eq!(listed_on("adr/README.md"), decisions, "docs/adr/README.md");
}
