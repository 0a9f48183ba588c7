//! Names that others have written and that become part of a URL.

/// Whether an object can have this name: small letters, digits, dashes and dots, as in a DNS subdomain, or
/// colons, as in names of roles.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:".contains(&byte);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(plain) && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_means_something_in_a_url_is_a_name() {
        assert!(is_name("llama-7b.v2") && is_name("system:node"));
        for text in ["", "..", "a/b", "a b", "a?x=1", "a%2f", "A", "a..b", "a#b"] {
            assert!(!is_name(text), "{text:?}");
        }
        assert!(!is_name(&"a".repeat(254)));
    }
}
