//! What LimitRanges and ResourceQuotas leave room for.

mod pod;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::amounts::{Amounts, Kind, Pair};
use crate::plans::Plans;
use crate::quantity;

/// A container whose amounts may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Name of the container.
    pub name: String,
    /// Amounts that it is never pushed below by a sum that is too large: what its owner asked for.
    pub least: Amounts,
    /// Amounts that it should get.
    pub wanted: Amounts,
}

/// What a quota's scopes ask about a pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits<'a> {
    /// Priority class.
    pub priority_class: Option<&'a str>,
    /// Whether the pod has a deadline.
    pub terminating: bool,
}

/// Limits of a namespace.
#[derive(Debug, Default)]
pub struct Limits {
    ranges: Vec<Arc<LimitRange>>,
    quotas: Vec<Arc<ResourceQuota>>,
}

/// What came of holding demands to limits.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// What was cut, one sentence for each limit that did.
    pub notes: Vec<String>,
    /// Whether the result respects every limit; if not, even the least amounts are too much.
    pub fits: bool,
}

type Pick = fn(&mut Pair) -> &mut Option<u64>;
const REQUEST: Pick = |pair| &mut pair.request;
const LIMIT: Pick = |pair| &mut pair.limit;

impl Limits {
    /// The limits that apply to a pod of a namespace.
    #[must_use]
    pub fn of(plans: &dyn Plans, namespace: &str, pod: Traits<'_>) -> Self {
        let mut quotas = plans.resource_quotas(namespace);
        quotas.retain(|quota| concerns(quota, pod));
        let mut limits = Self {
            ranges: plans.limit_ranges(namespace),
            quotas,
        };
        limits.ranges.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        limits.quotas.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        limits
    }

    /// Whether there is nothing to hold to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.quotas.is_empty()
    }

    /// Cuts demands to what there is room for, next to the containers of the same pod that stay as they are.
    ///
    /// `already` is what a running pod of these containers counts for in the quotas, nothing for a new one.
    pub fn hold(&self, demands: &mut [Demand], untouched: &[Amounts], already: &[Amounts]) -> Held {
        let mut held = Held {
            notes: Vec::new(),
            fits: true,
        };
        self.demand_limits(demands);
        if already.is_empty() {
            self.default_limits(demands);
        }
        for (name, item) in self.items("Container") {
            for demand in demands.iter_mut() {
                if hold_container(item, &mut demand.wanted) {
                    held.notes.push(format!(
                        "LimitRange {name} bounds the resources of container {}",
                        demand.name
                    ));
                }
            }
        }
        for (name, item) in self.items("Pod") {
            let note = format!("LimitRange {name} bounds the resources of the pod");
            pod::hold(item, demands, untouched, &note, &mut held);
        }
        for quota in &self.quotas {
            hold_quota(quota, demands, untouched, already, &mut held);
        }
        let mut pods = self.items("Pod");
        held.fits &= pods.all(|(_, item)| pod::respects(item, demands, untouched));
        held.notes.dedup();
        held
    }

    /// Local storage that a container has to state where a LimitRange or a quota is about it, and whether there is room.
    #[must_use]
    pub fn storage(&self, wanted_bytes: u64) -> Option<(u64, bool)> {
        const STORAGE: &str = "ephemeral-storage";
        let mut asked = false;
        let mut bytes = wanted_bytes;
        for (_, item) in self.items("Container") {
            let bound = |quantities: Option<&BTreeMap<String, Quantity>>| amount(quantities, STORAGE, Kind::Memory);
            let (min, max) = (bound(item.min.as_ref()), bound(item.max.as_ref()));
            asked |= min.is_some() || max.is_some();
            bytes = bytes.max(min.unwrap_or(0)).min(max.unwrap_or(u64::MAX));
        }
        let mut fits = true;
        for quota in &self.quotas {
            let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
            for key in [STORAGE, "requests.ephemeral-storage", "limits.ephemeral-storage"] {
                if let Some(hard) = amount(hard(quota), key, Kind::Memory) {
                    asked = true;
                    fits &= amount(used, key, Kind::Memory).unwrap_or(0).saturating_add(bytes) <= hard;
                }
            }
        }
        asked.then_some((bytes, fits))
    }

    fn items(&self, kind: &'static str) -> impl Iterator<Item = (&str, &LimitRangeItem)> {
        let of = |range: &'_ Arc<LimitRange>| range.metadata.name.is_some();
        self.ranges
            .iter()
            .filter(move |range| of(range))
            .flat_map(move |range| {
                let items = range.spec.iter().flat_map(|spec| &spec.limits);
                items
                    .filter(move |item| item.type_ == kind)
                    .map(|item| (range.metadata.name.as_deref().unwrap_or_default(), item))
            })
    }

    /// A new container without a limit would get the usual one of the namespace after us, though its request is above it.
    fn default_limits(&self, demands: &mut [Demand]) {
        for (_, item) in self.items("Container") {
            for kind in Kind::ALL {
                let default = amount(item.default.as_ref(), kind.name(), kind);
                for demand in demands.iter_mut() {
                    let pair = demand.wanted.pair_mut(kind);
                    pair.limit = pair.limit.or(default);
                    *pair = pair.consistent();
                }
            }
        }
    }

    /// A quota on limits refuses containers that have none.
    fn demand_limits(&self, demands: &mut [Demand]) {
        for kind in Kind::ALL {
            let key = format!("limits.{}", kind.name());
            if self
                .quotas
                .iter()
                .any(|quota| hard(quota).is_some_and(|hard| hard.contains_key(&key)))
            {
                for demand in demands.iter_mut() {
                    let pair = demand.wanted.pair_mut(kind);
                    pair.limit = pair.limit.or(pair.request.map(|request| request.saturating_mul(4)));
                }
            }
        }
    }
}

fn amount(quantities: Option<&BTreeMap<String, Quantity>>, key: &str, kind: Kind) -> Option<u64> {
    kind.amount(&quantities?.get(key)?.0)
}

/// Holds one container to a LimitRange; true where that changed something that was asked for.
fn hold_container(item: &LimitRangeItem, amounts: &mut Amounts) -> bool {
    let before = *amounts;
    for kind in Kind::ALL {
        let pair = amounts.pair_mut(kind);
        if let Some(max) = amount(item.max.as_ref(), kind.name(), kind) {
            pair.limit = Some(pair.limit.unwrap_or(max).min(max));
            pair.request = pair.request.map(|request| request.min(max));
        }
        if let Some(min) = amount(item.min.as_ref(), kind.name(), kind) {
            pair.request = Some(pair.effective_request().unwrap_or(min).max(min));
            pair.limit = pair.limit.map(|limit| limit.max(min));
        }
        hold_ratio(item, kind, pair);
    }
    differs(&before, amounts)
}

/// How many times as large as the request a limit may be.
fn ratio(item: &LimitRangeItem, kind: Kind) -> Option<f64> {
    let ratios = item.max_limit_request_ratio.as_ref()?;
    quantity::value(&ratios.get(kind.name())?.0).filter(|ratio| *ratio >= 1.0)
}

/// Raises the request where the limit is too many times as large.
fn hold_ratio(item: &LimitRangeItem, kind: Kind, pair: &mut Pair) {
    let Some(ratio) = ratio(item, kind) else {
        return;
    };
    let request = pair.request.unwrap_or_default() as f64;
    let limit = *pair.limit.get_or_insert((request * ratio) as u64);
    let least = (limit as f64 / ratio).ceil() as u64;
    pair.request = Some(pair.request.unwrap_or_default().max(least));
}

/// Whether an amount that was asked for came out different; one that was added does not count.
fn differs(before: &Amounts, after: &Amounts) -> bool {
    let changed = |before: Option<u64>, after: Option<u64>| before.is_some() && before != after;
    Kind::ALL.iter().any(|kind| {
        let (before, after) = (before.pair(*kind), after.pair(*kind));
        changed(before.request, after.request) || changed(before.limit, after.limit)
    })
}

fn hard(quota: &ResourceQuota) -> Option<&BTreeMap<String, Quantity>> {
    let status = quota.status.as_ref().and_then(|status| status.hard.as_ref());
    status.or_else(|| quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()))
}

fn hold_quota(
    quota: &ResourceQuota,
    demands: &mut [Demand],
    untouched: &[Amounts],
    already: &[Amounts],
    held: &mut Held,
) {
    let name = quota.metadata.name.as_deref().unwrap_or_default();
    let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
    for kind in Kind::ALL {
        let bare = kind.name().to_owned();
        let rules: [(String, Pick); 3] = [
            (bare.clone(), REQUEST),
            (format!("requests.{bare}"), REQUEST),
            (format!("limits.{bare}"), LIMIT),
        ];
        for (key, pick) in rules {
            let Some(total) = amount(hard(quota), &key, kind) else {
                continue;
            };
            let free = total.saturating_sub(amount(used, &key, kind).unwrap_or_default());
            let room = free.saturating_add(sum(already, kind, pick));
            let note = format!("ResourceQuota {name} leaves {} of {key} for the pod", kind.text(room));
            fit(demands, untouched, kind, pick, room, &note, held);
        }
    }
}

fn sum(amounts: &[Amounts], kind: Kind, pick: Pick) -> u64 {
    let of = |amounts: &Amounts| *pick(&mut amounts.pair(kind));
    amounts.iter().filter_map(of).fold(0, u64::saturating_add)
}

/// Cuts one amount of every demand, in proportion to what each wants above its least, until their sum fits.
fn fit(demands: &mut [Demand], untouched: &[Amounts], kind: Kind, pick: Pick, room: u64, note: &str, held: &mut Held) {
    let taken = sum(untouched, kind, pick);
    let (total, room) = (room, room.saturating_sub(taken));
    let wanted = |demand: &Demand| (*pick(&mut demand.wanted.pair(kind))).unwrap_or_default();
    let least = |demand: &Demand| {
        (*pick(&mut demand.least.pair(kind)))
            .unwrap_or_default()
            .min(wanted(demand))
    };
    let all_wanted = demands.iter().map(wanted).fold(0, u64::saturating_add);
    let all_least = demands.iter().map(least).fold(0, u64::saturating_add);
    // What stays may be too much by itself; then it does not fit, though nothing is there to be cut.
    held.fits &= taken.saturating_add(all_least) <= total;
    if all_wanted <= room {
        return;
    }
    let share = room.saturating_sub(all_least) as f64 / all_wanted.saturating_sub(all_least).max(1) as f64;
    for demand in demands.iter_mut() {
        let (wanted, least) = (wanted(demand), least(demand));
        let cut = least + ((wanted - least) as f64 * share) as u64;
        let pair = demand.wanted.pair_mut(kind);
        let amount = pick(pair);
        *amount = amount.map(|_| round_down(kind, cut, least));
        pair.request = pair.request.map(|request| request.min(pair.limit.unwrap_or(request)));
    }
    held.notes.push(note.to_owned());
}

/// Whole mebibytes read better, where they do not go below the least.
fn round_down(kind: Kind, amount: u64, least: u64) -> u64 {
    match kind {
        Kind::Cpu => amount,
        Kind::Memory => (amount & !0xF_FFFF).max(least.min(amount)),
    }
}

/// Whether a quota's scopes take in a pod that has requests.
fn concerns(quota: &ResourceQuota, pod: Traits<'_>) -> bool {
    let Some(spec) = &quota.spec else {
        return false;
    };
    let plain = spec.scopes.iter().flatten().all(|scope| has_scope(scope, pod));
    let expressions = spec
        .scope_selector
        .iter()
        .flat_map(|selector| selector.match_expressions.iter().flatten());
    let mut selected = expressions.map(|expression| match expression.scope_name.as_str() {
        "PriorityClass" => {
            let values = expression.values.as_deref().unwrap_or_default();
            let named = pod
                .priority_class
                .is_some_and(|class| values.iter().any(|value| value == class));
            match expression.operator.as_str() {
                "In" => named,
                "NotIn" => !named,
                "Exists" => pod.priority_class.is_some(),
                _ => pod.priority_class.is_none(),
            }
        }
        scope => has_scope(scope, pod),
    });
    plain && selected.all(|selected| selected)
}

fn has_scope(scope: &str, pod: Traits<'_>) -> bool {
    match scope {
        "Terminating" => pod.terminating,
        "NotTerminating" => !pod.terminating,
        "NotBestEffort" => true,
        "PriorityClass" => pod.priority_class.is_some(),
        _ => false,
    }
}
