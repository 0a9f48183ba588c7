//! Runs an accepted expression, and distinguishes missing data from a mistake in it.

use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, Expr, IdedExpr};
use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError, Value};
use serde_json::Value as Json;

use super::check::{Checked, SignalRead};
use super::error::ExpressionError;
use super::kind::{Kind, symbol};
use super::tree::children;
use super::value::{Boxed, field_value, map, object_value};
use super::{Evaluation, FieldValue, Readings};
use crate::verdict::Verdict;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Evaluates an expression over signals.
pub(super) fn over_signals(checked: &Checked, readings: &Readings) -> Evaluation {
    match run_over_signals(checked, readings) {
        Ok(truth) => Evaluation::known(truth),
        Err(failure) => match checked.reads.iter().find(|read| failure.is_for_lack_of(read, readings)) {
            Some(read) => Evaluation::missing(format!("{read} has no value")),
            None => Evaluation::failed(failure.explain()),
        },
    }
}

/// Evaluates an expression over an object.
pub(super) fn over_object(checked: &Checked, object: &Json, healthy: Option<Verdict>) -> Evaluation {
    let mut variables: Vec<(&str, Boxed<'_>)> = Vec::new();
    if let Some(truth) = healthy.and_then(Verdict::known) {
        variables.push(("healthy", Box::new(CelBool::from(truth))));
    }
    match object_value(object, &checked.object, checked.has_comprehension) {
        Ok(object) => variables.push(("object", object)),
        Err(too_long) => return Evaluation::missing(too_long.to_string()),
    }
    match run(checked, variables) {
        Ok(truth) => Evaluation::known(truth),
        Err(Failure::Cel(ExecutionError::NoSuchKey(key))) => {
            // A key that is not in the text is a value from the object.
            let key = Some(key.as_str()).filter(|key| checked.source.contains(key));
            Evaluation::missing(format!("the object has no {}", key.unwrap_or("such field")))
        }
        // Only `healthy` can be without a value, because the check accepts no unknown name.
        Err(Failure::Cel(ExecutionError::UndeclaredReference(_))) => {
            Evaluation::missing("healthy is Unknown".to_owned())
        }
        Err(failure) => Evaluation::failed(failure.explain()),
    }
}

/// Evaluates a condition over complete readings in which every value is 0, or 1, or large. The
/// checks leave gaps, such as what a conditional gives; this closes most of them.
pub(super) fn rehearse(checked: &Checked) -> Result<(), ExpressionError> {
    for number in [0_i32, 1, 1_000_000] {
        let mut readings = Readings::new();
        for read in &checked.reads {
            let fields = readings.entry(read.signal.clone()).or_default();
            let value = fields.entry(read.field.clone()).or_insert_with(|| match read.kind {
                _ if read.key.is_some() => FieldValue::Map([].into()),
                Kind::Double => FieldValue::Double(f64::from(number)),
                Kind::Boolean => FieldValue::Boolean(number == 1),
                _ => FieldValue::Int(number.into()),
            });
            if let (FieldValue::Map(map), Some(key)) = (value, &read.key) {
                map.insert(key.clone(), number.into());
            }
        }
        run_over_signals(checked, &readings).map_err(|failure| match failure {
            Failure::NotBoolean(kind) => ExpressionError::NotBoolean(kind),
            failure => ExpressionError::Fails(number, failure.explain()),
        })?;
    }
    Ok(())
}

/// Whether CEL can compile the regular expression.
pub(super) fn is_pattern(pattern: &IdedExpr) -> bool {
    let matches = CallExpr {
        func_name: "matches".to_owned(),
        target: None,
        args: vec![pattern.clone(), pattern.clone()],
    };
    let call = IdedExpr { id: 0, expr: Expr::Call(matches) };
    Value::resolve(&call, &Context::with_env(Arc::clone(&ENVIRONMENT))).is_ok()
}

/// The number that a part of an expression always is; none if it reads something, or is no number.
pub(super) fn constant(node: &IdedExpr) -> Option<f64> {
    fn reads(node: &IdedExpr) -> bool {
        matches!(node.expr, Expr::Ident(_) | Expr::Comprehension(_)) || children(node).into_iter().any(reads)
    }
    if reads(node) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "amounts of bytes are far below 2^52")]
    match Value::resolve(node, &Context::with_env(Arc::clone(&ENVIRONMENT))).ok()? {
        Value::Int(number) => Some(number as f64),
        Value::UInt(number) => Some(number as f64),
        Value::Float(number) if !number.is_nan() => Some(number),
        _ => None,
    }
}

fn run_over_signals(checked: &Checked, readings: &Readings) -> Result<bool, Failure> {
    let read = readings.iter().filter(|(name, _)| checked.signals.contains(*name));
    let signals = map(read.map(|(name, fields)| {
        let values = fields.iter().filter_map(|(name, value)| Some((name, field_value(value)?)));
        (name, map(values))
    }));
    run(checked, [("signals", signals)])
}

fn run<'v>(
    checked: &Checked,
    variables: impl IntoIterator<Item = (&'static str, Boxed<'v>)>,
) -> Result<bool, Failure> {
    let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
    for (name, value) in variables {
        context.add_variable_as_val(name, value);
    }
    match Value::resolve(&checked.tree, &context) {
        Ok(Value::Bool(truth)) => Ok(truth),
        Ok(other) => Err(Failure::NotBoolean((&other).into())),
        Err(error) => Err(Failure::Cel(error)),
    }
}

/// Why an evaluation yielded no truth.
enum Failure {
    NotBoolean(Kind),
    Cel(ExecutionError),
}

impl Failure {
    /// Whether it failed where this value is read, because the value is missing.
    fn is_for_lack_of(&self, read: &SignalRead, readings: &Readings) -> bool {
        let Self::Cel(ExecutionError::NoSuchKey(failed_at)) = self else {
            return false;
        };
        let missing = match readings.get(&read.signal).map(|fields| fields.get(&read.field)) {
            None => Some(&read.signal),
            Some(None) => Some(&read.field),
            Some(Some(FieldValue::Map(map))) => read.key.as_ref().filter(|key| !map.contains_key(*key)),
            Some(Some(value)) => field_value(value).is_none().then_some(&read.field),
        };
        missing == Some(failed_at)
    }

    /// One line without values, because CEL's own texts print whole objects.
    fn explain(&self) -> String {
        use ExecutionError as E;
        let cel = match self {
            Self::NotBoolean(kind) => return format!("must be a Boolean, but is {kind}"),
            Self::Cel(error) => error,
        };
        let kinds = |values: &[&Value]| {
            let kinds: Vec<String> = values.iter().map(|it| Kind::from(*it).to_string()).collect();
            kinds.join(" and ")
        };
        match cel {
            E::Overflow(operator, ..) => format!("the result of `{operator}` is too large"),
            E::DivisionByZero(_) | E::RemainderByZero(_) => "division by zero".to_owned(),
            E::IndexOutOfBounds(_) => "the list has no element with this index".to_owned(),
            E::NoSuchKey(_) => "the map has no such key".to_owned(),
            E::UnsupportedBinaryOperator(operator, left, right) => {
                format!("`{operator}` does not work on {}", kinds(&[left, right]))
            }
            E::ValuesNotComparable(left, right) => {
                format!("{} cannot be compared", kinds(&[left, right]))
            }
            E::NoSuchOverload(call) => match call.argument_types() {
                [left, right] if left == "double" && right == "double" => {
                    "a result is not a number".to_owned()
                }
                types => {
                    let kinds: Vec<String> = types.iter().map(|name| Kind::named(name).to_string()).collect();
                    let operator = symbol(call.function());
                    format!("`{operator}` does not work on {}", kinds.join(" and "))
                }
            },
            E::UnexpectedType { got, .. } => format!("{} cannot be used here", Kind::named(got)),
            E::FunctionError { function, .. } => format!("{function}() cannot use this value"),
            _ => "it cannot be evaluated".to_owned(),
        }
    }
}
