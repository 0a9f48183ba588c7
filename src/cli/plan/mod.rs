//! `firebreak plan`: what a policy would do to which object now, and why not.
//!
//! # Flow
//! The policy from the cluster or a file; its signals as the operator reads
//! them; the operator's own decision on an Incident that exists in memory only,
//! in mode Observe; the plan that this leaves in the Incident, printed.
//!
//! # Guarantees
//! Nothing is written: the decision has no effects in Observe, and nothing would
//! carry them out.

mod answer;
mod decide;
mod hints;

use std::sync::Arc;

use kube::{Api, ResourceExt};

use self::answer::Plan;
use self::decide::{Subject, plan};
use super::check::documents;
use super::connection::Connection;
use super::readings::reader;
use super::screen::Screen;
use super::{Answer, Error};
use crate::acceptance;
use crate::api::RemediationPolicy;
use crate::endpoints::Endpoints;
use crate::kubernetes::client::ClusterChoice;
use crate::kubernetes::retry;
use crate::settings::{Output, PlanArgs, PlanSource};
use crate::view;
use crate::workloads::Profiles;

/// Prints what a policy would do now. Without the operator's configuration, no endpoint is asked.
pub async fn run(
    screen: &Screen,
    cluster: &ClusterChoice,
    args: &PlanArgs,
    profiles: Profiles,
    endpoints: Option<Endpoints>,
) -> Result<Answer, Error> {
    // An invalid file needs no cluster.
    let from_file = match args.source() {
        Some(PlanSource::File(file)) => Some(documents::policy(file)?),
        Some(PlanSource::Policy(_)) | None => None,
    };
    let connection = Connection::open(cluster).await?.to(&args.operator.operator_namespace);
    let InCluster { policy, namespace, problem } = match (from_file, args.source()) {
        (Some(policy), _) => in_cluster(&connection, policy, args).await?,
        (None, Some(PlanSource::Policy(name))) => {
            let namespace = connection.namespace(&args.namespace);
            let policy = connection.policy(&namespace, name, &format!("plan for {name}")).await?;
            InCluster { problem: view::problem(&policy), policy, namespace }
        }
        (None, Some(PlanSource::File(_)) | None) => {
            return Err(Error::bug("there is nothing to plan", "no policy was named"));
        }
    };
    let called = format!("{namespace}/{}", policy.name_any());
    if let Err(faults) = acceptance::rules(&policy.spec.policy, &profiles) {
        let next = "correct it; run `firebreak check -f FILE` for details";
        return Err(Error::failed(format!("policy {called} cannot be used"), faults.join("; "), next));
    }
    connection.say_without_account(&namespace, &policy.spec.policy).await;
    let (client, read_as) = reader(&connection, &namespace, &policy.spec.policy, "plan").await?;
    let brake = connection.operator.brake().await;
    let subject = Subject {
        connection: &connection,
        profiles,
        endpoints: endpoints.map(Arc::new),
        policy,
        namespace,
        account: Ok(client),
        read_as,
        problem,
        brake,
    };
    let plan = plan(&subject).await?;
    print(screen, &plan, args.output)?;
    Ok(Answer::Yes)
}

fn print(screen: &Screen, plan: &Plan, output: Output) -> Result<(), Error> {
    match output {
        Output::Table | Output::Wide => screen.lines(&plan.lines()),
        Output::Json | Output::Yaml => screen.data(plan, output),
    }
}

/// A policy in its place in the cluster.
struct InCluster {
    policy: RemediationPolicy,
    namespace: String,
    /// What keeps the policy of this name in the cluster from responding; none if nothing does, or if there is none.
    problem: Option<String>,
}

/// A policy of a file in its place in the cluster: the observations of the policy of that name
/// (the expected numbers, and since when rules are true) count for it too.
async fn in_cluster(
    connection: &Connection,
    mut policy: RemediationPolicy,
    args: &PlanArgs,
) -> Result<InCluster, Error> {
    let named = args.namespace.namespace.clone();
    if let (Some(own), Some(named)) = (policy.namespace(), &named)
        && own != *named
    {
        return Err(Error::failed(
            format!("cannot plan for {}", policy.name_any()),
            format!("the file says namespace {own}, and -n says {named}"),
            "omit one of them",
        ));
    }
    let namespace =
        policy.namespace().or(named).unwrap_or_else(|| connection.client.default_namespace().to_owned());
    let api: Api<RemediationPolicy> = Api::namespaced(connection.client.clone(), &namespace);
    let name = policy.name_any();
    let live = match retry::read(|| api.get_opt(&name)).await {
        Ok(live) => live,
        // Without permissions on policies, or without their kind, a plan is still possible.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => None,
        Err(error) => {
            return Err(Error::request(format!("cannot read policy {namespace}/{name}"), &error));
        }
    };
    let problem = live.as_ref().and_then(view::problem);
    let problem = problem.map(|why| format!("the policy in the cluster, not that of the file: {why}"));
    policy.status = live.and_then(|live| live.status);
    Ok(InCluster { policy, namespace, problem })
}
