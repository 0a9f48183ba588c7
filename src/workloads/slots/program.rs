//! Which program a container starts, as far as its command and its arguments show it.
//!
//! The first word of a command is its program, behind programs that only start another one. A word further back
//! is an argument, whatever it says: `kubectl get pods -n vllm` is no server.

use serde_json::Value;

use super::flags::base_name;
use super::wrappers;
use crate::workloads::profile::Program;

/// Programs that run a command from a text.
const SHELLS: [&str; 6] = ["sh", "bash", "ash", "dash", "zsh", "ksh"];
/// What may stand before the program of a command in a script.
const KEYWORDS: [&str; 14] = [
    "then", "do", "else", "if", "elif", "while", "until", "!", "time", "eval", "command", "builtin", "{", "}",
];

/// What a container starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// One of the programs, with its arguments as elements of the lists.
    Program,
    /// One of the programs, as a part of a text such as the script of a shell.
    InText,
    /// A shell, and no text that is seen to start one of the programs.
    Shell,
    /// Another program.
    Other,
    /// The program of the image: neither command nor arguments name one.
    OfImage,
}

/// What the container starts.
pub(super) fn start(programs: &[Program], container: &Value) -> Start {
    let list = |name: &str| {
        let elements = container.get(name).and_then(Value::as_array).into_iter().flatten();
        elements.filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let (command, args) = (list("command"), list("args"));
    let named = if command.is_empty() { Named::Fully } else { Named::Shortly };
    let all: Vec<&str> = command.iter().chain(&args).copied().collect();
    if all.iter().any(|element| is_text(element) && names_in_text(programs, element)) {
        return Start::InText;
    }
    match run(programs, &all, named) {
        Run::Program => Start::Program,
        Run::Shell(script) if names_anywhere(programs, script) => Start::InText,
        Run::Shell(_) => Start::Shell,
        Run::Unknown if command.is_empty() => Start::OfImage,
        Run::Other | Run::Unknown => Start::Other,
    }
}

fn is_text(element: &str) -> bool {
    element.contains(char::is_whitespace)
}

/// How much of a program must be there.
#[derive(Clone, Copy)]
enum Named {
    /// Its subcommand too, because the words may be the arguments of another program.
    Fully,
    /// Its name.
    Shortly,
}

/// What a command runs.
enum Run<'a, 't> {
    Program,
    /// A shell with these words behind it.
    Shell(&'a [&'t str]),
    /// A program that is none of them.
    Other,
    /// Its first word is no program that is known.
    Unknown,
}

fn run<'a, 't>(programs: &[Program], words: &'a [&'t str], named: Named) -> Run<'a, 't> {
    let mut words = words;
    while let Some((first, rest)) = words.split_first() {
        let name = base_name(first);
        if first.contains("://") {
            return Run::Unknown;
        } else if SHELLS.contains(&name) {
            return Run::Shell(rest);
        } else if is_python(name) {
            return if runs_in_python(programs, rest) { Run::Program } else { Run::Other };
        }
        match wrappers::behind(name, rest) {
            Some(behind) => words = behind,
            None => return program(programs, name, rest, named),
        }
    }
    Run::Unknown
}

fn program<'a, 't>(programs: &[Program], name: &str, rest: &[&str], named: Named) -> Run<'a, 't> {
    let mut of_name = programs.iter().filter(|program| program.is_called(name)).peekable();
    if of_name.peek().is_none() {
        return Run::Unknown;
    }
    let takes = |program: &Program| match (&program.subcommand, rest.first(), named) {
        (None, _, _) => true,
        (Some(subcommand), Some(first), _) if first == subcommand => true,
        (Some(_), first, Named::Shortly) => first.is_none_or(|first| first.starts_with('-')),
        (Some(_), _, Named::Fully) => false,
    };
    if of_name.any(takes) { Run::Program } else { Run::Other }
}

/// `python`, `python3`, `python3.12`.
fn is_python(name: &str) -> bool {
    let version = name.strip_prefix("python");
    version.is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Whether a module, or a script by its name, is one of the programs.
fn runs_in_python(programs: &[Program], words: &[&str]) -> bool {
    let is_one =
        |name: &str, rest: &[&str]| matches!(program(programs, name, rest, Named::Shortly), Run::Program);
    let mut words = words;
    while let Some((first, rest)) = words.split_first() {
        words = match *first {
            "-m" => return rest.split_first().is_some_and(|(module, rest)| is_one(module, rest)),
            "-c" | "-" => return false,
            // These have a value.
            "-X" | "-W" => rest.get(1..).unwrap_or_default(),
            option if option.starts_with('-') => rest,
            script => return is_one(base_name(script), rest),
        };
    }
    false
}

/// Whether a shell with these words starts one of the programs: in its script, or in what it passes on.
fn names_anywhere(programs: &[Program], words: &[&str]) -> bool {
    (0..words.len()).any(|at| {
        names_in_text(programs, words[at])
            || matches!(run(programs, &words[at..], Named::Fully), Run::Program)
    })
}

/// Whether the text starts one of the programs.
fn names_in_text(programs: &[Program], text: &str) -> bool {
    let text = text.replace("\\\n", " ");
    text.split([';', '&', '|', '\n', '(', ')', '`']).any(|command| {
        let quotes = |c: char| c == '"' || c == '\'';
        let words: Vec<&str> = command.split_whitespace().map(|word| word.trim_matches(quotes)).collect();
        let skipped =
            words.iter().take_while(|word| KEYWORDS.contains(word) || wrappers::is_assignment(word));
        let head = &words[skipped.count()..];
        let starts = match run(programs, head, Named::Shortly) {
            Run::Program => true,
            Run::Shell(script) => names_anywhere(programs, script),
            Run::Other | Run::Unknown => false,
        };
        // What stands before it may be the options of a program that is not known.
        let is_named = |at: usize| match words[at] {
            "-m" => runs_in_python(programs, &words[at..]),
            word => {
                let fully = |program: &&Program| program.subcommand.is_some();
                programs.iter().filter(fully).any(|program| {
                    program.is_called(base_name(word))
                        && words.get(at + 1).copied() == program.subcommand.as_deref()
                })
            }
        };
        starts || (0..words.len()).any(is_named)
    })
}
