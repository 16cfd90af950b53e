//! The parts of objects that admission reads, borrowed from the request's bytes.
//!
//! Whatever is not named here is skipped without being kept, so that an unknown field never stands in the way.

mod autoscaler;
mod pod;
mod service;
mod values;
mod workload;

use crate::reader::quick;
pub use autoscaler::*;
pub use pod::*;
pub use service::*;
pub use values::*;
pub use workload::*;

/// An object of which the named fields are read. Each stands for the JSON key of its name in camel case, or for the one
/// behind `=`, and may be absent.
macro_rules! view {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident $(= $json:literal)?: $type:ty),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
        pub struct $name<'a> {
            $($(#[$field_about])* #[serde(default $(, rename = $json)?)] pub $field: Option<$type>,)*
            #[serde(skip)]
            lifetime: std::marker::PhantomData<&'a ()>,
        }

        quick!($name { $($field $(= $json)?),* } ..Self::default());
    };
}

use view;

/// What the ports of containers and Services have in common, whose `$number` is the field with their number.
macro_rules! port {
    ($name:ident, $number:ident) => {
        impl $name<'_> {
            /// Whether it is a TCP port.
            #[must_use]
            pub fn is_tcp(&self) -> bool {
                self.protocol.as_deref().unwrap_or("TCP") == "TCP"
            }

            /// Its number, 0 when absent.
            #[must_use]
            pub fn number(&self) -> i64 {
                self.$number.unwrap_or_default()
            }

            /// Its name.
            #[must_use]
            pub fn name(&self) -> Option<&str> {
                self.name.as_deref().filter(|name| !name.is_empty())
            }
        }
    };
}
use port;

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde::de::Deserialize;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::reader::{Quick, Reader};

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

    fn quickly<'a, T: Quick<'a> + std::fmt::Debug>(json: &'a str) -> Option<String> {
        Reader::new(json.as_bytes())
            .whole::<T>()
            .map(|read| format!("{read:?}"))
    }

    fn carefully<'a, T: Deserialize<'a> + std::fmt::Debug>(json: &'a str) -> Option<String> {
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
