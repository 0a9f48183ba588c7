//! What the demo prints: readable without a terminal, too, and in colour only on one.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use firebreak_engine::change::FieldChange;
use serde_json::Value;

use crate::line::{Ink, Line, Voice};

/// The lines of a report that are shown.
const REPORT_ENDS: &str = "## Timeline";

/// Prints, with the time since the start where that matters, and remembers what was told.
pub struct Narrator {
    start: Instant,
    print: fn(&Line) -> String,
    told: RefCell<Vec<Told>>,
}

/// A line, and when it was printed.
pub struct Told {
    pub at: Duration,
    pub line: Line,
}

impl Narrator {
    pub fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let print = if colour { Line::in_colour } else { Line::text };
        Self { start: Instant::now(), print, told: RefCell::default() }
    }

    /// All lines since the start.
    pub fn told(&self) -> Vec<Told> {
        self.told.take()
    }

    fn tell(&self, line: Line) {
        println!("{}", (self.print)(&line));
        self.told.borrow_mut().push(Told { at: self.start.elapsed(), line });
    }

    fn gap(&self) {
        self.tell(Line::new(Voice::Detail));
    }

    pub fn title(&self, text: &str) {
        self.tell(Line::new(Voice::Demo).with(Ink::Bold, text));
        self.gap();
    }

    pub fn text(&self, text: &str) {
        self.tell(Line::new(Voice::Demo).with(Ink::Plain, text));
    }

    pub fn chapter(&self, text: &str) {
        self.gap();
        self.tell(Line::new(Voice::Demo).with(Ink::Bold, format!("── {text}")));
        self.gap();
    }

    /// What the demo does.
    pub fn event(&self, verb: &str, text: &str) {
        self.timed(Voice::Demo, Ink::Dim, verb, text);
    }

    /// What Firebreak sees, decides and does.
    pub fn firebreak(&self, verb: &str, text: &str) {
        self.timed(Voice::Firebreak, Ink::Cyan, verb, text);
    }

    fn timed(&self, voice: Voice, ink: Ink, verb: &str, text: &str) {
        let time = format!("{:5.1}s", self.start.elapsed().as_secs_f64());
        let line = Line::new(voice).with(Ink::Dim, time).with(Ink::Plain, "  ");
        self.tell(line.with(ink, format!("{verb:10}")).with(Ink::Plain, format!(" {text}")));
    }

    /// A field before and after.
    pub fn field(&self, field: &FieldChange) {
        let shown = |value: &Option<Value>| value.as_ref().map_or("not set".to_owned(), Value::to_string);
        let (before, after) = (shown(&field.before), shown(&field.after));
        let path = format!("{:19}{:44} {before} → ", "", field.path.to_string());
        self.tell(Line::new(Voice::Detail).with(Ink::Plain, path).with(Ink::Yellow, after));
    }

    pub fn table(&self, table: &str) {
        self.gap();
        for line in table.lines() {
            self.tell(Line::new(Voice::Detail).with(Ink::Dim, format!("{:8}{line}", "")));
        }
    }

    /// Whether an object is as it was before; otherwise the differences.
    pub fn verdict(&self, object: &str, difference: &[String]) {
        let (ink, verdict) =
            if difference.is_empty() { (Ink::Green, "equal") } else { (Ink::Red, "NOT EQUAL") };
        let object = format!("{:8}{object:42} ", "");
        self.tell(Line::new(Voice::Detail).with(Ink::Plain, object).with(ink, verdict));
        for line in difference {
            self.tell(Line::new(Voice::Detail).with(Ink::Plain, format!("{:12}{line}", "")));
        }
    }

    pub fn beginning_of(&self, report: &str) {
        let shown = report.split(REPORT_ENDS).next().unwrap_or(report).trim_end();
        for line in shown.lines() {
            let line = format!("{:8}{line}", "");
            self.tell(Line::new(Voice::Detail).with(Ink::Plain, line.trim_end()));
        }
        let rest = report.lines().count() - shown.lines().count();
        let rest = format!("{:8}… and {rest} more lines: timeline, every change", "");
        self.tell(Line::new(Voice::Detail).with(Ink::Dim, rest));
    }

    pub fn end(&self) {
        let took = self.start.elapsed().as_secs();
        self.gap();
        let line = format!("Everything went as told, in {took} s.");
        self.tell(Line::new(Voice::Demo).with(Ink::Green, line));
        self.gap();
    }

    pub fn log(&self, log: &str) {
        println!("\nThe end of Firebreak's log:\n{log}");
    }

    pub fn failure(&self, why: &str) {
        let line = Line::new(Voice::Demo).with(Ink::Red, "The demo failed:");
        eprintln!("\n{}", (self.print)(&line.with(Ink::Plain, format!(" {why}"))));
    }
}
