//! Runs one simulated pod in real time: requests wait here until the model says that they are answered.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant};

use crate::application::{ApplicationProfile, Completion, Pod, PodLimits, RequestId};

/// A change of a running application.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adjustment {
    /// Another CPU limit in cores; none is without a limit.
    CpuLimit(Option<f64>),
    /// Another factor on the CPU time of requests.
    DemandScale(f64),
    /// Another factor on waits for what is downstream.
    DownstreamScale(f64),
    /// A leak of so many bytes an hour.
    Leak(f64),
}

enum Message {
    Arrive(oneshot::Sender<bool>),
    Adjust(Adjustment),
}

/// Usage of a running application as last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Reading {
    cpu_seconds: f64,
    memory_bytes: u64,
}

/// A handle on the running model; it stops when the last handle is dropped.
#[derive(Clone)]
pub struct Worker {
    messages: mpsc::UnboundedSender<Message>,
    reading: Arc<Mutex<Reading>>,
    ready_at: Instant,
}

/// How often usage is read when nothing else happens.
const READING: Duration = Duration::from_millis(250);

impl Worker {
    /// Starts the model now.
    pub fn start(profile: ApplicationProfile, limits: PodLimits, seed: Option<u64>) -> Self {
        let mut rng = seed.map_or_else(rand::make_rng, StdRng::seed_from_u64);
        let pod = Pod::new(Arc::new(profile), limits, rng.random(), 0.0);
        let start = Instant::now();
        let (messages, inbox) = mpsc::unbounded_channel();
        let reading = Arc::default();
        let model = Model {
            pod,
            rng,
            start,
            waiting: HashMap::new(),
            reading: Arc::clone(&reading),
        };
        let ready_at = start + Duration::from_secs_f64(model.pod.ready_at().max(0.0));
        tokio::spawn(model.run(inbox));
        Self {
            messages,
            reading,
            ready_at,
        }
    }

    /// Waits until the application has started.
    pub async fn ready(&self) {
        tokio::time::sleep_until(self.ready_at).await;
    }

    /// Serves one request: returns when it is answered; false when the queue was full.
    pub async fn request(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let _ = self.messages.send(Message::Arrive(answer));
        answered.await.unwrap_or(false)
    }

    /// Changes the running application.
    pub fn adjust(&self, adjustment: Adjustment) {
        let _ = self.messages.send(Message::Adjust(adjustment));
    }

    /// CPU seconds used since the start, and bytes of memory held.
    pub fn usage(&self) -> (f64, u64) {
        let reading = *self.reading.lock();
        (reading.cpu_seconds, reading.memory_bytes)
    }
}

struct Model {
    pod: Pod,
    rng: StdRng,
    start: Instant,
    waiting: HashMap<RequestId, oneshot::Sender<bool>>,
    reading: Arc<Mutex<Reading>>,
}

impl Model {
    fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        let mut completed: Vec<Completion> = Vec::new();
        loop {
            let now = self.now();
            self.advance(now, &mut completed);
            self.read(now);
            let wait = self
                .pod
                .next_event()
                .map_or(READING, |at| Duration::from_secs_f64((at - now).max(0.0)).min(READING));
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => {
                        let now = self.now();
                        self.advance(now, &mut completed);
                        self.handle(message, now);
                    }
                    None => return,
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn advance(&mut self, now: f64, completed: &mut Vec<Completion>) {
        self.pod.advance(now, completed);
        for completion in completed.drain(..) {
            if let Some(answer) = self.waiting.remove(&completion.id) {
                let _ = answer.send(true);
            }
        }
    }

    fn handle(&mut self, message: Message, now: f64) {
        match message {
            Message::Arrive(answer) => match self.pod.arrive(now, &mut self.rng) {
                Some(id) => {
                    self.waiting.insert(id, answer);
                }
                None => {
                    let _ = answer.send(false);
                }
            },
            Message::Adjust(Adjustment::CpuLimit(cores)) => self.pod.set_cpu_limit(cores),
            Message::Adjust(Adjustment::DemandScale(scale)) => self.pod.set_demand_scale(scale),
            Message::Adjust(Adjustment::DownstreamScale(scale)) => self.pod.set_downstream_scale(scale),
            Message::Adjust(Adjustment::Leak(bytes_per_hour)) => self.pod.set_leak(now, bytes_per_hour),
        }
    }

    fn read(&self, now: f64) {
        *self.reading.lock() = Reading {
            cpu_seconds: self.pod.cpu_used_seconds(),
            memory_bytes: self.pod.memory_bytes(now),
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::application::{ServiceTime, Start};

    fn profile() -> ApplicationProfile {
        let start = Start {
            least_seconds: 2.0,
            most_seconds: 2.0,
            cpu_cores: 0.0,
            warm_up_seconds: 0.0,
            warm_up_factor: 1.0,
        };
        ApplicationProfile {
            cpu: ServiceTime::Constant { seconds: 0.030 },
            downstream: None,
            background_cpu_cores: 0.0,
            start,
            ..ApplicationProfile::default()
        }
    }

    #[tokio::test]
    async fn a_request_takes_the_time_that_the_model_gives_it() {
        let limits = PodLimits {
            cpu_limit: None,
            cpu_capacity: 1.0,
        };
        let worker = Worker::start(profile(), limits, Some(1));
        let start = Instant::now();
        worker.ready().await;
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[tokio::test]
    async fn a_lower_limit_takes_effect_in_place() {
        let limits = PodLimits {
            cpu_limit: None,
            cpu_capacity: 1.0,
        };
        let mut profile = profile();
        (profile.start.least_seconds, profile.start.most_seconds) = (0.0, 0.0);
        let worker = Worker::start(profile, limits, Some(1));
        assert!(worker.request().await);
        worker.adjust(Adjustment::CpuLimit(Some(0.1)));
        let start = Instant::now();
        assert!(worker.request().await);
        // 30 ms of CPU at 10 ms for each period of 100 ms: it ends in the third period at the earliest.
        assert!(start.elapsed() > Duration::from_millis(100));
        let used = worker.usage().0;
        assert!(used > 0.02, "{used}");
    }
}
