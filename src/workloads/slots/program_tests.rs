use serde_json::json;

use super::program::{Start, start};
use crate::workloads::profile::Program;

/// The servers of the profiles, and one without a subcommand.
fn programs() -> Vec<Program> {
    let names = ["vllm serve", "vllm.entrypoints.cli.main serve", "vllm.entrypoints.openai.*", "server"];
    names.map(|name| Program::try_from(name.to_owned()).unwrap()).to_vec()
}

fn by_command(words: &[&str]) -> Start {
    start(&programs(), &json!({"command": words}))
}

fn by_arguments(words: &[&str]) -> Start {
    start(&programs(), &json!({"args": words}))
}

#[test]
fn the_first_word_of_a_command_is_its_program_behind_those_that_only_start_it() {
    let table: &[&[&str]] = &[
        &["vllm", "serve", "m"],
        &["/usr/local/bin/vllm", "--port=80"],
        &["vllm"],
        &["/opt/server", "anything"],
        &["python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "m"],
        &["python3.12", "-u", "-X", "dev", "-m", "vllm.entrypoints.cli.main", "serve"],
        &["python", "/usr/local/bin/vllm", "serve", "m"],
        &["tini", "-g", "--", "vllm", "serve"],
        &["tini", "-w", "-p", "SIGTERM", "--", "vllm", "serve"],
        &["/usr/bin/dumb-init", "--single-child", "vllm", "serve", "m", "--", "x"],
        &["exec", "vllm", "serve"],
        &["env", "-u", "HOME", "A=b", "vllm", "serve"],
        &["nice", "-n", "10", "vllm", "serve"],
        &["timeout", "-k", "5", "3600", "vllm", "serve"],
        &["uv", "run", "--with", "x", "vllm", "serve"],
        &[
            "conda",
            "run",
            "-n",
            "env",
            "--no-capture-output",
            "python",
            "-m",
            "vllm.entrypoints.openai.api_server",
        ],
        &["opentelemetry-instrument", "--service_name", "vllm", "vllm", "serve"],
    ];
    for words in table {
        assert_eq!(by_command(words), Start::Program, "{words:?}");
    }
}

#[test]
fn a_word_further_back_is_an_argument_whatever_it_says() {
    let table: &[&[&str]] = &[
        &["kubectl", "get", "pods", "-n", "vllm", "-w"],
        &["kubectl", "port-forward", "svc/vllm", "8000"],
        &["rclone", "sync", "remote:models", "/models/vllm"],
        &["aws", "s3", "sync", "s3://b/m", "/cache/vllm"],
        &["vllm", "bench", "serve", "--model", "m"],
        &["vllm", "run-batch", "-i", "x"],
        &["python3", "-m", "vllm.entrypoints.cli.main", "bench", "serve"],
        &["python3", "/sync.py", "vllm", "serve"],
        &["python3", "-c", "import vllm"],
        &["lm_eval", "-m", "vllm"],
        &["uv", "sync", "vllm"],
        &["tini", "--", "/exporter", "--target", "vllm"],
        &["http://vllm", "serve"],
    ];
    for words in table {
        assert_eq!(by_command(words), Start::Other, "{words:?}");
    }
}

#[test]
fn arguments_without_a_command_name_a_program_only_with_its_subcommand() {
    assert_eq!(by_arguments(&["vllm", "serve", "m"]), Start::Program);
    assert_eq!(by_arguments(&["python3", "-m", "vllm.entrypoints.openai.api_server"]), Start::Program);
    for words in [&["vllm", "bench", "serve"][..], &["/models/vllm"], &["python3", "/sync.py"]] {
        assert_eq!(by_arguments(words), Start::Other, "{words:?}");
    }
    let table: &[&[&str]] =
        &[&[], &["serve", "m"], &["--model", "m"], &["sync", "remote:models", "/models/vllm"], &["$(ARGS)"]];
    for words in table {
        assert_eq!(by_arguments(words), Start::OfImage, "{words:?}");
    }
    assert_eq!(
        start(&programs(), &json!({"command": ["tini", "--"], "args": ["vllm", "serve"]})),
        Start::Program
    );
    assert_eq!(start(&programs(), &json!({"command": {"vllm": 1}, "args": [4, null]})), Start::OfImage);
}

#[test]
fn a_script_starts_what_its_commands_name() {
    let script = |text: &str| by_command(&["bash", "-lc", text]);
    for text in [
        "vllm serve m --port 80",
        "cd /x && exec vllm serve m \\\n --port 80",
        "export A=b; CUDA_VISIBLE_DEVICES=0 nohup vllm serve m > log & sleep infinity",
        "if true; then python3 -m vllm.entrypoints.openai.api_server --model m; fi",
        "A='x y' vllm serve m",
        "unknown-wrapper --flag vllm serve m",
        "bash -c 'vllm serve m'",
        "/opt/server",
    ] {
        assert_eq!(script(text), Start::InText, "{text}");
    }
    for text in [
        "while true; do curl localhost:8000/health; sleep 5; done",
        "bash /vllm-workspace/examples/online_serving/multi-node-serving.sh worker --ray_address=$(LEADER)",
        "kubectl get pods -n vllm -w",
        "vllm bench serve --model m",
        "aws s3 sync s3://b/m /cache/vllm",
        "start.sh",
    ] {
        assert_eq!(script(text), Start::Shell, "{text}");
    }
    assert_eq!(by_command(&["sh", "-c", "exec \"$@\"", "--", "vllm", "serve"]), Start::InText);
    assert_eq!(by_command(&["tini", "--", "sh", "-c", "vllm serve m"]), Start::InText);
    assert_eq!(by_arguments(&["vllm serve m"]), Start::InText);
    assert_eq!(by_arguments(&["-c", "vllm serve m"]), Start::InText);
    assert_eq!(by_command(&["sh", "/start.sh"]), Start::Shell);
    assert_eq!(by_command(&["curl", "-d", "vllm is down"]), Start::Other);
}
