use serde_json::json;

use super::super::Lacks;
use super::*;

const REPLICAS: &str = "/spec/replicas";
const SELECTOR: &str = "/spec/template/spec/nodeSelector/nvidia.com~1gpu";
const LIMIT: &str = "/spec/template/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu";

/// A field that is changed from one value to another.
fn changed(path: &str) -> FieldChange {
    FieldChange {
        path: path.parse().unwrap(),
        before: Some(json!("1")),
        after: Some(json!("0")),
        created: None,
        owner: None,
        ceded_to: None,
        beside: None,
    }
}

fn chat() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "chat", "namespace": "serving"},
        "spec": {"template": {"spec": {"containers": [{"name": "main"}]}}},
    })
}

/// Of an Application with these entries and options.
fn application(entries: &Value, options: &Value) -> Application {
    let policy = json!({"syncOptions": options});
    Application::of(&json!({"spec": {"ignoreDifferences": entries, "syncPolicy": policy}}))
}

fn respecting(entries: &Value) -> Application {
    application(entries, &json!(["CreateNamespace=true", "RespectIgnoreDifferences=true"]))
}

#[test]
fn an_entry_counts_for_the_objects_that_it_names_or_matches() {
    use Verdict::{False, True, Unknown};
    let table = [
        (json!({"group": "apps", "kind": "Deployment"}), True),
        (json!({"group": "*", "kind": "*"}), True),
        (json!({"group": "ap*", "kind": "Deploy?ent"}), True),
        (json!({"group": "apps", "kind": "Deployment", "name": "chat", "namespace": "serving"}), True),
        (json!({"group": "apps", "kind": "Deployment", "name": "", "namespace": ""}), True),
        (json!({"group": "apps", "kind": "Deployment", "name": "search"}), False),
        (json!({"group": "apps", "kind": "Deployment", "name": "ch*"}), False),
        (json!({"group": "apps", "kind": "Deployment", "namespace": "other"}), False),
        (json!({"kind": "Deployment"}), False), // of the core group
        (json!({"group": "apps", "kind": "deployment"}), False),
        (json!({"group": "apps", "kind": "StatefulSet"}), False),
        (json!({"group": "{apps,batch}", "kind": "Deployment"}), Unknown),
        (json!({"group": "apps", "kind": "[CD]eployment"}), Unknown),
        (json!({"group": "{apps,batch}", "kind": "StatefulSet"}), False),
        (json!("nonsense"), False),
    ];
    for (mut entry, verdict) in table {
        if entry.is_object() {
            entry["jsonPointers"] = json!([REPLICAS]);
        }
        let answer = respecting(&json!([entry])).judge(&chat(), &[changed(REPLICAS)]);
        assert_eq!(answer.verdict(), verdict, "{entry}");
    }
}

/// The entry for this Deployment with one member more.
fn entry(member: &str, value: Value) -> Value {
    let mut entry = json!({"group": "apps", "kind": "Deployment"});
    entry[member] = value;
    json!([entry])
}

#[test]
fn each_way_to_ignore_a_field_counts_as_far_as_it_reaches() {
    use Verdict::{False, True, Unknown};
    let created = FieldChange { before: None, ..changed(REPLICAS) };
    let removed = FieldChange { after: None, ..changed(SELECTOR) };
    let pointers = |pointers: Value| entry("jsonPointers", pointers);
    let expressions = |expressions: Value| entry("jqPathExpressions", expressions);
    let managers = |managers: Value| entry("managedFieldsManagers", managers);
    let all_of_main = r#".spec.template.spec.containers[] | select(.name == "main") | .resources"#;
    let table = [
        (pointers(json!([REPLICAS])), vec![changed(REPLICAS)], True),
        (pointers(json!([REPLICAS])), vec![changed(REPLICAS), removed.clone()], False),
        (pointers(json!([REPLICAS, SELECTOR])), vec![changed(REPLICAS), removed.clone()], True),
        (pointers(json!(["/spec/template/spec/containers/0"])), vec![changed(LIMIT)], Unknown),
        (expressions(json!([all_of_main])), vec![changed(LIMIT)], True),
        (expressions(json!([".spec | .. | .replicas?"])), vec![changed(REPLICAS)], Unknown),
        (managers(json!(["firebreak"])), vec![changed(REPLICAS)], True),
        (managers(json!(["firebreak"])), vec![removed.clone()], Unknown),
        (managers(json!(["firebreak"])), vec![created], Unknown),
        (managers(json!(["firebreak"])), vec![changed(LIMIT)], Unknown),
        (managers(json!(["kube-controller-manager"])), vec![changed(REPLICAS)], False),
        (json!([]), vec![changed(REPLICAS)], False),
        (Value::Null, vec![changed(REPLICAS)], False),
        (json!([]), vec![changed("/metadata/annotations/kustomize.toolkit.fluxcd.io~1reconcile")], True),
    ];
    for (entries, fields, verdict) in table {
        let answer = respecting(&entries).judge(&chat(), &fields);
        assert_eq!(answer.verdict(), verdict, "{entries}: {answer:?}");
        for field in answer.open {
            assert_eq!(field.unknown.is_some(), verdict == Unknown, "{entries}: {:?}", field.unknown);
        }
    }
}

#[test]
fn without_the_option_a_sync_writes_what_it_ignores() {
    let entries = entry("jsonPointers", json!(["/spec"]));
    for options in [json!([]), json!(["RespectIgnoreDifferences=false"]), Value::Null, json!("x")] {
        let answer = application(&entries, &options).judge(&chat(), &[changed(REPLICAS)]);
        assert_eq!((answer.verdict(), answer.open.len()), (Verdict::False, 0), "{options}");
        let mut lacks = Lacks::default();
        lacks.add(&chat(), &answer);
        let option = json!({"spec": {"syncPolicy": {"syncOptions": ["RespectIgnoreDifferences=true"]}}});
        assert_eq!(lacks.to_add(), Some(option));
    }
}

#[test]
fn what_is_added_is_enough() {
    let fields = [changed(REPLICAS), changed(LIMIT)];
    let mut lacks = Lacks::default();
    lacks.add(&chat(), &Application::default().judge(&chat(), &fields));
    let mut cluster_scoped = chat();
    cluster_scoped["metadata"] = json!({"name": "node"});
    lacks.add(&cluster_scoped, &Application::default().judge(&cluster_scoped, &fields[..1]));
    let added = lacks.to_add().unwrap();
    assert_eq!(added["spec"]["ignoreDifferences"].as_array().map(Vec::len), Some(2), "{added}");
    for (object, fields) in [(chat(), &fields[..]), (cluster_scoped, &fields[..1])] {
        let answer = Application::of(&added).judge(&object, fields);
        assert_eq!(answer.verdict(), Verdict::True, "{added}: {answer:?}");
        lacks = Lacks::default();
        lacks.add(&object, &answer);
        assert_eq!(lacks.to_add(), None);
    }
}

#[test]
fn what_is_covered_by_one_entry_is_not_doubted_for_another() {
    let entries = json!([
        {"group": "{apps,batch}", "kind": "Deployment", "jsonPointers": ["/spec"]},
        {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec"]},
    ]);
    assert_eq!(respecting(&entries).judge(&chat(), &[changed(REPLICAS)]).open, []);
}

#[test]
fn an_application_that_something_else_writes_says_what_does() {
    let owner = |kind: &str| json!({"metadata": {"ownerReferences": [{"kind": kind, "name": "all"}]}});
    let source = |object: &Value| Application::of(object).source().map(str::to_owned);
    let generated = source(&owner("ApplicationSet")).unwrap();
    assert!(generated.contains("ApplicationSet all"), "{generated}");
    assert_eq!(source(&owner("Deployment")), None);
    let web = |metadata: &Value| {
        let mut object = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": "web", "namespace": "argocd",
                "managedFields": [{"manager": "argocd-application-controller", "operation": "Update"}]}});
        object["metadata"]["annotations"] = metadata["annotations"].clone();
        object["metadata"]["labels"] = metadata["labels"].clone();
        source(&object)
    };
    let id = "root:argoproj.io/Application:argocd/web";
    let applied = web(&json!({"annotations": {"argocd.argoproj.io/tracking-id": id}})).unwrap();
    assert!(applied.contains("because Application root applies it"), "{applied}");
    let labelled = web(&json!({"labels": {"app.kubernetes.io/instance": "root"}})).unwrap();
    assert!(labelled.contains("if Application root applies it"), "{labelled}");
    assert_eq!(web(&json!({})), None, "Argo CD writes the status of every Application");
}

#[test]
fn an_application_that_replaces_its_objects_never_leaves_them_alone() {
    let entries = entry("jsonPointers", json!(["/spec"]));
    let options = json!(["Replace=true", "RespectIgnoreDifferences=true"]);
    let answer = application(&entries, &options).judge(&chat(), &[changed(REPLICAS)]);
    assert_eq!((answer.verdict(), answer.replaces), (Verdict::False, Some(Replaces::Application)));
    let mut replaced = chat();
    replaced["metadata"]["annotations"] = json!({"argocd.argoproj.io/sync-options": "Replace=true"});
    let answer = respecting(&entries).judge(&replaced, &[changed(REPLICAS)]);
    assert_eq!((answer.verdict(), answer.replaces), (Verdict::False, Some(Replaces::Object)));
    assert_eq!(respecting(&entries).judge(&chat(), &[changed(REPLICAS)]).verdict(), Verdict::True);
}

#[test]
fn the_status_lists_the_objects_of_an_application() {
    let listed = json!({"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "serving",
        "name": "chat", "status": "Synced"});
    let application = Application::of(&json!({"status": {"resources": [listed]}}));
    let mut other = chat();
    other["metadata"]["name"] = json!("search");
    assert!(application.has(&chat()) && !application.has(&other));
}
