//! The pages that mdBook has built, and whether their links lead somewhere: mdBook checks none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use walkdir::WalkDir;

use crate::Result;

/// Attributes with an address, and those that name a place on a page. mdBook quotes all of them.
static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"\s(?:href|src)="([^"]*)""#).expect("a pattern"));
static PLACE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"\sid="([^"]*)""#).expect("a pattern"));

/// Shown for whatever address does not exist, so its links begin at the root of the host.
const NOT_FOUND: &str = "404.html";

/// Each link to the site itself that leads nowhere, with its page.
pub fn broken_links(site: &Path) -> Result<Vec<String>> {
    let pages = pages(site)?;
    if pages.is_empty() {
        return Err(format!("{} has no pages", site.display()).into());
    }
    let places: BTreeMap<&PathBuf, BTreeSet<&str>> =
        pages.iter().map(|(path, html)| (path, all(&PLACE, html).collect())).collect();
    let leads_somewhere = |page: &Path, address: &str| {
        let (path, place) = address.split_once('#').unwrap_or((address, ""));
        let target = if path.is_empty() { page.to_owned() } else { beside(page, path) };
        let exists = site.join(&target).is_file();
        exists && (place.is_empty() || places.get(&target).is_none_or(|places| places.contains(place)))
    };
    let mut broken = Vec::new();
    for (page, html) in pages.iter().filter(|(page, _)| page.as_path() != Path::new(NOT_FOUND)) {
        let own = all(&ADDRESS, html).filter(|address| !address.contains(':'));
        let lost = own.filter(|address| !leads_somewhere(page, address));
        broken.extend(lost.map(|address| format!("{}: {address}", page.display())));
    }
    Ok(broken)
}

/// The pages with their paths on the site.
fn pages(site: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    for entry in WalkDir::new(site) {
        let path = entry?.into_path();
        if path.extension().is_some_and(|extension| extension == "html") {
            found.insert(path.strip_prefix(site)?.to_owned(), fs::read_to_string(&path)?);
        }
    }
    Ok(found)
}

/// What the pattern finds between quotes.
fn all<'a>(pattern: &'static Regex, html: &'a str) -> impl Iterator<Item = &'a str> {
    pattern.captures_iter(html).filter_map(|found| Some(found.get(1)?.as_str()))
}

/// A path that is relative to a page, on the site.
fn beside(page: &Path, path: &str) -> PathBuf {
    let mut target = page.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => {
                target.pop();
            }
            Component::Normal(name) => target.push(name),
            _ => {}
        }
    }
    target
}
