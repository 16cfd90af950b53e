//! What the kernel knows of this process and of its threads, threads of their own, and the middle of what was measured.

use std::path::PathBuf;
use std::sync::mpsc;
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

/// Serves for ever with a runtime on a thread of its own, and waits for what it tells as soon as it is ready.
pub fn on_its_own_thread<T: Send + 'static>(serve: impl AsyncFnOnce(&dyn Fn(T)) + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(serve(&|ready| sender.send(ready).expect("whoever started this")));
    });
    receiver.recv().expect("the server starts")
}
