//! What the API server asks of the node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::apiserver::{ContainerLogs, ContainerUsage, LogRequest, NodeUsage, PodUsage, ResourceUsage};
use crate::kubelet::Kubelet;

/// The node's answers.
pub struct NodeHooks(pub Arc<Kubelet>);

impl NodeHooks {
    fn window(&self) -> Duration {
        self.0.node().options.usage_window
    }
}

impl ResourceUsage for NodeHooks {
    fn pods(&self) -> Vec<PodUsage> {
        let mut pods: BTreeMap<(String, String), Vec<ContainerUsage>> = BTreeMap::new();
        for used in self.0.usage() {
            let usage = ContainerUsage {
                name: used.container,
                cpu_cores: used.cpu_cores,
                memory_bytes: used.memory_bytes,
            };
            pods.entry((used.namespace, used.pod)).or_default().push(usage);
        }
        let timestamp = Timestamp::now();
        let usage = |((namespace, name), containers)| PodUsage {
            namespace,
            name,
            timestamp,
            window: self.window(),
            containers,
        };
        pods.into_iter().map(usage).collect()
    }

    fn nodes(&self) -> Vec<NodeUsage> {
        let used = self.0.usage();
        vec![NodeUsage {
            name: self.0.node().options.name.clone(),
            timestamp: Timestamp::now(),
            window: self.window(),
            cpu_cores: used.iter().map(|usage| usage.cpu_cores).sum(),
            memory_bytes: used.iter().map(|usage| usage.memory_bytes).sum(),
        }]
    }
}

impl ContainerLogs for NodeHooks {
    fn log(&self, request: &LogRequest) -> Option<String> {
        self.0.log(
            &request.namespace,
            &request.pod,
            &request.container,
            request.previous,
            request.tail_lines,
        )
    }
}
