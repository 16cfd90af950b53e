//! The first page: objectives and workloads at a glance.

use maud::{Markup, html};

use super::cost::Cost;
use super::data::{CostView, ObjectiveView, Overview, WorkloadView};
use super::html::{Told, becomes, budget, cores, document, duration, saving, share, state, verdict};
use crate::core::readout::Verdict;
use crate::report::words;

/// The page.
pub fn page(view: &Overview, told: Told) -> Markup {
    document(
        "Overview",
        "",
        "json",
        told,
        html! {
            h1 { "What is promised, and what it takes" }
            (summary(view))
            (objectives(&view.objectives))
            (workloads(&view.workloads))
        },
    )
}

fn summary(view: &Overview) -> Markup {
    let live = view.workloads.iter().filter(|workload| workload.live).count();
    let missed = view
        .objectives
        .iter()
        .filter(|one| one.worst().is_some_and(|worst| worst.error_budget_left < 0.0));
    html! {
        dl.tiles {
            div { dt { "Objectives" } dd { (view.objectives.len()) } dd.note { (missed.count()) " with the hour's budget overspent" } }
            div { dt { "Workloads" } dd { (view.workloads.len()) } dd.note { (modes(live, view.workloads.len())) } }
            (requested("Requested now", &view.cost, &view.cost.current, None))
            (requested("With every recommendation", &view.cost, &view.cost.recommended, Some(saving(&view.cost))))
        }
    }
}

fn requested(title: &str, view: &CostView, cost: &Cost, change: Option<String>) -> Markup {
    html! {
        div {
            dt { (title) }
            dd { (cores(cost.cpu_cores)) }
            dd.note { "and " (words::gibibytes(cost.memory_bytes)) " of memory" }
            @if let Some(month) = view.month(cost) { dd.note { (month) } }
            @if let Some(change) = change { dd.note { "cost: " (change) } }
        }
    }
}

/// How many workloads are live.
fn modes(live: usize, all: usize) -> String {
    match live {
        0 => "recommended only".to_owned(),
        live if live == all => "all of them live".to_owned(),
        live => format!("{live} live, the others recommended only"),
    }
}

fn objectives(all: &[ObjectiveView]) -> Markup {
    html! {
        section aria-labelledby="objectives" {
            h2 #objectives { "Objectives" }
            @if all.is_empty() {
                p.empty { "There is no ServiceLevelObjective yet. Apply one, and label a Deployment with what it selects." }
            } @else {
                div.scroll { table {
                    thead { tr { th { "ServiceLevelObjective" } th { "Asks" } th { "Now" } th.number { "Observed" } th.number { "Compliance" } th { "Error budget, last hour" } } }
                    tbody { @for one in all { (objective(one)) } }
                } }
            }
        }
    }
}

fn objective(one: &ObjectiveView) -> Markup {
    let link = format!("objectives/{}/{}", one.namespace, one.name);
    html! {
        tr {
            th scope="row" { a href=(link) { span.namespace { (one.namespace) "/" } (one.name) } }
            td { @for asks in &one.asks { div { (asks) } } }
            @match (&one.error, one.worst()) {
                (Some(error), _) => td colspan="4" { span.badge.bad { "not in force" } " " (error) },
                (None, None) => td colspan="4" { @if one.deployments.is_empty() { "matches no Deployment" } @else { "no requests yet" } },
                (None, Some(worst)) => {
                    td { (verdict(worst)) }
                    td.number { (duration(worst.recent_latency_seconds)) }
                    td.number { (share(worst.compliance)) }
                    td { (budget(worst.error_budget_left)) }
                },
            }
        }
    }
}

fn workloads(all: &[WorkloadView]) -> Markup {
    html! {
        section aria-labelledby="workloads" {
            h2 #workloads { "Workloads" }
            @if all.is_empty() {
                p.empty { "No Deployment is selected by an objective." }
            } @else {
                div.scroll { table {
                    thead { tr { th { "Deployment" } th { "Model" } th.number { "Load" } th.number { "Latency" } th.number { "Replicas" } th.number { "CPU request" } th.number { "Memory request" } th.number { "Cost" } th { "Decided by" } } }
                    tbody { @for one in all { (workload(one)) } }
                } }
            }
        }
    }
}

fn workload(one: &WorkloadView) -> Markup {
    let link = format!("workloads/{}/{}", one.namespace, one.name);
    let app = one.containers.first();
    let recommended = one.replicas.recommended.map(|replicas| replicas.to_string());
    html! {
        tr {
            th scope="row" {
                a href=(link) { span.namespace { (one.namespace) "/" } (one.name) }
                @if one.live { " " span.badge.live { "live" } }
            }
            td { (state(one)) }
            td.number { (one.load_per_second.map_or_else(|| "–".to_owned(), words::rate)) }
            td.number { (latency(one)) }
            td.number { (becomes(&one.replicas.current.to_string(), recommended)) }
            td.number { @if let Some(app) = app { (becomes(&app.current.cpu_request(), app.recommended.cpu_request_or_none())) } }
            td.number { @if let Some(app) = app { (becomes(&app.current.memory_request(), app.recommended.memory_request_or_none())) } }
            td.number { (saving(&one.cost)) }
            td { (one.explanation.bound_in_short) }
        }
    }
}

/// What was observed of the objective that is kept worst, beside what it asks.
fn latency(one: &WorkloadView) -> Markup {
    let worst = one
        .worst()
        .and_then(|worst| Some((worst, worst.recent_latency_seconds?)));
    html! {
        @match worst {
            None => "–",
            Some((worst, seconds)) => {
                span class=(if worst.verdict == Verdict::Violated { "missed" } else { "" }) { (words::seconds(seconds)) }
                span.was { " of " (words::seconds(worst.response_time_seconds)) }
            },
        }
    }
}
