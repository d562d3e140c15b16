//! How rates and steps are printed.

use std::time::Duration;

use super::tally::StepTally;

/// Digits that a measured rate is worth.
const DIGITS: u32 = 3;

/// The head of RED's table.
pub(super) const RECEIVED_HEAD: &str =
    "step    paced at     offered    received  frames lost  longest run    overflow  records lost   recovered   CPU";
/// The head of BLUE's table.
pub(super) const SENT_HEAD: &str = "step    paced at        sent     records   CPU";

/// `bps` with all digits behind the first three cleared.
pub(super) fn round_down(bps: f64) -> u64 {
    let bps = bps.max(0.0) as u64;
    let unit = 10_u64.pow(bps.checked_ilog10().map_or(0, |digits| digits.saturating_sub(DIGITS - 1)));
    bps / unit * unit
}

/// A rate as the site file writes it, in the unit that leaves a number from 1 to 1,000.
pub(super) fn rate(bps: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("Tbit/s", 1_000_000_000_000), ("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000)];
    let bps = round_down(bps as f64);
    let (unit, scale) = UNITS.into_iter().find(|(_, scale)| bps >= *scale).unwrap_or(("bit/s", 1));
    format!("{}{unit}", bps as f64 / scale as f64)
}

/// A probability as the site file writes it, in percent with two digits, rounded up.
pub(super) fn share(share: f64) -> String {
    let percent = share * 100.0;
    let unit = 10_f64.powi(percent.log10().floor() as i32 - 1);
    // The small amount keeps what is exact already, whatever binary fractions make of it.
    let decimals = (-unit.log10().round()).max(0.0) as usize;
    format!("{:.decimals$}%", (percent / unit - 1e-9).ceil() * unit)
}

/// What the sender was asked for.
pub(super) fn pace(rate_bps: Option<u64>) -> String {
    rate_bps.map_or_else(|| "unpaced".to_owned(), rate)
}

/// A row of RED's table.
pub(super) fn received(step: &StepTally) -> String {
    let sent = step.sent_bps().map_or_else(|| "?".to_owned(), |bps| rate(bps as u64));
    format!(
        "{:>4} {:>11} {sent:>11} {:>11} {:>12} {:>12} {:>11} {:>13} {:>11} {:>4.0}%{}",
        step.head.step,
        pace(step.head.rate_bps),
        rate(step.received_bps() as u64),
        step.loss.missing_frames,
        step.loss.longest_burst_frames,
        step.overflow,
        step.lost_records(),
        step.recovered_records(),
        step.cpus() * 100.0,
        if step.whole { "" } else { "  heard in part" },
    )
}

/// A row of BLUE's table.
pub(super) fn sent(
    number: u16,
    rate_bps: Option<u64>,
    sent_bps: f64,
    records: u64,
    cpu: Duration,
    took: Duration,
) -> String {
    let cpu = cpu.as_secs_f64() / took.as_secs_f64().max(1e-9) * 100.0;
    format!("{number:>4} {:>11} {:>11} {records:>11} {cpu:>4.0}%", pace(rate_bps), rate(sent_bps as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short_and_never_more_than_measured() {
        for (bps, shown) in [
            (999, "999bit/s"),
            (1_999_999, "1.99Mbit/s"),
            (312_500_000, "312Mbit/s"),
            (9_876_543_210, "9.87Gbit/s"),
            (10_000_000_000, "10Gbit/s"),
            (0, "0bit/s"),
        ] {
            assert_eq!(rate(bps), shown);
        }
    }

    #[test]
    fn shares_are_rounded_up() {
        for (fraction, shown) in
            [(0.015, "1.5%"), (0.01234, "1.3%"), (1e-6, "0.00010%"), (0.5, "50%"), (0.0999, "10.0%")]
        {
            assert_eq!(share(fraction), shown);
        }
    }
}
