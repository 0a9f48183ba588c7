//! Matchers of alerts, in the syntax of Alertmanager: `LABEL`, an operator, and a text in double quotes.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

const FORM: &str = "must be LABEL, then =, !=, =~ or !~, then a text in double quotes";
/// The classes of Unicode have some hundred ranges.
const TOO_LARGE: &str =
    "the pattern is too large; write a simpler one, with [0-9] in place of \\d and * in place of {1,63}";
/// The largest compiled pattern, in bytes: a short pattern can describe a huge automaton.
const LARGEST: usize = 64 * 1024;
/// The most memory, in bytes, for the states that one search of a pattern keeps for the next one. Searches at the same time have
/// such memory each, and so have the two directions of a search.
const MOST_STATES: usize = 256 * 1024;

/// What one label of an alert must be.
#[derive(Clone, Debug)]
pub struct Matcher {
    text: String,
    label: String,
    operator: Operator,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Pattern(Regex),
}

/// How the label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
}

/// The parts of a matcher as it is written.
pub(super) struct Form<'a> {
    label: &'a str,
    operator: &'static str,
    /// Between the quotes.
    quoted: &'a str,
}

impl<'a> Form<'a> {
    /// The parts. Otherwise, what is wrong.
    pub(super) fn of(text: &'a str) -> Result<Self, &'static str> {
        let name = text.chars().take_while(|char| char.is_ascii_alphanumeric() || *char == '_').count();
        let (label, rest) = text.split_at(name);
        let is_name = label.chars().next().is_some_and(|first| !first.is_ascii_digit());
        let mut operators = ["=~", "!~", "!=", "="].into_iter();
        let parts = operators.find_map(|operator| Some((operator, rest.strip_prefix(operator)?)));
        let (operator, value) = parts.filter(|_| is_name).ok_or(FORM)?;
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).ok_or(FORM)?;
        Ok(Self { label, operator, quoted })
    }

    /// The text without its escapes, which are those of Alertmanager.
    fn value(&self) -> Result<String, &'static str> {
        let mut value = String::new();
        let mut chars = self.quoted.chars();
        while let Some(char) = chars.next() {
            match char {
                '"' => return Err("write a double quote within the text as \\\""),
                '\\' => match chars.next() {
                    Some('n') => value.push('\n'),
                    Some(escaped @ ('"' | '\\')) => value.push(escaped),
                    Some(other) => value.extend(['\\', other]),
                    None => return Err(FORM),
                },
                char => value.push(char),
            }
        }
        Ok(value)
    }
}

impl Matcher {
    /// Parses a matcher.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = Form::of(text)?;
        let value = form.value()?;
        let (operator, value) = match form.operator {
            "=" => (Operator::Is, Value::Text(value)),
            "!=" => (Operator::IsNot, Value::Text(value)),
            "=~" => (Operator::Is, pattern(&value)?),
            _ => (Operator::IsNot, pattern(&value)?),
        };
        Ok(Self { text: text.to_owned(), label: form.label.to_owned(), operator, value })
    }

    /// Whether an alert with these labels matches. A label that is not there has the empty text, as in Alertmanager.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = labels.get(&self.label).map_or("", String::as_str);
        let is_equal = match &self.value {
            Value::Text(text) => text == label,
            Value::Pattern(pattern) => pattern.is_match(label),
        };
        match self.operator {
            Operator::Is => is_equal,
            Operator::IsNot => !is_equal,
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Matchers are equal if they are written alike.
impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The pattern for the whole text of a label, as in Alertmanager.
fn pattern(text: &str) -> Result<Value, String> {
    let whole =
        RegexBuilder::new(&format!("^(?:{text})$")).size_limit(LARGEST).dfa_size_limit(MOST_STATES).build();
    let why = |error: regex::Error| match error {
        regex::Error::CompiledTooBig(_) => TOO_LARGE.to_owned(),
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            format!("the pattern is invalid: {}", last.trim_start_matches("error: "))
        }
    };
    whole.map(Value::Pattern).map_err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_compares_the_whole_label_as_alertmanager_does() {
        let labels: BTreeMap<String, String> =
            [("alertname", "GpuLost"), ("quoted", "a \"b\"\n\\")].map(|(k, v)| (k.into(), v.into())).into();
        let table = [
            (r#"alertname="GpuLost""#, true),
            (r#"alertname="Gpu""#, false),
            (r#"alertname!="Gpu""#, true),
            (r#"alertname!="GpuLost""#, false),
            (r#"alertname=~"Gpu.*""#, true),
            (r#"alertname=~"Gpu""#, false),
            (r#"alertname=~"X|GpuLost""#, true),
            (r#"alertname=~"X|Lost""#, false),
            (r#"alertname!~"Gpu.*""#, false),
            (r#"alertname!~"X""#, true),
            (r#"absent="""#, true),
            (r#"absent!="""#, false),
            (r#"absent=~".+""#, false),
            (r#"absent!~".+""#, true),
            (r#"quoted="a \"b\"\n\\""#, true),
            (r#"alertname=~"Gpu\w+""#, true),
        ];
        for (text, expected) in table {
            assert_eq!(Matcher::parse(text).unwrap().matches(&labels), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused_with_the_reason() {
        let table = [
            (r#"a="b"c""#, "write a double quote"),
            (r#"a="\""#, "must be LABEL"),
            (r#"a=~"(""#, "the pattern is invalid: unclosed group"),
            (r#"a=~"(\\pL{300}){300}""#, "the pattern is too large"),
            (r#"a=~"b)""#, "the pattern is invalid"),
        ];
        for (text, expected) in table {
            let why = Matcher::parse(text).unwrap_err();
            assert!(why.starts_with(expected), "{text}: {why}");
        }
    }
}
