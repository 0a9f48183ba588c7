//! The stand-in for the operator of LLMDeployments as a process, for the demo:
//! `cargo run --example stand-in -- --namespace llm-serving`.

mod standin;

use clap::Parser;

/// Keeps a Deployment for each LLMDeployment and reports its phase, until it is interrupted.
#[derive(Parser)]
struct Flags {
    /// Care only for these namespaces (default: all).
    #[arg(long, short)]
    namespace: Vec<String>,
    /// Write the status of this LLMDeployment five times a second, as NAMESPACE/NAME.
    #[arg(long)]
    noisy: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    let client = kube::Client::try_default().await?;
    let namespaces: Vec<&str> = flags.namespace.iter().map(String::as_str).collect();
    let mut stand_in = standin::StandIn::start(&client, &namespaces);
    for noisy in &flags.noisy {
        let (namespace, name) = noisy.split_once('/').ok_or("--noisy takes NAMESPACE/NAME")?;
        stand_in.be_noisy(namespace, &[name]);
    }
    Ok(tokio::signal::ctrl_c().await?)
}
