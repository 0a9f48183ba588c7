//! `firebreak signals`: the values of a policy's signals now, why one is Unknown, and the truth of each rule.
//!
//! # Flow
//! The signals are read as `plan` reads them, the rules are evaluated with the clocks that the operator has recorded in
//! the status of the policy, and both are printed; with `--watch` again every second, for as long as a person looks.
//!
//! # Guarantees
//! Nothing is written. What cannot be known from here is said, with what the operator has recorded of it.

mod advice;
mod history;
mod lines;
mod news;
mod view;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use firebreak_engine::incident::RuleStatus;
use firebreak_engine::rules::Rules;
use firebreak_engine::severity::{Observed, assess, reading};
use jiff::Timestamp;
use kube::{Api, Client, ResourceExt};

use self::history::History;
use self::view::{Seen, SignalsView};
use super::connection::Connection;
use super::follow::Following;
use super::readings::{Reader, Readings, reader};
use super::screen::{Screen, note};
use super::{Answer, Error};
use crate::acceptance;
use crate::api::RemediationPolicy;
use crate::endpoints::Endpoints;
use crate::observe::PolicyKey;
use crate::settings::{Output, SignalsArgs};
use crate::workloads::Profiles;

/// How often the values are looked at while a person watches.
const EVERY: Duration = Duration::from_secs(1);

/// Prints the signals and the rules of a policy. Without the operator's configuration, no endpoint is asked.
pub async fn run(
    screen: &Screen,
    connection: &Connection,
    args: &SignalsArgs,
    profiles: Profiles,
    endpoints: Option<Endpoints>,
) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let purpose = format!("show the signals of {}", args.policy);
    let policy = connection.policy(&namespace, &args.policy, &purpose).await?;
    let place = Place { connection, namespace, profiles, endpoints: endpoints.map(Arc::new) };
    let mut session = place.session(policy, None).await?;
    connection.operator.absence().await.iter().for_each(|why| note(why));
    session.readings.first(&session.rules, &session.policy).await;
    let view = session.look(Timestamp::now());
    match args.output {
        Output::Json | Output::Yaml => screen.data(&view, args.output)?,
        Output::Table | Output::Wide if args.watch => return watch(screen, &place, session, &view).await,
        Output::Table | Output::Wide => screen.lines(&lines::lines(&view, None, Timestamp::now()))?,
    }
    Ok(Answer::Yes)
}

/// Shows the values every second, until the policy is deleted or the person has seen enough.
async fn watch(
    screen: &Screen,
    place: &Place<'_>,
    mut session: Session,
    first: &SignalsView,
) -> Result<Answer, Error> {
    let mut shown = Shown { screen, history: History::default(), drawn: 0, last: None };
    shown.show(first, Timestamp::now())?;
    let api: Api<RemediationPolicy> = Api::namespaced(place.connection.client.clone(), &place.namespace);
    let mut following = Following::in_api(api, &session.policy);
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            state = following.next() => match state? {
                Some(policy) if policy.metadata.generation == session.policy.metadata.generation => {
                    session.learn(policy);
                }
                Some(policy) => session = place.session(policy, Some(session.readings)).await?,
                None => {
                    note(&format!("policy {}/{} was deleted", place.namespace, session.policy.name_any()));
                    return Ok(Answer::No);
                }
            },
            _ = tick.tick() => {}
            _ = &mut interrupt => return Ok(Answer::Yes),
        }
        if following.takes_spoken() {
            shown.drawn = 0;
        }
        let now = Timestamp::now();
        shown.show(&session.look(now), now)?;
    }
}

/// Where the policy is, and what its signals may ask.
struct Place<'a> {
    connection: &'a Connection,
    namespace: String,
    profiles: Profiles,
    endpoints: Option<Arc<Endpoints>>,
}

impl Place<'_> {
    /// Starts to read the signals of the policy as its spec is now, or goes on with what was read before an edit.
    async fn session(&self, policy: RemediationPolicy, before: Option<Readings>) -> Result<Session, Error> {
        let spec = &policy.spec.policy;
        let called = format!("{}/{}", self.namespace, policy.name_any());
        let rules = acceptance::rules(spec, &self.profiles).map_err(|faults| {
            let next = "correct it; run `firebreak check -f FILE` for details";
            Error::failed(format!("policy {called} cannot be used"), faults.join("; "), next)
        })?;
        self.connection.say_without_account(&self.namespace, spec).await;
        let (client, read_as): (Client, String) =
            reader(self.connection, &self.namespace, spec, "show the signals").await?;
        let reader = Reader {
            connection: self.connection,
            profiles: &self.profiles,
            endpoints: self.endpoints.as_ref(),
            client: &client,
            read_as: &read_as,
        };
        let key = PolicyKey { namespace: self.namespace.clone(), name: policy.name_any() };
        let readings = match before {
            Some(readings) => {
                readings.read(&reader, &rules, &policy);
                readings
            }
            None => Readings::of(&reader, key, &rules, &policy),
        };
        let namespace = self.namespace.clone();
        let clocks = recorded(&policy);
        Ok(Session { namespace, policy, rules, readings, read_as, clocks, began: None })
    }
}

/// A policy whose signals are read.
struct Session {
    namespace: String,
    policy: RemediationPolicy,
    rules: Rules,
    readings: Readings,
    read_as: String,
    /// The rules as they were recorded or seen last: their clocks go on from there.
    clocks: Vec<RuleStatus>,
    /// When the first look was taken.
    began: Option<Timestamp>,
}

fn recorded(policy: &RemediationPolicy) -> Vec<RuleStatus> {
    policy.status.as_ref().map(|status| status.state.rules.clone()).unwrap_or_default()
}

impl Session {
    /// Takes another state of the policy, with the same spec.
    fn learn(&mut self, policy: RemediationPolicy) {
        if recorded(&policy) != recorded(&self.policy) {
            self.clocks = recorded(&policy);
        }
        self.readings.hear(&self.rules, &policy);
        self.policy = policy;
    }

    /// The signals and the rules at this moment.
    fn look(&mut self, now: Timestamp) -> SignalsView {
        let began = *self.began.get_or_insert(now);
        let readings = self.readings.now(&self.rules, &self.policy);
        let state = self.policy.status.as_ref().map(|status| &status.state);
        let observed = Observed {
            rules: &self.rules,
            previous: &self.clocks,
            signals: &readings,
            expected: state.map(|state| &*state.expected).unwrap_or_default(),
            began: None,
            clocks_broken: false,
            now,
        };
        let assessment = assess(&observed);
        let seen = Seen {
            namespace: &self.namespace,
            policy: &self.policy,
            read_as: &self.read_as,
            rules: &self.rules,
            readings: self.rules.signals.iter().map(|signal| reading(signal, &observed)).collect(),
            assessment: &assessment,
            began,
            now,
        };
        let view = SignalsView::of(&seen);
        self.clocks = assessment.rules;
        view
    }
}

struct Shown<'a> {
    screen: &'a Screen,
    history: History,
    drawn: usize,
    last: Option<SignalsView>,
}

impl Shown<'_> {
    fn show(&mut self, view: &SignalsView, now: Timestamp) -> Result<(), Error> {
        if self.screen.is_terminal {
            self.history.record(view, now);
            let lines = lines::lines(view, Some(&self.history), now);
            self.drawn = self.screen.redraw(&lines, self.drawn)?;
        } else {
            let lines = match &self.last {
                None => lines::lines(view, None, now),
                Some(before) => news::news(before, view, now),
            };
            self.screen.lines(&lines)?;
        }
        self.last = Some(view.clone());
        Ok(())
    }
}
