//! The template of the report: the shipped one, or the one in the operator's configuration.
//!
//! # Guarantees
//! Texts of others are escaped wherever they are printed, whatever the template says: no filter can
//! mark a text as safe. A value that does not exist is an error. Work, nesting and size of the result are bounded.
//! A template is tried on an empty and on a full Incident before it is accepted.

use std::io;
use std::sync::Arc;

use firebreak_engine::change::cut;
use firebreak_engine::period::Period;
use jiff::Timestamp;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior, Value};
use serde::Serialize;

use super::LONGEST;
use super::escape::{code, text};
use crate::api::{Incident, IncidentSpec};
use crate::view::IncidentView;

/// The shipped template.
pub const SHIPPED: &str = include_str!("report.md.j2");
/// An Incident in which every optional value is set.
const SAMPLE: &str = include_str!("sample.yaml");

/// The placeholder for what only a person can know.
const FILL_IN: &str = "_to be filled in by a person_";

/// The name of the template in the engine.
const NAME: &str = "report";
/// The longest template, in bytes.
const LONGEST_TEMPLATE: usize = 64 * 1024;
/// Instructions of one rendering. The largest report with the shipped template takes about 3 million.
const FUEL: u64 = 10_000_000;
/// How deep macros and includes may nest.
const RECURSION: usize = 32;

/// A template that was accepted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReportTemplate(Arc<Environment<'static>>);

/// Why a template cannot be used, or why a report could not be made from it. In one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// What a template sees.
#[derive(Serialize)]
struct Context<'a> {
    incident: &'a IncidentView,
    now: Timestamp,
}

impl ReportTemplate {
    /// The shipped template.
    ///
    /// # Errors
    /// None in a build that passed its tests.
    pub fn shipped() -> Result<Self, TemplateError> {
        Self::compile(SHIPPED.to_owned())
    }

    /// A template of an operator.
    ///
    /// # Errors
    /// It is too long, it cannot be read, or an Incident cannot be rendered with it.
    pub fn parse(text: String) -> Result<Self, TemplateError> {
        if text.len() > LONGEST_TEMPLATE {
            return Err(TemplateError(format!("it has more than {LONGEST_TEMPLATE} bytes")));
        }
        let template = Self::compile(text)?;
        for incident in samples()? {
            template.render(&incident, Timestamp::UNIX_EPOCH)?;
        }
        Ok(template)
    }

    fn compile(text: String) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.map_err(TemplateError::from)?);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        environment.set_auto_escape_callback(|_| AutoEscape::Custom("markdown".into()));
        environment.set_formatter(markdown);
        // They would print a text of others unescaped, or escape it for HTML.
        ["safe", "escape", "e"].into_iter().for_each(|name| environment.remove_filter(name));
        environment.add_filter("code", |raw: String| Value::from_safe_string(code(&raw)));
        environment.add_filter("value", value);
        environment.add_filter("time", |at: Option<String>| moment(at.as_deref(), "%F %T UTC"));
        environment.add_filter("date", |at: Option<String>| moment(at.as_deref(), "%F"));
        environment.add_filter("since", since);
        environment
            .add_filter("rows", |rows: String, room: usize| Value::from_safe_string(fitting(&rows, room)));
        environment.add_global("fillIn", Value::from_safe_string(FILL_IN.to_owned()));
        environment.add_template_owned(NAME, text)?;
        Ok(Self(Arc::new(environment)))
    }

    /// The report as Markdown.
    ///
    /// # Errors
    /// The template asks for something that this Incident does not have, does too much, or its result is too long.
    pub fn render(&self, incident: &IncidentView, now: Timestamp) -> Result<String, TemplateError> {
        let mut written = Bounded(Vec::new());
        let template = self.0.get_template(NAME)?;
        let context = Value::from(Serde(Context { incident, now }));
        template.render_captured_to(context, &mut written)?;
        String::from_utf8(written.0).map_err(|error| TemplateError(error.to_string()))
    }
}

/// Incidents on which a template is tried: one that needs a person, the same one closed, and an empty
/// one.
fn samples() -> Result<[IncidentView; 3], TemplateError> {
    let held: Incident = serde_saphyr::from_str(SAMPLE).map_err(|error| TemplateError(error.to_string()))?;
    let mut closed = held.clone();
    if let Some(status) = &mut closed.status {
        status.state.resolved_at = Some(Timestamp::UNIX_EPOCH);
    }
    let empty = Incident::new("empty", IncidentSpec::default());
    Ok([held, closed, empty].map(|incident| IncidentView::of(&incident)))
}

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> Self {
        let what = match error.kind() {
            ErrorKind::WriteFailure => format!("the report would have more than {LONGEST} bytes"),
            kind => match error.detail() {
                Some(detail) => format!("{kind}: {detail}"),
                None => kind.to_string(),
            },
        };
        let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
        let one_line = what.split_whitespace().collect::<Vec<_>>().join(" ");
        Self(cut(&format!("{line}{one_line}"), 512))
    }
}

/// The part that takes at most [`LONGEST`] bytes.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints a value: escaped, unless it comes from a filter of ours or from the template itself.
fn markdown(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), minijinja::Error> {
    let written = if value.is_none() {
        Ok(())
    } else if value.is_safe() {
        out.write_str(&value.to_string())
    } else {
        out.write_str(&text(&value.to_string()))
    };
    written.map_err(minijinja::Error::from)
}

/// The value of a field, or the words for none.
fn value(value: Option<String>) -> Value {
    Value::from_safe_string(value.map_or_else(|| "_not set_".to_owned(), |value| code(&value)))
}

fn parsed(at: &str) -> Result<Timestamp, minijinja::Error> {
    at.parse().map_err(|_| {
        minijinja::Error::new(ErrorKind::InvalidOperation, format!("{} is no time", cut(at, 40)))
    })
}

/// A time as people read it; none stays none.
fn moment(at: Option<&str>, format: &str) -> Result<Option<String>, minijinja::Error> {
    at.map(|at| Ok(parsed(at)?.strftime(format).to_string())).transpose()
}

/// The time between two moments in whole seconds; never negative, because clocks of two machines may differ.
fn since(at: Option<String>, from: Option<String>) -> Result<Option<String>, minijinja::Error> {
    let (Some(at), Some(from)) = (at, from) else { return Ok(None) };
    let seconds = parsed(&at)?.duration_since(parsed(&from)?).as_secs().max(0);
    Ok(Some(Period::seconds(seconds).to_string()))
}

/// As many whole lines as fit into `room` bytes, followed by the number of lines that did not.
fn fitting(rows: &str, room: usize) -> String {
    if rows.len() <= room {
        return rows.to_owned();
    }
    let mut written = 0;
    // After the first line that does not fit all are left out, so that a gap never looks complete.
    let mut lines = rows.split_inclusive('\n').skip_while(|line| {
        let fits = written + line.len() <= room;
        written += if fits { line.len() } else { 0 };
        fits
    });
    let left_out = lines.by_ref().count();
    format!(
        "{}\n_{left_out} more rows do not fit into this report; they are in the status of the Incident._\n",
        &rows[..written]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> IncidentView {
        let [held, ..] = samples().unwrap();
        held
    }

    fn render(template: &str, incident: &IncidentView) -> Result<String, TemplateError> {
        ReportTemplate::parse(template.to_owned())?.render(incident, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_shipped_template_is_accepted() {
        ReportTemplate::parse(SHIPPED.to_owned()).unwrap();
    }

    #[test]
    fn the_samples_have_a_value_for_everything_that_a_template_can_name() {
        fn empty(at: &str, value: &serde_json::Value, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Null => found.push(at.to_owned()),
                serde_json::Value::Array(items) if items.is_empty() => found.push(at.to_owned()),
                // Each of several items shows other parts.
                serde_json::Value::Array(items) => {
                    let mut none_of: Option<Vec<String>> = None;
                    for item in items {
                        let mut of_one = Vec::new();
                        empty(at, item, &mut of_one);
                        let kept =
                            none_of.map(|known| known.into_iter().filter(|at| of_one.contains(at)).collect());
                        none_of = Some(kept.unwrap_or(of_one));
                    }
                    found.extend(none_of.unwrap_or_default());
                }
                serde_json::Value::Object(fields) => {
                    fields.iter().for_each(|(name, value)| empty(&format!("{at}.{name}"), value, found));
                }
                _ => {}
            }
        }
        let mut found = Vec::new();
        empty("incident", &serde_json::to_value(&samples().unwrap()[..2]).unwrap(), &mut found);
        assert_eq!(found, Vec::<String>::new());
    }

    const DOCUMENTATION: &str = include_str!("../../docs/report.md");

    #[test]
    fn the_example_in_the_documentation_is_accepted() {
        let block = DOCUMENTATION.split("reportTemplate: |\n").nth(1).unwrap().split("```").next().unwrap();
        let lines: Vec<&str> = block.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
        let text = render(&lines.join("\n"), &sample()).unwrap();
        assert!(
            text.contains("| Deployment b/chat | `/spec/replicas` | `4` | `0` | ceded to hpa/Update"),
            "{text}"
        );
    }

    #[test]
    fn every_value_is_in_the_documentation() {
        fn names(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
            match value {
                serde_json::Value::Array(items) => items.iter().for_each(|item| names(item, found)),
                serde_json::Value::Object(fields) => {
                    found.extend(fields.keys().cloned());
                    fields.values().for_each(|value| names(value, found));
                }
                _ => {}
            }
        }
        let mut found = std::collections::BTreeSet::new();
        names(&serde_json::to_value(sample()).unwrap(), &mut found);
        let is_missing = |name: &&String| {
            let ways = [format!("`{name}`"), format!("`.{name}`"), format!("`incident.{name}`")];
            !ways.iter().any(|way| DOCUMENTATION.contains(way))
        };
        let missing: Vec<&String> = found.iter().filter(is_missing).collect();
        assert!(missing.is_empty() && found.len() > 50, "docs/report.md does not name {missing:?}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (template, line, words) in [
            ("a\n{{ incident.nmae }}", 2, "undefined"),
            ("{{ nothing }}", 1, "undefined"),
            ("a\nb\n{% if %}", 3, "syntax error"),
            ("\n{{ incident.uid | safe }}", 2, "safe"),
            ("{{ incident.uid | escape }}", 1, "escape"),
            ("{% for change in incident.changes %}\n{{ change.stp }}{% endfor %}", 2, "undefined"),
            ("{% include 'other' %}", 1, "unknown statement"),
            ("{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}", 1, "fuel"),
            ("{% macro deep(n) %}{{ deep(n + 1) }}{% endmacro %}{{ deep(0) }}", 1, "recursion"),
            ("{{ incident.policy.name }}", 1, ""),
        ] {
            let error = render(template, &sample()).unwrap_err().to_string();
            let said = error.to_lowercase();
            assert!(said.contains(&format!("line {line}")) && said.contains(words), "{template}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(ReportTemplate::parse("x".repeat(LONGEST_TEMPLATE + 1)).is_err());
    }

    #[test]
    fn a_result_that_is_too_long_is_an_error() {
        let template = "{% for i in range(1000) %}{{ 'x' * 1000 }}{% endfor %}";
        let error = render(template, &sample()).unwrap_err().to_string();
        assert!(error.contains("900000 bytes"), "{error}");
    }

    #[test]
    fn no_template_lets_markup_of_others_through() {
        let mut hostile = sample();
        hostile.name = "a|b\n# <img> [l](http://x) `c`".to_owned();
        for expression in [
            "{{ incident.name }}",
            "{{ incident.name | code }}",
            "{{ incident.name | value }}",
            "{{ incident.name | upper }}",
            "{{ [incident.name, fillIn] | join(', ') }}",
            "{{ incident.name ~ fillIn }}",
            "{{ fillIn | replace('person', incident.name) }}",
            "{{ '%s' | format(incident.name) }}",
            "{{ fillIn[:1] ~ incident.name }}",
            "{{ incident.name | default('x') | indent(2) }}",
            "{{ [incident.name] }}",
            "{{ {incident.name: 1} }}",
            "{% set x %}{{ incident.name }}{% endset %}{{ x }}",
            "{% autoescape false %}{{ incident.name }}{% endautoescape %}",
            "{% autoescape false %}{% set x %}{{ incident.name }}{% endset %}{% endautoescape %}{{ x }}",
            "{% autoescape true %}{{ incident.name }}{% endautoescape %}",
            "{% autoescape 'html' %}{{ incident.name }}{% endautoescape %}",
            "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(incident.name) }}",
            "{% filter rows(1000) %}{{ incident.name }}{% endfilter %}",
        ] {
            // An escaping mode that does not exist is rejected, so it lets nothing through either.
            let Ok(text) = render(expression, &hostile) else { continue };
            let lowered = text.to_lowercase();
            let bare = lowered.replace("\\<", "").replace("\\|", "").replace("\\[", "");
            let in_code = lowered.starts_with('`');
            assert!(!bare.contains('\n'), "{expression}: {text}");
            assert!(in_code || !bare.contains(['<', '|', '[']), "{expression}: {text}");
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_counted() {
        let text = fitting("| 1 |\n| 2 |\n| a long one |\n| 3 |\n", 20);
        assert!(text.starts_with("| 1 |\n| 2 |\n\n") && text.contains("_2 more rows"), "{text}");
        assert_eq!(fitting("| 1 |\n", 6), "| 1 |\n");
    }
}
