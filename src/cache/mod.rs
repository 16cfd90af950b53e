//! The cluster as this replica last saw it: what admission and the recommender read.
//!
//! Every replica keeps its own, by watching. Nothing is fetched when somebody asks.

pub mod follow;
pub mod groups;
pub mod index;
pub mod keep;
pub mod objectives;
pub mod plan;
mod plans;
pub mod pods;
pub mod selectors;
pub mod software;
mod trim;
mod vertical;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::task::JoinSet;

use follow::Follow;
use index::Index;
use keep::{KnownDeployment, KnownObjective, KnownRecommendation, ReplicaSetSummary};
use pods::PackedPod;
pub use vertical::ActiveAutoscaler;

/// Pods that have ended for good are of no interest, and Jobs leave many.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// What is known of the cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Deployments.
    pub deployments: Arc<Index<KnownDeployment>>,
    /// ReplicaSets.
    pub replica_sets: Arc<Index<ReplicaSetSummary>>,
    /// Pods.
    pub pods: Arc<Index<PackedPod>>,
    /// Services.
    pub services: Arc<Index<Service>>,
    /// Labels of Namespaces, under the empty namespace.
    pub namespaces: Arc<Index<BTreeMap<String, String>>>,
    /// ServiceLevelObjectives.
    pub objectives: Arc<Index<KnownObjective>>,
    /// Recommendations.
    pub recommendations: Arc<Index<KnownRecommendation>>,
    /// HorizontalPodAutoscalers.
    pub horizontal_pod_autoscalers: Arc<Index<HorizontalPodAutoscaler>>,
    /// LimitRanges.
    pub limit_ranges: Arc<Index<LimitRange>>,
    /// ResourceQuotas.
    pub resource_quotas: Arc<Index<ResourceQuota>>,
    /// NetworkPolicies.
    pub network_policies: Arc<Index<NetworkPolicy>>,
    /// PodDisruptionBudgets.
    pub disruption_budgets: Arc<Index<PodDisruptionBudget>>,
    /// VerticalPodAutoscalers that change pods.
    pub vertical_pod_autoscalers: Arc<Index<ActiveAutoscaler>>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            deployments: Arc::default(),
            replica_sets: Arc::default(),
            pods: Arc::default(),
            services: Arc::new(Index::marked(selectors::of_service)),
            namespaces: Arc::default(),
            objectives: Arc::default(),
            recommendations: Arc::default(),
            horizontal_pod_autoscalers: Arc::default(),
            limit_ranges: Arc::default(),
            resource_quotas: Arc::default(),
            network_policies: Arc::default(),
            disruption_budgets: Arc::default(),
            vertical_pod_autoscalers: Arc::default(),
        }
    }
}

impl Cluster {
    /// Starts following everything; the tasks end when the set is dropped. A watch is begun anew after `watch_seconds`, so
    /// that a connection which died unnoticed leaves nothing stale for longer.
    pub fn follow(&self, client: &Client, watch_seconds: u32, tasks: &mut JoinSet<()>) {
        let source = Source { client, watch_seconds };
        self.follow_workloads(&source, tasks);
        self.follow_own(&source, tasks);
        self.follow_constraints(&source, tasks);
    }

    fn follow_workloads(&self, source: &Source<'_>, tasks: &mut JoinSet<()>) {
        tasks.spawn(source.one("Deployment", &self.deployments, keep::deployment).run());
        tasks.spawn(source.one("ReplicaSet", &self.replica_sets, keep::replica_set).run());
        let mut pods = source.one("Pod", &self.pods, keep::pod);
        pods.config = pods.config.fields(NOT_ENDED);
        tasks.spawn(pods.run());
        tasks.spawn(source.one("Service", &self.services, keep::service).run());
        tasks.spawn(source.one("Namespace", &self.namespaces, keep::namespace).run());
    }

    fn follow_own(&self, source: &Source<'_>, tasks: &mut JoinSet<()>) {
        tasks.spawn(
            source
                .one("ServiceLevelObjective", &self.objectives, keep::objective)
                .run(),
        );
        tasks.spawn(
            source
                .one("Recommendation", &self.recommendations, keep::recommendation)
                .run(),
        );
    }

    fn follow_constraints(&self, source: &Source<'_>, tasks: &mut JoinSet<()>) {
        tasks.spawn(
            source
                .one(
                    "HorizontalPodAutoscaler",
                    &self.horizontal_pod_autoscalers,
                    keep::autoscaler,
                )
                .maybe()
                .run(),
        );
        tasks.spawn(source.one("LimitRange", &self.limit_ranges, keep::other).maybe().run());
        tasks.spawn(
            source
                .one("ResourceQuota", &self.resource_quotas, keep::other)
                .maybe()
                .run(),
        );
        tasks.spawn(
            source
                .one("NetworkPolicy", &self.network_policies, keep::network_policy)
                .maybe()
                .run(),
        );
        tasks.spawn(
            source
                .one("PodDisruptionBudget", &self.disruption_budgets, keep::other)
                .maybe()
                .run(),
        );
        tasks.spawn(vertical::follow(source.client, source.config(), &self.vertical_pod_autoscalers).run());
    }

    /// Whether everything has been listed once.
    #[must_use]
    pub fn filled(&self) -> bool {
        self.listed().iter().all(|(_, listed)| listed.load(Ordering::Acquire))
    }

    /// The kinds that have not been listed yet.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let missing = |(kind, listed): (_, &AtomicBool)| (!listed.load(Ordering::Acquire)).then_some(kind);
        self.listed().into_iter().filter_map(missing).collect()
    }

    /// Says that what is not there does not exist, whatever its kind.
    pub fn set_filled(&self) {
        for (_, listed) in self.listed() {
            listed.store(true, Ordering::Release);
        }
    }

    fn listed(&self) -> [(&'static str, &AtomicBool); 13] {
        [
            ("Deployments", &self.deployments.filled),
            ("ReplicaSets", &self.replica_sets.filled),
            ("Pods", &self.pods.filled),
            ("Services", &self.services.filled),
            ("Namespaces", &self.namespaces.filled),
            ("ServiceLevelObjectives", &self.objectives.filled),
            ("Recommendations", &self.recommendations.filled),
            ("HorizontalPodAutoscalers", &self.horizontal_pod_autoscalers.filled),
            ("LimitRanges", &self.limit_ranges.filled),
            ("ResourceQuotas", &self.resource_quotas.filled),
            ("NetworkPolicies", &self.network_policies.filled),
            ("PodDisruptionBudgets", &self.disruption_budgets.filled),
            ("VerticalPodAutoscalers", &self.vertical_pod_autoscalers.filled),
        ]
    }
}

/// Where everything is followed.
struct Source<'c> {
    client: &'c Client,
    watch_seconds: u32,
}

impl Source<'_> {
    /// One kind over all namespaces.
    fn one<K, V>(&self, kind: &'static str, index: &Arc<Index<V>>, keep: fn(K, Option<&V>) -> V) -> Follow<K, V>
    where
        K: kube::Resource,
        K::DynamicType: Default,
    {
        Follow {
            api: Api::all(self.client.clone()),
            config: self.config(),
            index: Arc::clone(index),
            keep,
            optional: false,
            kind,
        }
    }

    fn config(&self) -> watcher::Config {
        watcher::Config::default().timeout(self.watch_seconds)
    }
}
