//! The brake: a ConfigMap with which a person stops every response at once.
//!
//! # Guarantees
//! It is read live, and a brake that cannot be read counts as engaged: a response
//! may write only if the API server says that there is no such ConfigMap, or if the
//! ConfigMap says `engaged: "false"`.

use firebreak_engine::facts::Brake;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use prometheus::IntGauge;

use crate::kubernetes::retry;

/// The name of the ConfigMap, in the operator's namespace.
pub const NAME: &str = "firebreak-brake";
/// Its key.
pub const KEY: &str = "engaged";

/// Where the brake is.
#[derive(Clone, Copy)]
pub struct BrakeOf<'a> {
    /// The operator's own client.
    pub client: &'a Client,
    /// The operator's namespace.
    pub namespace: &'a str,
    /// The state when it was last read: 1 if it was engaged.
    pub gauge: &'a IntGauge,
}

impl BrakeOf<'_> {
    /// Reads it.
    pub async fn read(&self) -> Brake {
        let brake = self.look().await;
        self.gauge.set(i64::from(brake != Brake::Off));
        brake
    }

    async fn look(&self) -> Brake {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.namespace);
        match retry::find(NAME, || api.get(NAME)).await {
            Ok(map) => state(map.as_ref(), self.namespace),
            Err(error) => engaged(format!(
                "the brake counts as engaged, because ConfigMap {}/{NAME} cannot be read: {}",
                self.namespace,
                retry::explain(&error)
            )),
        }
    }
}

/// The state according to the ConfigMap; none: there is no ConfigMap.
pub fn state(map: Option<&ConfigMap>, namespace: &str) -> Brake {
    let Some(map) = map else { return Brake::Off };
    match map.data.as_ref().and_then(|data| data.get(KEY)).map(String::as_str) {
        Some("false") => Brake::Off,
        Some("true") => engaged(format!("the brake is engaged (ConfigMap {namespace}/{NAME})")),
        Some(_) | None => engaged(format!(
            "the brake counts as engaged, because ConfigMap {namespace}/{NAME} does not say data.{KEY}: \"true\" or \"false\""
        )),
    }
}

fn engaged(why: String) -> Brake {
    Brake::Engaged { why }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(data: serde_json::Value) -> Brake {
        let map: ConfigMap = serde_json::from_value(json!({"data": data})).unwrap();
        state(Some(&map), "firebreak-system")
    }

    #[test]
    fn only_no_configmap_and_a_plain_false_let_responses_write() {
        assert_eq!(state(None, "ns"), Brake::Off);
        assert_eq!(of(json!({"engaged": "false"})), Brake::Off);
        for engaged in [
            json!({"engaged": "true"}),
            json!({"engaged": "False"}),
            json!({"engaged": ""}),
            json!({"engaged": " false"}),
            json!({"enganged": "false"}),
            json!({}),
        ] {
            assert!(matches!(of(engaged.clone()), Brake::Engaged { .. }), "{engaged}");
        }
    }
}
