//! The application's work done for real: its CPU time is burnt and its memory held, so that a cluster's own metrics see it,
//! and its kernel enforces the limits.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::application::{ApplicationProfile, Discipline};

/// How often the work that no request asks for is done.
const BACKGROUND: Duration = Duration::from_millis(100);

/// Requests on a CPU at once where the profile knows no bound; the kernel shares it among their threads.
const MOST: u32 = 256;

/// A running application.
#[derive(Clone)]
pub struct Burner(Arc<Inner>);

struct Inner {
    profile: ApplicationProfile,
    demand_scale: f64,
    downstream_scale: f64,
    rng: Mutex<StdRng>,
    /// Requests that are worked on.
    workers: Semaphore,
    /// Requests that wait for a worker.
    queue: AtomicU32,
    /// Requests on a CPU.
    threads: Semaphore,
    held: Mutex<Vec<Vec<u8>>>,
    ready_at: Instant,
}

impl Burner {
    /// Starts it now; it stops when the last handle is dropped.
    pub fn start(profile: ApplicationProfile, demand_scale: f64, downstream_scale: f64, seed: Option<u64>) -> Self {
        let threads = match profile.discipline {
            Discipline::ProcessorSharing => MOST,
            Discipline::FirstInFirstOut => profile.threads,
        };
        let burner = Self(Arc::new(Inner {
            rng: Mutex::new(seed.map_or_else(rand::make_rng, StdRng::seed_from_u64)),
            workers: Semaphore::new(profile.workers.unwrap_or(u32::MAX >> 4) as usize),
            queue: AtomicU32::new(0),
            threads: Semaphore::new(threads as usize),
            held: Mutex::new(vec![filled(profile.memory.base_bytes)]),
            ready_at: Instant::now() + Duration::from_secs_f64(profile.start.least_seconds),
            demand_scale,
            downstream_scale,
            profile,
        }));
        tokio::spawn(background(Arc::downgrade(&burner.0)));
        burner
    }

    /// Waits until the application has started.
    pub async fn ready(&self) {
        tokio::time::sleep_until(self.0.ready_at).await;
    }

    /// Serves one request: returns when it is answered; false when the queue was full.
    pub async fn request(&self) -> bool {
        let one = &self.0;
        let waiting = one.queue.fetch_add(1, Ordering::Relaxed);
        let worker = if one.workers.available_permits() == 0 && waiting >= one.profile.queue_limit {
            None
        } else {
            one.workers.acquire().await.ok()
        };
        one.queue.fetch_sub(1, Ordering::Relaxed);
        if worker.is_none() {
            return false;
        }
        let (cpu, waits) = one.draw();
        let part = cpu / (waits.len() + 1) as f64;
        one.burn(part).await;
        for wait in waits {
            tokio::time::sleep(Duration::from_secs_f64(wait)).await;
            one.burn(part).await;
        }
        true
    }
}

impl Inner {
    /// The CPU time of a request and its waits, in seconds.
    fn draw(&self) -> (f64, Vec<f64>) {
        let rng = &mut *self.rng.lock();
        let cpu = self.profile.cpu.sample(rng) * self.demand_scale * self.warm_up();
        let downstream = self.profile.downstream.as_ref();
        let waits = downstream.map_or(0, |downstream| downstream.waits);
        let wait = |_| downstream.map_or(0.0, |downstream| downstream.wait.sample(rng) * self.downstream_scale);
        (cpu, (0..waits).map(wait).collect())
    }

    /// How many times the usual CPU time a request needs now.
    fn warm_up(&self) -> f64 {
        let start = &self.profile.start;
        let age = self.ready_at.elapsed().as_secs_f64();
        if age >= start.warm_up_seconds {
            1.0
        } else {
            start.warm_up_factor + (1.0 - start.warm_up_factor) * age / start.warm_up_seconds
        }
    }

    async fn burn(&self, seconds: f64) {
        let turn = self.threads.acquire().await;
        let _ = tokio::task::spawn_blocking(move || burn(seconds)).await;
        drop(turn);
    }
}

/// What is done without any request: starting, housekeeping, leaking.
async fn background(one: std::sync::Weak<Inner>) {
    let interval = BACKGROUND.as_secs_f64();
    loop {
        tokio::time::sleep(BACKGROUND).await;
        let Some(one) = one.upgrade() else { return };
        let starting = Instant::now() < one.ready_at;
        let cores = if starting {
            one.profile.start.cpu_cores
        } else {
            one.profile.background_cpu_cores
        };
        let _ = tokio::task::spawn_blocking(move || burn(cores * interval)).await;
        let leak = one.profile.memory.leak_bytes_per_hour as f64 * interval / 3600.0;
        if leak > 0.0 {
            one.held.lock().push(filled(leak as u64));
        }
    }
}

/// Memory that is really there: every byte is written.
fn filled(bytes: u64) -> Vec<u8> {
    black_box(vec![1; usize::try_from(bytes).unwrap_or_default()])
}

/// Keeps this thread on a CPU until it has used so many seconds of it.
fn burn(seconds: f64) {
    let end = used() + seconds;
    let mut value = 1_u64;
    while used() < end {
        for step in 0..512 {
            value = black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step));
        }
    }
}

/// CPU time of this thread in seconds.
fn used() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ServiceTime;

    fn profile() -> ApplicationProfile {
        let mut profile = ApplicationProfile {
            cpu: ServiceTime::Constant { seconds: 0.02 },
            workers: Some(1),
            queue_limit: 0,
            background_cpu_cores: 0.0,
            ..ApplicationProfile::default()
        };
        (profile.start.least_seconds, profile.start.warm_up_seconds) = (0.0, 0.0);
        profile.start.cpu_cores = 0.0;
        profile
    }

    /// CPU time of this process in seconds.
    fn of_the_process() -> f64 {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    }

    #[tokio::test]
    async fn a_request_burns_its_cpu_time_and_memory_is_held() {
        let burner = Burner::start(profile(), 2.0, 0.0, Some(1));
        burner.ready().await;
        let before = of_the_process();
        assert!(burner.request().await);
        assert!(of_the_process() - before >= 0.04);
        assert_eq!(burner.0.held.lock()[0].len() as u64, profile().memory.base_bytes);
    }

    #[tokio::test]
    async fn a_full_queue_refuses() {
        let burner = Burner::start(profile(), 1.0, 0.0, Some(1));
        let taken = burner.0.workers.acquire().await;
        assert!(taken.is_ok() && !burner.request().await);
        drop(taken);
        assert!(burner.request().await);
    }
}
