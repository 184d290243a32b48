//! The run as an SVG: a panel for each figure, a pair of bars (last run, now) for each number of subscribers.

use super::report::{short, Figure, Run};
use serde_json::Value;
use std::fmt::Write;

const PANEL: (usize, usize) = (300, 190);
const COLUMNS: usize = 3;
const BASE: f64 = 150.0;
const HEIGHT: f64 = 100.0;

/// Draws this run beside the last one, which may be `null`.
pub fn draw(run: &Run, last: &Value) -> String {
    let mut names: Vec<&str> = run.figures.iter().map(|f| f.name.as_str()).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    let rows = names.len().div_ceil(COLUMNS);
    let (width, height) = (PANEL.0 * COLUMNS, PANEL.1 * rows + 30);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"20\" font-size=\"13\">sse-server: grey the last run, blue this one; by number of subscribers</text>\n"
    );
    for (number, name) in names.iter().enumerate() {
        let x = number % COLUMNS * PANEL.0;
        let y = number / COLUMNS * PANEL.1 + 30;
        let figures: Vec<&Figure> = run.figures.iter().filter(|f| f.name == *name).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        panel(&mut svg, name, &figures, &last[*name]);
        let _ = writeln!(svg, "</g>");
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, name: &str, figures: &[&Figure], last: &Value) {
    let then = |figure: &Figure| last[figure.subscribers.to_string()].as_f64().unwrap_or(0.0);
    let most = figures
        .iter()
        .map(|figure| figure.value.max(then(figure)))
        .fold(f64::MIN_POSITIVE, f64::max);
    let wish = match figures.first() {
        Some(figure) if figure.more_is_better => "more is better",
        _ => "less is better",
    };
    let _ = writeln!(
        svg,
        "<text x=\"12\" y=\"16\">{name} <tspan fill=\"#888\">({wish})</tspan></text>"
    );
    for (number, figure) in figures.iter().enumerate() {
        let x = 20 + number * 92;
        bar(svg, x, then(figure) / most, "#bbb");
        bar(svg, x + 26, figure.value / most, "#2563eb");
        let top = BASE - HEIGHT * figure.value / most - 4.0;
        let value = short(figure.value);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{top:.1}\" text-anchor=\"middle\">{value}</text>",
            x + 38
        );
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"166\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
            x + 25,
            figure.subscribers
        );
    }
}

fn bar(svg: &mut String, x: usize, share: f64, colour: &str) {
    let height = HEIGHT * share;
    let y = BASE - height;
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y:.1}\" width=\"24\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}
