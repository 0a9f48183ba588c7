//! The objects of a list, one by one.
//!
//! The objects of a page may be many megabytes, so only one of them is decoded at a time, wherever the answer is cut.

/// How deep the objects of a list are: in an array of the answer's object.
const DEPTH: usize = 2;
/// The most bytes of one object, and of the answer without its objects. The API server accepts no object of 3 MiB.
const LONGEST: usize = 8 << 20;

/// An object, or the answer without its objects, is longer than is read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of it has more than {} MiB", LONGEST >> 20)]
pub(super) struct TooLong;

/// Takes the objects out of the text of a list. What is JSON and what is not is decided by whoever reads the parts.
#[derive(Debug, Default)]
pub(super) struct Elements {
    /// The answer without its objects.
    rest: Vec<u8>,
    /// The object that is arriving.
    element: Vec<u8>,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    in_list: bool,
}

impl Elements {
    /// Takes the next part of the answer. Calls `each` with every object that is complete.
    ///
    /// # Errors
    /// An object does not end. The rest of the answer means nothing.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), TooLong> {
        for byte in bytes {
            if self.in_string {
                self.follow_string(*byte);
            } else if self.in_list && self.depth == DEPTH && matches!(byte, b',' | b']') {
                if !self.element.trim_ascii().is_empty() {
                    each(&self.element);
                }
                self.element.clear();
                if *byte == b',' {
                    continue;
                }
                (self.in_list, self.depth) = (false, DEPTH - 1);
            } else {
                self.follow(*byte);
            }
            let opens = self.in_list && self.depth == DEPTH && *byte == b'[' && self.element.is_empty();
            let part = if self.in_list && !opens { &mut self.element } else { &mut self.rest };
            if part.len() >= LONGEST {
                return Err(TooLong);
            }
            part.push(*byte);
        }
        Ok(())
    }

    /// The answer without its objects. It is no JSON if the answer did not arrive as a whole.
    pub(super) fn rest(&self) -> &[u8] {
        &self.rest
    }

    fn follow_string(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' => self.is_escaped = true,
            b'"' => self.in_string = false,
            _ => {}
        }
    }

    fn follow(&mut self, byte: u8) {
        match byte {
            b'"' => self.in_string = true,
            b'{' => self.depth += 1,
            b'[' => {
                self.depth += 1;
                // The answer has no other array there.
                self.in_list |= self.depth == DEPTH;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The objects, and what is left, of an answer that arrives in parts of this many bytes.
    fn split(text: &str, part: usize) -> (Vec<String>, String) {
        let (mut elements, mut found) = (Elements::default(), Vec::new());
        for bytes in text.as_bytes().chunks(part) {
            elements.feed(bytes, |element| found.push(String::from_utf8(element.to_vec()).unwrap())).unwrap();
        }
        (found, String::from_utf8(elements.rest().to_vec()).unwrap())
    }

    #[test]
    fn objects_come_whole_wherever_the_answer_is_cut() {
        let objects = [
            json!({"metadata": {"name": "a", "labels": {}}, "spec": {"list": [[1, 2], [], {"a": [3]}]}}),
            json!({"text": "\"],[\\", "more": "}{", "ä": "\\\\\""}),
            json!({}),
            json!("text, with ] and ,"),
            json!(7),
            json!([1, [2]]),
        ];
        let metadata = json!({"resourceVersion": "5", "continue": "next", "list": "[,]"});
        for (text, rest) in [
            (json!({"items": objects, "metadata": metadata}), json!({"items": [], "metadata": metadata})),
            (
                json!({"kind": "L", "metadata": metadata, "z": objects}),
                json!({"kind": "L", "metadata": metadata, "z": []}),
            ),
        ] {
            for text in [text.to_string(), serde_json::to_string_pretty(&text).unwrap()] {
                for part in 1..text.len() {
                    let (found, left) = split(&text, part);
                    let found: Vec<Value> =
                        found.iter().map(|object| serde_json::from_str(object).unwrap()).collect();
                    assert_eq!(found, objects, "parts of {part}");
                    assert_eq!(serde_json::from_str::<Value>(&left).unwrap(), rest);
                }
            }
        }
    }

    #[test]
    fn a_list_without_objects_has_none() {
        for text in [r#"{"items":[],"metadata":{}}"#, r#"{"items":null}"#, "{}", r#"{"items": [ ]}"#] {
            assert_eq!(split(text, 3).0, Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn no_answer_makes_it_grow() {
        for begin in [r#"{"items":[""#, r#"{"metadata":""#] {
            let mut elements = Elements::default();
            elements.feed(begin.as_bytes(), |_| {}).unwrap();
            let endless = vec![b'x'; LONGEST / 4];
            let fed: Vec<_> = (0..5).map(|_| elements.feed(&endless, |_| {})).collect();
            assert_eq!(fed.iter().filter(|fed| fed.is_ok()).count(), 3, "{begin}");
        }
        let mut elements = Elements::default();
        elements.feed(br#"{"items":["#, |_| {}).unwrap();
        let object = format!("\"{}\",", "x".repeat(LONGEST / 3));
        let mut seen = 0;
        for _ in 0..9 {
            elements.feed(object.as_bytes(), |_| seen += 1).unwrap();
        }
        assert_eq!(seen, 9, "any number of objects may come");
    }

    #[test]
    fn an_answer_that_ends_early_is_no_json() {
        let text = r#"{"items":[{"a":1},{"b":[2]}],"metadata":{"continue":""}}"#;
        for end in 1..text.len() {
            let (_, rest) = split(&text[..end], 7);
            assert!(serde_json::from_str::<Value>(&rest).is_err(), "{rest}");
        }
    }
}
