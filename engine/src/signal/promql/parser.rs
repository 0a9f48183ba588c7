//! The grammar, by recursive descent.

use super::lexer::{Token, TokenKind, tokens};
use super::{Wrong, Yields};

/// How deep brackets may be nested. A query has at most 1 kB.
const DEEPEST: usize = 64;

const AGGREGATIONS: [&str; 14] = [
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];
/// Aggregations with a parameter before the vector.
const WITH_PARAMETER: [&str; 6] = ["topk", "bottomk", "count_values", "quantile", "limitk", "limit_ratio"];
/// Functions whose last vector is a range, beside those that end in `_over_time`.
const OF_RANGES: [&str; 9] =
    ["rate", "irate", "increase", "delta", "idelta", "deriv", "predict_linear", "changes", "resets"];
/// Functions of one vector, where a range is a slip.
const OF_VECTORS: [&str; 21] = [
    "abs",
    "ceil",
    "floor",
    "round",
    "exp",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "sgn",
    "clamp_max",
    "clamp_min",
    "absent",
    "scalar",
    "sort",
    "sort_desc",
    "timestamp",
    "histogram_count",
    "histogram_sum",
    "histogram_avg",
    "label_replace",
];
const SCALARS: [&str; 3] = ["time", "pi", "scalar"];

/// What a query yields.
pub(super) fn parse(query: &str) -> Result<Yields, Wrong> {
    Ok(read(query)?.0)
}

/// The functions that a query calls, each once.
pub(super) fn calls(query: &str) -> Result<Vec<&str>, Wrong> {
    Ok(read(query)?.1)
}

fn read(query: &str) -> Result<(Yields, Vec<&str>), Wrong> {
    let mut parser = Parser { query, tokens: tokens(query)?, next: 0, depth: 0, calls: Vec::new() };
    let yields = parser.expression(0)?;
    let rest = parser.peek();
    match rest.kind {
        TokenKind::End => Ok((yields, parser.calls)),
        _ => Err(parser.wrong(&format!("{} has no meaning here", said(rest)))),
    }
}

pub(super) struct Parser<'q> {
    pub(super) query: &'q str,
    tokens: Vec<Token<'q>>,
    pub(super) next: usize,
    depth: usize,
    calls: Vec<&'q str>,
}

/// What an operator connects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Set,
    /// Without `bool` it selects series; between scalars that is nothing.
    Comparison,
    /// With `bool`.
    Truth,
    Arithmetic,
}

/// How tightly an operator binds, and what it is; none if the word is no operator.
fn operator(token: Token<'_>) -> Option<(u8, Operator)> {
    let text = token.text.to_ascii_lowercase();
    Some(match (token.kind, text.as_str()) {
        (TokenKind::Name, "or") => (1, Operator::Set),
        (TokenKind::Name, "and" | "unless") => (2, Operator::Set),
        (TokenKind::Symbol, "==" | "!=" | "<=" | ">=" | "<" | ">") => (3, Operator::Comparison),
        (TokenKind::Symbol, "+" | "-") => (4, Operator::Arithmetic),
        (TokenKind::Symbol, "*" | "/" | "%") | (TokenKind::Name, "atan2") => (5, Operator::Arithmetic),
        (TokenKind::Symbol, "^") => (6, Operator::Arithmetic),
        _ => return None,
    })
}

pub(super) fn said(token: Token<'_>) -> String {
    match token.kind {
        TokenKind::End => "the end".to_owned(),
        _ => format!("{:?}", token.text),
    }
}

impl<'q> Parser<'q> {
    pub(super) fn peek(&self) -> Token<'q> {
        self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    pub(super) fn take(&mut self) -> Token<'q> {
        let token = self.peek();
        self.next += 1;
        token
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        self.peek().kind == TokenKind::Symbol && self.peek().text == symbol
    }

    fn is_word(&self, word: &str) -> bool {
        self.peek().kind == TokenKind::Name && self.peek().text.eq_ignore_ascii_case(word)
    }

    pub(super) fn took_symbol(&mut self, symbol: &str) -> bool {
        let is_it = self.is_symbol(symbol);
        self.next += usize::from(is_it);
        is_it
    }

    fn took_word(&mut self, word: &str) -> bool {
        let is_it = self.is_word(word);
        self.next += usize::from(is_it);
        is_it
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), Wrong> {
        match self.took_symbol(symbol) {
            true => Ok(()),
            false => Err(self.wrong(&format!("expected {symbol:?}, and found {}", said(self.peek())))),
        }
    }

    pub(super) fn wrong(&self, what: &str) -> Wrong {
        Wrong::at(self.query, self.peek().at, what)
    }

    fn expression(&mut self, least: u8) -> Result<Yields, Wrong> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("too many brackets and signs inside each other"));
        }
        let mut left = self.signed()?;
        while let Some((binds, operator)) = operator(self.peek()).filter(|(binds, _)| *binds >= least) {
            let at = self.next;
            self.next += 1;
            let operator = match operator {
                Operator::Comparison if self.took_word("bool") => Operator::Truth,
                operator => operator,
            };
            self.matching(operator)?;
            // A power is taken from the right.
            let right = self.expression(if binds == 6 { binds } else { binds + 1 })?;
            left = self.combined(left, right, operator, at)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn combined(&self, left: Yields, right: Yields, operator: Operator, at: usize) -> Result<Yields, Wrong> {
        let place = self.tokens[at];
        let wrong = |what: String| Err(Wrong::at(self.query, place.at, what));
        let sides = [left, right];
        if let Some(side) = sides.into_iter().find(|side| matches!(side, Yields::Range | Yields::Text)) {
            return wrong(format!("{:?} cannot be used on {side}", place.text));
        }
        let is_scalar = sides == [Yields::Scalar, Yields::Scalar];
        match operator {
            Operator::Set if sides != [Yields::Vector, Yields::Vector] => {
                wrong(format!("{:?} needs a vector on both sides; write vector(0) for a number", place.text))
            }
            Operator::Comparison if is_scalar => {
                wrong(format!("{:?} between two scalars needs bool after it", place.text))
            }
            Operator::Set | Operator::Comparison | Operator::Truth | Operator::Arithmetic => {
                Ok(if is_scalar { Yields::Scalar } else { Yields::Vector })
            }
        }
    }

    /// `on (a)`, `ignoring (a) group_left (b)`.
    fn matching(&mut self, operator: Operator) -> Result<(), Wrong> {
        if !(self.took_word("on") || self.took_word("ignoring")) {
            return Ok(());
        }
        self.labels()?;
        if self.is_word("group_left") || self.is_word("group_right") {
            if operator == Operator::Set {
                return Err(self.wrong("and, or and unless take no group_left and no group_right"));
            }
            self.next += 1;
            if self.is_symbol("(") {
                self.labels()?;
            }
        }
        Ok(())
    }

    fn signed(&mut self) -> Result<Yields, Wrong> {
        if !(self.is_symbol("-") || self.is_symbol("+")) {
            return self.with_time();
        }
        let at = self.take();
        // A sign binds like a multiplication: -1 ^ 2 is -(1 ^ 2).
        match self.expression(6)? {
            yields @ (Yields::Scalar | Yields::Vector) => Ok(yields),
            other => Err(Wrong::at(self.query, at.at, format!("{:?} cannot be used on {other}", at.text))),
        }
    }

    /// A part with what follows it: a range, an offset, a time.
    fn with_time(&mut self) -> Result<Yields, Wrong> {
        let (mut yields, mut is_selector) = self.part()?;
        loop {
            if self.is_symbol("[") {
                let at = self.take();
                self.duration()?;
                let is_subquery = self.took_symbol(":");
                if is_subquery && !self.is_symbol("]") {
                    self.duration()?;
                }
                self.expect("]")?;
                if yields != Yields::Vector || !is_subquery && !is_selector {
                    let what =
                        "a range is taken of a selector; of other vectors take a subquery, such as [5m:1m]";
                    return Err(Wrong::at(self.query, at.at, what));
                }
                (yields, is_selector) = (Yields::Range, false);
            } else if self.took_word("offset") {
                let _ = self.took_symbol("-") || self.took_symbol("+");
                self.duration()?;
            } else if self.took_symbol("@") {
                let _ = self.took_symbol("-") || self.took_symbol("+");
                if self.took_word("start") || self.took_word("end") {
                    self.expect("(")?;
                    self.expect(")")?;
                } else if self.take().kind != TokenKind::Number {
                    self.next -= 1;
                    return Err(self.wrong("expected a time in seconds after @"));
                }
            } else {
                return Ok(yields);
            }
        }
    }

    fn duration(&mut self) -> Result<(), Wrong> {
        match self.peek().kind {
            TokenKind::Duration | TokenKind::Number => {
                self.next += 1;
                Ok(())
            }
            _ => Err(self.wrong(&format!("expected a duration such as 5m, and found {}", said(self.peek())))),
        }
    }

    /// What it yields, and whether it is a selector, of which a range can be taken.
    fn part(&mut self) -> Result<(Yields, bool), Wrong> {
        let token = self.peek();
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                self.next += 1;
                Ok((Yields::Scalar, false))
            }
            TokenKind::Text => {
                self.next += 1;
                Ok((Yields::Text, false))
            }
            TokenKind::Symbol if token.text == "(" => {
                self.next += 1;
                let yields = self.expression(0)?;
                self.expect(")")?;
                Ok((yields, false))
            }
            TokenKind::Symbol if token.text == "{" => {
                self.matchers(None)?;
                Ok((Yields::Vector, true))
            }
            TokenKind::Name => self.named(),
            TokenKind::Symbol | TokenKind::End => {
                Err(self.wrong(&format!("expected a value, and found {}", said(token))))
            }
        }
    }

    fn named(&mut self) -> Result<(Yields, bool), Wrong> {
        let name = self.take();
        let lower = name.text.to_ascii_lowercase();
        let is_call = self.is_symbol("(");
        if AGGREGATIONS.contains(&lower.as_str())
            && (is_call || self.is_word("by") || self.is_word("without"))
        {
            return self.aggregation(&lower).map(|()| (Yields::Vector, false));
        }
        if is_call {
            return self.call(name.text).map(|yields| (yields, false));
        }
        if matches!(lower.as_str(), "inf" | "nan") {
            return Ok((Yields::Scalar, false));
        }
        if operator(name).is_some() {
            self.next -= 1;
            return Err(self.wrong(&format!("expected a value, and found {}", said(name))));
        }
        if self.is_symbol("{") {
            self.matchers(Some(name.text))?;
        }
        Ok((Yields::Vector, true))
    }

    fn aggregation(&mut self, name: &str) -> Result<(), Wrong> {
        let grouped = self.grouping()?;
        let at = self.peek();
        let arguments = self.arguments()?;
        if !grouped {
            self.grouping()?;
        }
        let wanted = if WITH_PARAMETER.contains(&name) { 2 } else { 1 };
        match arguments.as_slice() {
            [.., Yields::Vector] if arguments.len() == wanted => Ok(()),
            [.., other] if arguments.len() == wanted => {
                Err(Wrong::at(self.query, at.at, format!("{name} needs a vector, and this is {other}")))
            }
            _ => Err(Wrong::at(self.query, at.at, format!("{name} takes {wanted} argument(s)"))),
        }
    }

    fn grouping(&mut self) -> Result<bool, Wrong> {
        let is_there = self.took_word("by") || self.took_word("without");
        if is_there {
            self.labels()?;
        }
        Ok(is_there)
    }

    fn call(&mut self, name: &'q str) -> Result<Yields, Wrong> {
        if !self.calls.contains(&name) {
            self.calls.push(name);
        }
        let at = self.peek();
        let arguments = self.arguments()?;
        let is_of_ranges = OF_RANGES.contains(&name) || name.ends_with("_over_time");
        let wrong = |what: String| Err(Wrong::at(self.query, at.at, what));
        if is_of_ranges && !arguments.contains(&Yields::Range) {
            return wrong(format!("{name} needs a range of values, such as x[5m]"));
        }
        if OF_VECTORS.contains(&name) && arguments.first() != Some(&Yields::Vector) {
            return wrong(format!("{name} needs a vector"));
        }
        if name == "histogram_quantile" && arguments != [Yields::Scalar, Yields::Vector] {
            return wrong(format!("{name} needs a scalar and a vector"));
        }
        Ok(if SCALARS.contains(&name) { Yields::Scalar } else { Yields::Vector })
    }

    fn arguments(&mut self) -> Result<Vec<Yields>, Wrong> {
        let mut arguments = Vec::new();
        self.expect("(")?;
        while !self.is_symbol(")") {
            arguments.push(self.expression(0)?);
            if !self.took_symbol(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(arguments)
    }
}
