//! A line that the demo prints: parts with a look, for a terminal and for the recording.

use serde::Serialize;

/// How a part looks.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ink {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Ink {
    /// What switches it on in a terminal.
    fn code(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Cyan => 36,
        }
    }
}

/// Whose words they are.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Voice {
    /// The demo's own, which are the same in every run.
    Demo,
    /// Firebreak's, about what it sees, decides and does.
    Firebreak,
    /// What the cluster is like: values, tables, the report.
    Detail,
}

#[derive(Clone, Serialize)]
pub struct Part {
    pub ink: Ink,
    pub text: String,
}

#[derive(Clone, Serialize)]
pub struct Line {
    pub voice: Voice,
    pub parts: Vec<Part>,
}

impl Line {
    pub fn new(voice: Voice) -> Self {
        Self { voice, parts: Vec::new() }
    }

    /// The same line with one more part.
    pub fn with(mut self, ink: Ink, text: impl Into<String>) -> Self {
        self.parts.push(Part { ink, text: text.into() });
        self
    }

    pub fn text(&self) -> String {
        self.parts.iter().map(|part| part.text.as_str()).collect()
    }

    pub fn in_colour(&self) -> String {
        let paint = |Part { ink, text }: &Part| match ink {
            Ink::Plain => text.clone(),
            ink => format!("\x1b[{}m{text}\x1b[0m", ink.code()),
        };
        self.parts.iter().map(paint).collect()
    }
}
