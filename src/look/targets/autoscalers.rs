//! Autoscalers: what they want, for steps that raise their limit, and what they
//! scale, for steps that set replicas.
//!
//! The autoscalers of a namespace are listed once, and only if one of the targets
//! in it needs them. If they cannot be listed the answer is Unknown, never "none".

use std::collections::BTreeSet;
use std::sync::Arc;

use firebreak_engine::action::{Action, Autoscalers as Asked};
use firebreak_engine::facts::{Demand, Purpose, Role, ScaleDown, ScaledBy, Stage, Target, Wanted};
use firebreak_engine::id::{TargetId, group};
use firebreak_engine::value::whole;
use serde_json::Value;

use super::Reader;
use super::borrowed::{DEPLOYMENT, ROLLOUT};
use crate::workloads::{Profile, borrows, controlling_owner, runner};

/// A kind: its apiVersion and its name.
pub type Kind = (&'static str, &'static str);
/// The autoscaler of Kubernetes itself.
pub const HPA: Kind = ("autoscaling/v2", "HorizontalPodAutoscaler");
/// KEDA's autoscaler. It creates an HPA, and scales from and to 0 itself.
pub const SCALED_OBJECT: Kind = ("keda.sh/v1alpha1", "ScaledObject");

impl Reader<'_> {
    /// Adds what the action must know about the autoscalers of its targets.
    pub(super) async fn ask_autoscalers(&self, action: &Action, targets: &mut [Target]) {
        match action.descriptor().autoscalers {
            Asked::Demand => self.ask_for_demand(targets).await,
            Asked::Owners => self.ask_who_scales(targets).await,
            Asked::Ignored => {}
        }
    }

    /// How many replicas the autoscalers of each target want.
    pub(super) async fn ask_for_demand(&self, targets: &mut [Target]) {
        let without_status: Vec<&TargetId> =
            targets.iter().map(|target| &target.id).filter(|id| !is(HPA, id)).collect();
        let hpas = self.all_beside(HPA, without_status.iter().copied()).await;
        let through_keda = without_status.into_iter().filter(|id| {
            let found = hpas.get(&id.namespace).and_then(|found| found.as_ref().ok());
            !is(SCALED_OBJECT, id) && found.is_some_and(|hpas| may_be_scaled_by_keda(&id.uid, hpas))
        });
        let scaled_objects = self.all_beside(SCALED_OBJECT, through_keda).await;
        for target in targets {
            target.demand = if is(HPA, &target.id) {
                desired(&target.object).map_or_else(Demand::Unknown, |wanted| Demand::Wants(vec![wanted]))
            } else {
                let profile = self.profile(&target.object).map(AsRef::as_ref);
                let scaled_objects = scaled_objects.get(&target.id.namespace);
                match hpas.get(&target.id.namespace) {
                    Some(Ok(hpas)) => demand(target, profile, hpas, scaled_objects),
                    Some(Err(why)) => Demand::Unknown(why.clone()),
                    None => Demand::None, // an object of the cluster has no HPA
                }
            };
        }
    }

    /// What else sets the replicas of each target that may be changed, but for those that say in their own spec how
    /// far they are scaled: what they do with their replicas is in their profile.
    async fn ask_who_scales(&self, targets: &mut [Target]) {
        let mut asked: Vec<&mut Target> = targets
            .iter_mut()
            .filter(|target| target.purpose == Purpose::Change && target.stage == Stage::Targets)
            .filter(|target| !has_limit_of_its_own(target))
            .collect();
        let ids: Vec<TargetId> = asked.iter().map(|target| target.id.clone()).collect();
        let deployments: Vec<TargetId> = ids.iter().filter(|id| is(DEPLOYMENT, id)).cloned().collect();
        let (scaled_objects, hpas, rollouts) = tokio::join!(
            self.all_beside(SCALED_OBJECT, &ids),
            self.all_beside(HPA, &ids),
            self.all_beside(ROLLOUT, &deployments)
        );
        for target in &mut asked {
            let lists = [&scaled_objects, &hpas].map(|lists| lists.get(&target.id.namespace));
            // Including the objects that it owns and is changed instead of.
            let mut whom = std::iter::once(&target.id).chain(&target.resolved_from);
            let scaled = whom.find_map(|id| {
                Some(scaled_by(id, lists.iter().copied().flatten())).filter(|by| *by != ScaledBy::Nobody)
            });
            let runner = rollouts.get(&target.id.namespace).filter(|_| is(DEPLOYMENT, &target.id));
            target.scaled_by = match (scaled, runner.map(|rollouts| run_by(&target.id, rollouts))) {
                (Some(scaled @ ScaledBy::Autoscaler(_)), _) => scaled,
                (_, Some(run @ (ScaledBy::Runner(_) | ScaledBy::Unknown(_)))) => run,
                (scaled, _) => scaled.unwrap_or_default(),
            };
        }
    }
}

/// Whether some of these autoscalers may be of an object that lets KEDA scale it, because it controls none itself.
fn may_be_scaled_by_keda(uid: &str, hpas: &[Arc<Value>]) -> bool {
    let owners = || hpas.iter().filter_map(|hpa| controlling_owner(hpa));
    owners().all(|owner| owner.uid != uid) && owners().any(|owner| owner.kind == SCALED_OBJECT.1)
}

/// What the autoscalers want that an object controls, itself or through its ScaledObjects; without any, what the object
/// itself reports.
fn demand(
    target: &Target,
    profile: Option<&Profile>,
    hpas: &[Arc<Value>],
    scaled_objects: Option<&Result<Vec<Arc<Value>>, String>>,
) -> Demand {
    let scaled_objects = match scaled_objects {
        None => &[],
        Some(Ok(all)) => all.as_slice(),
        Some(Err(why)) => return Demand::Unknown(why.clone()),
    };
    let is_owned =
        |object: &Arc<Value>| controlling_owner(object).is_some_and(|owner| owner.uid == target.id.uid);
    let uid =
        |object: &Arc<Value>| object.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned);
    let through: BTreeSet<String> =
        scaled_objects.iter().filter(|scaled| is_owned(scaled)).filter_map(uid).collect();
    let is_its = |hpa: &&Arc<Value>| {
        is_owned(hpa) || controlling_owner(hpa).is_some_and(|owner| through.contains(&owner.uid))
    };
    let wanted: Result<Vec<Wanted>, String> = hpas.iter().filter(is_its).map(|hpa| desired(hpa)).collect();
    match wanted {
        Ok(wanted) if wanted.is_empty() => reported(target, profile),
        Ok(wanted) => Demand::Wants(wanted),
        Err(why) => Demand::Unknown(why),
    }
}

/// What an object without autoscalers reports to want.
fn reported(target: &Target, profile: Option<&Profile>) -> Demand {
    let Some(path) = profile.and_then(|profile| profile.wants.as_ref()) else {
        return Demand::Unknown("it controls no HorizontalPodAutoscaler".to_owned());
    };
    match path.read(&target.object).as_deref().and_then(whole) {
        Some(replicas) => {
            Demand::Wants(vec![Wanted { replicas, limit: None, scale_down: ScaleDown::Enabled }])
        }
        None => Demand::Unknown(format!(
            "it controls no HorizontalPodAutoscaler, and {path} does not show how many replicas it wants"
        )),
    }
}

/// What an HPA wants; the error says why that is not known.
fn desired(hpa: &Value) -> Result<Wanted, String> {
    let limit = hpa.pointer("/spec/maxReplicas").and_then(whole);
    match hpa.pointer("/status/desiredReplicas").and_then(whole) {
        Some(replicas) => Ok(Wanted { replicas, limit, scale_down: ScaleDown::of(hpa) }),
        None => {
            let name = hpa.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            Err(format!("HorizontalPodAutoscaler {name} does not show yet how many replicas it wants"))
        }
    }
}

/// Which of these autoscalers scales the object. A match is returned even if others could not be
/// read.
fn scaled_by<'a>(
    target: &TargetId,
    lists: impl Iterator<Item = &'a Result<Vec<Arc<Value>>, String>>,
) -> ScaledBy {
    let mut unknown = ScaledBy::Nobody;
    for list in lists {
        match list {
            Ok(all) => {
                if let Some(autoscaler) = all.iter().find(|autoscaler| scales(autoscaler, target)) {
                    return ScaledBy::Autoscaler(called(autoscaler));
                }
            }
            Err(why) => unknown = ScaledBy::Unknown(why.clone()),
        }
    }
    unknown
}

/// Which of these Rollouts runs the pods of the object.
fn run_by(target: &TargetId, rollouts: &Result<Vec<Arc<Value>>, String>) -> ScaledBy {
    match rollouts {
        Ok(all) => match all.iter().find(|one| borrows(one, target)) {
            Some(one) => ScaledBy::Runner(runner(one)),
            None => ScaledBy::Nobody,
        },
        Err(why) => ScaledBy::Unknown(why.clone()),
    }
}

/// Whether the autoscaler names this object. A ScaledObject that does not say which kind means a Deployment.
fn scales(autoscaler: &Value, target: &TargetId) -> bool {
    let Some(reference) = autoscaler.pointer("/spec/scaleTargetRef") else { return false };
    let text = |field: &str| reference.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    text("name") == Some(target.name.as_str())
        && text("kind").unwrap_or("Deployment") == target.kind
        && text("apiVersion").is_none_or(|version| group(version) == group(&target.api_version))
}

/// The autoscaler as `Kind/name`; if another object controls it, that object, whose limit counts.
fn called(autoscaler: &Value) -> String {
    let text = |pointer: &str| autoscaler.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    controlling_owner(autoscaler)
        .map_or_else(|| format!("{}/{}", text("/kind"), text("/metadata/name")), |owner| owner.to_string())
}

pub(super) fn is(kind: Kind, id: &TargetId) -> bool {
    (group(kind.0), kind.1) == (group(&id.api_version), id.kind.as_str())
}

fn has_limit_of_its_own(target: &Target) -> bool {
    let mut limits = target.slots.of(&Role::AutoscalerLimit);
    limits.any(|slot| slot.path.read(&target.object).is_some_and(|limit| !limit.is_null()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workloads::{self, Profiles};

    fn model(status: Value) -> Target {
        let object = json!({"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment", "status": status,
            "metadata": {"name": "chat", "namespace": "serving", "uid": "u", "resourceVersion": "1"}});
        workloads::target(None, Arc::new(object), None, None, &BTreeSet::new()).unwrap()
    }

    fn hpa(owner: Value, status: Value) -> Arc<Value> {
        Arc::new(
            json!({"apiVersion": HPA.0, "kind": HPA.1, "metadata": {"name": "h", "ownerReferences": [owner]},
            "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}}, "status": status}),
        )
    }

    fn of(uid: &str) -> Value {
        json!({"apiVersion": "x/v1", "kind": "X", "name": "x", "uid": uid, "controller": true})
    }

    /// The profile of the model, if its status says how many replicas it wants.
    fn profile(wants: Option<&str>) -> Profile {
        let profiles = Profiles::built_in().unwrap();
        let profile = profiles.find("inference.llm-d.io/v1alpha1", "LLMDeployment").unwrap();
        Profile { wants: wants.map(|path| path.parse().unwrap()), ..Profile::clone(profile) }
    }

    fn wants(replicas: &[i64]) -> Demand {
        let limit = Some(9);
        Demand::Wants(
            replicas
                .iter()
                .map(|&replicas| Wanted { replicas, limit, scale_down: ScaleDown::Enabled })
                .collect(),
        )
    }

    #[test]
    fn an_object_wants_what_the_autoscalers_that_it_controls_want() {
        let desired = |number: i64| json!({"desiredReplicas": number});
        let hpas = [hpa(of("u"), desired(3)), hpa(of("u"), desired(5)), hpa(of("other"), desired(9))];
        assert_eq!(demand(&model(json!({})), None, &hpas, None), wants(&[3, 5]));
        let silent = [hpa(of("u"), desired(3)), hpa(of("u"), json!({}))];
        assert!(matches!(demand(&model(json!({})), None, &silent, None), Demand::Unknown(_)));
    }

    #[test]
    fn an_object_that_keda_scales_wants_what_the_autoscalers_of_its_scaled_objects_want() {
        let keda = |uid: &str| json!({"apiVersion": SCALED_OBJECT.0, "kind": SCALED_OBJECT.1, "name": "s", "uid": uid, "controller": true});
        let hpas = [
            hpa(keda("s"), json!({"desiredReplicas": 4})),
            hpa(keda("another"), json!({"desiredReplicas": 7})),
        ];
        assert!(may_be_scaled_by_keda("u", &hpas));
        assert!(!may_be_scaled_by_keda("s", &hpas), "it controls one itself");
        let scaled = json!({"metadata": {"name": "s", "uid": "s", "ownerReferences": [of("u")]}});
        let scaled = Ok(vec![Arc::new(scaled)]);
        assert_eq!(demand(&model(json!({})), None, &hpas, Some(&scaled)), wants(&[4]));
        let refused = Err("you cannot list them".to_owned());
        assert_eq!(
            demand(&model(json!({})), None, &hpas, Some(&refused)),
            Demand::Unknown("you cannot list them".to_owned())
        );
    }

    #[test]
    fn an_object_without_an_autoscaler_of_its_own_wants_what_its_status_says() {
        let profile = profile(Some("/status/wanted"));
        let demand = |status: Value| demand(&model(status), Some(&profile), &[], None);
        let wanted = Wanted { replicas: 4, limit: None, scale_down: ScaleDown::Enabled };
        assert_eq!(demand(json!({"wanted": 4})), Demand::Wants(vec![wanted]));
        for status in [json!({}), json!({"wanted": "many"})] {
            let Demand::Unknown(why) = demand(status) else { panic!("it is known") };
            assert!(why.contains("/status/wanted"), "{why}");
        }
    }

    #[test]
    fn without_any_word_of_it_the_demand_is_unknown() {
        assert!(matches!(demand(&model(json!({})), Some(&profile(None)), &[], None), Demand::Unknown(_)));
        let wanted = Wanted { replicas: 0, limit: None, scale_down: ScaleDown::Enabled };
        assert_eq!(desired(&json!({"status": {"desiredReplicas": 0}})), Ok(wanted));
        assert!(desired(&json!({"metadata": {"name": "h"}})).is_err());
    }

    fn deployment(name: &str) -> TargetId {
        let text = |text: &str| text.to_owned();
        TargetId {
            api_version: text("apps/v1"),
            kind: text("Deployment"),
            namespace: text("serving"),
            name: text(name),
            uid: text("d"),
        }
    }

    fn by(lists: &[Result<Vec<Arc<Value>>, String>], target: &TargetId) -> ScaledBy {
        scaled_by(target, lists.iter())
    }

    #[test]
    fn an_autoscaler_scales_what_it_names_and_is_called_by_its_owner() {
        let free = hpa(Value::Null, json!({}));
        let named = |name: &str| ScaledBy::Autoscaler(name.to_owned());
        assert_eq!(by(&[Ok(vec![free.clone()])], &deployment("chat")), named("HorizontalPodAutoscaler/h"));
        assert_eq!(by(&[Ok(vec![hpa(of("u"), json!({}))])], &deployment("chat")), named("X/x"));
        assert_eq!(by(&[Ok(vec![free.clone()])], &deployment("other")), ScaledBy::Nobody);
        let set = TargetId { kind: "StatefulSet".to_owned(), ..deployment("chat") };
        assert_eq!(by(&[Ok(vec![free.clone()])], &set), ScaledBy::Nobody);
        let elsewhere = TargetId { api_version: "other.io/v1".to_owned(), ..deployment("chat") };
        assert_eq!(by(&[Ok(vec![free])], &elsewhere), ScaledBy::Nobody);
    }

    #[test]
    fn a_scaled_object_that_names_no_kind_means_a_deployment() {
        let scaled = json!({"kind": "ScaledObject", "metadata": {"name": "s"}, "spec": {"scaleTargetRef": {"name": "chat"}}});
        let found = by(&[Ok(vec![Arc::new(scaled)])], &deployment("chat"));
        assert_eq!(found, ScaledBy::Autoscaler("ScaledObject/s".to_owned()));
    }

    #[test]
    fn a_rollout_runs_the_pods_of_the_deployment_whose_template_it_takes() {
        let rollout = json!({"kind": "Rollout", "metadata": {"name": "chat"}, "spec": {"workloadRef":
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}}});
        let all = Ok(vec![Arc::new(rollout)]);
        assert_eq!(run_by(&deployment("chat"), &all), ScaledBy::Runner("Rollout/chat".to_owned()));
        assert_eq!(run_by(&deployment("other"), &all), ScaledBy::Nobody);
        assert_eq!(run_by(&deployment("chat"), &Err("403".to_owned())), ScaledBy::Unknown("403".to_owned()));
    }

    #[test]
    fn what_cannot_be_listed_is_unknown_unless_another_list_names_one() {
        let refused = || Err("you cannot list them".to_owned());
        assert_eq!(
            by(&[refused(), Ok(Vec::new())], &deployment("chat")),
            ScaledBy::Unknown("you cannot list them".to_owned())
        );
        let found = by(&[refused(), Ok(vec![hpa(Value::Null, json!({}))])], &deployment("chat"));
        assert!(matches!(found, ScaledBy::Autoscaler(_)));
    }
}
