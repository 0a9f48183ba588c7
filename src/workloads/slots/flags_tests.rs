use firebreak_engine::facts::{Role, Slots};
use serde_json::{Value, json};

use super::tests::{DEPLOYMENT, STATEFUL_SET, found, obstacle};

fn of(containers: Value) -> Slots {
    found(DEPLOYMENT, &json!({"spec": {"template": {"spec": {"containers": containers}}}}))
}

/// The flags found, without the part of the path that is the same for all.
fn flags(slots: &Slots) -> Vec<String> {
    let start = "/spec/template/spec/containers/";
    let flags = slots.of(&Role::BatchSize);
    flags.map(|slot| slot.path.to_string().strip_prefix(start).unwrap().to_owned()).collect()
}

/// Where the flag of the only container is.
fn flag(container: Value) -> Vec<String> {
    flags(&of(json!([container])))
}

/// Why the flag of the only container is not changed.
fn why(container: Value) -> String {
    let slots = of(json!([container]));
    assert_eq!(flags(&slots), Vec::<String>::new());
    obstacle(&slots, &Role::BatchSize).unwrap()
}

#[test]
fn a_flag_is_found_in_any_form_in_args_and_in_command() {
    let here = |list: &str, name: &str| vec![format!("[name=c]/{list}/[flag={name}]")];
    let dashed = "--max-num-seqs";
    let table = [
        (json!({"name": "c", "args": ["--max-num-seqs", "256"]}), here("args", dashed)),
        (json!({"name": "c", "args": ["--model", "m", "--max-num-seqs=256"]}), here("args", dashed)),
        (json!({"name": "c", "args": ["--max_num_seqs=256"]}), here("args", "--max_num_seqs")),
        (
            json!({"name": "c", "command": ["vllm", "serve", "m", "--max-num-seqs", "9"]}),
            here("command", dashed),
        ),
        (json!({"name": "c", "command": ["server"], "args": ["--max-num-seqs=1"]}), here("args", dashed)),
        // A shell passes its own arguments on unchanged.
        (
            json!({"name": "c", "command": ["sh", "start.sh"], "args": ["--max-num-seqs=1"]}),
            here("args", dashed),
        ),
    ];
    for (container, expected) in table {
        assert_eq!(flag(container.clone()), expected, "{container}");
    }
    let object = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "args": ["--max-num-seqs=1"]}]}}}});
    assert_eq!(flags(&found(STATEFUL_SET, &object)), here("args", dashed));
}

#[test]
fn a_server_without_the_flag_gets_it_in_the_args_that_it_has() {
    for server in [
        json!({"name": "c", "image": "vllm/vllm-openai:v0.10.0", "args": ["--model", "m"]}),
        json!({"name": "c", "image": "registry.example:5000/ai/vllm@sha256:0123", "args": []}),
        json!({"name": "c", "image": "python:3.12", "command": ["vllm"], "args": ["serve", "m"]}),
        json!({"name": "c", "command": ["/usr/local/bin/vllm", "serve"], "args": ["m"]}),
        json!({"name": "c", "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"], "args": ["--port=80"]}),
    ] {
        assert_eq!(flag(server.clone()), ["[name=c]/args/[flag=--max-num-seqs]"], "{server}");
    }
}

#[test]
fn a_container_that_is_not_recognisably_the_server_is_left_alone() {
    for other in [
        json!({"name": "vllm", "image": "nginx:1", "args": ["-g", "daemon off;"]}),
        json!({"name": "c", "image": "vllm/vllm-router:1", "args": ["--port=80"]}),
        json!({"name": "c", "image": "vllm.example/exporter:1", "args": ["--target", "vllm", "--url=http://vllm"]}),
        json!({"name": "c", "image": "proxy", "args": ["http://vllm", "vllm:8000"]}),
        json!({"name": "c", "image": "bitnami/kubectl:1", "command": ["kubectl", "get", "pods", "-n", "vllm", "-w"]}),
        json!({"name": "c", "image": "rclone/rclone:1", "args": ["sync", "remote:models", "/models/vllm"]}),
        json!({"name": "c", "image": "prometheus", "args": ["--service-discovery", "k8s", "-n", "vllm"]}),
        json!({"name": "c", "image": "vllm/vllm-openai:v1", "command": ["vllm"], "args": ["bench", "serve", "--model", "m"]}),
        json!({"name": "c"}),
        json!({"name": "c", "image": 4, "args": "vllm", "command": {"vllm": 1}}),
        json!(null),
        json!("vllm"),
    ] {
        let why = why(other.clone());
        assert_eq!(why, "no container can be identified as a server that takes --max-num-seqs", "{other}");
    }
    let sidecar = json!({"name": "proxy", "image": "envoy", "args": ["--base-id", "1"]});
    let server = json!({"name": "server", "args": ["--max-num-seqs=256"]});
    assert_eq!(flags(&of(json!([sidecar, server]))), ["[name=server]/args/[flag=--max-num-seqs]"]);
    assert!(obstacle(&of(json!("none")), &Role::BatchSize).is_some());
}

#[test]
fn a_helper_of_the_same_image_that_a_shell_starts_does_not_hide_the_server() {
    let server = json!({"name": "server", "image": "vllm/vllm-openai:v1", "args": ["--max-num-seqs=256"]});
    let helper =
        |script: &str| json!({"name": "c", "image": "vllm/vllm-openai:v1", "command": ["sh", "-c", script]});
    for script in ["while true; do curl localhost:8000/health; sleep 5; done", "multi-node-serving.sh worker"]
    {
        let found = of(json!([helper(script), server]));
        assert_eq!(flags(&found), ["[name=server]/args/[flag=--max-num-seqs]"], "{script}");
        assert!(why(helper(script)).contains("a shell"), "{script}: alone, it may be the server");
    }
    let another = of(json!([server, helper("vllm serve m")]));
    assert!(obstacle(&another, &Role::BatchSize).unwrap().contains("a shell"), "a second server");
}

#[test]
fn every_server_of_a_pod_has_a_flag() {
    let server = |name: &str| json!({"name": name, "image": "vllm", "args": []});
    assert_eq!(flags(&of(json!([server("a"), server("b")]))).len(), 2);
}

#[test]
fn a_flag_whose_value_is_not_clear_is_not_changed() {
    let table = [
        (json!({"name": "c", "args": ["--max-num-seqs=1", "--max-num-seqs=2"]}), "occurs twice"),
        (json!({"name": "c", "args": ["--max-num-seqs=1", "--max_num_seqs", "2"]}), "occurs twice"),
        (
            json!({"name": "c", "command": ["vllm", "--max-num-seqs=1"], "args": ["--max-num-seqs=2"]}),
            "occurs twice",
        ),
        (json!({"name": "c", "args": ["--max-num-seqs"]}), "has no value"),
        (json!({"name": "c", "command": ["sh", "-c", "vllm serve m --max-num-seqs 256"]}), "longer text"),
        (
            json!({"name": "c", "command": ["sh", "-c"], "args": ["exec vllm serve m \\\n --max-num-seqs=256\n"]}),
            "longer text",
        ),
    ];
    for (container, expected) in table {
        let why = why(container.clone());
        assert!(why.contains(expected) && why.contains("container c"), "{container}: {why}");
    }
}

#[test]
fn a_flag_is_not_added_where_it_would_not_arrive() {
    let table = [
        (json!({"name": "c", "image": "vllm/vllm-openai"}), "replacing the arguments"),
        (json!({"name": "c", "image": "vllm/vllm-openai", "args": null}), "replacing the arguments"),
        (json!({"name": "c", "command": ["sh", "-c"], "args": ["vllm serve m --port 80"]}), "a shell"),
        (json!({"name": "c", "command": ["/bin/bash", "-lc", "exec vllm serve m"], "args": []}), "a shell"),
        (json!({"name": "c", "image": "vllm", "command": ["/bin/sh", "/start.sh"], "args": []}), "a shell"),
        (json!({"name": "c", "image": "vllm", "args": ["vllm serve m"]}), "a shell"),
        // A helper of the same image, which would not start with a flag that it does not know.
        (
            json!({"name": "c", "image": "vllm", "command": ["python3", "/sync.py"], "args": ["--dir", "/x"]}),
            "no container can be identified",
        ),
    ];
    for (container, expected) in table {
        let why = why(container.clone());
        assert!(why.contains(expected), "{container}: {why}");
    }
}

#[test]
fn an_init_program_before_the_server_does_not_hide_it() {
    for (command, args) in [
        (json!(["/usr/bin/tini", "--"]), json!(["vllm", "serve", "m"])),
        (json!(["tini", "-g", "--", "vllm", "serve"]), json!(["m"])),
        (json!(["/usr/bin/dumb-init", "--"]), json!(["vllm", "serve", "m"])),
        (json!(["dumb-init", "--single-child", "vllm"]), json!(["serve", "m"])),
        (json!(["dumb-init", "python3", "-m", "vllm.entrypoints.openai.api_server"]), json!(["--port=80"])),
    ] {
        let server = json!({"name": "c", "image": "example.com/llm:1", "command": command, "args": args});
        assert_eq!(flag(server.clone()), ["[name=c]/args/[flag=--max-num-seqs]"], "{server}");
    }
    let alone = json!({"name": "c", "command": ["tini", "--", "vllm", "serve", "m"]});
    assert_eq!(flag(alone), ["[name=c]/command/[flag=--max-num-seqs]"], "the image's arguments are not used");
    let shell = json!({"name": "c", "command": ["tini", "--", "sh", "-c"], "args": ["vllm serve m"]});
    assert!(why(shell).contains("a shell"));
    let other = json!({"name": "c", "command": ["tini", "--"], "args": ["/exporter", "--target", "vllm"]});
    assert!(why(other).contains("no container can be identified"));
}

#[test]
fn a_flag_that_may_stand_elsewhere_is_neither_added_nor_changed() {
    let server = |args: Value, env: Value| json!({"name": "c", "image": "vllm/vllm-openai:v0.11", "args": args, "env": env});
    let literal = |name: &str, value: &str| json!([{"name": name, "value": value}]);
    let from_secret =
        |name: &str| json!([{"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
    let extra = json!(["serve", "m", "$(EXTRA)"]);
    let explicit = json!(["serve", "m", "--max-num-seqs=256", "$(EXTRA)"]);
    let table = [
        (server(json!(["serve", "m", "--config", "/etc/vllm.yaml"]), json!([])), "the file of --config"),
        (server(json!(["serve", "m", "--config=/etc/vllm.yaml"]), json!([])), "the file of --config"),
        (server(extra.clone(), literal("EXTRA", "--max-num-seqs=4")), "the variable EXTRA"),
        (server(extra.clone(), literal("EXTRA", "--max_num_seqs 4")), "the variable EXTRA"),
        (server(extra.clone(), literal("EXTRA", "--config=/etc/vllm.yaml")), "the variable EXTRA"),
        (server(extra.clone(), literal("EXTRA", "$(OTHER)")), "the variable EXTRA"),
        (server(extra.clone(), from_secret("EXTRA")), "the variable EXTRA"),
        (server(extra.clone(), json!([])), "the variable EXTRA"),
        (server(explicit.clone(), from_secret("EXTRA")), "the variable EXTRA"),
        (server(json!(["m", "--enforce-eager", "$(EXTRA)"]), from_secret("EXTRA")), "the variable EXTRA"),
        (
            server(json!(["m", "--tensor-parallel-size", "$(N)"]), literal("N", "2 --max-num-seqs=4")),
            "the variable N",
        ),
        (server(json!(["serve", "$(MODEL)"]), literal("MODEL", "--max-num-seqs=4")), "the variable MODEL"),
        (
            server(json!(["serve", "m"]), literal("VLLM_ADDITIONAL_ARGS", "--max-num-seqs 4")),
            "VLLM_ADDITIONAL_ARGS",
        ),
        (server(json!(["serve", "m"]), from_secret("VLLM_ADDITIONAL_ARGS")), "VLLM_ADDITIONAL_ARGS"),
    ];
    for (container, expected) in table {
        let why = why(container.clone());
        assert!(why.contains(expected) && !why.contains("=4"), "{container}: {why}");
    }
    let here = ["[name=c]/args/[flag=--max-num-seqs]"];
    for container in [
        // What the arguments say counts before the file.
        server(json!(["serve", "m", "--max-num-seqs=256", "--config=/etc/vllm.yaml"]), json!([])),
        server(extra.clone(), literal("EXTRA", "--enable-prefix-caching")),
        server(explicit, literal("EXTRA", "--enable-prefix-caching")),
        server(json!(["serve", "$(MODEL)", "--port", "$(PORT)", "--api-key=$(KEY)"]), from_secret("KEY")),
        server(json!(["--model", "$(MODEL)"]), literal("VLLM_ADDITIONAL_ARGS", "--dtype=half")),
        server(json!(["m", "--tensor-parallel-size", "$(N)", "--max-num-seqs=256"]), from_secret("N")),
        server(
            json!(["m", "-tp", "$(N)", "--max_model_len", "$(N)", "--max-num-seqs=256"]),
            from_secret("N"),
        ),
    ] {
        assert_eq!(flag(container.clone()), here, "{container}");
    }
    let sidecar = json!({"name": "proxy", "image": "envoy", "args": ["$(EXTRA)", "--config=/x"]});
    let server = json!({"name": "server", "args": ["--max-num-seqs=256"]});
    assert_eq!(flags(&of(json!([sidecar, server]))), ["[name=server]/args/[flag=--max-num-seqs]"]);
}

#[test]
fn containers_that_cannot_be_told_apart_are_not_changed() {
    let server = json!({"name": "c", "args": ["--max-num-seqs=1"]});
    let slots = of(json!([server, server]));
    assert!(obstacle(&slots, &Role::BatchSize).unwrap().contains("no unique name"));
    assert!(why(json!({"args": ["--max-num-seqs=1"]})).contains("no unique name"));
}

#[test]
fn a_flag_out_of_bounds_is_not_lent() {
    let problem = |value: &str| {
        let slots = of(json!([{"name": "c", "args": ["--max-num-seqs", value]}]));
        slots.of(&Role::BatchSize).next().unwrap().out_of_bounds.clone()
    };
    assert_eq!(problem("256"), None);
    assert_eq!(problem("$(SEQS)"), None, "the action says that this is no number");
    assert!(problem("0").is_some() && problem("65537").is_some());
}

#[test]
fn nothing_but_the_flag_is_said_about_the_arguments() {
    for args in [
        json!(["--api-key=hunter2", "--max-num-seqs=1", "--max-num-seqs=2"]),
        json!(["vllm serve --api-key hunter2 --max-num-seqs 3"]),
        json!(["vllm serve --api-key hunter2"]),
        json!(["--api-key", "hunter2"]),
    ] {
        let slots = of(json!([{"name": "c", "args": args, "env": [{"name": "KEY", "value": "hunter2"}]}]));
        assert!(!format!("{slots:?}").contains("hunter2"), "{slots:?}");
    }
}
