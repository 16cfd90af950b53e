//! The built-in kinds.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, authentication::v1 as authentication,
    authorization::v1 as authorization, autoscaling::v1 as autoscaling_v1, autoscaling::v2 as autoscaling,
    batch::v1 as batch, coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery,
    events::v1 as events, networking::v1 as networking, policy::v1 as policy, rbac::v1 as rbac,
    scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::JsonSchema;
use serde_json::Value;

use super::definitions::Definitions;
use super::{Backing, Resource, ScalePaths};
use crate::apiserver::schema::definitions as compile_definitions;
use crate::apiserver::store::ResourceKey;

const CLUSTER: u8 = 1;
const STATUS: u8 = 2;
const SCALE: u8 = 4;
const REVIEW: u8 = 8;

/// Builds the table; schemas are attached when all definitions are known.
struct Builder {
    definitions: Definitions,
    resources: Vec<Resource>,
}

impl Builder {
    fn add<T: k8s_openapi::Resource + JsonSchema>(
        &mut self,
        singular: &str,
        short_names: &[&str],
        flags: u8,
    ) -> &mut Resource {
        let definition = self.definitions.add::<T>();
        let api_version = if T::GROUP.is_empty() {
            T::VERSION.into()
        } else {
            format!("{}/{}", T::GROUP, T::VERSION)
        };
        self.definitions.is_kind(&definition, T::GROUP, T::VERSION, T::KIND);
        self.push(Resource {
            group: T::GROUP.into(),
            version: T::VERSION.into(),
            kind: T::KIND.into(),
            plural: T::URL_PATH_SEGMENT.into(),
            singular: singular.into(),
            short_names: short_names.iter().map(|name| (*name).to_owned()).collect(),
            categories: Vec::new(),
            namespaced: flags & CLUSTER == 0,
            status: flags & STATUS != 0,
            scale: (flags & SCALE != 0).then(workload_scale),
            subresources: Vec::new(),
            backing: if flags & REVIEW == 0 {
                Backing::Stored
            } else {
                Backing::Review
            },
            key: ResourceKey::new(T::GROUP, T::URL_PATH_SEGMENT),
            storage_version: api_version,
            schema: None,
            definition,
            fields: selectable(T::GROUP, T::URL_PATH_SEGMENT, flags & CLUSTER == 0),
        })
    }

    fn push(&mut self, resource: Resource) -> &mut Resource {
        self.resources.push(resource);
        let last = self.resources.len() - 1;
        &mut self.resources[last]
    }

    fn core(&mut self) {
        self.add::<core::Namespace>("namespace", &["ns"], CLUSTER | STATUS)
            .subresources = vec![("finalize", "Namespace")];
        let pods = self.add::<core::Pod>("pod", &["po"], STATUS);
        pods.categories = vec!["all".into()];
        pods.subresources = vec![
            ("eviction", "Eviction"),
            ("resize", "Pod"),
            ("log", "Pod"),
            ("binding", "Binding"),
            ("ephemeralcontainers", "Pod"),
        ];
        self.add::<core::Service>("service", &["svc"], STATUS).categories = vec!["all".into()];
        self.add::<core::Endpoints>("endpoints", &["ep"], 0);
        self.add::<core::Event>("event", &["ev"], 0);
        self.add::<core::Secret>("secret", &[], 0);
        self.add::<core::ConfigMap>("configmap", &["cm"], 0);
        self.add::<core::ServiceAccount>("serviceaccount", &["sa"], 0)
            .subresources = vec![("token", "TokenRequest")];
        self.add::<core::Node>("node", &["no"], CLUSTER | STATUS);
        self.add::<core::LimitRange>("limitrange", &["limits"], 0);
        self.add::<core::ResourceQuota>("resourcequota", &["quota"], STATUS);
        self.add::<core::PersistentVolumeClaim>("persistentvolumeclaim", &["pvc"], STATUS);
        self.add::<core::PersistentVolume>("persistentvolume", &["pv"], CLUSTER | STATUS);
        self.add::<core::ReplicationController>("replicationcontroller", &["rc"], STATUS)
            .categories = vec!["all".into()];
        self.add::<core::PodTemplate>("podtemplate", &[], 0);
    }

    fn workloads(&mut self) {
        self.add::<apps::Deployment>("deployment", &["deploy"], STATUS | SCALE)
            .categories = vec!["all".into()];
        self.add::<apps::ReplicaSet>("replicaset", &["rs"], STATUS | SCALE)
            .categories = vec!["all".into()];
        self.add::<apps::StatefulSet>("statefulset", &["sts"], STATUS | SCALE)
            .categories = vec!["all".into()];
        self.add::<apps::DaemonSet>("daemonset", &["ds"], STATUS).categories = vec!["all".into()];
        self.add::<apps::ControllerRevision>("controllerrevision", &[], 0);
        self.add::<batch::Job>("job", &[], STATUS).categories = vec!["all".into()];
        self.add::<batch::CronJob>("cronjob", &["cj"], STATUS).categories = vec!["all".into()];
        self.add::<autoscaling::HorizontalPodAutoscaler>("horizontalpodautoscaler", &["hpa"], STATUS)
            .categories = vec!["all".into()];
        let first = self.add::<autoscaling_v1::HorizontalPodAutoscaler>("horizontalpodautoscaler", &["hpa"], STATUS);
        first.categories = vec!["all".into()];
        first.storage_version = "autoscaling/v2".into();
        self.add::<policy::PodDisruptionBudget>("poddisruptionbudget", &["pdb"], STATUS);
    }

    fn others(&mut self) {
        self.add::<discovery::EndpointSlice>("endpointslice", &[], 0);
        let events = self.add::<events::Event>("event", &["ev"], 0);
        // One collection for both groups of events, kept in the core form.
        events.key = ResourceKey::new("", "events");
        events.storage_version = "v1".into();
        self.add::<networking::NetworkPolicy>("networkpolicy", &["netpol"], 0);
        self.add::<networking::Ingress>("ingress", &["ing"], STATUS);
        self.add::<networking::IngressClass>("ingressclass", &[], CLUSTER);
        self.add::<coordination::Lease>("lease", &[], 0);
        self.add::<rbac::Role>("role", &[], 0);
        self.add::<rbac::RoleBinding>("rolebinding", &[], 0);
        self.add::<rbac::ClusterRole>("clusterrole", &[], CLUSTER);
        self.add::<rbac::ClusterRoleBinding>("clusterrolebinding", &[], CLUSTER);
        self.add::<storage::StorageClass>("storageclass", &["sc"], CLUSTER);
        self.add::<scheduling::PriorityClass>("priorityclass", &["pc"], CLUSTER);
        let extensions = vec!["api-extensions".to_owned()];
        self.add::<admission::MutatingWebhookConfiguration>("mutatingwebhookconfiguration", &[], CLUSTER)
            .categories = extensions.clone();
        self.add::<admission::ValidatingWebhookConfiguration>("validatingwebhookconfiguration", &[], CLUSTER)
            .categories = extensions.clone();
        self.add::<apiextensions::CustomResourceDefinition>(
            "customresourcedefinition",
            &["crd", "crds"],
            CLUSTER | STATUS,
        )
        .categories = extensions;
        self.reviews();
        self.metrics("NodeMetrics", "nodes", false);
        self.metrics("PodMetrics", "pods", true);
        for definition in [
            self.definitions.add::<autoscaling_v1::Scale>(),
            self.definitions.add::<policy::Eviction>(),
        ] {
            let (group, kind) = if definition.ends_with("Scale") {
                ("autoscaling", "Scale")
            } else {
                ("policy", "Eviction")
            };
            self.definitions.is_kind(&definition, group, "v1", kind);
        }
        for definition in [
            self.definitions.add::<meta::DeleteOptions>(),
            self.definitions.add::<meta::Status>(),
        ] {
            let kind = definition.rsplit('.').next().unwrap_or_default().to_owned();
            self.definitions.is_kind(&definition, "", "v1", &kind);
        }
    }

    fn reviews(&mut self) {
        self.add::<authorization::SelfSubjectAccessReview>("selfsubjectaccessreview", &[], CLUSTER | REVIEW);
        self.add::<authorization::SelfSubjectRulesReview>("selfsubjectrulesreview", &[], CLUSTER | REVIEW);
        self.add::<authorization::SubjectAccessReview>("subjectaccessreview", &[], CLUSTER | REVIEW);
        self.add::<authorization::LocalSubjectAccessReview>("localsubjectaccessreview", &[], REVIEW);
        self.add::<authentication::TokenReview>("tokenreview", &[], CLUSTER | REVIEW);
        self.add::<authentication::SelfSubjectReview>("selfsubjectreview", &[], CLUSTER | REVIEW);
    }

    /// Kinds of the metrics API, which k8s-openapi does not carry.
    fn metrics(&mut self, kind: &str, plural: &str, namespaced: bool) {
        self.push(Resource {
            group: "metrics.k8s.io".into(),
            version: "v1beta1".into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: String::new(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced,
            status: false,
            scale: None,
            subresources: Vec::new(),
            backing: Backing::Computed,
            key: ResourceKey::new("metrics.k8s.io", plural),
            storage_version: "metrics.k8s.io/v1beta1".into(),
            schema: None,
            definition: format!("io.k8s.metrics.pkg.apis.metrics.v1beta1.{kind}"),
            fields: BTreeMap::new(),
        });
    }
}

/// The definitions that OpenAPI publishes and every built-in resource.
pub(super) fn resources() -> (Arc<BTreeMap<String, Value>>, Vec<Resource>) {
    let mut builder = Builder {
        definitions: Definitions::new(),
        resources: Vec::new(),
    };
    builder.core();
    builder.workloads();
    builder.others();
    let definitions = Arc::new(builder.definitions.finish());
    let arena = compile_definitions(&definitions);
    let mut resources = builder.resources;
    for resource in &mut resources {
        resource.schema = arena.named(&resource.definition);
    }
    (definitions, resources)
}

fn workload_scale() -> ScalePaths {
    ScalePaths {
        replicas: "/spec/replicas".into(),
        status_replicas: "/status/replicas".into(),
        selector: Some("/spec/selector".into()),
    }
}

/// Fields that a field selector may name.
pub(crate) fn selectable(group: &str, plural: &str, namespaced: bool) -> BTreeMap<String, String> {
    let mut names = vec!["metadata.name"];
    if namespaced {
        names.push("metadata.namespace");
    }
    names.extend_from_slice(match (group, plural) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "events") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "secrets") => &["type"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("apps", "replicasets") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        _ => &[],
    });
    let mut fields: BTreeMap<String, String> = names
        .iter()
        .map(|name| ((*name).to_owned(), format!("/{}", name.replace('.', "/"))))
        .collect();
    if let Some(source) = fields.get_mut("source") {
        *source = "/source/component".into();
    }
    fields
}

/// The definition of `metadata`, for the schemas of custom resources.
pub(crate) const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
