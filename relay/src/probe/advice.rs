//! What follows from a measurement: the highest safe rate, and the protection that the link needs. Pure.

use std::fmt::Write as _;

use super::show;
use super::tally::StepTally;
use crate::config::Fec;
use crate::fec::{Protection, RepairTable};
use crate::host::scheme;
use crate::link::{LinkLoss, RANDOM_RUN_MAX};

/// The rate to set, as a share of the highest safe one: a hiccup must find room to catch up.
const RATE_SHARE: f64 = 0.9;
/// Loss and bursts to promise, as a multiple of what was seen: shares and lengths of a short time scatter.
const MARGIN: f64 = 1.5;
/// Of n frames none of which was lost, up to 3/n may be lost with 95% confidence; so many are added to those lost.
const UNSEEN_FRAMES: f64 = 3.0;
/// Least loss to promise: below it only bursts matter, and repair symbols hardly become fewer.
const LEAST_LOSS: f64 = 1e-6;
/// Most loss to promise: beyond it the link is broken.
const MOST_LOSS: f64 = 0.5;
/// Least burst to promise, the site file's default: a short hiccup that a short measurement did not see.
const LEAST_BURST: u64 = 4;
/// Most burst that the site file takes, frames.
const MOST_BURST: u64 = 4096;
/// Blocks that may be lost, as the site file's default has it.
const RESIDUAL: f64 = 1e-9;
/// Without a safe step, the loss of so many of the slowest ones tells what the link itself does.
const SLOWEST: usize = 3;

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Advice {
    /// The safe step's number and its rate, bit/s; `None`: there was none.
    pub(super) safe: Option<(u16, f64)>,
    /// The rate to set, bit/s.
    pub(super) rate_bps: Option<u64>,
    /// What the link lost in the steps that overload had no part in.
    pub(super) loss: LinkLoss,
    /// The loss to promise, 0..1.
    pub(super) promise_loss: f64,
    /// The burst to promise, frames.
    pub(super) promise_burst: u16,
}

/// Is a step's loss of records no more than the share `allowed`, and was all of it heard?
fn is_safe(step: &StepTally, allowed: f64) -> bool {
    let sent = step.sent_records();
    step.whole && sent > 0 && step.sent_bps().is_some() && step.lost_records() as f64 <= sent as f64 * allowed
}

/// Advice from all steps, if `allowed` is the share of records that may be lost. `None`: nothing was heard.
pub(super) fn advise(steps: &[StepTally], allowed: f64) -> Option<Advice> {
    let by_rate = |step: &&StepTally| step.sent_bps().unwrap_or(0.0);
    let fastest = |a: &&StepTally, b: &&StepTally| by_rate(a).total_cmp(&by_rate(b));
    let safe = steps.iter().filter(|step| is_safe(step, allowed)).max_by(fastest);
    let mut quiet: Vec<_> = steps.iter().filter(|step| step.overflow == 0).collect();
    if quiet.is_empty() {
        quiet.extend(steps.iter().min_by(fastest));
    }
    quiet.sort_by(fastest);
    match safe {
        Some(safe) => quiet.retain(|step| by_rate(step) <= by_rate(&safe)),
        None => quiet.truncate(SLOWEST),
    }
    let mut loss = LinkLoss::default();
    for step in &quiet {
        loss.add(step.loss);
    }
    let safe = safe.map(|step| (step.head.step, by_rate(&step)));
    let rate_bps = safe.map(|(_, bps)| show::round_down(bps * RATE_SHARE));
    let (promise_loss, promise_burst) = (loss_to_promise(&loss), burst_to_promise(&loss));
    (!steps.is_empty()).then_some(Advice { safe, rate_bps, loss, promise_loss, promise_burst })
}

fn loss_to_promise(seen: &LinkLoss) -> f64 {
    // What bursts took is what `burst` is for.
    let single = seen.missing_frames.saturating_sub(seen.in_bursts_frames) as f64;
    let share = (single + UNSEEN_FRAMES) / seen.expected_frames.max(1) as f64;
    (share * MARGIN).clamp(LEAST_LOSS, MOST_LOSS)
}

fn burst_to_promise(seen: &LinkLoss) -> u16 {
    let longest = if seen.longest_burst_frames > RANDOM_RUN_MAX { seen.longest_burst_frames } else { 0 };
    ((longest as f64 * MARGIN).ceil() as u64).clamp(LEAST_BURST, MOST_BURST) as u16
}

/// The advice as the operator reads it: what was found, the lines for the site file, and why they are as they are.
pub(super) fn text(advice: &Advice, allowed: f64, steps: &[StepTally], fec: &Fec) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = finding(&mut text, advice, allowed, steps);
    let _ = lines(&mut text, advice, fec);
    text
}

fn finding(text: &mut String, advice: &Advice, allowed: f64, steps: &[StepTally]) -> std::fmt::Result {
    let Some((number, bps)) = advice.safe else {
        return writeln!(
            text,
            "no step was safe: each lost more than {allowed:e} of its records. Put in the line below and measure again; if it \
             does not help, begin lower (`relay bench send --from`)."
        );
    };
    let Some(step) = steps.iter().find(|step| step.head.step == number) else { return Ok(()) };
    let (lost, sent) = (step.lost_records(), step.sent_records());
    writeln!(text, "highest safe rate: {} (step {number}), {lost} of {sent} records lost", show::rate(bps as u64))?;
    if sent as f64 * allowed < 1.0 {
        writeln!(text, "  {sent} records are too few to tell {allowed:e} from none: use a longer `--seconds` on BLUE")?;
    }
    if step.head.rate_bps.is_none() {
        writeln!(text, "  this was all that BLUE can send: without `rate` it is as safe, if nothing shares the link")?;
    }
    let unsafe_below =
        |other: &&StepTally| other.sent_bps().is_some_and(|other| other < bps) && !is_safe(other, allowed);
    if let Some(below) = steps.iter().find(unsafe_below) {
        writeln!(text, "  but step {}, which is slower, was not safe: measure again", below.head.step)?;
    }
    Ok(())
}

fn lines(text: &mut String, advice: &Advice, fec: &Fec) -> std::fmt::Result {
    let Advice { loss, promise_loss, promise_burst, .. } = advice;
    writeln!(text, "\nfor the site file of both hosts:\n")?;
    if let Some(rate_bps) = advice.rate_bps {
        writeln!(text, "[link]\nrate = \"{}\"\n", show::rate(rate_bps))?;
    }
    writeln!(
        text,
        "[link.fec]\nprotect = {{ loss = \"{}\", residual = \"{RESIDUAL:e}\", burst = {promise_burst} }}\n",
        show::share(*promise_loss)
    )?;
    if advice.rate_bps.is_some() {
        writeln!(
            text,
            "rate: {:.0}% of the highest safe one, so that a hiccup finds room to catch up.",
            RATE_SHARE * 100.0
        )?;
    }
    let (missing, bursts) = (loss.missing_frames, loss.in_bursts_frames.min(loss.missing_frames));
    writeln!(
        text,
        "loss: {missing} of {} frames were lost, {bursts} of them in runs of more than {RANDOM_RUN_MAX}; the others and \
         {UNSEEN_FRAMES} that chance may have spared, times {MARGIN}.",
        loss.expected_frames
    )?;
    writeln!(
        text,
        "burst: the longest run of lost frames was {}; times {MARGIN}, at least {LEAST_BURST}.",
        loss.longest_burst_frames
    )?;
    writeln!(text, "{}", cost(*promise_loss, *promise_burst, fec))
}

/// What the promise costs in full blocks.
fn cost(loss: f64, burst: u16, fec: &Fec) -> String {
    let k = fec.block_symbols;
    match RepairTable::new(scheme(fec.scheme), Protection::Promise { loss, residual: RESIDUAL, burst }, k) {
        Ok(table) => {
            let repair = table.repair(k);
            let share = f64::from(repair) / f64::from(k) * 100.0;
            format!("cost: {repair} repair frames for every full block of {k} ({share:.0}%).")
        }
        Err(error) => format!("cost: {error}."),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::tests::step;
    use super::*;

    const NO_LOSS: LinkLoss =
        LinkLoss { expected_frames: 1_000_000, missing_frames: 0, longest_burst_frames: 0, in_bursts_frames: 0 };

    fn lost(missing_frames: u64, longest_burst_frames: u64, in_bursts_frames: u64) -> LinkLoss {
        LinkLoss { missing_frames, longest_burst_frames, in_bursts_frames, ..NO_LOSS }
    }

    fn site() -> crate::config::Site {
        let text = include_str!("../../../config/minimal.toml");
        crate::config::parse(std::path::Path::new("minimal.toml"), text).expect("valid").site
    }

    #[test]
    fn the_highest_safe_step_gives_the_rate() {
        let steps = [
            step(1, 1_000_000_000, (1_000_000, 0), NO_LOSS),
            step(2, 2_000_000_000, (1_000_000, 10), NO_LOSS),
            step(3, 3_000_000_000, (1_000_000, 11), lost(90_000, 2000, 80_000)),
        ];
        let advice = advise(&steps, 1e-5).expect("something was heard");
        assert_eq!((advice.safe, advice.rate_bps), (Some((2, 2e9)), Some(1_800_000_000)));
        assert_eq!(advice.loss.missing_frames, 0, "what overload lost is not the link's");
        let text = text(&advice, 1e-5, &steps, &site().link.fec);
        assert!(text.contains("\nrate = \"1.8Gbit/s\"\n"), "{text}");
    }

    /// Whatever is printed must be what the site file takes.
    #[test]
    fn the_lines_are_a_site_files() {
        for loss in [NO_LOSS, lost(10_000, 3, 0), lost(30_000, 30, 29_000), lost(1_000_000, 1_000_000, 1_000_000)] {
            let steps = [step(1, 1_234_567_890, (1_000_000, 0), loss)];
            let advice = advise(&steps, 1e-5).expect("something was heard");
            let text = text(&advice, 1e-5, &steps, &site().link.fec);
            let begins = |start: &&str| ["rate = ", "protect = "].iter().any(|key| start.starts_with(key));
            let [rate, protect] = text.lines().filter(begins).collect::<Vec<_>>()[..] else { panic!("{text}") };
            let minimal = include_str!("../../../config/minimal.toml");
            let file = format!("{minimal}\n[link]\n{rate}\n[link.fec]\n{protect}\n");
            let fec = match crate::config::parse(std::path::Path::new("measured.toml"), &file) {
                Ok(loaded) => loaded.site.link,
                Err(errors) => panic!("{errors:?}\n{file}"),
            };
            assert_eq!(fec.rate_bps, Some(1_110_000_000));
            let crate::config::Protection::Promise { loss, burst, .. } = fec.fec.protection else {
                panic!("{protect}")
            };
            assert!(
                (1.0 - 1e-9..1.11).contains(&(loss / advice.promise_loss)) && burst == advice.promise_burst,
                "{protect}"
            );
        }
    }

    #[test]
    fn single_losses_and_bursts_are_told_apart() {
        let promise = |loss: LinkLoss| (loss_to_promise(&loss), burst_to_promise(&loss));
        let (random, burst) = promise(lost(10_000, 3, 0));
        assert!((0.015..0.0151).contains(&random) && burst == 4, "{random} {burst}");
        let (rest, burst) = promise(lost(30_000, 30, 30_000));
        assert!(rest < 1e-5 && burst == 45, "{rest} {burst}");
        assert_eq!(promise(LinkLoss { expected_frames: 0, ..NO_LOSS }), (0.5, 4), "nothing is known");
    }

    #[test]
    fn without_a_safe_step_the_slowest_tell_of_the_link() {
        let lossy = lost(50_000, 3, 0);
        let steps: Vec<_> = (1..=5)
            .map(|number| {
                let loss = if number > 3 { lost(500_000, 900, 400_000) } else { lossy };
                step(number, u64::from(number) * 1_000_000_000, (1_000_000, 40_000), loss)
            })
            .collect();
        let advice = advise(&steps, 1e-5).expect("something was heard");
        assert_eq!((advice.safe, advice.rate_bps), (None, None));
        assert_eq!((advice.loss.missing_frames, advice.loss.longest_burst_frames), (150_000, 3));
        let text = text(&advice, 1e-5, &steps, &site().link.fec);
        assert!(text.contains("no step was safe") && !text.contains("\nrate = "), "{text}");
        assert!(text.contains("\nprotect = { loss = \"7.6%\""), "{text}");
    }

    #[test]
    fn a_slower_step_that_was_not_safe_is_pointed_out() {
        let steps =
            [step(1, 1_000_000_000, (1_000_000, 500), NO_LOSS), step(2, 2_000_000_000, (1_000_000, 0), NO_LOSS)];
        let advice = advise(&steps, 1e-5).expect("something was heard");
        let text = text(&advice, 1e-5, &steps, &site().link.fec);
        assert!(text.contains("but step 1, which is slower, was not safe"), "{text}");
        assert!(advise(&[], 1e-5).is_none());
    }
}
