//! The operator is killed at any moment and started again, loses its node, or two of it run: the
//! same end state, the same number of changes of each object, one Incident.

mod late;
mod lost_node;

use crate::{
    drill::{Drill, Models, SpecWrites, is_apply, is_return, spec_writes},
    support::{
        operator::Operator,
        proxy::{Call, Fault, Moment, Rule},
    },
};

/// The time from the alarm to the end, whoever does the work.
async fn run_through(drill: &Drill) {
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    drill.recover(&incident).await;
}

/// What must be true at the end, however often the operators were killed.
async fn assert_once(drill: &Drill, models: &Models, operators: &[&Operator]) {
    let incident = drill.assert_one_resolved_incident().await;
    assert_eq!(incident.data["status"]["closing"], "Recovered");
    models.assert_reverted().await;
    let records: Vec<_> = operators.iter().map(|operator| operator.proxy.record()).collect();
    for model in &models.objects {
        let once = SpecWrites { applied: 1, returned: 1 };
        assert_eq!(
            spec_writes(&records, model.name()),
            once,
            "{model}: what the server did for the operator"
        );
    }
}

/// A whole emergency, in which the operator is killed at this call and started again.
async fn killed_at(name: &str, nth: usize, call: fn(&Call) -> bool, moment: Moment) {
    let drill = Drill::new(name).await;
    let models = drill.models(2).await;
    let operator = drill.world.operator().start().await;
    operator.proxy.on(Rule::nth(nth, call, Fault::Kill(moment)));
    let rise_again = async {
        operator.until_dead().await;
        operator.restart();
    };
    tokio::join!(run_through(&drill), rise_again);
    assert_once(&drill, &models, &[&operator]).await;
}

/// Each write in turn, in a test of its own, so that they run side by side and fail alone.
mod killed_after_write {
    use super::{Call, Moment, killed_at};

    macro_rules! each {
        ($($name:ident $nth:literal,)+) => {$(
            #[tokio::test]
            async fn $name() {
                killed_at(concat!("s5-after-", $nth), $nth, Call::is_write, Moment::ReplySeen).await;
            }
        )+};
    }

    each! {
        number_01_everything_happens_once 1,
        number_02_everything_happens_once 2,
        number_03_everything_happens_once 3,
        number_04_everything_happens_once 4,
        number_05_everything_happens_once 5,
        number_06_everything_happens_once 6,
        number_07_everything_happens_once 7,
        number_08_everything_happens_once 8,
        number_09_everything_happens_once 9,
        number_10_everything_happens_once 10,
        number_11_everything_happens_once 11,
        number_12_everything_happens_once 12,
    }
}

fn creates_the_incident(call: &Call) -> bool {
    call.method == http::Method::POST && call.writes("incidents")
}

fn records_an_intent(call: &Call) -> bool {
    let says =
        |state: &str| call.body.as_ref().is_some_and(|body| body["status"]["changes"][0]["state"] == state);
    call.writes("incidents") && (says("Intended") || says("Reverting"))
}

fn takes_a_loan(call: &Call) -> bool {
    is_apply(call, &call.target.name)
}

fn returns_a_loan(call: &Call) -> bool {
    is_return(call, &call.target.name)
}

fn hands_ownership_back(call: &Call) -> bool {
    let entries = call.body.as_ref().and_then(|body| body.pointer("/metadata/managedFields"));
    call.writes("llmdeployments") && entries.is_some()
}

/// The moments that a count of writes does not reach: nothing sent, or no answer seen.
macro_rules! killed {
    ($($name:ident: $world:literal $call:ident $nth:literal $moment:ident;)+) => {$(
        #[tokio::test]
        async fn $name() {
            killed_at($world, $nth, $call, Moment::$moment).await;
        }
    )+};
}

killed! {
    death_before_the_incident_is_created_is_survived: "s5-create-before" creates_the_incident 1 BeforeSend;
    death_when_the_incident_was_created_unseen_is_survived: "s5-create-lost" creates_the_incident 1 ReplyLost;
    death_before_an_intent_is_recorded_is_survived: "s5-intent-before" records_an_intent 1 BeforeSend;
    death_when_an_intent_was_recorded_unseen_is_survived: "s5-intent-lost" records_an_intent 1 ReplyLost;
    death_before_a_loan_is_taken_is_survived: "s5-apply-before" takes_a_loan 1 BeforeSend;
    death_when_a_loan_was_taken_unseen_is_survived: "s5-apply-lost" takes_a_loan 2 ReplyLost;
    death_before_a_loan_is_returned_is_survived: "s5-return-before" returns_a_loan 1 BeforeSend;
    death_when_a_loan_was_returned_unseen_is_survived: "s5-return-lost" returns_a_loan 2 ReplyLost;
    death_before_ownership_is_handed_back_is_survived: "s5-owner-before" hands_ownership_back 1 BeforeSend;
    death_when_ownership_was_handed_back_unseen_is_survived: "s5-owner-lost" hands_ownership_back 2 ReplyLost;
}

#[tokio::test]
async fn two_operators_that_both_lead_do_everything_once() {
    let drill = Drill::new("s5-two").await;
    let models = drill.models(5).await;
    let first = drill.world.operator().flag("--no-leader-election").start().await;
    let second = drill.world.operator().named("firebreak-1").flag("--no-leader-election").start().await;
    run_through(&drill).await;
    for operator in [&first, &second] {
        assert!(operator.is_running(), "both were there all the time");
    }
    assert_once(&drill, &models, &[&first, &second]).await;
}

#[tokio::test]
async fn a_second_operator_takes_over_when_the_first_is_gone() {
    let drill = Drill::new("s5-over").await;
    let models = drill.models(2).await;
    let short = ["--lease-duration", "3s"];
    let first = drill.world.operator().flag(short[0]).flag(short[1]).start().await;
    let policy = drill.policy().await;
    let second = drill.world.operator().named("firebreak-1").flag(short[0]).flag(short[1]).start().await;
    let incident = drill.respond(&policy).await;
    assert!(second.proxy.writes().is_empty(), "firebreak-1 does not lead: {:?}", objects(&second));
    first.kill();
    drill.recover(&incident).await;
    assert_once(&drill, &models, &[&first, &second]).await;
}

fn objects(operator: &Operator) -> Vec<String> {
    operator.proxy.writes().iter().map(|write| write.call.object()).collect()
}
