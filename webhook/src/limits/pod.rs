//! LimitRanges of type Pod: bounds of what the containers of a pod add up to.

use k8s_openapi::api::core::v1::LimitRangeItem;

use super::{Demand, Held, LIMIT, Pick, REQUEST, amount, fit, ratio, sum};
use crate::amounts::{Amounts, Kind};

/// Holds a pod to a LimitRange.
pub(super) fn hold(item: &LimitRangeItem, demands: &mut [Demand], untouched: &[Amounts], note: &str, held: &mut Held) {
    for kind in Kind::ALL {
        if let Some(max) = amount(item.max.as_ref(), kind.name(), kind) {
            for pick in [REQUEST, LIMIT] {
                fit(demands, untouched, kind, pick, max, note, held);
            }
        }
        let before: Vec<Amounts> = demands.iter().map(|demand| demand.wanted).collect();
        if let Some(min) = amount(item.min.as_ref(), kind.name(), kind) {
            raise(demands, untouched, kind, min);
        }
        if let Some(ratio) = ratio(item, kind) {
            narrow(demands, untouched, kind, ratio);
        }
        if demands.iter().map(|demand| demand.wanted).ne(before) {
            held.notes.push(note.to_owned());
        }
    }
}

/// Whether a pod respects a LimitRange, as far as its containers state what it is about.
pub(super) fn respects(item: &LimitRangeItem, demands: &[Demand], untouched: &[Amounts]) -> bool {
    Kind::ALL.into_iter().all(|kind| {
        let total = |pick| total(demands, untouched, kind, pick);
        let (request, limit) = (total(REQUEST), total(LIMIT));
        let least = amount(item.min.as_ref(), kind.name(), kind).unwrap_or_default();
        let most = amount(item.max.as_ref(), kind.name(), kind).unwrap_or(u64::MAX);
        let ratio = ratio(item, kind).unwrap_or(f64::INFINITY);
        request >= least && (limit == 0 || limit >= least) && request.max(limit) <= most && {
            request == 0 || limit as f64 / request as f64 <= ratio
        }
    })
}

fn total(demands: &[Demand], untouched: &[Amounts], kind: Kind, pick: Pick) -> u64 {
    let wanted = demands.iter().map(|demand| of(&demand.wanted, kind, pick));
    wanted.fold(sum(untouched, kind, pick), u64::saturating_add)
}

fn of(amounts: &Amounts, kind: Kind, pick: Pick) -> u64 {
    (*pick(&mut amounts.pair(kind))).unwrap_or_default()
}

/// Raises what is too little together: towards what was asked for, then the largest on its own.
fn raise(demands: &mut [Demand], untouched: &[Amounts], kind: Kind, min: u64) {
    let limits = total(demands, untouched, kind, LIMIT);
    let requests = total(demands, untouched, kind, REQUEST);
    // Limits that nobody states are not checked.
    let missing_limits = if limits > 0 { min.saturating_sub(limits) } else { 0 };
    for (pick, missing) in [(LIMIT, missing_limits), (REQUEST, min.saturating_sub(requests))] {
        let asked_for = |demand: &Demand| of(&demand.least, kind, pick).saturating_sub(of(&demand.wanted, kind, pick));
        let left = spread(demands, kind, pick, missing, asked_for);
        let largest = demands.iter_mut().max_by_key(|demand| of(&demand.wanted, kind, pick));
        if let Some(largest) = largest {
            add(largest, kind, pick, left);
        }
    }
}

/// Raises requests where limits are too many times as large together.
fn narrow(demands: &mut [Demand], untouched: &[Amounts], kind: Kind, ratio: f64) {
    let total = |pick| total(demands, untouched, kind, pick);
    let least = (total(LIMIT) as f64 / ratio).ceil() as u64;
    let missing = least.saturating_sub(total(REQUEST));
    let below_limit = |demand: &Demand| {
        let (request, limit) = (of(&demand.wanted, kind, REQUEST), of(&demand.wanted, kind, LIMIT));
        limit.saturating_sub(request)
    };
    spread(demands, kind, REQUEST, missing, below_limit);
}

/// Adds an amount to demands, in proportion to the room that each has; what is left over where there is too little.
fn spread(demands: &mut [Demand], kind: Kind, pick: Pick, missing: u64, room: impl Fn(&Demand) -> u64) -> u64 {
    let states = |demand: &Demand| pick(&mut demand.wanted.pair(kind)).is_some();
    let rooms: Vec<u64> = demands
        .iter()
        .map(|demand| if states(demand) { room(demand) } else { 0 })
        .collect();
    let all = rooms.iter().copied().fold(0, u64::saturating_add);
    let mut left = missing.min(all);
    let share = left as f64 / all.max(1) as f64;
    for (demand, room) in demands.iter_mut().zip(rooms) {
        let more = ((room as f64 * share).ceil() as u64).min(left).min(room);
        add(demand, kind, pick, more);
        left -= more;
    }
    missing.saturating_sub(all)
}

fn add(demand: &mut Demand, kind: Kind, pick: Pick, more: u64) {
    let pair = demand.wanted.pair_mut(kind);
    let amount = pick(pair);
    *amount = amount.map(|amount| amount.saturating_add(more));
    *pair = pair.consistent();
}
