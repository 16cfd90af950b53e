//! Pods and what is in them.

use super::{Metadata, Pairs, PortReference, Text, port, view};
use crate::reader::quick;

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

port!(ContainerPort, container_port);

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
