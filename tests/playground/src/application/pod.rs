//! One pod of the application.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::processor::{Processor, Slot, Throttling};
use super::profile::ApplicationProfile;

/// Most waits that one request can have.
const MOST_WAITS: usize = 8;

/// Time over which throughput is averaged where memory follows it.
const MEMORY_AVERAGING_SECONDS: f64 = 60.0;

/// Names a request until it completes, unique within its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A request that was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Completion {
    /// Which one.
    pub id: RequestId,
    /// When it was answered.
    pub at_seconds: f64,
    /// Time from arrival to answer.
    pub latency_seconds: f64,
}

/// CPU that a pod may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PodLimits {
    /// CPU limit in cores; `None` is without a limit.
    pub cpu_limit: Option<f64>,
    /// Cores that the node can give.
    pub cpu_capacity: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Request {
    sequence: u64,
    arrived_at: f64,
    part_seconds: f64,
    waits_left: u8,
    waits: [f32; MOST_WAITS],
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct WakeUp(f64);

impl Eq for WakeUp {}

impl PartialOrd for WakeUp {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WakeUp {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// One pod: starts, warms up, serves.
///
/// Calls must come in order of time. [`Pod::advance`] to an instant before anything is asked about that instant.
#[derive(Debug)]
pub struct Pod {
    profile: Arc<ApplicationProfile>,
    processor: Processor,
    requests: Vec<Request>,
    free: Vec<Slot>,
    asleep: BinaryHeap<Reverse<(WakeUp, Slot)>>,
    queue: VecDeque<Slot>,
    working: u32,
    sequence: u64,
    ready_at: f64,
    demand_scale: f64,
    downstream_scale: f64,
    extra_leak_bytes_per_hour: f64,
    leaked_bytes: f64,
    leaked_at: f64,
    start_cpu_cores: f64,
    earlier_start_seconds: f64,
    created_at: f64,
    throughput: f64,
    throughput_at: f64,
    collected_at_work: f64,
    rng: StdRng,
}

impl Pod {
    /// A pod that is created at `now` and becomes ready a start time later, drawn from `seed`.
    pub fn new(profile: Arc<ApplicationProfile>, limits: PodLimits, seed: u64, now: f64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let start = &profile.start;
        let start_seconds = start.least_seconds + rng.random::<f64>() * (start.most_seconds - start.least_seconds);
        let mut pod = Self::at(profile.clone(), limits, rng, now);
        pod.ready_at = now + start_seconds;
        pod.start_cpu_cores = start.cpu_cores.min(limits.cpu_limit.unwrap_or(f64::INFINITY));
        pod
    }

    /// A pod that has long been ready and warm at `now`.
    pub fn warm(profile: Arc<ApplicationProfile>, limits: PodLimits, seed: u64, now: f64) -> Self {
        let warm_up = profile.start.warm_up_seconds;
        let mut pod = Self::at(profile, limits, StdRng::seed_from_u64(seed), now);
        pod.ready_at = now - warm_up;
        pod
    }

    fn at(profile: Arc<ApplicationProfile>, limits: PodLimits, rng: StdRng, now: f64) -> Self {
        let mut processor = Processor::new(profile.discipline, profile.threads, profile.background_cpu_cores, now);
        processor.set_limit(limits.cpu_limit);
        processor.set_capacity(limits.cpu_capacity);
        Self {
            profile,
            processor,
            requests: Vec::new(),
            free: Vec::new(),
            asleep: BinaryHeap::new(),
            queue: VecDeque::new(),
            working: 0,
            sequence: 0,
            ready_at: now,
            demand_scale: 1.0,
            downstream_scale: 1.0,
            extra_leak_bytes_per_hour: 0.0,
            leaked_bytes: 0.0,
            leaked_at: now,
            start_cpu_cores: 0.0,
            earlier_start_seconds: 0.0,
            created_at: now,
            throughput: 0.0,
            throughput_at: now,
            collected_at_work: 0.0,
            rng,
        }
    }

    /// When it becomes ready.
    pub fn ready_at(&self) -> f64 {
        self.ready_at
    }

    /// Whether it serves at `now`. A request that arrives earlier is worked on all the same: keeping them away until
    /// then is what the caller's load balancer does.
    pub fn is_ready(&self, now: f64) -> bool {
        now >= self.ready_at
    }

    /// A request arrives at `now`; what it will need is drawn from `rng`. `None` means that it was refused because
    /// every worker is busy and the queue is full.
    ///
    /// The same number of draws is taken whatever the state of the pod, so that runs with one seed see one load.
    pub fn arrive<R: Rng + ?Sized>(&mut self, now: f64, rng: &mut R) -> Option<RequestId> {
        let request = self.draw(now, rng);
        self.observe_arrival(now);
        let full = self.profile.workers.is_some_and(|workers| self.working >= workers);
        if full && self.queue.len() >= self.profile.queue_limit as usize {
            return None;
        }
        let slot = self.place(request);
        if full {
            self.queue.push_back(slot);
        } else {
            self.working += 1;
            self.processor.start(slot, request.part_seconds);
        }
        Some(RequestId(request.sequence))
    }

    fn draw<R: Rng + ?Sized>(&mut self, now: f64, rng: &mut R) -> Request {
        let demand = self.profile.cpu.sample(rng) * self.demand_scale * self.warm_up(now);
        let mut request = Request {
            sequence: self.sequence,
            arrived_at: now,
            ..Request::default()
        };
        self.sequence += 1;
        if let Some(downstream) = &self.profile.downstream {
            request.waits_left = downstream.waits.min(MOST_WAITS as u8);
            for wait in request.waits.iter_mut().take(usize::from(request.waits_left)) {
                *wait = downstream.wait.sample(rng) as f32;
            }
        }
        request.part_seconds = demand / f64::from(request.waits_left + 1);
        request
    }

    /// How many times the usual CPU time a request needs at `now`.
    fn warm_up(&self, now: f64) -> f64 {
        let start = &self.profile.start;
        let age = now - self.ready_at;
        if age >= start.warm_up_seconds {
            return 1.0;
        }
        1.0 + (start.warm_up_factor - 1.0) * (1.0 - age.max(0.0) / start.warm_up_seconds)
    }

    fn place(&mut self, request: Request) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.requests[slot as usize] = request;
            return slot;
        }
        self.requests.push(request);
        (self.requests.len() - 1) as Slot
    }

    /// The next instant at which anything changes by itself; `None` while the pod is idle.
    pub fn next_event(&self) -> Option<f64> {
        let wake_up = self.asleep.peek().map(|Reverse((at, _))| at.0);
        match (wake_up, self.processor.next_change()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Lets everything happen up to `now`; answered requests are appended to `completed` in order of time.
    pub fn advance(&mut self, now: f64, completed: &mut Vec<Completion>) {
        loop {
            let wake_up = self.asleep.peek().map_or(f64::INFINITY, |Reverse((at, _))| at.0);
            match self.processor.run(wake_up.min(now)) {
                Some(slot) => self.part_done(slot, completed),
                None if wake_up <= now => self.wake(),
                None => return,
            }
        }
    }

    fn wake(&mut self) {
        if let Some(Reverse((_, slot))) = self.asleep.pop() {
            self.processor.start(slot, self.requests[slot as usize].part_seconds);
        }
    }

    fn part_done(&mut self, slot: Slot, completed: &mut Vec<Completion>) {
        let now = self.processor.clock();
        self.collect_garbage();
        let request = &mut self.requests[slot as usize];
        if request.waits_left > 0 {
            request.waits_left -= 1;
            let wait = f64::from(request.waits[usize::from(request.waits_left)]) * self.downstream_scale;
            self.asleep.push(Reverse((WakeUp(now + wait), slot)));
            return;
        }
        completed.push(Completion {
            id: RequestId(request.sequence),
            at_seconds: now,
            latency_seconds: now - request.arrived_at,
        });
        self.free.push(slot);
        match self.queue.pop_front() {
            Some(next) => self.processor.start(next, self.requests[next as usize].part_seconds),
            None => self.working -= 1,
        }
    }

    fn collect_garbage(&mut self) {
        let Some(collection) = &self.profile.garbage_collection else {
            return;
        };
        if self.processor.worked_seconds() - self.collected_at_work >= collection.every_cpu_seconds {
            self.collected_at_work = self.processor.worked_seconds();
            self.processor.pause(collection.pause.sample(&mut self.rng));
        }
    }

    /// Requests that arrived and were not answered yet.
    pub fn in_flight(&self) -> usize {
        self.requests.len() - self.free.len()
    }

    /// CPU used since creation in seconds, start included.
    pub fn cpu_used_seconds(&self) -> f64 {
        let starting = self.processor.clock().min(self.ready_at) - self.created_at;
        self.processor.used_seconds() + self.earlier_start_seconds + self.start_cpu_cores * starting.max(0.0)
    }

    /// What the control group has counted.
    pub fn throttling(&self) -> Throttling {
        self.processor.throttling()
    }

    /// Changes the CPU limit now, as a resize in place does.
    pub fn set_cpu_limit(&mut self, cores: Option<f64>) {
        self.processor.set_limit(cores);
    }

    /// Changes what the node can give now.
    pub fn set_cpu_capacity(&mut self, cores: f64) {
        self.processor.set_capacity(cores);
    }

    /// CPU time of requests that arrive from now on, as a multiple of the profile's.
    pub fn set_demand_scale(&mut self, scale: f64) {
        self.demand_scale = scale;
    }

    /// Length of waits that begin from now on, as a multiple of the profile's.
    pub fn set_downstream_scale(&mut self, scale: f64) {
        self.downstream_scale = scale;
    }

    /// A leak from `now` on, on top of the profile's.
    pub fn set_leak(&mut self, now: f64, bytes_per_hour: f64) {
        self.leaked_bytes = self.leaked(now);
        self.leaked_at = now;
        self.extra_leak_bytes_per_hour = bytes_per_hour;
    }

    fn leaked(&self, now: f64) -> f64 {
        let rate = self.profile.memory.leak_bytes_per_hour as f64 + self.extra_leak_bytes_per_hour;
        self.leaked_bytes + rate * (now - self.leaked_at).max(0.0) / 3600.0
    }

    fn observe_arrival(&mut self, now: f64) {
        self.throughput = self.throughput(now) + 1.0 / MEMORY_AVERAGING_SECONDS;
        self.throughput_at = now;
    }

    /// Requests per second, exponentially averaged.
    fn throughput(&self, now: f64) -> f64 {
        self.throughput * (-(now - self.throughput_at) / MEMORY_AVERAGING_SECONDS).exp()
    }

    /// Memory held at `now`.
    pub fn memory_bytes(&self, now: f64) -> u64 {
        let memory = &self.profile.memory;
        let load = memory.bytes_per_request_per_second as f64 * self.throughput(now);
        let requests = memory.bytes_per_request as f64 * self.in_flight() as f64;
        memory.base_bytes + (load + requests + self.leaked(now)) as u64
    }

    /// Restarts the container at `now`, as after a kill for memory: every request in flight is lost (their number is
    /// returned), the leak is gone, and it starts and warms up anew.
    pub fn restart(&mut self, now: f64) -> usize {
        let lost = self.in_flight();
        let profile = self.profile.clone();
        let limits = PodLimits {
            cpu_limit: None,
            cpu_capacity: f64::INFINITY,
        };
        let mut fresh = Self::new(profile, limits, self.rng.random(), now);
        fresh.processor = self.processor.emptied();
        fresh.earlier_start_seconds = self.cpu_used_seconds() - self.processor.used_seconds();
        fresh.demand_scale = self.demand_scale;
        fresh.downstream_scale = self.downstream_scale;
        fresh.extra_leak_bytes_per_hour = self.extra_leak_bytes_per_hour;
        fresh.sequence = self.sequence;
        *self = fresh;
        lost
    }
}

#[cfg(test)]
mod tests;
