//! Services and their ports.

use super::{Metadata, Pairs, PortReference, Text, port, view};
use crate::reader::quick;

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

port!(ServicePort, port);
