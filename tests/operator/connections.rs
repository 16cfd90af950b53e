//! Connections that misbehave, on either side of the operator, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::ask::Caller;
use crate::beside::{MOMENT, Plane, Start, is_patched, review};
use crate::support::{SHOP, SOON};

/// Stands between the operator and the API server, and can stop forwarding without closing anything.
struct Between {
    address: SocketAddr,
    epoch: Arc<watch::Sender<u64>>,
}

impl Between {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let epoch = Arc::new(watch::channel(0).0);
        let dead = Arc::clone(&epoch);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let dead = dead.subscribe();
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(server).await {
                        forward(near, far, dead).await;
                    }
                });
            }
        });
        Self { address, epoch }
    }

    /// What is open now stays open, and carries nothing more in either direction.
    fn die(&self) {
        self.epoch.send_modify(|epoch| *epoch += 1);
    }
}

async fn forward(mut near: TcpStream, mut far: TcpStream, mut dead: watch::Receiver<u64>) {
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = dead.changed() => std::future::pending().await,
    }
}

/// Every watch notices that its connection is dead, within the time that a watch lasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_died_unnoticed_leaves_nothing_stale() {
    let plane = Plane::start().await;
    plane.open_shop().await;
    let between = Between::start(plane.server.address()).await;
    let kubeconfig = std::fs::read_to_string(plane.kubeconfig()).unwrap();
    let kubeconfig = kubeconfig.replace(&plane.server.url(), &format!("https://{}", between.address));
    let path = plane.folder().join("between.kubeconfig");
    std::fs::write(&path, kubeconfig).unwrap();
    let operator = plane
        .operator(Start {
            arguments: &["--watch-timeout=2s"],
            kubeconfig: Some(&path),
            ..Start::default()
        })
        .await;
    let caller = operator.caller().await;
    operator.injects(&caller).await;
    for value in [Value::Null, json!("enabled")] {
        between.die();
        label(&plane, value.clone()).await;
        operator
            .until("news of the namespace", || async {
                let patched = is_patched(&caller.ask(operator.webhook, &review()).await?);
                if patched == value.is_string() {
                    Ok(())
                } else {
                    Err(format!("patched: {patched}"))
                }
            })
            .await;
    }
}

async fn label(plane: &Plane, value: Value) {
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(plane.client());
    let patch = json!({"metadata": {"labels": {"valence.io/injection": value}}});
    namespaces
        .patch(SHOP, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

/// Callers that connect and say nothing, or not all of it, cost others nothing and are hung up on.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_never_send_are_hung_up_on() {
    let plane = Plane::start().await;
    plane.open_shop().await;
    let operator = plane.operator(Start::default()).await;
    let caller = operator.caller().await;
    operator.injects(&caller).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(operator.webhook).await.unwrap());
    }
    let mut shaken = Vec::new();
    for _ in 0..20 {
        shaken.push(caller.connect(operator.webhook).await.unwrap());
    }
    let mut halfway = caller.connect(operator.webhook).await.unwrap();
    halfway.write_all(HEAD).await.unwrap();
    halfway.write_all(b"{").await.unwrap();
    halfway.flush().await.unwrap();
    assert!(is_patched(&caller.ask(operator.webhook, &review()).await.unwrap()));
    let ends = async {
        for stream in &mut silent {
            ended(stream).await;
        }
        for stream in &mut shaken {
            ended(stream).await;
        }
        ended(&mut halfway).await
    };
    let told = tokio::time::timeout(SOON, ends).await.expect("they are hung up on");
    assert!(told.starts_with("HTTP/1.1 413"), "{told}");
    assert!(is_patched(&caller.ask(operator.webhook, &review()).await.unwrap()));
}

const HEAD: &[u8] =
    b"POST /mutate/pods HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n";

/// Reads to the end, or to an error that is one as well.
async fn ended(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// Has pods admitted until nothing new is accepted, and counts them.
async fn admitted_to_the_end(caller: Caller, webhook: SocketAddr, admitted: Arc<AtomicU64>) {
    while let Ok(stream) = caller.connect(webhook).await {
        match Caller::ask_over(stream, &review()).await {
            Ok(answer) => assert!(is_patched(&answer)),
            // A connection that stood before its end, and nothing was asked on it yet.
            Err(error) => return assert!(caller.connect(webhook).await.is_err(), "{error}"),
        }
        admitted.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(MOMENT).await;
    }
}

/// On SIGTERM it is no longer ready first, still admits while callers learn that, answers what is under way, and ends well.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_during_admission_loses_no_review() {
    let plane = Plane::start().await;
    plane.open_shop().await;
    let operator = plane.operator(Start::default()).await;
    let caller = operator.caller().await;
    operator.injects(&caller).await;
    let body = review().to_string();
    let head = String::from_utf8(HEAD.to_vec())
        .unwrap()
        .replace("100000", &body.len().to_string());
    let (first, rest) = body.split_at(body.len() / 2);
    let mut under_way = caller.connect(operator.webhook).await.unwrap();
    under_way.write_all(head.as_bytes()).await.unwrap();
    under_way.write_all(first.as_bytes()).await.unwrap();
    under_way.flush().await.unwrap();
    let admitted = Arc::new(AtomicU64::new(0));
    let asking = tokio::spawn(admitted_to_the_end(caller, operator.webhook, Arc::clone(&admitted)));
    operator.signal("TERM");
    let before = admitted.load(Ordering::SeqCst);
    operator
        .until("not ready", || async {
            match operator.readiness().await {
                Some(text) if text.contains("its end") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    asking.await.unwrap();
    let after = admitted.load(Ordering::SeqCst);
    assert!(after > before, "endpoints still name it for a moment");
    under_way.write_all(rest.as_bytes()).await.unwrap();
    let answer = ended(&mut under_way).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"patch\""),
        "{answer}"
    );
    let status = operator.end().await;
    assert_eq!(status.code(), Some(0), "{}", operator.log());
}

/// Logs that cannot be written are lost, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_log_costs_no_admission() {
    let plane = Plane::start().await;
    plane.open_shop().await;
    let operator = plane
        .operator(Start {
            log: Some("/dev/full".as_ref()),
            environment: &[("RUST_LOG", "debug")],
            ..Start::default()
        })
        .await;
    let caller = operator.caller().await;
    operator.injects(&caller).await;
    let decided = plane.recommendation(|status| status["decidedAt"].is_string()).await;
    plane
        .recommendation(|status| status["decidedAt"] != decided["decidedAt"])
        .await;
    operator.signal("TERM");
    assert_eq!(operator.end().await.code(), Some(0));
}

/// With a CA for callers, only certificates of it under a name that is named get an answer; the file may change.
#[tokio::test(flavor = "multi_thread")]
async fn callers_without_the_right_certificate_get_no_answer() {
    let plane = Plane::start().await;
    plane.open_shop().await;
    let (ours, theirs) = (Authority::new(), Authority::new());
    let file = plane.folder().join("clients.crt");
    std::fs::write(&file, ours.certificate()).unwrap();
    let argument = format!("--client-ca={}", file.display());
    let operator = plane
        .operator(Start {
            arguments: &[&argument, "--client-name=kube-apiserver"],
            ..Start::default()
        })
        .await;
    let trusted = crate::beside::authority(&plane.client()).await;
    let with = |authority: &Authority, name: &str| {
        let (certificate, key) = authority.issue(name);
        Caller::with(&trusted, Some((&certificate, &key)))
    };
    let allowed = with(&ours, "kube-apiserver");
    operator.injects(&allowed).await;
    for refused in [
        Caller::trusting(&trusted),
        with(&ours, "somebody"),
        with(&theirs, "kube-apiserver"),
    ] {
        let answer = refused.ask(operator.webhook, &review()).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    std::fs::write(&file, theirs.certificate()).unwrap();
    // It looks at the file when it looks at the Secret, and once a minute.
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(plane.client(), "valence-system");
    let touch = json!({"metadata": {"annotations": {"touched": "yes"}}});
    secrets
        .patch(
            "valence-webhook-certificates",
            &PatchParams::default(),
            &Patch::Merge(touch),
        )
        .await
        .unwrap();
    operator.injects(&with(&theirs, "kube-apiserver")).await;
    assert!(allowed.ask(operator.webhook, &review()).await.is_err());
    tokio::time::sleep(MOMENT).await;
    assert!(operator.ended().is_none());
}

/// A CA for callers.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let key = rcgen::KeyPair::generate().unwrap();
        Self(rcgen::CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    fn certificate(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key of a caller.
    fn issue(&self, name: &str) -> (String, String) {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = rcgen::KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}
