//! The cluster as the user of the kubeconfig, and the Incidents in it.

use std::sync::Arc;

use firebreak_engine::policy::PolicySpec;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};

use super::error::Error;
use super::operator::Operator;
use super::screen::note;
use crate::api::{Incident, RemediationPolicy, SHIPPED_NAMESPACE};
use crate::kubernetes::access;
use crate::kubernetes::client::{self, ClusterChoice};
use crate::kubernetes::discovery::Discovery;
use crate::kubernetes::impersonate::ServiceAccountRef;
use crate::kubernetes::retry;
use crate::settings::NamespaceArgs;
use crate::telemetry::metrics::Metrics;

/// A cluster, as the user.
pub struct Connection {
    /// Acts as the user.
    pub client: Client,
    /// Resolves kinds.
    pub discovery: Discovery,
    /// The operator, as the user sees it.
    pub operator: Operator,
}

impl Connection {
    /// Makes the client, for the operator where it usually runs. Sends nothing yet.
    pub async fn open(cluster: &ClusterChoice) -> Result<Self, Error> {
        let metrics = Metrics::new().map_err(|error| Error::bug("cannot count requests", error))?;
        let client = client::connect(cluster, Arc::new(metrics)).await?;
        let operator = Operator::new(client.clone(), SHIPPED_NAMESPACE);
        Ok(Self { discovery: Discovery::new(client.clone()), operator, client })
    }

    /// The same for the operator that the command line names.
    pub fn to(self, operator_namespace: &str) -> Self {
        Self { operator: Operator::new(self.client.clone(), operator_namespace), ..self }
    }

    /// The explicit namespace, or the namespace of the context.
    pub fn namespace(&self, args: &NamespaceArgs) -> String {
        args.namespace.clone().unwrap_or_else(|| self.client.default_namespace().to_owned())
    }

    /// The Incidents of a namespace.
    pub fn incidents(&self, namespace: &str) -> Api<Incident> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The Incidents of a namespace, or of all, as they come from the server.
    pub fn raw_incidents(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<Incident>(&());
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// A policy as it is now; `what` is the purpose, as in "cannot …".
    pub async fn policy(&self, namespace: &str, name: &str, what: &str) -> Result<RemediationPolicy, Error> {
        self.find_policy(namespace, name).await?.ok_or_else(|| {
            Error::failed(
                format!("cannot {what}"),
                format!("there is no RemediationPolicy {name} in namespace {namespace}"),
                "set the namespace with -n; `kubectl get rpol -A` lists all policies",
            )
        })
    }

    /// A policy as it is now, if there is one.
    pub async fn find_policy(&self, namespace: &str, name: &str) -> Result<Option<RemediationPolicy>, Error> {
        let api: Api<RemediationPolicy> = Api::namespaced(self.client.clone(), namespace);
        retry::read(|| api.get_opt(name))
            .await
            .map_err(|error| Error::request(format!("cannot read policy {namespace}/{name}"), &error))
    }

    /// Says if the ServiceAccount of a policy in this namespace does not exist, as far as the user may know: the operator
    /// can impersonate it all the same, and sees only that it has no permissions.
    pub async fn say_without_account(&self, namespace: &str, spec: &PolicySpec) {
        // Of a name that cannot be one, the policy says so itself.
        let Ok(account) = ServiceAccountRef::new(namespace, &spec.service_account_name) else { return };
        if access::is_missing(&self.client, &account).await {
            note(&format!(
                "ServiceAccount {account} does not exist; `firebreak check -f FILE | kubectl apply -f -` creates it with \
                 the permissions that the policy needs"
            ));
        }
    }

    /// An Incident as it is now.
    pub async fn incident(&self, namespace: &str, name: &str) -> Result<Incident, Error> {
        self.find_incident(namespace, name).await?.ok_or_else(|| Error::no_incident(namespace, name))
    }

    /// An Incident as it is now, if there is one.
    pub async fn find_incident(&self, namespace: &str, name: &str) -> Result<Option<Incident>, Error> {
        let api = self.incidents(namespace);
        retry::read(|| api.get_opt(name))
            .await
            .map_err(|error| Error::request(format!("cannot read Incident {namespace}/{name}"), &error))
    }
}
