//! Places in an object: where a field is, and what an Application ignores, as a JSON pointer or as a jq expression.
//!
//! Of jq, only paths are understood: keys, `[]`, and `select` of one member of each element. Everything else is not
//! known, never a guess.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use crate::path::{FieldPath, Segment};
use crate::verdict::Verdict;

/// One step on the way to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A member of a map.
    Key(String),
    /// The elements of a list: all, or those whose member has this value.
    Elements(Option<(String, String)>),
}

/// The steps to a field. A flag is some of the elements of its list, which are ignored all or not at all.
pub(super) fn of_field(path: &FieldPath) -> Vec<Step> {
    let step = |segment: &Segment| match segment {
        Segment::Key(key) => Step::Key(key.clone()),
        Segment::Element { key, value } => Step::Elements(Some((key.clone(), value.clone()))),
        Segment::Flag(_) => Step::Elements(None),
    };
    path.segments().iter().map(step).collect()
}

/// Whether a JSON pointer covers the place: it points to it or to something around it. The index of an element says
/// where it is in this object, and not where it is in Git, so such a pointer is Unknown at best.
pub(super) fn pointer_covers(pointer: &str, place: &[Step], object: &Value) -> Verdict {
    let Some(tokens) = pointer.strip_prefix('/') else { return Verdict::False };
    let mut covers = Verdict::True;
    let mut steps = place.iter();
    let mut at = Some(object);
    for token in tokens.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")) {
        match steps.next() {
            Some(Step::Key(key)) if *key == token => at = at.and_then(|at| at.get(key)),
            Some(Step::Elements(Some((key, value)))) => {
                let index: Option<usize> = token.parse().ok();
                at = at.zip(index).and_then(|(list, index)| list.get(index));
                if at.and_then(|element| element.get(key)).and_then(Value::as_str) != Some(value.as_str()) {
                    return Verdict::False;
                }
                covers = Verdict::Unknown;
            }
            Some(Step::Key(_) | Step::Elements(None)) | None => return Verdict::False,
        }
    }
    covers
}

/// Whether a jq expression covers the place: it selects it or something around it. Argo CD deletes what it selects.
pub(super) fn covers(selected: Option<&[Step]>, place: &[Step]) -> Verdict {
    let Some(selected) = selected else { return Verdict::Unknown };
    if selected.is_empty() {
        return Verdict::False;
    }
    let last = selected.len() - 1;
    let around =
        selected.iter().zip(place).enumerate().map(|(at, (selected, step))| match (selected, step) {
            (Step::Key(selected), Step::Key(key)) => Verdict::from(selected == key),
            // jq has no keys in a list.
            (Step::Key(_), Step::Elements(_)) => Verdict::False,
            (Step::Elements(None), Step::Elements(_)) => Verdict::True,
            // All members of a map; what comes after them is an error in those that have no such member.
            (Step::Elements(None), Step::Key(_)) if at == last => Verdict::True,
            (Step::Elements(Some((selected, value))), Step::Elements(Some((key, name))))
                if selected == key =>
            {
                Verdict::from(value == name)
            }
            (Step::Elements(_), Step::Key(_)) | (Step::Elements(Some(_)), Step::Elements(_)) => {
                Verdict::Unknown
            }
        });
    let around = around.fold(Verdict::True, Verdict::and);
    // All elements or members of the field are all of it. Of a field without any, that is an error.
    match selected.get(place.len()..) {
        None | Some([]) => around,
        Some(rest) if rest.iter().all(|step| *step == Step::Elements(None)) => around.and(Verdict::Unknown),
        Some(_) => Verdict::False,
    }
}

/// The steps of a jq path; none if it is more than a path, or not understood.
pub(super) fn parse(expression: &str) -> Option<Vec<Step>> {
    let mut reader = Reader { rest: expression.chars().peekable() };
    let mut steps = Vec::new();
    reader.path(&mut steps)?;
    while reader.take('|') {
        if reader.take_word("select") {
            let which = reader.selection()?;
            match steps.last_mut() {
                Some(Step::Elements(chosen @ None)) => *chosen = Some(which),
                _ => return None,
            }
        } else {
            reader.path(&mut steps)?;
        }
    }
    reader.is_at_the_end().then_some(steps)
}

/// Reads an expression from left to right. Whatever does not fit ends the reading.
struct Reader<'e> {
    rest: Peekable<Chars<'e>>,
}

impl Reader<'_> {
    fn skip_blanks(&mut self) {
        while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
    }

    fn is_at_the_end(&mut self) -> bool {
        self.skip_blanks();
        self.rest.peek().is_none()
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_blanks();
        self.rest.next_if_eq(&wanted).is_some()
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        self.skip_blanks();
        let mut ahead = self.rest.clone();
        let found: String =
            std::iter::from_fn(|| ahead.next_if(|c| c.is_ascii_alphanumeric() || *c == '_')).collect();
        if found == wanted {
            self.rest = ahead;
        }
        found == wanted
    }

    /// A path from its first dot.
    fn path(&mut self, steps: &mut Vec<Step>) -> Option<()> {
        if !self.take('.') {
            return None;
        }
        // A dot alone is the object itself.
        match self.key_after_dot() {
            Some(key) => steps.push(Step::Key(key?)),
            None => self.skip_blanks(),
        }
        loop {
            if self.take('?') {
                continue;
            }
            if self.take('[') {
                if self.take(']') {
                    steps.push(Step::Elements(None));
                } else {
                    steps.push(Step::Key(self.text()?));
                    self.take(']').then_some(())?;
                }
            } else if self.take('.') {
                match self.key_after_dot() {
                    Some(key) => steps.push(Step::Key(key?)),
                    // `.a.["b"]` is `.a["b"]`.
                    None => self.rest.peek().filter(|c| **c == '[').map(|_| ())?,
                }
            } else {
                return Some(());
            }
        }
    }

    /// The key that follows a dot, as a word or as a text; the inner none if the text is not understood, the outer one
    /// if there is neither.
    fn key_after_dot(&mut self) -> Option<Option<String>> {
        match self.rest.peek()? {
            '"' => Some(self.text()),
            c if c.is_ascii_alphabetic() || *c == '_' => {
                let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                Some(Some(std::iter::from_fn(|| self.rest.next_if(is_part)).collect()))
            }
            _ => None,
        }
    }

    /// A text in quotes. One that computes something is not understood.
    fn text(&mut self) -> Option<String> {
        if !self.take('"') {
            return None;
        }
        let mut quoted = "\"".to_owned();
        loop {
            let c = self.rest.next()?;
            quoted.push(c);
            match c {
                '\\' => quoted.push(self.rest.next().filter(|escaped| *escaped != '(')?),
                '"' => return serde_json::from_str(&quoted).ok(),
                _ => {}
            }
        }
    }

    /// `(.key == "value")`.
    fn selection(&mut self) -> Option<(String, String)> {
        self.take('(').then_some(())?;
        let mut member = Vec::new();
        self.path(&mut member)?;
        (self.take('=') && self.rest.next_if_eq(&'=').is_some()).then_some(())?;
        let value = self.text()?;
        self.take(')').then_some(())?;
        match <[Step; 1]>::try_from(member).ok()? {
            [Step::Key(key)] => Some((key, value)),
            [Step::Elements(_)] => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(path: &str) -> Vec<Step> {
        of_field(&path.parse().unwrap())
    }

    const LIMIT: &str = "/spec/template/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu";
    const FLAG: &str = "/spec/template/spec/containers/[name=main]/args/[flag=--max-num-seqs]";

    fn expression_covers(expression: &str, place: &[Step]) -> Verdict {
        covers(parse(expression).as_deref(), place)
    }

    #[test]
    fn a_pointer_covers_what_it_points_to_and_everything_in_it() {
        use Verdict::{False, True, Unknown};
        let object = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "proxy"}, {"name": "main", "args": ["--max-num-seqs=8"]},
        ]}}}});
        let selector = "/spec/nodeSelector/nvidia.com~1gpu";
        let table = [
            ("/spec/replicas", "/spec/replicas", True),
            ("/spec", "/spec/replicas", True),
            ("/spec/replicas/x", "/spec/replicas", False),
            ("/spec/replica", "/spec/replicas", False),
            ("/spec/", "/spec/replicas", False),
            ("spec/replicas", "/spec/replicas", False),
            ("", "/spec/replicas", False),
            ("/", "/spec/replicas", False),
            ("/spec/nodeSelector/nvidia.com~1gpu", selector, True),
            ("/spec/nodeSelector/nvidia.com/gpu", selector, False),
            ("/spec/nodeSelector", selector, True),
            ("/spec/nodeSelector/a~01b", "/spec/nodeSelector/a~01b", True),
            ("/spec/nodeSelector/a~1b", "/spec/nodeSelector/a~01b", False),
            ("/spec/template/spec/containers", LIMIT, True),
            ("/spec/template/spec/containers/1/resources", LIMIT, Unknown),
            ("/spec/template/spec/containers/0/resources", LIMIT, False),
            ("/spec/template/spec/containers/2/resources", LIMIT, False),
            ("/spec/template/spec/containers/-/resources", LIMIT, False),
            ("/spec/template/spec/containers/1/image", LIMIT, False),
            ("/spec/template/spec/containers/1/args", FLAG, Unknown),
            ("/spec/template/spec/containers/1/args/0", FLAG, False),
        ];
        for (pointer, path, covers) in table {
            assert_eq!(pointer_covers(pointer, &place(path), &object), covers, "{pointer} of {path}");
        }
    }

    #[test]
    fn an_expression_covers_what_it_selects_and_everything_in_it() {
        use Verdict::{False, True, Unknown};
        let of_main = r#".spec.template.spec.containers[] | select(.name == "main")"#;
        let of_other = r#".spec.template.spec.containers[] | select(.name == "other") | .resources"#;
        let table = [
            (".spec.replicas", "/spec/replicas", True),
            (" .spec\n.replicas ", "/spec/replicas", True),
            (r#".["spec"]["replicas"]"#, "/spec/replicas", True),
            (r#"."spec".["replicas"]?"#, "/spec/replicas", True),
            (".spec | .replicas", "/spec/replicas", True),
            (".spec", "/spec/replicas", True),
            (".spec.replica", "/spec/replicas", False),
            (".spec.replicas.x", "/spec/replicas", False),
            (".", "/spec/replicas", False),
            (r#".spec.nodeSelector["nvidia.com/gpu"]"#, "/spec/nodeSelector/nvidia.com~1gpu", True),
            (".spec.template.spec.containers[].resources", LIMIT, True),
            (".spec.template.spec.containers[]?.resources.limits", LIMIT, True),
            (of_main, LIMIT, True),
            (&format!("{of_main} | .resources"), LIMIT, True),
            (&format!("{of_main}|.args"), FLAG, True),
            (&format!("{of_main} | .args[]"), FLAG, True),
            (&format!("{of_main} | .args[]"), LIMIT, False),
            (".spec.nodeSelector[]", "/spec/nodeSelector/nvidia.com~1gpu", True),
            (".spec[]", "/spec/replicas", True),
            (".spec[].replicas", "/spec/template/replicas", Unknown),
            (".spec.affinity[]", "/spec/affinity", Unknown),
            (".spec.affinity[].x", "/spec/affinity", False),
            (".other[]", "/spec/replicas", False),
            (r#".spec.template.spec.containers[] | select(.image == "x")"#, LIMIT, Unknown),
            (of_other, LIMIT, False),
            (".spec.template.spec.containers[0].resources", LIMIT, Unknown),
            (".spec.replicas, .spec.strategy", "/spec/replicas", Unknown),
            ("(.spec.replicas)", "/spec/replicas", Unknown),
            (".spec.replicas | select(. > 1)", "/spec/replicas", Unknown),
            (r#".spec | select(.a == "b")"#, "/spec/replicas", Unknown),
            (r#".spec[] | select(.a == "b")"#, "/spec/replicas", Unknown),
            (r#".["sp\(1)ec"]"#, "/spec/replicas", Unknown),
            (".spec..replicas", "/spec/replicas", Unknown),
            (".spec.", "/spec/replicas", Unknown),
            ("..", "/spec/replicas", Unknown),
            (r#".spec["replicas"#, "/spec/replicas", Unknown),
            ("paths", "/spec/replicas", Unknown),
            ("", "/spec/replicas", Unknown),
        ];
        for (expression, path, verdict) in table {
            assert_eq!(expression_covers(expression, &place(path)), verdict, "{expression} of {path}");
        }
    }

    #[test]
    fn what_a_warning_prints_covers_its_field() {
        for path in [LIMIT, FLAG, "/spec/replicas", "/metadata/labels/a.b~1c", "/spec/x/[name=a\"b]/y"] {
            let path: FieldPath = path.parse().unwrap();
            let printed = super::super::jq(&path);
            assert_eq!(expression_covers(&printed, &of_field(&path)), Verdict::True, "{printed}");
        }
    }
}
