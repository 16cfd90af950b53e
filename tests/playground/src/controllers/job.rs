//! The Job controller, for work that ends: parallelism, completions, back-off limit.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::events::Events;
use super::objects::{controlled_by, controller_of, is_active, is_ready, now, phase, unless_gone};
use super::queue::Key;
use super::replicaset::from_template;

/// Brings Jobs to their completions.
#[derive(Clone)]
pub struct Controller {
    client: Client,
    events: Events,
}

/// What is to be done next for a Job.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Create(usize),
    Finish(&'static str, &'static str),
    Wait,
}

impl Controller {
    /// The controller, acting through the client.
    pub fn new(client: Client) -> Self {
        let events = Events::new(client.clone(), "job-controller", None);
        Self { client, events }
    }

    /// Creates the pods that are missing, or finishes the Job.
    ///
    /// # Errors
    /// Those of the API, after which it is tried again.
    pub async fn reconcile(self, (namespace, name): Key) -> anyhow::Result<Option<Duration>> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), &namespace);
        let pods_api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let Some(job) = api.get_opt(&name).await? else {
            return Ok(None);
        };
        if job.metadata.deletion_timestamp.is_some() || is_finished(&job) {
            return self.forget(&api, &job).await;
        }
        let mut pods = pods_api.list(&ListParams::default()).await?.items;
        pods.retain(|pod| controller_of(pod).is_some_and(|owner| Some(&owner.uid) == job.metadata.uid.as_ref()));
        let step = next_step(&job, &pods);
        if let Step::Create(count) = step {
            for _ in 0..count {
                let pod = pods_api.create(&PostParams::default(), &pod_of(&job)).await?;
                self.events
                    .normal(&job, "SuccessfulCreate", format!("Created pod: {}", pod.name_any()))
                    .await;
                pods.push(pod);
            }
        }
        self.write_status(&api, &job, &pods, &step).await?;
        Ok(None)
    }

    async fn write_status(&self, api: &Api<Job>, job: &Job, pods: &[Pod], step: &Step) -> anyhow::Result<()> {
        let status = status(job, pods, step);
        if job.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut body = json!({"status": status});
        super::clear_absent(&mut body["status"], &serde_json::to_value(&job.status)?);
        unless_gone(
            api.patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(body))
                .await,
        )?;
        match step {
            Step::Finish("Complete", _) => self.events.normal(job, "Completed", "Job completed").await,
            Step::Finish(_, reason) => {
                self.events
                    .warning(job, reason, "Job has reached the specified backoff limit")
                    .await
            }
            _ => {}
        }
        Ok(())
    }

    /// Deletes a finished Job when its time is over.
    async fn forget(&self, api: &Api<Job>, job: &Job) -> anyhow::Result<Option<Duration>> {
        let after = job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
        let finished = job
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_ref()?.first()?.last_transition_time.clone());
        let (Some(after), Some(finished)) = (after, finished) else {
            return Ok(None);
        };
        let left = Duration::from_secs(after.max(0) as u64).saturating_sub(super::objects::since(&finished));
        if left.is_zero() {
            unless_gone(api.delete(&job.name_any(), &DeleteParams::background()).await)?;
            return Ok(None);
        }
        Ok(Some(left))
    }
}

fn is_finished(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True")
}

fn pod_of(job: &Job) -> Pod {
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let mut pod = from_template(&template, &job.name_any(), job.namespace(), controlled_by(job));
    let labels: BTreeMap<String, String> = [
        ("batch.kubernetes.io/controller-uid", job.uid().unwrap_or_default()),
        ("batch.kubernetes.io/job-name", job.name_any()),
        ("controller-uid", job.uid().unwrap_or_default()),
        ("job-name", job.name_any()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    pod.labels_mut().extend(labels);
    pod
}

fn count(pods: &[Pod], holds: impl Fn(&Pod) -> bool) -> i32 {
    pods.iter().filter(|pod| holds(pod)).count() as i32
}

fn next_step(job: &Job, pods: &[Pod]) -> Step {
    let spec = job.spec.clone().unwrap_or_default();
    let parallelism = spec.parallelism.unwrap_or(1);
    let succeeded = count(pods, |pod| phase(pod) == "Succeeded");
    let failed = count(pods, |pod| phase(pod) == "Failed");
    let active = count(pods, is_active);
    let enough = spec
        .completions
        .map_or(succeeded > 0 && active == 0, |completions| succeeded >= completions);
    if enough {
        return Step::Finish("Complete", "CompletionsReached");
    }
    if failed > spec.backoff_limit.unwrap_or(6) {
        return Step::Finish("Failed", "BackoffLimitExceeded");
    }
    if spec.suspend == Some(true) || spec.completions.is_none() && succeeded > 0 {
        return Step::Wait;
    }
    let left = spec.completions.unwrap_or(parallelism) - succeeded;
    match parallelism.min(left) - active {
        missing if missing > 0 => Step::Create(missing as usize),
        _ => Step::Wait,
    }
}

fn status(job: &Job, pods: &[Pod], step: &Step) -> JobStatus {
    let earlier = job.status.clone().unwrap_or_default();
    let conditions = match step {
        Step::Finish(type_, reason) => Some(vec![JobCondition {
            type_: (*type_).to_owned(),
            status: "True".into(),
            reason: Some((*reason).to_owned()),
            last_probe_time: Some(now()),
            last_transition_time: Some(now()),
            message: None,
        }]),
        _ => earlier.conditions,
    };
    let complete = matches!(step, Step::Finish("Complete", _));
    let some = |number: i32| (number != 0).then_some(number);
    JobStatus {
        active: some(count(pods, is_active)),
        ready: Some(count(pods, |pod| is_active(pod) && is_ready(pod))),
        succeeded: some(count(pods, |pod| phase(pod) == "Succeeded")),
        failed: some(count(pods, |pod| phase(pod) == "Failed")),
        start_time: earlier.start_time.or_else(|| Some(now())),
        completion_time: if complete { Some(now()) } else { earlier.completion_time },
        conditions,
        ..JobStatus::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn job(spec: serde_json::Value) -> Job {
        let mut spec = spec;
        spec["template"] = json!({});
        serde_json::from_value(json!({"metadata": {"name": "load", "uid": "j"}, "spec": spec})).unwrap()
    }

    fn pods(phases: &[&str]) -> Vec<Pod> {
        phases
            .iter()
            .map(|phase| serde_json::from_value(json!({"metadata": {}, "status": {"phase": phase}})).unwrap())
            .collect()
    }

    #[test]
    fn pods_are_created_up_to_the_parallelism() {
        let job = job(json!({"parallelism": 2, "completions": 3}));
        assert_eq!(next_step(&job, &pods(&[])), Step::Create(2));
        assert_eq!(next_step(&job, &pods(&["Running", "Succeeded"])), Step::Create(1));
        assert_eq!(
            next_step(&job, &pods(&["Running", "Succeeded", "Succeeded"])),
            Step::Wait
        );
        assert_eq!(
            next_step(&job, &pods(&["Succeeded"; 3])),
            Step::Finish("Complete", "CompletionsReached")
        );
    }

    #[test]
    fn a_job_without_completions_ends_when_one_pod_has() {
        let job = job(json!({"parallelism": 2}));
        assert_eq!(next_step(&job, &pods(&["Running", "Succeeded"])), Step::Wait);
        assert_eq!(
            next_step(&job, &pods(&["Failed", "Succeeded"])),
            Step::Finish("Complete", "CompletionsReached")
        );
    }

    #[test]
    fn a_job_fails_beyond_its_back_off_limit() {
        let job = job(json!({"backoffLimit": 1, "completions": 1}));
        assert_eq!(next_step(&job, &pods(&["Failed"])), Step::Create(1));
        let step = next_step(&job, &pods(&["Failed", "Failed"]));
        assert_eq!(step, Step::Finish("Failed", "BackoffLimitExceeded"));
        assert_eq!(status(&job, &pods(&["Failed", "Failed"]), &step).failed, Some(2));
    }
}
