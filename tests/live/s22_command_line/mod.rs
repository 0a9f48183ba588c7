//! S22: every verb against everything that can be wrong, and a person's decisions from the command line.

mod approve;
mod decide;
mod errors;
mod settle;

use std::process::Output;

use crate::support::world::World;

/// How a verb ended. None of its output may control a terminal, because there is none.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).expect("text");
            assert!(!text.contains('\u{1b}'), "what steers a terminal: {text:?}");
            text
        };
        Self {
            code: output.status.code().expect("it exits"),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// It has failed, and one line says why and what to do next.
    fn assert_refused(&self, what: &[&str], words: &[&str]) {
        let Self { code, out, err } = self;
        assert_eq!((*code, out.as_str()), (1, ""), "{what:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{what:?}: {err}");
        for word in words {
            assert!(err.contains(word), "{what:?}: no {word:?} in {err}");
        }
    }
}

/// Runs a verb as the administrator.
async fn firebreak(world: &World, arguments: &[&str]) -> Said {
    Said::of(&world.firebreak(arguments).await)
}

/// Runs a verb in the first namespace, which must succeed, and returns what it printed.
async fn run(world: &World, arguments: &[&str]) -> String {
    let said = firebreak(world, &[arguments, &["-n", &world.a]].concat()).await;
    assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.out, said.err);
    said.out
}
