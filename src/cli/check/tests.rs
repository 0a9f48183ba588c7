use std::collections::BTreeSet;

use futures::FutureExt;

use super::*;

mod kinds;
mod signals;

const POLICY: &str = r#"
apiVersion: firebreak.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: gpu-cluster-failure, namespace: llm-serving}
spec:
  mode: Enforce
  signals:
  - {name: gpuNodes, expect: 8, nodes: {selector: {matchLabels: {nvidia.com/gpu: "true"}}}}
  - name: models
    objects: {apiVersion: inference.llm-d.io/v1alpha1, kind: LLMDeployment, namespaces: {all: true}}
  - name: rockets
    objects: {apiVersion: space.example.com/v1, kind: Rocket, healthy: "true"}
  severity:
  - {level: P0, reason: GpuClusterFailure, when: "signals.gpuNodes.ready == 0", for: 30s}
  steps:
  - name: cpu-fallback
    action:
      cpuFallback:
        targets: {apiVersion: inference.llm-d.io/v1alpha1, kind: LLMDeployment, namespaces: {all: true}}
    verify: {checks: [{rollout: {}}]}
  - name: gateways
    action:
      cpuFallback:
        targets: {apiVersion: apps/v1, kind: Deployment, namespaces: {names: [gateways, llm-serving]}}
"#;

/// The faults of all objects in a text, and what was granted.
fn check(yaml: &str) -> (Vec<String>, BTreeMap<Grantee, Grant>) {
    let checker = Checker::new(Profiles::built_in().unwrap(), ASSUMED);
    let (mut good, mut faults) = (Good::default(), Vec::new());
    for document in documents::parse(yaml).unwrap() {
        let Some(checked) = checker.check(&document) else { continue };
        faults.extend(checked.faults);
        let Some(policy) = checked.policy else { continue };
        let unknown = unknown_kinds(&policy.rules, None).now_or_never().unwrap().unwrap();
        if unknown.is_empty() {
            good.add(policy, &checker.profiles);
        }
        faults.extend(unknown);
    }
    (faults, good.grants)
}

/// The rights for what was granted.
fn granted(grants: &BTreeMap<Grantee, Grant>) -> String {
    rights::manifests(grants, &Profiles::built_in().unwrap()).unwrap()
}

fn faults(yaml: &str) -> Vec<String> {
    check(yaml).0
}

#[test]
fn a_good_policy_has_no_fault_and_needs_these_rights() {
    let (faults, grants) = check(POLICY);
    assert_eq!(faults, Vec::<String>::new());
    insta::assert_snapshot!(granted(&grants));
}

#[test]
fn a_policy_needs_the_rights_to_look_at_autoscalers_and_to_retire_a_scheduler() {
    let (faults, grants) = check(
        r#"
apiVersion: firebreak.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: scaling, namespace: llm-serving}
spec:
  steps:
  - name: limits
    action:
      raiseAutoscalerLimit:
        targets: {apiVersion: inference.llm-d.io/v1alpha1, kind: LLMDeployment}
        ceiling: 10
  - name: gateways
    action: {scale: {targets: {apiVersion: apps/v1, kind: Deployment, namespaces: {names: [gateways]}}, replicas: 3}}
  - name: scheduler
    action:
      schedulerFallback:
        targets: {apiVersion: apps/v1, kind: Deployment}
        from: ml-scheduler
        retire: {apiVersion: apps/v1, kind: Deployment, namespace: schedulers, name: ml-scheduler}
"#,
    );
    assert_eq!(faults, Vec::<String>::new());
    insta::assert_snapshot!(granted(&grants));
}

#[test]
fn a_step_on_pods_that_wait_for_each_other_needs_the_right_to_delete_them() {
    let policy = POLICY.replace("kind: Deployment, namespaces", "kind: StatefulSet, namespaces");
    let (faults, grants) = check(&policy);
    assert_eq!(faults, Vec::<String>::new());
    let text = granted(&grants);
    let rule = "- apiGroups:\n  - ''\n  resources:\n  - pods\n  verbs:\n  - list\n  - delete\n";
    assert_eq!(text.replace('"', "'").matches(rule).count(), 2, "one in each namespace: {text}");
    let without = granted(&check(POLICY).1);
    assert!(!without.contains("- delete"), "{without}");
}

#[test]
fn a_scheduler_of_a_kind_without_a_profile_cannot_be_retired() {
    let action = "schedulerFallback:\n        from: ml-scheduler\n        retire: {apiVersion: x/v1, kind: Rocket, name: r}";
    let found = faults(&POLICY.replacen("cpuFallback:", action, 1));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("spec.steps[0].action.schedulerFallback.retire.kind: x/v1 Rocket"),
        "{found:?}"
    );
}

#[test]
fn every_fault_is_named_with_its_field() {
    let table = [
        ("mode: Enforce", "mode: Enforced", "spec.mode: Enforced is not one of Observe, Enforce"),
        (
            "mode: Enforce",
            "mode: Enforce\n  setps: []",
            "spec.setps: unknown field; known are guardrails, mode,",
        ),
        ("for: 30s", "for: 30 s", "spec.severity[0].for: \"30 s\" does not match"),
        ("for: 30s", "for: 5", "spec.severity[0].for: must be of type string, not a number; add a unit: 5s"),
        ("for: 30s", "for: \"5\"", "|h)){1,4}$; add a unit: 5s"),
        ("expect: 8", "expect: -1", "spec.signals[0].expect: must be from 0 to 1000000"),
        ("expect: 8", "expect: many", "spec.signals[0].expect: must be of type integer, not a string"),
        ("gpu: \"true\"", "gpu: true", "must be of type string, not a boolean; put it in quotes"),
        ("name: gpuNodes", "name: gpu-nodes", "spec.signals[0].name: \"gpu-nodes\" does not match"),
        ("level: P0", "level: P9", "spec.severity[0].level: P9 is not one of P0, P1, P2, P3"),
        ("level: P0, ", "", "spec.severity[0].level: is missing"),
        ("ready == 0", "raedy == 0", "spec.severity[0].when:"),
        ("{rollout: {}}", "{rollout: {after: 3s}}", "checks[0].rollout.after: unknown field; there is none"),
        ("{rollout: {}}", "{}", "spec.steps[0].verify.checks[0]: exactly one of"),
        ("[{rollout: {}}]", "[]", "spec.steps[0].verify.checks: has 0 entries; at least 1"),
        (
            ", healthy: \"true\"",
            "",
            "spec.signals[2].objects.healthy: space.example.com/v1 Rocket has no profile",
        ),
        (
            "space.example.com/v1, kind: Rocket",
            "batch/v1, kind: Jobs",
            "spec.signals[2].objects.kind: Kubernetes has no kind Jobs in batch/v1; did you mean Job?",
        ),
        (
            "apps/v1, kind: Deployment",
            "apps/v1, kind: Deploymnet",
            "spec.steps[1].action.cpuFallback.targets.kind: apps/v1 Deploymnet has no profile, so Firebreak does not \
             know its fields; did you mean Deployment?",
        ),
        (
            "gpu-cluster-failure",
            "a-name-of-a-policy-of-forty-one-characters",
            "metadata.name: has 42 characters",
        ),
        ("gpu-cluster-failure", "GPU", "metadata.name: must consist of lower case"),
        ("name: gpu-cluster-failure, ", "", "metadata.name: is missing"),
        ("namespace: llm-serving", "namespcae: llm-serving", "metadata.namespcae: unknown field"),
        ("v1alpha1\nkind", "v1\nkind", "apiVersion: must be firebreak.dev/v1alpha1"),
        ("kind: RemediationPolicy", "kind: RemediationPolicies", "kind: firebreak.dev has no"),
        ("\nspec:", "\nspecs: {}\nspec:", "specs: unknown field"),
    ];
    for (good, bad, expected) in table {
        assert!(POLICY.contains(good), "{good}");
        let found = faults(&POLICY.replacen(good, bad, 1));
        assert!(found.iter().any(|fault| fault.contains(expected)), "{bad}: {found:?}");
    }
}

#[test]
fn a_policy_with_a_fault_is_granted_nothing() {
    let (faults, grants) = check(&POLICY.replace("mode: Enforce", "mode: Enforced"));
    assert_eq!((faults.len(), grants.len()), (1, 0));
}

/// The names of the roles and bindings that a text has.
fn names(roles: &str) -> BTreeSet<String> {
    let documents = documents::parse(roles).unwrap();
    let roles = documents.iter().filter(|document| document.kind() != "ServiceAccount");
    roles.map(ToString::to_string).collect()
}

#[test]
fn what_is_printed_for_policies_of_one_service_account_adds_up() {
    let (one, other) = (POLICY.to_owned(), POLICY.replace("name: gpu-cluster-failure", "name: other"));
    let (first, second) = (names(&granted(&check(&one).1)), names(&granted(&check(&other).1)));
    assert_eq!(first.intersection(&second).count(), 0, "the second one replaces nothing of the first");
    let together = granted(&check(&format!("{one}\n---\n{other}")).1);
    assert_eq!(names(&together), first.union(&second).cloned().collect());
    assert_eq!(together.matches("kind: ServiceAccount\nmetadata").count(), 1, "{together}");
    assert_eq!(allowed(&together), allowed(&granted(&check(&one).1)));
}

#[test]
fn a_policy_in_several_files_has_one_role_with_everything_that_it_needs() {
    let more = POLICY.replace("apps/v1, kind: Deployment", "apps/v1, kind: StatefulSet");
    let both = granted(&check(&format!("{POLICY}\n---\n{more}")).1);
    let one = granted(&check(POLICY).1);
    assert_eq!(names(&both), names(&one));
    assert_eq!(documents::parse(&both).unwrap().len(), documents::parse(&one).unwrap().len());
    let each = allowed(&one).union(&allowed(&granted(&check(&more).1))).cloned().collect::<BTreeSet<_>>();
    assert!(allowed(&both).is_superset(&each), "{both}");
}

#[test]
fn a_policy_without_severity_rules_is_told_who_uses_it() {
    let checker = Checker::new(Profiles::built_in().unwrap(), ASSUMED);
    let remarks = |yaml: &str| {
        let document = documents::parse(yaml).unwrap().remove(0);
        checker.check(&document).unwrap().policy.unwrap().remarks()
    };
    assert_eq!(remarks(POLICY), Vec::<String>::new());
    let rules = POLICY.find("  severity:").unwrap()..POLICY.find("  steps:").unwrap();
    let mut without = POLICY.to_owned();
    without.replace_range(rules, "");
    assert_eq!(
        remarks(&without),
        [
            "it has no severity rules, so it opens nothing: only Incidents that people open with a severity use it: \
          `firebreak open gpu-cluster-failure -n llm-serving --severity P0`"
        ]
    );
}

#[test]
fn all_documents_are_checked_and_others_are_passed_over() {
    let incident = |name: &str| {
        format!(
            "apiVersion: firebreak.dev/v1alpha1\nkind: Incident\nmetadata: {{name: {name}}}\n\
             spec: {{policyRef: {{name: p}}, response: Gone}}\n"
        )
    };
    let yaml = format!(
        "---\n---\nkind: ConfigMap\napiVersion: v1\n---\n{}---\nkind: List\napiVersion: v1\nitems:\n- {}",
        incident("a"),
        incident(&"b".repeat(64)).trim_end().replace('\n', "\n  ")
    );
    assert_eq!(
        faults(&yaml),
        [
            "spec.response: Gone is not one of Active, Paused, Withdrawn, Kept",
            "spec.response: Gone is not one of Active, Paused, Withdrawn, Kept",
            "metadata.name: has 64 characters; at most 63 are allowed",
        ]
    );
}

#[test]
fn what_is_not_yaml_is_a_fault_with_its_line() {
    for text in ["a: [", "a: 1\na: 2", "a: b: c"] {
        let problem = documents::parse(text).unwrap_err();
        assert!(problem.starts_with("not YAML: ") && problem.contains("line"), "{problem}");
    }
}

#[test]
fn an_empty_policy_is_one() {
    let checked = |spec: &str| {
        let policy = format!(
            "apiVersion: firebreak.dev/v1alpha1\nkind: RemediationPolicy\nmetadata: {{name: p}}\nspec: {spec}"
        );
        faults(&policy)
    };
    assert_eq!(checked("{}"), Vec::<String>::new(), "a policy may be empty");
    assert_eq!(checked("null"), ["spec: must be of type object, not null"]);
}

/// What roles allow: the verb, the resource and the name, in one namespace or in all.
fn allowed(roles: &str) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for document in documents::parse(roles).unwrap() {
        let namespace = document.namespace().unwrap_or("*").to_owned();
        let words = |rule: &Value, field: &str| {
            let list = rule[field].as_array().cloned().unwrap_or_default();
            list.iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for rule in document.value()["rules"].as_array().into_iter().flatten() {
            let names = words(rule, "resourceNames").join(",");
            for group in words(rule, "apiGroups") {
                for resource in words(rule, "resources") {
                    for verb in words(rule, "verbs") {
                        allowed.insert(format!("{namespace}: {verb} {group}/{resource} {names}"));
                    }
                }
            }
        }
    }
    allowed
}

#[test]
fn the_shipped_roles_allow_what_is_printed_and_nothing_else() {
    for folder in files("examples") {
        let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let yaml: Vec<String> = entries
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        let (faults, grants) = check(&yaml.join("\n---\n"));
        assert_eq!(faults, Vec::<String>::new());
        let needed = rights::manifests(&grants, &Profiles::built_in().unwrap()).unwrap();
        let shipped = std::fs::read_to_string(folder.join("rbac.yaml")).unwrap();
        assert_eq!(allowed(&shipped), allowed(&needed), "{}", folder.display());
        assert_eq!(names(&shipped), names(&needed), "{}", folder.display());
    }
}

fn repository() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a folder has.
fn files(folder: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(repository().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_policies_in_the_documentation_are_accepted() {
    for (page, at_least) in [("README.md", 1), ("docs/actions.md", 5), ("docs/writing-a-policy.md", 1)] {
        let text = read(page);
        let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let policies: Vec<&str> = blocks.filter(|block| block.contains("kind: RemediationPolicy")).collect();
        assert!(policies.len() >= at_least, "{page}");
        for policy in policies {
            assert_eq!(faults(policy), Vec::<String>::new(), "{page}: {policy}");
        }
    }
}

#[test]
fn the_documentation_of_the_actions_has_every_reason_and_every_field() {
    let page = read("docs/actions.md");
    let mut words = BTreeSet::new();
    let decides = ["plan", "ledger", "journal"].map(|file| format!("engine/src/decide/{file}.rs"));
    let decides = decides.iter().map(|file| repository().join(file));
    let actions = files("engine/src/action").into_iter().filter(|path| path.is_file());
    let containers = files("engine/src/action/containers");
    for source in actions.chain(containers).chain(decides) {
        let source = std::fs::read_to_string(source).unwrap();
        for before in ["refused(", "reason: ", "reason = match &error {", "return Some((", "=> "] {
            let after = source.split(before).skip(1);
            let after = after.filter_map(|rest| rest.trim_start().strip_prefix("Reason::"));
            let is_end = |c: char| !c.is_alphanumeric();
            words.extend(after.filter_map(|rest| rest.split(is_end).next()).map(str::to_owned));
        }
    }
    words.retain(|word| word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphanumeric));
    assert!(words.len() > 12, "{words:?}");
    for kind in [
        "deployment",
        "statefulset",
        "llmdeployment",
        "inferenceservice",
        "horizontalpodautoscaler",
        "scaledobject",
    ] {
        let profile = read(&format!("src/workloads/profiles/{kind}.yaml"));
        // How pods are found is not a field that an action changes.
        let fields = profile.split("orderedPods:").next().unwrap_or_default();
        let fields = fields.split("\npods:").next().unwrap_or_default();
        let paths = fields.lines().filter(|line| !line.trim_start().starts_with('#'));
        let paths = paths.flat_map(|line| line.split([' ', '[', ']', ',']));
        words.extend(paths.filter(|word| word.starts_with("/spec/")).map(str::to_owned));
    }
    let pins = ["nodeName", "resourceClaims"];
    words.retain(|word| !pins.iter().any(|pin| word.ends_with(pin)));
    for word in words {
        assert!(page.contains(&format!("`{word}`")), "{word} is not in docs/actions.md");
    }
}
