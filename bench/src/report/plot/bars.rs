//! Bars over names: one group for each name, one colour for each series, on each bar its median and a line from the least to the
//! most run. The baseline is a dashed line over all of them.

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{COLOURS, Drawn, SIZE, Series};
use crate::measured::{Bars, Plot};
use crate::report::table;

/// Pixels of a line of the legend and of the names.
const LINE: u32 = 17;
/// Pixels under the axis: room for names of four lines.
const NAMES: u32 = 4 * LINE;
/// Pixels above the legend.
const TITLE: u32 = 40;
/// Where the legend's keys begin and end, and its texts begin, pixels.
const KEYS: (i32, i32) = (76, 94);
const TEXTS: i32 = 102;
/// Share of a group's width that its bars take.
const GROUP: f64 = 0.8;
/// Share of a bar's width that it fills.
const FILLED: f64 = 0.9;
/// Room above the highest bar, for what is written on it, as a share of the axis.
const ABOVE: f64 = 1.08;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The y axis: linear in what [`Scale::at`] gives.
#[derive(Clone, Copy)]
struct Scale {
    is_logarithmic: bool,
    bottom: f64,
    top: f64,
}

impl Scale {
    fn of(bars: &Bars, series: &[Series], baseline: Option<f64>) -> Self {
        let all = || series.iter().flat_map(|(_, samples)| samples).flat_map(|(_, y)| *y).chain(baseline);
        let most = all().fold(f64::MIN_POSITIVE, f64::max);
        if !bars.is_logarithmic {
            return Self { is_logarithmic: false, bottom: 0.0, top: most * ABOVE };
        }
        // What is zero has no logarithm, and no bar.
        let least = all().filter(|value| *value > 0.0).fold(most, f64::min);
        let bottom = (least.log10() - 0.1).floor();
        Self { is_logarithmic: true, bottom, top: bottom + (most.log10() - bottom).max(1.0) * ABOVE }
    }

    fn at(self, value: f64) -> f64 {
        if !self.is_logarithmic {
            value
        } else if value > 0.0 {
            value.log10().max(self.bottom)
        } else {
            self.bottom
        }
    }

    fn label(self, at: f64) -> String {
        let value = if self.is_logarithmic { 10_f64.powf(at) } else { at };
        if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.2}") }
    }
}

/// A plot while it is drawn.
struct Picture<'a, 'b> {
    chart: Chart<'a>,
    legend: &'b Area<'a>,
    scale: Scale,
    /// Places of the names that have bars.
    shown: Vec<usize>,
    /// Entries of the legend so far.
    entries: u32,
}

/// Draws one file.
pub(super) fn draw(plot: &Plot, bars: &Bars, series: &[Series], baseline: Option<(&str, f64)>, path: &Path) -> Drawn {
    let scale = Scale::of(bars, series, baseline.map(|(_, value)| value));
    let has = |place: usize| series.iter().any(|(_, samples)| samples.iter().any(|(x, _)| *x as usize == place));
    let shown: Vec<usize> = (0..bars.names.len()).filter(|place| has(*place)).collect();
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let head = TITLE + LINE * (series.len() + usize::from(baseline.is_some())) as u32;
    let (legend, area) = root.split_vertically(head);
    legend.draw(&Text::new(plot.title.as_str(), (12, 12), ("sans-serif", 20)))?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(NAMES)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..shown.len().max(1) as f64, scale.bottom..scale.top)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().x_labels(0).light_line_style(WHITE);
    mesh.y_label_formatter(&|at| scale.label(*at)).y_desc(plot.y_label).draw()?;
    let mut picture = Picture { chart, legend: &legend, scale, shown, entries: 0 };
    let width = GROUP / series.len().max(1) as f64;
    for (number, (series, colour)) in series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        picture.draw_series(series, *colour, (1.0 - GROUP) / 2.0 + width * number as f64, width)?;
    }
    if let Some((name, value)) = baseline {
        picture.draw_baseline(name, value)?;
    }
    picture.draw_names(&bars.names, &root)?;
    root.present()?;
    Ok(())
}

impl Picture<'_, '_> {
    /// All bars of a colour, which begin at `left` of each group and have `width` of it.
    fn draw_series(&mut self, (name, samples): &Series, colour: RGBColor, left: f64, width: f64) -> Drawn {
        let line = self.entry(name)?;
        self.legend.draw(&Rectangle::new([(KEYS.0, line + 2), (KEYS.1, line + 13)], colour.filled()))?;
        let on_bar = ("sans-serif", 12).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Bottom));
        for (x, y) in samples {
            let Some(group) = self.shown.iter().position(|place| *place == *x as usize) else { continue };
            let [least, median, most] = y.map(|value| self.scale.at(value));
            let from = group as f64 + left;
            let middle = from + width * FILLED / 2.0;
            let bar = [(from, self.scale.bottom), (from + width * FILLED, median)];
            self.chart.draw_series([Rectangle::new(bar, colour.mix(0.8).filled())])?;
            self.chart.draw_series([PathElement::new([(middle, least), (middle, most)], BLACK)])?;
            self.chart.draw_series([Text::new(short(y[1]), (middle, most), on_bar.clone())])?;
        }
        Ok(())
    }

    fn draw_baseline(&mut self, name: &str, value: f64) -> Drawn {
        let line = self.entry(&format!("{name}: {}", table::number(value)))?;
        let stroke = BLACK.stroke_width(2);
        self.legend.draw(&PathElement::new([(KEYS.0, line + 8), (KEYS.1, line + 8)], stroke))?;
        let at = self.scale.at(value);
        let ends = [(0.0, at), (self.shown.len() as f64, at)];
        self.chart.draw_series(DashedLineSeries::new(ends, 6, 4, stroke))?;
        Ok(())
    }

    /// The names of the groups, a line for each part between commas.
    fn draw_names(&self, names: &[String], root: &Area<'_>) -> Drawn {
        let style = ("sans-serif", 13).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
        for (group, place) in self.shown.iter().enumerate() {
            let (x, y) = self.chart.backend_coord(&(group as f64 + 0.5, self.scale.bottom));
            for (line, text) in (0..).zip(names[*place].split(", ")) {
                root.draw(&Text::new(text, (x, y + 6 + line * LINE as i32), style.clone()))?;
            }
        }
        Ok(())
    }

    /// Writes a line of the legend; gives its top, pixels.
    fn entry(&mut self, text: &str) -> Result<i32, Box<dyn std::error::Error>> {
        let top = (TITLE + LINE * self.entries) as i32;
        self.entries += 1;
        self.legend.draw(&Text::new(text, (TEXTS, top), ("sans-serif", 14)))?;
        Ok(top)
    }
}

/// Three digits: more do not fit on a bar.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
