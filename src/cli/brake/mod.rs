//! `firebreak brake`: engages and releases the brake, and says where it stands.

mod withdraw_all;

use firebreak_engine::facts::Brake;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::connection::Connection;
use super::screen::{Line, Screen, Style};
use super::{Answer, Error};
use crate::api::names;
use crate::controller::brake::{KEY, NAME, state};
use crate::kubernetes::retry;
use crate::settings::{BrakeArgs, BrakeCommand};

/// The brake may be made or deleted between our read and our write.
const TRIES: u32 = 5;

/// Sets the brake or asks for it.
pub async fn run(screen: &Screen, connection: &Connection, args: &BrakeArgs) -> Result<Answer, Error> {
    let brake = BrakeMap {
        api: Api::namespaced(connection.client.clone(), &args.namespace),
        namespace: &args.namespace,
    };
    match &args.command {
        BrakeCommand::Status => {
            let map = brake.read().await?;
            screen.lines(&brake.lines(map.as_ref()))?;
        }
        BrakeCommand::Off => {
            let map = brake.set("false").await?;
            screen.lines(&brake.lines(map.as_ref()))?;
        }
        BrakeCommand::On(on) => {
            let map = brake.set("true").await?;
            screen.lines(&brake.lines(map.as_ref()))?;
            if on.withdraw_all {
                return withdraw_all::run(screen, connection, on).await;
            }
        }
    }
    Ok(Answer::Yes)
}

/// The ConfigMap that is the brake of the operator in a namespace.
struct BrakeMap<'a> {
    api: Api<ConfigMap>,
    namespace: &'a str,
}

impl BrakeMap<'_> {
    async fn read(&self) -> Result<Option<ConfigMap>, Error> {
        retry::find(NAME, || self.api.get(NAME)).await.map_err(|error| self.failed("read", &error))
    }

    /// Sets it. None: there is none, which is off.
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
                    // Made or deleted meanwhile, or the answer was lost; the next read tells.
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
                    .and(format!(": responses of the operator in namespace {} may write", self.namespace)),
            ],
            Brake::Engaged { why } => vec![
                Line::styled(Style::Bad, "on").and(format!(": {why}")),
                Line::of(
                    "  no response starts another write, and what is applied stays applied; `firebreak brake off` releases it",
                ),
            ],
        }
    }

    fn failed(&self, verb: &str, error: &kube::Error) -> Error {
        let what = format!("cannot {verb} the brake, ConfigMap {}/{NAME}", self.namespace);
        match error {
            kube::Error::Api(status) if status.code == 404 => {
                Error::failed(what, retry::explain(error), "name the operator's own namespace with -n")
            }
            other => Error::request(what, other),
        }
    }
}
