//! What the demo prints: readable without a terminal, too, and in colour only on one.

use std::io::IsTerminal;
use std::time::Instant;

use firebreak_engine::change::FieldChange;
use serde_json::Value;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

/// The lines of a report that are shown.
const REPORT_ENDS: &str = "## Timeline";

/// Prints, with the time since the start where that matters.
pub struct Narrator {
    start: Instant,
    colour: bool,
}

impl Narrator {
    pub fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { start: Instant::now(), colour }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn title(&self, text: &str) {
        println!("{}\n", self.paint(BOLD, text));
    }

    pub fn text(&self, text: &str) {
        println!("{text}");
    }

    pub fn chapter(&self, text: &str) {
        println!("\n{}\n", self.paint(BOLD, &format!("── {text}")));
    }

    /// What the demo does.
    pub fn event(&self, verb: &str, text: &str) {
        self.line(DIM, verb, text);
    }

    /// What Firebreak sees, decides and does.
    pub fn firebreak(&self, verb: &str, text: &str) {
        self.line(CYAN, verb, text);
    }

    fn line(&self, colour: &str, verb: &str, text: &str) {
        let time = format!("{:5.1}s", self.start.elapsed().as_secs_f64());
        println!("{}  {} {text}", self.paint(DIM, &time), self.paint(colour, &format!("{verb:10}")));
    }

    /// A field before and after.
    pub fn field(&self, field: &FieldChange) {
        let shown = |value: &Option<Value>| value.as_ref().map_or("not set".to_owned(), Value::to_string);
        let (before, after) = (shown(&field.before), shown(&field.after));
        println!("{:19}{:44} {before} → {}", "", field.path.to_string(), self.paint(YELLOW, &after));
    }

    pub fn table(&self, table: &str) {
        println!();
        for line in table.lines() {
            println!("{:8}{}", "", self.paint(DIM, line));
        }
    }

    /// Whether an object is as it was before; otherwise the differences.
    pub fn verdict(&self, object: &str, difference: &[String]) {
        let verdict =
            if difference.is_empty() { self.paint(GREEN, "equal") } else { self.paint(RED, "NOT EQUAL") };
        println!("{:8}{object:42} {verdict}", "");
        for line in difference {
            println!("{:12}{line}", "");
        }
    }

    pub fn beginning_of(&self, report: &str) {
        let shown = report.split(REPORT_ENDS).next().unwrap_or(report).trim_end();
        for line in shown.lines() {
            println!("{}", format!("{:8}{line}", "").trim_end());
        }
        let rest = report.lines().count() - shown.lines().count();
        println!("{:8}{}", "", self.paint(DIM, &format!("… and {rest} more lines: timeline, every change")));
    }

    pub fn end(&self) {
        let took = self.start.elapsed().as_secs();
        println!("\n{}\n", self.paint(GREEN, &format!("Everything went as told, in {took} s.")));
    }

    pub fn log(&self, log: &str) {
        println!("\nThe end of Firebreak's log:\n{log}");
    }

    pub fn failure(&self, why: &str) {
        eprintln!("\n{} {why}", self.paint(RED, "The demo failed:"));
    }
}
