//! The sidecars and the API server, in a process of their own: their memory is none of the scraper's.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{api, process, scrapes, sidecars};

/// Serves until nobody holds the other end of this process's input, telling first where the API server is, and at the end
/// how much memory it took.
pub fn serve() {
    sidecars::serve(scrapes::INTERVAL);
    println!("{}", api::start());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    println!("{:.1}", process::peak_resident_megabytes());
}

/// A process that serves.
pub struct Others {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    api: SocketAddr,
}

impl Others {
    /// Starts it, and waits until it serves.
    pub fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program has a name"))
            .arg("others")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let input = process.stdin.take().expect("its input");
        let mut output = BufReader::new(process.stdout.take().expect("its output"));
        let api = line(&mut output).parse().expect("the address of an API server");
        Self {
            process,
            input,
            output,
            api,
        }
    }

    /// A client of the API server. To be called within a runtime.
    pub fn client(&self) -> kube::Client {
        let address = format!("http://{}", self.api).parse().expect("an address");
        kube::Client::try_from(kube::Config::new(address)).expect("a client")
    }

    /// Ends it; the megabytes that it took at most.
    pub fn stop(mut self) -> String {
        drop(self.input);
        let megabytes = line(&mut self.output);
        self.process.wait().expect("it ends by itself");
        megabytes
    }
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    line.trim_end().to_owned()
}
