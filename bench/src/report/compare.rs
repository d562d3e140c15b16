//! `--against FILE`: figure by figure, then and now.

use super::table::{Table, number};
use super::{Figure, Report, Spread};

/// Prints what both have, and marks what differs by more than the runs do.
pub fn print(then: &Report, now: &Report) {
    println!("against {} of {}: {}", then.machine.commit, then.taken, then.machine);
    let marked = then.runs > 1 && now.runs > 1;
    let runs =
        if marked { "`>` and `<`: above and below every run of then" } else { "no marks: a single run has no spread" };
    println!("{runs}\n");
    let head = ["case", "figure", "then", "now", "now/then", "", "ratio then", "ratio now", "now/then", ""];
    let mut table = Table::new(2, &head);
    let mut compared = 0;
    for bench in &now.benches {
        for case in &bench.cases {
            for figure in &case.figures {
                let Some(before) = find(then, &bench.name, &case.name, &figure.name) else { continue };
                compared += 1;
                let mut row = vec![format!("{} {}", bench.name, case.name), figure.name.clone()];
                row.extend(columns(before.value, figure.value, marked));
                if let (Some(before), Some(now)) = (&before.ratio, &figure.ratio) {
                    row.extend(columns(before.value, now.value, marked));
                }
                table.row(row);
            }
        }
    }
    if compared == 0 {
        println!("nothing in common\n");
        return;
    }
    table.print();
    println!();
}

fn find<'a>(report: &'a Report, bench: &str, case: &str, figure: &str) -> Option<&'a Figure> {
    let bench = report.benches.iter().find(|candidate| candidate.name == bench)?;
    let case = bench.cases.iter().find(|candidate| candidate.name == case)?;
    case.figures.iter().find(|candidate| candidate.name == figure)
}

fn columns(then: Spread, now: Spread, marked: bool) -> [String; 4] {
    let quotient = if then.median == 0.0 { String::new() } else { format!("{:.3}", now.median / then.median) };
    let mark = if marked { mark(then, now) } else { "" };
    [number(then.median), number(now.median), quotient, mark.to_owned()]
}

/// Only where no run of one is within the runs of the other.
fn mark(then: Spread, now: Spread) -> &'static str {
    if now.least > then.most {
        ">"
    } else if now.most < then.least {
        "<"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_by_more_than_the_runs_is_marked() {
        let then = Spread { median: 5.0, least: 4.0, most: 6.0 };
        let around = |median: f64| Spread { median, least: median - 0.5, most: median + 0.5 };
        assert_eq!([3.0, 4.0, 6.2, 7.0].map(|median| mark(then, around(median))), ["<", "", "", ">"]);
    }
}
