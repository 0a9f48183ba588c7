//! What the API server says about its priority levels.

use std::{collections::BTreeMap, time::Duration};

use kube::Client;
use tokio::time::{sleep, timeout};

/// How long the API server may take to be overloaded, or to recover.
const PATIENCE: Duration = Duration::from_secs(120);
const PREFIX: &str = "apiserver_flowcontrol_";

/// The metrics of flow control at one moment, by name and priority level, summed over everything else.
pub struct Levels(BTreeMap<(String, String), f64>);

impl Levels {
    pub async fn now(client: &Client) -> Self {
        let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
        let text = client.request_text(request).await.expect("the administrator may read metrics");
        let mut all = BTreeMap::new();
        for line in text.lines() {
            let Some((name, rest)) = line.strip_prefix(PREFIX).and_then(|line| line.split_once('{')) else {
                continue;
            };
            let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
            let Some((_, level)) = labels.split_once("priority_level=\"") else { continue };
            let level = level.split('"').next().unwrap_or_default();
            *all.entry((name.to_owned(), level.to_owned())).or_default() +=
                value.parse::<f64>().unwrap_or_default();
        }
        Self(all)
    }

    fn of(&self, metric: &str, level: &str) -> f64 {
        self.0.get(&(metric.to_owned(), level.to_owned())).copied().unwrap_or_default()
    }

    /// Requests that were served so far.
    pub fn served(&self, level: &str) -> f64 {
        self.of("dispatched_requests_total", level)
    }

    /// Requests that were answered with 429 so far.
    pub fn rejected(&self, level: &str) -> f64 {
        self.of("rejected_requests_total", level)
    }

    /// Requests in the queues.
    pub fn waiting(&self, level: &str) -> f64 {
        self.of("current_inqueue_requests", level)
    }

    /// Seats that requests occupy.
    pub fn seats_in_use(&self, level: &str) -> f64 {
        self.of("current_executing_seats", level)
    }

    /// Seats of the level, after what it has lent and borrowed.
    pub fn seats(&self, level: &str) -> f64 {
        self.of("current_limit_seats", level)
    }
}

/// Waits until this many requests wait in the queues of a level.
pub async fn wait_until_waiting(client: &Client, level: &str, count: f64) {
    wait_until(client, &format!("{count} requests of {level} wait"), |levels| levels.waiting(level) >= count)
        .await;
}

/// Waits until requests of a level occupy this many seats.
pub async fn wait_until_full(client: &Client, level: &str, seats: f64) {
    wait_until(client, &format!("{seats} seats of {level} in use"), |levels| {
        levels.seats_in_use(level) >= seats
    })
    .await;
}

/// Waits until nothing waits, and nothing is served.
pub async fn wait_until_quiet(client: &Client, level: &str) {
    wait_until(client, &format!("{level} is quiet"), |levels| {
        levels.waiting(level) == 0.0 && levels.seats_in_use(level) == 0.0
    })
    .await;
}

async fn wait_until(client: &Client, wish: &str, is_so: impl Fn(&Levels) -> bool) {
    let asked = async {
        while !is_so(&Levels::now(client).await) {
            sleep(Duration::from_millis(500)).await;
        }
    };
    assert!(timeout(PATIENCE, asked).await.is_ok(), "not {wish} within {PATIENCE:?}");
}
