//! The control thread of a host: signals, intervals, and a regular look at everything that lanes must not do.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval_at};

use super::heap::keep_freed_memory;
use crate::telemetry::report::Occasion;

/// How often notices of lanes, drop events and kernel counters are looked at: soon enough for a log, rare enough to
/// cost nothing.
const TICK: Duration = Duration::from_millis(100);

/// A host under control.
pub trait Controlled {
    /// SIGHUP: read the site file again. Errors are logged; the old site stays in force.
    fn reload(&mut self);
    /// Log the counters.
    fn report(&mut self, occasion: Occasion);
    /// Called every 100 ms. An error ends the host: a lane has died.
    fn tick(&mut self) -> anyhow::Result<()>;
    /// Is there nothing more to do? Asked after each tick.
    fn is_over(&self) -> bool {
        false
    }
    /// Period of the counter lines; asked for again after a reload.
    fn interval(&self) -> Duration;
    /// Stop the lanes and give the final account.
    fn stop(self);
}

/// Starts a host inside the control thread's runtime, and runs it until SIGTERM or SIGINT, until it
/// is over, or until its tick fails.
pub fn run<H: Controlled>(start: impl FnOnce() -> anyhow::Result<H>) -> anyhow::Result<()> {
    keep_freed_memory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the control thread's runtime")?.block_on(async {
        // Before anything else, so that a signal while starting is heeded after it and does not kill.
        let mut signals = Signals::watch()?;
        let mut host = start()?;
        let outcome = control(&mut host, &mut signals).await;
        host.stop();
        outcome
    })
}

/// The signals that a host obeys.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
}

impl Signals {
    fn watch() -> anyhow::Result<Self> {
        let watch = |kind| signal(kind).context("cannot watch signals");
        Ok(Self {
            term: watch(SignalKind::terminate())?,
            int: watch(SignalKind::interrupt())?,
            hup: watch(SignalKind::hangup())?,
            usr1: watch(SignalKind::user_defined1())?,
        })
    }
}

async fn control(host: &mut impl Controlled, signals: &mut Signals) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let every = |period: Duration| interval_at(tokio::time::Instant::now() + period, period);
    let mut report = every(host.interval());
    // Nobody may be reading; the link works all the same.
    let _ = writeln!(std::io::stdout(), "ready");
    loop {
        tokio::select! {
            _ = signals.term.recv() => break,
            _ = signals.int.recv() => break,
            _ = signals.hup.recv() => {
                let before = host.interval();
                host.reload();
                if host.interval() != before {
                    report = every(host.interval());
                }
            }
            _ = signals.usr1.recv() => host.report(Occasion::Stats),
            _ = report.tick() => host.report(Occasion::Stats),
            _ = tick.tick() => {
                host.tick()?;
                if host.is_over() {
                    return Ok(());
                }
            }
        }
    }
    tracing::info!("stopping");
    Ok(())
}
