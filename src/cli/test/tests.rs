use std::fs;
use std::path::PathBuf;

use super::*;

const POLICY: &str = include_str!("../../../examples/llm-d/gpu-cluster-failure.yaml");
/// A story of that policy that passes.
const STORY: &str = "\
story: While all nodes are there nothing happens
policyFrom: ../policy.yaml
then:
- at: 0s
  signals: {gpuNodes: {total: 8, ready: 8}}
  objects: {chat: {apiVersion: inference.llm-d.io/v1alpha1, kind: LLMDeployment}}
  expect: {phase: None, nothing: true}
";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn profiles() -> Rc<Profiles> {
    Rc::new(Profiles::built_in().unwrap())
}

/// A folder with a policy, and beside it one for stories.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let other = POLICY.replace("name: gpu-cluster-failure", "name: other");
    fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    fs::write(folder.path().join("two.yaml"), format!("{POLICY}\n---\n{other}")).unwrap();
    fs::write(folder.path().join("none.yaml"), "kind: ConfigMap\n").unwrap();
    let stories = folder.path().join("stories");
    fs::create_dir(&stories).unwrap();
    (folder, stories)
}

/// Why a story in that folder fails; empty if it passes.
fn why(text: &str) -> String {
    let (_folder, stories) = folder();
    fs::write(stories.join("base.yaml"), "policyFrom: ../policy.yaml\nobject: {kind: LLMDeployment}\n")
        .unwrap();
    let story = load::story(&stories.join("story.yaml"), text);
    story.and_then(|story| play(&story, &profiles())).err().unwrap_or_default()
}

#[test]
fn the_stories_in_the_documentation_pass() {
    for page in ["docs/stories.md", "docs/writing-a-policy.md"] {
        let docs = repository().join(page);
        let text = fs::read_to_string(&docs).unwrap();
        let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let stories: Vec<&str> = blocks.filter(|block| block.starts_with("story:")).collect();
        assert!(!stories.is_empty(), "no story in {page}");
        for text in stories {
            let story = load::story(&docs, text).unwrap();
            assert_eq!(play(&story, &profiles()), Ok(()), "{page}");
        }
    }
}

#[test]
fn the_documentation_names_every_key() {
    let text = fs::read_to_string(repository().join("docs/stories.md")).unwrap();
    // The keys are those that the message about an unknown key lists.
    let keys = |story: &str| -> Vec<String> {
        let told = why(story);
        let list = told.split("expected one of ").nth(1).unwrap_or_else(|| panic!("{told}"));
        list.split(", ").map(str::to_owned).collect()
    };
    let unknown =
        ["nix: 1\nstory: a", "story: a\nthen: [{nix: 1}]", "story: a\nthen: [{at: 0s, expect: {nix: 1}}]"];
    for key in unknown.iter().flat_map(|story| keys(story)) {
        assert!(text.contains(&format!("`{key}`")), "{key} is not in docs/stories.md");
    }
}

#[test]
fn every_story_of_the_engine_can_be_read() {
    let found = find::stories(&[repository().join("engine/tests/stories")]).unwrap();
    assert!(found.len() >= 20);
    for found in found {
        let story = load::story(&found.path, &found.text.unwrap());
        assert!(story.is_ok(), "{}: {:?}", found.path.display(), story.err());
    }
}

#[test]
fn what_is_wrong_with_a_story_is_said_in_one_line() {
    assert_eq!(why(STORY), "");
    assert_eq!(why(&STORY.replace("../policy.yaml", "../two.yaml#other")), "");
    let table = [
        (
            "nothing: true",
            "notihng: true",
            "line 7 column 25: unknown field `notihng`, expected one of phase",
        ),
        ("then:", "than:", "unknown field `than`"),
        ("at: 0s", "at: soon", "line 4 column 7: \"soon\" is not a duration"),
        ("at: 0s", "at: [", "line 4 column 7: "),
        ("nothing: true}", "nothing: true}\n---\nstory: b", "it has several documents"),
        ("then:", "policy: {mode: Enforced}\nthen:", "spec.mode: Enforced is not one of Observe, Enforce"),
        ("then:", "policy: {setps: []}\nthen:", "spec.setps: unknown field"),
        ("at: 0s", "at: 0s\n  policy: {setps: []}", "at 0s: the policy cannot be used: spec.setps: unknown"),
        ("policyFrom: ../policy.yaml", "", "it has no policy; name a manifest in `policyFrom`"),
        ("../policy.yaml", "../gone.yaml", "policyFrom ../gone.yaml: cannot be read: No such file"),
        (
            "../policy.yaml",
            "../none.yaml",
            "policyFrom ../none.yaml: it must have exactly one RemediationPolicy",
        ),
        ("../policy.yaml", "../two.yaml", "it has 2 policies; select one with ../two.yaml#NAME"),
        ("../policy.yaml", "../two.yaml#third", "exactly one RemediationPolicy named third"),
        ("policyFrom: ../policy.yaml", "from: gone.yaml", "from gone.yaml: cannot be read: No such file"),
        ("kind: LLMDeployment", "labels: {}", "at 0s: object chat has no kind"),
        ("gpuNodes", "gpuNode", "at 0s: the policy has no signal gpuNode; it has gpuNodes, models"),
    ];
    for (good, bad, expected) in table {
        assert!(STORY.contains(good), "{good}");
        let found = why(&STORY.replacen(good, bad, 1));
        assert!(found.contains(expected), "{bad}: {found}");
        assert!(!found.contains('\n') && !found.starts_with("error"), "{bad}: {found}");
    }
}

#[test]
fn a_step_for_a_kind_without_profile_refuses_the_policy_as_in_the_cluster() {
    let story = |expect: &str| {
        why(&format!(
            "story: a\npolicy: {{steps: [{{name: jobs, action: {{cpuFallback: {{targets: {{apiVersion: \
                batch/v1, \
             kind: Job}}}}}}}}]}}\nthen:\n- {{at: 0s, expect: {{{expect}}}}}\n"
        ))
    };
    let field = "spec.steps[0].action.cpuFallback.targets.kind";
    assert_eq!(story(&format!("refused: [\"{field}\"]")), "");
    let found = story("phase: None");
    assert!(
        found.contains(&format!("the policy is rejected: {field}: batch/v1 Job has no profile")),
        "{found}"
    );
}

#[test]
fn a_story_adds_to_what_it_starts_from_and_a_manifest_replaces_its_policy() {
    let story =
        STORY.replace("policyFrom: ../policy.yaml", "from: base.yaml").replace(", kind: LLMDeployment", "");
    assert_eq!(why(&story), "");
    let (_folder, stories) = folder();
    fs::write(
        stories.join("base.yaml"),
        "policy: {suspend: true, recovery: {when: \"true\"}}\nnamespace: a\n",
    )
    .unwrap();
    let both = STORY.replace("then:", "from: base.yaml\npolicy: {mode: Observe}\nthen:");
    let story = load::story(&stories.join("story.yaml"), &both).unwrap();
    assert!(!story.policy.suspend && story.policy.recovery.when.is_none(), "of the base nothing is left");
    assert_eq!(story.policy.mode, firebreak_engine::policy::Mode::Observe, "the story has the last word");
    assert_eq!(story.namespace.as_deref(), Some("llm-serving"), "where the manifest is");
}

#[test]
fn only_stories_are_found_in_a_folder_in_the_order_of_their_names() {
    let (folder, stories) = folder();
    for name in ["b.yml", "a.yaml", ".hidden.yaml", "c.txt"] {
        fs::write(stories.join(name), STORY).unwrap();
    }
    let long = "#".repeat(1 << 20);
    fs::write(stories.join("crds.yaml"), &long).unwrap();
    fs::write(stories.join("long.yaml"), format!("story: a\n{long}")).unwrap();
    fs::write(stories.join("bytes.yaml"), b"story: \xff\n").unwrap();
    fs::write(stories.join("template.yaml"), "a: {{ .Values.a }}\n").unwrap();
    fs::write(stories.join("empty.yaml"), "").unwrap();
    std::os::unix::fs::symlink("nowhere.yaml", stories.join("gone.yaml")).unwrap();
    std::os::unix::fs::symlink(folder.path(), stories.join("up")).unwrap();
    let found = find::stories(&[folder.path().to_owned()]).unwrap();
    let names = found.iter().map(|found| found.path.file_name().unwrap().to_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["a.yaml", "b.yml", "bytes.yaml", "gone.yaml", "long.yaml"]);
    let problems: Vec<&String> = found.iter().filter_map(|found| found.text.as_ref().err()).collect();
    assert_eq!(problems[0], "is not UTF-8 text");
    assert!(problems[1].starts_with("cannot be read: No such file"), "{}", problems[1]);
    assert_eq!(problems[2], "is longer than 1024 kB; split it");
}

#[test]
fn a_file_that_is_named_must_be_a_story() {
    let (folder, _) = folder();
    let path = folder.path().join("none.yaml");
    let found = find::stories(&[path]).unwrap().remove(0);
    assert_eq!(found.text.unwrap_err(), "it is not a story: it has no top-level key `story:`");
}
