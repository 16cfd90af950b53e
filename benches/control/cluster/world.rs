//! The cluster in motion: pods come and go, requests find one, metrics are read.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use valence_playground::application::{ApplicationProfile, Completion, Pod, PodLimits};

use super::deployment::{Deployment, Size, Vertical};
use super::member::{Member, Phase};
use super::metrics::{Ladder, PodMetrics};
use super::record::Record;

/// Interval of the metrics server, in seconds.
const METRICS_SECONDS: f64 = 15.0;

/// How old a reading of the metrics server is when it becomes visible, in seconds.
const METRICS_DELAY_SECONDS: f64 = 10.0;

/// How long a pod that leaves may still answer, in seconds.
const GRACE_SECONDS: f64 = 30.0;

/// What surrounds the application.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorldSettings {
    /// Cores of a node.
    pub node_cores: f64,
    /// Share of the time in which a node's other pods use all that they were promised.
    pub contended_share: f64,
    /// Mean length of such an episode in seconds.
    pub contended_seconds: f64,
    /// How a change of the size reaches running pods.
    pub vertical: Vertical,
    /// Time between two scrapes of the sidecars, in seconds.
    pub scrape_seconds: f64,
}

impl Default for WorldSettings {
    fn default() -> Self {
        Self {
            node_cores: 8.0,
            contended_share: 0.3,
            contended_seconds: 20.0,
            vertical: Vertical::Rollout,
            scrape_seconds: 15.0,
        }
    }
}

/// The cluster.
pub struct World {
    /// What surrounds the application.
    pub settings: WorldSettings,
    /// What the API server holds.
    pub deployment: Deployment,
    /// Every pod.
    pub members: Vec<Member>,
    /// Buckets of the sidecars.
    pub ladder: Ladder,
    /// What is counted.
    pub record: Record,
    /// Whether metrics arrive at present.
    pub blackout: bool,
    /// Whether events and costs count by now.
    pub judged: bool,
    /// CPU that each pod requests beside the application, for a sidecar that the controller needs, in cores.
    pub beside: f64,
    profile: Arc<ApplicationProfile>,
    ready: Vec<usize>,
    completed: Vec<Completion>,
    next_id: u64,
    next_read: f64,
    next_publish: f64,
    leak_bytes_per_hour: f64,
    downstream_scale: f64,
    seed: u64,
    demands: StdRng,
    balancing: StdRng,
}

impl World {
    /// A Deployment of `replicas` pods of `size`, all of them warm.
    pub fn new(
        profile: Arc<ApplicationProfile>,
        objective_seconds: f64,
        (replicas, size): (u32, Size),
        settings: WorldSettings,
        seed: u64,
    ) -> Self {
        let mut phases = StdRng::seed_from_u64(seed ^ 0x7068_6173);
        let next_read = phases.random::<f64>() * METRICS_SECONDS;
        let mut world = Self {
            settings,
            deployment: Deployment {
                replicas,
                size,
                revision: 1,
                version: 1,
                demand_scale: 1.0,
            },
            members: Vec::new(),
            ladder: Ladder::new(objective_seconds),
            record: Record::new(objective_seconds),
            blackout: false,
            judged: false,
            beside: 0.0,
            profile,
            ready: Vec::new(),
            completed: Vec::new(),
            next_id: 0,
            next_read,
            next_publish: next_read + METRICS_DELAY_SECONDS,
            leak_bytes_per_hour: 0.0,
            downstream_scale: 1.0,
            seed,
            demands: StdRng::seed_from_u64(seed ^ 0x6465_6d61),
            balancing: StdRng::seed_from_u64(seed ^ 0x6261_6c61),
        };
        (0..replicas).for_each(|_| world.create(0.0, true));
        world.index_ready();
        world
    }

    fn create(&mut self, now: f64, warm: bool) {
        self.next_id += 1;
        let size = self.deployment.size;
        let limits = PodLimits {
            cpu_limit: size.cpu_limit.is_finite().then_some(size.cpu_limit),
            cpu_capacity: self.settings.node_cores,
        };
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.next_id;
        // Pods leak at paces of their own, or all of them would die at once.
        let leak = self.leak_bytes_per_hour * leak_pace(self.next_id);
        let make = if warm { Pod::warm } else { Pod::new };
        let mut pod = make(self.profile.clone(), limits, seed, now);
        pod.set_demand_scale(self.deployment.demand_scale);
        pod.set_downstream_scale(self.downstream_scale);
        pod.set_leak(now, leak);
        let node = (self.settings.contended_share, self.settings.contended_seconds, !seed);
        let Deployment { revision, version, .. } = self.deployment;
        let metrics = PodMetrics::new(&self.ladder);
        let mut member = Member::new(self.next_id, pod, size, revision, version, metrics, node, now);
        member.share_node(self.settings.node_cores);
        if warm {
            member.phase = Phase::Ready;
        }
        self.members.push(member);
        self.record.pod_starts += u64::from(self.judged);
    }

    /// Asks for a number of replicas.
    pub fn scale(&mut self, replicas: u32) {
        if self.judged && self.blackout && replicas < self.deployment.replicas {
            self.record.blind_scale_ins += 1;
        }
        self.deployment.replicas = replicas;
    }

    /// Has a number of replicas, ready and warm, at once: what nobody can do but one who knows the future.
    pub fn scale_at_once(&mut self, replicas: u32, now: f64) {
        self.deployment.replicas = replicas;
        let missing = replicas.saturating_sub(self.current_replicas());
        (0..missing).for_each(|_| self.create(now, true));
        let excess = self.current_replicas().saturating_sub(replicas);
        self.remove(now, excess, |_| true);
        self.index_ready();
    }

    /// Asks for another size of every pod.
    pub fn resize(&mut self, size: Size) {
        if size == self.deployment.size {
            return;
        }
        self.deployment.size = size;
        match self.settings.vertical {
            Vertical::Rollout => {
                self.deployment.revision += 1;
                if self.judged {
                    self.record.size_changes += 1;
                    self.record.vertical_restarts += u64::from(self.current_replicas());
                }
            }
            Vertical::InPlace => {
                let node_cores = self.settings.node_cores;
                self.members
                    .iter_mut()
                    .for_each(|member| member.resize(size, node_cores));
            }
        }
    }

    /// Changes the size of new pods alone, as an admission webhook without an updater does.
    pub fn resize_new(&mut self, size: Size) {
        self.deployment.size = size;
    }

    /// Evicts a pod; its replacement is created at once.
    pub fn evict(&mut self, id: u64, now: f64) {
        if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
            member.phase = Phase::Terminating;
            member.terminating_since = now;
            self.record.vertical_restarts += u64::from(self.judged);
        }
        self.index_ready();
    }

    /// Resizes one running pod in place, request and limit alike: what an agent on the node does.
    pub fn set_quota(&mut self, index: usize, cores: f64) {
        let size = Size {
            cpu_request: cores,
            cpu_limit: cores,
            ..self.members[index].size
        };
        self.members[index].resize(size, self.settings.node_cores);
    }

    /// Rolls out new code that takes `demand` times the CPU time.
    pub fn deploy(&mut self, demand: f64) {
        self.deployment.revision += 1;
        self.deployment.version += 1;
        self.deployment.demand_scale = demand;
    }

    /// Memory leaks from now on.
    pub fn leak(&mut self, now: f64, bytes_per_hour: f64) {
        self.leak_bytes_per_hour = bytes_per_hour;
        for member in &mut self.members {
            member.pod.set_leak(now, bytes_per_hour * leak_pace(member.id));
        }
    }

    /// Waits on whatever is downstream take `scale` times as long.
    pub fn slow_downstream(&mut self, scale: f64) {
        self.downstream_scale = scale;
        self.members
            .iter_mut()
            .for_each(|member| member.pod.set_downstream_scale(scale));
    }

    /// Pods that serve.
    pub fn ready_pods(&self) -> usize {
        self.ready.len()
    }

    /// Pods that exist and are not leaving.
    pub fn current_replicas(&self) -> u32 {
        self.members
            .iter()
            .filter(|member| member.phase != Phase::Terminating)
            .count() as u32
    }

    fn index_ready(&mut self) {
        self.ready.clear();
        let ready = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.phase == Phase::Ready);
        self.ready.extend(ready.map(|(index, _)| index));
    }

    /// Lets one pod catch up and counts what it answered.
    fn catch_up(&mut self, index: usize, now: f64) {
        let member = &mut self.members[index];
        member.pod.advance(now, &mut self.completed);
        for completion in self.completed.drain(..) {
            member.metrics.answered[self.ladder.bucket(completion.latency_seconds)] += 1;
            if self.judged {
                self.record.answered(completion.latency_seconds);
            }
        }
    }

    /// A request arrives: of two ready pods taken at random the one with fewer requests gets it.
    pub fn arrive(&mut self, now: f64) {
        if self.judged {
            self.record.began();
        }
        let Some(index) = self.choose(now) else {
            if self.judged {
                self.record.failed(1);
            }
            return;
        };
        let member = &mut self.members[index];
        member.metrics.began += 1;
        if member.pod.arrive(now, &mut self.demands).is_none() {
            member.metrics.failed += 1;
            if self.judged {
                self.record.failed(1);
            }
        }
    }

    fn choose(&mut self, now: f64) -> Option<usize> {
        let count = self.ready.len();
        if count == 0 {
            return None;
        }
        let first = self.balancing.random_range(0..count);
        self.catch_up(self.ready[first], now);
        if count == 1 {
            return Some(self.ready[first]);
        }
        let second = (first + self.balancing.random_range(1..count)) % count;
        self.catch_up(self.ready[second], now);
        let (first, second) = (self.ready[first], self.ready[second]);
        let fewer = self.members[second].pod.in_flight() < self.members[first].pod.in_flight();
        Some(if fewer { second } else { first })
    }

    /// A tick of `seconds` ends at `now`: pods catch up, become ready, leave, run out of memory; the controllers of the
    /// cluster itself act; what `seconds` cost is counted.
    pub fn tick(&mut self, now: f64, seconds: f64) {
        for index in 0..self.members.len() {
            self.catch_up(index, now);
            self.charge(index, seconds);
            self.members[index].follow_node(now, self.settings.node_cores);
        }
        self.kill_for_memory(now);
        self.promote(now);
        self.replace(now);
        self.note_deployed();
        self.read_metrics(now);
        self.index_ready();
    }

    fn charge(&mut self, index: usize, seconds: f64) {
        let member = &mut self.members[index];
        let used = member.pod.cpu_used_seconds() - member.used_seconds;
        member.used_seconds += used;
        if !self.judged {
            return;
        }
        let size = member.size;
        let record = &mut self.record;
        record.used_core_seconds += used;
        let beside = self.beside * seconds;
        record.requested_core_seconds += size.cpu_request * seconds + beside;
        record.charged_core_seconds += (size.cpu_request * seconds).max(used) + beside;
        record.limit_core_seconds += size.cpu_limit.min(self.settings.node_cores) * seconds;
        record.memory_byte_seconds += size.memory_request as f64 * seconds;
    }

    fn kill_for_memory(&mut self, now: f64) {
        for member in self
            .members
            .iter_mut()
            .filter(|member| member.phase != Phase::Terminating)
        {
            if member.pod.memory_bytes(now) > member.size.memory_limit {
                let lost = member.pod.restart(now) as u64;
                member.phase = Phase::Starting;
                member.killed_for_memory_at = Some(now);
                member.metrics.failed += lost;
                if self.judged {
                    self.record.memory_kills += 1;
                    self.record.failed(lost);
                }
            }
        }
    }

    fn promote(&mut self, now: f64) {
        for member in self.members.iter_mut().filter(|member| member.phase == Phase::Starting) {
            if member.pod.is_ready(now) {
                member.phase = Phase::Ready;
            }
        }
        let mut lost = 0;
        self.members.retain(|member| {
            let leaves = member.phase == Phase::Terminating
                && (member.pod.in_flight() == 0 || now >= member.terminating_since + GRACE_SECONDS);
            lost += if leaves { member.pod.in_flight() as u64 } else { 0 };
            !leaves
        });
        if self.judged && lost > 0 {
            self.record.failed(lost);
        }
    }

    /// What the Deployment and ReplicaSet controllers do: rolling replacement within surge and unavailability, then
    /// the number of replicas.
    fn replace(&mut self, now: f64) {
        let Deployment { replicas, revision, .. } = self.deployment;
        let staying = |member: &&Member| member.phase != Phase::Terminating;
        let total = self.members.iter().filter(staying).count() as u32;
        let fresh = self
            .members
            .iter()
            .filter(staying)
            .filter(|member| member.revision == revision)
            .count() as u32;
        let rolling = fresh < total;
        let most = if rolling {
            replicas + self.deployment.surge()
        } else {
            replicas
        };
        let missing = most.saturating_sub(total).min(replicas.saturating_sub(fresh));
        (0..missing).for_each(|_| self.create(now, false));
        if rolling {
            self.retire_old(now);
        }
        let excess = (fresh + missing).saturating_sub(replicas);
        self.remove(now, excess, |member| member.revision == revision);
    }

    fn retire_old(&mut self, now: f64) {
        let Deployment { replicas, revision, .. } = self.deployment;
        let ready = self
            .members
            .iter()
            .filter(|member| member.phase == Phase::Ready)
            .count() as u32;
        let needed = replicas - self.deployment.unavailable();
        // An old pod that serves nobody may go at any time; one that serves, when enough others do.
        let idle = self
            .members
            .iter()
            .filter(|member| member.revision != revision && member.phase == Phase::Starting);
        let removable = idle.count() as u32 + ready.saturating_sub(needed);
        self.remove(now, removable, |member| member.revision != revision);
    }

    /// Lets `count` of the pods that `of` names leave: those that do not serve first, then the youngest.
    fn remove(&mut self, now: f64, count: u32, of: impl Fn(&Member) -> bool) {
        for _ in 0..count {
            let candidates = self
                .members
                .iter_mut()
                .filter(|member| member.phase != Phase::Terminating && of(member));
            let Some(member) = candidates.max_by(|a, b| {
                let order = |member: &Member| (member.phase == Phase::Starting, member.created_at);
                order(a).partial_cmp(&order(b)).unwrap_or(std::cmp::Ordering::Equal)
            }) else {
                return;
            };
            member.phase = Phase::Terminating;
            member.terminating_since = now;
        }
    }

    /// Notes when new code has taken over.
    fn note_deployed(&mut self) {
        let version = self.deployment.version;
        let done = version > 1
            && self
                .members
                .iter()
                .all(|member| member.version == version && member.phase == Phase::Ready);
        if done && self.judged && self.record.deployed_at.is_none() {
            self.record.deployed_at = Some(self.record.seconds.len() as f64);
        }
    }

    fn read_metrics(&mut self, now: f64) {
        if now >= self.next_read {
            self.next_read += METRICS_SECONDS;
            for member in &mut self.members {
                member
                    .metrics
                    .read(now, member.pod.cpu_used_seconds(), member.pod.memory_bytes(now));
            }
        }
        if now >= self.next_publish {
            self.next_publish += METRICS_SECONDS;
            self.members.iter_mut().for_each(|member| member.metrics.publish());
        }
    }

    /// A new second of judged time begins.
    pub fn begin_second(&mut self) {
        let requested = self.members.iter().map(|member| member.size.cpu_request).sum();
        self.record.next_second(self.ready.len(), self.members.len(), requested);
    }

    /// Ends the run: requests that have been waiting for longer than the objective by then have failed it.
    pub fn finish(&mut self, objective_seconds: f64, now: f64) {
        let deadline = now + objective_seconds;
        for index in 0..self.members.len() {
            self.catch_up(index, deadline);
            let waiting = self.members[index].pod.in_flight() as u64;
            self.record.failed(waiting);
        }
        self.record.close_minute();
    }
}

/// How fast a pod leaks beside the others: 0.6 to 1.4 times.
fn leak_pace(id: u64) -> f64 {
    0.6 + 0.8 * ((id as f64 * 0.618_034).fract())
}
