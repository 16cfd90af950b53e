//! Replicas that issue, share, rotate and lose their certificates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::handshake::Caller;
use crate::support::{Api, CONFIGURATION, Hand, NAMESPACE, SECRET};
use tokio_util::sync::{CancellationToken, DropGuard};
use valence_certs::{Certificates, Managed, Options, Source, keys};

const START: &str = "2027-03-01T00:00:00Z";

struct Replica {
    certificates: Certificates,
    _running: DropGuard,
}

fn managed() -> Managed {
    Managed::for_service(NAMESPACE, "valence-webhook", SECRET, CONFIGURATION)
}

fn replica_with(api: &Api, hand: &Hand, managed: Managed) -> Replica {
    let mut options = Options::new(Source::Managed(managed));
    options.clock = hand.clock();
    let token = CancellationToken::new();
    let certificates = Certificates::start(api.client(), options, token.clone()).unwrap();
    Replica {
        certificates,
        _running: token.drop_guard(),
    }
}

fn replica(api: &Api, hand: &Hand) -> Replica {
    replica_with(api, hand, managed())
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}

/// Moves the clock and lets every replica notice.
async fn advance(hand: &Hand, hours: i64, replicas: &[Replica]) {
    hand.advance_hours(hours);
    for replica in replicas {
        replica.certificates.look_again();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_start_at_once_and_serve_one_leaf() {
    let (api, hand) = (Api::new(), Hand::at(START));
    let replicas = [replica(&api, &hand), replica(&api, &hand), replica(&api, &hand)];
    for replica in &replicas {
        replica.certificates.ready().await;
    }
    assert_eq!(api.writes.load(Ordering::SeqCst), 1, "one replica wrote the Secret");
    let bundles = api.bundles();
    assert_eq!(bundles.len(), 2);
    assert!(
        bundles
            .iter()
            .all(|bundle| *bundle == api.secret_text(keys::AUTHORITY).unwrap())
    );
    let caller = Caller::new(&hand);
    let mut leaves = Vec::new();
    for replica in &replicas {
        leaves.push(
            caller
                .call(replica.certificates.server_config(), &bundles[0])
                .await
                .unwrap(),
        );
    }
    assert!(leaves.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_rotations_of_ca_and_leaf_fail_no_handshake() {
    let (api, hand) = (Api::new(), Hand::at(START));
    let replicas = Arc::new([replica(&api, &hand), replica(&api, &hand), replica(&api, &hand)]);
    for replica in replicas.iter() {
        replica.certificates.ready().await;
    }
    let (stop, handshakes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let calling: Vec<_> = (0..3)
        .map(|index| {
            let (api, hand, replicas) = (api.clone(), hand.clone(), replicas.clone());
            let (stop, handshakes) = (stop.clone(), handshakes.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let bundle = api.bundles().remove(index % 2);
                    let server = replicas[index].certificates.server_config();
                    Caller::new(&hand)
                        .call(server, &bundle)
                        .await
                        .expect("a handshake failed");
                    handshakes.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            })
        })
        .collect();
    for round in 0..10 {
        rotate_everything(&api, &hand, &replicas[..], round).await;
    }
    stop.store(true, Ordering::SeqCst);
    for task in calling {
        task.await.unwrap();
    }
    assert!(
        handshakes.load(Ordering::SeqCst) >= 100,
        "{handshakes:?} handshakes are too few to tell"
    );
}

/// One renewal of the leaf alone, then of the CA with its overlap, then the old CA's retirement.
async fn rotate_everything(api: &Api, hand: &Hand, replicas: &[Replica], round: usize) {
    let (authority, leaf) = (
        api.secret_text(keys::AUTHORITY).unwrap(),
        api.secret_text(keys::LEAF).unwrap(),
    );
    let end_of = |replica: &Replica| replica.certificates.status().borrow().leaf_not_after;
    let end = replicas.iter().map(end_of).max();
    let mut waited = 0;
    while api.secret_text(keys::LEAF).unwrap() == leaf {
        advance(hand, 24, replicas).await;
        waited += 1;
        assert!(waited < 31, "round {round}: the leaf was never renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        api.secret_text(keys::AUTHORITY).unwrap(),
        authority,
        "round {round}: the CA outlives a leaf"
    );
    eventually("every replica serves the new leaf, and remembers it", || {
        replicas.iter().all(|replica| Some(end_of(replica)) > end)
    })
    .await;
    // The Secret is deleted by hand: that asks for a new CA, and the replicas go on from what they remember.
    let leaf = api.secret_text(keys::LEAF).unwrap();
    api.delete_secret();
    eventually("a new CA beside the old one", || {
        api.secret_text(keys::PREVIOUS_AUTHORITIES)
            .is_some_and(|previous| previous.contains(authority.trim()))
    })
    .await;
    let new_authority = api.secret_text(keys::AUTHORITY).unwrap();
    assert_ne!(new_authority, authority);
    assert_eq!(
        api.secret_text(keys::LEAF).unwrap(),
        leaf,
        "round {round}: the leaf waits for the bundle"
    );
    eventually("the bundle carries both", || {
        api.bundles()
            .iter()
            .all(|bundle| bundle.contains(new_authority.trim()) && bundle.contains(authority.trim()))
    })
    .await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(
        api.secret_text(keys::LEAF).unwrap(),
        leaf,
        "round {round}: the leaf waits for the settling time"
    );
    // The pause is counted from when a replica saw the bundle, so it is moved until each has seen it.
    let mut waited = 0;
    while api.secret_text(keys::LEAF).unwrap() == leaf {
        hand.advance_seconds(16);
        replicas.iter().for_each(|replica| replica.certificates.look_again());
        waited += 1;
        assert!(waited < 1000, "round {round}: the leaf was never switched");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    advance(hand, 25, replicas).await;
    eventually("the old CA retires", || {
        api.secret_text(keys::PREVIOUS_AUTHORITIES).is_none()
            && api.bundles().iter().all(|bundle| bundle.trim() == new_authority.trim())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ageing_ca_rotates_with_overlap() {
    let (api, hand) = (Api::new(), Hand::at(START));
    let replicas = [replica(&api, &hand)];
    replicas[0].certificates.ready().await;
    let first = api.secret_text(keys::AUTHORITY).unwrap();
    for _ in 0..400 {
        advance(&hand, 24, &replicas).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let bundle = api.bundles().remove(0);
        let served = Caller::new(&hand)
            .call(replicas[0].certificates.server_config(), &bundle)
            .await;
        served.expect("a day's first handshake");
    }
    assert_ne!(
        api.secret_text(keys::AUTHORITY).unwrap(),
        first,
        "in 400 days a CA of a year rotates"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_server_away_changes_nothing_for_callers() {
    let (api, hand) = (Api::new(), Hand::at(START));
    let replicas = [replica(&api, &hand)];
    replicas[0].certificates.ready().await;
    let bundle = api.bundles().remove(0);
    api.set_away(true);
    replicas[0].certificates.look_again();
    let mut status = replicas[0].certificates.status();
    status.wait_for(|status| status.error.is_some()).await.unwrap();
    assert!(
        replicas[0].certificates.is_ready(),
        "what is in force is as good as before"
    );
    Caller::new(&hand)
        .call(replicas[0].certificates.server_config(), &bundle)
        .await
        .unwrap();
    api.set_away(false);
    replicas[0].certificates.look_again();
    status.wait_for(|status| status.error.is_none()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_has_run_out_is_not_ready_though_nobody_could_look() {
    let (api, hand) = (Api::new(), Hand::at(START));
    let replica = replica(&api, &hand);
    replica.certificates.ready().await;
    api.set_away(true);
    hand.advance_hours(24 * 29);
    assert!(replica.certificates.is_ready());
    hand.advance_hours(24 * 2);
    assert!(!replica.certificates.is_ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_ends_by_a_fault_is_noticed() {
    let (api, hand, faulty) = (Api::new(), Hand::at(START), Arc::new(AtomicBool::new(false)));
    let mut options = Options::new(Source::Managed(managed()));
    let (clock, fault) = (hand.clock(), Arc::clone(&faulty));
    options.clock = Arc::new(move || {
        assert!(!fault.load(Ordering::SeqCst), "a fault");
        clock()
    });
    let certificates = Certificates::start(api.client(), options, CancellationToken::new()).unwrap();
    certificates.ready().await;
    assert!(certificates.is_ready());
    faulty.store(true, Ordering::SeqCst);
    certificates.look_again();
    certificates.ended().await;
    assert!(!certificates.is_ready(), "nobody looks after it");
}

/// What version 0.1.0 wrote, and one key more, as a later version may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_another_version_is_served_as_it_is() {
    let (api, hand) = (Api::new(), Hand::at(START));
    let mut data: serde_json::Value = serde_json::from_str(include_str!("previous/secret-0.1.0.json")).unwrap();
    data["later"] = serde_json::json!("e30=");
    api.set_secret_data(data.clone());
    let replica = replica(&api, &hand);
    replica.certificates.ready().await;
    Caller::new(&hand)
        .call(replica.certificates.server_config(), &api.bundles()[0])
        .await
        .unwrap();
    assert_eq!(api.secret().unwrap()["data"], data, "nothing was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_before_api_server_and_configuration() {
    let (api, hand) = (Api::empty(), Hand::at(START));
    api.set_away(true);
    let replica = replica(&api, &hand);
    replica
        .certificates
        .status()
        .wait_for(|status| status.error.is_some())
        .await
        .unwrap();
    assert!(!replica.certificates.is_ready());
    assert!(
        Caller::new(&hand)
            .call(replica.certificates.server_config(), "")
            .await
            .is_err()
    );
    api.set_away(false);
    replica.certificates.look_again();
    replica.certificates.ready().await;
    api.put_configuration();
    eventually("the bundle reaches a configuration that came later", || {
        api.bundles()
            .iter()
            .all(|bundle| Some(bundle) == api.secret_text(keys::AUTHORITY).as_ref())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_configuration_gets_its_bundle_back() {
    let (api, hand) = (Api::new(), Hand::at(START));
    let replica = replica(&api, &hand);
    replica.certificates.ready().await;
    api.put_configuration();
    eventually("the bundle is back", || {
        api.bundles().iter().all(|bundle| !bundle.is_empty())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_secret_is_replaced_and_callers_notice_nothing() {
    let (api, hand) = (Api::new(), Hand::at(START));
    let replica = replica(&api, &hand);
    replica.certificates.ready().await;
    let before = api.secret_text(keys::LEAF).unwrap();
    api.set_secret_data(serde_json::json!({"ca.crt": "Z2FyYmFnZQ==", "tls.key": ""}));
    eventually("the Secret is whole again", || {
        api.secret_text(keys::LEAF).as_ref() == Some(&before)
    })
    .await;
    eventually("both CAs are trusted", || {
        api.bundles().iter().all(|bundle| bundle.matches("BEGIN").count() == 2)
    })
    .await;
    let bundle = api.bundles().remove(0);
    Caller::new(&hand)
        .call(replica.certificates.server_config(), &bundle)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_a_day_behind_accept_a_new_leaf() {
    let (api, hand) = (Api::new(), Hand::at(START));
    let replica = replica(&api, &hand);
    replica.certificates.ready().await;
    let behind = Hand::at("2027-02-28T00:10:00Z");
    let bundle = api.bundles().remove(0);
    Caller::new(&behind)
        .call(replica.certificates.server_config(), &bundle)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_name_renews_the_leaf_and_keeps_the_old_names() {
    let (api, hand) = (Api::new(), Hand::at(START));
    let old = replica(&api, &hand);
    old.certificates.ready().await;
    let first = api.secret_text(keys::LEAF).unwrap();
    let mut managed = managed();
    managed.dns_names = vec!["webhook.example".to_owned()];
    let new = replica_with(&api, &hand, managed);
    new.certificates.ready().await;
    eventually("the leaf is renewed", || api.secret_text(keys::LEAF).unwrap() != first).await;
    let second = api.secret_text(keys::LEAF).unwrap();
    eventually("the old replica reloads", || {
        old.certificates.status().borrow().reloads == 1
    })
    .await;
    let bundle = api.bundles().remove(0);
    Caller::new(&hand)
        .call(old.certificates.server_config(), &bundle)
        .await
        .unwrap();
    assert_eq!(
        api.secret_text(keys::LEAF).unwrap(),
        second,
        "two versions side by side do not take turns"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_tls_versions_are_spoken() {
    let (api, hand) = (Api::new(), Hand::at(START));
    let replica = replica(&api, &hand);
    replica.certificates.ready().await;
    let bundle = api.bundles().remove(0);
    static TLS12: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
    static TLS13: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    for versions in [&TLS12[..], &TLS13[..]] {
        let caller = Caller {
            versions,
            ..Caller::new(&hand)
        };
        caller
            .call(replica.certificates.server_config(), &bundle)
            .await
            .unwrap();
    }
}
