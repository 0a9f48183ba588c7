use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

use flate2::read::GzDecoder;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;

use super::*;
use crate::cli::support::archive::Archive;
use crate::cli::support::index::About;
use crate::cli::support::limit::ALL;

type Requests = Arc<Mutex<Vec<String>>>;

/// An API server with one pod of the operator, whose user may not list Incidents of all namespaces nor read definitions.
fn answer(target: &str) -> (u16, String) {
    let list = |items: Value| (200, json!({"metadata": {}, "items": items}).to_string());
    let refused = |code: u16, message: &str| {
        (code, json!({"kind": "Status", "status": "Failure", "code": code, "message": message}).to_string())
    };
    let container = json!({"name": "controller", "image": "firebreak:1", "env": [{"name": "A", "value": "hunter2"}],
        "ports": [{"name": "http", "containerPort": 9090}]});
    let pod = json!({"metadata": {"name": "firebreak-0"}, "spec": {"containers": [container]},
        "status": {"containerStatuses": [{"name": "controller", "restartCount": 2}]}});
    let volumes = json!([{"name": "c", "configMap": {"name": "settings"}}, {"name": "s", "secret": {"secretName": "s"}}]);
    let deployment =
        json!({"metadata": {"name": "firebreak"}, "spec": {"template": {"spec": {"volumes": volumes}}}});
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match path {
        "/apis/firebreak.dev/v1alpha1/incidents" => refused(403, "incidents is forbidden"),
        "/apis/firebreak.dev/v1alpha1/namespaces/mine/incidents" => list(json!([
            {"metadata": {"name": "open"}, "status": {}},
            {"metadata": {"name": "over"}, "status": {"resolvedAt": "2026-03-01T10:00:00Z"}},
        ])),
        "/apis/apps/v1/namespaces/ops/deployments" => list(json!([deployment])),
        "/api/v1/namespaces/ops/configmaps/settings" => {
            (200, json!({"metadata": {"name": "settings"}, "data": {"x": "password: hunter2"}}).to_string())
        }
        "/api/v1/namespaces/ops/pods" => list(json!([pod])),
        "/api/v1/namespaces/ops/pods/firebreak-0/log" if query.contains("previous=true") => {
            (200, "before\nsent Authorization: Bearer hunter2\n".to_owned())
        }
        "/api/v1/namespaces/ops/pods/firebreak-0/log" => refused(403, "pods/log is forbidden: token=hunter2"),
        "/api/v1/namespaces/ops/pods/firebreak-0:9090/proxy/metrics" => {
            (200, "firebreak_leader 1\n".to_owned())
        }
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/incidents.firebreak.dev" => (
            200,
            json!({"metadata": {"name": "incidents.firebreak.dev"},
                "spec": {"versions": [{"name": "v1alpha1", "served": true, "schema": {"x": 1}}]}})
            .to_string(),
        ),
        _ if path.contains("/customresourcedefinitions/") => refused(403, "definitions are forbidden"),
        _ if path.contains("/leases/") || path.contains("/configmaps/") => {
            let name = path.rsplit('/').next().unwrap_or_default();
            let status = json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound",
                "message": "not found", "details": {"name": name}});
            (404, status.to_string())
        }
        _ => list(json!([])),
    }
}

fn server(requests: &Requests) -> Client {
    let requests = Arc::clone(requests);
    let service = tower::service_fn(move |request: Request<Body>| {
        let target = request.uri().to_string();
        requests.lock().unwrap().push(format!("{} {target}", request.method()));
        let (code, body) = answer(&target);
        let response = Response::builder().status(code).body(Body::from(body.into_bytes()));
        async move { Ok::<_, tower::BoxError>(response?) }
    });
    Client::new(service, "mine")
}

fn files(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().strip_prefix("s").unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, text)
    };
    archive.entries().unwrap().map(read).collect()
}

/// The files of an archive that is made with this server, and the requests for it.
async fn collected() -> (BTreeMap<String, String>, Vec<String>) {
    collected_with_room(ALL).await
}

/// The same for an archive with so much room.
async fn collected_with_room(most: usize) -> (BTreeMap<String, String>, Vec<String>) {
    let requests = Requests::default();
    let client = server(&requests);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar.gz");
    let created = "2026-03-01T10:00:00Z".parse().unwrap();
    let mut archive = Archive::with_room(&path, "s".into(), created, most).unwrap();
    let mut reader = Reader { client: &client, archive: &mut archive, failure: None, narrowed: vec![] };
    let places = Places { namespace: None, fallback: "mine", operator: "ops" };
    let pods = all(&mut reader, &places).await.unwrap();
    let scope = places.scope(&reader.narrowed);
    let about = About { created, client: "0.1.0", server: None, scope, pods };
    archive.finish(about).unwrap();
    let requests = requests.lock().unwrap().clone();
    (files(&path), requests)
}

#[tokio::test]
async fn what_is_most_useful_is_in_the_archive_if_there_is_no_room_for_all() {
    let (whole, _) = collected().await;
    let index =
        |files: &BTreeMap<String, String>| -> Value { serde_saphyr::from_str(&files["index.yaml"]).unwrap() };
    let sizes = |files: &BTreeMap<String, String>| -> Vec<(String, u64)> {
        let entries = index(files)["files"].as_array().unwrap().clone();
        let entry =
            |entry: &Value| (entry["file"].as_str().unwrap().to_owned(), entry["bytes"].as_u64().unwrap());
        entries.iter().map(entry).collect()
    };
    let order: Vec<String> = sizes(&whole).into_iter().map(|(file, _)| file).collect();
    let place = |file: &str| order.iter().position(|other| other == file).unwrap();
    assert_eq!(place("incidents/open.yaml"), 0);
    assert_eq!(place("incidents/closed.yaml"), order.len() - 1);
    assert!(place("metrics/firebreak-0.txt") < place("logs/firebreak-0/controller.previous.log"));

    // Only the first file fits, and one byte.
    let first = usize::try_from(sizes(&whole)[0].1).unwrap();
    let (cut, requests) = collected_with_room(first + 1).await;
    assert_eq!(cut["incidents/open.yaml"], whole["incidents/open.yaml"]);
    assert!(sizes(&cut).iter().map(|(_, bytes)| bytes).sum::<u64>() <= first as u64 + 1);
    let entries = index(&cut)["files"].as_array().unwrap().clone();
    let left_out =
        |file: &str| entries.iter().find(|entry| entry["file"] == file).unwrap()["leftOut"].clone();
    assert_eq!(left_out("incidents/open.yaml"), Value::Null);
    assert_eq!(left_out("operator/pods.yaml"), "the last 1 objects: all files together have at most 64 MiB");
    assert_eq!(
        left_out("incidents/closed.yaml"),
        "the last 1 objects: all files together have at most 64 MiB"
    );

    // Without any room, no log is read, and the index says so.
    let (full, requests_when_full) = collected_with_room(first).await;
    let not_read = index(&full)["notRead"].as_array().unwrap().clone();
    let why = "all files together have at most 64 MiB";
    for what in [
        "log before the last restart of container controller of pod ops/firebreak-0",
        "metrics of pod ops/firebreak-0",
    ] {
        let found = not_read.iter().find(|unread| unread["what"] == what);
        assert_eq!(found.unwrap_or_else(|| panic!("{what}: {not_read:#?}"))["reason"], why);
    }
    let logs = |requests: &[String]| requests.iter().filter(|request| request.contains("/log?")).count();
    assert_eq!((logs(&requests), logs(&requests_when_full)), (2, 0));
}

#[tokio::test]
async fn everything_that_is_answered_is_in_the_archive_and_redacted() {
    let (files, _) = collected().await;
    assert_eq!(files["logs/firebreak-0/controller.previous.log"], "before\nsent Authorization: (redacted)\n");
    assert_eq!(files["metrics/firebreak-0.txt"], "firebreak_leader 1\n");
    assert!(files["incidents/open.yaml"].contains("name: open"), "{files:#?}");
    assert!(files["incidents/closed.yaml"].contains("name: over"), "{files:#?}");
    assert!(files["operator/pods.yaml"].contains("name: A"), "{files:#?}");
    assert!(files.contains_key("operator/configuration-settings.yaml"), "{files:#?}");
    let definitions = &files["cluster/definitions.yaml"];
    assert!(definitions.contains("v1alpha1") && !definitions.contains("schema"), "{definitions}");
    for (file, text) in &files {
        assert!(!text.contains("hunter2"), "{file}: {text}");
    }
    let index: Value = serde_saphyr::from_str(&files["index.yaml"]).unwrap();
    assert_eq!(index["pods"][0], json!({"name": "firebreak-0", "image": "firebreak:1", "restarts": 2}));
}

#[tokio::test]
async fn what_is_not_answered_is_in_the_index_with_the_reason() {
    let (files, _) = collected().await;
    let index: Value = serde_saphyr::from_str(&files["index.yaml"]).unwrap();
    let unread = index["notRead"].as_array().unwrap();
    let reason = |what: &str| {
        let found = unread.iter().find(|unread| unread["what"] == what);
        found.unwrap_or_else(|| panic!("{what}: {unread:#?}"))["reason"].as_str().unwrap()
    };
    assert_eq!(reason("Incidents of all namespaces"), "incidents is forbidden");
    assert_eq!(
        reason("log of container controller of pod ops/firebreak-0"),
        "pods/log is forbidden: token=(redacted)"
    );
    assert_eq!(
        reason("CustomResourceDefinition remediationpolicies.firebreak.dev"),
        "definitions are forbidden"
    );
    assert_eq!(reason("lease: Lease ops/firebreak"), "there is no Lease firebreak");
    assert_eq!(unread.len(), 5, "{unread:#?}");
}

#[tokio::test]
async fn the_index_names_the_namespace_that_was_read_in_place_of_all() {
    let (files, _) = collected().await;
    let index: Value = serde_saphyr::from_str(&files["index.yaml"]).unwrap();
    assert_eq!(index["scope"], "all namespaces, but only namespace mine for Incidents");
    let entries = index["files"].as_array().unwrap();
    let what = |file: &str| entries.iter().find(|entry| entry["file"] == file).unwrap()["what"].clone();
    assert_eq!(what("incidents/open.yaml"), "open Incidents of namespace mine");
    assert_eq!(what("policies.yaml"), "RemediationPolicies");
}

#[tokio::test]
async fn it_only_reads_and_never_a_secret() {
    let (_, requests) = collected().await;
    assert!(requests.len() > 10, "{requests:#?}");
    assert!(
        requests.iter().all(|request| request.starts_with("GET ") && !request.contains("/secrets")),
        "{requests:#?}"
    );
}
