#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

fn pod(policy: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "generation": 4},
        "spec": {
            "restartPolicy": policy,
            "initContainers": [{"name": "envoy", "restartPolicy": "Always"}],
            "containers": [{"name": "app", "image": "app:1"}],
        },
    }))
    .unwrap()
}

fn running(container: &Container, ready: bool) -> View {
    View {
        state: State::Running(now()),
        ready,
        started: true,
        id: Some("x".into()),
        ..View::new(container)
    }
}

fn ended(container: &Container, code: i32) -> View {
    let end = ContainerStateTerminated {
        exit_code: code,
        ..ContainerStateTerminated::default()
    };
    View {
        state: State::Terminated(Box::new(end)),
        id: Some("x".into()),
        ..View::new(container)
    }
}

fn status_of(pod: &Pod, init: View, main: View) -> PodStatus {
    let spec = pod.spec.as_ref().unwrap();
    status(&Snapshot {
        pod,
        address: Some("127.1.1.1".into()),
        node_address: "127.1.0.1".into(),
        init: vec![(&spec.init_containers.as_ref().unwrap()[0], init)],
        containers: vec![(&spec.containers[0], main)],
        resize: Vec::new(),
        started: now(),
    })
}

fn holds(status: &PodStatus, type_: &str) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == type_ && condition.status == "True")
}

#[test]
fn a_pod_is_ready_only_with_its_sidecar() {
    let pod = pod("Always");
    let (envoy, app) = (
        &pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0],
        &pod.spec.as_ref().unwrap().containers[0],
    );
    let starting = status_of(&pod, running(envoy, false), running(app, true));
    assert!(!holds(&starting, "Ready") && holds(&starting, "Initialized"));
    let ready = status_of(&pod, running(envoy, true), running(app, true));
    assert!(holds(&ready, "Ready") && holds(&ready, "ContainersReady"));
    assert_eq!(
        (ready.phase.as_deref(), ready.observed_generation),
        (Some("Running"), Some(4))
    );
}

#[test]
fn a_pod_is_pending_until_a_container_was_started() {
    let pod = pod("Always");
    let (envoy, app) = (
        &pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0],
        &pod.spec.as_ref().unwrap().containers[0],
    );
    assert_eq!(
        status_of(&pod, View::new(envoy), View::new(app)).phase.as_deref(),
        Some("Pending")
    );
    assert_eq!(
        status_of(&pod, running(envoy, true), View::new(app)).phase.as_deref(),
        Some("Pending")
    );
}

#[test]
fn a_pod_that_is_not_restarted_ends() {
    for (policy, code, phase) in [
        ("Never", 0, "Succeeded"),
        ("Never", 1, "Failed"),
        ("OnFailure", 1, "Running"),
        ("Always", 0, "Running"),
    ] {
        let pod = pod(policy);
        let (envoy, app) = (
            &pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0],
            &pod.spec.as_ref().unwrap().containers[0],
        );
        let status = status_of(&pod, running(envoy, true), ended(app, code));
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy} {code}");
    }
}

#[test]
fn transition_times_and_foreign_conditions_stay() {
    let mut pod = pod("Always");
    let spec = pod.spec.clone().unwrap();
    let (envoy, app) = (&spec.init_containers.as_ref().unwrap()[0], &spec.containers[0]);
    let mut first = status_of(&pod, running(envoy, true), running(app, true));
    for condition in first.conditions.as_mut().unwrap() {
        condition.last_transition_time = Some(Time("2026-01-01T00:00:00Z".parse().unwrap()));
    }
    first.conditions.as_mut().unwrap().push(PodCondition {
        type_: "Theirs".into(),
        ..PodCondition::default()
    });
    pod.status = Some(first.clone());
    let again = status_of(&pod, running(envoy, true), running(app, true));
    assert_eq!(again.conditions, first.conditions);
}

#[test]
fn classes_of_service() {
    let class = |resources: serde_json::Value| {
        let pod = json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
        qos_class(&serde_json::from_value(pod).unwrap())
    };
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    let equal = json!({"cpu": "1000m", "memory": "1Gi"});
    assert_eq!(
        class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": equal})),
        "Guaranteed"
    );
}
