//! Lines over a number, with a bar from the least to the most run at each point.

use std::path::Path;

use plotters::prelude::*;

use super::{COLOURS, Drawn, SIZE, Series};
use crate::measured::Plot;

/// Draws one file.
pub(super) fn draw(plot: &Plot, series: &[Series], path: &Path) -> Drawn {
    let all = || series.iter().flat_map(|(_, samples)| samples);
    let right = all().map(|(x, _)| *x).fold(0.0, f64::max) * 1.02;
    let left = all().map(|(x, _)| *x).fold(f64::INFINITY, f64::min) * 0.98;
    let top = all().map(|(_, y)| y[2]).fold(0.0, f64::max) * 1.05;
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
