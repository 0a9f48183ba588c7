//! What is in an archive, and what is not: its index.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::redact::Rule;
use crate::cli::Error;

/// The name of the index in the archive.
pub const FILE: &str = "index.yaml";

/// When and of what the archive was made.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// When.
    pub created: Timestamp,
    /// The version of the command line.
    pub client: &'static str,
    /// The version of the API server, if it said so.
    pub server: Option<String>,
    /// The namespaces whose objects were read.
    pub scope: String,
    /// The operator's pods.
    pub pods: Vec<PodEntry>,
}

/// A pod of the operator.
#[derive(Clone, Debug, Serialize)]
pub struct PodEntry {
    /// Its name.
    pub name: String,
    /// The image that it runs, or should.
    pub image: String,
    /// How often its container was restarted.
    pub restarts: i64,
}

/// A file of the archive.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Its path in the archive.
    pub file: String,
    /// What it is.
    pub what: String,
    /// Its size.
    pub bytes: usize,
    /// What is missing in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// How often each rule redacted something in it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub redacted: BTreeMap<&'static str, usize>,
}

/// What could not be read.
#[derive(Clone, Debug, Serialize)]
pub struct Unread {
    /// What.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// The index.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Of what it was made.
    #[serde(flatten)]
    pub about: About,
    /// Its files, in the order in which they were read.
    pub files: Vec<FileEntry>,
    /// What is not in it.
    pub not_read: Vec<Unread>,
    /// What each rule redacts.
    rules: BTreeMap<&'static str, &'static str>,
}

impl Contents {
    /// The index of these files.
    pub fn new(about: About, files: Vec<FileEntry>, not_read: Vec<Unread>) -> Self {
        let rules = Rule::ALL.into_iter().map(|rule| (rule.name(), rule.says())).collect();
        Self { about, files, not_read, rules }
    }

    /// The index as text.
    pub fn yaml(&self) -> Result<String, Error> {
        serde_saphyr::to_string(self).map_err(|error| Error::bug("cannot write the index", error))
    }

    /// How many values were redacted in all files.
    pub fn redacted(&self) -> usize {
        self.files.iter().flat_map(|file| file.redacted.values()).sum()
    }
}
