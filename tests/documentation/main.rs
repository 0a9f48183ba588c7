//! The documentation is complete where it promises to be, and its links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use firebreak::api::Incident;
use firebreak::api::condition::ConditionType;
use firebreak_engine::alerts::PartialReason;
use firebreak_engine::decide_policy::PolicyReason;
use firebreak_engine::expression::SignalShape;
use firebreak_engine::reason::{self, MovesOn, Stops};
use firebreak_engine::rules::{Action, Rules};
use firebreak_engine::signal::SignalKind;
use kube::CustomResourceExt;
use serde_json::json;

mod links;
#[path = "../support/markdown.rs"]
#[allow(dead_code, reason = "the site uses more of it")]
mod markdown;
#[path = "../support/sources.rs"]
mod sources;

use markdown::anchor;
use sources::sources;

/// Words in the engine that look like reasons but are none, or are explained elsewhere.
const NO_REASONS: &[&str] = &[
    "Helm",           // the value of a label
    "ApplicationSet", // a kind of Argo CD
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The literals of a source text, without its comments.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in source.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
        let line = line.replace("\\\"", "");
        found.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    found
}

/// Words that are a whole literal and have the form of a reason.
fn reasons_in(source: &str) -> Vec<String> {
    let is_reason = |word: &String| {
        word.len() > 3
            && word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.chars().all(|c| c.is_ascii_alphanumeric())
            && word.chars().any(|c| c.is_ascii_lowercase())
    };
    literals(source).into_iter().filter(is_reason).collect()
}

/// Every reason of an Incident, of its steps and changes, which are in the table, and every other reason of a
/// condition and every type of its timeline, which are literals in the code that decides.
fn reasons_of_incidents() -> BTreeSet<String> {
    let mut found: BTreeSet<String> = reason::Reason::ALL.iter().map(ToString::to_string).collect();
    for (path, text) in sources("engine/src") {
        let decides = ["decide/", "phase.rs", "incident/mod.rs", "gitops/"];
        if decides.iter().any(|part| path.starts_with(&format!("engine/src/{part}"))) {
            found.extend(reasons_in(&text));
        }
    }
    let is_type = |word: &String| ConditionType::ALL.iter().any(|type_| type_.name() == word);
    // If a word is a reason and a type, the reason is explained with the others.
    found.retain(|word| !NO_REASONS.contains(&word.as_str()) && !is_type(word));
    found
}

/// What the pages explain: headings, and the first cell of each row of a table.
fn explained() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for page in ["conditions.md", "reasons.md", "concepts.md", "endpoints.md"] {
        let text = read(&root().join("docs").join(page));
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("### ") {
                found.insert(heading.to_owned());
            } else if let Some(row) = line.strip_prefix("| ") {
                let cell = row.split(" | ").next().unwrap_or_default();
                found.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn every_reason_is_explained() {
    let mut reasons = reasons_of_incidents();
    assert!(reasons.len() > 80 && reasons.contains("LadderUsedUp"), "{reasons:?}");
    reasons.extend(PolicyReason::ALL.iter().map(|reason| reason.name().to_owned()));
    reasons.extend(PartialReason::ALL.iter().map(|reason| reason.name().to_owned()));
    for (_, source) in ["src/observe", "src/endpoints", "engine/src/alerts"].into_iter().flat_map(sources) {
        reasons.extend(reasons_of_readings(&source));
    }
    let explained = explained();
    let missing: Vec<&String> = reasons.difference(&explained).collect();
    assert!(missing.is_empty(), "in neither docs/conditions.md nor docs/reasons.md: {missing:?}");
}

/// Why a signal is Unknown.
fn reasons_of_readings(source: &str) -> Vec<String> {
    let marks = ["reason: ", "unknown(", "blind(", "unusable("];
    let after = marks.iter().flat_map(|mark| source.split(mark).skip(1));
    let texts = after.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    texts.map(str::to_owned).collect()
}

/// The values of `state` in the entries of this list in the status of an Incident, from its schema.
fn states_of(list: &str) -> Vec<String> {
    let crd = serde_json::to_value(Incident::crd()).expect("a definition");
    let path = format!(
        "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/{list}/items/properties/state/enum"
    );
    let states = crd.pointer(&path).cloned().unwrap_or_else(|| panic!("the schema has no {path}"));
    serde_json::from_value(states).expect("names")
}

#[test]
fn every_state_of_a_change_and_of_a_step_is_explained() {
    let page = read(&root().join("docs/reasons.md"));
    for (list, heading) in [("changes", "## States of a change\n"), ("steps", "## States of a step\n")] {
        let section = page.split(heading).nth(1).and_then(|rest| rest.split("\n## ").next());
        let section = section.unwrap_or_else(|| panic!("docs/reasons.md has no {heading}"));
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let rows: Vec<&str> = rows.collect();
        assert_eq!(rows, states_of(list), "docs/reasons.md, {heading}");
    }
}

#[test]
fn no_reason_is_explained_that_does_not_exist() {
    let mut known = String::new();
    for folder in ["engine/src", "src"] {
        known.extend(sources(folder).into_iter().map(|(_, text)| text));
    }
    let names = PolicyReason::ALL.iter().map(|reason| reason.name());
    let names = names.chain(reason::Reason::ALL.iter().map(|reason| reason.name()));
    let names = names.chain(ConditionType::ALL.iter().map(|type_| type_.name()));
    let alerts = alerts();
    let names: BTreeSet<&str> = names.chain(alerts.iter().map(|alert| alert.name.as_str())).collect();
    let is_known = |word: &String| names.contains(word.as_str()) || known.contains(&format!("\"{word}\""));
    let is_reason = |word: &&String| word.chars().all(|c| c.is_ascii_alphanumeric());
    // Responses, deliveries and states are enums, which are written as they are spelled.
    let mut spelled = ["Active", "Guarded", "Keyed", "AtMostOnce"].map(str::to_owned).to_vec();
    spelled.extend(["changes", "steps"].into_iter().flat_map(states_of));
    let explained = explained();
    let stale: Vec<&String> = explained
        .iter()
        .filter(is_reason)
        .filter(|word| word.starts_with(char::is_uppercase) && !spelled.contains(word))
        .filter(|word| !is_known(word))
        .collect();
    assert!(stale.is_empty(), "explained, but nowhere in the code: {stale:?}");
}

#[test]
fn every_kind_of_signal_is_documented_with_its_fields() {
    let page = read(&root().join("docs/signals.md"));
    for name in SignalKind::NAMES {
        let section = page.split(&format!("\n## {name}\n")).nth(1);
        let section = section.unwrap_or_else(|| panic!("docs/signals.md has no section {name}"));
        let section = section.split("\n## ").next().unwrap_or_default();
        // Whatever else a signal of the kind sets, its fields are the same.
        let any = json!({"apiVersion": "apps/v1", "kind": "Deployment", "endpoint": "main", "query": "up", "of": "pods"});
        let spec = serde_json::from_value(json!({"signals": [{"name": "s", *name: any}]}));
        let rules = Rules::parse(&spec.expect("a policy")).expect("a policy that is accepted");
        for field in rules.signals[0].kind.kind().shape().fields.keys() {
            let is_there = section.contains(&format!("`{field}`")) || SignalShape::ADDED.contains(field);
            assert!(is_there, "docs/signals.md says nothing of the field {field} of {name}");
        }
    }
}

/// The entries of this page under the headings between two others, by heading.
fn entries(page: &str, from: &str, to: &str) -> Vec<(String, String)> {
    let text = read(&root().join("docs").join(page));
    let part = text.split(from).nth(1).and_then(|rest| rest.split(to).next()).expect("the part is there");
    let entries = part.split("\n### ").skip(1).filter_map(|entry| entry.split_once('\n'));
    entries.map(|(heading, body)| (heading.to_owned(), body.trim().to_owned())).collect()
}

#[test]
fn the_page_of_conditions_says_which_reasons_need_a_person_and_which_block_new_changes() {
    let [stalled, waits, others] =
        ["## An Incident is Stalled", "## An Incident waits", "## The other conditions of an Incident"];
    let (stalled, waits) =
        (entries("conditions.md", stalled, waits), entries("conditions.md", waits, others));
    assert!(stalled.len() > 10 && waits.len() > 3, "{stalled:?} {waits:?}");
    let needs_person = stalled.into_iter().map(|entry| (entry, MovesOn::Person));
    for ((name, text), moves_on) in needs_person.chain(waits.into_iter().map(|e| (e, MovesOn::Itself))) {
        let reason = reason::Reason::from(name.as_str());
        assert_eq!(reason.moves_on(), moves_on, "{name} is in the wrong part of docs/conditions.md");
        let blocks = text.starts_with("Blocks new changes");
        assert_eq!(blocks, reason.stops() == Stops::NewChanges, "{name}: {text}");
    }
}

#[test]
fn every_action_has_a_section_and_an_example() {
    let page = read(&root().join("docs/actions.md"));
    let folders = fs::read_dir(root().join("examples")).expect("the folder is there");
    let files = folders.flat_map(|folder| fs::read_dir(folder.expect("an entry").path()).expect("a folder"));
    let files: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
    let examples: String = files.iter().filter(|path| path.is_file()).map(|path| read(path)).collect();
    for name in Action::NAMES {
        let section = page.contains(&format!("\n## {name}\n"));
        assert!(
            section && page.contains(&format!("[`{name}`](#")),
            "docs/actions.md does not explain {name}"
        );
        assert!(examples.contains(&format!("      {name}:\n")), "no policy in examples/ uses {name}");
    }
}

/// One alert of the chart.
struct Alert {
    name: String,
    /// Everything that its rule says.
    text: String,
}

impl Alert {
    /// The value of a field of the rule, if it is on one line.
    fn field(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(": "))
    }
}

fn alerts() -> Vec<Alert> {
    let text = read(&root().join("charts/firebreak/files/alerts/firebreak.yaml"));
    let rules = text.split("\n  - alert: ").skip(1).filter_map(|rule| rule.split_once('\n'));
    rules.map(|(name, rule)| Alert { name: name.to_owned(), text: rule.to_owned() }).collect()
}

#[test]
fn every_alert_leads_to_a_section_that_says_what_to_do() {
    let page = read(&root().join("docs/conditions.md"));
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let anchors: BTreeSet<String> = headings.map(anchor).collect();
    let base = format!("{}/blob/main/docs/conditions.md#", env!("CARGO_PKG_REPOSITORY"));
    let alerts = alerts();
    assert!(alerts.len() > 20, "{}", alerts.len());
    for alert in &alerts {
        let name = &alert.name;
        let severity = alert.field("severity").unwrap_or_else(|| panic!("{name} has no severity"));
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        assert!(alert.field("summary").is_some(), "{name} has no summary");
        assert!(alert.field("description").is_some(), "{name} has no description");
        assert!(anchors.contains(&anchor(name)), "docs/conditions.md has no section {name}");
        let runbook = alert.field("runbook_url").unwrap_or_else(|| panic!("{name} has no runbook_url"));
        let leads_to = runbook.strip_prefix(&base).unwrap_or_else(|| panic!("{name}: {runbook}"));
        let is_reason = leads_to == "{{ $labels.reason | toLower }}";
        assert!(is_reason || leads_to == anchor(name), "{name} leads to {leads_to}");
    }
    // The label is every reason that can hold an Incident, and Other for what this release does not know.
    let holds =
        entries("conditions.md", "## An Incident is Stalled", "## The other conditions of an Incident");
    let holds: BTreeSet<String> = holds.into_iter().map(|(heading, _)| heading).collect();
    assert!(holds.contains("Other") && holds.contains("LadderUsedUp"), "{holds:?}");
    let (_, section) = page.split_once("\n## Alerts\n").expect("a section about alerts");
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    let documented = section.lines().filter_map(|line| line.strip_prefix("### "));
    assert_eq!(documented.collect::<BTreeSet<_>>(), names, "docs/conditions.md, Alerts");
}

/// An alert that matches reasons by name matches those that exist, and leaves none of them to two alerts.
#[test]
fn the_alerts_tell_apart_the_reasons_that_wait_for_an_approval() {
    let waits = reason::Reason::ALL.iter().filter(|reason| reason.asks_for_approval());
    let mut waits: Vec<&str> = waits.map(reason::Reason::name).collect();
    let sorted = |text: &str| {
        let mut names: Vec<String> = text.split('|').map(str::to_owned).collect();
        names.sort();
        names
    };
    waits.sort_unstable();
    for alert in alerts() {
        let quoted = |mark: &str| alert.text.split(mark).nth(1).and_then(|rest| rest.split('"').next());
        let (expected, found) = match alert.name.as_str() {
            "FirebreakIncidentAwaitsApproval" => (waits.clone(), quoted("reason=~\"")),
            "FirebreakIncidentStalled" => {
                // These have alerts of their own.
                let others = vec!["OutcomeUnknown", "Paused", "Braked"];
                ([waits.clone(), others].concat(), quoted("reason!~\""))
            }
            _ => continue,
        };
        let found = sorted(found.unwrap_or_else(|| panic!("{} matches no reasons", alert.name)));
        assert_eq!(found, sorted(&expected.join("|")), "{}", alert.name);
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let folder = root().join("monitoring/alerts");
    let files = fs::read_dir(folder).expect("the folder is there");
    let tests: String = files.map(|entry| read(&entry.expect("an entry").path())).collect();
    for alert in alerts() {
        let name = alert.name;
        let by_series = tests.contains(&format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\""));
        let by_rule = tests.contains(&format!("alertname: {name}\n"));
        assert!(by_series || by_rule, "no test in monitoring/alerts says when {name} fires");
    }
}

#[test]
fn every_metric_is_documented() {
    let page = read(&root().join("docs/monitoring.md"));
    let families = ["firebreak_", "controller_runtime_", "workqueue_", "leader_election_", "process_"];
    let mut found = BTreeSet::new();
    for folder in ["src/telemetry", "src/controller"] {
        for (_, text) in sources(folder) {
            let names = literals(&text).into_iter().filter(|word| {
                families.iter().any(|family| word.starts_with(family))
                    && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            });
            found.extend(names);
        }
    }
    assert!(found.len() > 20, "{found:?}");
    for name in found {
        assert!(page.contains(&format!("`{name}`")), "docs/monitoring.md does not explain {name}");
    }
}

/// A test of the chart types the commands of the other page.
#[test]
fn the_readme_installs_as_the_page_about_it_does() {
    let page = read(&root().join("docs/installation.md"));
    let command = page.split("```sh\n").nth(1).and_then(|block| block.lines().next()).expect("a command");
    assert!(command.starts_with("helm install "), "{command}");
    let readme = read(&root().join("README.md"));
    assert!(readme.lines().any(|line| line.trim() == command), "README.md has no {command}");
}

#[test]
fn the_catalogue_of_live_tests_names_every_module() {
    let folder = root().join("tests/live");
    let text = read(&folder.join("main.rs"));
    let catalogue: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("//! ")).collect();
    let modules = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    for module in modules.filter(|module| *module != "support") {
        // A claim has its number in the name: `s7_reach` is S7.
        let claim = module.strip_prefix('s').and_then(|rest| rest.split_once('_')?.0.parse::<u32>().ok());
        let start = claim.map_or(format!("- `{module}`: "), |number| format!("- S{number} `{module}`: "));
        let is_named = catalogue.iter().any(|line| line.starts_with(&start))
            || claim.is_none()
                && catalogue.iter().any(|line| {
                    line.starts_with("They depend on: ") && line.contains(&format!("`{module}`"))
                });
        assert!(is_named, "tests/live/main.rs says nothing about {module}: add a line `{start}…`");
    }
    for line in catalogue.iter().filter(|line| line.starts_with("- ")) {
        let module = line.split('`').nth(1).unwrap_or_default();
        let is_there = folder.join(module).is_dir() || folder.join(format!("{module}.rs")).is_file();
        assert!(is_there, "the catalogue of tests/live/main.rs names {module}, which is not there");
    }
}
