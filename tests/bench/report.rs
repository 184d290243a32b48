//! What a run measured: printed as a table beside the last run, and saved for the next.

use super::curve::{self, Curve, PARTS};
use super::plot;
use serde_json::{json, Value};
use std::path::PathBuf;

/// One measured value.
pub struct Figure {
    pub name: String,
    /// Subscribers that it was measured with.
    pub subscribers: usize,
    pub value: f64,
    /// Whether more is better.
    pub more_is_better: bool,
}

impl Figure {
    /// A value of which more is better.
    pub fn more(name: impl Into<String>, subscribers: usize, value: f64) -> Figure {
        Figure {
            name: name.into(),
            subscribers,
            value,
            more_is_better: true,
        }
    }

    /// A value of which less is better.
    pub fn less(name: impl Into<String>, subscribers: usize, value: f64) -> Figure {
        Figure {
            more_is_better: false,
            ..Figure::more(name, subscribers, value)
        }
    }
}

/// All values of a run.
#[derive(Default)]
pub struct Run {
    pub figures: Vec<Figure>,
    /// Those of the curves.
    traced: Vec<Figure>,
    curves: Vec<Curve>,
}

impl Run {
    pub fn add(&mut self, figure: Figure) {
        eprintln!(
            "{} at {}: {}",
            figure.name,
            figure.subscribers,
            short(figure.value)
        );
        self.figures.push(figure);
    }

    /// Adds latencies at several rates. They have a plot of their own.
    pub fn trace(&mut self, curve: Curve) {
        for point in &curve.points {
            for ((part, _), latency) in PARTS.iter().zip(point.latencies) {
                let (link, percent) = (curve.link, point.percent);
                let name = format!("latency {part} over {link} at {percent} %, ms");
                self.traced
                    .push(Figure::less(name, curve.subscribers, latency));
            }
        }
        self.curves.push(curve);
    }

    fn all(&self) -> impl Iterator<Item = &Figure> {
        self.figures.iter().chain(&self.traced)
    }
}

/// Prints the table, and saves the run and its plots. What was not measured stays as it was.
pub fn finish(run: &Run) {
    let last = std::fs::read(folder().join("last.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .unwrap_or_else(|| json!({}));
    println!("| figure | subscribers | now | last run | change |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for figure in run.all() {
        let then = last[&figure.name][figure.subscribers.to_string()].as_f64();
        println!(
            "| {} | {} | {} | {} | {} |",
            figure.name,
            figure.subscribers,
            short(figure.value),
            then.map_or("-".into(), short),
            then.map_or("-".into(), |then| change(figure, then)),
        );
    }
    println!();
    let mut record = last.clone();
    for figure in run.all() {
        record[&figure.name][figure.subscribers.to_string()] = json!(figure.value);
    }
    save("last.json", &format!("{record:#}\n"));
    save("bench.svg", &plot::draw(run, &last));
    if !run.curves.is_empty() {
        save("latency.svg", &curve::draw(&run.curves));
    }
}

fn save(name: &str, text: &str) {
    let path = folder().join(name);
    std::fs::write(&path, text).expect("the results can be saved");
    println!("saved: {}", path.display());
}

/// Where results are kept.
pub fn folder() -> PathBuf {
    // The test binary is in target/release/deps/.
    let program = std::env::current_exe().expect("a program knows its path");
    let target = program.ancestors().nth(3).expect("it is in target/");
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).expect("the folder of the results can be made");
    folder
}

fn change(figure: &Figure, then: f64) -> String {
    // From nothing to something there is no percentage.
    if then == 0.0 {
        return "-".into();
    }
    let percent = (figure.value / then - 1.0) * 100.0;
    let is_better = (percent > 0.0) == figure.more_is_better;
    let word = if percent.abs() < 5.0 {
        ""
    } else if is_better {
        " better"
    } else {
        " worse"
    };
    format!("{percent:+.0} %{word}")
}

/// A number with three or so digits that say something.
pub fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 10_000.0 => format!("{:.0} k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}
