//! What `testbed/build.sh` has built.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folder of the built testbed: `FIREBREAK_TESTBED`, or what its build script says.
pub fn folder() -> Result<PathBuf, String> {
    if let Some(tools) = std::env::var_os("FIREBREAK_TESTBED") {
        return Ok(tools.into());
    }
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/build.sh"))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("testbed/build.sh: {error}"))?;
    if !output.status.success() {
        return Err(format!("testbed/build.sh: {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

/// A tool, or another file, that is not in every testbed.
pub fn built(name: &str) -> PathBuf {
    let folder = folder().unwrap_or_else(|why| panic!("{why}"));
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run the tests with `make`", path.display());
    path
}
