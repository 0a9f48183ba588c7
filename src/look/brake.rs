//! The brake: a ConfigMap with which a person stops every response at once.
//!
//! # Guarantees
//! It is read live, and a brake that cannot be read counts as engaged: a response
//! may write only if the API server says that there is no such ConfigMap, or if the
//! ConfigMap says `engaged: "false"`.

use std::time::Duration;

use firebreak_engine::facts::Brake;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use prometheus::IntGauge;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::kubernetes::retry;

/// The name of the ConfigMap, in the operator's namespace.
pub const NAME: &str = "firebreak-brake";
/// Its key.
pub const KEY: &str = "engaged";

/// A reading that is older than this is not relied on. All responses share the readings, so that a burst of them does not
/// read the brake for each.
pub const FRESH: Duration = Duration::from_millis(100);

/// How long to wait for a reading that is under way.
const SHARED_WITHIN: Duration = Duration::from_secs(1);

/// The brake as it was read.
#[derive(Clone, Debug)]
pub struct BrakeReading {
    /// When the API server was asked.
    asked: Instant,
    /// Its answer.
    pub brake: Brake,
}

impl BrakeReading {
    /// Whether it can be relied on.
    pub fn is_fresh(&self) -> bool {
        self.asked.elapsed() < FRESH
    }
}

/// Reads the brake for everybody in this process.
#[derive(Debug)]
pub struct BrakeReader {
    api: Api<ConfigMap>,
    namespace: String,
    gauge: IntGauge,
    last: Mutex<Option<BrakeReading>>,
}

impl BrakeReader {
    /// Reads it in the namespace of the operator, as the operator. `gauge` is 1 if it was engaged when it was last read.
    pub fn new(client: Client, namespace: &str, gauge: IntGauge) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, namespace: namespace.to_owned(), gauge, last: Mutex::default() }
    }

    /// This process does not lead any more, so its metric says nothing about the brake.
    pub fn is_not_read_any_more(&self) {
        self.gauge.set(0);
    }

    /// The brake as it is now.
    pub async fn read(&self) -> BrakeReading {
        self.read_since(Instant::now()).await
    }

    /// The brake as it is, or was a moment ago.
    pub async fn read_fresh(&self) -> BrakeReading {
        let now = Instant::now();
        self.read_since(now.checked_sub(FRESH / 2).unwrap_or(now)).await
    }

    /// A reading for which the API server was asked at this moment or later. Of many that ask at once, one reads.
    async fn read_since(&self, oldest: Instant) -> BrakeReading {
        // An API server that does not answer one request may still answer the next one.
        let Ok(mut last) = timeout(SHARED_WITHIN, self.last.lock()).await else { return self.ask().await };
        if let Some(reading) = last.as_ref().filter(|reading| reading.asked >= oldest) {
            return reading.clone();
        }
        last.insert(self.ask().await).clone()
    }

    async fn ask(&self) -> BrakeReading {
        let asked = Instant::now();
        let brake = self.answer().await;
        self.gauge.set(i64::from(brake != Brake::Off));
        BrakeReading { asked, brake }
    }

    async fn answer(&self) -> Brake {
        match retry::find(NAME, || self.api.get(NAME)).await {
            Ok(map) => state(map.as_ref(), &self.namespace),
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    fn of(data: serde_json::Value) -> Brake {
        let map: ConfigMap = serde_json::from_value(json!({"data": data})).unwrap();
        state(Some(&map), "firebreak-system")
    }

    /// An API server that knows no brake, and the number of questions that it was asked.
    fn counted() -> (BrakeReader, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::default());
        let count = Arc::clone(&asked);
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let gone =
                    json!({"kind": "Status", "status": "Failure", "code": 404, "details": {"name": NAME}});
                let mut response =
                    http::Response::new(kube::client::Body::from(gone.to_string().into_bytes()));
                *response.status_mut() = http::StatusCode::NOT_FOUND;
                Ok::<_, tower::BoxError>(response)
            }
        });
        let gauge = IntGauge::new("brake", "brake").unwrap();
        (BrakeReader::new(kube::Client::new(service, "default"), "firebreak-system", gauge), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn many_share_a_reading_that_is_as_new_as_they_need() {
        let (reader, asked) = counted();
        let of_all = futures::future::join_all((0..50).map(|_| reader.read())).await;
        assert!(of_all.iter().all(|reading| reading.brake == Brake::Off), "{:?}", of_all[0]);
        assert_eq!(asked.load(Ordering::Relaxed), 1, "all of them asked at one moment");
        reader.read_fresh().await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        reader.read().await;
        assert_eq!(asked.load(Ordering::Relaxed), 2, "the brake as it is now");
        tokio::time::sleep(FRESH).await;
        reader.read_fresh().await;
        assert_eq!(asked.load(Ordering::Relaxed), 3, "the last reading is too old");
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
