//! Latency against load as SVG: the model's curve, its bound, what was seen, and where the objective lies.

use maud::{Markup, html};

use super::data::CurveView;
use crate::core::readout::CurvePoint;
use crate::report::words;

const WIDTH: f64 = 1040.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 44.0;
/// Load is drawn per minute, as objectives state it.
const MINUTE: f64 = 60.0;

/// From measured values to places in the drawing.
#[derive(Clone, Copy, Debug)]
struct Scale {
    most_load: f64,
    most_latency: f64,
}

impl Scale {
    /// Shows every load of interest, and latencies up to two and a half times the objective at the least: beyond
    /// that the curve only goes up.
    fn of(curve: &CurveView) -> Self {
        let seen = curve.observed.iter().map(|point| point.load_per_second);
        let marks = curve
            .load_per_second
            .into_iter()
            .chain(curve.safe_load_per_second.map(|load| load * 1.25));
        let interesting = seen.chain(marks).fold(0.0, f64::max);
        let highest = curve
            .observed
            .iter()
            .map(|point| point.latency_seconds)
            .fold(0.0, f64::max);
        let objective = curve.response_time_seconds;
        let most_latency = nice((highest * 1.1).clamp(objective * 1.5, objective * 2.5));
        // The curve is of interest up to where it leaves the drawing.
        let leaves = curve.points.iter().find(|point| point.latency_seconds > most_latency);
        let leaves = leaves
            .or(curve.points.last())
            .map_or(0.0, |point| point.load_per_second);
        Self {
            most_load: nice((interesting.max(leaves) * MINUTE).max(1.0) * 1.02),
            most_latency,
        }
    }

    fn x(&self, load_per_second: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (load_per_second * MINUTE / self.most_load).clamp(0.0, 1.0)
    }

    /// Whether a latency lies above what is drawn; a curve ends there instead of running along the edge.
    fn beyond(&self, latency_seconds: f64) -> bool {
        latency_seconds > self.most_latency
    }

    fn y(&self, latency_seconds: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (latency_seconds / self.most_latency).clamp(0.0, 1.0)
    }
}

/// The next number of the form 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0]
        .into_iter()
        .map(|step| step * power)
        .find(|candidate| *candidate >= value * 0.999_999)
        .unwrap_or(power * 10.0)
}

/// The chart with its legend.
pub fn chart(curve: &CurveView) -> Markup {
    let scale = Scale::of(curve);
    html! {
        figure {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(description(curve)) {
                (axes(&scale))
                @if !curve.points.is_empty() {
                    path.band d=(band(curve, &scale)) {}
                    path.bound d=(line(curve, &scale, |point| point.upper_bound_seconds)) {}
                    path.model d=(line(curve, &scale, |point| point.latency_seconds)) {}
                }
                (objective(curve, &scale))
                (marks(curve, &scale))
                (observed(curve, &scale))
            }
            figcaption { (legend(curve)) }
        }
    }
}

/// The chart in a sentence, for those who do not see it.
fn description(curve: &CurveView) -> String {
    let safe = curve.safe_load_per_second.map_or_else(
        || "The load at which it would be missed is not known yet.".to_owned(),
        |load| {
            format!(
                "At the present replicas and size it is expected to hold up to {}.",
                words::rate(load)
            )
        },
    );
    let present = curve
        .load_per_second
        .map_or_else(String::new, |load| format!(" The load is {} now.", words::rate(load)));
    format!("Latency against load. Objective: {}. {safe}{present}", curve.asks)
}

fn axes(scale: &Scale) -> Markup {
    let steps = [0.0, 0.25, 0.5, 0.75, 1.0];
    html! {
        g.axes {
            @for step in steps {
                @let latency = step * scale.most_latency;
                line x1=(LEFT) x2=(WIDTH - RIGHT) y1=(at(scale.y(latency))) y2=(at(scale.y(latency))) {}
                text x=(LEFT - 8.0) y=(at(scale.y(latency) + 4.0)) text-anchor="end" { (words::seconds(latency)) }
            }
            @for step in steps {
                @let load = step * scale.most_load / MINUTE;
                text x=(at(scale.x(load))) y=(HEIGHT - BOTTOM + 18.0) text-anchor=(if step < 1.0 { "middle" } else { "end" }) {
                    (words::number(load * MINUTE))
                }
            }
            text.title x=(at(LEFT + (WIDTH - LEFT - RIGHT) / 2.0)) y=(HEIGHT - 6.0) text-anchor="middle" {
                "load of the Deployment, requests per minute"
            }
        }
    }
}

fn objective(curve: &CurveView, scale: &Scale) -> Markup {
    let y = scale.y(curve.response_time_seconds);
    html! {
        line.objective x1=(LEFT) x2=(WIDTH - RIGHT) y1=(at(y)) y2=(at(y)) {}
        text.objective x=(WIDTH - RIGHT - 6.0) y=(at(y - 6.0)) text-anchor="end" {
            "objective: p" (words::number(curve.percentile * 100.0)) " " (words::seconds(curve.response_time_seconds))
        }
    }
}

/// The present load, and the load up to which the objective is expected to hold.
fn marks(curve: &CurveView, scale: &Scale) -> Markup {
    let bottom = HEIGHT - BOTTOM;
    html! {
        @if let Some(load) = curve.safe_load_per_second {
            line.safe x1=(at(scale.x(load))) x2=(at(scale.x(load))) y1=(TOP) y2=(bottom) {}
            (label("safe", scale.x(load), TOP + 4.0, "safe up to", load))
        }
        @if let Some(load) = curve.load_per_second {
            line.present x1=(at(scale.x(load))) x2=(at(scale.x(load))) y1=(TOP) y2=(bottom) {}
            (label("present", scale.x(load), TOP + 20.0, "now", load))
        }
    }
}

/// A label beside a vertical line, on the side where there is room.
fn label(class: &str, x: f64, y: f64, what: &str, load: f64) -> Markup {
    let left = x > WIDTH * 0.7;
    html! {
        text class=(class) x=(at(if left { x - 6.0 } else { x + 6.0 })) y=(at(y + 4.0))
            text-anchor=(if left { "end" } else { "start" }) { (what) " " (words::rate(load)) }
    }
}

fn observed(curve: &CurveView, scale: &Scale) -> Markup {
    let most = curve.observed.iter().map(|point| point.requests).fold(1.0, f64::max);
    html! {
        @for point in &curve.observed {
            @let missed = point.latency_seconds > curve.response_time_seconds;
            circle class=(if missed { "seen missed" } else { "seen" })
                cx=(at(scale.x(point.load_per_second))) cy=(at(scale.y(point.latency_seconds)))
                r=(at(2.5 + 3.0 * (point.requests / most).sqrt())) {
                title {
                    (words::rate(point.load_per_second)) ": " (words::seconds(point.latency_seconds)) ", "
                    (words::percent(point.share_exceeding)) " of " (words::number(point.requests)) " requests too slow"
                }
            }
        }
    }
}

fn legend(curve: &CurveView) -> Markup {
    html! {
        @if curve.points.is_empty() {
            span { "The model has no curve yet." }
        } @else {
            span { i.key.model {} "predicted" }
            span { i.key.bound {} "95% upper bound" }
        }
        span { i.key.seen {} "observed" }
        span { i.key.missed {} "observed, too slow" }
    }
}

fn line(curve: &CurveView, scale: &Scale, latency: fn(&CurvePoint) -> f64) -> String {
    path(drawn(curve, scale, latency).into_iter())
}

/// The area between the prediction and its upper bound.
fn band(curve: &CurveView, scale: &Scale) -> String {
    let upper = drawn(curve, scale, |point| point.upper_bound_seconds);
    let lower = drawn(curve, scale, |point| point.latency_seconds);
    path(upper.into_iter().chain(lower.into_iter().rev())) + "Z"
}

/// The places of a curve up to the first point beyond the drawing, which lies on its edge.
fn drawn(curve: &CurveView, scale: &Scale, latency: fn(&CurvePoint) -> f64) -> Vec<(f64, f64)> {
    let last = curve.points.iter().position(|point| scale.beyond(latency(point)));
    let count = last.map_or(curve.points.len(), |last| last + 1);
    let points = curve.points.iter().take(count);
    points
        .map(|point| (scale.x(point.load_per_second), scale.y(latency(point))))
        .collect()
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let steps = points
        .enumerate()
        .map(|(index, (x, y))| format!("{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' }));
    steps.collect()
}

/// A coordinate with as many digits as a screen can show.
fn at(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_on_round_numbers() {
        for (value, expected) in [(1.0, 1.0), (0.23, 0.25), (1234.0, 1500.0), (9.1, 10.0), (0.1, 0.1)] {
            assert!(
                (nice(value) - expected).abs() < expected * 1e-9,
                "{value}: {}",
                nice(value)
            );
        }
    }
}
