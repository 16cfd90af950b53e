//! The parts of objects that admission reads, borrowed from the request's bytes.
//!
//! Whatever is not named here is skipped without being kept, so that an unknown field never stands in the way.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::reader::{Quick, Reader, quick};

/// Text that is borrowed unless it had to be unescaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl<'a> Quick<'a> for Text<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Cow::read(reader).map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Labels, annotations or quantities: few enough that a search from the front is the fastest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'a> Pairs<'a> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(held, _)| &**held == key)
            .map(|(_, value)| &**value)
    }

    /// Keys and values in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Pairs<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
        let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(4).min(64));
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

impl<'a> Quick<'a> for Pairs<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut pairs = Vec::new();
        reader.object(|reader, key| {
            reader.keep()?;
            pairs.push((key.text().map(Text)?, Text::read(reader)?));
            Some(())
        })?;
        Some(Self(pairs))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortReference<'a> {
    /// Its number.
    Number(i64),
    /// Its name.
    Name(Text<'a>),
}

struct PortVisitor;

impl<'de> Visitor<'de> for PortVisitor {
    type Value = PortReference<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a port number or the name of a port")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<PortReference<'de>, E> {
        Ok(PortReference::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<PortReference<'de>, E> {
        i64::try_from(number).map(PortReference::Number).map_err(E::custom)
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<PortReference<'de>, E> {
        Ok(PortReference::Name(name.into()))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<PortReference<'de>, E> {
        Ok(PortReference::Name(Text(Cow::Owned(name.to_owned()))))
    }
}

impl<'a> Quick<'a> for PortReference<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        match reader.peek()? {
            b'"' => Text::read(reader).map(Self::Name),
            _ => reader.integer().map(Self::Number),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for PortReference<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

macro_rules! view {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident $(= $json:literal)?: $type:ty),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, serde::Deserialize)]
        #[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
        pub struct $name<'a> {
            $($(#[$field_about])* #[serde(default $(, rename = $json)?)] pub $field: Option<$type>,)*
            #[serde(skip)]
            lifetime: std::marker::PhantomData<&'a ()>,
        }

        quick!($name { $($field $(= $json)?),* } ..Self::default());
    };
}

view! {
    /// Metadata of any object.
    Metadata {
        /// Name; absent on a pod that is about to be named.
        name: Text<'a>,
        /// Labels.
        labels: Pairs<'a>,
        /// Annotations.
        annotations: Pairs<'a>,
        /// Owners.
        owner_references: Vec<Owner<'a>>,
        /// Who last wrote which fields.
        managed_fields: Vec<ManagedFields<'a>>,
        /// Counts the changes of the spec.
        generation: i64,
    }
}

view! {
    /// One owner of an object.
    Owner {
        /// Kind of the owner.
        kind: Text<'a>,
        /// Name of the owner.
        name: Text<'a>,
        /// Whether it is the one that controls the object.
        controller: bool,
    }
}

view! {
    /// One entry of managed fields.
    ManagedFields {
        /// Name of the manager.
        manager: Text<'a>,
        /// When it last wrote, RFC 3339.
        time: Text<'a>,
    }
}

view! {
    /// A pod.
    Pod {
        /// Metadata.
        metadata: Metadata<'a>,
        /// Spec.
        spec: PodSpec<'a>,
    }
}

view! {
    /// What a pod runs.
    PodSpec {
        /// Containers.
        containers: Vec<Container<'a>>,
        /// Init containers, native sidecars among them.
        init_containers: Vec<Container<'a>>,
        /// Whether the pod shares the network of its node.
        host_network: bool,
        /// Operating system.
        os: OperatingSystem<'a>,
        /// Labels of nodes to run on.
        node_selector: Pairs<'a>,
        /// Priority class, which a quota may be scoped to.
        priority_class_name: Text<'a>,
        /// Requests and limits of the pod as a whole.
        resources: Resources<'a>,
        /// Seconds between the request to stop and the kill.
        termination_grace_period_seconds: i64,
        /// Seconds that the pod may run; a quota may be scoped to pods that have them.
        active_deadline_seconds: i64,
        /// Security context of the pod.
        security_context: PodSecurityContext<'a>,
    }
}

view! {
    /// Operating system of a pod.
    OperatingSystem {
        /// `linux` or `windows`.
        name: Text<'a>,
    }
}

view! {
    /// Security context of a pod.
    PodSecurityContext {
        /// User that containers run as.
        run_as_user: i64,
    }
}

view! {
    /// A container.
    Container {
        /// Name.
        name: Text<'a>,
        /// `Always` makes an init container a native sidecar.
        restart_policy: Text<'a>,
        /// Ports that it declares.
        ports: Vec<ContainerPort<'a>>,
        /// Requests and limits.
        resources: Resources<'a>,
        /// What a change in place does to the container.
        resize_policy: Vec<ResizePolicy<'a>>,
        /// Liveness probe.
        liveness_probe: Probe<'a>,
        /// Readiness probe.
        readiness_probe: Probe<'a>,
        /// Startup probe.
        startup_probe: Probe<'a>,
        /// Hooks.
        lifecycle: Lifecycle<'a>,
    }
}

view! {
    /// A port of a container.
    ContainerPort {
        /// Name.
        name: Text<'a>,
        /// Number.
        container_port: i64,
        /// `TCP` when absent.
        protocol: Text<'a>,
    }
}

view! {
    /// Requests and limits by resource.
    Resources {
        /// Requests.
        requests: Pairs<'a>,
        /// Limits.
        limits: Pairs<'a>,
    }
}

view! {
    /// What a change of one resource in place does.
    ResizePolicy {
        /// `cpu` or `memory`.
        resource_name: Text<'a>,
        /// `NotRequired` or `RestartContainer`.
        restart_policy: Text<'a>,
    }
}

view! {
    /// A probe or a hook, as far as it names a port.
    Probe {
        /// HTTP request.
        http_get: PortAction<'a>,
        /// TCP connection.
        tcp_socket: PortAction<'a>,
    }
}

view! {
    /// Something done to a port.
    PortAction {
        /// The port.
        port: PortReference<'a>,
        /// `HTTP` or `HTTPS` of an HTTP request.
        scheme: Text<'a>,
    }
}

view! {
    /// Hooks of a container.
    Lifecycle {
        /// After its start.
        post_start: Probe<'a>,
        /// Before its stop.
        pre_stop: Probe<'a>,
    }
}

view! {
    /// A Deployment.
    Deployment {
        /// Metadata.
        metadata: Metadata<'a>,
        /// Spec.
        spec: DeploymentSpec<'a>,
        /// Status.
        status: DeploymentStatus<'a>,
    }
}

view! {
    /// What a Deployment wants.
    DeploymentSpec {
        /// Replicas.
        replicas: i64,
        /// Whether rollouts are held back.
        paused: bool,
        /// The template of its pods.
        template: Pod<'a>,
    }
}

view! {
    /// A Service.
    Service {
        /// Metadata.
        metadata: Metadata<'a>,
        /// Spec.
        spec: ServiceSpec<'a>,
    }
}

view! {
    /// Where a Service sends to.
    ServiceSpec {
        /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
        type_ = "type": Text<'a>,
        /// Labels of the pods.
        selector: Pairs<'a>,
        /// Addresses outside of the cluster that lead to it.
        external_ips = "externalIPs": Vec<Text<'a>>,
        /// Ports.
        ports: Vec<ServicePort<'a>>,
    }
}

view! {
    /// A port of a Service.
    ServicePort {
        /// Name.
        name: Text<'a>,
        /// Number.
        port: i64,
        /// `TCP` when absent.
        protocol: Text<'a>,
        /// Port of the pods, the same number when absent.
        target_port: PortReference<'a>,
    }
}

view! {
    /// A HorizontalPodAutoscaler.
    HorizontalPodAutoscaler {
        /// Metadata.
        metadata: Metadata<'a>,
        /// Spec.
        spec: AutoscalerSpec<'a>,
    }
}

view! {
    /// What an autoscaler does.
    AutoscalerSpec {
        /// What it scales.
        scale_target_ref: Owner<'a>,
        /// Least replicas, 1 when absent.
        min_replicas: i64,
        /// Most replicas.
        max_replicas: i64,
        /// What it looks at.
        metrics: Vec<AutoscalerMetric<'a>>,
    }
}

view! {
    /// A metric of an autoscaler.
    AutoscalerMetric {
        /// A resource of the whole pod.
        resource: ResourceMetric<'a>,
        /// A resource of one container.
        container_resource: ResourceMetric<'a>,
    }
}

view! {
    /// A resource and its target.
    ResourceMetric {
        /// `cpu` or `memory`.
        name: Text<'a>,
        /// Container, where it is about one.
        container: Text<'a>,
        /// Target.
        target: ResourceTarget<'a>,
    }
}

view! {
    /// The target of a resource.
    ResourceTarget {
        /// Percent of the request.
        average_utilization: i64,
    }
}

view! {
    /// How far a Deployment is.
    DeploymentStatus {
        /// Pods of every revision.
        replicas: i64,
        /// Pods of the newest revision.
        updated_replicas: i64,
        /// The generation that the other numbers are of.
        observed_generation: i64,
    }
}

view! {
    /// The scale of something.
    Scale {
        /// Metadata: name and namespace of what is scaled, none of its labels.
        metadata: Metadata<'a>,
        /// Spec.
        spec: ScaleSpec<'a>,
    }
}

view! {
    /// What a scale wants.
    ScaleSpec {
        /// Replicas; absent when 0.
        replicas: i64,
    }
}

impl Metadata<'_> {
    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key)
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key)
    }
}

impl PodSpec<'_> {
    /// Containers that are not init containers.
    #[must_use]
    pub fn containers(&self) -> &[Container<'_>] {
        self.containers.as_deref().unwrap_or_default()
    }

    /// Init containers.
    #[must_use]
    pub fn init_containers(&self) -> &[Container<'_>] {
        self.init_containers.as_deref().unwrap_or_default()
    }
}

impl Container<'_> {
    /// Name, empty when absent.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Ports that it declares.
    #[must_use]
    pub fn ports(&self) -> &[ContainerPort<'_>] {
        self.ports.as_deref().unwrap_or_default()
    }

    /// Whether it is a native sidecar, given that it is an init container.
    #[must_use]
    pub fn restarts_always(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

impl ServicePort<'_> {
    /// Whether it is a TCP port.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol.as_deref().unwrap_or("TCP") == "TCP"
    }

    /// Its number, 0 when absent.
    #[must_use]
    pub fn number(&self) -> i64 {
        self.port.unwrap_or_default()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| !name.is_empty())
    }
}

impl ContainerPort<'_> {
    /// Whether it is a TCP port.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol.as_deref().unwrap_or("TCP") == "TCP"
    }

    /// Its number, 0 when absent.
    #[must_use]
    pub fn number(&self) -> i64 {
        self.container_port.unwrap_or_default()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Map, Value, json};

    use super::*;

    const KEYS: [&str; 24] = [
        "metadata",
        "name",
        "labels",
        "ownerReferences",
        "controller",
        "managedFields",
        "time",
        "fieldsV1",
        "spec",
        "containers",
        "initContainers",
        "hostNetwork",
        "nodeSelector",
        "terminationGracePeriodSeconds",
        "ports",
        "containerPort",
        "resources",
        "requests",
        "limits",
        "livenessProbe",
        "httpGet",
        "port",
        "template",
        "a\"\\{",
    ];

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(7, 80, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(select(&KEYS), inner, 0..6)
                    .prop_map(|object| object.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            ]
        })
    }

    fn quickly<'a, T: Quick<'a> + fmt::Debug>(json: &'a str) -> Option<String> {
        Reader::whole::<T>(json.as_bytes()).map(|read| format!("{read:?}"))
    }

    fn carefully<'a, T: Deserialize<'a> + fmt::Debug>(json: &'a str) -> Option<String> {
        serde_json::from_str::<T>(json).ok().map(|read| format!("{read:?}"))
    }

    /// What is read quickly is what serde_json reads.
    fn agree(json: &str) {
        let quick = [quickly::<Pod<'_>>(json), quickly::<Deployment<'_>>(json)];
        let careful = [carefully::<Pod<'_>>(json), carefully::<Deployment<'_>>(json)];
        for (quick, careful) in quick.into_iter().zip(careful) {
            assert!(
                quick.is_none() || quick == careful,
                "{json}: {quick:?}, but {careful:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn both_readers_agree(metadata in anything(), spec in anything()) {
            let object: Value = Map::from_iter([("metadata".to_owned(), metadata), ("spec".to_owned(), spec)]).into();
            agree(&object.to_string());
            agree(&serde_json::to_string_pretty(&object).unwrap());
        }
    }

    #[test]
    fn usual_objects_are_read_quickly() {
        let pod = json!({
            "metadata": {"name": "web", "creationTimestamp": null, "labels": {"app": "web"},
                "annotations": {"note": "a \"quoted\" \u{e9}\n"},
                "managedFields": [{"manager": "kubectl", "time": "2026-11-24T06:00:00Z", "fieldsV1": {"f:a": {".": {}}}}]},
            "spec": {"containers": [{"name": "app", "ports": [{"containerPort": 8080}], "env": [{"name": "A", "value": "]}"}],
                "livenessProbe": {"httpGet": {"port": "http"}}, "readinessProbe": {"tcpSocket": {"port": 8080}}}],
                "hostNetwork": false, "priority": 0},
            "status": {},
        });
        for json in [pod.to_string(), serde_json::to_string_pretty(&pod).unwrap()] {
            assert!(quickly::<Pod<'_>>(&json).is_some());
            agree(&json);
        }
        let twice = r#"{"metadata":{"name":"a","name":"b"}}"#;
        assert_eq!((quickly::<Pod<'_>>(twice), carefully::<Pod<'_>>(twice)), (None, None));
    }
}
