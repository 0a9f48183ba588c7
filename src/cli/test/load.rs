//! From the text of a story to a story, with the files on which it is based.

use std::path::{Path, PathBuf};

use firebreak_engine::story::server::merge;
use firebreak_engine::story::{Moment, Story};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value, json};

use super::find;
use crate::cli::check::documents;
use crate::cli::check::schema::Schemas;

/// The keys of a story as it is written. It is only parsed to find faults: unlike the story that is
/// merged from several files, it has line numbers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "only what is wrong with it matters")]
struct Written {
    story: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    policy_from: Option<String>,
    #[serde(default)]
    policy: Option<IgnoredAny>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    object: Option<IgnoredAny>,
    then: Vec<Moment>,
}

type Text = Map<String, Value>;

/// How many stories may be based on each other.
const BASES: usize = 4;

/// The story in a text; other files are named relative to its own.
///
/// # Errors
/// A text for people, in one line.
pub fn story(path: &Path, text: &str) -> Result<Story, String> {
    parse::<Written>(text)?;
    let mut whole: Text = parse(text)?;
    let has_manifest = whole.contains_key("policyFrom");
    take_policy(&mut whole, path)?;
    let whole = over_its_base(whole, path, has_manifest, BASES)?;
    check_policies(&whole)?;
    Story::new(Value::Object(whole), |name| Err(format!("from {name}: the stories form a cycle")))
}

/// The text merged over its base, and that over its own base.
fn over_its_base(mut story: Text, path: &Path, has_manifest: bool, deep: usize) -> Result<Text, String> {
    let Some(name) = story.remove("from") else { return Ok(story) };
    let name = name.as_str().unwrap_or_default();
    let path = beside(path, name);
    let base = match deep {
        0 => Err(format!("more than {BASES} stories are chained by `from`")),
        _ => base(&path, has_manifest),
    };
    let mut merged = base
        .and_then(|base| over_its_base(base, &path, has_manifest, deep - 1))
        .map(Value::Object)
        .map_err(|why| format!("from {name}: {why}"))?;
    merge(&mut merged, &Value::Object(story));
    Ok(merged.as_object().cloned().unwrap_or_default())
}

/// The base of a story. A manifest that the story names is the whole policy, and not an edit of
/// the policy of its base.
fn base(path: &Path, has_manifest: bool) -> Result<Text, String> {
    let mut base: Text = parse(&find::text(path)?)?;
    if has_manifest {
        for key in ["policyFrom", "policy", "namespace"] {
            base.remove(key);
        }
    }
    take_policy(&mut base, path)?;
    Ok(base)
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_saphyr::from_str(text).map_err(|error| match error.without_snippet() {
        serde_saphyr::Error::MultipleDocuments { .. } => {
            "it has several documents; a file must hold one story".to_owned()
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    })
}

/// Replaces `policyFrom` with the policy from the manifest, and merges the policy of the story over it.
fn take_policy(story: &mut Text, path: &Path) -> Result<(), String> {
    let Some(from) = story.remove("policyFrom") else { return Ok(()) };
    let from = from.as_str().unwrap_or_default();
    let (file, name) = from.rsplit_once('#').map_or((from, None), |(file, name)| (file, Some(name)));
    let failed = |why: String| format!("policyFrom {from}: {why}");
    let text = find::text(&beside(path, file)).map_err(failed)?;
    let documents = documents::parse(&text).map_err(failed)?;
    let policies = documents.iter().filter(|document| document.kind() == "RemediationPolicy").count();
    if name.is_none() && policies > 1 {
        return Err(failed(format!("it has {policies} policies; select one with {from}#NAME")));
    }
    let document = documents::one_policy(documents, name).map_err(failed)?;
    let mut policy = document.value().get("spec").cloned().unwrap_or_default();
    if let Some(own) = story.get("policy") {
        merge(&mut policy, own);
    }
    story.insert("policy".to_owned(), policy);
    if let Some(namespace) = document.namespace() {
        story.entry("namespace").or_insert_with(|| namespace.into());
    }
    Ok(())
}

/// The faults in the form of the policy, and of the edits that moments make to it: an unknown field
/// would otherwise be dropped, as by an API server.
fn check_policies(story: &Text) -> Result<(), String> {
    let Some(policy) = story.get("policy") else {
        return Err("it has no policy; name a manifest in `policyFrom`, or set a spec in `policy`".to_owned());
    };
    let schemas = Schemas::new();
    let check = |spec: &Value| {
        let object = json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": {"name": "story"}, "spec": spec,
        });
        let faults = schemas.check(&object).unwrap_or_default();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(format!("the policy cannot be used: {}", faults.join("; ")))
        }
    };
    check(policy)?;
    let mut policy = policy.clone();
    for moment in story.get("then").and_then(Value::as_array).into_iter().flatten() {
        if let Some(change) = moment.get("policy").filter(|change| !change.is_null()) {
            merge(&mut policy, change);
            check(&policy)
                .map_err(|why| format!("at {}: {why}", moment["at"].as_str().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(name)
}
