use firebreak_engine::alerts::{AlertState, Emergency, Extent, Message, SentAlert, take_in};
use firebreak_engine::rules::Rules;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::oneshot::Receiver;

use super::*;

fn rules() -> Rules {
    let spec = json!({"signals": [{"name": "s", "alertmanager": {"receive": {}}}]});
    Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap()
}

fn news(numbers: impl IntoIterator<Item = usize>, state: AlertState) -> BTreeMap<String, News> {
    let alert = |number| SentAlert {
        fingerprint: format!("{number:016x}").parse().unwrap(),
        state,
        labels: Some(BTreeMap::new()),
    };
    let alerts = numbers.into_iter().map(alert).collect();
    News::of(&Message { alerts, extent: Extent::Whole }, &rules())
}

fn firing(numbers: impl IntoIterator<Item = usize>) -> BTreeMap<String, News> {
    news(numbers, AlertState::Firing)
}

fn epoch(generation: i64, term: u64) -> Epoch {
    Epoch { uid: Some("u".to_owned()), generation: Some(generation), term }
}

fn policy() -> Name {
    Name::new("ns", "p")
}

fn put(inbox: &Inbox, news: BTreeMap<String, News>) -> Receiver<Answer> {
    let (sender, receiver) = oneshot::channel();
    inbox.put(&policy(), epoch(1, 1), news, sender).unwrap();
    receiver
}

/// How many alerts fire according to what a pass takes, and when it looks again.
fn take(inbox: &Inbox, epoch: &Epoch, now: Instant) -> (usize, Option<Duration>) {
    let (news, again) = inbox.take(&policy(), epoch, now);
    let known = take_in(&[], &rules(), &news, Emergency::None, Timestamp::UNIX_EPOCH);
    (known.first().map_or(0, |known| known.firing.len()), again)
}

#[test]
fn a_sender_is_answered_when_its_message_is_recorded_and_not_before() {
    let (inbox, now) = (Inbox::default(), Instant::now());
    let mut first = put(&inbox, firing([1, 2]));
    assert_eq!(take(&inbox, &epoch(1, 1), now), (2, None));
    let mut later = put(&inbox, firing([3]));
    assert!(first.try_recv().is_err(), "it is not recorded yet");
    inbox.settle(&policy(), Recording::Written, now);
    assert_eq!(first.try_recv(), Ok(Answer::Recorded));
    assert!(later.try_recv().is_err(), "no pass has taken it");
}

#[test]
fn what_could_not_be_recorded_is_taken_again_with_what_came_since() {
    let (inbox, now) = (Inbox::default(), Instant::now());
    let mut first = put(&inbox, firing([1]));
    assert_eq!(take(&inbox, &epoch(1, 1), now), (1, None));
    put(&inbox, firing([2]));
    assert_eq!(take(&inbox, &epoch(1, 1), now), (2, None));
    let mut resolved = put(&inbox, news([1], AlertState::Resolved));
    assert_eq!(take(&inbox, &epoch(1, 1), now), (1, None));
    inbox.settle(&policy(), Recording::Written, now);
    assert_eq!((first.try_recv(), resolved.try_recv()), (Ok(Answer::Recorded), Ok(Answer::Recorded)));
}

#[test]
fn a_policy_is_written_at_most_once_a_second_because_of_alerts() {
    let (inbox, start) = (Inbox::default(), Instant::now());
    let _first = put(&inbox, firing([1]));
    take(&inbox, &epoch(1, 1), start);
    inbox.settle(&policy(), Recording::Written, start);
    assert_eq!(take(&inbox, &epoch(1, 1), start), (0, None), "nothing waits");
    let _second = put(&inbox, firing([2]));
    let early = start + Duration::from_millis(400);
    assert_eq!(take(&inbox, &epoch(1, 1), early), (0, Some(Duration::from_millis(600))));
    inbox.settle(&policy(), Recording::Written, early);
    assert_eq!(
        take(&inbox, &epoch(1, 1), start + EVERY),
        (1, None),
        "a write without alerts holds up nothing"
    );
    inbox.settle(&policy(), Recording::NothingNew, start + EVERY);
    let _third = put(&inbox, firing([3]));
    assert_eq!(take(&inbox, &epoch(1, 1), start + EVERY), (1, None), "a replay writes nothing");
}

#[test]
fn what_waits_counts_for_one_generation_and_one_term() {
    for other in [epoch(2, 1), epoch(1, 2)] {
        let (inbox, now) = (Inbox::default(), Instant::now());
        let mut sender = put(&inbox, firing([1]));
        assert_eq!(take(&inbox, &other, now), (0, None));
        assert_eq!(sender.try_recv(), Err(oneshot::error::TryRecvError::Closed), "it is to be sent again");
    }
}

#[test]
fn the_api_server_is_asked_before_the_first_answer_of_a_term_that_says_nothing_new() {
    let (inbox, now) = (Inbox::default(), Instant::now());
    assert!(!inbox.is_unsure(&policy()), "nobody waits for an answer");
    for (term, recording) in [(1, Recording::NothingNew), (2, Recording::Written)] {
        let (sender, _receiver) = oneshot::channel();
        inbox.put(&policy(), epoch(1, term), firing([1]), sender).unwrap();
        assert!(!inbox.is_unsure(&policy()), "no pass has taken it");
        take(&inbox, &epoch(1, term), now);
        assert!(inbox.is_unsure(&policy()));
        if recording == Recording::NothingNew {
            inbox.assure(&policy());
        }
        inbox.settle(&policy(), recording, now);
        let (sender, _receiver) = oneshot::channel();
        inbox.put(&policy(), epoch(1, term), firing([1]), sender).unwrap();
        take(&inbox, &epoch(1, term), now + EVERY);
        assert!(!inbox.is_unsure(&policy()), "once in a term is enough");
        inbox.settle(&policy(), Recording::NothingNew, now + EVERY);
    }
}

#[test]
fn no_number_of_messages_makes_it_grow() {
    let inbox = Inbox::default();
    let mut kept = Vec::new();
    for _ in 0..100 {
        kept.push(put(&inbox, firing(0..MOST / 2)));
    }
    let (sender, _receiver) = oneshot::channel();
    let full = inbox.put(&Name::new("ns", "other"), epoch(1, 1), firing(0..MOST), sender);
    assert!(full.is_err(), "there is no room for as many of another policy");
    inbox.forget(&policy());
    let (sender, _receiver) = oneshot::channel();
    inbox.put(&Name::new("ns", "other"), epoch(1, 1), firing(0..MOST), sender).unwrap();
}
