//! Names by which fields and programs are recognised.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What counts as an accelerator.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcceleratorNames {
    /// Names of resources in limits and requests.
    pub resources: Vec<Pattern>,
    /// Names of resources that only an accelerator or its node has.
    pub companions: Vec<Pattern>,
    /// Labels that only nodes with accelerators have.
    pub placement_keys: Vec<Pattern>,
    /// Labels that every node has on which the pods could run.
    pub every_node: Vec<Pattern>,
    /// Runtime classes that only nodes with accelerators have.
    pub runtime_classes: Vec<Pattern>,
    /// What shows that a server runs on accelerators only.
    pub servers: ServerNames,
}

/// What shows that a server runs on accelerators only.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerNames {
    /// Images, by the last part of the name, without tag and digest.
    pub images: Vec<Pattern>,
    /// Images, by the whole name without tag and digest, also behind the name of a mirror.
    pub repositories: Vec<Pattern>,
    /// Programs that are such servers or the same ones without accelerators.
    pub programs: Vec<Program>,
    /// Words in the name or the tag of an image.
    pub image_words: Vec<Pattern>,
    /// Words in the name or the tag of an image that also runs without.
    pub other_words: Vec<Pattern>,
    /// Flags, each with the values that ask for an accelerator.
    pub flags: BTreeMap<String, Vec<Pattern>>,
    /// Flags after which the next word is their value, whatever it is.
    pub values_after: Vec<String>,
}

/// A program that a container may start.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Program {
    name: Pattern,
    /// Its first argument. With another one, it is another program.
    pub subcommand: Option<String>,
}

impl Program {
    /// Whether it has this name: the last part of a path, or a module of Python.
    pub fn is_called(&self, name: &str) -> bool {
        Pattern::any(std::slice::from_ref(&self.name), name)
    }
}

impl TryFrom<String> for Program {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (name, subcommand) = (words.next().unwrap_or_default(), words.next());
        if words.next().is_some() {
            return Err(format!("{text:?} is not the name of a program with at most one subcommand"));
        }
        Ok(Self { name: name.to_owned().try_into()?, subcommand: subcommand.map(str::to_owned) })
    }
}

/// A name or, with one `*` in it, all names with this prefix and this suffix.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    start: String,
    /// What follows the `*`; none if there is no `*`.
    end: Option<String>,
}

impl Pattern {
    /// Whether any of the patterns matches the name.
    pub fn any(patterns: &[Self], name: &str) -> bool {
        patterns.iter().any(|pattern| match &pattern.end {
            Some(end) => name.strip_prefix(&pattern.start).is_some_and(|rest| rest.ends_with(end.as_str())),
            None => name == pattern.start,
        })
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (start, end) =
            text.split_once('*').map_or((text.as_str(), None), |(start, end)| (start, Some(end)));
        if start.is_empty() || end.is_some_and(|end| end.contains('*')) {
            return Err(format!(
                "{text:?} is not a name with at most one *, which must not be the first character"
            ));
        }
        Ok(Self { start: start.to_owned(), end: end.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_a_name_and_at_most_one_subcommand() {
        for text in ["", " ", "vllm serve m", "*"] {
            assert!(Program::try_from(text.to_owned()).is_err(), "{text}");
        }
        let server = Program::try_from("vllm serve".to_owned()).unwrap();
        assert!(server.is_called("vllm") && !server.is_called("serve"));
        assert_eq!(server.subcommand.as_deref(), Some("serve"));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for text in ["", "*", "*a", "a**", "a*b*"] {
            assert!(Pattern::try_from(text.to_owned()).is_err(), "{text}");
        }
        let patterns = [
            Pattern::try_from("nvidia.com/gpu".to_owned()).unwrap(),
            Pattern::try_from("nvidia.com/mig-*".to_owned()).unwrap(),
            Pattern::try_from("huawei.com/Ascend*-memory".to_owned()).unwrap(),
        ];
        assert!(Pattern::any(&patterns, "nvidia.com/gpu"));
        assert!(Pattern::any(&patterns, "nvidia.com/mig-1g.5gb"));
        assert!(!Pattern::any(&patterns, "nvidia.com/gpu.shared"));
        assert!(Pattern::any(&patterns, "huawei.com/Ascend310P-memory"));
        assert!(!Pattern::any(&patterns, "huawei.com/Ascend310P"));
    }
}
