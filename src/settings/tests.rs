use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn parse(line: &str) -> Result<Settings, Stop> {
    parse_in(line, Environment::default())
}

fn parse_in(line: &str, environment: Environment) -> Result<Settings, Stop> {
    Settings::parse(line.split(' ').map(OsString::from).collect(), environment)
}

fn usage(line: &str) -> String {
    match parse(line) {
        Err(Stop::Usage(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn clap_finds_no_fault_in_the_definition() {
    CommandLine::command().debug_assert();
}

#[test]
fn the_controller_has_usable_defaults() {
    let settings = parse("firebreak controller --namespace ops").unwrap();
    let Command::Controller(controller) = settings.command else {
        panic!("{:?}", settings.command);
    };
    assert_eq!(controller.namespace, "ops");
    assert_eq!(controller.lease_duration, Duration::from_secs(15));
    assert_eq!(controller.listen.to_string(), "0.0.0.0:8080");
    assert!(controller.watch_namespaces.is_empty() && !controller.no_leader_election);
    assert!(controller.identity.starts_with("firebreak-"), "{}", controller.identity);
}

#[test]
fn the_identity_is_the_pods_name_unless_that_is_empty() {
    let named = |pod_name: &str| {
        let environment = Environment { pod_name: Some(pod_name.into()), ..Environment::default() };
        match parse_in("firebreak controller", environment).unwrap().command {
            Command::Controller(controller) => controller.identity,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(named("firebreak-0"), "firebreak-0");
    assert_ne!(named(""), named(""));
}

#[test]
fn the_flag_wins_over_the_list_of_files_in_the_environment() {
    let environment = || Environment { kubeconfig: Some("/a::/b".into()), ..Environment::default() };
    let files = |line| parse_in(line, environment()).unwrap().cluster.kubeconfigs;
    assert_eq!(files("firebreak get"), [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert_eq!(files("firebreak get --kubeconfig /c"), [PathBuf::from("/c")]);
    assert_eq!(files("firebreak --kubeconfig /c get"), [PathBuf::from("/c")]);
}

#[test]
fn no_color_and_a_dumb_terminal_mean_plain_text() {
    let plain = |no_color: Option<&str>, term: Option<&str>| {
        let (no_color, term) = (no_color.map(Into::into), term.map(Into::into));
        parse_in("firebreak get", Environment { no_color, term, ..Environment::default() }).unwrap().plain
    };
    assert!(!plain(None, Some("xterm")) && !plain(Some(""), None));
    assert!(plain(Some("1"), None) && plain(None, Some("dumb")));
}

#[test]
fn verbs_take_what_kubectl_takes() {
    for line in [
        "firebreak crds",
        "firebreak crds --namespace ops",
        "firebreak check -f a.yaml b.yaml -f c.yaml",
        "firebreak test policies stories/one.yaml",
        "firebreak plan gpu -n llm -o json",
        "firebreak plan -f policy.yaml",
        "firebreak get",
        "firebreak get -A -o wide",
        "firebreak get gpu-outage -n llm -o yaml --context prod",
        "firebreak watch gpu-outage",
        "firebreak open gpu",
        "firebreak open gpu -n llm --severity P0 --summary lost --watch",
        "firebreak open gpu -o json",
        "firebreak describe gpu-outage -n llm",
        "firebreak approve gpu-outage cpu-fallback -n llm",
        "firebreak approve gpu-outage cpu-fallback --plan-hash sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "firebreak settle gpu-outage 5f2c0d6a1b3e4f70 --happened -n llm",
        "firebreak settle gpu-outage 5f2c0d6a1b3e4f70 --did-not-happen",
        "firebreak expect gpu gpuNodes 4 -n llm",
        "firebreak ack gpu-outage",
        "firebreak pause gpu-outage",
        "firebreak resume gpu-outage",
        "firebreak withdraw gpu-outage -n llm",
        "firebreak keep gpu-outage --kubeconfig a",
        "firebreak brake on",
        "firebreak brake on --withdraw-all --timeout 5m -n ops",
        "firebreak brake --namespace ops off",
        "firebreak brake status --namespace ops",
        "firebreak completion fish",
        "firebreak support",
        "firebreak support -n llm --operator-namespace ops -o x.tar.gz",
        "firebreak undo Deployment/router --forget",
        "firebreak undo llmdeployments.inference.llm-d.io/chat",
        "firebreak report gpu-outage --log-level debug",
        "kubectl-firebreak get",
        "firebreak check -f a.yaml --config config.yaml",
        "firebreak check --cluster -f a.yaml -n llm --context prod",
        "firebreak plan gpu --config config.yaml",
        "firebreak controller --config /etc/firebreak/config.yaml",
        "firebreak controller --alerts-listen 0.0.0.0:8090",
        "firebreak controller --alerts-listen 0.0.0.0:8090 --alerts-tls-cert a.crt --alerts-tls-key a.key",
        "firebreak controller --watch-namespaces a,b --lease-duration 2s --listen 127.0.0.1:0 --no-leader-election",
    ] {
        assert!(parse(line).is_ok(), "{line}: {:?}", parse(line));
    }
}

#[test]
fn what_cannot_be_meant_is_refused_in_one_line_that_names_the_help() {
    for line in [
        "firebreak get --colour",
        "firebreak gte",
        "firebreak get gpu -A",
        "firebreak get -A -n llm",
        "firebreak get ../nodes",
        "firebreak plan",
        "firebreak plan gpu -f policy.yaml",
        "firebreak check",
        "firebreak check -f a.yaml -n llm",
        "firebreak check --cluster",
        "firebreak test",
        "firebreak undo router",
        "firebreak undo /router",
        "firebreak watch",
        "firebreak open",
        "firebreak open gpu --severity P4",
        "firebreak open gpu --watch -o json",
        "firebreak approve gpu-outage",
        "firebreak settle gpu-outage 5f2c0d6a1b3e4f70",
        "firebreak settle gpu-outage 5f2c0d6a1b3e4f70 --happened --did-not-happen",
        "firebreak expect gpu gpuNodes",
        "firebreak expect gpu gpuNodes -- -1",
        "firebreak approve gpu-outage cpu --plan-hash latest",
        "firebreak keep",
        "firebreak brake",
        "firebreak brake on --timeout 5m",
        "firebreak brake off --withdraw-all",
        "firebreak completion cmd",
        "firebreak controller --lease-duration 100ms",
        "firebreak controller --lease-duration soon",
        "firebreak controller --watch-namespaces a,,b",
        "firebreak controller --namespace A",
        "firebreak controller --alerts-listen 8090",
        "firebreak controller --alerts-tls-cert a.crt --alerts-tls-key a.key",
        "firebreak controller --alerts-listen 0.0.0.0:8090 --alerts-tls-cert a.crt",
        "firebreak controller --alerts-listen 0.0.0.0:8090 --alerts-tls-key a.key",
        "firebreak controller --config",
        "firebreak get --config config.yaml",
    ] {
        let text = usage(line);
        assert!(!text.contains('\n'), "{line}: {text}");
        assert!(text.ends_with("--help`"), "{line}: {text}");
    }
    assert_eq!(
        usage("firebreak watch"),
        "firebreak: the following required arguments were not provided: <INCIDENT>; see `firebreak watch --help`"
    );
    assert_eq!(usage("firebreak xyz"), "firebreak: unrecognized subcommand 'xyz'; see `firebreak --help`");
    assert_eq!(
        usage("firebreak open gpu --severity P4"),
        "firebreak: invalid value 'P4' for '--severity <LEVEL>' [possible values: P0, P1, P2, P3]; see `firebreak open --help`"
    );
    let long = usage(&format!("firebreak get {}", "X".repeat(5000)));
    assert!(long.len() < 300 && long.contains("not a valid object name"), "{long}");
    assert!(usage("kubectl-firebreak get X").ends_with("see `kubectl firebreak get --help`"));
    assert!(usage("kubectl-firebreak watch").ends_with("see `kubectl firebreak watch --help`"));
}

#[test]
fn help_is_no_error_and_shows_an_example() {
    let help = |line: &str| match parse(line) {
        Err(Stop::Help(text)) => text,
        other => panic!("{line}: {other:?}"),
    };
    let command = CommandLine::command();
    let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    for verb in verbs {
        let text = help(&format!("firebreak {verb} --help"));
        assert!(
            text.contains(&format!("  firebreak {verb}")) || text.contains("firebreak completion"),
            "{text}"
        );
        assert!(text.contains("Example"), "{text}");
        let plugin = help(&format!("/usr/bin/kubectl-firebreak {verb} --help"));
        assert!(plugin.contains(&format!("Usage: kubectl firebreak {verb}")), "{plugin}");
        assert!(
            plugin.contains(&format!("kubectl firebreak {verb}")) && !plugin.contains("  firebreak "),
            "{plugin}"
        );
    }
    assert!(help("firebreak brake on --help").contains("firebreak brake on --withdraw-all"));
}

#[test]
fn every_shell_gets_a_script_that_knows_every_verb() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = completion(shell);
        for word in ["approve", "withdraw", "brake", "plan-hash"] {
            assert!(script.contains(word), "{shell:?}: {word}");
        }
    }
}

#[test]
fn a_plan_is_for_a_policy_or_a_file() {
    let source = |line| match parse(line).unwrap().command {
        Command::Plan(plan) => plan,
        other => panic!("{other:?}"),
    };
    assert_eq!(source("firebreak plan gpu").source(), Some(PlanSource::Policy("gpu")));
    let file = source("firebreak plan -f p.yaml");
    assert_eq!(file.source(), Some(PlanSource::File(Path::new("p.yaml"))));
}

#[test]
fn only_what_reads_profiles_has_a_configuration() {
    let config = |line: &str| parse(line).unwrap().command.config().map(Path::to_owned);
    for line in
        ["firebreak controller", "firebreak check -f a.yaml", "firebreak plan gpu", "firebreak signals gpu"]
    {
        assert_eq!(config(line), None);
        assert_eq!(config(&format!("{line} --config c.yaml")), Some(PathBuf::from("c.yaml")));
    }
    assert_eq!(config("firebreak get"), None);
}
