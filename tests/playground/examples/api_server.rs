//! Runs the API server alone, to try `kubectl` against it: `cargo run -p valence-playground --example api_server`.

use std::net::SocketAddr;

use valence_playground::apiserver::{Options, Server};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let directory = std::env::args().nth(1).unwrap_or_else(|| "target/api-server".into());
    let mut options = Options::in_directory(directory);
    if let Some(port) = std::env::args().nth(2) {
        options.listen = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
    }
    let server = Server::start(options).await?;
    tracing::info!(kubeconfig = %server.kubeconfig().display(), url = server.url(), "listening");
    tokio::signal::ctrl_c().await?;
    Ok(())
}
