//! When two values are equal, whatever their notation.

use std::borrow::Cow;

use serde_json::Value;

use crate::flag;
use crate::path::FieldPath;
use crate::seal;

/// Whether `left` and `right` mean the same at `path`. Absent and `null` are
/// the same; numbers compare by value; quantities (below `limits` and
/// `requests`) by amount, so `"16384Mi"` is `"16Gi"` and `4` is `"4"`; a sealed value is the one that it
/// seals; the rest compares canonically.
pub fn same(path: &FieldPath, left: Option<&Value>, right: Option<&Value>) -> bool {
    let plain = |value: Option<&'_ Value>| {
        value.filter(|value| !value.is_null()).map(|value| of_field(path, value).into_owned())
    };
    let (left, right) = (plain(left), plain(right));
    match (left.as_ref(), right.as_ref()) {
        (None, None) => true,
        (Some(left), Some(right)) if seal::is_seal(left) || seal::is_seal(right) => {
            seal::seal(left) == seal::seal(right)
        }
        (Some(left), Some(right)) if left == right => true,
        (Some(left), Some(right)) if path.is_quantity() => match (quantity(left), quantity(right)) {
            (Some(left), Some(right)) => left == right,
            _ => false,
        },
        (Some(left), Some(right)) => canonical_eq(left, right),
        _ => false,
    }
}

/// One form for all values that are the [`same`] at `path`.
pub fn canonical(path: &FieldPath, value: Option<&Value>) -> Value {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Value::Null };
    let value = of_field(path, value);
    match quantity(&value).filter(|_| path.is_quantity()) {
        Some(amount) => Value::String(amount.to_string()),
        None if value.is_string() => seal::seal(&value),
        None => with_one_kind_of_number(&value),
    }
}

fn with_one_kind_of_number(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
        Value::Array(items) => items.iter().map(with_one_kind_of_number).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), with_one_kind_of_number(value)));
            Value::Object(members.collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// The value that the field has, without where a removed flag stood.
pub fn of_field<'a>(path: &FieldPath, value: &'a Value) -> Cow<'a, Value> {
    if path.is_flag() { flag::value(value) } else { Cow::Borrowed(value) }
}

/// The amount of a quantity in billionths, if the value is one. Kubernetes itself stores nothing
/// finer. Source of the suffixes: the API documentation of `Quantity`.
pub fn quantity(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let nanos = decimal_nanos(number)?;
    let scale = |factor: i128| nanos.checked_mul(factor);
    let divide = |divisor: i128| (nanos % divisor == 0).then_some(nanos / divisor);
    match suffix {
        "" => Some(nanos),
        "n" => divide(1_000_000_000),
        "u" => divide(1_000_000),
        "m" => divide(1000),
        "k" => scale(1000),
        "M" => scale(1_000_000),
        "G" => scale(1_000_000_000),
        "T" => scale(1_000_000_000_000),
        "P" => scale(1_000_000_000_000_000),
        "E" => scale(1_000_000_000_000_000_000),
        "Ki" => scale(1 << 10),
        "Mi" => scale(1 << 20),
        "Gi" => scale(1 << 30),
        "Ti" => scale(1 << 40),
        "Pi" => scale(1 << 50),
        "Ei" => scale(1 << 60),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            let power: i32 = digits.parse().ok().filter(|power| (-9..=18).contains(power))?;
            let factor = 10_i128.checked_pow(power.unsigned_abs())?;
            if power < 0 { divide(factor) } else { scale(factor) }
        }
    }
}

/// A plain decimal number in billionths.
fn decimal_nanos(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if digits.len() > 24
        || fraction.len() > 9
        || (whole.is_empty() && fraction.is_empty())
        || !plain(whole)
        || !plain(fraction)
    {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
    let nanos = whole.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    Some(if negative { -nanos } else { nanos })
}

/// The whole number that a value is, or that its text contains.
pub fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether the value is a zero quantity, or absent.
pub fn is_zero(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || quantity(value) == Some(0))
}

fn canonical_eq(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| canonical_eq(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, l)| right.get(key).is_some_and(|r| canonical_eq(l, r)))
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_compare_by_amount_and_only_where_they_are_quantities() {
        let memory: FieldPath = "/spec/resources/limits/memory".parse().unwrap();
        let gpu: FieldPath = "/spec/resources/requests/nvidia.com~1gpu".parse().unwrap();
        let other: FieldPath = "/spec/version".parse().unwrap();
        assert!(same(&memory, Some(&json!("16384Mi")), Some(&json!("16Gi"))));
        assert!(same(&gpu, Some(&json!(4)), Some(&json!("4"))));
        assert!(!same(&gpu, Some(&json!("4")), None));
        assert!(!same(&other, Some(&json!("16384Mi")), Some(&json!("16Gi"))));
        assert!(!same(&other, Some(&json!("1")), Some(&json!(1))));
    }

    #[test]
    fn every_suffix_is_read() {
        let equal = [
            ("1", "1000m"),
            ("1k", "1e3"),
            ("1Gi", "1024Mi"),
            ("0.5Ki", "512"),
            ("1500u", "1.5m"),
            ("1E", "1e18"),
            ("2e-3", "2m"),
        ];
        for (left, right) in equal {
            assert!(quantity(&json!(left)).is_some(), "{left}");
            assert_eq!(quantity(&json!(left)), quantity(&json!(right)), "{left} {right}");
        }
        for text in ["", "banana", "1.2.3", "Ki", "1 Gi", "--1", "1e99", "0x1"] {
            assert_eq!(quantity(&json!(text)), None, "{text}");
        }
    }

    #[test]
    fn absent_and_null_are_the_same() {
        let path: FieldPath = "/spec/replicas".parse().unwrap();
        assert!(same(&path, Some(&Value::Null), None));
    }

    #[test]
    fn zero_has_many_spellings() {
        assert!(
            is_zero(None)
                && is_zero(Some(&json!("0")))
                && is_zero(Some(&json!(0)))
                && is_zero(Some(&json!("0m")))
        );
        assert!(!is_zero(Some(&json!("1"))) && !is_zero(Some(&json!("four"))));
    }
}
