//! Which files have stories, and what they say.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::cli::Error;

/// The longest file that is read.
const LONGEST: u64 = 1 << 20;
/// The start of the line that makes a YAML file a story.
const KEY: &str = "story:";

/// A file with a story.
#[derive(Debug)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its text, or why it cannot be read.
    pub text: Result<String, String>,
}

/// The stories in files and below folders, in the order of their names.
///
/// # Errors
/// There is no such path, or a folder without a story.
pub fn stories(paths: &[PathBuf]) -> Result<Vec<Found>, Error> {
    let mut folders = Vec::new();
    for path in paths {
        let about = fs::metadata(path).map_err(|error| {
            Error::Usage(format!(
                "cannot open {}: {error}; name a file or a directory with stories",
                path.display()
            ))
        })?;
        folders.push((path, about.is_dir()));
    }
    let mut all = Vec::new();
    for (path, is_folder) in folders {
        if !is_folder {
            all.push(Found { path: path.clone(), text: named(path) });
            continue;
        }
        let found = below(path);
        if found.is_empty() {
            return Err(Error::failed(
                format!("there is nothing to test in {}", path.display()),
                format!("no YAML file in it has the top-level key `{KEY}`"),
                "write a story as `firebreak test --help` shows, or name another directory",
            ));
        }
        all.extend(found);
    }
    Ok(all)
}

/// The text of a file that was named as a story.
fn named(path: &Path) -> Result<String, String> {
    let text = text(path)?;
    if is_story(&text) {
        Ok(text)
    } else {
        Err(format!(
            "it is not a story: it has no top-level key \
        `{KEY}`"
        ))
    }
}

/// The stories below a folder. Hidden files and all files without a story are skipped.
fn below(folder: &Path) -> Vec<Found> {
    let is_shown =
        |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
    let entries = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
    let mut found = Vec::new();
    for entry in entries.filter_entry(is_shown) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_yaml(entry.path()) => {
                found.extend(candidate(entry.path()));
            }
            Ok(_) => {}
            Err(error) => {
                // A link to a folder above leads to nothing new.
                let path = error.path().filter(|_| error.loop_ancestor().is_none()).unwrap_or(Path::new(""));
                if path.is_dir() || is_yaml(path) {
                    let why = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                    found.push(Found { path: path.to_owned(), text: Err(format!("cannot be read: {why}")) });
                }
            }
        }
    }
    found
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// A YAML file in a folder, if it is a story or cannot be read.
fn candidate(path: &Path) -> Option<Found> {
    let found = |text| Some(Found { path: path.to_owned(), text });
    let (start, is_whole) = match start(path) {
        Ok(start) => start,
        Err(why) => return found(Err(why)),
    };
    is_story(&String::from_utf8_lossy(&start)).then_some(())?;
    found(checked(start, is_whole))
}

/// Whether a text has the key of a story at its top level.
fn is_story(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').lines().any(|line| line.starts_with(KEY))
}

/// The whole text of a file.
///
/// # Errors
/// A text for people.
pub fn text(path: &Path) -> Result<String, String> {
    let (start, is_whole) = start(path)?;
    checked(start, is_whole)
}

fn checked(start: Vec<u8>, is_whole: bool) -> Result<String, String> {
    if !is_whole {
        return Err(format!("is longer than {} kB; split it", LONGEST >> 10));
    }
    String::from_utf8(start).map_err(|_| "is not UTF-8 text".to_owned())
}

/// At most as much of a file as is ever read, and whether that is all of it.
fn start(path: &Path) -> Result<(Vec<u8>, bool), String> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut start));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let is_whole = start.len() as u64 <= LONGEST;
    Ok((start, is_whole))
}
