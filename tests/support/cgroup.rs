//! A memory limit as the kernel enforces it for a container.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::guardian;

static CREATED: AtomicUsize = AtomicUsize::new(0);

/// The files of the two versions of cgroups.
struct Files {
    hierarchy: &'static str,
    limit: &'static str,
    /// What keeps the processes from the swap space, where the limit does not count, and the value for that.
    no_swap: (&'static str, &'static str),
    peak: &'static str,
    /// Has a line `oom_kill COUNT`.
    kills: &'static str,
}

const VERSIONS: [Files; 2] = [
    Files {
        hierarchy: "/sys/fs/cgroup",
        limit: "memory.max",
        no_swap: ("memory.swap.max", "0"),
        peak: "memory.peak",
        kills: "memory.events",
    },
    Files {
        hierarchy: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        no_swap: ("memory.swappiness", "0"),
        peak: "memory.max_usage_in_bytes",
        kills: "memory.oom_control",
    },
];

/// A cgroup with a memory limit. It is removed when this is dropped, after its processes have ended.
pub struct Cgroup {
    folder: PathBuf,
    files: &'static Files,
}

impl Cgroup {
    /// One with this limit in bytes; none if this machine does not let this user create one.
    pub fn limited_to(bytes: u64) -> Option<Self> {
        VERSIONS.iter().find_map(|files| {
            let number = CREATED.fetch_add(1, Ordering::SeqCst);
            let name = format!("firebreak-{}-{number}", std::process::id());
            let folder = Path::new(files.hierarchy).join(name);
            fs::create_dir(&folder).ok()?;
            guardian::remove_cgroup_at_the_end(&folder);
            let cgroup = Self { folder, files };
            // Without the controller, and with an old kernel, files are missing; in another kind of file system a write
            // would create them.
            let is_one = [files.limit, files.peak, files.kills].iter().all(|file| cgroup.has(file));
            let limited = is_one && cgroup.write(files.limit, &bytes.to_string());
            let (no_swap, none) = files.no_swap;
            let in_memory = limited && (!cgroup.has(no_swap) || cgroup.write(no_swap, none));
            in_memory.then_some(cgroup)
        })
    }

    /// What a process writes its id to, to be in it.
    pub fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// The most memory that its processes have used, including what the kernel keeps for them, such as cached files.
    pub fn peak(&self) -> u64 {
        self.read(self.files.peak).trim().parse().expect("a number")
    }

    /// How many processes the kernel has killed because of the limit.
    pub fn kills(&self) -> u64 {
        let text = self.read(self.files.kills);
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("no count in {text}"))
    }

    fn has(&self, file: &str) -> bool {
        self.folder.join(file).exists()
    }

    fn write(&self, file: &str, value: &str) -> bool {
        fs::write(self.folder.join(file), value).is_ok()
    }

    fn read(&self, file: &str) -> String {
        let path = self.folder.join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // If a process is still in it, the guardian removes it.
        let _ = fs::remove_dir(&self.folder);
    }
}
