//! What a run found, and its three forms: a table for people, JSON for scripts, files for plotters.

use crate::args::OutputArgs;
use crate::error::Fault;
use crate::latency::{Curve, Latencies};
use crate::plot;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Percentiles of every table, with their names in JSON.
const PERCENTILES: [(&str, f64); 5] =
    [("p50_us", 50.0), ("p90_us", 90.0), ("p99_us", 99.0), ("p999_us", 99.9), ("p9999_us", 99.99)];

/// One number: the name carries the unit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) key: &'static str,
    pub(crate) value: f64,
}

/// One measurement of a mode: a rate of a sweep, one side of a comparison.
pub(crate) struct Run {
    pub(crate) name: String,
    figures: Vec<Figure>,
    latencies: Option<Latencies>,
}

impl Run {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), figures: Vec::new(), latencies: None }
    }

    pub(crate) fn add(&mut self, key: &'static str, value: f64) {
        self.figures.push(Figure { key, value });
    }

    /// Counts are exact up to 2^53, more than any run has messages.
    pub(crate) fn add_count(&mut self, key: &'static str, count: u64) {
        self.add(key, count as f64);
    }

    /// Adds the percentiles, and keeps the latencies for the files.
    pub(crate) fn add_latencies(&mut self, latencies: Latencies) {
        for (key, percent) in PERCENTILES {
            self.add(key, latencies.percentile_us(percent));
        }
        self.add("max_us", latencies.max_us());
        self.latencies = Some(latencies);
    }

    fn value(&self, key: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.key == key).map(|figure| figure.value)
    }
}

/// Everything that one start of the program found.
pub(crate) struct Report {
    pub(crate) mode: &'static str,
    /// Product and version of the server.
    pub(crate) server: String,
    pub(crate) url: String,
    /// What was asked, in words.
    pub(crate) load: String,
    pub(crate) runs: Vec<Run>,
    /// What went wrong after figures were there already.
    pub(crate) fault: Option<Fault>,
}

impl Report {
    /// A line that says what was measured, and a table: a line a figure, a column a run.
    pub(crate) fn to_table(&self) -> String {
        let mut keys: Vec<&str> = Vec::new();
        for figure in self.runs.iter().flat_map(|run| &run.figures) {
            if !keys.contains(&figure.key) {
                keys.push(figure.key);
            }
        }
        let mut text = format!("{}: {}\n{} at {}\n\n", self.mode, self.load, self.server, self.url);
        let width = self.runs.iter().map(|run| run.name.len() + 2).max().unwrap_or(0).max(14);
        push_row(&mut text, "", width, self.runs.iter().map(|run| run.name.clone()));
        for key in keys {
            let cells = self.runs.iter().map(|run| run.value(key).map_or_else(|| "-".into(), show));
            push_row(&mut text, &key_in_words(key), width, cells);
        }
        text
    }

    pub(crate) fn to_json(&self) -> Value {
        let runs: Vec<Value> = self.runs.iter().map(run_json).collect();
        json!({
            "mode": self.mode, "server": self.server, "url": self.url, "load": self.load,
            "runs": runs, "fault": self.fault.as_ref().map(ToString::to_string),
        })
    }

    /// Writes the `.hgrm` files and the picture that were asked for.
    ///
    /// # Errors
    /// When there are no latencies, or a file cannot be written.
    pub(crate) fn write_files(&self, output: &OutputArgs) -> Result<(), Fault> {
        let measured: Vec<(&Run, &Latencies)> =
            self.runs.iter().filter_map(|run| Some((run, run.latencies.as_ref()?))).collect();
        if let Some(path) = &output.hgrm {
            for (run, latencies) in &measured {
                let path = path_of_run(path, &run.name, measured.len());
                write_file(&path, &latencies.to_hgrm())?;
            }
        }
        let Some(path) = &output.svg else { return Ok(()) };
        let label = output.label.as_ref().unwrap_or(&self.server);
        let curves: Vec<Curve> = measured
            .iter()
            .map(|(run, latencies)| curve(&format!("{label}, {}", run.name), latencies))
            .collect();
        write_picture(path, &format!("{}: {}", self.mode, self.load), &curves)
    }
}

fn curve(label: &str, latencies: &Latencies) -> Curve {
    Curve::parse(label, &latencies.to_hgrm()).expect("what we write as a distribution reads back")
}

/// Draws `curves` into the file.
///
/// # Errors
/// When the drawing fails, or the file cannot be written.
pub(crate) fn write_picture(path: &Path, title: &str, curves: &[Curve]) -> Result<(), Fault> {
    let refused = |why| Fault::machine(format!("{}", path.display()))(std::io::Error::other(why));
    write_file(path, &plot::draw(title, curves).map_err(refused)?)
}

fn write_file(path: &Path, text: &str) -> Result<(), Fault> {
    fs::write(path, text).map_err(Fault::machine(path.display().to_string()))
}

/// `x.hgrm` of the run `1,000/s` among several becomes `x.1000-s.hgrm`.
fn path_of_run(path: &Path, run: &str, runs: usize) -> PathBuf {
    if runs < 2 {
        return path.into();
    }
    let name: String = run
        .chars()
        .filter(|c| *c != ',')
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}.{name}.{extension}"))
}

fn run_json(run: &Run) -> Value {
    let mut figures = Map::new();
    for figure in &run.figures {
        // Three digits behind the point are what the histogram and the clock are good for.
        figures.insert(figure.key.into(), json!((figure.value * 1e3).round() / 1e3));
    }
    json!({ "name": run.name, "figures": figures })
}

fn push_row(text: &mut String, head: &str, width: usize, cells: impl Iterator<Item = String>) {
    let _ = write!(text, "{head:26}");
    for cell in cells {
        let _ = write!(text, "{cell:>width$}");
    }
    text.push('\n');
}

fn key_in_words(key: &str) -> String {
    let (name, unit) = match key.rsplit_once('_') {
        Some((name, "us")) => (name, ", us"),
        Some((name, "s")) => (name, "/s"),
        _ => (key, ""),
    };
    let name = match name {
        "p999" => "p99.9",
        "p9999" => "p99.99",
        other => other.strip_suffix("_per").unwrap_or(other),
    };
    name.replace('_', " ") + unit
}

/// With thousands apart, and digits behind the point only where they say something.
pub(crate) fn show(value: f64) -> String {
    let digits = match value.abs() {
        size if value.fract() == 0.0 || size >= 1000.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut shown = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) && !shown.ends_with('-') {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut run = Run::new("1,000/s");
        run.add_count("sent", 5000);
        let mut latencies = Latencies::new();
        latencies.record(64_000);
        run.add_latencies(latencies);
        let mut other = Run::new("20,000/s");
        other.add("out_per_s", 1_234_567.8);
        Report {
            mode: "latency",
            server: "nats-server 2.15.1".into(),
            url: "nats://127.0.0.1:4222".into(),
            load: "128 B".into(),
            runs: vec![run, other],
            fault: None,
        }
    }

    #[test]
    fn the_table_has_a_line_a_figure_and_a_column_a_run() {
        let table = report().to_table();
        let row = |head: &str| -> Vec<String> {
            let line = table.lines().find(|line| line.starts_with(head)).expect(head);
            line[26..].split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(row("     "), ["1,000/s", "20,000/s"]);
        assert_eq!(row("sent"), ["5,000", "-"]);
        assert_eq!(row("p50, us"), ["64.0", "-"]);
        assert_eq!(row("out/s"), ["-", "1,234,568"]);
        assert_eq!(row("p99.99, us").len(), 2);
    }

    #[test]
    fn the_json_holds_every_figure_of_every_run() {
        let json = report().to_json();
        assert_eq!(json["runs"][0]["name"], "1,000/s");
        assert_eq!(json["runs"][0]["figures"]["sent"], 5000.0);
        assert_eq!(json["runs"][1]["figures"]["out_per_s"], 1_234_567.8);
        assert_eq!(json["fault"], Value::Null);
    }

    #[test]
    fn numbers_are_shown_with_the_digits_that_count() {
        let shown = [0.0, 0.1234, 5.25, 64.04, 999.96, 1234.5, 1e6, -1234.0].map(show);
        assert_eq!(
            shown,
            ["0", "0.123", "5.25", "64.0", "1,000.0", "1,234", "1,000,000", "-1,234"]
        );
    }

    #[test]
    fn runs_of_a_sweep_get_files_of_their_own() {
        let path = |runs| path_of_run(Path::new("out/x.hgrm"), "1,000/s", runs);
        assert_eq!(path(1), Path::new("out/x.hgrm"));
        assert_eq!(path(2), Path::new("out/x.1000-s.hgrm"));
    }
}
