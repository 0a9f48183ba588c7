//! Lists of labels, and what series must match.

use super::Wrong;
use super::lexer::TokenKind;
use super::parser::{Parser, said};

impl Parser<'_> {
    /// `(a, b)`.
    pub(super) fn labels(&mut self) -> Result<(), Wrong> {
        self.expect("(")?;
        while matches!(self.peek().kind, TokenKind::Name | TokenKind::Text) {
            self.next += 1;
            if !self.took_symbol(",") {
                break;
            }
        }
        self.expect(")")
    }

    /// `{a="b", c=~"d"}`, after the name of a metric if there is one.
    pub(super) fn matchers(&mut self, name: Option<&str>) -> Result<(), Wrong> {
        let at = self.peek();
        self.expect("{")?;
        let mut selects = name.is_some();
        while !self.is_symbol("}") {
            let label = self.take();
            if !matches!(label.kind, TokenKind::Name | TokenKind::Text) {
                self.next -= 1;
                return Err(self.wrong(&format!("expected the name of a label, and found {}", said(label))));
            }
            let compares = ["=", "!=", "=~", "!~"].into_iter().find(|operator| self.took_symbol(operator));
            match compares {
                // The name of a metric in quotes.
                None if label.kind == TokenKind::Text => selects = true,
                None => {
                    return Err(
                        self.wrong(&format!("expected =, !=, =~ or !~, and found {}", said(self.peek())))
                    );
                }
                Some(operator) => {
                    let value = self.take();
                    if value.kind != TokenKind::Text {
                        self.next -= 1;
                        return Err(
                            self.wrong(&format!("expected a text in quotes, and found {}", said(value)))
                        );
                    }
                    // What an absent label matches too selects nothing. Of other patterns that match the empty text,
                    // Prometheus says so.
                    let text = &value.text[1..value.text.len() - 1];
                    let matches_all = text.is_empty() || (operator == "=~" && text == ".*");
                    selects |= if operator.starts_with('=') { !matches_all } else { text.is_empty() };
                }
            }
            if !self.took_symbol(",") {
                break;
            }
        }
        self.expect("}")?;
        match selects {
            true => Ok(()),
            false => Err(Wrong::at(
                self.query,
                at.at,
                "a selector needs a name, or a label that must have a value",
            )),
        }
    }
}
