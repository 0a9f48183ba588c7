//! The recording of the demo that the README shows, an animated SVG. Only a run of the demo writes it, and every
//! other run checks that it is one of the same demo.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use minijinja::value::Serde;
use minijinja::{Environment, Value};
use regex::Regex;
use serde::Serialize;

use crate::Result;
use crate::line::{Ink, Line, Part, Voice};
use crate::narrator::Told;

/// Where it is in the repository.
const PATH: &str = "docs/demo.svg";

/// The size of the window in characters, and of a character in pixels.
const COLUMNS: usize = 108;
const ROWS: usize = 30;
const WIDTH: f64 = 7.8;
const HEIGHT: usize = 18;

/// How long a line is the newest one: real pauses, but long enough to read a line, and not longer than a reader waits.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_millis(1500);

/// How long the end stays before the recording starts again.
const END: Duration = Duration::from_secs(10);

/// What the template shows.
#[derive(Serialize)]
struct Recording {
    title: String,
    lines: Vec<Line>,
    frames: Vec<Frame>,
    seconds: f64,
    columns: usize,
    rows: usize,
    width: f64,
    height: usize,
}

/// The window when some of the lines have been printed.
#[derive(Serialize)]
struct Frame {
    /// When, in percent of the whole recording.
    percent: f64,
    /// How many pixels the lines have moved up, and how many of them are printed.
    scrolled: usize,
    printed: usize,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PATH)
}

/// Writes the recording of what was told.
pub fn write(told: &[Told]) -> Result<()> {
    Ok(fs::write(path(), svg(told)?)?)
}

/// Fails if the recording in the repository shows another demo. What Firebreak says may have other numbers, and a
/// slow machine may see more of it.
pub fn check(told: &[Told]) -> Result<()> {
    let recorded = recorded(&fs::read_to_string(path())?);
    let told = told.iter().map(|told| (told.line.voice, clipped(&told.line).text())).collect::<Vec<_>>();
    let said = |lines: &[(Voice, String)], voice| -> Vec<String> {
        lines.iter().filter(|(of, _)| *of == voice).map(|(_, text)| without_numbers(text)).collect()
    };
    let (before, now) = (said(&recorded, Voice::Demo), said(&told, Voice::Demo));
    if before != now {
        return Err(format!("{PATH} tells another story, {before:#?} and not {now:#?}: {AGAIN}").into());
    }
    let now = said(&told, Voice::Firebreak);
    let gone: Vec<String> =
        said(&recorded, Voice::Firebreak).into_iter().filter(|line| !now.contains(line)).collect();
    if !gone.is_empty() {
        return Err(format!("in {PATH}, Firebreak says what it does not say now, {gone:#?}: {AGAIN}").into());
    }
    Ok(())
}

const AGAIN: &str = "run `make demo RECORD=1`";

/// The lines of a recording, and whose words they are.
fn recorded(svg: &str) -> Vec<(Voice, String)> {
    static LINE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"<text class="([a-z]+)"[^>]*>(.*)</text>"#).expect("a pattern"));
    static TAG: LazyLock<Regex> = LazyLock::new(|| Regex::new("<[^>]*>").expect("a pattern"));
    let line = |found: regex::Captures<'_>| {
        let voice = match &found[1] {
            "demo" => Voice::Demo,
            "firebreak" => Voice::Firebreak,
            _ => Voice::Detail,
        };
        let text = TAG.replace_all(&found[2], "");
        (voice, text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    };
    LINE.captures_iter(svg).map(line).collect()
}

/// Times and counts differ from run to run.
fn without_numbers(text: &str) -> String {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\s*[0-9]+(\.[0-9]+)?").expect("a pattern"));
    NUMBER.replace_all(text, "#").into_owned()
}

fn svg(told: &[Told]) -> Result<String> {
    let (frames, length) = frames(told);
    let recording = Recording {
        title: told.first().map(|told| told.line.text()).unwrap_or_default(),
        lines: told.iter().map(|told| clipped(&told.line)).collect(),
        frames,
        seconds: length.as_secs_f64(),
        columns: COLUMNS,
        rows: ROWS,
        width: WIDTH,
        height: HEIGHT,
    };
    let mut templates = Environment::new();
    templates.add_filter("xml", escaped);
    let template = templates.template_from_named_str("recording.svg", include_str!("recording.svg.j2"))?;
    Ok(template.render(Value::from(Serde(recording)))?)
}

/// What the window shows over time, and for how long.
fn frames(told: &[Told]) -> (Vec<Frame>, Duration) {
    let mut at = Duration::ZERO;
    let mut before = Duration::ZERO;
    let mut states: Vec<(Duration, usize)> = Vec::new();
    for (index, told) in told.iter().enumerate() {
        // A gap comes with the line before it.
        if told.line.text().is_empty() {
            states.pop();
        } else if index > 0 {
            at += told.at.saturating_sub(before).clamp(SHORTEST, LONGEST);
            before = told.at;
        }
        states.push((at, index + 1));
    }
    let length = at + END;
    let frames = states.into_iter().map(|(at, printed)| Frame {
        percent: (at.as_secs_f64() / length.as_secs_f64() * 1e4).round() / 1e2,
        scrolled: printed.saturating_sub(ROWS) * HEIGHT,
        printed: printed * HEIGHT,
    });
    (frames.collect(), length)
}

/// As a window shows a line that is too long for it.
fn clipped(line: &Line) -> Line {
    let is_too_long = line.text().chars().count() > COLUMNS;
    let mut room = if is_too_long { COLUMNS - 1 } else { COLUMNS };
    let mut shown = Line::new(line.voice);
    for Part { ink, text } in &line.parts {
        let text: String = text.chars().take(room).collect();
        room -= text.chars().count();
        shown = shown.with(*ink, text);
    }
    if is_too_long { shown.with(Ink::Dim, "…") } else { shown }
}

fn escaped(text: String) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
