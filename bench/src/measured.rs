//! What a benchmark is: steps that measure figures, each beside its baseline of the same run.

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Medians of so many runs are steady on a quiet machine.
pub const RUNS: u32 = 5;
/// With `--quick`: as few as still have a median.
pub const RUNS_QUICK: u32 = 3;

/// What a figure counts, and which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Payload through something, 10^9 bits a second.
    #[serde(rename = "Gbit/s")]
    GbitPerSecond,
    /// Part of a whole, 0..=1.
    #[serde(rename = "share")]
    Share,
    /// Processor time for each 10^9 bytes of payload; less is better.
    #[serde(rename = "CPU-s/GB")]
    SecondsPerGb,
    /// Time that something took; less is better.
    #[serde(rename = "us")]
    Microseconds,
    /// Processor time per time, 100 is one core all the while; less is better.
    #[serde(rename = "% core")]
    PercentOfCore,
    /// Memory, 2^20 bytes; less is better.
    #[serde(rename = "MiB")]
    Mebibytes,
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::GbitPerSecond => "Gbit/s",
            Self::Share => "share",
            Self::SecondsPerGb => "CPU-s/GB",
            Self::Microseconds => "us",
            Self::PercentOfCore => "% core",
            Self::Mebibytes => "MiB",
        })
    }
}

/// Where a figure stands in a plot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The plot's name.
    pub plot: String,
    /// The line in the plot.
    pub series: String,
    /// Where on its x axis.
    pub x: f64,
}

/// A plot's frame; the figures bring their points.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Names the file.
    pub name: String,
    /// Above the plot.
    pub title: String,
    /// Under the x axis.
    pub x_label: &'static str,
    /// Beside the y axis.
    pub y_label: &'static str,
    /// Bars instead of lines.
    pub bars: Option<Bars>,
}

/// A plot whose x axis has names on it: x of its points is a name's place, from 0.
#[derive(Clone, Debug)]
pub struct Bars {
    /// Under the axis; one that has no bar is left out.
    pub names: Vec<String>,
    /// Names the figures' own baseline, if that is one and the same for all: a line over the whole width.
    pub baseline: Option<&'static str>,
    /// Powers of ten on the y axis: what is compared differs by more than the eye tells apart.
    pub is_logarithmic: bool,
}

/// One figure of one run.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What it is, within its case.
    pub figure: String,
    /// What it counts.
    pub unit: Unit,
    /// How much.
    pub value: f64,
    /// What it is compared with, and how much that was in the same run.
    pub baseline: Option<(&'static str, f64)>,
    /// Where it stands in plots.
    pub points: Vec<Point>,
}

impl Measured {
    /// A figure without a baseline, in no plot.
    pub fn new(figure: impl Into<String>, unit: Unit, value: f64) -> Self {
        Self { figure: figure.into(), unit, value, baseline: None, points: Vec::new() }
    }

    /// Compares it with `value` of the same run.
    #[must_use]
    pub fn of(mut self, baseline: &'static str, value: f64) -> Self {
        self.baseline = Some((baseline, value));
        self
    }

    /// Puts it into a plot.
    #[must_use]
    pub fn at(mut self, plot: impl Into<String>, series: impl Into<String>, x: f64) -> Self {
        self.points.push(Point { plot: plot.into(), series: series.into(), x });
        self
    }
}

/// Measures a case once; the seed differs from run to run.
pub type Measure = Box<dyn FnMut(u64) -> Result<Vec<Measured>>>;

/// One case of a benchmark: some seconds at most, so that progress is seen.
pub struct Step {
    /// Names the case.
    pub case: String,
    /// Measures it.
    pub measure: Measure,
}

impl Step {
    /// A case and how to measure it.
    pub fn new(case: impl Into<String>, measure: impl FnMut(u64) -> Result<Vec<Measured>> + 'static) -> Self {
        Self { case: case.into(), measure: Box::new(measure) }
    }
}

/// A benchmark.
pub struct Bench {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it measures, in a line.
    pub about: String,
    /// How often it is measured unless somebody says otherwise.
    pub runs: u32,
    /// The same with `--quick`.
    pub runs_quick: u32,
    /// Its plots.
    pub plots: Vec<Plot>,
    /// Its cases.
    pub steps: Vec<Step>,
}
