//! The memory of the operator: idle, and while it watches objects.

use std::time::Duration;

use super::{
    numbers::Table,
    process::{Memory, ticks},
    scene,
};
use crate::support::{operator::Operator, world::World};

/// The number of nodes, and of models.
const OBJECTS: usize = 2000;
/// The columns of a table about memory.
pub const COLUMNS: [&str; 5] =
    ["operator", "RSS", "of it anonymous", "threads", "bytes per object, over the line above named"];
const IDLE_FOR: Duration = Duration::from_secs(20);
/// The time after a change until the last event is handled and the last request is over.
const SETTLE: Duration = Duration::from_secs(5);

/// One table.
pub async fn measure() -> String {
    let world = World::new("memory").await;
    scene::grant(&world).await;
    let mut table = Table::new("Memory", &COLUMNS);

    // Objects are created one by one while the operator watches.
    let operator = start(&world).await;
    let process = operator.id().expect("it runs");
    let before = ticks(process);
    tokio::time::sleep(IDLE_FOR).await;
    let used = ticks(process) - before;
    let idle = Memory::settled(process).await;
    row(&mut table, "leads, no policy", idle, None);
    let mut nodes = scene::nodes(&world, 0, 1).await;
    scene::look(&world, false).await;
    scene::wait_for_total(&operator, "nodes", 1).await;
    let first = weigh(&operator).await;
    row(&mut table, "+ a policy over one node", first, None);
    eprintln!("{OBJECTS} nodes are created");
    nodes.extend(scene::nodes(&world, 1, OBJECTS / 4).await);
    scene::heartbeats(&nodes).await;
    scene::wait_for_total(&operator, "nodes", OBJECTS / 4).await;
    let quarter = weigh(&operator).await;
    row(&mut table, &format!("+ {} nodes, created while it watches", OBJECTS / 4), quarter, None);
    let more = scene::nodes(&world, OBJECTS / 4, OBJECTS).await;
    scene::heartbeats(&more).await;
    nodes.extend(more);
    scene::wait_for_total(&operator, "nodes", OBJECTS).await;
    let all = weigh(&operator).await;
    let cells = format!(
        "{}, over idle; {}, over {}",
        per(all, idle, OBJECTS),
        per(all, quarter, OBJECTS * 3 / 4),
        OBJECTS / 4
    );
    row(&mut table, &format!("+ {OBJECTS} nodes"), all, Some(cells));
    let before = ticks(process);
    scene::heartbeats(&nodes).await;
    let beats = ticks(process) - before;
    let after_beats = weigh(&operator).await;
    let cells = format!("{}, over idle", per(after_beats, idle, OBJECTS));
    row(&mut table, "the same after another heartbeat of each", after_beats, Some(cells));
    operator.kill();
    drop(operator);

    // They exist when it starts.
    let operator = start(&world).await;
    scene::wait_for_total(&operator, "nodes", OBJECTS).await;
    let listed = weigh(&operator).await;
    let cells = format!("{}, over idle", per(listed, idle, OBJECTS));
    row(&mut table, &format!("restarted with {OBJECTS} nodes"), listed, Some(cells));
    eprintln!("{OBJECTS} models are created");
    scene::models(&world, OBJECTS).await;
    scene::look(&world, true).await;
    scene::wait_for_total(&operator, "models", OBJECTS).await;
    let both = weigh(&operator).await;
    let cells = format!("{}, over idle", per(both, idle, 2 * OBJECTS));
    row(&mut table, &format!("+ {OBJECTS} models"), both, Some(cells));
    operator.kill();
    drop(operator);

    let operator = start(&world).await;
    scene::wait_for_total(&operator, "nodes", OBJECTS).await;
    scene::wait_for_total(&operator, "models", OBJECTS).await;
    let both = weigh(&operator).await;
    let cells = format!(
        "{}, over idle; {}, over {OBJECTS} nodes",
        per(both, idle, 2 * OBJECTS),
        per(both, listed, OBJECTS)
    );
    row(&mut table, &format!("restarted with {OBJECTS} nodes and {OBJECTS} models"), both, Some(cells));
    operator.kill();
    scene::delete_nodes(&world).await;

    table.note(&format!(
        "Processor time: {} ms in {} s idle; {} ms for {OBJECTS} heartbeats that change nothing.",
        used * 10,
        IDLE_FOR.as_secs(),
        beats * 10
    ));
    table.to_string()
}

/// An operator that leads.
pub async fn start(world: &World) -> Operator {
    let operator = world.operator().directly().log("info").start().await;
    scene::wait_until_leading(&operator).await;
    operator
}

/// The memory of the operator once it rests.
pub async fn weigh(operator: &Operator) -> Memory {
    tokio::time::sleep(SETTLE).await;
    Memory::settled(operator.id().expect("it runs")).await
}

/// Adds a row.
pub fn row(table: &mut Table, what: &str, memory: Memory, per_object: Option<String>) {
    let megabytes = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
    let threads = format!("{:.0}", memory.threads);
    let per_object = per_object.unwrap_or_default();
    table.row([what.to_owned(), megabytes(memory.rss), megabytes(memory.anonymous), threads, per_object]);
}

/// Bytes per object.
#[expect(clippy::cast_precision_loss, reason = "a few thousand objects")]
pub fn per(now: Memory, before: Memory, objects: usize) -> String {
    format!("{:.0}", (now.rss - before.rss) / objects as f64)
}
