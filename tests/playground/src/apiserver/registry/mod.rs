//! Which resources are served, in which versions, and by which schemas.

pub(crate) mod builtin;
mod definitions;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;

use super::crd::CustomResource;
use super::object;
use super::schema::SharedSchema;
use super::store::ResourceKey;

/// Where a scale subresource finds its numbers (JSON pointers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    pub(crate) replicas: String,
    pub(crate) status_replicas: String,
    /// Absent: no selector is reported.
    pub(crate) selector: Option<String>,
}

/// What answers a resource.
#[derive(Clone, Debug)]
pub(crate) enum Backing {
    /// The store.
    Stored,
    /// The store, validated by a CustomResourceDefinition.
    Custom(Arc<CustomResource>),
    /// Only POST, answered at once (reviews).
    Review,
    /// Read-only, computed (metrics.k8s.io).
    Computed,
}

/// One resource in one version.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) status: bool,
    pub(crate) scale: Option<ScalePaths>,
    /// Subresources beyond status and scale, with the kind that they take.
    pub(crate) subresources: Vec<(&'static str, &'static str)>,
    pub(crate) backing: Backing,
    /// Where the objects are kept; several versions (and for events, groups) share one.
    pub(crate) key: ResourceKey,
    /// The `apiVersion` that objects are stored as.
    pub(crate) storage_version: String,
    /// Absent for what is computed.
    pub(crate) schema: Option<SharedSchema>,
    /// Name of the schema in the OpenAPI document.
    pub(crate) definition: String,
    /// Selectable fields and their JSON pointers.
    pub(crate) fields: BTreeMap<String, String>,
}

impl Resource {
    pub(crate) fn api_version(&self) -> String {
        object::api_version(&self.group, &self.version)
    }

    pub(crate) fn list_kind(&self) -> String {
        match &self.backing {
            Backing::Custom(custom) => custom.list_kind.clone(),
            _ => format!("{}List", self.kind),
        }
    }

    pub(crate) fn custom(&self) -> Option<&CustomResource> {
        match &self.backing {
            Backing::Custom(custom) => Some(custom),
            _ => None,
        }
    }

    /// Verbs, as discovery lists them.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        match self.backing {
            Backing::Stored | Backing::Custom(_) => &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
            Backing::Review => &["create"],
            Backing::Computed => &["get", "list"],
        }
    }

    /// Whether this is a given resource of a given group.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }
}

/// An immutable view of everything that is served.
#[derive(Clone, Default)]
pub(crate) struct Served {
    resources: BTreeMap<(String, String, String), Arc<Resource>>,
}

impl Served {
    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.resources
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
            .cloned()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// The resources of one group and version.
    pub(crate) fn of<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.iter()
            .filter(move |resource| resource.group == group && resource.version == version)
    }

    /// Groups (the core one first) with their versions, the preferred one first.
    pub(crate) fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for resource in self.iter() {
            let versions = groups.entry(resource.group.clone()).or_default();
            if !versions.contains(&resource.version) {
                versions.push(resource.version.clone());
            }
        }
        for versions in groups.values_mut() {
            versions.sort_by_key(|version| std::cmp::Reverse(version_rank(version)));
        }
        groups.into_iter().collect()
    }

    /// A resource in the version that it is stored as, else in any.
    pub(crate) fn any_version(&self, key: &ResourceKey) -> Option<Arc<Resource>> {
        let versions: Vec<_> = self
            .iter()
            .filter(|resource| resource.key == *key && resource.group == *key.group)
            .collect();
        let stored = versions
            .iter()
            .find(|resource| resource.api_version() == resource.storage_version);
        stored.or(versions.first()).map(|resource| Arc::clone(resource))
    }
}

/// Sorts versions as Kubernetes does: stable before beta before alpha, then the higher number.
pub(crate) fn version_rank(version: &str) -> (u8, u32, u32) {
    let number = |text: &str| text.parse().unwrap_or(0);
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    for (marker, rank) in [("beta", 2), ("alpha", 1)] {
        if let Some((major, minor)) = rest.split_once(marker) {
            return (rank, number(major), number(minor));
        }
    }
    (3, number(rest), 0)
}

/// The registry, which custom resources come into and go from.
pub(crate) struct Registry {
    served: ArcSwap<Served>,
    change: parking_lot::Mutex<()>,
    /// Definitions of the built-in kinds, as OpenAPI publishes them.
    pub(crate) definitions: Arc<BTreeMap<String, Value>>,
    /// The schema of `metadata`, without references.
    pub(crate) metadata: Value,
}

impl Registry {
    /// With the built-in kinds.
    pub(crate) fn new() -> Self {
        let (definitions, resources) = builtin::resources();
        let resources = resources
            .into_iter()
            .map(|resource| (identity(&resource), Arc::new(resource)))
            .collect();
        let metadata = definitions::inline(&definitions, &definitions[builtin::METADATA]);
        Self {
            served: ArcSwap::from_pointee(Served { resources }),
            change: parking_lot::Mutex::new(()),
            definitions,
            metadata,
        }
    }

    pub(crate) fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Replaces all versions of a custom resource; an empty list withdraws it.
    pub(crate) fn replace(&self, key: &ResourceKey, resources: Vec<Resource>) {
        let _guard = self.change.lock();
        let mut served = Served::clone(&self.served.load());
        served.resources.retain(|_, resource| resource.key != *key);
        for resource in resources {
            served.resources.insert(identity(&resource), Arc::new(resource));
        }
        self.served.store(Arc::new(served));
    }
}

fn identity(resource: &Resource) -> (String, String, String) {
    (
        resource.group.clone(),
        resource.version.clone(),
        resource.plural.clone(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_stable_first() {
        let mut versions = vec!["v1alpha1", "v2", "v1", "v1beta2", "v1beta1"];
        versions.sort_by_key(|version| std::cmp::Reverse(version_rank(version)));
        assert_eq!(versions, ["v2", "v1", "v1beta2", "v1beta1", "v1alpha1"]);
    }
}
