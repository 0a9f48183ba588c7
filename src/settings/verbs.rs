//! The verbs, as clap reads them.

use std::path::Path;

use clap::Subcommand;

use super::arguments::{
    ApproveArgs, BrakeArgs, CheckArgs, CompletionArgs, ControllerArgs, CrdsArgs, ExpectArgs, GetArgs,
    IncidentArgs, OpenArgs, PlanArgs, ReportArgs, SettleArgs, SignalsArgs, SupportArgs, TestArgs, UndoArgs,
};

/// What to do.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Command {
    /// Run the operator
    #[command(
        after_help = "Example:\n  firebreak controller --config /etc/firebreak/config.yaml\n\nTraces are sent if OTEL_EXPORTER_OTLP_ENDPOINT is set. docs/tracing.md describes the variables."
    )]
    Controller(ControllerArgs),
    /// Print the CRDs and admission policies to install
    #[command(
        after_help = "Examples:\n  firebreak crds | kubectl apply --server-side -f -\n  firebreak crds --namespace ops > firebreak.yaml"
    )]
    Crds(CrdsArgs),
    /// Check policies, and print the RBAC that they need; offline unless --cluster is set
    #[command(
        after_help = "Examples:\n  firebreak check -f policy.yaml\n  firebreak check -f policies/*.yaml\n  firebreak check -f policy.yaml | kubectl apply -f -\n  firebreak check --cluster -f policy.yaml"
    )]
    Check(CheckArgs),
    /// Test what policies decide in emergencies, offline
    #[command(
        after_help = "Examples:\n  firebreak test policies/\n  firebreak test stories/gpu-nodes-lost.yaml\n\nA story is YAML:\n\n  story: Half of the GPU nodes are lost, and the model moves to CPU\n  policyFrom: ../policy.yaml\n  object: {apiVersion: apps/v1, kind: Deployment, metadata: {namespace: serving}}\n  then:\n  - at: 0s\n    signals: {gpuNodes: {total: 8, ready: 4}}\n    objects: {chat: {spec: …, status: …}}\n  - at: 30s\n    expect: {severity: P0, changes: {chat: Applied}}\n\ndocs/stories.md describes every key."
    )]
    Test(TestArgs),
    /// Show what a policy would change now, and why not; writes nothing
    #[command(
        after_help = "Examples:\n  firebreak plan gpu-cluster-failure -n llm-serving\n  firebreak plan -f policy.yaml\n  firebreak plan high-error-rate --config config.yaml"
    )]
    Plan(PlanArgs),
    /// Show the values of a policy's signals now, why one is Unknown, and the truth of each rule
    #[command(
        after_help = "Examples:\n  firebreak signals gpu-cluster-failure -n llm-serving\n  firebreak signals gpu-cluster-failure --watch\n  firebreak signals high-error-rate --config config.yaml -o json\n\nEndpoints are asked only with --config. Alerts that Alertmanager sends are read from the status of the policy. Writes nothing."
    )]
    Signals(SignalsArgs),
    /// Open an incident
    #[command(
        after_help = "Examples:\n  firebreak open gpu-cluster-failure -n llm-serving\n  firebreak open gpu-cluster-failure --severity P0 --summary 'GPU nodes lost in zone b' --watch\n\nWithout --severity, nothing is applied until a rule of the policy holds. If the policy already has an open incident, the command shows it and opens nothing."
    )]
    Open(OpenArgs),
    /// List incidents
    #[command(
        after_help = "Examples:\n  firebreak get -A\n  firebreak get gpu-outage -n llm-serving -o yaml\n  firebreak get -A -o json | jq '.items[].status.phase'"
    )]
    Get(GetArgs),
    /// Show an incident, its steps and every change
    #[command(after_help = "Example:\n  firebreak describe gpu-outage -n llm-serving")]
    Describe(IncidentArgs),
    /// Follow an incident until it closes
    #[command(after_help = "Example:\n  firebreak watch gpu-outage -n llm-serving")]
    Watch(IncidentArgs),
    /// Approve the plan of a step
    #[command(
        after_help = "Example:\n  firebreak approve gpu-outage cpu-fallback -n llm-serving\n\nThe approval is valid only for the plan that is shown. You need the verb approve on incidents.firebreak.dev."
    )]
    Approve(ApproveArgs),
    /// Record the outcome of an operation that Firebreak does not know
    #[command(
        after_help = "Examples:\n  firebreak settle gpu-outage 5f2c0d6a1b3e4f70 --happened -n llm-serving\n  firebreak settle gpu-outage 5f2c0d6a1b3e4f70 --did-not-happen -n llm-serving\n\n`firebreak describe` names the change and what to look at. After --did-not-happen the step may carry the operation out again.\nYou need the verb approve on incidents.firebreak.dev."
    )]
    Settle(SettleArgs),
    /// Say how many objects of a signal are expected from now on
    #[command(
        after_help = "Example:\n  firebreak expect gpu-cluster-failure gpuNodes 4 -n llm-serving\n\nWithout it, the highest number within expectWithin of the signal is expected. Use it after a pool was made smaller on purpose.\nYou need the verb patch on remediationpolicies.firebreak.dev."
    )]
    Expect(ExpectArgs),
    /// Acknowledge an incident
    #[command(after_help = "Example:\n  firebreak ack gpu-outage -n llm-serving")]
    Ack(IncidentArgs),
    /// Pause an incident: start nothing new, revert nothing
    #[command(
        after_help = "Example:\n  firebreak pause gpu-outage -n llm-serving\n\nApplied changes stay. `firebreak resume` continues, and retries failed steps."
    )]
    Pause(IncidentArgs),
    /// Resume a paused incident
    #[command(after_help = "Example:\n  firebreak resume gpu-outage -n llm-serving")]
    Resume(IncidentArgs),
    /// Revert all changes of an incident, and close it
    #[command(after_help = "Example:\n  firebreak withdraw gpu-outage -n llm-serving")]
    Withdraw(IncidentArgs),
    /// Make the changes of an incident permanent, and close it
    #[command(
        after_help = "Example:\n  firebreak keep gpu-outage -n llm-serving\n\nThis is final: it drops the undo records, so nothing can be reverted any more."
    )]
    Keep(IncidentArgs),
    /// Revert one object from its own record; needs neither operator nor incident
    #[command(
        after_help = "Examples:\n  firebreak undo deployment/router -n llm-serving\n  firebreak undo deployment/router --forget"
    )]
    Undo(UndoArgs),
    /// Print the report of an incident as Markdown
    #[command(after_help = "Example:\n  firebreak report gpu-outage -n llm-serving > report.md")]
    Report(ReportArgs),
    /// Stop all responses from writing, or let them continue
    #[command(arg_required_else_help = false)]
    #[command(
        after_help = "Examples:\n  firebreak brake status\n  firebreak brake on\n  firebreak brake off\n  firebreak brake on --withdraw-all\n\nApplied changes stay; withdraw, undo and deletion still revert them. The last example also reverts all changes, for example before an uninstall."
    )]
    Brake(BrakeArgs),
    /// Write an archive for people who help with a problem: objects, logs and metrics, redacted
    #[command(
        after_help = "Examples:\n  firebreak support\n  firebreak support -n llm-serving -o problem.tar.gz\n\nReads as you, and writes nothing to the cluster. Secrets are never read. The table says what is in the archive and what could not be read."
    )]
    Support(SupportArgs),
    /// Print a shell completion script
    #[command(
        after_help = "Examples:\n  source <(firebreak completion bash)\n  firebreak completion zsh > ~/.zfunc/_firebreak\n  firebreak completion fish > ~/.config/fish/completions/firebreak.fish"
    )]
    Completion(CompletionArgs),
}

impl Command {
    /// The file with the operator's configuration.
    #[must_use]
    pub fn config(&self) -> Option<&Path> {
        let args = match self {
            Self::Controller(args) => &args.config,
            Self::Check(args) => &args.config,
            Self::Plan(args) => &args.config,
            Self::Signals(args) => &args.config,
            Self::Test(args) => &args.config,
            Self::Report(args) => &args.config,
            Self::Crds(_)
            | Self::Open(_)
            | Self::Get(_)
            | Self::Describe(_)
            | Self::Watch(_)
            | Self::Approve(_)
            | Self::Settle(_)
            | Self::Expect(_)
            | Self::Ack(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Withdraw(_)
            | Self::Keep(_)
            | Self::Undo(_)
            | Self::Brake(_)
            | Self::Support(_)
            | Self::Completion(_) => return None,
        };
        args.config.as_deref()
    }
}
