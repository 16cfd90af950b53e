//! Threads on which nothing but serving runs: admission, and the probes. Scraping and deciding have others, so that no pod
//! waits for a decision about somebody else's.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads; a review takes tens of microseconds of one.
const THREADS: usize = 2;

/// A runtime of its own for what serves. Whatever is to be woken by its threads, as a listener, has to be made on them.
pub struct Serving {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Serving {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system refuses them.
    pub fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder
            .worker_threads(THREADS)
            .thread_name("serving")
            .enable_all()
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Where tasks are spawned.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Serving {
    /// Nothing is waited for, since the last thread to let go may be one that must not wait.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;
    use std::net::TcpStream;
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// All other threads are held by something that takes its time, from before the connection to after the answer.
    #[test]
    fn nothing_served_waits_for_other_work() {
        let other = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let serving = Serving::start().unwrap();
        let bound = serving.handle().spawn(TcpListener::bind("127.0.0.1:0"));
        let listener = other.block_on(bound).unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        serving.handle().spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"here").await.unwrap();
        });
        let ((begun, begins), (release, held)) = (mpsc::channel(), mpsc::channel::<()>());
        let work = other.spawn(async move {
            begun.send(()).unwrap();
            held.recv()
        });
        begins.recv().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "here");
        release.send(()).unwrap();
        other.block_on(work).unwrap().unwrap();
    }
}
