//! What the kernel reports about a process and about the machine.

use std::{fs, path::Path, time::Duration};

/// The memory of a process now, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub rss: f64,
    /// The highest value that it has ever had.
    pub peak: f64,
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
        Self {
            rss: field("VmRSS") * 1024.0,
            peak: field("VmHWM") * 1024.0,
            anonymous: field("RssAnon") * 1024.0,
            threads: field("Threads"),
        }
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

/// What all processors have done since the machine was started, in ticks.
#[derive(Clone, Copy)]
pub struct Processors {
    busy: u64,
    idle: u64,
}

impl Processors {
    pub fn now() -> Self {
        let stat = read("/proc/stat");
        let line = stat.lines().next().unwrap_or_default();
        let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // The fourth field is idle time, the fifth the time of waiting for disks.
        let idle = fields.iter().skip(3).take(2).sum();
        Self { busy: fields.iter().take(8).sum::<u64>() - idle, idle }
    }

    /// The share of the time since then in which they were in use, by any process of the machine.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand ticks")]
    pub fn busy_since(self) -> f64 {
        let now = Self::now();
        let (busy, idle) = ((now.busy - self.busy) as f64, (now.idle - self.idle) as f64);
        busy / (busy + idle)
    }
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
