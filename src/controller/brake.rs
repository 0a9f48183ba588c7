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
    loop {
        let term = leadership.gained().await;
        tokio::select! {
            () = leadership.lost(&term) => {}
            () = read_again_and_again(operator) => {}
        }
        // Whoever leads now says what the brake is.
        operator.brake.is_not_read_any_more();
    }
}

async fn read_again_and_again(operator: &Operator) {
    let mut last = Brake::Off;
    loop {
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
