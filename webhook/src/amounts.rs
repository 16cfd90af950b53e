//! Requests and limits of a container as numbers.

use crate::patch::{Content, Patch};
use crate::plans::ContainerResources;
use crate::quantity;
use crate::view::{Pairs, Resources};

/// CPU or memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Thousandths of a core.
    Cpu,
    /// Bytes.
    Memory,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Memory];

    /// The name that Kubernetes gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    /// An amount of it as a quantity.
    #[must_use]
    pub fn text(self, amount: u64) -> String {
        match self {
            Self::Cpu => quantity::cpu_text(amount),
            Self::Memory => quantity::memory_text(amount),
        }
    }

    /// A quantity of it as an amount.
    #[must_use]
    pub fn amount(self, text: &str) -> Option<u64> {
        match self {
            Self::Cpu => quantity::millicores(text),
            Self::Memory => quantity::bytes(text),
        }
    }
}

/// Request and limit of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Request.
    pub request: Option<u64>,
    /// Limit.
    pub limit: Option<u64>,
}

impl Pair {
    /// What the scheduler counts: a limit without a request is a request too.
    #[must_use]
    pub fn effective_request(self) -> Option<u64> {
        self.request.or(self.limit)
    }

    /// Raises the limit to the request where it is below.
    #[must_use]
    pub fn consistent(self) -> Self {
        let limit = self.limit.map(|limit| limit.max(self.request.unwrap_or_default()));
        Self { limit, ..self }
    }

    /// Request and limit both at the larger of the two.
    #[must_use]
    pub fn fixed(self) -> Self {
        let both = self.limit.max(self.request);
        Self {
            request: both,
            limit: both,
        }
    }

    /// Whether it has a limit that is its request too.
    #[must_use]
    pub fn is_guaranteed(self) -> bool {
        self.limit.is_some_and(|limit| limit > 0) && self.effective_request() == self.limit
    }
}

/// Requests and limits of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Amounts {
    /// In thousandths of a core.
    pub cpu: Pair,
    /// In bytes.
    pub memory: Pair,
}

impl Amounts {
    /// Reads what an object says.
    ///
    /// # Errors
    /// Names the field that is not a quantity.
    pub(crate) fn read(resources: Option<&Resources<'_>>) -> Result<Self, String> {
        let requests = resources.and_then(|resources| resources.requests.as_ref());
        let limits = resources.and_then(|resources| resources.limits.as_ref());
        let pair = |kind| {
            Ok::<_, String>(Pair {
                request: amount("requests", requests, kind)?,
                limit: amount("limits", limits, kind)?,
            })
        };
        Ok(Self {
            cpu: pair(Kind::Cpu)?,
            memory: pair(Kind::Memory)?,
        })
    }

    /// Reads the `resources` of a container, as JSON.
    ///
    /// # Errors
    /// Says what is not understood.
    pub fn parse(resources: &str) -> Result<Self, String> {
        let resources = serde_json::from_str::<Option<Resources<'_>>>(resources).map_err(|error| error.to_string())?;
        Self::read(resources.as_ref())
    }

    /// One resource.
    #[must_use]
    pub fn pair(&self, kind: Kind) -> Pair {
        match kind {
            Kind::Cpu => self.cpu,
            Kind::Memory => self.memory,
        }
    }

    /// One resource, to change.
    pub fn pair_mut(&mut self, kind: Kind) -> &mut Pair {
        match kind {
            Kind::Cpu => &mut self.cpu,
            Kind::Memory => &mut self.memory,
        }
    }

    fn quantities(&self, pick: Pick) -> Quantities<'_> {
        Quantities { amounts: self, pick }
    }

    /// Writes these amounts over those of a container at `path`; other resources stay.
    pub(crate) fn patch(&self, path: &str, current: Option<&Resources<'_>>, patch: &mut Patch) {
        let mut path = [path, "/resources"].concat();
        let Some(current) = current else {
            if *self != Self::default() {
                patch.add(path, self);
            }
            return;
        };
        let length = path.len();
        for ((field, pick), pairs) in FIELDS.into_iter().zip([&current.requests, &current.limits]) {
            path.truncate(length);
            path.push('/');
            path.push_str(field);
            match pairs {
                Some(pairs) => self.patch_pairs(&mut path, pick, pairs, patch),
                None => {
                    let all = self.quantities(pick);
                    if !all.is_empty() {
                        patch.add(&path, &all);
                    }
                }
            }
        }
    }

    fn patch_pairs(&self, path: &mut String, pick: Pick, current: &Pairs<'_>, patch: &mut Patch) {
        let length = path.len();
        for kind in Kind::ALL {
            let text = current.get(kind.name());
            let wanted = pick(self.pair(kind));
            if wanted == text.and_then(|text| kind.amount(text)) {
                continue;
            }
            path.truncate(length);
            path.push('/');
            path.push_str(kind.name());
            match wanted {
                Some(wanted) => patch.set(text.is_some(), &path, kind.text(wanted)),
                None => patch.remove(&path),
            }
        }
    }

    /// Appends them as JSON: the `resources` of a container, as records hold them, in the order of the names.
    pub fn write(&self, json: &mut String) {
        json.push('{');
        let mut first = true;
        for (field, pick) in FIELDS.into_iter().rev() {
            let quantities = self.quantities(pick);
            if !quantities.is_empty() {
                write_key(json, field, &mut first);
                quantities.write(json);
            }
        }
        json.push('}');
    }
}

/// Appends the key of a member; keys here need no escapes.
fn write_key(json: &mut String, key: &str, first: &mut bool) {
    json.push_str(if std::mem::take(first) { "\"" } else { ",\"" });
    json.push_str(key);
    json.push_str("\":");
}

impl Content for &Amounts {
    fn write(self, patch: &mut Patch) {
        Amounts::write(self, patch.json());
    }
}

impl Content for &Quantities<'_> {
    fn write(self, patch: &mut Patch) {
        Quantities::write(self, patch.json());
    }
}

type Pick = fn(Pair) -> Option<u64>;

const FIELDS: [(&str, Pick); 2] = [("requests", |pair| pair.request), ("limits", |pair| pair.limit)];

/// Requests, or limits, by resource.
struct Quantities<'a> {
    amounts: &'a Amounts,
    pick: Pick,
}

impl Quantities<'_> {
    fn get(&self, kind: Kind) -> Option<u64> {
        (self.pick)(self.amounts.pair(kind))
    }

    fn is_empty(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.get(*kind).is_none())
    }

    fn write(&self, json: &mut String) {
        json.push('{');
        let mut first = true;
        for kind in Kind::ALL {
            if let Some(amount) = self.get(kind) {
                write_key(json, kind.name(), &mut first);
                json.push('"');
                json.push_str(&kind.text(amount));
                json.push('"');
            }
        }
        json.push('}');
    }
}

fn amount(field: &str, quantities: Option<&Pairs<'_>>, kind: Kind) -> Result<Option<u64>, String> {
    let Some(text) = quantities.and_then(|quantities| quantities.get(kind.name())) else {
        return Ok(None);
    };
    let unreadable = || format!("resources.{field}.{}: {text:?} is not a quantity", kind.name());
    kind.amount(text).map(Some).ok_or_else(unreadable)
}

impl From<&ContainerResources> for Amounts {
    fn from(resources: &ContainerResources) -> Self {
        Self {
            cpu: Pair {
                request: resources.cpu_request_millicores,
                limit: resources.cpu_limit_millicores,
            },
            memory: Pair {
                request: resources.memory_request_bytes,
                limit: resources.memory_limit_bytes,
            },
        }
    }
}

/// The quality of service that Kubernetes gives a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QualityOfService {
    /// Every container has limits for CPU and memory, equal to its requests.
    Guaranteed,
    /// Anything between the other two.
    Burstable,
    /// No container has a request or a limit.
    BestEffort,
}

/// The quality of service of a pod with these containers, init containers included.
#[must_use]
pub fn quality_of_service(containers: &[Amounts]) -> QualityOfService {
    let is_empty = |amounts: &Amounts| {
        Kind::ALL
            .iter()
            .all(|kind| amounts.pair(*kind).effective_request().unwrap_or(0) == 0)
    };
    let is_guaranteed = |amounts: &Amounts| amounts.cpu.is_guaranteed() && amounts.memory.is_guaranteed();
    if containers.iter().all(is_empty) {
        QualityOfService::BestEffort
    } else if containers.iter().all(is_guaranteed) {
        QualityOfService::Guaranteed
    } else {
        QualityOfService::Burstable
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(resources: &str) -> Result<Amounts, String> {
        Amounts::read(Some(&serde_json::from_str(resources).unwrap()))
    }

    #[test]
    fn classes_are_those_of_kubernetes() {
        let amounts = |text| read(text).unwrap();
        let none = amounts("{}");
        let full = amounts(r#"{"limits":{"cpu":"1","memory":"1Gi"}}"#);
        let equal = amounts(r#"{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1000m","memory":"1024Mi"}}"#);
        let half = amounts(r#"{"requests":{"cpu":"1"}}"#);
        assert_eq!(quality_of_service(&[none, none]), QualityOfService::BestEffort);
        assert_eq!(quality_of_service(&[full, equal]), QualityOfService::Guaranteed);
        assert_eq!(quality_of_service(&[full, none]), QualityOfService::Burstable);
        assert_eq!(quality_of_service(&[half]), QualityOfService::Burstable);
    }

    #[test]
    fn names_the_field_that_is_no_quantity() {
        let complaint = read(r#"{"limits":{"memory":"lots"}}"#).unwrap_err();
        assert_eq!(complaint, "resources.limits.memory: \"lots\" is not a quantity");
    }

    #[test]
    fn patches_only_what_differs() {
        let text = r#"{"requests":{"cpu":"0.5","memory":"128Mi","nvidia.com/gpu":"1"}}"#;
        let current: Resources<'_> = serde_json::from_str(text).unwrap();
        let mut wanted = Amounts::read(Some(&current)).unwrap();
        let mut patch = Patch::default();
        wanted.patch("/c", Some(&current), &mut patch);
        assert!(patch.is_empty());
        wanted.memory = Pair {
            request: Some(256 << 20),
            limit: Some(512 << 20),
        };
        wanted.patch("/c", Some(&current), &mut patch);
        let expected = r#"[{"op":"replace","path":"/c/resources/requests/memory","value":"256Mi"},{"op":"add","path":"/c/resources/limits","value":{"memory":"512Mi"}}]"#;
        assert_eq!(String::from_utf8(patch.to_json()).unwrap(), expected);
    }
}
