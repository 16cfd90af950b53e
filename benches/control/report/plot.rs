//! A plot of one scenario: load, replicas and p99 over time.

use std::fmt::Write as _;

use super::summary::Series;
use crate::scenario::Scenario;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const PANEL: f64 = 170.0;
const GAP: f64 = 40.0;
const COLOURS: [&str; 11] = [
    "#0b6e4f", "#9ecae1", "#3182bd", "#08306b", "#fdae6b", "#e6550d", "#dd3497", "#bcbd22", "#969696", "#525252",
    "#000000",
];

/// How far above the first course anything is drawn, as a factor of its highest.
const CUT: f64 = 2.0;

struct Panel<'a> {
    title: &'a str,
    lines: Vec<(&'static str, f64, &'a [f64])>,
    mark: Option<f64>,
    most: f64,
}

/// The plot of all courses.
pub fn svg(scenario: &Scenario, courses: &[(String, &Series)]) -> String {
    let objective = scenario.response_time_seconds;
    let height = 40.0 + 4.0 * (PANEL + GAP);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"22\" \
         font-size=\"15\">{}: p{:.0} within {:.0} ms</text>\n",
        scenario.name,
        100.0 * scenario.percentile,
        1000.0 * objective,
    );
    let load: &[f64] = courses.first().map_or(&[], |(_, series)| &series.load);
    let of = |number: for<'b> fn(&'b Series) -> &'b [f64]| -> Vec<(&'static str, f64, &[f64])> {
        courses
            .iter()
            .enumerate()
            .map(|(index, (name, series))| (colour(index), thickness(name), number(series)))
            .collect()
    };
    let panels = [
        Panel {
            title: "requests per second",
            lines: vec![("#444444", 1.2, load)],
            mark: None,
            most: f64::INFINITY,
        },
        Panel {
            title: "pods ready",
            lines: of(|series| &series.ready),
            mark: None,
            most: legible(courses, |series| &series.ready),
        },
        Panel {
            title: "cores requested",
            lines: of(|series| &series.requested_cores),
            mark: None,
            most: legible(courses, |series| &series.requested_cores),
        },
        Panel {
            title: "p99 of a minute, seconds",
            lines: of(|series| &series.p99_seconds),
            mark: Some(objective),
            most: 3.0 * objective,
        },
    ];
    for (index, panel) in panels.iter().enumerate() {
        draw(&mut text, panel, 40.0 + index as f64 * (PANEL + GAP));
    }
    legend(&mut text, courses);
    text.push_str("</svg>\n");
    text
}

/// Up to where a number is drawn, by the first course: one that is far beyond the others would squeeze them all.
fn legible(courses: &[(String, &Series)], number: fn(&Series) -> &Vec<f64>) -> f64 {
    let first = courses
        .first()
        .map(|(_, series)| number(series).iter().copied().fold(0.0, f64::max));
    first
        .filter(|most| *most > 0.0)
        .map_or(f64::INFINITY, |most| CUT * most)
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

fn thickness(name: &str) -> f64 {
    if name == "Valence" { 2.4 } else { 1.0 }
}

fn draw(text: &mut String, panel: &Panel, top: f64) {
    let values = panel.lines.iter().flat_map(|(_, _, line)| line.iter().copied());
    let highest = values.chain(panel.mark).fold(0.0, f64::max);
    let cut = if highest > panel.most {
        format!(", cut off at {} (up to {})", label(panel.most), label(highest))
    } else {
        String::new()
    };
    let highest = highest.min(panel.most) * 1.05;
    let highest = if highest > 0.0 { highest } else { 1.0 };
    let (bottom, right) = (top + PANEL, WIDTH - RIGHT);
    let y = |value: f64| bottom - PANEL * value.min(highest) / highest;
    let _ = writeln!(
        text,
        "<text x=\"{LEFT}\" y=\"{:.0}\" fill=\"#444\">{}{cut}</text>",
        top - 6.0,
        panel.title
    );
    for quarter in 0..=4 {
        let value = highest * f64::from(quarter) / 4.0;
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#e5e5e5\"/><text x=\"{1}\" y=\"{2:.1}\" \
             text-anchor=\"end\" fill=\"#777\">{3}</text>",
            y(value),
            LEFT - 6.0,
            y(value) + 4.0,
            label(value),
        );
    }
    // The first contestant is drawn last, on top of the others.
    for (stroke, width, line) in panel.lines.iter().rev() {
        let step = (right - LEFT) / line.len().max(1) as f64;
        let points: Vec<String> = line
            .iter()
            .enumerate()
            .map(|(index, &value)| format!("{:.1},{:.1}", LEFT + index as f64 * step, y(value)))
            .collect();
        let _ = writeln!(
            text,
            "<polyline fill=\"none\" stroke=\"{stroke}\" stroke-width=\"{width}\" points=\"{}\"/>",
            points.join(" ")
        );
    }
    if let Some(mark) = panel.mark {
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"red\" stroke-dasharray=\"6 4\"/>",
            y(mark)
        );
    }
}

fn label(value: f64) -> String {
    if value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn legend(text: &mut String, courses: &[(String, &Series)]) {
    for (index, (name, _)) in courses.iter().enumerate() {
        let (x, y) = (WIDTH - RIGHT + 14.0, 60.0 + 20.0 * index as f64);
        let _ = writeln!(
            text,
            "<line x1=\"{x}\" x2=\"{}\" y1=\"{1}\" y2=\"{1}\" stroke=\"{2}\" stroke-width=\"{3}\"/><text x=\"{4}\" y=\"{5}\">{name}</text>",
            x + 22.0,
            y,
            colour(index),
            thickness(name) + 1.0,
            x + 28.0,
            y + 4.0,
        );
    }
}
