//! Latency against rate, drawn: a panel for each link and number of subscribers, with the offered deliveries a second to the
//! right and the latency upwards, in powers of ten.

use super::report::short;
use std::fmt::{self, Write};

/// One line of the plot for each of `PARTS`.
pub struct Curve {
    /// What is between the server and its clients.
    pub link: &'static str,
    pub subscribers: usize,
    pub points: Vec<Point>,
}

/// What was measured at one rate.
pub struct Point {
    /// Of the most that there was at full speed.
    pub percent: u32,
    /// Deliveries a second that were offered.
    pub rate: f64,
    /// In ms, for each of `PARTS`.
    pub latencies: [f64; 3],
}

/// Names and colours.
pub const PARTS: [(&str, &str); 3] = [("p50", "#2563eb"), ("p99", "#d97706"), ("p99.9", "#dc2626")];

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % ({} deliveries/s):", self.percent, short(self.rate))?;
        for ((part, _), latency) in PARTS.iter().zip(self.latencies) {
            write!(f, " {part} {} ms", short(latency))?;
        }
        Ok(())
    }
}

const PANEL: (f64, f64) = (420.0, 300.0);
const LEFT: f64 = 60.0;
const BASE: f64 = 250.0;
const SIZE: (f64, f64) = (330.0, 210.0);

/// The latencies at the bottom and at the top, as powers of ten of a ms.
const DECADES: (i32, i32) = (-2, 4);

/// The SVG.
pub fn draw(curves: &[Curve]) -> String {
    let (width, height) = (PANEL.0, PANEL.1 * curves.len() as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (number, curve) in curves.iter().enumerate() {
        let y = PANEL.1 * number as f64;
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "<g transform=\"translate(0 {y})\">");
        panel(&mut svg, curve);
        let _ = writeln!(svg, "</g>");
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, curve: &Curve) {
    let last = curve.points.last().map_or(1.0, |point| point.rate);
    let x = |rate: f64| LEFT + SIZE.0 * rate / last;
    let span = f64::from(DECADES.1 - DECADES.0);
    let y = |ms: f64| {
        let share = (ms.log10() - f64::from(DECADES.0)) / span;
        BASE - SIZE.1 * share.clamp(0.0, 1.0)
    };
    text(
        svg,
        (12.0, 20.0),
        "#000",
        &format!(
            "{} subscribers over {}: latency, ms",
            curve.subscribers, curve.link
        ),
    );
    for decade in DECADES.0..=DECADES.1 {
        let ms = 10f64.powi(decade);
        let (y, right) = (y(ms), LEFT + SIZE.0);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>");
        text(svg, (12.0, y + 4.0), "#555", &format!("{ms}"));
    }
    for point in curve.points.iter().step_by(2) {
        text(
            svg,
            (x(point.rate) - 18.0, BASE + 16.0),
            "#555",
            &short(point.rate),
        );
    }
    text(
        svg,
        (LEFT, BASE + 34.0),
        "#555",
        "deliveries/s that were offered",
    );
    for (part, (name, colour)) in PARTS.iter().enumerate() {
        let places = curve.points.iter();
        let places =
            places.map(|point| format!("{:.1},{:.1}", x(point.rate), y(point.latencies[part])));
        let places: Vec<String> = places.collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            places.join(" ")
        );
        text(svg, (270.0 + 40.0 * part as f64, BASE + 34.0), colour, name);
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), colour: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{text}</text>"
    );
}
