//! What the kernel knows of this process and of its threads, and the middle of what was measured.

use std::path::PathBuf;
use std::time::Duration;

/// Resident memory in megabytes, 0 where there is no /proc.
pub fn resident_megabytes() -> f64 {
    status("VmRSS:")
}

/// Most resident memory so far, in megabytes.
pub fn peak_resident_megabytes() -> f64 {
    status("VmHWM:")
}

fn status(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) * 1024.0 / 1e6
}

/// CPU time of the calling thread.
pub fn thread_cpu_time() -> Duration {
    let thread = std::fs::read_link("/proc/thread-self").map(|thread| PathBuf::from("/proc").join(thread));
    let stat = thread
        .and_then(|thread| std::fs::read_to_string(thread.join("schedstat")))
        .unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// The middle one.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
