//! Keys that are wanted at random while workers take what is due.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use firebreak_engine::policy::Severity;
use firebreak_engine::policy::Severity::{P0, P1, P2, P3};
use tokio::time::{Instant, sleep};

use super::{Key, Name, PATIENCE, Queue};

const SECOND: Duration = Duration::from_secs(1);

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What a storm knows of one key.
#[derive(Clone, Debug, Default)]
struct Watched {
    /// When it is wanted, and how urgently; none once it was handed out.
    wanted: Option<(Instant, Severity)>,
    is_out: bool,
    turns: u32,
}

/// Nudges at random while workers take what is due; what was handed out, in order.
async fn storm(seed: u64) -> Vec<Key> {
    const KEYS: u64 = 30;
    let queue = Rc::new(Queue::default());
    let known: Rc<RefCell<BTreeMap<Key, Watched>>> = Rc::default();
    let turns: Rc<RefCell<Vec<Key>>> = Rc::default();
    let storm = tokio::task::LocalSet::new();
    for worker in 0..3 {
        let (queue, known, turns) = (Rc::clone(&queue), Rc::clone(&known), Rc::clone(&turns));
        storm.spawn_local(async move {
            let mut dice = Dice(seed ^ (worker << 40));
            loop {
                let key = queue.next().await;
                let now = Instant::now();
                {
                    let mut known = known.borrow_mut();
                    let its = known.get_mut(&key).expect("only what was wanted is handed out");
                    assert!(!its.is_out, "{key:?} is handed out twice at once");
                    let (at, urgency) = its.wanted.take().expect("it is wanted");
                    assert!(at <= now, "{key:?} comes too early");
                    (its.is_out, its.turns) = (true, its.turns + 1);
                    let is_before = |(of, other): (&Key, &Watched)| {
                        let due = other.wanted.filter(|(at, _)| !other.is_out && *at <= now);
                        due.is_some_and(|(since, more)| (more, since, of) < (urgency, at, &key))
                    };
                    assert!(
                        at + PATIENCE <= now || !known.iter().any(is_before),
                        "{key:?} comes before its turn"
                    );
                    turns.borrow_mut().push(key.clone());
                }
                sleep(Duration::from_millis(dice.below(400))).await;
                known.borrow_mut().get_mut(&key).expect("it is known").is_out = false;
                queue.done(&key);
            }
        });
    }
    storm
        .run_until(async {
            let mut dice = Dice(seed);
            for _ in 0..600 {
                let number = dice.below(KEYS);
                let name = Name::new("ns", number.to_string());
                let key = if number.is_multiple_of(2) { Key::Incident(name) } else { Key::Policy(name) };
                let urgency = [P0, P1, P2, P3][dice.below(4) as usize];
                let delay = if dice.below(3) == 0 { dice.below(20_000) } else { 0 };
                let at = Instant::now() + Duration::from_millis(delay);
                queue.due_at(key.clone(), urgency, at);
                {
                    let mut known = known.borrow_mut();
                    let wanted = &mut known.entry(key).or_default().wanted;
                    *wanted =
                        Some(wanted.map_or((at, urgency), |(old, level)| (old.min(at), level.min(urgency))));
                }
                sleep(Duration::from_millis(dice.below(60))).await;
            }
            sleep(120 * SECOND).await;
        })
        .await;
    for (key, its) in known.borrow().iter() {
        assert!(its.wanted.is_none() && !its.is_out, "seed {seed}: {key:?} is forgotten: {its:?}");
    }
    turns.borrow().clone()
}

#[tokio::test(start_paused = true)]
async fn in_a_storm_nothing_is_lost_or_doubled_and_the_order_is_the_same_each_time() {
    for seed in 0..40 {
        let turns = storm(seed).await;
        assert!(turns.len() > 100, "seed {seed}: {}", turns.len());
        if seed < 5 {
            assert!(turns == storm(seed).await, "seed {seed}: another order");
        }
    }
}
