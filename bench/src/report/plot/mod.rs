//! Results as pictures: one SVG file for each plot, drawn from the figures' points.
//!
//! Owns the colours and what is in a plot; `lines` and `bars` draw it.

mod bars;
mod lines;

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::style::RGBColor;

use super::{Figure, Report};
use crate::measured::Plot;

/// Pixels: readable beside text, and on half a screen.
const SIZE: (u32, u32) = (900, 520);
/// Colours that differ for most kinds of eyes (Okabe and Ito 2008), without yellow, which is faint on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

/// What drawing may end with.
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// x, and least, median and most of y.
type Sample = (f64, [f64; 3]);

/// A line or the bars of one colour, with its name.
type Series = (String, Vec<Sample>);

/// Draws a plot of all figures that have points in it; no file if there are none.
pub(super) fn draw(plot: &Plot, report: &Report, path: &Path) -> Result<()> {
    let series = series(&plot.name, report);
    if series.is_empty() {
        return Ok(());
    }
    let drawn = match &plot.bars {
        Some(bars) => {
            let baseline = bars.baseline.and_then(|name| Some((name, baseline(&plot.name, report)?)));
            bars::draw(plot, bars, &series, baseline, path)
        }
        None => lines::draw(plot, &series, path),
    };
    drawn.map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

/// The plot's series in the order in which they first come, each by rising x.
fn series(plot: &str, report: &Report) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    let cases = report.benches.iter().flat_map(|bench| &bench.cases);
    for figure in cases.flat_map(|case| &case.figures) {
        for point in figure.points.iter().filter(|point| point.plot == plot) {
            let sample = (point.x, values(figure));
            match series.iter_mut().find(|(name, _)| *name == point.series) {
                Some((_, samples)) => samples.push(sample),
                None => series.push((point.series.clone(), vec![sample])),
            }
        }
    }
    for (_, samples) in &mut series {
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    series
}

/// What the plot's figures were compared with, median of the runs: the same for all of them, so any tells.
fn baseline(plot: &str, report: &Report) -> Option<f64> {
    let figures = report.benches.iter().flat_map(|bench| &bench.cases).flat_map(|case| &case.figures);
    let mut shown = figures.filter(|figure| figure.points.iter().any(|point| point.plot == plot));
    shown.find_map(|figure| figure.ratio.as_ref()).map(|ratio| ratio.baseline.median)
}

fn values(figure: &Figure) -> [f64; 3] {
    [figure.value.least, figure.value.median, figure.value.most]
}
