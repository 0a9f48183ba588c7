//! Bounds of one file of the archive, and of all files. What does not fit is counted, and the index says so.

use std::collections::VecDeque;
use std::fmt;

/// The largest file of an archive, in bytes.
pub const LARGEST: usize = 16 << 20;
/// The largest sum of all files of an archive, in bytes, before it is compressed.
pub const ALL: usize = 64 << 20;
/// The longest line of a log, in bytes.
const LONGEST_LINE: usize = 64 << 10;

/// How large the next file may be. For people, why it may not be larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// As large as any file.
    File,
    /// The archive has room only for so many bytes.
    Rest(usize),
}

impl Room {
    /// What is left of so many bytes after these.
    pub fn of(all: usize, written: usize) -> Self {
        match all.saturating_sub(written) {
            rest if rest < LARGEST => Self::Rest(rest),
            _ => Self::File,
        }
    }

    /// In bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::File => LARGEST,
            Self::Rest(bytes) => bytes,
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => write!(f, "a file has at most {} MiB", LARGEST >> 20),
            Self::Rest(_) => write!(f, "all files together have at most {} MiB", ALL >> 20),
        }
    }
}

/// The first pieces that fit: objects of a list, or lines.
#[derive(Debug)]
pub struct First {
    limit: usize,
    bytes: Vec<u8>,
    /// Where each piece ends.
    ends: Vec<usize>,
    left_out: usize,
}

impl First {
    /// Nothing yet.
    pub fn new(limit: usize) -> Self {
        Self { limit, bytes: Vec::new(), ends: Vec::new(), left_out: 0 }
    }

    /// Adds a piece, if it fits and nothing before it was left out.
    pub fn push(&mut self, piece: &str) {
        if self.left_out == 0 && self.bytes.len() + piece.len() <= self.limit {
            self.bytes.extend_from_slice(piece.as_bytes());
            self.ends.push(self.bytes.len());
        } else {
            self.left_out += 1;
        }
    }

    /// The pieces that also fit into so many bytes, and how many are missing at their end.
    pub fn end(mut self, most: usize) -> (Vec<u8>, usize) {
        let kept = self.ends.iter().take_while(|end| **end <= most).count();
        self.bytes.truncate(kept.checked_sub(1).map_or(0, |last| self.ends[last]));
        (self.bytes, self.left_out + self.ends.len() - kept)
    }
}

/// The last lines that fit, of a text that comes in chunks.
#[derive(Debug)]
pub struct Last {
    limit: usize,
    size: usize,
    lines: VecDeque<String>,
    left_out: usize,
}

impl Last {
    /// Nothing yet.
    pub fn new(limit: usize) -> Self {
        Self { limit, size: 0, lines: VecDeque::new(), left_out: 0 }
    }

    /// Adds a line, and drops the first ones as long as they do not fit.
    pub fn push(&mut self, line: String) {
        self.size += line.len() + 1;
        self.lines.push_back(line);
        while self.size > self.limit
            && let Some(first) = self.lines.pop_front()
        {
            self.size -= first.len() + 1;
            self.left_out += 1;
        }
    }

    /// The content, and how many lines are missing at its beginning.
    pub fn end(self) -> (Vec<u8>, usize) {
        let mut bytes = Vec::with_capacity(self.size);
        for line in self.lines {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        (bytes, self.left_out)
    }
}

/// Cuts chunks into lines. A line that is too long is cut, with a mark.
#[derive(Debug, Default)]
pub struct Splitter {
    line: Vec<u8>,
    is_cut: bool,
}

impl Splitter {
    /// The lines that end in this chunk.
    pub fn feed(&mut self, chunk: &[u8]) -> Vec<String> {
        let mut ended = Vec::new();
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let room = LONGEST_LINE.saturating_sub(self.line.len()).min(text.len());
            self.line.extend_from_slice(&text[..room]);
            self.is_cut |= room < text.len();
            if text.len() < part.len() {
                ended.push(self.take());
            }
        }
        ended
    }

    /// What is left at the end of the text, if it does not end with a line.
    pub fn end(&mut self) -> Option<String> {
        (!self.line.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let mut line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if std::mem::take(&mut self.is_cut) {
            line.push_str(" … (line cut)");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pieces_are_kept_whole_and_the_rest_is_counted() {
        let mut first = First::new(10);
        for piece in ["12345", "123456", "1"] {
            first.push(piece);
        }
        assert_eq!(first.end(10), (b"12345".to_vec(), 2), "nothing follows what was left out");
    }

    #[test]
    fn of_what_was_kept_only_as_much_is_written_as_there_is_room() {
        let kept = |most| {
            let mut first = First::new(10);
            ["123", "45", "6"].into_iter().for_each(|piece| first.push(piece));
            first.end(most)
        };
        assert_eq!(kept(6), (b"123456".to_vec(), 0));
        assert_eq!(kept(5), (b"12345".to_vec(), 1));
        assert_eq!(kept(4), (b"123".to_vec(), 2));
        assert_eq!(kept(2), (Vec::new(), 3));
    }

    #[test]
    fn a_file_gets_what_is_left_of_the_archive() {
        assert_eq!(Room::of(ALL, 0), Room::File);
        assert_eq!(Room::of(ALL, ALL - LARGEST), Room::File);
        assert_eq!(Room::of(ALL, ALL - 5), Room::Rest(5));
        assert_eq!(Room::of(ALL, ALL + 5), Room::Rest(0));
        assert_eq!(Room::File.to_string(), "a file has at most 16 MiB");
        assert_eq!(Room::Rest(5).to_string(), "all files together have at most 64 MiB");
    }

    #[test]
    fn the_last_lines_are_kept_whole_and_the_rest_is_counted() {
        let mut last = Last::new(10);
        for line in ["one", "two", "three"] {
            last.push(line.to_owned());
        }
        assert_eq!(last.end(), (b"two\nthree\n".to_vec(), 1));
        let mut last = Last::new(3);
        last.push("three".to_owned());
        assert_eq!(last.end(), (Vec::new(), 1));
    }

    #[test]
    fn lines_are_found_across_chunks_and_a_long_one_is_cut() {
        let mut lines = Splitter::default();
        assert_eq!(lines.feed(b"a\nb"), ["a"]);
        assert_eq!(lines.feed(b"c\n\nd"), ["bc", ""]);
        assert_eq!(lines.end().as_deref(), Some("d"));
        let long = "x".repeat(LONGEST_LINE + 1);
        assert!(lines.feed(long.as_bytes()).is_empty());
        let cut = lines.feed(b"y\nz\n");
        assert_eq!((cut[0].len(), cut[1].as_str()), (LONGEST_LINE + " … (line cut)".len(), "z"));
        assert!(cut[0].ends_with("… (line cut)"), "it is said");
    }
}
