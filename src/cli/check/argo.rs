//! What the cluster says about the objects that Argo CD applies, as comments in the output of `firebreak check`.

use std::collections::BTreeMap;

use firebreak_engine::gitops::argo::{Answer, Application, By, Lacks};
use firebreak_engine::verdict::Verdict;

use super::cluster::{Findings, Watched};
use crate::cli::Error;
use crate::cli::screen::{Line, Style};
use crate::look::applications::Found;

/// Objects that are named one by one. There may be thousands.
const NAMED: usize = 50;

/// What Applications lack, by what stands above it.
type Lacking = BTreeMap<String, Lacks>;

/// The lines for a policy.
pub(super) fn lines(policy: &str, findings: &Findings) -> Result<Vec<Line>, Error> {
    let mut lines = vec![comment(0, format!("{policy}: {}", summary(findings)))];
    for (step, why) in &findings.unread {
        let text = format!("step {step}: what it may change cannot be listed: {why}");
        lines.push(styled(1, Style::Bad, text));
    }
    let mut lacking = Lacking::new();
    let judge = |watched| (watched, judged(watched, findings, &mut lacking));
    let mut objects: Vec<(&Watched, (Style, String))> = findings.objects.iter().map(judge).collect();
    if objects.len() > NAMED {
        objects.sort_by_key(|(_, (style, _))| {
            [Style::Bad, Style::Busy].iter().position(|it| it == style).unwrap_or(2)
        });
    }
    let (named, others) = objects.split_at(objects.len().min(NAMED));
    for (watched, (style, text)) in named {
        lines.push(comment(1, format!("{}: {}", watched.id, applies(&watched.tracking.by))));
        lines.push(styled(2, *style, text.clone()));
    }
    if !others.is_empty() {
        let open = others.iter().filter(|(_, (style, _))| matches!(style, Style::Bad | Style::Busy)).count();
        let text = match open {
            0 => format!("and {} more", others.len()),
            open => format!("and {} more, of which {open} are not surely left alone", others.len()),
        };
        lines.push(comment(1, text));
    }
    for (heading, lacks) in &lacking {
        let Some(part) = lacks.to_add() else { continue };
        lines.push(comment(1, heading.clone()));
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

fn summary(findings: &Findings) -> String {
    let scope = match (findings.unread.len(), findings.listed) {
        (0, _) => "the objects that its steps may change",
        (_, 0) => {
            return "not known what Argo CD applies: no objects of its steps could be listed".to_owned();
        }
        _ => "what could be listed of the objects that its steps may change",
    };
    let sure = findings.objects.iter().filter(|watched| watched.tracking.is_sure()).count();
    match (sure, findings.objects.len() - sure) {
        (0, 0) => format!("nothing says that Argo CD applies any of {scope}"),
        (sure, 0) => format!("Argo CD applies {sure} of {scope}"),
        (0, possibly) => format!("Argo CD possibly applies {possibly} of {scope}"),
        (sure, possibly) => format!("Argo CD applies {sure} and possibly {possibly} more of {scope}"),
    }
}

fn applies(by: &By) -> String {
    match by {
        By::Annotation | By::OwnLabel | By::InstanceAndManager(_) => format!("Argo CD applies it ({by})"),
        By::InstanceAlone | By::ManagerAlone(_) => format!("Argo CD may apply it: {by}"),
    }
}

/// What is said of one object. What its Application lacks is added to the rest of it.
fn judged(watched: &Watched, findings: &Findings, lacking: &mut Lacking) -> (Style, String) {
    if watched.fields.is_empty() {
        let why = watched.unchanged.as_deref().unwrap_or("nothing in it would change");
        return (Style::Plain, format!("no step would change it now: {why}"));
    }
    let mut judge = |application: &Application, heading: String| {
        let answer = application.judge(&watched.object, &watched.fields);
        lacking.entry(heading).or_default().add(&watched.object, &answer);
        answer
    };
    let Some(id) = &watched.tracking.application else {
        judge(&Application::default(), "If the Application lacks this, add it to what it has:".to_owned());
        let text = "not known which Application applies it: look for the object in Argo CD".to_owned();
        return (Style::Busy, text);
    };
    let Some(found) = findings.applications.get(id) else {
        return (Style::Busy, format!("Application {id} was not read"));
    };
    let why = match found.of(&watched.object) {
        Ok(application) => {
            let answer = judge(application, heading(application));
            return of_application(&application.called(), &answer);
        }
        Err(why) => why,
    };
    if !matches!(found, Found::None(_) | Found::NotServed) || watched.tracking.is_sure() {
        // What nothing is known of may lack everything.
        let heading = format!("If Application {id} lacks this, add it to what it has:");
        judge(&Application::default(), heading);
    }
    let text = match found {
        Found::None(_) | Found::NotServed if !watched.tracking.is_sure() => format!(
            "no Application {id} was found: {why}. If Argo CD applies the object, it does so from another cluster, or for \
             an Application that another label names"
        ),
        Found::None(place) => format!(
            "there is no Application {id} {place}: it was deleted, or Argo CD runs in another cluster"
        ),
        Found::NotServed => format!(
            "this cluster has no Applications: Argo CD runs in another one, which has Application {id}"
        ),
        Found::These(_) | Found::Usual(..) => format!("not known which Application {id} applies it: {why}"),
        Found::Unread(_) => format!("Application {id} cannot be read: {why}"),
    };
    (Style::Busy, text)
}

fn of_application(called: &str, answer: &Answer) -> (Style, String) {
    let Answer { open, asked, respects, replaces } = answer;
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
            let does = match lacks.is_empty() {
                true => "does not leave the object alone".to_owned(),
                false => format!("may restore its own values: it {}", lacks.join(", and ")),
            };
            let replaces = replaces.map(|replaces| format!("; {replaces}")).unwrap_or_default();
            (Style::Bad, format!("Application {called} {does}{replaces}"))
        }
    }
}

/// What stands above what an Application lacks.
fn heading(application: &Application) -> String {
    let source = application.source().map(|source| format!(", {source}")).unwrap_or_default();
    format!("Add this to what Application {} has{source}:", application.called())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use firebreak_engine::change::FieldChange;
    use firebreak_engine::gitops::argo::Tracking;
    use firebreak_engine::id::TargetId;
    use serde_json::{Value, json};

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
            beside: None,
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
        let applications = watched.tracking.application.clone().map(|id| (id, found)).into_iter().collect();
        told(&Findings { listed: 1, objects: vec![watched], applications, ..Findings::default() })
    }

    fn told(findings: &Findings) -> String {
        plain(&lines("policy", findings).unwrap())
    }

    fn one(spec: &Value) -> Found {
        let metadata = json!({"name": "web", "namespace": "argocd"});
        Found::These(vec![Application::of(&json!({"metadata": metadata, "spec": spec}))])
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
            (
                Found::These(
                    ["a", "b"]
                        .map(|place| Application::of(&json!({"metadata": {"namespace": place}})))
                        .to_vec(),
                ),
                "one in each of the namespaces a, b",
            ),
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
    fn without_an_application_nothing_is_claimed_of_a_label_or_of_a_field_manager_alone() {
        for found in [Found::NotServed, Found::None("in any namespace".to_owned())] {
            let said = said(by_label_alone(), found);
            assert!(
                said.contains("no Application web was found: ") && !said.contains("does not apply"),
                "{said}"
            );
            assert!(
                said.contains("Argo CD possibly applies 1 of ") && !said.contains("ignoreDifferences"),
                "{said}"
            );
        }
        let manager = json!([{"manager": "argocd-controller", "operation": "Apply"}]);
        let said = said(watched(&json!({"managedFields": manager})), Found::NotServed);
        assert!(
            said.contains("Argo CD possibly applies 1 of ") && said.contains("not known which"),
            "{said}"
        );
        assert!(
            said.contains("If the Application lacks this, ") && said.contains("ignoreDifferences"),
            "{said}"
        );
    }

    #[test]
    fn an_application_that_replaces_objects_or_that_another_applies_is_told() {
        let entry = json!({"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]});
        let options = json!({"syncOptions": ["RespectIgnoreDifferences=true", "Replace=true"]});
        let replaces =
            said(by_annotation(), one(&json!({"ignoreDifferences": [entry], "syncPolicy": options})));
        let words =
            "does not leave the object alone; remove Replace=true from the syncOptions of the Application";
        assert!(replaces.contains(words), "{replaces}");
        let id = "root:argoproj.io/Application:argocd/web";
        let metadata = json!({"name": "web", "namespace": "argocd", "annotations": {"argocd.argoproj.io/tracking-id": id}});
        let web = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": metadata});
        let of_root = said(by_annotation(), Found::These(vec![Application::of(&web)]));
        let words =
            "Application argocd/web has, in its manifest in Git, because Application root applies it:";
        assert!(of_root.contains(words), "{of_root}");
    }

    #[test]
    fn of_thousands_of_objects_the_first_are_named_and_those_to_look_at_first() {
        let numbered = |number: usize| {
            let mut one = by_annotation();
            one.id.name = format!("chat-{number:04}");
            one.object = Arc::new(json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": one.id.name, "namespace": "serving"}}));
            one
        };
        let mut objects: Vec<Watched> = (0..1000).map(numbered).collect();
        let entry = json!({"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]});
        let options = json!({"syncOptions": ["RespectIgnoreDifferences=true"]});
        objects[999].fields[0].path = "/spec/paused".parse().unwrap();
        let id = objects[0].tracking.application.clone().unwrap();
        let found = one(&json!({"ignoreDifferences": [entry], "syncPolicy": options}));
        let findings =
            Findings { listed: 1, objects, applications: [(id, found)].into(), ..Findings::default() };
        let said = told(&findings);
        assert!(said.lines().count() < 2 * NAMED + 20, "{said}");
        assert!(said.contains("chat-0999") && said.contains("and 950 more\n"), "{said}");
    }

    #[test]
    fn steps_that_cannot_be_listed_and_objects_that_no_step_changes_are_told() {
        let unread = vec![("cpu-fallback".to_owned(), "you may not".to_owned())];
        let nothing = told(&Findings { unread: unread.clone(), ..Findings::default() });
        assert!(nothing.contains("not known what Argo CD applies"), "{nothing}");
        assert!(!nothing.contains("nothing says"), "{nothing}");
        let some = told(&Findings { unread, listed: 1, ..Findings::default() });
        assert!(
            some.contains("nothing says that Argo CD applies any of what could be listed of the objects"),
            "{some}"
        );
        assert!(
            some.contains("step cpu-fallback: what it may change cannot be listed: you may not"),
            "{some}"
        );
        let unchanged = Some("it has 3 replicas".to_owned());
        let watched = Watched { fields: Vec::new(), unchanged, ..by_annotation() };
        let said = told(&Findings { listed: 1, objects: vec![watched], ..Findings::default() });
        assert!(said.contains("no step would change it now: it has 3 replicas"), "{said}");
    }
}
