//! `firebreak brake`: engages and releases the brake, and shows its state.

mod withdraw_all;

use firebreak_engine::facts::Brake;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::connection::Connection;
use super::screen::{Line, Screen, Style, note};
use super::time::age;
use super::{Answer, Error};
use crate::api::{SHIPPED_NAMESPACE, names};
use crate::kubernetes::retry;
use crate::look::brake::{KEY, NAME, state};
use crate::settings::{BrakeArgs, BrakeCommand};

/// The brake may be created or deleted between our read and our write.
const TRIES: u32 = 5;
/// What to do if it was read in the wrong namespace.
const NAME_IT: &str = "set the namespace of the operator with -n";

/// Sets or shows the brake.
pub async fn run(screen: &Screen, connection: &Connection, args: &BrakeArgs) -> Result<Answer, Error> {
    let brake = BrakeMap {
        api: Api::namespaced(connection.client.clone(), &args.namespace),
        namespace: &args.namespace,
    };
    let map = match &args.command {
        BrakeCommand::Status => brake.read().await?,
        BrakeCommand::Off => brake.set("false").await?,
        BrakeCommand::On(_) => brake.set("true").await?,
    };
    screen.lines(&brake.lines(map.as_ref()))?;
    // A brake that only seems to be on is worse than none.
    if let Some(absence) = connection.operator.absence().await {
        note(&format!("{absence}, and an operator in another namespace does not read this brake; {NAME_IT}"));
    }
    match &args.command {
        BrakeCommand::On(on) if on.withdraw_all => withdraw_all::run(screen, connection, on).await,
        BrakeCommand::On(_) | BrakeCommand::Off | BrakeCommand::Status => Ok(Answer::Yes),
    }
}

/// The ConfigMap that is the brake of the operator in a namespace.
struct BrakeMap<'a> {
    api: Api<ConfigMap>,
    namespace: &'a str,
}

impl BrakeMap<'_> {
    async fn read(&self) -> Result<Option<ConfigMap>, Error> {
        let found = retry::find(NAME, || self.api.get(NAME)).await;
        let found = found.map_err(|error| self.failed("read", &error))?;
        if found.is_none() {
            self.must_be_somewhere().await?;
        }
        Ok(found)
    }

    /// Without this namespace there is no operator, so "off" would be misleading. A user who may not read
    /// namespaces sees what the ConfigMap says.
    async fn must_be_somewhere(&self) -> Result<(), Error> {
        let api: Api<Namespace> = Api::all(self.api.clone().into_client());
        match retry::find(self.namespace, || api.get(self.namespace)).await {
            Ok(None) => Err(Error::failed(
                format!("cannot find the brake, ConfigMap {}/{NAME}", self.namespace),
                format!("namespace {} does not exist", self.namespace),
                NAME_IT,
            )),
            Ok(Some(_)) | Err(_) => Ok(()),
        }
    }

    /// The command with this verb, for the same operator.
    fn command(&self, verb: &str) -> String {
        let place = if self.namespace == SHIPPED_NAMESPACE {
            String::new()
        } else {
            format!(" -n {}", self.namespace)
        };
        format!("firebreak brake {verb}{place}")
    }

    /// Sets it. None: there is no ConfigMap, which means off.
    async fn set(&self, engaged: &str) -> Result<Option<ConfigMap>, Error> {
        let mut tried = 0;
        loop {
            let found = self.read().await?;
            let says = found.as_ref().and_then(|map| map.data.as_ref()?.get(KEY)).map(String::as_str);
            if says == Some(engaged) || (found.is_none() && engaged == "false") {
                return Ok(found);
            }
            let set = match found {
                Some(_) => self.patch(engaged).await,
                None => self.create(engaged).await,
            };
            match set {
                Ok(map) => return Ok(Some(map)),
                Err(error) => {
                    tried += 1;
                    // Created or deleted in the meantime, or the answer was lost; the next read shows it.
                    let moved =
                        matches!(&error, kube::Error::Api(status) if matches!(status.code, 404 | 409));
                    if tried >= TRIES || !(moved || retry::is_transient(&error)) {
                        return Err(self.failed("set", &error));
                    }
                    tokio::time::sleep(retry::asked_to_wait(&error)).await;
                }
            }
        }
    }

    async fn patch(&self, engaged: &str) -> Result<ConfigMap, kube::Error> {
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        self.api.patch(NAME, &params, &Patch::Merge(&json!({"data": {KEY: engaged}}))).await
    }

    async fn create(&self, engaged: &str) -> Result<ConfigMap, kube::Error> {
        let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(self.namespace.to_owned()),
                labels: Some([(names::MANAGED_BY.to_owned(), names::MANAGER.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some([(KEY.to_owned(), engaged.to_owned())].into()),
            ..ConfigMap::default()
        };
        self.api.create(&params, &map).await
    }

    fn lines(&self, map: Option<&ConfigMap>) -> Vec<Line> {
        match state(map, self.namespace) {
            Brake::Off => vec![
                Line::of("the brake is ")
                    .add(Style::Good, "off")
                    .and(format!(": the operator in namespace {} may write", self.namespace)),
            ],
            Brake::Engaged { why } => vec![
                Line::styled(Style::Bad, "on").and(format!(": {why}{}", map.map(set_by).unwrap_or_default())),
                Line::of(format!(
                    "  no response starts another write, and applied changes stay; `{}` releases it",
                    self.command("off")
                )),
            ],
        }
    }

    fn failed(&self, verb: &str, error: &kube::Error) -> Error {
        let what = format!("cannot {verb} the brake, ConfigMap {}/{NAME}", self.namespace);
        match error {
            kube::Error::Api(status) if status.code == 404 => {
                Error::failed(what, retry::explain(error), NAME_IT)
            }
            other => Error::request(what, other),
        }
    }
}

/// The client that set the brake and when, to be added to a text; empty if the ConfigMap does not tell. The API server
/// records no users there, so it is the field manager.
fn set_by(map: &ConfigMap) -> String {
    let key = format!("f:{KEY}");
    let owns_it = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|owned| owned.0["f:data"].get(&key).is_some())
    };
    let entries = map.metadata.managed_fields.iter().flatten();
    let Some(entry) = entries.filter(owns_it).max_by_key(|entry| entry.time.as_ref().map(|at| at.0)) else {
        return String::new();
    };
    let manager = entry.manager.as_deref().unwrap_or("an unnamed client");
    let at = entry.time.as_ref().map(|at| format!(" {} ago", age(at.0, Timestamp::now())));
    format!(", set by {manager}{}", at.unwrap_or_default())
}
