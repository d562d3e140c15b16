//! Results as lines: one SVG file for each plot, drawn from the figures' points.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

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

/// x, and least, median and most of y.
type Sample = (f64, [f64; 3]);

/// Draws a plot of all figures that have points in it; no file if there are none.
pub(super) fn draw(plot: &Plot, report: &Report, path: &Path) -> Result<()> {
    let series = series(&plot.name, report);
    let all = || series.iter().flat_map(|(_, samples)| samples);
    if all().next().is_none() {
        return Ok(());
    }
    let right = all().map(|(x, _)| *x).fold(0.0, f64::max) * 1.02;
    let left = all().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let top = all().map(|(_, y)| y[2]).fold(0.0, f64::max) * 1.05;
    draw_lines(plot, &series, (left * 0.98, right), top, path)
        .map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

fn draw_lines(
    plot: &Plot,
    series: &[(String, Vec<Sample>)],
    (left, right): (f64, f64),
    top: f64,
    path: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&plot.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(left..right, 0.0..top)?;
    chart.configure_mesh().light_line_style(WHITE).x_desc(plot.x_label).y_desc(plot.y_label).draw()?;
    for ((name, samples), colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let medians = samples.iter().map(|(x, [_, median, _])| (*x, *median));
        let line = chart.draw_series(LineSeries::new(medians.clone(), colour.stroke_width(2)))?;
        line.label(name).legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(medians.map(|at| Circle::new(at, 3, colour.filled())))?;
        let bars = samples.iter().map(|(x, [least, _, most])| PathElement::new([(*x, *least), (*x, *most)], colour));
        chart.draw_series(bars)?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.85)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}

/// The plot's lines in the order in which they first come, each by rising x.
fn series(plot: &str, report: &Report) -> Vec<(String, Vec<Sample>)> {
    let mut series: Vec<(String, Vec<Sample>)> = Vec::new();
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

fn values(figure: &Figure) -> [f64; 3] {
    [figure.value.least, figure.value.median, figure.value.most]
}
