//! The election against a Lease service in memory, in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// One Lease with the compare-and-swap of a real API server.
#[derive(Default)]
struct Store {
    lease: Option<Value>,
    version: u64,
    writes: usize,
    reads: usize,
}

impl Store {
    fn answer(&mut self, method: &Method, body: &[u8]) -> (u16, Value) {
        if *method == Method::GET {
            self.reads += 1;
            return match &self.lease {
                Some(lease) => (200, lease.clone()),
                None => failure(404, "NotFound"),
            };
        }
        self.writes += 1;
        let sent: Value = serde_json::from_slice(body).unwrap();
        let expected = sent["metadata"]["resourceVersion"].as_str();
        let current = self.lease.as_ref().map(|l| l["metadata"]["resourceVersion"].clone());
        match (method.as_str(), current) {
            ("POST", Some(_)) => failure(409, "AlreadyExists"),
            ("PUT", None) => failure(404, "NotFound"),
            ("PUT", Some(current)) if current.as_str() != expected => failure(409, "Conflict"),
            _ => (200, self.store(sent)),
        }
    }

    fn store(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }

    fn holder(&self) -> String {
        let holder = self.lease.as_ref().and_then(|l| l["spec"]["holderIdentity"].as_str());
        holder.unwrap_or_default().to_owned()
    }
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}))
}

/// The fate of one candidate's requests.
#[derive(Clone, Copy, Default)]
struct Link {
    there: Duration,
    back: Duration,
    loses_replies: bool,
    is_down: bool,
}

type Shared<T> = Arc<Mutex<T>>;

/// A client over a link. A request that was sent arrives, even if its sender has given up on it.
fn client(store: &Shared<Store>, link: &Shared<Link>) -> Client {
    let (store, link) = (Arc::clone(store), Arc::clone(link));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (store, link) = (Arc::clone(&store), *link.lock().unwrap());
        let travel = async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            sleep(link.there).await;
            let answer = store.lock().unwrap().answer(&head.method, &body);
            sleep(link.back).await;
            answer
        };
        async move {
            if link.is_down {
                return Err(tower::BoxError::from("connection refused"));
            }
            let (code, body) = tokio::spawn(travel).await?;
            if link.loses_replies {
                std::future::pending::<()>().await;
            }
            let mut response = Response::new(Body::from(body.to_string().into_bytes()));
            *response.status_mut() = StatusCode::from_u16(code)?;
            Ok(response)
        }
    });
    Client::new(service, "firebreak-system")
}

/// A process that stands for election.
struct Process {
    link: Shared<Link>,
    leadership: Leadership,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    fn start(store: &Shared<Store>, identity: &str) -> Self {
        let link = Shared::<Link>::default();
        let times = LeaseTimes::lasting(SECOND * 15);
        let client = client(store, &link);
        let (election, leadership) =
            Election::new(client, "firebreak-system", "firebreak", identity.to_owned(), times);
        let stop = CancellationToken::new();
        let task = tokio::spawn(election.run(stop.clone()));
        Self { link, leadership, stop, task }
    }

    fn set(&self, link: Link) {
        *self.link.lock().unwrap() = link;
    }

    async fn lost(&mut self) {
        let term = self.leadership.term().expect("it leads");
        self.leadership.lost(&term).await;
    }

    fn kill(self) {
        self.task.abort();
    }
}

async fn leading(store: &Shared<Store>, identity: &str) -> Process {
    let mut process = Process::start(store, identity);
    process.leadership.gained().await;
    process
}

#[tokio::test(start_paused = true)]
async fn the_first_candidate_leads_and_the_second_stands_by() {
    let store = Shared::<Store>::default();
    let first = leading(&store, "a").await;
    let second = Process::start(&store, "b");
    sleep(SECOND * 60).await;
    assert!(first.leadership.leads());
    assert_eq!(second.leadership.state(), ElectionState::Standby { holder: "a".into() });
    assert_eq!(first.leadership.term().unwrap().previous_renewal, None);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_one_write_and_nothing_else() {
    let store = Shared::<Store>::default();
    let _process = leading(&store, "a").await;
    let requests = || {
        let store = store.lock().unwrap();
        (store.writes, store.reads)
    };
    let (writes, reads) = requests();
    sleep(SECOND * 60 + SECOND / 2).await;
    assert_eq!(requests(), (writes + 30, reads));
}

#[tokio::test(start_paused = true)]
async fn renewals_wake_nobody() {
    let store = Shared::<Store>::default();
    let mut process = leading(&store, "a").await;
    let changed = tokio::time::timeout(SECOND * 60, process.leadership.changed()).await;
    assert!(changed.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_restarts_under_its_own_name_goes_on_at_once() {
    let store = Shared::<Store>::default();
    leading(&store, "a").await.kill();
    let before = Instant::now();
    let again = leading(&store, "a").await;
    assert!(before.elapsed() < SECOND);
    assert!(again.leadership.term().unwrap().previous_renewal.is_some());
    assert_eq!(store.lock().unwrap().lease.as_ref().unwrap()["spec"]["leaseTransitions"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_succeeded_after_its_lease_ran_out() {
    let store = Shared::<Store>::default();
    let first = leading(&store, "a").await;
    let mut second = Process::start(&store, "b");
    sleep(SECOND * 5).await;
    let renewed = store.lock().unwrap().lease.as_ref().unwrap()["spec"]["renewTime"].clone();
    first.kill();
    let before = Instant::now();
    let term = second.leadership.gained().await;
    assert!(before.elapsed() > SECOND * 12 && before.elapsed() < SECOND * 19, "{:?}", before.elapsed());
    let previous: Timestamp = serde_json::from_value(renewed).unwrap();
    assert_eq!(term.previous_renewal, Some(previous));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_taken_without_waiting() {
    let store = Shared::<Store>::default();
    let first = leading(&store, "a").await;
    let mut second = Process::start(&store, "b");
    sleep(SECOND * 5).await;
    first.stop.cancel();
    first.task.await.unwrap();
    assert_eq!(store.lock().unwrap().holder(), "");
    let before = Instant::now();
    let term = second.leadership.gained().await;
    assert!(before.elapsed() <= SECOND * 2);
    assert!(term.previous_renewal.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_stops_does_not_touch_the_lease() {
    let store = Shared::<Store>::default();
    let _first = leading(&store, "a").await;
    let second = Process::start(&store, "b");
    sleep(SECOND * 5).await;
    second.stop.cancel();
    second.task.await.unwrap();
    assert_eq!(store.lock().unwrap().holder(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_overtakes_a_lost_renewal_still_releases() {
    let store = Shared::<Store>::default();
    let first = leading(&store, "a").await;
    first.set(Link { loses_replies: true, ..Link::default() });
    sleep(SECOND * 3).await;
    first.set(Link::default());
    first.stop.cancel();
    first.task.await.unwrap();
    assert_eq!(store.lock().unwrap().holder(), "");
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_server_steps_down_before_the_lease_runs_out_and_comes_back() {
    let store = Shared::<Store>::default();
    let mut process = leading(&store, "a").await;
    process.set(Link { is_down: true, ..Link::default() });
    let before = Instant::now();
    process.lost().await;
    assert!(before.elapsed() <= SECOND * 10, "{:?}", before.elapsed());
    sleep(SECOND * 5).await;
    assert_eq!(process.leadership.state(), ElectionState::Unknown);

    process.set(Link::default());
    process.leadership.gained().await;
    assert!(process.leadership.leads());
}

#[tokio::test(start_paused = true)]
async fn one_lost_reply_does_not_end_the_term() {
    let store = Shared::<Store>::default();
    let mut process = leading(&store, "a").await;
    process.set(Link { loses_replies: true, ..Link::default() });
    sleep(SECOND * 3).await;
    process.set(Link::default());
    let lost = tokio::time::timeout(SECOND * 60, process.lost()).await;
    assert!(lost.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_label_on_the_lease_does_not_end_the_term() {
    let store = Shared::<Store>::default();
    let mut process = leading(&store, "a").await;
    let mut labelled = store.lock().unwrap().lease.clone().unwrap();
    labelled["metadata"]["labels"] = json!({"team": "serving"});
    store.lock().unwrap().store(labelled);
    let lost = tokio::time::timeout(SECOND * 60, process.lost()).await;
    assert!(lost.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_made_again() {
    let store = Shared::<Store>::default();
    let mut process = leading(&store, "a").await;
    store.lock().unwrap().lease = None;
    process.lost().await;
    process.leadership.gained().await;
    assert_eq!(store.lock().unwrap().holder(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_standby_does_not_take_advantage_of_a_deleted_lease() {
    let store = Shared::<Store>::default();
    let first = leading(&store, "a").await;
    let second = Process::start(&store, "b");
    sleep(SECOND * 5).await;
    first.set(Link { is_down: true, ..Link::default() });
    store.lock().unwrap().lease = None;
    sleep(SECOND * 7).await;
    assert!(first.leadership.leads() && !second.leadership.leads());
    sleep(SECOND * 15).await;
    assert!(!first.leadership.leads() && second.leadership.leads());
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_with_one_name_the_older_steps_down_for_good() {
    let store = Shared::<Store>::default();
    let mut older = leading(&store, "a").await;
    let newer = leading(&store, "a").await;
    let before = Instant::now();
    older.lost().await;
    assert!(before.elapsed() <= SECOND * 2);
    sleep(SECOND * 60).await;
    assert!(newer.leadership.leads());
    assert!(!older.leadership.leads());
}

#[tokio::test(start_paused = true)]
async fn without_election_the_process_always_leads() {
    let mut leadership = Leadership::without_election();
    assert!(leadership.leads());
    let term = leadership.gained().await;
    assert!(tokio::time::timeout(SECOND * 60, leadership.lost(&term)).await.is_err());
}

/// A random state of the network.
fn any_link(dice: &mut fastrand::Rng) -> Link {
    let delay = |dice: &mut fastrand::Rng| match dice.u64(..3) {
        0 => Duration::ZERO,
        1 => Duration::from_millis(dice.u64(..3_000)),
        _ => Duration::from_millis(dice.u64(..14_000)),
    };
    Link {
        there: delay(dice),
        back: delay(dice),
        loses_replies: dice.u8(..6) == 0,
        is_down: dice.u8(..8) == 0,
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_never_lead_at_once_whatever_the_network_does() {
    let mut terms = 0;
    for seed in 1..=30 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let store = Shared::<Store>::default();
        let names = ["a", "b", "c"];
        let mut processes: Vec<Process> = names.iter().map(|n| Process::start(&store, n)).collect();
        let mut leader = None;
        for _tick in 0..6_000 {
            sleep(Duration::from_millis(50)).await;
            let one = dice.usize(..3);
            match dice.u16(..400) {
                0..=9 => processes[one].set(any_link(&mut dice)),
                10..=19 => processes[one].set(Link::default()),
                20 => {
                    let restarted = Process::start(&store, names[one]);
                    std::mem::replace(&mut processes[one], restarted).kill();
                }
                21 => processes[one].stop.cancel(),
                22 if processes[one].task.is_finished() => {
                    processes[one] = Process::start(&store, names[one]);
                }
                _ => {}
            }
            let leaders: Vec<usize> = (0..3).filter(|p| processes[*p].leadership.leads()).collect();
            assert!(leaders.len() < 2, "seed {seed}: {leaders:?} lead at once");
            if leaders.first() != leader.as_ref() {
                leader = leaders.first().copied();
                terms += usize::from(leader.is_some());
            }
        }
        processes.into_iter().for_each(Process::kill);
    }
    assert!(terms > 100, "the network was so bad that nothing was tested: {terms} terms");
}
