//! Reads `[link.fec]` and the `fec = { ... }` of a stream: the same keys, over other defaults.

use std::time::Duration;

use super::problem::Class;
use super::section::{Notes, Section};
use super::site::{Fec, Protection, Scheme};
use super::values::{duration, one_of, probability, share, show_duration, whole};

const SCHEMES: &[(&str, Scheme)] =
    &[("raptorq", Scheme::RaptorQ), ("reed-solomon", Scheme::ReedSolomon), ("none", Scheme::None)];

/// Larger blocks than this take longer to fill than any deadline allows on a 10 Gbit/s link.
const MOST_SYMBOLS: u32 = 8192;
/// Longest burst of lost frames: half of the largest block.
const MOST_BURST: u32 = 4096;
/// Symbols of least repair: beyond, a share is the wrong tool.
const MOST_REPAIR_MIN: u32 = 1024;
/// Repair symbols that a block gets at least when `repair` is set without `repair_min`.
const DEFAULT_REPAIR_MIN: u16 = 2;
/// An order below the deadline's limit, since a symbol leaves before its block closes.
const MOST_FLUSH: Duration = Duration::from_secs(1);
/// A block open for longer recovers too late for any stream.
const MOST_DEADLINE: Duration = Duration::from_secs(10);

/// The defaults of `[link.fec]`.
pub(super) const fn defaults() -> Fec {
    Fec {
        scheme: Scheme::RaptorQ,
        block_symbols: 128,
        flush: Duration::from_micros(50),
        deadline: Duration::from_millis(5),
        hold: Duration::from_millis(5),
        protection: DEFAULT_PROMISE,
    }
}

/// A good fibre link: one frame in a thousand, short bursts, one block in a billion lost.
const DEFAULT_PROMISE: Protection = Protection::Promise { loss: 0.001, residual: 1e-9, burst: 4 };

/// Reads the table `s`; keys that it does not have keep the value of `base`.
pub(super) fn read(notes: &mut Notes, mut s: Section<'_, '_>, base: &Fec) -> Fec {
    let fec = Fec {
        scheme: s.get(notes, "scheme", one_of(SCHEMES)).unwrap_or(base.scheme),
        block_symbols: s.get(notes, "block_symbols", whole(1..=MOST_SYMBOLS)).unwrap_or(base.block_symbols),
        flush: s.get(notes, "flush", duration(Duration::ZERO, MOST_FLUSH)).unwrap_or(base.flush),
        deadline: s
            .get(notes, "deadline", duration(Duration::from_micros(100), MOST_DEADLINE))
            .unwrap_or(base.deadline),
        hold: s.get(notes, "hold", duration(Duration::ZERO, MOST_DEADLINE)).unwrap_or(base.hold),
        protection: protection(notes, &mut s, base.protection),
    };
    clocks_fit(notes, &s, &fec);
    s.finish(notes);
    fec
}

fn protection(notes: &mut Notes, s: &mut Section<'_, '_>, base: Protection) -> Protection {
    let promised = s.has("protect");
    let shared = s.has("repair") || s.has("repair_min");
    let promise = s.table(notes, "protect").map(|table| promise(notes, table, base));
    let share = share_of(notes, s, base);
    if promised && shared {
        let key = if s.has("repair") { "repair" } else { "repair_min" };
        let span = s.raw(key).map(toml::Spanned::span);
        notes.error(
            Class::Value,
            span,
            "`protect` is set as well",
            format!("`protect` and `{key}` exclude each other in {}", s.title),
            "keep `protect` for a promise, or `repair` and `repair_min` for a plain share".to_owned(),
        );
    }
    promise.or(share).unwrap_or(base)
}

fn promise(notes: &mut Notes, mut s: Section<'_, '_>, base: Protection) -> Protection {
    let from = if matches!(base, Protection::Promise { .. }) { base } else { DEFAULT_PROMISE };
    let read = (
        s.get(notes, "loss", probability),
        s.get(notes, "residual", probability),
        s.get(notes, "burst", whole(0..=MOST_BURST)),
    );
    s.finish(notes);
    match from {
        Protection::Promise { loss, residual, burst } => Protection::Promise {
            loss: read.0.unwrap_or(loss),
            residual: read.1.unwrap_or(residual),
            burst: read.2.unwrap_or(burst),
        },
        share @ Protection::Share { .. } => share,
    }
}

fn share_of(notes: &mut Notes, s: &mut Section<'_, '_>, base: Protection) -> Option<Protection> {
    let repair = s.get(notes, "repair", share);
    let least = s.get(notes, "repair_min", whole(0..=MOST_REPAIR_MIN));
    let (base_repair, base_least) = match base {
        Protection::Share { repair, repair_min } => (Some(repair), repair_min),
        Protection::Promise { .. } => (None, DEFAULT_REPAIR_MIN),
    };
    if repair.is_none() && least.is_none() {
        return None;
    }
    if base_repair.is_none() && !s.has("repair") && !s.has("protect") {
        let key = s.full("repair_min");
        notes.error(
            Class::Structure,
            notes.place(&key),
            "goes with `repair` only",
            format!("`repair_min` in {} has no `repair` to go with", s.title),
            "add `repair = \"10%\"`, or set `protect` instead".to_owned(),
        );
    }
    Some(Protection::Share { repair: repair.or(base_repair)?, repair_min: least.unwrap_or(base_least) })
}

/// A symbol must leave before its block closes.
fn clocks_fit(notes: &mut Notes, s: &Section<'_, '_>, fec: &Fec) {
    if fec.flush <= fec.deadline {
        return;
    }
    // Whichever of the two this table sets; a stream may override one alone.
    let Some(span) = ["flush", "deadline"].iter().find_map(|key| notes.place(&s.full(key))) else {
        return;
    };
    let (flush, deadline) = (show_duration(fec.flush), show_duration(fec.deadline));
    notes.error(
        Class::Value,
        span,
        &format!("flush is {flush}, deadline is {deadline}"),
        format!("`flush` is longer than `deadline` in {}", s.title),
        "make `flush` shorter than `deadline`: a symbol leaves before its block closes".to_owned(),
    );
}
