//! Flags that model servers have by more than one name.

use std::collections::BTreeSet;

/// The names of one flag, each group with dashes. From the argument parsers of vLLM and SGLang. Two short names of vLLM are
/// not here, `-n` and `-r`, because the programs that start a server have them, too, with another meaning.
const ALIASES: [&[&str]; 21] = [
    &["--quantization", "-q"],
    &["--tensor-parallel-size", "-tp", "--tp-size", "--tp"],
    &["--pipeline-parallel-size", "-pp", "--pp-size"],
    &["--data-parallel-size", "-dp", "--dp-size", "--dp"],
    &["--expert-parallel-size", "--ep-size", "--ep"],
    &["--enable-expert-parallel", "-ep"],
    &["--decode-context-parallel-size", "-dcp"],
    &["--prefill-context-parallel-size", "-pcp"],
    &["--data-parallel-rank", "-dpn"],
    &["--data-parallel-start-rank", "-dpr"],
    &["--data-parallel-size-local", "-dpl"],
    &["--data-parallel-address", "-dpa"],
    &["--data-parallel-rpc-port", "-dpp"],
    &["--data-parallel-backend", "-dpb"],
    &["--data-parallel-hybrid-lb", "-dph"],
    &["--data-parallel-external-lb", "-dpe"],
    &["--data-parallel-multi-port-external-lb", "-dpm"],
    &["--api-server-count", "-asc"],
    &["--compilation-config", "-cc"],
    &["--attention-config", "-ac"],
    &["--speculative-draft-tensor-parallel-size", "-spec-draft-tp"],
];

/// The names of the flag, with dashes and with underscores between their words. Servers that are written in Python accept
/// both.
pub fn spellings(flag: &str) -> BTreeSet<String> {
    let own = with_dashes(flag);
    let aliases = ALIASES.iter().find(|names| names.contains(&own.as_str())).copied().unwrap_or_default();
    let all = aliases.iter().copied().chain([flag]);
    all.flat_map(|name| [name.to_owned(), with_dashes(name), with_underscores(name)]).collect()
}

/// The other names of the flag that are one letter. They mean the same only where the program is known to be a model server:
/// `-q` makes many programs quiet.
pub fn one_letter(flag: &str) -> Option<&'static str> {
    let own = with_dashes(flag);
    let names = ALIASES.iter().find(|names| names.contains(&own.as_str()))?;
    names.iter().copied().find(|name| is_one_letter(name) && *name != own)
}

/// The one name by which all names of the flag are told from other flags.
pub fn canonical(flag: &str) -> String {
    let own = with_dashes(flag);
    let names = ALIASES.iter().find(|names| names.contains(&own.as_str()));
    names.map_or(own, |names| names[0].to_owned())
}

fn is_one_letter(flag: &str) -> bool {
    flag.len() == 2 && !flag.starts_with("--")
}

fn with_dashes(flag: &str) -> String {
    rewritten(flag, "_", "-")
}

fn with_underscores(flag: &str) -> String {
    rewritten(flag, "-", "_")
}

/// The dashes at the start stay.
fn rewritten(flag: &str, from: &str, to: &str) -> String {
    let (dashes, name) = flag.split_at(flag.len() - flag.trim_start_matches('-').len());
    format!("{dashes}{}", name.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_flag_is_found_by_every_other() {
        for names in ALIASES {
            for name in names {
                assert!(names.iter().all(|other| spellings(name).contains(*other)), "{name}");
                assert_eq!(canonical(&with_underscores(name)), names[0]);
            }
            let others = ALIASES.iter().filter(|other| other.iter().any(|name| names.contains(name)));
            assert_eq!(others.count(), 1, "{names:?} is in two groups");
        }
        assert_eq!(canonical("--max_num-seqs"), "--max-num-seqs");
        let own = spellings("--max_num-seqs");
        assert_eq!(own.iter().collect::<Vec<_>>(), ["--max-num-seqs", "--max_num-seqs", "--max_num_seqs"]);
        assert!(spellings("-tp").contains("--tensor_parallel_size"));
    }

    #[test]
    fn one_letter_is_told_apart_from_several() {
        assert_eq!(one_letter("--quantization"), Some("-q"));
        for flag in ["--tensor-parallel-size", "-q", "--port"] {
            assert_eq!(one_letter(flag), None, "{flag}");
        }
    }
}
