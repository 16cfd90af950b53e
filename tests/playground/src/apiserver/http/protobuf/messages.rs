//! The messages: which field has which number and form.

use std::collections::HashMap;

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Text,
    Integer,
    Flag,
    Bytes,
    Quantity,
    Time,
    IntegerOrText,
    Message(&'static str),
    /// Kept even when it is empty: a pointer in Go.
    Optional(Box<Form>),
    List(Box<Form>),
    /// By text.
    Map(Box<Form>),
}

/// One field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) form: Form,
}

/// A line for each message: its name, then number, name and form of each field.
const MESSAGES: &str = "
Unknown: 1 typeMeta TypeMeta, 2 raw bytes, 3 contentEncoding text, 4 contentType text
TypeMeta: 1 apiVersion text, 2 kind text
ObjectMeta: 1 name text, 2 generateName text, 3 namespace text, 4 selfLink text, 5 uid text, 6 resourceVersion text, 7 generation int, 8 creationTimestamp time, 9 deletionTimestamp time, 10 deletionGracePeriodSeconds ?int, 11 labels {}text, 12 annotations {}text, 13 ownerReferences []OwnerReference, 14 finalizers []text
OwnerReference: 1 kind text, 3 name text, 4 uid text, 5 apiVersion text, 6 controller ?bool, 7 blockOwnerDeletion ?bool
LabelSelector: 1 matchLabels {}text, 2 matchExpressions []LabelSelectorRequirement
LabelSelectorRequirement: 1 key text, 2 operator text, 3 values []text
DeleteOptions: 1 gracePeriodSeconds ?int, 2 preconditions Preconditions, 3 orphanDependents ?bool, 4 propagationPolicy ?text, 5 dryRun []text
Preconditions: 1 uid ?text, 2 resourceVersion ?text
LocalObjectReference: 1 name text
ObjectReference: 1 kind text, 2 namespace text, 3 name text, 4 uid text, 5 apiVersion text, 6 resourceVersion text, 7 fieldPath text
Namespace: 1 metadata ObjectMeta, 2 spec NamespaceSpec, 3 status NamespaceStatus
NamespaceSpec: 1 finalizers []text
NamespaceStatus: 1 phase text
ConfigMap: 1 metadata ObjectMeta, 2 data {}text, 3 binaryData {}bytes, 4 immutable ?bool
Secret: 1 metadata ObjectMeta, 2 data {}bytes, 3 type text, 4 stringData {}text, 5 immutable ?bool
ServiceAccount: 1 metadata ObjectMeta, 2 secrets []ObjectReference, 3 imagePullSecrets []LocalObjectReference, 4 automountServiceAccountToken ?bool
ResourceQuota: 1 metadata ObjectMeta, 2 spec ResourceQuotaSpec, 3 status ResourceQuotaStatus
ResourceQuotaSpec: 1 hard {}quantity, 2 scopes []text
ResourceQuotaStatus: 1 hard {}quantity, 2 used {}quantity
Service: 1 metadata ObjectMeta, 2 spec ServiceSpec, 3 status ServiceStatus
ServiceSpec: 1 ports []ServicePort, 2 selector {}text, 3 clusterIP text, 4 type text, 5 externalIPs []text, 7 sessionAffinity text, 8 loadBalancerIP text, 9 loadBalancerSourceRanges []text, 10 externalName text, 11 externalTrafficPolicy text, 12 healthCheckNodePort int, 13 publishNotReadyAddresses bool, 17 ipFamilyPolicy ?text, 18 clusterIPs []text, 19 ipFamilies []text
ServicePort: 1 name text, 2 protocol text, 3 port int, 4 targetPort intortext, 5 nodePort int, 6 appProtocol ?text
ServiceStatus: 1 loadBalancer LoadBalancerStatus
LoadBalancerStatus:
Deployment: 1 metadata ObjectMeta, 2 spec DeploymentSpec, 3 status DeploymentStatus
DeploymentSpec: 1 replicas ?int, 2 selector LabelSelector, 3 template PodTemplateSpec, 4 strategy DeploymentStrategy, 5 minReadySeconds int, 6 revisionHistoryLimit ?int, 7 paused bool, 9 progressDeadlineSeconds ?int
DeploymentStrategy: 1 type text, 2 rollingUpdate RollingUpdateDeployment
RollingUpdateDeployment: 1 maxUnavailable ?intortext, 2 maxSurge ?intortext
DeploymentStatus: 1 observedGeneration int, 2 replicas int, 3 updatedReplicas int, 4 availableReplicas int, 5 unavailableReplicas int, 7 readyReplicas int
PodTemplateSpec: 1 metadata ObjectMeta, 2 spec PodSpec
PodSpec: 1 volumes []Volume, 2 containers []Container, 3 restartPolicy text, 4 terminationGracePeriodSeconds ?int, 5 activeDeadlineSeconds ?int, 6 dnsPolicy text, 7 nodeSelector {}text, 8 serviceAccountName text, 9 serviceAccount text, 10 nodeName text, 11 hostNetwork bool, 12 hostPID bool, 13 hostIPC bool, 14 securityContext PodSecurityContext, 15 imagePullSecrets []LocalObjectReference, 16 hostname text, 17 subdomain text, 19 schedulerName text, 20 initContainers []Container, 24 priorityClassName text
PodSecurityContext: 3 runAsNonRoot ?bool
Volume: 1 name text
Container: 1 name text, 2 image text, 3 command []text, 4 args []text, 5 workingDir text, 6 ports []ContainerPort, 7 env []EnvVar, 8 resources ResourceRequirements, 9 volumeMounts []VolumeMount, 13 terminationMessagePath text, 14 imagePullPolicy text, 16 stdin bool, 17 stdinOnce bool, 18 tty bool, 20 terminationMessagePolicy text, 24 restartPolicy ?text
ContainerPort: 1 name text, 2 hostPort int, 3 containerPort int, 4 protocol text, 5 hostIP text
EnvVar: 1 name text, 2 value text
VolumeMount: 1 name text, 2 readOnly bool, 3 mountPath text, 4 subPath text
ResourceRequirements: 1 limits {}quantity, 2 requests {}quantity
Job: 1 metadata ObjectMeta, 2 spec JobSpec, 3 status JobStatus
JobSpec: 1 parallelism ?int, 2 completions ?int, 3 activeDeadlineSeconds ?int, 4 selector LabelSelector, 5 manualSelector ?bool, 6 template PodTemplateSpec, 7 backoffLimit ?int, 8 ttlSecondsAfterFinished ?int, 9 completionMode ?text, 10 suspend ?bool
JobStatus: 4 active int, 5 succeeded int, 6 failed int
CronJob: 1 metadata ObjectMeta, 2 spec CronJobSpec, 3 status CronJobStatus
CronJobSpec: 1 schedule text, 2 startingDeadlineSeconds ?int, 3 concurrencyPolicy text, 4 suspend ?bool, 5 jobTemplate JobTemplateSpec, 6 successfulJobsHistoryLimit ?int, 7 failedJobsHistoryLimit ?int, 8 timeZone ?text
CronJobStatus:
JobTemplateSpec: 1 metadata ObjectMeta, 2 spec JobSpec
Role: 1 metadata ObjectMeta, 2 rules []PolicyRule
ClusterRole: 1 metadata ObjectMeta, 2 rules []PolicyRule, 3 aggregationRule AggregationRule
AggregationRule: 1 clusterRoleSelectors []LabelSelector
PolicyRule: 1 verbs []text, 2 apiGroups []text, 3 resources []text, 4 resourceNames []text, 5 nonResourceURLs []text
RoleBinding: 1 metadata ObjectMeta, 2 subjects []Subject, 3 roleRef RoleRef
ClusterRoleBinding: 1 metadata ObjectMeta, 2 subjects []Subject, 3 roleRef RoleRef
Subject: 1 kind text, 2 apiGroup text, 3 name text, 4 namespace text
RoleRef: 1 apiGroup text, 2 kind text, 3 name text
PodDisruptionBudget: 1 metadata ObjectMeta, 2 spec PodDisruptionBudgetSpec, 3 status PodDisruptionBudgetStatus
PodDisruptionBudgetSpec: 1 minAvailable ?intortext, 2 selector LabelSelector, 3 maxUnavailable ?intortext, 4 unhealthyPodEvictionPolicy ?text
PodDisruptionBudgetStatus: 1 observedGeneration int, 3 disruptionsAllowed int, 4 currentHealthy int, 5 desiredHealthy int, 6 expectedPods int
Eviction: 1 metadata ObjectMeta, 2 deleteOptions DeleteOptions
PriorityClass: 1 metadata ObjectMeta, 2 value int, 3 globalDefault bool, 4 description text, 5 preemptionPolicy ?text
HorizontalPodAutoscalerV1: 1 metadata ObjectMeta, 2 spec HorizontalPodAutoscalerSpecV1, 3 status HorizontalPodAutoscalerStatus
HorizontalPodAutoscalerSpecV1: 1 scaleTargetRef CrossVersionObjectReference, 2 minReplicas ?int, 3 maxReplicas int, 4 targetCPUUtilizationPercentage ?int
HorizontalPodAutoscaler: 1 metadata ObjectMeta, 2 spec HorizontalPodAutoscalerSpec, 3 status HorizontalPodAutoscalerStatus
HorizontalPodAutoscalerSpec: 1 scaleTargetRef CrossVersionObjectReference, 2 minReplicas ?int, 3 maxReplicas int, 4 metrics []MetricSpec
HorizontalPodAutoscalerStatus: 1 observedGeneration ?int, 3 currentReplicas int, 4 desiredReplicas int
CrossVersionObjectReference: 1 kind text, 2 name text, 3 apiVersion text
MetricSpec: 1 type text, 4 resource ResourceMetricSource
ResourceMetricSource: 1 name text, 2 target MetricTarget
MetricTarget: 1 type text, 2 value ?quantity, 3 averageValue ?quantity, 4 averageUtilization ?int
SelfSubjectAccessReview: 1 metadata ObjectMeta, 2 spec SelfSubjectAccessReviewSpec, 3 status SubjectAccessReviewStatus
SelfSubjectAccessReviewSpec: 1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes
ResourceAttributes: 1 namespace text, 2 verb text, 3 group text, 4 version text, 5 resource text, 6 subresource text, 7 name text
NonResourceAttributes: 1 path text, 2 verb text
SubjectAccessReviewStatus: 1 allowed bool, 2 reason text, 3 evaluationError text, 4 denied bool
SelfSubjectRulesReview: 1 metadata ObjectMeta, 2 spec SelfSubjectRulesReviewSpec, 3 status SubjectRulesReviewStatus
SelfSubjectRulesReviewSpec: 1 namespace text
SubjectRulesReviewStatus: 3 incomplete bool, 4 evaluationError text
SelfSubjectReview: 1 metadata ObjectMeta, 2 status SelfSubjectReviewStatus
SelfSubjectReviewStatus: 1 userInfo UserInfo
UserInfo: 1 username text, 2 uid text, 3 groups []text
TokenRequest: 1 metadata ObjectMeta, 2 spec TokenRequestSpec, 3 status TokenRequestStatus
TokenRequestSpec: 1 audiences []text, 3 boundObjectRef BoundObjectReference, 4 expirationSeconds ?int
BoundObjectReference: 1 kind text, 2 apiVersion text, 3 name text, 4 uid text
TokenRequestStatus: 1 token text, 2 expirationTimestamp time
";

/// The table as code uses it.
pub(super) fn table() -> HashMap<&'static str, HashMap<u32, Field>> {
    let lines = MESSAGES.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(name, fields)| {
            (
                name,
                fields.split(", ").filter_map(field).collect::<HashMap<u32, Field>>(),
            )
        })
        .collect()
}

/// `NUMBER NAME FORM`.
fn field(text: &'static str) -> Option<(u32, Field)> {
    let mut parts = text.split_whitespace();
    let number = parts.next()?.parse().ok()?;
    Some((
        number,
        Field {
            name: parts.next()?,
            form: form(parts.next()?),
        },
    ))
}

fn form(text: &'static str) -> Form {
    if let Some(item) = text.strip_prefix("[]") {
        return Form::List(Box::new(form(item)));
    }
    if let Some(item) = text.strip_prefix("{}") {
        return Form::Map(Box::new(form(item)));
    }
    if let Some(item) = text.strip_prefix('?') {
        return Form::Optional(Box::new(form(item)));
    }
    match text {
        "text" => Form::Text,
        "int" => Form::Integer,
        "bool" => Form::Flag,
        "bytes" => Form::Bytes,
        "quantity" => Form::Quantity,
        "time" => Form::Time,
        "intortext" => Form::IntegerOrText,
        name => Form::Message(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(form: &Form) -> Option<&'static str> {
        match form {
            Form::Message(name) => Some(name),
            Form::Optional(item) | Form::List(item) | Form::Map(item) => named(item),
            _ => None,
        }
    }

    #[test]
    fn every_message_that_is_named_is_there() {
        let table = table();
        for (message, fields) in &table {
            for field in fields.values() {
                if let Some(name) = named(&field.form) {
                    assert!(table.contains_key(name), "{name}, a field of {message}");
                }
            }
        }
        assert_eq!(table["ObjectMeta"][&11].form, Form::Map(Box::new(Form::Text)));
    }
}
