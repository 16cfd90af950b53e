//! One run: a scenario, a controller and a seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cluster::{Record, Size, World, WorldSettings};
use crate::controllers::{Controller, Coverage};
use crate::load::Load;
use crate::scenario::{Event, Scenario};

/// What a controller starts from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// Replicas.
    pub replicas: u32,
    /// Size of each.
    pub size: Size,
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was counted.
    pub record: Record,
    /// How the controller's bound held, if it has one.
    pub coverage: Option<Coverage>,
    /// Requests simulated, the warm-up included.
    pub simulated_requests: u64,
}

/// Runs `controller` over `warm_up` seconds that are not judged and the judged time of the scenario.
pub fn run(
    scenario: &Scenario,
    controller: &mut dyn Controller,
    start: Start,
    settings: WorldSettings,
    (seed, warm_up): (u64, usize),
) -> Outcome {
    let load = scenario.load_after_warm_up(seed, warm_up);
    let objective = scenario.response_time_seconds;
    let world = World::new(
        scenario.profile.clone(),
        objective,
        (start.replicas, start.size),
        settings,
        seed,
    );
    let mut run = Run::new(world, scenario, load, seed, warm_up);
    run.go(controller);
    let Run {
        mut world,
        simulated_requests,
        seconds,
        ..
    } = run;
    world.finish(objective, seconds as f64);
    Outcome {
        record: world.record,
        coverage: controller.coverage(),
        simulated_requests,
    }
}

struct Run<'a> {
    world: World,
    scenario: &'a Scenario,
    load: Load,
    arrivals: StdRng,
    pending: Vec<f64>,
    warm_up: usize,
    seconds: usize,
    next_act: f64,
    simulated_requests: u64,
}

impl<'a> Run<'a> {
    fn new(world: World, scenario: &'a Scenario, load: Load, seed: u64, warm_up: usize) -> Self {
        let mut arrivals = StdRng::seed_from_u64(seed ^ 0x6172_7269);
        Self {
            world,
            scenario,
            load,
            next_act: 1.0 + (arrivals.random::<f64>() * 15.0).floor(),
            arrivals,
            pending: Vec::new(),
            warm_up,
            seconds: warm_up + scenario.seconds,
            simulated_requests: 0,
        }
    }

    fn go(&mut self, controller: &mut dyn Controller) {
        let ticks = (1.0 / controller.tick_seconds()).round().max(1.0) as usize;
        for second in 0..self.seconds {
            self.begin_second(second, controller);
            for tick in 0..ticks {
                let end = second as f64 + (tick + 1) as f64 / ticks as f64;
                self.arrive_until(end);
                self.world.tick(end, 1.0 / ticks as f64);
                if end + 1e-6 >= self.next_act {
                    self.next_act += controller.interval_seconds();
                    controller.act(&mut self.world, end);
                }
            }
        }
    }

    fn begin_second(&mut self, second: usize, controller: &dyn Controller) {
        if second == self.warm_up {
            self.world.judged = true;
        }
        if self.world.judged {
            self.world.begin_second();
        }
        self.apply_events(second, controller);
        // Latest first, so that the next is at the end.
        self.pending = self.arrivals_of(second);
        self.pending.reverse();
        self.simulated_requests += self.pending.len() as u64;
    }

    /// A Poisson stream at the rate of one second.
    fn arrivals_of(&mut self, second: usize) -> Vec<f64> {
        let mut times = Vec::new();
        let rate = self.load.rate(second);
        if rate <= 0.0 {
            return times;
        }
        let mut at = second as f64;
        loop {
            at += -(1.0 - self.arrivals.random::<f64>()).ln() / rate;
            if at >= (second + 1) as f64 {
                return times;
            }
            times.push(at);
        }
    }

    fn arrive_until(&mut self, end: f64) {
        while let Some(at) = self.pending.pop_if(|at| *at <= end) {
            self.world.arrive(at);
        }
    }

    fn apply_events(&mut self, second: usize, controller: &dyn Controller) {
        let now = second as f64;
        for &(at, event) in &self.scenario.events {
            let begins = at + self.warm_up as f64;
            match event {
                Event::Deploy { demand } if now == begins => {
                    let replicas = controller.admit(self.world.deployment.replicas);
                    self.world.scale(replicas);
                    self.world.deploy(demand);
                }
                Event::Leak { bytes_per_hour } if now == begins => self.world.leak(now, bytes_per_hour),
                Event::Blackout { seconds } => {
                    self.world.blackout = (begins..begins + seconds).contains(&now);
                }
                Event::SlowDownstream { scale, .. } if now == begins => self.world.slow_downstream(scale),
                Event::SlowDownstream { seconds, .. } if now == begins + seconds => self.world.slow_downstream(1.0),
                _ => {}
            }
        }
    }
}
