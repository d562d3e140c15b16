//! Lane threads from outside: starting them, waiting until they work, giving orders, stopping them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::mailbox::{Mailbox, MailboxSender, mailbox};

/// Lanes must all work within this time.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// Lanes get this long to drain; the whole relay stops within 2 s.
const STOP_TIMEOUT: Duration = Duration::from_millis(1500);
/// How often a waiting control thread looks.
const LOOK: Duration = Duration::from_millis(1);

/// Set by a lane once it works.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// The lane works.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Does it?
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

struct Lane<O, S> {
    orders: MailboxSender<O>,
    shared: Arc<S>,
    ready: Ready,
    thread: JoinHandle<anyhow::Result<()>>,
}

/// All lanes of a host: each takes orders `O` and shares `S` with the control thread.
pub struct Lanes<O, S>(Vec<Lane<O, S>>);

impl<O, S> Default for Lanes<O, S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<O: Send + 'static, S: Default + Send + Sync + 'static> Lanes<O, S> {
    /// Starts the next lane, which `make` prepares here and which then runs on a thread of its own. It finds
    /// `first_order` there when it begins.
    pub fn spawn<F>(
        &mut self,
        first_order: Option<O>,
        make: impl FnOnce(usize, Mailbox<O>, Arc<S>, Ready) -> F,
    ) -> anyhow::Result<()>
    where
        F: FnOnce() -> anyhow::Result<()> + Send + 'static,
    {
        let number = self.0.len();
        let (orders, mailbox) = mailbox().context("cannot make a lane's mailbox")?;
        let (shared, ready) = (Arc::new(S::default()), Ready::default());
        let run = make(number, mailbox, Arc::clone(&shared), ready.clone());
        if let Some(order) = first_order {
            orders.send(order).map_err(|_| anyhow::anyhow!("lane {number} takes no orders"))?;
        }
        let thread = std::thread::Builder::new().name(format!("lane {number}")).spawn(run);
        let thread = thread.context("cannot start a lane's thread")?;
        self.0.push(Lane { orders, shared, ready, thread });
        Ok(())
    }

    /// Waits until every lane works.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while !self.0.iter().all(|lane| lane.ready.get()) {
            self.check()?;
            anyhow::ensure!(Instant::now() < deadline, "a lane did not start within {READY_TIMEOUT:?}");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// What the lanes share.
    pub fn shared(&self) -> impl Iterator<Item = &Arc<S>> {
        self.0.iter().map(|lane| &lane.shared)
    }

    /// What the lanes share, and whether each still runs.
    pub fn states(&self) -> impl Iterator<Item = (&Arc<S>, bool)> {
        self.0.iter().map(|lane| (&lane.shared, !lane.thread.is_finished()))
    }

    /// Gives an order to lane number `lane`.
    pub fn order(&self, lane: usize, order: O) -> anyhow::Result<()> {
        self.0[lane].orders.send(order).map_err(|_| anyhow::anyhow!("lane {lane} takes no orders"))
    }

    /// Gives an order to every lane.
    pub fn order_all(&self, mut order: impl FnMut() -> O) -> anyhow::Result<()> {
        (0..self.0.len()).try_for_each(|lane| self.order(lane, order()))
    }

    /// Fails, with the reason, if a lane has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let Some(number) = self.0.iter().position(|lane| lane.thread.is_finished()) else { return Ok(()) };
        let outcome = self.0.remove(number).thread.join();
        let context = || format!("lane {number}");
        match outcome {
            Ok(outcome) => outcome.with_context(context)?,
            Err(_) => anyhow::bail!("lane {number} panicked; the message is above"),
        }
        anyhow::bail!("lane {number} ended without being told to")
    }

    /// Gives every lane its last order and waits, for a bounded time, until all have ended.
    pub fn stop(&mut self, mut last_order: impl FnMut() -> O) {
        for lane in &self.0 {
            // A lane that does not take the order has ended already.
            let _ = lane.orders.send(last_order());
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.0.iter().any(|lane| !lane.thread.is_finished()) {
            if Instant::now() > deadline {
                tracing::error!("a lane did not stop in time; its last counts are missing");
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}
