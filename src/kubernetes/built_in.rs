//! The kinds that Kubernetes itself serves, to find a misspelled one without a cluster, and to say which one was meant.
//!
//! The groups of Kubernetes have no dot, or end with `.k8s.io`. A group of a CustomResourceDefinition always has a dot,
//! and may end with `.k8s.io`, too, so only the groups listed here are known.

use std::cmp::Reverse;

use firebreak_engine::spelling::{distance, most_slips};

/// By group and version: the kinds that can be listed and watched, in the tested minors of Kubernetes with every API
/// turned on (`api/discovery` in its sources). A live test compares it with an API server.
#[rustfmt::skip]
pub const KINDS: &[(&str, &[&str])] = &[
    ("v1", &["ConfigMap", "Endpoints", "Event", "LimitRange", "Namespace", "Node", "PersistentVolume", "PersistentVolumeClaim", "Pod", "PodTemplate", "ReplicationController", "ResourceQuota", "Secret", "Service", "ServiceAccount"]),
    ("admissionregistration.k8s.io/v1", &["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration"]),
    ("admissionregistration.k8s.io/v1alpha1", &["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"]),
    ("admissionregistration.k8s.io/v1beta1", &["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]),
    ("apiextensions.k8s.io/v1", &["CustomResourceDefinition"]),
    ("apiregistration.k8s.io/v1", &["APIService"]),
    ("apps/v1", &["ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]),
    ("autoscaling/v1", &["HorizontalPodAutoscaler"]),
    ("autoscaling/v2", &["HorizontalPodAutoscaler"]),
    ("batch/v1", &["CronJob", "Job"]),
    ("certificates.k8s.io/v1", &["CertificateSigningRequest", "ClusterTrustBundle", "PodCertificateRequest"]),
    ("certificates.k8s.io/v1alpha1", &["ClusterTrustBundle"]),
    ("certificates.k8s.io/v1beta1", &["ClusterTrustBundle", "PodCertificateRequest"]),
    ("coordination.k8s.io/v1", &["Lease"]),
    ("coordination.k8s.io/v1alpha2", &["LeaseCandidate"]),
    ("coordination.k8s.io/v1beta1", &["LeaseCandidate"]),
    ("discovery.k8s.io/v1", &["EndpointSlice"]),
    ("events.k8s.io/v1", &["Event"]),
    ("flowcontrol.apiserver.k8s.io/v1", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("internal.apiserver.k8s.io/v1alpha1", &["StorageVersion"]),
    ("lifecycle.k8s.io/v1alpha1", &["Eviction", "EvictionRequest"]),
    ("networking.k8s.io/v1", &["IPAddress", "Ingress", "IngressClass", "NetworkPolicy", "ServiceCIDR"]),
    ("networking.k8s.io/v1beta1", &["IPAddress", "ServiceCIDR"]),
    ("node.k8s.io/v1", &["RuntimeClass"]),
    ("policy/v1", &["PodDisruptionBudget"]),
    ("rbac.authorization.k8s.io/v1", &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]),
    ("resource.k8s.io/v1", &["DeviceClass", "DeviceTaintRule", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"]),
    ("resource.k8s.io/v1alpha3", &["DeviceClass", "DeviceTaintRule", "ResourceClaim", "ResourceClaimTemplate", "ResourcePoolStatusRequest", "ResourceSlice"]),
    ("resource.k8s.io/v1beta1", &["DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"]),
    ("resource.k8s.io/v1beta2", &["DeviceClass", "DeviceTaintRule", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"]),
    ("scheduling.k8s.io/v1", &["PriorityClass"]),
    ("scheduling.k8s.io/v1alpha2", &["PodGroup", "Workload"]),
    ("scheduling.k8s.io/v1alpha3", &["CompositePodGroup", "PodGroup", "Workload"]),
    ("scheduling.k8s.io/v1beta1", &["PodGroup", "Workload"]),
    ("storage.k8s.io/v1", &["CSIDriver", "CSINode", "CSIStorageCapacity", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"]),
    ("storage.k8s.io/v1alpha1", &["VolumeAttributesClass"]),
    ("storage.k8s.io/v1beta1", &["VolumeAttributesClass"]),
    ("storagemigration.k8s.io/v1", &["StorageVersionMigration"]),
    ("storagemigration.k8s.io/v1alpha1", &["StorageVersionMigration"]),
    ("storagemigration.k8s.io/v1beta1", &["StorageVersionMigration"]),
];

/// What is wrong with a kind of a group of Kubernetes; none if nothing is, or if the group is of someone else.
pub fn fault(api_version: &str, kind: &str) -> Option<String> {
    let group = group_of(api_version);
    let is_listed = KINDS.iter().any(|(listed, _)| group_of(listed) == group);
    let what = match (is_listed, group.contains('.')) {
        (true, _) if is_served(api_version, kind) => return None,
        (true, _) => format!("Kubernetes has no kind {kind} in {api_version}"),
        // A group of a CustomResourceDefinition has a dot.
        (false, false) => format!("Kubernetes has no API group {group}"),
        (false, true) => return None,
    };
    let way_out = "if your cluster has it, run `firebreak check --cluster`";
    Some(match meant(api_version, kind, all()) {
        Some(meant) => format!("{what}; {meant} Or {way_out}"),
        None => format!("{what}; {way_out}"),
    })
}

/// Whether Kubernetes serves the kind in some minor.
pub fn is_served(api_version: &str, kind: &str) -> bool {
    all().any(|known| known == (api_version, kind))
}

/// All kinds, each with its apiVersion.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.iter().flat_map(|(api_version, kinds)| kinds.iter().map(move |kind| (*api_version, *kind)))
}

/// As a question, the known kind that was probably meant; none if there is none like it.
pub fn meant<'a>(
    api_version: &str,
    kind: &str,
    known: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<String> {
    let most = most_slips(kind);
    let written = kind.to_lowercase();
    let alike = known.filter_map(|(at, name)| {
        let distance = distance(&written, &name.to_lowercase());
        let is_unstable = at.contains("alpha") || at.contains("beta");
        let rank =
            (distance, group_of(at) != group_of(api_version), at != api_version, is_unstable, Reverse(at));
        (distance <= most && (at, name) != (api_version, kind)).then_some((rank, at, name))
    });
    let (_, at, name) = alike.min()?;
    Some(if at == api_version {
        format!("did you mean {name}?")
    } else {
        format!("did you mean {at} {name}?")
    })
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_kind_of_kubernetes_is_found_and_the_right_one_named() {
        for (api_version, kind, said) in [
            (
                "apps/v1",
                "Deploymnet",
                "Kubernetes has no kind Deploymnet in apps/v1; did you mean Deployment?",
            ),
            (
                "apps/v1",
                "deployments",
                "Kubernetes has no kind deployments in apps/v1; did you mean Deployment?",
            ),
            ("v1", "Deployment", "Kubernetes has no kind Deployment in v1; did you mean apps/v1 Deployment?"),
            (
                "apps/v1beta1",
                "StatefulSet",
                "has no kind StatefulSet in apps/v1beta1; did you mean apps/v1 StatefulSet?",
            ),
            (
                "autoscaling/v2beta2",
                "HorizontalPodAutoscaler",
                "did you mean autoscaling/v2 HorizontalPodAutoscaler?",
            ),
            ("app/v1", "Deployment", "Kubernetes has no API group app; did you mean apps/v1 Deployment?"),
            ("networking.k8s.io/v1", "Ingres", "did you mean Ingress?"),
            ("v1", "Pods", "did you mean Pod?"),
            ("apps/v1", "Rocket", "in apps/v1; if your cluster has it, run `firebreak check --cluster`"),
        ] {
            let found = fault(api_version, kind).unwrap_or_default();
            assert!(found.ends_with("f your cluster has it, run `firebreak check --cluster`"), "{found}");
            assert!(found.contains(said), "{api_version} {kind}: {found}");
        }
    }

    #[test]
    fn nothing_is_wrong_with_kinds_that_exist_and_with_those_of_others() {
        for (api_version, kind) in all() {
            assert_eq!(fault(api_version, kind), None);
        }
        for (api_version, kind) in [
            ("inference.llm-d.io/v1alpha1", "LLMDeploymnet"),
            ("gateway.networking.k8s.io/v1", "Gateway"),
            ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"),
        ] {
            assert_eq!(fault(api_version, kind), None);
        }
    }
}
