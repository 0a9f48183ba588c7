//! Writes the bundle for the Operator Lifecycle Manager: `make bundle`.

mod bundle;

use std::{fs, path::Path, process::ExitCode};

use serde_json::Value;

/// Takes what `helm template` prints from standard input, and the folder as the only argument.
fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<(), String> {
    let folder = std::env::args_os().nth(1).ok_or("usage: helm template ... | olm FOLDER")?;
    let rendered =
        std::io::read_to_string(std::io::stdin()).map_err(|error| format!("standard input: {error}"))?;
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(&rendered).map_err(|error| format!("standard input: {error}"))?;
    let definitions: Vec<(String, String)> = ["incidents", "remediationpolicies"]
        .map(|plural| {
            let name = format!("firebreak.dev_{plural}.yaml");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(&name);
            fs::read_to_string(&path)
                .map(|text| (name, text))
                .map_err(|error| format!("{}: {error}", path.display()))
        })
        .into_iter()
        .collect::<Result<_, _>>()?;
    for (name, content) in bundle::files(&objects, &definitions) {
        let path = Path::new(&folder).join(name);
        let parent = path.parent().expect("it is in the folder");
        fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
