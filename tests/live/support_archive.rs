//! `firebreak support`: what an archive for others contains, what it never contains, and what it says about what is missing.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill},
    support::manifest,
};

/// In everything that must not be in an archive.
const SECRET: &str = "hunter2";

/// A server with a token in a variable, on a node of the drill.
fn gateway(drill: &Drill) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gateway", "namespace": drill.world.a},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "gateway"}},
            "template": {"metadata": {"labels": {"app": "gateway"}}, "spec": {
                "nodeSelector": {"nvidia.com/gpu.pool": drill.world.id},
                "tolerations": [{"key": "nvidia.com/gpu.pool", "value": drill.world.id}],
                "containers": [{
                    "name": "main", "image": "example.com/vllm:1",
                    "env": [{"name": "HF_TOKEN", "value": format!("{SECRET}-variable")}],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }],
            }},
        },
    })
}

/// The operator of the test is a process. These are what it has in a cluster; its pod never starts.
async fn install_by_name(drill: &Drill) {
    let namespace = &drill.world.operator_namespace;
    let labels = json!({"app.kubernetes.io/name": "firebreak"});
    let env = json!([{"name": "PROXY", "value": format!("https://user:{SECRET}-proxy@example.com")}]);
    let container = json!({"name": "controller", "image": "example.com/firebreak:1", "env": env});
    let settings = json!({"name": "settings", "configMap": {"name": "settings"}});
    let pod = json!({"schedulerName": "nobody", "serviceAccountName": "firebreak", "containers": [container],
        "volumes": [settings]});
    let selector = json!({"matchLabels": labels});
    let documents = [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": namespace},
            "data": {"config.yaml": format!("endpoint: {{token: {SECRET}-configuration}}")}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "firebreak", "namespace": namespace,
            "labels": labels}, "spec": {"replicas": 0, "selector": selector,
            "template": {"metadata": {"labels": labels}, "spec": pod}}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "firebreak-0", "namespace": namespace,
            "labels": labels}, "spec": pod}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "settings", "namespace": namespace},
            "stringData": {"token": format!("{SECRET}-secret")}}),
    ];
    for document in documents {
        drill.world.create("alice", &document.to_string()).await;
    }
}

/// The files of an archive, without the folder that they are in.
fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).expect("the archive")));
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").components().skip(1).collect::<std::path::PathBuf>();
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        (name.display().to_string(), text)
    };
    archive.entries().expect("entries").map(read).collect()
}

#[tokio::test]
async fn an_archive_has_what_helps_and_no_secret_and_says_what_is_missing() {
    let drill = Drill::new("archive").await;
    let (a, namespace) = (&drill.world.a, &drill.world.operator_namespace);
    let _nodes = drill.world.gpu_nodes(1).await;
    let gateway = drill.world.create("flux", &gateway(&drill).to_string()).await;
    gateway[0].wait_until("it runs", drill::has_rolled_out).await;
    let _operator = drill.world.operator().start().await;
    install_by_name(&drill).await;
    let admission = drill.world.admission().await;
    let policy = drill
        .policy_with(|spec| {
            let targets = drill::targets(spec);
            targets["apiVersion"] = json!("apps/v1");
            targets["kind"] = json!("Deployment");
            let env = json!([{"name": "HF_TOKEN", "value": format!("{SECRET}-policy")}]);
            spec["steps"][0]["action"]["cpuFallback"]["containers"] = json!([{"name": "main", "env": env}]);
        })
        .await;
    let applied = json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{{\"x\": \"{SECRET}-applied\"}}")});
    policy.merge("alice", json!({"metadata": {"annotations": applied}})).await;
    let incident = drill.respond(&policy).await;
    incident.merge("alice", json!({"spec": {"summary": format!("password={SECRET}-summary")}})).await;
    incident.wait_for_event("Opened").await;
    let sealed = incident.get().await.data["status"]["changes"].to_string();
    assert!(sealed.contains("sha256"), "{incident}: nothing to redact in {sealed}");

    let path = drill.world.files().join("support.tar.gz");
    let file = path.display().to_string();
    let arguments = ["support", "-n", a, "--operator-namespace", namespace, "-o", &file];
    let done = drill.world.firebreak(&arguments).await;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    let files = unpacked(&path);
    for name in files.keys().filter(|name| *name != "index.yaml") {
        assert!(said.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is not in\n{said}");
    }
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("Before you share it, look at the logs"), "{said}");

    for (file, words) in [
        ("incidents/open.yaml", &[incident.name(), "/env/[name=HF_TOKEN]/value", "password=(redacted)"][..]),
        ("policies.yaml", &["name: drill", "kubectl.kubernetes.io/last-applied-configuration: (redacted)"]),
        ("events/firebreak.yaml", &["reportingComponent: firebreak.dev/firebreak", "reason: Opened"]),
        ("operator/lease.yaml", &["holderIdentity: firebreak-0"]),
        ("operator/deployments.yaml", &["example.com/firebreak:1", "name: PROXY"]),
        ("operator/configuration-settings.yaml", &["endpoint", "(redacted)"]),
        ("operator/pods.yaml", &["name: firebreak-0"]),
        ("cluster/definitions.yaml", &["incidents.firebreak.dev", "remediationpolicies.firebreak.dev"]),
    ] {
        let text = files.get(file).unwrap_or_else(|| panic!("no {file} in {:?}", files.keys()));
        for word in words {
            assert!(text.contains(word), "{file}: no {word:?} in {text}");
        }
    }
    for policy in admission.iter().filter(|object| object.kind() == "ValidatingAdmissionPolicy") {
        let text = &files["cluster/validatingadmissionpolicies.yaml"];
        assert!(text.contains(policy.name()), "no {policy} in {text}");
    }
    for (file, text) in &files {
        assert!(!text.contains(SECRET) && !text.contains("sha256: "), "{file}: {text}");
    }

    // A pod that never started has no log, and nothing answers for its metrics.
    let index = &manifest::documents(&files["index.yaml"])[0];
    let unread = index["notRead"].as_array().expect("a list");
    for what in [
        format!("log of container controller of pod {namespace}/firebreak-0"),
        format!("metrics of pod {namespace}/firebreak-0"),
        format!("brake: ConfigMap {namespace}/firebreak-brake"),
    ] {
        let entry = unread.iter().find(|entry| entry["what"] == json!(what));
        let entry = entry.unwrap_or_else(|| panic!("{what}: {unread:#?}"));
        assert!(entry["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{what}: {unread:#?}");
        assert!(said.contains(&what), "{what} is not in\n{said}");
    }

    // The roles of the chart suffice.
    let kubeconfig = drill.world.kubeconfig_for_support("colleague").await;
    let second = drill.world.files().join("colleague.tar.gz");
    let file = second.display().to_string();
    let done = drill
        .world
        .firebreak(&[
            "support",
            "-n",
            a,
            "--operator-namespace",
            namespace,
            "-o",
            &file,
            "--kubeconfig",
            &kubeconfig,
        ])
        .await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let theirs = unpacked(&second);
    assert!(theirs.keys().eq(files.keys()), "{:?} and {:?}", theirs.keys(), files.keys());
    let their_index = &manifest::documents(&theirs["index.yaml"])[0];
    assert_eq!(their_index["notRead"], index["notRead"]);

    let again = drill.world.firebreak(&arguments).await;
    let refused = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(1), "{refused}");
    assert!(refused.contains("choose another file with -o"), "{refused}");
    assert_eq!(unpacked(&path).len(), files.len(), "the first archive stays");
}
