//! A real control plane out of its own binaries: etcd, kube-apiserver and, when asked for, kube-controller-manager, each
//! a process on loopback whose data goes with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use kube::Client;
use valence_playground::tools::skipped;

use crate::credentials::{Certificates, kubeconfig};
use crate::plane::client;
use crate::process::{Folder, Process, free_ports};

/// Who the operator is: RBAC takes the name of the ServiceAccount, however it was proven.
const OPERATOR: &str = "system:serviceaccount:valence-system:valence";

/// A running control plane. Its parts end in the order of the fields.
pub struct RealControlPlane {
    _controller_manager: Option<Process>,
    _api_server: Process,
    _etcd: Process,
    pub administrator: PathBuf,
    pub operator: PathBuf,
    _folder: Folder,
}

/// The folder of the binaries; without it, or where it lacks one of those named, the case says that it is skipped.
pub fn assets(case: &str, needed: &[&str]) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) else {
        skipped(case, "kube-apiserver", "KUBEBUILDER_ASSETS is not set");
        return None;
    };
    if let Some(missing) = needed.iter().find(|name| !folder.join(name).is_file()) {
        // The controller manager may be missing; a folder without the other two is a mistake of whoever set it.
        assert_eq!(
            *missing, "kube-controller-manager",
            "KUBEBUILDER_ASSETS has no {missing}"
        );
        skipped(case, missing, &format!("KUBEBUILDER_ASSETS has no {missing}"));
        return None;
    }
    Some(folder)
}

impl RealControlPlane {
    /// Starts it and waits until it is ready.
    pub async fn start(assets: &Path, controllers: bool) -> Self {
        let folder = Folder::new();
        let [client_port, peer_port, port] = free_ports();
        let etcd_url = format!("http://127.0.0.1:{client_port}");
        let etcd = etcd(assets, &folder, &etcd_url, peer_port);
        etcd.wait("etcd", || async {
            let connected = tokio::net::TcpStream::connect(("127.0.0.1", client_port)).await;
            connected.map(|_| ()).map_err(|error| error.to_string())
        })
        .await;
        let [administrator_token, operator_token] = [(); 2].map(|()| format!("{:032x}", rand::random::<u128>()));
        let tokens = folder.write("tokens.csv", tokens(&administrator_token, &operator_token));
        let certificates = Certificates::for_names(&["127.0.0.1", "localhost", "kubernetes.default.svc"]);
        let api_server = api_server(assets, &folder, &certificates, &etcd_url, port, &tokens);
        let url = format!("https://127.0.0.1:{port}");
        let kubeconfig = |token: &str| kubeconfig(&url, &certificates.authority, token);
        let administrator = folder.write("administrator.kubeconfig", kubeconfig(&administrator_token));
        let operator = folder.write("operator.kubeconfig", kubeconfig(&operator_token));
        let asking = client(&administrator).await;
        api_server.wait("kube-apiserver", || ready(&asking)).await;
        let controller_manager = controllers.then(|| controller_manager(assets, &folder, &administrator));
        Self {
            _controller_manager: controller_manager,
            _api_server: api_server,
            _etcd: etcd,
            administrator,
            operator,
            _folder: folder,
        }
    }
}

async fn ready(client: &Client) -> Result<(), String> {
    let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
    let answer = client.request_text(request).await;
    answer.map(|_| ()).map_err(|error| error.to_string())
}

/// Lines of `token,user,uid,"groups"`. The groups of authenticated users are added by the server.
fn tokens(administrator: &str, operator: &str) -> String {
    format!(
        "{administrator},administrator,1,\"system:masters\"\n\
         {operator},{OPERATOR},2,\"system:serviceaccounts,system:serviceaccounts:valence-system\"\n"
    )
}

fn etcd(assets: &Path, folder: &Folder, url: &str, peer_port: u16) -> Process {
    let peer = format!("http://127.0.0.1:{peer_port}");
    let mut command = Command::new(assets.join("etcd"));
    command
        .arg(format!("--data-dir={}", folder.path().join("etcd").display()))
        .arg("--name=default")
        .arg(format!("--listen-client-urls={url}"))
        .arg(format!("--advertise-client-urls={url}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=default={peer}"))
        // What a test stores need not outlive a crash of the machine.
        .arg("--unsafe-no-fsync=true");
    Process::start("etcd", &mut command, folder.path())
}

fn api_server(
    assets: &Path,
    folder: &Folder,
    certificates: &Certificates,
    etcd: &str,
    port: u16,
    tokens: &Path,
) -> Process {
    let accounts = rcgen::KeyPair::generate().unwrap();
    let file = |flag: &str, name: &str, content: &str| format!("--{flag}={}", folder.write(name, content).display());
    let mut command = Command::new(assets.join("kube-apiserver"));
    command
        .arg(format!("--etcd-servers={etcd}"))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        .arg(format!("--secure-port={port}"))
        .arg(format!("--cert-dir={}", folder.path().join("certificates").display()))
        .arg(file("tls-cert-file", "server.crt", &certificates.leaf))
        .arg(file("tls-private-key-file", "server.key", &certificates.leaf_key))
        .arg(format!("--token-auth-file={}", tokens.display()))
        .arg("--authorization-mode=RBAC")
        .args(["--allow-privileged=true", "--service-cluster-ip-range=10.0.0.0/24"])
        .arg(format!("--service-account-issuer=https://127.0.0.1:{port}/"))
        .arg(file(
            "service-account-key-file",
            "accounts.pub",
            &accounts.public_key_pem(),
        ))
        .arg(file(
            "service-account-signing-key-file",
            "accounts.key",
            &accounts.serialize_pem(),
        ))
        // Nothing makes the ServiceAccount `default` that it would look for.
        .arg("--disable-admission-plugins=ServiceAccount");
    Process::start("kube-apiserver", &mut command, folder.path())
}

/// Only what turns a Deployment into pods.
fn controller_manager(assets: &Path, folder: &Folder, kubeconfig: &Path) -> Process {
    let mut command = Command::new(assets.join("kube-controller-manager"));
    command
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .args([
            "--controllers=deployment-controller,replicaset-controller",
            "--leader-elect=false",
        ])
        // It serves nothing that a test asks for.
        .arg("--secure-port=0");
    Process::start("kube-controller-manager", &mut command, folder.path())
}
