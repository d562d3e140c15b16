//! The control thread of a host: signals, intervals, and a regular look at everything that lanes must not do.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval_at};

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
    /// Period of the counter lines; asked for again after a reload.
    fn interval(&self) -> Duration;
    /// Stop the lanes and give the final account.
    fn stop(self);
}

/// Starts a host inside the control thread's runtime, and runs it until SIGTERM or SIGINT, or until its tick fails.
pub fn run<H: Controlled>(start: impl FnOnce() -> anyhow::Result<H>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the control thread's runtime")?.block_on(async {
        let mut host = start()?;
        let outcome = control(&mut host).await;
        host.stop();
        outcome
    })
}

async fn control(host: &mut impl Controlled) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    let mut hup = signal(SignalKind::hangup()).context("cannot watch SIGHUP")?;
    let mut usr1 = signal(SignalKind::user_defined1()).context("cannot watch SIGUSR1")?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let every = |period: Duration| interval_at(tokio::time::Instant::now() + period, period);
    let mut report = every(host.interval());
    // Nobody may be reading; the link works all the same.
    let _ = writeln!(std::io::stdout(), "ready");
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => {
                let before = host.interval();
                host.reload();
                if host.interval() != before {
                    report = every(host.interval());
                }
            }
            _ = usr1.recv() => host.report(Occasion::Stats),
            _ = report.tick() => host.report(Occasion::Stats),
            _ = tick.tick() => host.tick()?,
        }
    }
    tracing::info!("stopping");
    Ok(())
}
