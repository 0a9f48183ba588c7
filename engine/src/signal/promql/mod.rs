//! Whether a text is PromQL, before a policy with it is accepted.
//!
//! It checks the syntax, and where a range of values or a text stands in place of a vector: a slip such as `rate(x)` is found with
//! its place. It does not evaluate, and it leaves to the endpoint what depends on its product and version: which functions exist,
//! and the syntax of regular expressions. What Prometheus does not have, [`unknown_functions`] names. The crate promql-parser would bring 22 further crates, a parser generator among them, and it does
//! not tell the place of an error.

mod functions;
mod lexer;
mod parser;
mod selector;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::spelling::alike;

/// What a query yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yields {
    /// One number.
    Scalar,
    /// One number for each series.
    Vector,
    /// Numbers over a time, for each series.
    Range,
    /// A text.
    Text,
}

impl fmt::Display for Yields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "a scalar",
            Self::Vector => "a vector",
            Self::Range => "a range of values",
            Self::Text => "a text",
        })
    }
}

/// What is wrong with a query, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct Wrong {
    line: usize,
    column: usize,
    what: String,
}

impl Wrong {
    fn at(query: &str, at: usize, what: impl Into<String>) -> Self {
        let before = &query[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, what: what.into() }
    }
}

/// The functions in a query that Prometheus does not have, each with the one that was probably meant. What only speaks its API
/// may have more. There are none in what is not PromQL.
pub fn unknown_functions(query: &str) -> Vec<(String, Option<&'static str>)> {
    let calls = parser::calls(query).unwrap_or_default();
    let unknown = calls.into_iter().filter(|name| !functions::FUNCTIONS.contains(name));
    unknown.map(|name| (name.to_owned(), alike(name, &functions::FUNCTIONS))).collect()
}

/// Checks a query that must yield numbers now.
///
/// # Errors
/// It is not PromQL, or it yields something else.
pub fn check(query: &str) -> Result<(), Wrong> {
    match parser::parse(query)? {
        Yields::Scalar | Yields::Vector => Ok(()),
        what @ (Yields::Range | Yields::Text) => {
            let hint = if what == Yields::Range { "; use a function such as avg_over_time" } else { "" };
            Err(Wrong::at(query, 0, format!("it yields {what}; a scalar or a vector is needed{hint}")))
        }
    }
}
