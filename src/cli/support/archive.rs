//! The archive on disk: written file by file, so that only a few of them are in memory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use super::index::{self, Contents, FileEntry, Unread};
use super::limit::{ALL, Room};
use super::redact::Redactions;
use crate::cli::Error;

/// One file of the archive, complete and redacted.
#[derive(Debug)]
pub struct Content {
    /// Its path in the archive.
    pub file: String,
    /// What it is, for people.
    pub what: String,
    /// The text.
    pub bytes: Vec<u8>,
    /// What is missing in it, for people; none if nothing is.
    pub left_out: Option<String>,
    /// What was redacted in it.
    pub redactions: Redactions,
}

/// An archive that is being written. It is deleted if it is dropped before its end.
pub struct Archive {
    builder: tar::Builder<GzEncoder<File>>,
    partial: Partial,
    /// The folder in the archive that everything is in.
    root: String,
    at: Timestamp,
    /// How many bytes all files may have, except the index.
    most: usize,
    files: Vec<FileEntry>,
    unread: Vec<Unread>,
}

impl Archive {
    /// Creates the file, readable only for its owner.
    pub fn create(path: &Path, root: String, at: Timestamp) -> Result<Self, Error> {
        Self::with_room(path, root, at, ALL)
    }

    /// The same for files of so many bytes together.
    pub fn with_room(path: &Path, root: String, at: Timestamp, most: usize) -> Result<Self, Error> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| failed(path, &error))?;
        Ok(Self {
            builder: tar::Builder::new(GzEncoder::new(file, Compression::default())),
            partial: Partial(Some(path.to_owned())),
            root,
            at,
            most,
            files: Vec::new(),
            unread: Vec::new(),
        })
    }

    /// Adds a file.
    pub fn add(&mut self, content: Content) -> Result<(), Error> {
        self.write(&content.file, &content.bytes)?;
        self.files.push(FileEntry {
            file: content.file,
            what: content.what,
            bytes: content.bytes.len(),
            left_out: content.left_out,
            redacted: content.redactions.by_name(),
        });
        Ok(())
    }

    /// Notes what could not be read.
    pub fn could_not_read(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        self.unread.push(Unread { what: what.into(), reason: reason.into() });
    }

    /// How large the next file may be.
    pub fn room(&self) -> Room {
        Room::of(self.most, self.files.iter().map(|file| file.bytes).sum())
    }

    /// Whether it has no file yet.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Writes the index and ends the archive. Returns what is in it.
    pub fn finish(mut self, about: index::About) -> Result<Contents, Error> {
        let contents =
            Contents::new(about, std::mem::take(&mut self.files), std::mem::take(&mut self.unread));
        let index = contents.yaml()?;
        self.write(index::FILE, index.as_bytes())?;
        let Self { builder, mut partial, .. } = self;
        let ended = builder.into_inner().and_then(GzEncoder::finish).and_then(|file| file.sync_all());
        ended.map_err(|error| failed(partial.path(), &error))?;
        partial.0 = None;
        Ok(contents)
    }

    fn write(&mut self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(self.at.as_second()).unwrap_or_default());
        let written = self.builder.append_data(&mut header, Path::new(&self.root).join(file), bytes);
        written.map_err(|error| failed(self.partial.path(), &error))
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    let next = match error.kind() {
        io::ErrorKind::AlreadyExists => "choose another file with -o, or remove this one",
        io::ErrorKind::NotFound => "create the folder, or choose another file with -o",
        _ => "choose another file with -o",
    };
    Error::failed(format!("cannot write {}", path.display()), error.to_string(), next)
}

/// A file that is deleted unless it is complete.
#[derive(Debug)]
struct Partial(Option<PathBuf>);

impl Partial {
    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // The reason why it is not complete is more important than this.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::cli::support::redact::Rule;

    fn at() -> Timestamp {
        "2026-03-01T10:00:00Z".parse().unwrap()
    }

    fn content(file: &str, text: &str) -> Content {
        let mut redactions = Redactions::default();
        redactions.count(Rule::Token);
        Content {
            file: file.to_owned(),
            what: "a test".to_owned(),
            bytes: text.into(),
            left_out: Some("2 objects".to_owned()),
            redactions,
        }
    }

    fn about() -> index::About {
        index::About {
            created: at(),
            client: "0.1.0",
            server: None,
            scope: "all namespaces".into(),
            pods: vec![],
        }
    }

    fn files(path: &Path) -> BTreeMap<String, String> {
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
        let read = |entry: io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (name, text)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn an_archive_has_its_files_and_an_index_of_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar.gz");
        let mut archive = Archive::create(&path, "support-1".into(), at()).unwrap();
        archive.add(content("a/b.yaml", "hello")).unwrap();
        archive.could_not_read("the logs", "forbidden");
        let contents = archive.finish(about()).unwrap();
        assert_eq!(contents.files[0].bytes, 5);

        let files = files(&path);
        assert_eq!(files.keys().collect::<Vec<_>>(), ["support-1/a/b.yaml", "support-1/index.yaml"]);
        assert_eq!(files["support-1/a/b.yaml"], "hello");
        let index: serde_json::Value = serde_saphyr::from_str(&files["support-1/index.yaml"]).unwrap();
        assert_eq!(index["notRead"][0]["reason"], "forbidden");
        assert_eq!(index["files"][0]["leftOut"], "2 objects");
        assert_eq!(index["files"][0]["redacted"]["Token"], 1);
        assert!(index["rules"]["Token"].as_str().unwrap().contains("JSON Web Token"), "{index}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_incomplete_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar.gz");
        let mut archive = Archive::create(&path, "support-1".into(), at()).unwrap();
        archive.add(content("a", "hello")).unwrap();
        let second = Archive::create(&path, "support-1".into(), at()).err().unwrap().to_string();
        assert!(second.contains("choose another file with -o, or remove this one"), "{second}");
        assert!(path.exists(), "the first one is untouched");
        drop(archive);
        assert!(!path.exists());
        let nowhere = Archive::create(&path.join("y"), "r".into(), at()).err().unwrap().to_string();
        assert!(nowhere.contains("create the folder"), "{nowhere}");
    }
}
