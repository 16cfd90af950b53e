//! The day as a plot: memory, and the pods that came and went meanwhile.

use std::fmt::Write as _;

use super::Sample;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;
const MEMORY: &str = "#0b6e4f";
const PODS: &str = "#9a9a9a";

/// One line for the resident memory, which has to be flat, and one for the pods admitted, which grows.
pub fn svg(samples: &[Sample]) -> String {
    let most_memory = ceiling(samples.iter().map(|sample| sample.resident_megabytes));
    let most_pods = ceiling(samples.iter().map(|sample| sample.admissions as f64));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"22\" \
         font-size=\"15\">A day of rollouts: resident memory</text>\n"
    );
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let y = y(share);
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e5e5e5\"/>",
            WIDTH - RIGHT
        );
        label(
            &mut text,
            LEFT - 6.0,
            y + 4.0,
            "end",
            MEMORY,
            &format!("{:.0}", share * most_memory),
        );
        label(
            &mut text,
            WIDTH - RIGHT + 6.0,
            y + 4.0,
            "start",
            PODS,
            &format!("{:.0}", share * most_pods),
        );
    }
    for hour in (0..=24).step_by(4) {
        label(
            &mut text,
            x(f64::from(hour)),
            HEIGHT - BOTTOM + 18.0,
            "middle",
            "#777",
            &format!("{hour} h"),
        );
    }
    label(&mut text, LEFT, TOP - 6.0, "start", MEMORY, "megabytes");
    label(&mut text, WIDTH - RIGHT, TOP - 6.0, "end", PODS, "pods admitted");
    line(&mut text, PODS, 1.5, samples, |sample| {
        sample.admissions as f64 / most_pods
    });
    line(&mut text, MEMORY, 2.4, samples, |sample| {
        sample.resident_megabytes / most_memory
    });
    text.push_str("</svg>\n");
    text
}

/// A round number above all of these.
fn ceiling(values: impl Iterator<Item = f64>) -> f64 {
    let most = values.fold(1.0, f64::max) * 1.1;
    let step = 10_f64.powf(most.log10().floor()) / 2.0;
    (most / step).ceil() * step
}

fn x(hour: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * hour / 24.0
}

fn y(share: f64) -> f64 {
    HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
}

fn label(text: &mut String, x: f64, y: f64, anchor: &str, colour: &str, words: &str) {
    let _ = writeln!(
        text,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>"
    );
}

fn line(text: &mut String, colour: &str, width: f64, samples: &[Sample], share: impl Fn(&Sample) -> f64) {
    let points: Vec<String> = samples
        .iter()
        .map(|sample| format!("{:.1},{:.1}", x(sample.hour), y(share(sample))))
        .collect();
    let _ = writeln!(
        text,
        "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" points=\"{}\"/>",
        points.join(" ")
    );
}
