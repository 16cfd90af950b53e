//! The page of one workload and the page of one objective.

use maud::{Markup, html};

use super::chart::chart;
use super::data::{ComplianceView, ContainerView, ExplanationView, ObjectiveView, WorkloadView};
use super::html::{Told, becomes, budget, compared, document, duration, priced, share, state, verdict};
use crate::report::words;

/// The page of a workload.
pub fn workload(one: &WorkloadView, told: Told) -> Markup {
    let twin = format!("../../json/workloads/{}/{}", one.namespace, one.name);
    document(
        &one.name,
        "../../",
        &twin,
        told,
        html! {
            h1 { span.namespace { (one.namespace) "/" } (one.name) " " @if one.live { span.badge.live { "live" } } @else { span.badge.unknown { "recommended only" } } }
            p.lead { (one.explanation.summary) }
            @for remark in &one.remarks { p.remark role="note" { (remark) } }
            @for flag in &one.explanation.flags { p.remark role="note" { (flag) } }
            (tiles(one))
            @for curve in &one.curves {
                section { h2 { "Latency against load: " (curve.asks) } (chart(curve)) }
            }
            (sizes(one))
            (why(&one.explanation))
            (kept(&one.objectives))
            (numbers("The model in numbers", &one.model))
        },
    )
}

/// The page of an objective.
pub fn objective(one: &ObjectiveView, told: Told) -> Markup {
    let twin = format!("../../json/objectives/{}/{}", one.namespace, one.name);
    document(
        &one.name,
        "../../",
        &twin,
        told,
        html! {
            h1 { span.namespace { (one.namespace) "/" } (one.name) }
            @for asks in &one.asks { p.lead { (asks) } }
            @if let Some(error) = &one.error { p.remark role="note" { "Not in force: " (error) } }
            @if one.deployments.is_empty() { p.empty { "It matches no Deployment." } } @else { (keepers(one)) }
        },
    )
}

/// The Deployments of an objective, with how each keeps it.
fn keepers(one: &ObjectiveView) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "Deployment" } th { "Asks" } (kept_headings()) } }
            tbody { @for kept in &one.deployments {
                @let link = format!("../../workloads/{}/{}", one.namespace, kept.deployment);
                @if kept.objectives.is_empty() {
                    tr { th scope="row" { a href=(link) { (kept.deployment) } } td colspan="6" { "nothing has been measured yet" } }
                }
                @for objective in &kept.objectives {
                    tr { th scope="row" { a href=(link) { (kept.deployment) } } td { (objective.asks) } (kept_cells(objective)) }
                }
            } }
        } }
    }
}

fn tiles(one: &WorkloadView) -> Markup {
    let recommended = one.replicas.recommended.map(|replicas| replicas.to_string());
    html! {
        dl.tiles {
            div { dt { "Model" } dd { (state(one)) } dd.note { (one.state_meaning) } }
            div {
                dt { "Load" }
                dd { (one.load_per_second.map_or_else(|| "–".to_owned(), words::rate)) }
                dd.note { (serving(one.ready_pods)) }
                @if let Some(load) = one.planned_load_per_second() { dd.note { "planned for " (words::rate(load)) } }
            }
            div { dt { "Replicas" } dd { (becomes(&one.replicas.current.to_string(), recommended)) } dd.note { (written(one.replicas.original)) } }
            (expense(one))
        }
    }
}

fn serving(pods: u32) -> String {
    match pods {
        0 => "no pod serves it".to_owned(),
        1 => "1 pod serves it".to_owned(),
        pods => format!("{pods} pods serve it"),
    }
}

fn written(original: Option<u32>) -> String {
    original.map_or_else(String::new, |replicas| {
        format!("{replicas} as written in the Deployment")
    })
}

fn expense(one: &WorkloadView) -> Markup {
    let cost = &one.cost;
    html! {
        div {
            dt { "Cost" }
            dd { (compared(cost)) }
            @if cost.original.core_equivalents > 0.0 { dd.note { "as written: " (priced(cost, &cost.original)) } }
            @if cost.current.core_equivalents > 0.0 { dd.note { "now: " (priced(cost, &cost.current)) } }
            @if cost.current != cost.recommended { dd.note { "recommended: " (priced(cost, &cost.recommended)) } }
        }
    }
}

fn sizes(one: &WorkloadView) -> Markup {
    html! {
        section aria-labelledby="sizes" {
            h2 #sizes { "Requests and limits" }
            div.scroll { table.groups {
                thead { tr { th { "Container" } th { "" } th.number { "CPU request" } th.number { "CPU limit" } th.number { "Memory request" } th.number { "Memory limit" } } }
                @for container in &one.containers { tbody { (size(container)) } }
            } }
        }
    }
}

fn size(container: &ContainerView) -> Markup {
    let rows = [
        ("as written", container.original),
        ("now", container.current),
        ("recommended", container.recommended),
    ];
    html! {
        @for (index, (when, amounts)) in rows.into_iter().enumerate() {
            tr class=(if index == 2 { "recommended" } else { "" }) {
                @if index == 0 { th scope="rowgroup" rowspan="3" { (container.name) } }
                td { (when) }
                td.number { (amounts.cpu_request()) }
                td.number { (amounts.cpu_limit()) }
                td.number { (amounts.memory_request()) }
                td.number { (amounts.memory_limit()) }
            }
        }
    }
}

fn why(explanation: &ExplanationView) -> Markup {
    html! {
        section aria-labelledby="why" {
            h2 #why { "Why this number" }
            dl.why {
                dt { "Decided by" } dd { (explanation.bound_meaning) }
                @if !explanation.next_smaller.is_empty() { dt { "One step smaller" } dd { (explanation.next_smaller) } }
                dt { "What would change it" } dd { (explanation.remedy) }
            }
            (numbers("From these inputs", &explanation.inputs))
        }
    }
}

fn numbers(title: &str, all: &std::collections::BTreeMap<String, f64>) -> Markup {
    html! {
        @if !all.is_empty() {
            details {
                summary { (title) }
                table.numbers { tbody {
                    @for (name, value) in all {
                        @let (label, text) = words::measure(name, *value);
                        tr { th scope="row" { (label) } td.number { (text) } }
                    }
                } }
            }
        }
    }
}

fn kept(all: &[ComplianceView]) -> Markup {
    html! {
        section aria-labelledby="kept" {
            h2 #kept { "How the objectives are kept" }
            (compliance(all))
        }
    }
}

fn compliance(all: &[ComplianceView]) -> Markup {
    html! {
        @if all.is_empty() { p.empty { "Nothing has been measured yet." } } @else {
            div.scroll { table {
                thead { tr { th { "Objective" } (kept_headings()) } }
                tbody { @for one in all {
                    tr { th scope="row" { (one.slo) ": " (one.asks) } (kept_cells(one)) }
                } }
            } }
        }
    }
}

fn kept_headings() -> Markup {
    html! { th { "Last minutes" } th.number { "Requests" } th.number { "Observed" } th.number { "Compliance" } th { "Error budget, last hour" } }
}

fn kept_cells(one: &ComplianceView) -> Markup {
    html! {
        td { (verdict(one)) }
        td.number { (words::number(one.recent_requests as f64)) }
        td.number { (duration(one.recent_latency_seconds)) }
        td.number { (share(one.compliance)) }
        td { @if one.compliance.is_some() { (budget(one.error_budget_left)) } @else { "–" } }
    }
}
