//! What the pages for people link to, and what can be linked to in them, for the test of all links and for the site.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use pulldown_cmark::{Event, LinkType, Options, Parser, Tag, TagEnd};

/// A link or an image in a page.
pub struct Link {
    /// As it is written.
    pub destination: String,
    /// Where the destination is in the text.
    pub place: Range<usize>,
}

impl Link {
    /// Whether it leads to a file of the repository, and not to another site.
    pub fn is_relative(&self) -> bool {
        !self.destination.contains(':')
    }

    /// The path, empty for the same page, and the anchor, empty for its beginning.
    pub fn parts(&self) -> (&str, &str) {
        self.destination.split_once('#').unwrap_or((&self.destination, ""))
    }
}

/// The links of a page that are written in place, in their order; code is none.
pub fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        let Event::Start(Tag::Link { link_type, dest_url, .. } | Tag::Image { link_type, dest_url, .. }) =
            event
        else {
            continue;
        };
        // An address in angle brackets always leads to another site.
        if link_type != LinkType::Inline {
            continue;
        }
        let written = format!("]({dest_url}");
        let at = text[range.clone()].rfind(&written).map(|at| range.start + at + "](".len());
        let start = at.unwrap_or_else(|| panic!("the destination {dest_url} is not written plainly"));
        found.push(Link { place: start..start + dest_url.len(), destination: dest_url.into_string() });
    }
    found
}

/// The anchors of the headings of a page, as GitHub and mdBook name them.
pub fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match (event, &mut heading) {
            (Event::Start(Tag::Heading { .. }), _) => heading = Some(String::new()),
            (Event::Text(part) | Event::Code(part), Some(heading)) => heading.push_str(&part),
            (Event::End(TagEnd::Heading(_)), _) => {
                let name = anchor(&heading.take().unwrap_or_default());
                let times = times.entry(name.clone()).or_default();
                found.insert(if *times == 0 { name } else { format!("{name}-{times}") });
                *times += 1;
            }
            _ => {}
        }
    }
    found
}

/// The anchor of the first heading with this text.
pub fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}
