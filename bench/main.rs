//! Measurements of the release binary against a real control plane; see README.md.
//!
//! `cargo run --release --example bench [-- memory|pods|latency|calls|burst|flood|takeover|limit …]`, with the binary in
//! `FIREBREAK_BINARY`. Numbers after `burst` are the numbers of policies, instead of the defaults. The tables go to
//! standard output, and progress to standard error.

#[path = "../tests/support/mod.rs"]
mod support;

mod burst;
mod calls;
mod flood;
mod latency;
mod limit;
mod memory;
mod numbers;
mod pods;
mod process;
mod scene;
mod shown;
mod takeover;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    let sizes: Vec<usize> = wanted.iter().filter_map(|word| word.parse().ok()).collect();
    let sizes = if sizes.is_empty() { burst::SIZES.to_vec() } else { sizes };
    println!("{}\n", process::machine());
    if is_wanted("memory") {
        println!("{}", memory::measure().await);
    }
    if is_wanted("pods") {
        println!("{}", pods::measure().await);
    }
    if is_wanted("latency") {
        println!("{}", latency::measure().await);
    }
    if is_wanted("calls") {
        println!("{}", calls::measure().await);
    }
    if is_wanted("burst") {
        println!("{}", burst::measure(&sizes).await);
    }
    if is_wanted("flood") {
        println!("{}", flood::measure().await);
    }
    if is_wanted("takeover") {
        println!("{}", takeover::measure().await);
    }
    if is_wanted("limit") {
        println!("{}", limit::measure().await);
    }
    println!("{}", process::machine());
}
