//! What the kernel reports about a process and about the machine.

use std::{fs, path::Path, time::Duration};

/// The memory of a process now, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub rss: f64,
    /// Its private memory: heap and stacks. The rest is the binary's file.
    pub anonymous: f64,
    pub threads: f64,
}

impl Memory {
    pub fn of(process: u32) -> Self {
        let status = read(&format!("/proc/{process}/status"));
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            let number = line.trim_start_matches(':').split_whitespace().next().unwrap_or_default();
            number.parse::<f64>().unwrap_or_else(|_| panic!("no {name} in {status}"))
        };
        Self { rss: field("VmRSS") * 1024.0, anonymous: field("RssAnon") * 1024.0, threads: field("Threads") }
    }

    /// The median of five readings within two seconds.
    pub async fn settled(process: u32) -> Self {
        let mut looks = Vec::new();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            looks.push(Self::of(process));
        }
        looks.sort_by(|one, other| one.rss.total_cmp(&other.rss));
        looks[2]
    }
}

/// The processor time of a process so far, in ticks of 10 ms.
pub fn ticks(process: u32) -> u64 {
    let stat = read(&format!("/proc/{process}/stat"));
    // The second field is the name in parentheses, which may contain blanks.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a number")).sum()
}

/// One line about the machine and its load.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let kernel = read("/proc/sys/kernel/osrelease");
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    format!("{cores} cores, Linux {}, load average {}", kernel.trim(), load.join(" "))
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}
