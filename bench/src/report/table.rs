//! The results as an aligned table.

use super::{BenchResult, Failure, Ratio, Report, Spread};
use crate::measured::Unit;

/// Rows of texts, each column as wide as its widest; the first columns are names, the others numbers.
pub(super) struct Table {
    names: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose first `names` columns stand to the left.
    pub(super) fn new(names: usize, head: &[&str]) -> Self {
        Self { names, rows: vec![head.iter().map(|&text| text.to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    pub(super) fn print(&self) {
        let width =
            |column: usize| self.rows.iter().filter_map(move |row| row.get(column)).map(|cell| cell.chars().count());
        let columns = self.rows.first().map_or(0, Vec::len);
        let widths: Vec<usize> = (0..columns).map(|column| width(column).max().unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let cell = if column < self.names { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
                line.push_str(&cell);
            }
            println!("  {}", line.trim_end());
        }
    }
}

/// Prints everything.
pub fn print(report: &Report) {
    println!("{}", report.machine);
    println!("median, least and most of all runs; ratios are of the same run\n");
    report.benches.iter().for_each(print_bench);
}

fn print_bench(bench: &BenchResult) {
    println!("{}, {} runs: {}\n", bench.name, bench.runs, bench.about);
    let mut table =
        Table::new(2, &["case", "figure", "median", "least", "most", "unit", "ratio", "least", "most", "of", "it was"]);
    for case in &bench.cases {
        for figure in &case.figures {
            let Spread { median, least, most } = figure.value;
            let mut row = vec![case.name.clone(), figure.name.clone()];
            row.extend([median, least, most].map(number));
            row.push(figure.unit.to_string());
            if let Some(Ratio { of, baseline, value }) = &figure.ratio {
                // What a code fails to restore is in the fourth digit.
                let digits = if figure.unit == Unit::Share { 4 } else { 3 };
                row.extend([value.median, value.least, value.most].map(|value| format!("{value:.digits$}")));
                row.extend([of.clone(), number(baseline.median)]);
            }
            table.row(row);
        }
        if !case.failures.is_empty() {
            table.row(vec![case.name.clone(), format!("FAILED in {} of {} runs", case.failures.len(), bench.runs)]);
        }
    }
    table.print();
    for case in &bench.cases {
        for Failure { run, error } in &case.failures {
            println!("  FAILED: {}, run {run}: {error}", case.name);
        }
    }
    println!();
}

/// Four digits that say something.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
