//! Latency against load as SVG: the model's curve, its bound, what was seen, and where the objective lies.

use maud::{Markup, html};

use super::data::CurveView;
use crate::core::readout::CurvePoint;
use crate::report::words;

/// Load is drawn per minute, as objectives state it.
const MINUTE: f64 = 60.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
/// Room above the drawing for each label of a mark.
const LABEL: f64 = 18.0;
const BOTTOM: f64 = 44.0;
/// About how wide a letter of a label is.
const LETTER: f64 = 7.2;

/// A drawing for wide windows and one for narrow ones: text cannot shrink with the window and still be read.
const WIDE: Frame = Frame {
    class: "wide",
    width: 1040.0,
    height: 380.0,
    steps: 8.0,
};
const NARROW: Frame = Frame {
    class: "narrow",
    width: 420.0,
    height: 360.0,
    steps: 4.0,
};

/// A size of the drawing.
#[derive(Clone, Copy, Debug)]
struct Frame {
    class: &'static str,
    width: f64,
    height: f64,
    /// About how many steps the axis of the load has.
    steps: f64,
}

/// From measured values to places in the drawing.
#[derive(Clone, Copy, Debug)]
struct Scale {
    frame: Frame,
    top: f64,
    load_step: f64,
    most_load: f64,
    latency_step: f64,
    most_latency: f64,
}

impl Scale {
    /// Shows every load of interest, and latencies up to two and a half times the objective at the most: beyond
    /// that the curve only goes up.
    fn of(curve: &CurveView, frame: Frame) -> Self {
        let seen = curve.observed.iter().map(|point| point.load_per_second);
        let marks = marks(curve).into_iter().map(|mark| mark.load_per_second * 1.08);
        let interesting = seen.chain(marks).fold(0.0, f64::max);
        let highest = curve
            .observed
            .iter()
            .map(|point| point.latency_seconds)
            .fold(0.0, f64::max);
        let objective = curve.response_time_seconds;
        let latency_step = step((highest * 1.1).clamp(objective * 1.5, objective * 2.5) / 5.0);
        let most_latency = up_to((highest * 1.1).clamp(objective * 1.5, objective * 2.5), latency_step);
        // The curve is of interest up to where it leaves the drawing.
        let leaves = curve.points.iter().find(|point| point.latency_seconds > most_latency);
        let leaves = leaves
            .or(curve.points.last())
            .map_or(0.0, |point| point.load_per_second);
        let most = (interesting.max(leaves) * MINUTE).max(1.0);
        let load_step = step(most / frame.steps);
        Self {
            frame,
            top: 10.0 + LABEL * marks_of(curve),
            load_step,
            most_load: up_to(most, load_step),
            latency_step,
            most_latency,
        }
    }

    fn right(&self) -> f64 {
        self.frame.width - RIGHT
    }

    fn bottom(&self) -> f64 {
        self.frame.height - BOTTOM
    }

    fn x(&self, load_per_second: f64) -> f64 {
        LEFT + (self.right() - LEFT) * (load_per_second * MINUTE / self.most_load).clamp(0.0, 1.0)
    }

    /// Whether a latency lies above what is drawn; a curve ends there instead of running along the edge.
    fn beyond(&self, latency_seconds: f64) -> bool {
        latency_seconds > self.most_latency
    }

    fn y(&self, latency_seconds: f64) -> f64 {
        self.bottom() - (self.bottom() - self.top) * (latency_seconds / self.most_latency).clamp(0.0, 1.0)
    }
}

/// The next number of the form 1, 2, 2.5 or 5 times a power of ten.
fn step(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .map(|step| step * power)
        .find(|candidate| *candidate >= value * 0.999_999)
        .unwrap_or(power * 10.0)
}

/// The first multiple of the step that is not below the value.
fn up_to(value: f64, step: f64) -> f64 {
    (value / step - 1e-9).ceil() * step
}

/// Every multiple of the step from 0 to the end.
fn ticks(end: f64, step: f64) -> impl Iterator<Item = f64> {
    let count = (end / step).round() as u32;
    (0..=count).map(move |index| f64::from(index) * step)
}

/// The chart with its legend.
pub fn chart(curve: &CurveView) -> Markup {
    html! {
        figure {
            (drawing(curve, WIDE))
            (drawing(curve, NARROW))
            figcaption { (legend(curve, Scale::of(curve, WIDE).most_latency)) }
        }
    }
}

fn drawing(curve: &CurveView, frame: Frame) -> Markup {
    let scale = Scale::of(curve, frame);
    html! {
        svg class=(frame.class) viewBox=(format!("0 0 {} {}", frame.width, frame.height)) role="img" aria-label=(description(curve)) {
            (axes(&scale))
            @if !curve.points.is_empty() {
                path.band d=(band(curve, &scale)) {}
                path.bound d=(line(curve, &scale, |point| point.planned_bound_seconds)) {}
                path.model d=(line(curve, &scale, |point| point.latency_seconds)) {}
            }
            (observed(curve, &scale))
            (objective(curve, &scale))
            (vertical(curve, &scale))
        }
    }
}

/// The chart in a sentence, for those who do not see it.
fn description(curve: &CurveView) -> String {
    let safe = match curve.safe_load_per_second {
        None => "The load at which it would be missed is not known yet.".to_owned(),
        Some(load) if never(load) => NEVER.to_owned(),
        Some(load) => format!(
            "At the present replicas and size it is expected to hold up to {}.",
            words::rate(load)
        ),
    };
    let present = curve
        .load_per_second
        .map_or_else(String::new, |load| format!(" The load is {} now.", words::rate(load)));
    format!("Latency against load. Objective: {}. {safe}{present}", curve.asks)
}

fn axes(scale: &Scale) -> Markup {
    html! {
        g.axes {
            @for latency in ticks(scale.most_latency, scale.latency_step) {
                line x1=(LEFT) x2=(scale.right()) y1=(at(scale.y(latency))) y2=(at(scale.y(latency))) {}
                text x=(LEFT - 8.0) y=(at(scale.y(latency) + 4.0)) text-anchor="end" { (words::seconds(latency)) }
            }
            @for load in ticks(scale.most_load, scale.load_step) {
                @let x = scale.x(load / MINUTE);
                line.tick x1=(at(x)) x2=(at(x)) y1=(scale.bottom()) y2=(scale.bottom() + 5.0) {}
                text x=(at(x.min(scale.right() - 6.0))) y=(scale.bottom() + 19.0) text-anchor="middle" { (words::number(load)) }
            }
            text.title x=(at(f64::midpoint(LEFT, scale.right()))) y=(scale.frame.height - 6.0) text-anchor="middle" {
                "load of the Deployment, requests per minute"
            }
        }
    }
}

fn objective(curve: &CurveView, scale: &Scale) -> Markup {
    let y = scale.y(curve.response_time_seconds);
    html! {
        line.objective x1=(LEFT) x2=(scale.right()) y1=(at(y)) y2=(at(y)) {}
        text.objective x=(LEFT + 8.0) y=(at(y - 7.0)) {
            "objective: p" (words::number(curve.percentile * 100.0)) " " (words::seconds(curve.response_time_seconds))
        }
    }
}

/// What is said where the objective is not sure to hold at any load.
const NEVER: &str = "The bound is above the objective at every load.";

/// Whether a safe load is as good as none.
fn never(per_second: f64) -> bool {
    per_second * MINUTE < 1.0
}

/// A load that is marked by a vertical line.
struct Mark {
    class: &'static str,
    label: String,
    load_per_second: f64,
}

/// The present load, and the loads up to which the objective is expected to hold, now and as recommended.
fn marks(curve: &CurveView) -> Vec<Mark> {
    let mark = |class, label: &str, load: Option<f64>| {
        load.filter(|load| class == "present" || !never(*load))
            .map(|load| Mark {
                class,
                label: format!("{label} {}", words::rate(load)),
                load_per_second: load,
            })
    };
    let recommended = curve.recommended_replicas.map_or_else(String::new, |replicas| {
        format!(
            "safe with {replicas} replica{} up to",
            if replicas == 1 { "" } else { "s" }
        )
    });
    let all = [
        mark("present", "now", curve.load_per_second),
        mark("safe", "safe up to", curve.safe_load_per_second),
        mark("recommended", &recommended, curve.recommended_safe_load_per_second),
    ];
    let mut all: Vec<_> = all.into_iter().flatten().collect();
    // The label of the leftmost is on top, where the lines of the others do not reach.
    all.sort_by(|a, b| a.load_per_second.total_cmp(&b.load_per_second));
    all
}

/// Rows of labels above the drawing.
fn marks_of(curve: &CurveView) -> f64 {
    marks(curve).len() as f64
}

/// The marks, each label in a row of its own above the drawing, to the right where there is room.
fn vertical(curve: &CurveView, scale: &Scale) -> Markup {
    html! {
        @for (row, mark) in marks(curve).iter().enumerate() {
            @let x = scale.x(mark.load_per_second);
            @let y = LABEL * row as f64 + 14.0;
            @let left = x + LETTER * mark.label.len() as f64 > scale.right();
            line class=(mark.class) x1=(at(x)) x2=(at(x)) y1=(at(y - 11.0)) y2=(at(scale.bottom())) {}
            text class=(mark.class) x=(at(if left { x - 6.0 } else { x + 6.0 })) y=(at(y))
                text-anchor=(if left { "end" } else { "start" }) { (mark.label) }
        }
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

fn legend(curve: &CurveView, most_latency: f64) -> Markup {
    let missed = |point: &crate::core::readout::ObservedPoint| point.latency_seconds > curve.response_time_seconds;
    html! {
        @if curve.points.is_empty() {
            span { "The model has no curve yet." }
        } @else {
            span { i.key.model {} "predicted" }
            span { i.key.bound {} "the bound that is planned by" }
        }
        span { i.key.seen {} "observed (larger: more requests)" }
        @if curve.safe_load_per_second.is_some_and(never) { span { (NEVER) } }
        @if curve.observed.iter().any(|point| point.latency_seconds > most_latency) { span { "at the upper edge: slower still" } }
        @if curve.observed.iter().any(missed) { span { i.key.missed {} "observed, too slow" } }
    }
}

fn line(curve: &CurveView, scale: &Scale, latency: fn(&CurvePoint) -> f64) -> String {
    path(drawn(curve, scale, latency).into_iter())
}

/// The area between the prediction and its upper bound.
fn band(curve: &CurveView, scale: &Scale) -> String {
    let upper = drawn(curve, scale, |point| point.planned_bound_seconds);
    let lower = drawn(curve, scale, |point| point.latency_seconds);
    path(upper.into_iter().chain(lower.into_iter().rev())) + "Z"
}

/// The places of a curve up to where it leaves the drawing.
fn drawn(curve: &CurveView, scale: &Scale, latency: fn(&CurvePoint) -> f64) -> Vec<(f64, f64)> {
    let last = curve.points.iter().position(|point| scale.beyond(latency(point)));
    let inside = last.unwrap_or(curve.points.len());
    let places = curve.points[..inside].iter();
    let mut places: Vec<_> = places
        .map(|point| (scale.x(point.load_per_second), scale.y(latency(point))))
        .collect();
    if let (Some(before), Some(after)) = (inside.checked_sub(1), last) {
        places.push(edge(&curve.points[before], &curve.points[after], scale, latency));
    }
    places
}

/// Where the line between two points crosses the upper edge.
fn edge(before: &CurvePoint, after: &CurvePoint, scale: &Scale, latency: fn(&CurvePoint) -> f64) -> (f64, f64) {
    let share = (scale.most_latency - latency(before)) / (latency(after) - latency(before));
    let load = before.load_per_second + share * (after.load_per_second - before.load_per_second);
    (scale.x(load), scale.y(scale.most_latency))
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
    fn axes_have_round_steps() {
        for (value, expected) in [(1.0, 1.0), (0.023, 0.025), (1234.0, 2000.0), (9.1, 10.0), (0.1, 0.1)] {
            assert!(
                (step(value) - expected).abs() < expected * 1e-9,
                "{value}: {}",
                step(value)
            );
        }
        assert!((up_to(6049.0, 1000.0) - 7000.0).abs() < 1e-6 && (up_to(0.15, 0.05) - 0.15).abs() < 1e-9);
        assert_eq!(ticks(0.15, 0.05).count(), 4);
    }

    #[test]
    fn a_curve_ends_on_the_edge() {
        let point = |load_per_second: f64, latency_seconds: f64| CurvePoint {
            load_per_second,
            latency_seconds,
            upper_bound_seconds: latency_seconds,
            planned_bound_seconds: latency_seconds,
        };
        let scale = Scale {
            frame: WIDE,
            top: 0.0,
            load_step: 60.0,
            most_load: 600.0,
            latency_step: 0.1,
            most_latency: 0.2,
        };
        let (x, y) = edge(&point(1.0, 0.1), &point(3.0, 0.3), &scale, |point| {
            point.latency_seconds
        });
        assert!((x - scale.x(2.0)).abs() < 1e-9 && (y - scale.top).abs() < 1e-9);
    }
}
