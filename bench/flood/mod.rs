//! An API server that another user floods: from a node that turned NotReady to the first patch of a target, with the share
//! of the chart and without it.

mod crowd;
mod levels;

use super::{
    latency::Stage,
    numbers::{Spread, Table, percentile},
    process::{Memory, Processors},
    scene,
};
use crate::support::{testbed::Testbed, world::World};
use crowd::{Crowd, Users};
use levels::Levels;

/// A tenth of what an API server serves at once by default (400 and 200): a flood that fills ten times as many seats
/// would measure two cores, and not how the API server divides its seats.
const SEATS: [&str; 2] =
    ["--apiserver-arg=--max-requests-inflight=40", "--apiserver-arg=--max-mutating-requests-inflight=20"];
/// Bare patches in a round, of which the median counts.
const BARE: usize = 3;
/// Half of all seats: the flood has more than its own 24 when it has borrowed what others do not use, which the API server
/// decides every 10 seconds.
const MANY_SEATS: f64 = 30.0;
/// The level of all ServiceAccounts, which the flood fills.
const COMMON: &str = "workload-low";

/// Whether the API server keeps a share for the operator and its responders.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Share {
    Kept,
    Missing,
}

/// One row of the result.
struct Setting {
    name: &'static str,
    flood: Option<Users>,
    share: Share,
    rounds: usize,
}

const SETTINGS: [Setting; 5] = [
    Setting { name: "no flood", flood: None, share: Share::Kept, rounds: 40 },
    Setting { name: "one user, with the share", flood: Some(Users::One), share: Share::Kept, rounds: 40 },
    Setting { name: "one user, without it", flood: Some(Users::One), share: Share::Missing, rounds: 8 },
    Setting { name: "20 users, with the share", flood: Some(Users::Twenty), share: Share::Kept, rounds: 40 },
    Setting { name: "20 users, without it", flood: Some(Users::Twenty), share: Share::Missing, rounds: 5 },
];

/// What one setting gave.
struct Measured {
    /// From the answer to the node's patch to the target's patch, in ms.
    first: Vec<f64>,
    /// Bare patches of the administrator, to whom no limit applies, in ms.
    bare: Vec<f64>,
    /// The levels at the beginning, at the alarm of each round, and at the end.
    levels: Vec<Levels>,
    /// The name of the level of the operator.
    own: String,
    busy: f64,
    /// The highest resident memory of the operator, in bytes.
    memory: f64,
    /// How often the operator has stopped leading.
    terms_lost: usize,
}

/// Two tables: the times, and what the API server says about its load.
pub async fn measure() -> String {
    let testbed = Testbed::with_flags(&SEATS);
    let ground = World::on(testbed, "ground").await;
    let mut results = Vec::new();
    for setting in &SETTINGS {
        let crowd = match setting.flood {
            Some(users) => Some(Crowd::gather(&ground, users).await),
            None => None,
        };
        let world = World::on(testbed, "flood").await;
        let measured = rounds(setting, &world, crowd.as_ref()).await;
        results.push((setting, measured));
        drop(world);
        if let Some(crowd) = crowd {
            crowd.disperse();
            levels::wait_until_quiet(&ground.client, COMMON).await;
        }
    }
    format!("{}\n{}", times(&results), load(&results))
}

async fn rounds(setting: &Setting, world: &World, crowd: Option<&Crowd>) -> Measured {
    scene::grant(world).await;
    if setting.share == Share::Kept {
        world.flow_control().await;
    }
    let stage = Stage::set(world).await;
    let operator = world.operator().directly().log("info").start().await;
    scene::wait_until_leading(&operator).await;
    let policy = scene::respond(world).await;
    let mut measured = Measured {
        first: Vec::new(),
        bare: Vec::new(),
        levels: Vec::new(),
        own: format!("firebreak-{}", world.operator_namespace),
        busy: 0.0,
        memory: 0.0,
        terms_lost: 0,
    };
    if let Some(crowd) = crowd {
        crowd.push();
        levels::wait_until_full(&world.client, COMMON, MANY_SEATS).await;
    }
    let mut processors = Processors::now();
    // The first round opens connections and fills caches.
    for round in 0..=setting.rounds {
        if let Some(crowd) = crowd {
            crowd.push();
            levels::wait_until_waiting(&world.client, COMMON, crowd.expected_to_wait()).await;
        }
        let mut patches = Vec::new();
        for i in 0..BARE {
            patches.push(stage.bare_patch(i % 2 == 0).await);
        }
        let now = Levels::now(&world.client).await;
        let (acknowledged, _) = stage.lose_node(&policy).await;
        eprintln!("{}, round {round}: first patch after {acknowledged:.1} ms", setting.name);
        if let Some(crowd) = crowd
            && setting.share == Share::Missing
        {
            // Otherwise the revert, which is not measured, would take minutes.
            crowd.rest();
        }
        stage.heal(world, &policy).await;
        if round == 0 {
            processors = Processors::now();
            continue;
        }
        measured.first.push(acknowledged);
        measured.bare.push(Spread::of(&patches).median);
        measured.levels.push(now);
    }
    measured.busy = processors.busy_since();
    measured.levels.push(Levels::now(&world.client).await);
    measured.memory = Memory::of(operator.id().expect("it runs")).peak;
    measured.terms_lost = operator.log().matches("no longer leading").count();
    measured
}

fn times(results: &[(&Setting, Measured)]) -> Table {
    let mut table = Table::new(
        "A flood of the API server: from NotReady to the first patch, ms, median (minimum to maximum)",
        &[
            "flood",
            "rounds",
            "bare merge patch of the administrator",
            "first patch",
            "p99",
            "p99, **ratio** to no flood",
            "the same of the median",
            "processors in use",
            "highest RSS, MB",
            "leadership lost",
        ],
    );
    let p99 = |measured: &Measured| percentile(&measured.first, 0.99);
    let median = |measured: &Measured| Spread::of(&measured.first).median;
    let idle = &results[0].1;
    for (setting, measured) in results {
        table.row([
            setting.name.to_owned(),
            measured.first.len().to_string(),
            Spread::of(&measured.bare).to_string(),
            Spread::of(&measured.first).to_string(),
            format!("{:.1}", p99(measured)),
            format!("{:.1}", p99(measured) / p99(idle)),
            format!("{:.1}", median(measured) / median(idle)),
            format!("{:.0} %", measured.busy * 100.0),
            format!("{:.1}", measured.memory / 1e6),
            measured.terms_lost.to_string(),
        ]);
    }
    table
}

fn load(results: &[(&Setting, Measured)]) -> Table {
    let mut table = Table::new(
        "What the API server says about the same rounds, by priority level",
        &["flood", "level", "served", "rejected", "waiting at the alarm", "seats in use then", "seats then"],
    );
    for (setting, measured) in results {
        let (Some(first), Some(last)) = (measured.levels.first(), measured.levels.last()) else { continue };
        let own = (setting.share == Share::Kept).then_some((measured.own.as_str(), "firebreak"));
        for (level, name) in [Some((COMMON, COMMON)), own].into_iter().flatten() {
            let alarms = &measured.levels[..measured.levels.len() - 1];
            let at = |number: &dyn Fn(&Levels) -> f64| -> String {
                Spread::of(&alarms.iter().map(number).collect::<Vec<_>>()).to_string()
            };
            table.row([
                setting.name.to_owned(),
                name.to_owned(),
                format!("{:.0}", last.served(level) - first.served(level)),
                format!("{:.0}", last.rejected(level) - first.rejected(level)),
                at(&|levels| levels.waiting(level)),
                at(&|levels| levels.seats_in_use(level)),
                at(&|levels| levels.seats(level)),
            ]);
        }
    }
    table
}
