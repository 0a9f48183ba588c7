//! Values of which only bounds are known: which values have to be tried, so that an expression is tried on all that matter.
//!
//! An expression that only compares a value with numbers changes its truth only at these numbers. So the bounds, the
//! numbers between them, and one value between any two of these stand for all values.

use std::collections::BTreeSet;

use cel::common::ast::{Expr, IdedExpr, operators as op};

use super::FieldValue;
use super::evaluate::constant;
use super::tree::{children, path};

const COMPARISONS: [&str; 6] =
    [op::LESS, op::LESS_EQUALS, op::GREATER, op::GREATER_EQUALS, op::EQUALS, op::NOT_EQUALS];

/// The values to try for a field of a signal, of which the bounds are known: at least one. None if the expression does more
/// with it than compare it with numbers.
pub(super) fn values(
    tree: &IdedExpr,
    signal: &str,
    field: &str,
    least: &FieldValue,
    most: &FieldValue,
) -> Option<Vec<FieldValue>> {
    if least == most {
        return Some(vec![least.clone()]);
    }
    let mut numbers = Vec::new();
    if !find(tree, &["signals", signal, field], &mut numbers) {
        return None;
    }
    match (least, most) {
        (FieldValue::Int(least), FieldValue::Int(most)) => {
            Some(whole(*least, *most, &numbers).map(FieldValue::Int).collect())
        }
        (FieldValue::Double(least), FieldValue::Double(most)) if least <= most => {
            Some(real(*least, *most, &numbers).into_iter().map(FieldValue::Double).collect())
        }
        _ => None,
    }
}

/// Adds the numbers with which a field is compared. Returns whether nothing else is done with it.
fn find(node: &IdedExpr, field: &[&str], numbers: &mut Vec<f64>) -> bool {
    let is_field = |node: &IdedExpr| path(node).as_deref() == Some(field);
    if let Expr::Call(call) = &node.expr
        && COMPARISONS.contains(&call.func_name.as_str())
        && let [left, right] = call.args.as_slice()
        && let Some(other) = is_field(left).then_some(right).or_else(|| is_field(right).then_some(left))
        && let Some(number) = constant(other)
    {
        numbers.push(number);
        return true;
    }
    !is_field(node) && children(node).into_iter().all(|child| find(child, field, numbers))
}

fn real(least: f64, most: f64, numbers: &[f64]) -> Vec<f64> {
    let mut edges: Vec<f64> = numbers.iter().copied().filter(|edge| *edge > least && *edge < most).collect();
    edges.extend([least, most]);
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    let between = |pair: &[f64]| match pair {
        [low, high] if high.is_infinite() => Some(low.abs() * 2.0 + 1.0),
        [low, high] => Some(low + (high - low) / 2.0),
        _ => None,
    };
    let between: Vec<f64> = edges.windows(2).filter_map(between).collect();
    edges.extend(between);
    edges
}

fn whole(least: i64, most: i64, numbers: &[f64]) -> impl Iterator<Item = i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast saturates, and what is outside the bounds is left out"
    )]
    let near = numbers.iter().map(|number| number.floor() as i64);
    let near =
        near.flat_map(|edge| [edge.saturating_sub(1), edge, edge.saturating_add(1), edge.saturating_add(2)]);
    let values: BTreeSet<i64> =
        near.filter(|edge| (least..=most).contains(edge)).chain([least, most]).collect();
    values.into_iter()
}

#[cfg(test)]
mod tests {
    use cel::parser::PrattParser;

    use super::*;

    fn tried(source: &str, least: FieldValue, most: FieldValue) -> Option<Vec<FieldValue>> {
        values(&PrattParser::new().parse(source).unwrap(), "s", "v", &least, &most)
    }

    #[test]
    fn each_stretch_between_two_numbers_is_tried_once_and_each_number() {
        let real = |source: &str, least, most| {
            tried(source, FieldValue::Double(least), FieldValue::Double(most)).map(|values| {
                let number = |value| match value {
                    FieldValue::Double(number) => number,
                    other => panic!("{other:?}"),
                };
                let mut numbers: Vec<f64> = values.into_iter().map(number).collect();
                numbers.sort_by(f64::total_cmp);
                numbers
            })
        };
        assert_eq!(real("signals.s.v > 0.5", 0.0, 0.25), Some(vec![0.0, 0.125, 0.25]));
        let around = "signals.s.v > 0.25 && !(0.5 <= signals.s.v) || signals.o.v > 0.3";
        assert_eq!(real(around, 0.0, 1.0), Some(vec![0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0]));
        assert_eq!(
            real("signals.s.v > 1.0", 0.0, f64::INFINITY),
            Some(vec![0.0, 0.5, 1.0, 3.0, f64::INFINITY])
        );
        assert_eq!(real("signals.s.v == -0.5 || signals.s.v > 3.0 / 4.0", 0.75, 0.75), Some(vec![0.75]));
    }

    #[test]
    fn whole_numbers_are_tried_beside_those_of_the_expression() {
        let whole = |source: &str, least, most| tried(source, FieldValue::Int(least), FieldValue::Int(most));
        let found = whole("signals.s.v > 2 * 1024", 5, i64::MAX).unwrap();
        assert_eq!(found, [5, 2047, 2048, 2049, 2050, i64::MAX].map(FieldValue::Int));
    }

    #[test]
    fn a_value_that_is_computed_with_cannot_be_tried() {
        for source in [
            "signals.s.v * 2.0 > 1.0",
            "signals.s.v > signals.o.v",
            "signals.s.v > 0.5 && signals.s.v < signals.o.v",
            "[signals.s.v].exists(x, x > 0.5)",
        ] {
            assert_eq!(tried(source, FieldValue::Double(0.0), FieldValue::Double(1.0)), None, "{source}");
        }
    }
}
