//! Reads the brake while nothing is written.

use std::time::Duration;

use firebreak_engine::facts::Brake;

use super::Operator;

/// How often it is read while nothing is written.
const EVERY: Duration = Duration::from_secs(30);

/// Reads it at intervals while this process leads, so that a forgotten brake is visible even while nothing is
/// written: in the metric and in the log.
pub(super) async fn keep_an_eye_on_it(operator: &Operator) {
    let mut leadership = operator.context.leadership.clone();
    let mut last = Brake::Off;
    loop {
        leadership.gained().await;
        let brake = operator.brake.read().await.brake;
        match &brake {
            Brake::Engaged { why } if brake != last => tracing::warn!(why, "no response writes"),
            Brake::Off if brake != last => tracing::info!("the brake is off"),
            Brake::Engaged { .. } | Brake::Off => {}
        }
        last = brake;
        tokio::time::sleep(EVERY).await;
    }
}
