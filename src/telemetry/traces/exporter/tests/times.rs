//! When requests are sent, by a clock that does not wait: the endpoint is a function.

use std::future;

use http::StatusCode;
use http_body_util::{BodyExt, Full};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, service_fn};

use super::*;
use crate::outbound::HttpClient;

/// A status, and what `Retry-After` says.
type Said = (u16, Option<&'static str>);

/// An endpoint that answers with these, and then accepts, and the seconds at which it was asked.
#[derive(Clone)]
struct Answers {
    left: Arc<Mutex<VecDeque<Said>>>,
    asked: Arc<Mutex<Vec<f64>>>,
    start: Instant,
}

impl Answers {
    fn saying(answers: impl IntoIterator<Item = Said>) -> Self {
        let left = Arc::new(Mutex::new(answers.into_iter().collect()));
        Self { left, asked: Arc::default(), start: Instant::now() }
    }

    fn run(&self) -> Running {
        let answers = self.clone();
        let client: HttpClient = BoxCloneSyncService::new(service_fn(move |_| future::ready(answers.next())));
        Running::through(Endpoint::answering(settings(SocketAddr::from(([127, 0, 0, 1], 1))), client))
    }

    fn next(&self) -> Result<http::Response<crate::outbound::AnswerBody>, BoxError> {
        self.asked.lock().unwrap().push(self.start.elapsed().as_secs_f64());
        let (status, after) = self.left.lock().unwrap().pop_front().unwrap_or((200, None));
        let mut response = http::Response::builder().status(StatusCode::from_u16(status)?);
        if let Some(after) = after {
            response = response.header("retry-after", after);
        }
        let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
        Ok(response.body(body)?)
    }

    /// The pauses between its requests, in seconds.
    fn pauses(&self) -> Vec<f64> {
        self.asked.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

/// Waits by the clock of the test until a counter has this value.
async fn until(running: &Running, fate: Fate, number: u64) {
    while running.counter.of(fate) < number {
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_busy_gets_the_spans_again_and_no_sooner_than_it_has_said() {
    let answers = Answers::saying([
        (503, Some("7")),
        (429, Some("0")),
        (502, Some("0")),
        (504, None),
        (503, Some("Wed, 21 Oct 2026 07:28:00 GMT")),
    ]);
    let running = answers.run();
    running.queue.add(span(1));
    until(&running, Fate::Sent, 1).await;
    let pauses = answers.pauses();
    // Between half of the wait and all of it, which doubles; never less, also if the endpoint asks for none.
    let expected = [(7.0, 7.1), (1.0, 2.1), (2.0, 4.1), (4.0, 8.1), (8.0, 16.1)];
    let is_right = pauses.iter().zip(expected).all(|(pause, (least, most))| (least..most).contains(pause));
    assert!(pauses.len() == 5 && is_right, "{pauses:?}");
    assert_eq!(running.ended().await, [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_wants_a_long_pause_gets_it_although_the_spans_are_lost() {
    let answers = Answers::saying([(503, Some("200")), (503, Some("86400"))]);
    let running = answers.run();
    running.queue.add(span(1));
    until(&running, Fate::Failed, 1).await;
    assert_eq!(answers.asked.lock().unwrap().len(), 1, "the batch is given up at once");
    running.queue.add(span(2));
    until(&running, Fate::Failed, 2).await;
    running.queue.add(span(3));
    until(&running, Fate::Sent, 1).await;
    let pauses = answers.pauses();
    assert!((200.0..200.1).contains(&pauses[0]), "of another batch too: {pauses:?}");
    assert!((300.0..300.1).contains(&pauses[1]), "five minutes at most: {pauses:?}");
    assert_eq!(running.ended().await, [1, 0, 0, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_process_is_the_last_try_unless_the_endpoint_wants_none() {
    for (after, ended, requests) in [(None, [1, 0, 0, 0], 2), (Some("60"), [0, 0, 0, 1], 1)] {
        let answers = Answers::saying([(503, after)]);
        let running = answers.run();
        running.queue.add(span(1));
        while answers.asked.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(running.ended().await, ended, "{after:?}");
        assert_eq!(answers.asked.lock().unwrap().len(), requests, "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_stays_away_costs_each_batch_two_minutes_at_most() {
    let answers = Answers::saying(std::iter::repeat_n((503, None), 100));
    let running = answers.run();
    running.queue.add(span(1));
    until(&running, Fate::Failed, 1).await;
    let spent = answers.start.elapsed();
    assert!(spent <= GATHER + PATIENCE + Duration::from_secs(1), "{spent:?}");
    assert_eq!(running.ended().await[3], 1);
}
