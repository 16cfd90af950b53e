//! What serves a request.

use super::{Burner, Worker};

/// The application behind the server.
#[derive(Clone)]
pub enum Work {
    /// Simulated: requests wait as long as the model says, and no CPU is used.
    Simulated(Worker),
    /// Done: CPU is burnt and memory held.
    Done(Burner),
}

impl Work {
    /// Waits until the application has started.
    pub async fn ready(&self) {
        match self {
            Self::Simulated(worker) => worker.ready().await,
            Self::Done(burner) => burner.ready().await,
        }
    }

    /// Serves one request: returns when it is answered; false when the queue was full.
    pub async fn request(&self) -> bool {
        match self {
            Self::Simulated(worker) => worker.request().await,
            Self::Done(burner) => burner.request().await,
        }
    }
}

impl From<Worker> for Work {
    fn from(worker: Worker) -> Self {
        Self::Simulated(worker)
    }
}

impl From<Burner> for Work {
    fn from(burner: Burner) -> Self {
        Self::Done(burner)
    }
}
