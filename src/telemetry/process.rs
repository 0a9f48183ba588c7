//! The metrics that every process of Prometheus' ecosystem has, as far as operators are watched by them.

use std::fs;
use std::io;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge};

use super::metrics::Metrics;

/// Memory and start time of this process.
struct Process {
    resident: IntGauge,
    started: Gauge,
}

/// Shows them from now on.
///
/// # Errors
/// When a family has the name of another one.
pub fn show(metrics: &Metrics, started: jiff::Timestamp) -> Result<(), prometheus::Error> {
    let process = Process {
        resident: IntGauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
        started: Gauge::new(
            "process_start_time_seconds",
            "Start time of the process since the Unix epoch, in seconds.",
        )?,
    };
    process.started.set(started.as_duration().as_secs_f64());
    metrics.add(process)
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        [self.resident.desc(), self.started.desc()].concat()
    }

    /// Without the memory where the kernel does not say it.
    fn collect(&self) -> Vec<MetricFamily> {
        let resident = resident_bytes(fs::read_to_string("/proc/self/status"));
        let resident = resident.into_iter().flat_map(|bytes| {
            self.resident.set(bytes);
            self.resident.collect()
        });
        resident.chain(self.started.collect()).collect()
    }
}

fn resident_bytes(status: io::Result<String>) -> Option<i64> {
    let status = status.ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_start_time_are_shown_under_their_usual_names() {
        let metrics = Metrics::new().unwrap();
        show(&metrics, jiff::Timestamp::from_second(1_700_000_000).unwrap()).unwrap();
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains("\nprocess_start_time_seconds 1700000000\n"), "{text}");
        let resident = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        assert!(resident.is_some_and(|bytes| bytes.parse::<u64>().unwrap() > 1 << 20), "{text}");
    }

    #[test]
    fn memory_that_the_kernel_does_not_say_is_not_shown_as_zero() {
        assert_eq!(resident_bytes(Ok("VmSize:\t 9 kB\nVmRSS:\t  1200 kB\n".to_owned())), Some(1_228_800));
        assert_eq!(resident_bytes(Ok("VmSize:\t 9 kB\n".to_owned())), None);
        assert_eq!(resident_bytes(Err(io::ErrorKind::NotFound.into())), None);
    }
}
