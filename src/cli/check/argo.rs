//! What the cluster says about the objects that Argo CD applies, as comments in the output of `firebreak check`.

use std::collections::BTreeMap;
use std::sync::Arc;

use firebreak_engine::gitops::argo::{Answer, Application, ApplicationId, By, Lacks};
use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use super::cluster::{Survey, Watched};
use crate::cli::Error;
use crate::cli::screen::{Line, Style};
use crate::look::applications::Found;

/// What Applications lack.
type Lacking = BTreeMap<ApplicationId, Lacks>;

/// The lines for a policy.
pub(super) fn lines(policy: &str, survey: &Survey) -> Result<Vec<Line>, Error> {
    let mut lines = vec![comment(0, format!("{policy}: {}", summary(survey)))];
    for (step, why) in &survey.unread {
        let text = format!("step {step}: what it may change cannot be listed: {why}");
        lines.push(styled(1, Style::Bad, text));
    }
    let mut lacking = Lacking::new();
    for watched in &survey.objects {
        lines.push(comment(1, format!("{}: {}", watched.id, applies(&watched.tracking.by))));
        let (style, text) = judged(watched, survey, &mut lacking);
        lines.push(styled(2, style, text));
    }
    for (id, lacks) in &lacking {
        let Some(part) = lacks.to_add() else { continue };
        lines.push(comment(1, heading(id, survey.applications.get(id))));
        let yaml = serde_saphyr::to_string(&part).map_err(|error| Error::bug("cannot write YAML", error))?;
        lines.extend(yaml.lines().map(|line| comment(2, line.to_owned())));
    }
    Ok(lines)
}

fn comment(depth: usize, text: String) -> Line {
    styled(depth, Style::Plain, text)
}

fn styled(depth: usize, style: Style, text: String) -> Line {
    Line::of(format!("# {}", "  ".repeat(depth))).add(style, text)
}

fn summary(survey: &Survey) -> String {
    let scope = match survey.unread.len() {
        0 => "the objects that its steps may change",
        _ => "those objects that its steps may change and that you may list",
    };
    let sure = survey.objects.iter().filter(|watched| watched.tracking.is_sure()).count();
    match (sure, survey.objects.len() - sure) {
        (0, 0) => format!("Argo CD applies none of {scope}"),
        (sure, 0) => format!("Argo CD applies {sure} of {scope}"),
        (0, possibly) => format!("Argo CD possibly applies {possibly} of {scope}"),
        (sure, possibly) => format!("Argo CD applies {sure} and possibly {possibly} more of {scope}"),
    }
}

fn applies(by: &By) -> String {
    match by {
        By::Annotation | By::OwnLabel | By::InstanceAndManager(_) => format!("Argo CD applies it ({by})"),
        By::InstanceAlone => format!("Argo CD may apply it: {by}"),
    }
}

/// What is said of one object. What its Application lacks is added to the rest of it.
fn judged(watched: &Watched, survey: &Survey, lacking: &mut Lacking) -> (Style, String) {
    let id = &watched.tracking.application;
    if watched.fields.is_empty() {
        let why = watched.unchanged.as_deref().unwrap_or("nothing in it would change");
        return (Style::Plain, format!("no step would change it now: {why}"));
    }
    // What nothing is known of may lack everything.
    let mut all = |object: &Arc<Value>| {
        let answer = Application::default().judge(object, &watched.fields);
        lacking.entry(id.clone()).or_default().add(object, &answer);
    };
    let is_sure = watched.tracking.is_sure();
    let text = match survey.applications.get(id) {
        Some(Found::One { namespace, object }) => {
            let answer = Application::of(object).judge(&watched.object, &watched.fields);
            lacking.entry(id.clone()).or_default().add(&watched.object, &answer);
            return of_application(&format!("{namespace}/{}", id.name), &answer);
        }
        Some(Found::None(_) | Found::NotServed) if !is_sure => {
            format!("Argo CD does not apply it from this cluster: there is no Application {id}")
        }
        Some(Found::None(place)) => {
            all(&watched.object);
            format!(
                "there is no Application {id} {place}: it was deleted, or Argo CD runs in another cluster"
            )
        }
        Some(Found::NotServed) => {
            all(&watched.object);
            format!(
                "this cluster has no Applications: Argo CD runs in another one, which has Application {id}"
            )
        }
        Some(Found::Several(places)) => {
            all(&watched.object);
            let places = places.join(", ");
            format!(
                "not known which Application {id} applies it: there is one in each of the namespaces {places}"
            )
        }
        Some(Found::Unread(why)) => {
            all(&watched.object);
            format!("Application {id} cannot be read: {why}")
        }
        None => format!("Application {id} was not read"),
    };
    (Style::Busy, text)
}

fn of_application(called: &str, answer: &Answer) -> (Style, String) {
    let Answer { open, asked, respects } = answer;
    let fields = if *asked == 1 { "the field" } else { "the fields" };
    match answer.verdict() {
        Verdict::True => {
            (Style::Good, format!("Application {called} leaves {fields} alone that the steps change"))
        }
        Verdict::Unknown => {
            let why: Vec<&str> = open.iter().filter_map(|field| field.unknown.as_deref()).collect();
            let text = format!(
                "whether Application {called} leaves {fields} alone that the steps change is not known"
            );
            (Style::Busy, format!("{text}: {}", why.first().copied().unwrap_or_default()))
        }
        Verdict::False => {
            let ignores = match (asked - open.len(), asked) {
                (0, 1) => Some("does not ignore the field that the steps change".to_owned()),
                (0, asked) => Some(format!("ignores none of the {asked} fields that the steps change")),
                (ignored, asked) if ignored == *asked => None,
                (ignored, asked) => {
                    Some(format!("ignores only {ignored} of the {asked} fields that the steps change"))
                }
            };
            let option = (!respects).then(|| "lacks syncOption RespectIgnoreDifferences=true".to_owned());
            let lacks: Vec<String> = ignores.into_iter().chain(option).collect();
            let text =
                format!("Application {called} may restore its own values: it {}", lacks.join(", and "));
            (Style::Bad, text)
        }
    }
}

/// What stands above what an Application lacks.
fn heading(id: &ApplicationId, found: Option<&Found>) -> String {
    let Some(Found::One { namespace, object }) = found else {
        return format!("If Application {id} lacks this, add it to what it has:");
    };
    let called = format!("{namespace}/{}", id.name);
    match Application::of(object).generated_by() {
        Some(generator) => format!(
            "Add this to what Application {called} has, in the template of ApplicationSet {generator}, which \
             writes it:"
        ),
        None => format!("Add this to what Application {called} has:"),
    }
}

#[cfg(test)]
mod tests {
    use firebreak_engine::change::FieldChange;
    use firebreak_engine::gitops::argo::Tracking;
    use firebreak_engine::id::TargetId;
    use serde_json::json;

    use super::*;
    use crate::cli::screen::plain;

    fn replicas() -> FieldChange {
        FieldChange {
            path: "/spec/replicas".parse().unwrap(),
            before: Some(json!(1)),
            after: Some(json!(3)),
            created: None,
            owner: None,
            ceded_to: None,
        }
    }

    /// A Deployment that Argo CD applies, according to this in its metadata.
    fn watched(says: &Value) -> Watched {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "chat", "namespace": "serving"}});
        for (key, value) in says.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        let text = |text: &str| text.to_owned();
        let (api_version, kind, namespace) = (text("apps/v1"), text("Deployment"), text("serving"));
        Watched {
            id: TargetId { api_version, kind, namespace, name: text("chat"), uid: text("u") },
            tracking: Tracking::of(&object).unwrap(),
            object: Arc::new(object),
            fields: vec![replicas()],
            unchanged: None,
        }
    }

    fn by_annotation() -> Watched {
        watched(&json!({"annotations": {"argocd.argoproj.io/tracking-id": "web"}}))
    }

    fn by_label_alone() -> Watched {
        watched(&json!({"labels": {"app.kubernetes.io/instance": "web"}}))
    }

    /// What is said of this object if that is known of its Application.
    fn said(watched: Watched, found: Found) -> String {
        let applications = [(watched.tracking.application.clone(), found)].into();
        let survey = Survey { unread: Vec::new(), objects: vec![watched], applications };
        plain(&lines("policy", &survey).unwrap())
    }

    fn one(spec: &Value) -> Found {
        let object = Arc::new(json!({"metadata": {}, "spec": spec}));
        Found::One { namespace: "argocd".to_owned(), object }
    }

    #[test]
    fn an_application_that_has_what_is_needed_lacks_nothing() {
        let entry = json!({"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]});
        let options = json!({"syncOptions": ["RespectIgnoreDifferences=true"]});
        let said = said(by_annotation(), one(&json!({"ignoreDifferences": [entry], "syncPolicy": options})));
        insta::assert_snapshot!(said);
    }

    #[test]
    fn what_an_application_lacks_is_printed_to_be_added() {
        insta::assert_snapshot!(said(by_annotation(), one(&json!({}))));
    }

    #[test]
    fn what_is_not_known_is_said_and_never_that_it_is_covered() {
        let place = || "in any namespace".to_owned();
        for (found, words) in [
            (Found::NotServed, "this cluster has no Applications: Argo CD runs in another one"),
            (Found::None(place()), "there is no Application web in any namespace"),
            (Found::Unread("you may not".to_owned()), "Application web cannot be read: you may not"),
            (Found::Several(vec!["a".to_owned(), "b".to_owned()]), "one in each of the namespaces a, b"),
        ] {
            let said = said(by_annotation(), found);
            assert!(said.contains(words), "{said}");
            assert!(
                said.contains("If Application web lacks this, ") && said.contains(".[\"spec\"]"),
                "{said}"
            );
            assert!(said.lines().all(|line| line.starts_with("# ")), "{said}");
        }
        let expression = json!({"group": "apps", "kind": "Deployment", "jqPathExpressions": ["paths"]});
        let options = json!({"syncOptions": ["RespectIgnoreDifferences=true"]});
        let said =
            said(by_annotation(), one(&json!({"ignoreDifferences": [expression], "syncPolicy": options})));
        assert!(said.contains("is not known: what the jqPathExpressions `paths` selects"), "{said}");
    }

    #[test]
    fn a_label_alone_says_nothing_where_there_is_no_application() {
        for found in [Found::NotServed, Found::None("in any namespace".to_owned())] {
            let said = said(by_label_alone(), found);
            assert!(said.contains("does not apply it from this cluster"), "{said}");
            assert!(
                said.contains("Argo CD possibly applies 1 of ") && !said.contains("ignoreDifferences"),
                "{said}"
            );
        }
    }

    #[test]
    fn steps_that_cannot_be_listed_and_objects_that_no_step_changes_are_told() {
        let unread = vec![("cpu-fallback".to_owned(), "you may not".to_owned())];
        let survey = Survey { unread, ..Survey::default() };
        let said = plain(&lines("policy", &survey).unwrap());
        assert!(
            said.contains("none of those objects that its steps may change and that you may list"),
            "{said}"
        );
        assert!(
            said.contains("step cpu-fallback: what it may change cannot be listed: you may not"),
            "{said}"
        );
        let unchanged = Some("it has 3 replicas".to_owned());
        let watched = Watched { fields: Vec::new(), unchanged, ..by_annotation() };
        let survey = Survey { objects: vec![watched], ..Survey::default() };
        let said = plain(&lines("policy", &survey).unwrap());
        assert!(said.contains("no step would change it now: it has 3 replicas"), "{said}");
    }
}
