//! Label selectors in the text form of the API's query parameter.

use firebreak_engine::policy::{LabelOperator, LabelRequirement, LabelSelector};

/// The selector as the query parameter; empty for everything.
///
/// # Errors
/// A text for people if a key or value has characters that no label has. They
/// could otherwise add requirements (`b,c=d`) and so change which
/// objects are selected.
pub fn selector_text(selector: Option<&LabelSelector>) -> Result<String, String> {
    let Some(selector) = selector else { return Ok(String::new()) };
    let mut parts = Vec::new();
    for (key, value) in &selector.match_labels {
        parts.push(format!("{}={}", checked_key(key)?, checked_value(&value.0)?));
    }
    for requirement in &selector.match_expressions {
        parts.push(requirement_text(requirement)?);
    }
    Ok(parts.join(","))
}

fn requirement_text(requirement: &LabelRequirement) -> Result<String, String> {
    let key = checked_key(&requirement.key)?;
    let values: Result<Vec<&str>, String> =
        requirement.values.iter().map(|value| checked_value(&value.0)).collect();
    let values = values?;
    match requirement.operator {
        LabelOperator::In | LabelOperator::NotIn if values.is_empty() => {
            Err(format!("the selector's requirement on {key} needs values"))
        }
        LabelOperator::Exists | LabelOperator::DoesNotExist if !values.is_empty() => {
            Err(format!("the selector's requirement on {key} takes no values"))
        }
        LabelOperator::In => Ok(format!("{key} in ({})", values.join(","))),
        LabelOperator::NotIn => Ok(format!("{key} notin ({})", values.join(","))),
        LabelOperator::Exists => Ok(key.to_owned()),
        LabelOperator::DoesNotExist => Ok(format!("!{key}")),
    }
}

fn checked_key(key: &str) -> Result<&str, String> {
    if !key.is_empty() && key.bytes().all(|byte| is_label_byte(byte) || byte == b'/') {
        Ok(key)
    } else {
        Err(format!("{key:?} is not a valid label name"))
    }
}

fn checked_value(value: &str) -> Result<&str, String> {
    if value.bytes().all(is_label_byte) {
        Ok(value)
    } else {
        Err(format!("{value:?} is not a valid label value"))
    }
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firebreak_engine::policy::LabelValue;

    fn requirement(operator: LabelOperator, values: &[&str]) -> LabelRequirement {
        let values = values.iter().map(|value| LabelValue((*value).to_owned())).collect();
        LabelRequirement { key: "a/b".to_owned(), operator, values }
    }

    #[test]
    fn a_selector_is_written_as_the_api_reads_it() {
        let selector = LabelSelector {
            match_labels: [("nvidia.com/gpu".to_owned(), LabelValue("true".to_owned()))].into(),
            match_expressions: vec![
                requirement(LabelOperator::In, &["x", "y"]),
                requirement(LabelOperator::NotIn, &["z"]),
                requirement(LabelOperator::Exists, &[]),
                requirement(LabelOperator::DoesNotExist, &[]),
            ],
        };
        let text = selector_text(Some(&selector)).unwrap();
        assert_eq!(text, "nvidia.com/gpu=true,a/b in (x,y),a/b notin (z),a/b,!a/b");
        assert_eq!(selector_text(None).unwrap(), "");
    }

    #[test]
    fn a_selector_cannot_say_more_than_it_seems_to() {
        let label = |key: &str, value: &str| LabelSelector {
            match_labels: [(key.to_owned(), LabelValue(value.to_owned()))].into(),
            ..LabelSelector::default()
        };
        for selector in [label("a", "b,c=d"), label("a,b", "c"), label("", "x"), label("a", "b&limit=1")] {
            assert!(selector_text(Some(&selector)).is_err(), "{selector:?}");
        }
        for bad in [requirement(LabelOperator::In, &[]), requirement(LabelOperator::Exists, &["x"])] {
            let selector = LabelSelector { match_expressions: vec![bad], ..LabelSelector::default() };
            assert!(selector_text(Some(&selector)).is_err());
        }
    }
}
