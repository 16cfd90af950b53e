//! A real Prometheus, as Debian packages it, that scrapes given targets.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::tools::root;

/// A job with its path and targets, each with the labels that service discovery would give it.
pub struct Job<'a> {
    pub name: &'a str,
    pub path: &'a str,
    pub targets: Vec<(String, Vec<(&'a str, String)>)>,
}

pub struct Prometheus {
    process: Child,
    folder: PathBuf,
    address: String,
}

impl Prometheus {
    /// Starts it with the alerts of the repository, scraping every second.
    pub fn start(binary: &Path, jobs: &[Job<'_>]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let configuration = folder.join("prometheus.json");
        std::fs::write(&configuration, configured(jobs).to_string()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let process = Command::new(binary)
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            process,
            folder,
            address,
        }
    }

    /// The result of an expression at this moment.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let answer = self
            .get(&format!("/api/v1/query?query={}", encoded(expression)))
            .await?;
        match answer["data"]["result"].as_array() {
            Some(result) => Ok(result.clone()),
            None => Err(answer.to_string()),
        }
    }

    /// Every rule with its health.
    pub async fn rules(&self) -> Result<Vec<Value>, String> {
        let answer = self.get("/api/v1/rules").await?;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        Ok(groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect())
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let request = client.get(format!("http://{}{path}", self.address).parse().unwrap());
        let response = tokio::time::timeout(Duration::from_secs(10), request).await;
        let response = response
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        serde_json::from_slice(&body).map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&body)))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// JSON is YAML.
fn configured(jobs: &[Job<'_>]) -> Value {
    let job = |job: &Job<'_>| {
        let target = |(address, labels): &(String, Vec<(&str, String)>)| {
            let labels: serde_json::Map<_, _> = labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone().into()))
                .collect();
            serde_json::json!({ "targets": [address], "labels": labels })
        };
        serde_json::json!({
            "job_name": job.name, "metrics_path": job.path, "honor_labels": true,
            "static_configs": job.targets.iter().map(target).collect::<Vec<_>>(),
        })
    };
    serde_json::json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [root().join("deploy/alerts/rules.yml")],
        "scrape_configs": jobs.iter().map(job).collect::<Vec<_>>(),
    })
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
