//! Which form of the answer a client accepts.

use http::HeaderMap;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Rows and columns (`as=Table`).
    pub(crate) table: bool,
    /// Only metadata (`as=PartialObjectMetadata` and its list).
    pub(crate) metadata_only: bool,
    /// Discovery of everything at once.
    pub(crate) aggregated_discovery: bool,
    /// YAML instead of JSON.
    pub(crate) yaml: bool,
}

impl Accepted {
    /// The first media type of `Accept` that this server can answer in.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let values = headers
            .get_all(http::header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let parameters: Vec<&str> = parts.collect();
            let form = |name: &str| parameters.iter().any(|parameter| *parameter == format!("as={name}"));
            match media_type {
                "application/json" if form("Table") => {
                    return Self {
                        table: true,
                        ..Self::default()
                    };
                }
                "application/json" if form("PartialObjectMetadata") || form("PartialObjectMetadataList") => {
                    return Self {
                        metadata_only: true,
                        ..Self::default()
                    };
                }
                "application/json" if form("APIGroupDiscoveryList") && parameters.contains(&"v=v2") => {
                    return Self {
                        aggregated_discovery: true,
                        ..Self::default()
                    };
                }
                // An older form of aggregated discovery; what comes next in the list may fit.
                "application/json" if form("APIGroupDiscoveryList") => {}
                "application/yaml" => {
                    return Self {
                        yaml: true,
                        ..Self::default()
                    };
                }
                "application/json" | "*/*" | "application/*" => return Self::default(),
                _ => {}
            }
        }
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn accepted(value: &str) -> Accepted {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, value.parse().unwrap());
        Accepted::from_headers(&headers)
    }

    #[test]
    fn the_first_known_form_wins() {
        let kubectl_get = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert!(accepted(kubectl_get).table);
        let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert!(accepted(discovery).aggregated_discovery);
        assert_eq!(
            accepted("application/vnd.kubernetes.protobuf, application/json"),
            Accepted::default()
        );
        assert!(accepted("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").metadata_only);
    }
}
