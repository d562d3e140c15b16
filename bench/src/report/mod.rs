//! Results: a tree of benchmarks, cases and figures, with the machine that they were taken on.
//!
//! Owns what the JSON file says; `table` and `compare` print it, `plot` draws it, `store` writes it.

pub mod compare;
mod machine;
mod plot;
mod store;
mod table;

use serde::{Deserialize, Serialize};

pub use machine::Machine;
pub use store::{read, timestamp, write};
pub use table::print;

use crate::measured::{Measured, Point, Unit};

/// Everything that one call measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// When it began, UTC.
    pub taken: String,
    /// Where.
    pub machine: Machine,
    /// Fewer and shorter cases.
    pub quick: bool,
    /// How often every case was measured at least.
    pub runs: u32,
    /// The benchmarks.
    pub benches: Vec<BenchResult>,
}

/// One benchmark's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchResult {
    /// Its name on the command line.
    pub name: String,
    /// What it measures.
    pub about: String,
    /// How often every case was measured; files of before this was told have 0.
    #[serde(default)]
    pub runs: u32,
    /// Its cases.
    pub cases: Vec<CaseResult>,
}

/// One case's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    /// Its name within the benchmark.
    pub name: String,
    /// Its figures, of the runs that did not fail.
    pub figures: Vec<Figure>,
    /// Runs that failed, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// A run of a case that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which, from 1 on.
    pub run: u64,
    /// Why.
    pub error: String,
}

/// A figure over all runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its name within the case.
    pub name: String,
    /// What it counts.
    pub unit: Unit,
    /// How much.
    pub value: Spread,
    /// Compared with a baseline of the same run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
    /// Where it stands in plots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Point>,
}

/// A figure divided by its baseline, run by run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The baseline.
    pub of: String,
    /// How much that was.
    pub baseline: Spread,
    /// The quotient.
    pub value: Spread,
}

/// Median, least and most of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// In the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

impl Spread {
    /// Of the runs' values; zero if there are none. Between two middle values it is the greater one.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        Self { median: at(values.len() / 2), least: at(0), most: at(values.len().saturating_sub(1)) }
    }
}

/// Puts the runs of a case together: figures by name, in the order in which they first came.
pub fn merge(name: &str, runs: &[Vec<Measured>], failures: Vec<Failure>) -> CaseResult {
    let mut figures: Vec<Figure> = Vec::new();
    for first in runs.iter().flatten() {
        if figures.iter().any(|figure| figure.name == first.figure) {
            continue;
        }
        let all = || runs.iter().flatten().filter(|measured| measured.figure == first.figure);
        let baselines = || all().filter_map(|measured| Some((measured.value, measured.baseline?.1)));
        // The baseline may have failed in some runs, the case itself not.
        let of = all().find_map(|measured| measured.baseline).map(|(of, _)| of);
        figures.push(Figure {
            name: first.figure.clone(),
            unit: first.unit,
            value: Spread::of(all().map(|measured| measured.value)),
            ratio: of.map(|of| Ratio {
                of: of.to_owned(),
                baseline: Spread::of(baselines().map(|(_, baseline)| baseline)),
                value: Spread::of(baselines().map(|(value, baseline)| value / baseline)),
            }),
            points: first.points.clone(),
        });
    }
    CaseResult { name: name.to_owned(), figures, failures }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_run() {
        let run =
            |value: f64, baseline: f64| vec![Measured::new("BLUE", Unit::GbitPerSecond, value).of("limit", baseline)];
        let case = merge("a case", &[run(10.0, 20.0), run(2.0, 2.0), run(3.0, 10.0)], Vec::new());
        let [figure] = &case.figures[..] else { panic!("one figure: {case:?}") };
        assert_eq!(figure.value, Spread { median: 3.0, least: 2.0, most: 10.0 });
        let ratio = figure.ratio.as_ref().expect("a baseline");
        assert_eq!(ratio.value, Spread { median: 0.5, least: 0.3, most: 1.0 }, "not 3 / 10");
    }

    #[test]
    fn a_run_without_its_baseline_counts_all_the_same() {
        let alone = vec![Measured::new("rate", Unit::GbitPerSecond, 8.0)];
        let both = vec![Measured::new("rate", Unit::GbitPerSecond, 6.0).of("kernel", 3.0)];
        let case = merge("a case", &[alone, both], Vec::new());
        assert_eq!(case.figures[0].value, Spread { median: 8.0, least: 6.0, most: 8.0 });
        let ratio = case.figures[0].ratio.as_ref().expect("of the run that has one");
        assert_eq!((ratio.of.as_str(), ratio.value.least, ratio.value.most), ("kernel", 2.0, 2.0));
    }
}
