//! Programs that start another one with the arguments that follow their own.

/// One of them.
struct Wrapper {
    name: &'static str,
    /// The first argument with which it does so; none if it always does.
    subcommand: Option<&'static str>,
    /// Its options that have a value of their own.
    with_value: &'static [&'static str],
    /// How many arguments of its own stand before the program.
    operands: usize,
}

const fn plain(name: &'static str) -> Wrapper {
    with(name, &[])
}

const fn with(name: &'static str, with_value: &'static [&'static str]) -> Wrapper {
    Wrapper { name, subcommand: None, with_value, operands: 0 }
}

const WRAPPERS: [Wrapper; 23] = [
    with("tini", &["-p", "-e"]),
    with("tini-static", &["-p", "-e"]),
    with("dumb-init", &["-r", "--rewrite"]),
    plain("catatonit"),
    plain("nohup"),
    plain("ddtrace-run"),
    with("exec", &["-a"]),
    with("env", &["-u", "--unset", "-C", "--chdir"]),
    with("nice", &["-n", "--adjustment"]),
    with("ionice", &["-c", "-n", "--class", "--classdata"]),
    with("stdbuf", &["-i", "-o", "-e", "--input", "--output", "--error"]),
    with(
        "numactl",
        &[
            "-N",
            "-m",
            "-i",
            "-C",
            "-p",
            "--cpunodebind",
            "--membind",
            "--interleave",
            "--physcpubind",
            "--preferred",
        ],
    ),
    // The entrypoint of NVIDIA's images.
    plain("nvidia_entrypoint.sh"),
    with("uvx", &["-p", "--python", "--from", "--with"]),
    Wrapper { operands: 1, ..plain("taskset") },
    with(
        "opentelemetry-instrument",
        &["--service_name", "--traces_exporter", "--metrics_exporter", "--logs_exporter"],
    ),
    Wrapper { operands: 1, ..with("timeout", &["-k", "-s", "--kill-after", "--signal"]) },
    Wrapper { operands: 1, ..plain("gosu") },
    Wrapper { operands: 1, ..plain("su-exec") },
    Wrapper {
        subcommand: Some("run"),
        ..with(
            "uv",
            &["-p", "--python", "--with", "--project", "--directory", "--env-file", "--extra", "--group"],
        )
    },
    Wrapper { subcommand: Some("run"), ..plain("poetry") },
    Wrapper { subcommand: Some("run"), ..plain("pipenv") },
    Wrapper { subcommand: Some("run"), ..with("conda", &["-n", "--name", "-p", "--prefix", "--cwd"]) },
];

/// The words of the program that this one starts; none if it is not known to start another one.
pub(super) fn behind<'a, 't>(name: &str, rest: &'a [&'t str]) -> Option<&'a [&'t str]> {
    let wrapper = WRAPPERS.iter().find(|wrapper| wrapper.name == name)?;
    let mut words = rest;
    if let Some(subcommand) = wrapper.subcommand {
        words = words.split_first().filter(|(first, _)| **first == subcommand)?.1;
    }
    while let Some((first, rest)) = words.split_first() {
        if *first == "--" {
            words = rest;
            break;
        } else if wrapper.with_value.contains(first) {
            words = rest.get(1..).unwrap_or_default();
        } else if first.starts_with('-') || is_assignment(first) {
            words = rest;
        } else {
            break;
        }
    }
    Some(words.get(wrapper.operands..).unwrap_or_default())
}

/// Whether the word sets a variable for the program behind it.
pub(super) fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}
