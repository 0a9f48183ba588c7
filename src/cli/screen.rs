//! Standard output: styled lines for people, plain lines for a pipe, and data.
//!
//! Texts of others (names, messages, values) are shown and never interpreted: see [`harmless`].

use std::io::{self, IsTerminal, Write};

use crossterm::cursor::MoveUp;
use crossterm::terminal::{Clear, ClearType};
use serde::Serialize;
use textwrap::WordSplitter;
use textwrap::core::display_width;
use unicode_width::UnicodeWidthChar;

use super::error::Error;
use crate::settings::Output;
use crate::view::Tone;

/// The meaning of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Nothing special.
    Plain,
    /// A heading or a name.
    Strong,
    /// Less important.
    Faint,
    /// It is as it should be.
    Good,
    /// Work is in progress.
    Busy,
    /// A person should look at it.
    Bad,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Busy => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

impl From<Tone> for Style {
    fn from(tone: Tone) -> Self {
        match tone {
            Tone::Plain => Self::Plain,
            Tone::Good => Self::Good,
            Tone::Busy => Self::Busy,
            Tone::Bad => Self::Bad,
        }
    }
}

/// One line for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    parts: Vec<(Style, String)>,
    overflow: Overflow,
}

/// What happens to a line that is wider than the window, where lines are redrawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Overflow {
    /// It is cut, with a mark.
    #[default]
    Cut,
    /// It continues in the next line.
    Fold,
}

impl Line {
    /// A line of plain text.
    pub fn of(text: impl AsRef<str>) -> Self {
        Self::default().and(text)
    }

    /// A line in this style.
    pub fn styled(style: Style, text: impl AsRef<str>) -> Self {
        Self::default().add(style, text)
    }

    /// Adds plain text.
    pub fn and(self, text: impl AsRef<str>) -> Self {
        self.add(Style::Plain, text)
    }

    /// Adds text in a style.
    pub fn add(mut self, style: Style, text: impl AsRef<str>) -> Self {
        self.parts.push((style, harmless(text.as_ref())));
        self
    }

    /// Adds another line's text.
    pub fn join(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// The line, which is needed as a whole: it continues in the next line if it is too wide.
    pub fn whole(self) -> Self {
        Self { overflow: Overflow::Fold, ..self }
    }

    fn text(&self) -> String {
        self.parts.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// The lines that this one takes in a window, each with its indentation and in its first style.
    fn fold(&self, width: usize) -> Vec<Self> {
        let text = self.text();
        if self.overflow == Overflow::Cut || display_width(text.trim_end()) <= width {
            return vec![self.clone()];
        }
        let style = self.parts.first().map_or(Style::Plain, |(style, _)| *style);
        let indent: String = text.chars().take_while(|c| *c == ' ').collect();
        // A command is split only between its words, so that it can be copied.
        let options = textwrap::Options::new(width)
            .initial_indent(&indent)
            .subsequent_indent(&indent)
            .word_splitter(WordSplitter::NoHyphenation)
            .break_words(false);
        textwrap::wrap(text.trim(), options).iter().map(|line| Self::styled(style, line)).collect()
    }

    /// The line, cut to this number of columns; a mark at the end shows the cut.
    fn render(&self, colour: bool, width: usize) -> String {
        let mut left =
            if display_width(self.text().trim_end()) > width { width.saturating_sub(1) } else { usize::MAX };
        let mut out = String::new();
        let mut is_cut = false;
        for (style, text) in &self.parts {
            let mut part = String::new();
            for c in text.chars() {
                let wide = c.width().unwrap_or(0);
                is_cut |= wide > left;
                if is_cut {
                    break;
                }
                left -= wide;
                part.push(c);
            }
            match style.code() {
                code if colour && !code.is_empty() && !part.is_empty() => {
                    out.push_str(code);
                    out.push_str(&part);
                    out.push_str("\x1b[0m");
                }
                _ => out.push_str(&part),
            }
            if is_cut {
                break;
            }
        }
        out.truncate(out.trim_end().len());
        if is_cut && width > 0 {
            out.push('…');
        }
        out
    }
}

/// A text of others in one line, without the characters that control a terminal or reverse the direction of the
/// text: they become spaces.
pub fn harmless(text: &str) -> String {
    text.replace(steers, " ")
}

/// The same for a text of several lines.
pub fn harmless_lines(text: &str) -> String {
    text.replace(|c: char| steers(c) && c != '\n' && c != '\t', " ")
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The lines as plain text.
#[cfg(test)]
pub fn plain(lines: &[Line]) -> String {
    lines.iter().map(|line| line.render(false, usize::MAX) + "\n").collect()
}

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Whether it is a terminal that supports more than plain text.
    pub is_terminal: bool,
}

impl Screen {
    /// Standard output of this process; `plain` treats a terminal like a file.
    pub fn new(plain: bool) -> Self {
        Self { is_terminal: !plain && io::stdout().is_terminal() }
    }

    /// Writes lines, in colour on a terminal.
    pub fn lines(&self, lines: &[Line]) -> Result<(), Error> {
        let text: String =
            lines.iter().map(|line| line.render(self.is_terminal, usize::MAX) + "\n").collect();
        self.text(&text)
    }

    /// Writes the lines over the `above` lines that were written before, cut to the window. Returns how many
    /// there are now.
    pub fn redraw(&self, lines: &[Line], above: usize) -> Result<usize, Error> {
        let (width, height) = crossterm::terminal::size().unwrap_or((80, 24));
        let shown = frame(lines, usize::from(width), usize::from(height));
        let mut text = match u16::try_from(above) {
            Ok(0) | Err(_) => String::new(),
            Ok(above) => format!("{}{}", MoveUp(above), Clear(ClearType::FromCursorDown)),
        };
        for line in &shown {
            text.push_str(line);
            text.push('\n');
        }
        self.text(&text)?;
        Ok(shown.len())
    }

    /// Writes text unchanged.
    pub fn text(&self, text: &str) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            // A reader that closed the pipe (`| head`) has all that it wants.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(Error::Output),
        }
    }

    /// Writes data, as JSON or else as YAML.
    pub fn data(&self, data: &impl Serialize, output: Output) -> Result<(), Error> {
        let text = match output {
            Output::Json => serde_json::to_string_pretty(data).map_err(|error| error.to_string()),
            Output::Yaml | Output::Table | Output::Wide => {
                serde_saphyr::to_string(data).map_err(|error| error.to_string())
            }
        };
        let text = text.map_err(|error| Error::bug("cannot write the data", error))?;
        self.text(&format!("{}\n", text.trim_end()))
    }
}

/// The lines as they fit into a window, in colour; lines that do not fit are counted in the last one.
fn frame(lines: &[Line], width: usize, height: usize) -> Vec<String> {
    // The cursor is below the last line.
    let room = height.saturating_sub(1);
    let lines: Vec<Line> = lines.iter().flat_map(|line| line.fold(width)).collect();
    let render = |line: &Line| line.render(true, width);
    if lines.len() <= room {
        return lines.iter().map(render).collect();
    }
    let shown = room.saturating_sub(1);
    let more = Line::styled(Style::Faint, format!("… and {} more lines", lines.len() - shown));
    lines[..shown].iter().chain([&more]).map(render).collect()
}

/// One line on standard error that is not an error but helps to understand the answer.
pub fn note(text: &str) {
    // A missing reader is no reason to fail.
    let _ = writeln!(io::stderr(), "firebreak: {}", harmless(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_before_it_is_coloured() {
        let line = Line::of("step ").add(Style::Good, "Verified").and("  ");
        assert_eq!(line.render(false, 100), "step Verified");
        assert_eq!(line.render(false, 13), "step Verified", "trailing spaces are no text");
        assert_eq!(line.render(false, 8), "step Ve…");
        assert_eq!(line.render(true, 8), "step \x1b[32mVe\x1b[0m…");
        assert_eq!(line.render(true, 1), "…");
        assert_eq!(line.render(false, 0), "");
    }

    #[test]
    fn a_wide_character_takes_two_columns() {
        let line = Line::of("显卡故障");
        assert_eq!(line.render(false, 8), "显卡故障");
        assert_eq!(line.render(false, 6), "显卡…");
    }

    #[test]
    fn a_line_that_is_needed_whole_goes_on_in_the_next_one() {
        let line = Line::of("  `firebreak resume gpu-outage` goes on").whole();
        assert_eq!(
            frame(std::slice::from_ref(&line), 20, 9),
            ["  `firebreak resume", "  gpu-outage` goes", "  on"]
        );
        assert_eq!(frame(std::slice::from_ref(&line), 80, 9).len(), 1);
        assert_eq!(frame(&[line], 8, 9)[1], "  resume", "a word that is too long is cut");
    }

    #[test]
    fn what_does_not_fit_into_the_window_is_counted() {
        let lines: Vec<Line> = (0..5).map(|number| Line::of(format!("line {number}"))).collect();
        assert_eq!(frame(&lines, 80, 6).len(), 5);
        assert_eq!(frame(&lines, 80, 4)[..2], ["line 0", "line 1"]);
        assert!(frame(&lines, 80, 4)[2].contains("… and 3 more lines"));
        assert_eq!(frame(&lines, 4, 6)[0], "lin…");
        for (width, height) in [(0, 0), (1, 1), (2, 2)] {
            assert!(frame(&lines, width, height).len() <= height.max(1));
        }
    }

    #[test]
    fn texts_of_others_cannot_steer_the_terminal() {
        let line = Line::of("a\x1b[2Jb\r\nc");
        assert_eq!(line.render(true, 100), "a [2Jb  c");
        assert_eq!(harmless("1 \u{202e}0001"), "1  0001", "nor turn a text around");
        assert_eq!(harmless_lines("a\n\tb\r\x1b\u{2066}"), "a\n\tb   ");
    }
}
