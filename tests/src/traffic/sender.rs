//! A sender of numbered datagrams at an even rate.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::payload::{HEADER_LEN, Pattern, mix};
use crate::{Host, sys};

/// Wake-ups are at least this far apart: at 20,000/s two datagrams per wake-up, which halves the cost of waking
/// without a burst that a real source would not have.
const TICK_NS: u64 = 100_000;
/// Most datagrams per wake-up, however late: bounds the buffers. Reached beyond 1,000,000/s.
const BATCH_MAX: u64 = 256;
/// A kernel that refuses datagrams for this long has a fault that waiting does not mend.
const REFUSED_MAX_NS: u64 = 5_000_000_000;

/// What to send. Start with [`Load::new`] and change what matters.
#[derive(Debug, Clone)]
pub struct Load {
    /// Receiver.
    pub to: SocketAddr,
    /// Datagrams per second, all flows together.
    pub rate: u64,
    /// Datagrams in all; `u64::MAX` goes on until [`Sender::stop`].
    pub count: u64,
    /// Least and largest size in bytes of UDP payload, from 40 on; each datagram's is drawn from the seed.
    pub sizes: (usize, usize),
    /// Source ports, used in turn; each has datagram numbers of its own from 0.
    pub flows: u32,
    /// Number of the first flow, so that several senders can share a receiver.
    pub first_flow: u32,
    /// Decides every payload byte.
    pub seed: u64,
}

impl Load {
    /// 1,400-byte datagrams of one flow, without end, seed 1.
    pub fn new(to: impl Into<SocketAddr>, rate: u64) -> Self {
        Self { to: to.into(), rate, count: u64::MAX, sizes: (1400, 1400), flows: 1, first_flow: 0, seed: 1 }
    }

    /// Sends so many datagrams in all.
    #[must_use]
    pub fn count(self, count: u64) -> Self {
        Self { count, ..self }
    }

    /// Sends as many datagrams as the rate gives in `seconds`.
    #[must_use]
    pub fn seconds(self, seconds: u64) -> Self {
        let count = self.rate * seconds;
        self.count(count)
    }

    /// All datagrams have this size, in bytes.
    #[must_use]
    pub fn size(self, size: usize) -> Self {
        Self { sizes: (size, size), ..self }
    }

    /// Sizes are drawn evenly from `least..=most`, in bytes.
    #[must_use]
    pub fn sizes(self, least: usize, most: usize) -> Self {
        Self { sizes: (least, most), ..self }
    }

    /// Uses so many source ports in turn.
    #[must_use]
    pub fn flows(self, flows: u32) -> Self {
        Self { flows, ..self }
    }

    /// Numbers the flows from here on.
    #[must_use]
    pub fn first_flow(self, first_flow: u32) -> Self {
        Self { first_flow, ..self }
    }

    /// Another seed, other bytes: a receiver counts datagrams of another seed as foreign.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    fn check(&self) -> Result<()> {
        ensure!(self.rate > 0 && self.flows > 0, "a load needs a rate and a flow: {self:?}");
        let (least, most) = self.sizes;
        ensure!(HEADER_LEN <= least && least <= most && most <= 65_507, "sizes must be within 40..=65507: {self:?}");
        Ok(())
    }

    fn size_of(&self, index: u64) -> usize {
        let (least, most) = self.sizes;
        least + mix(self.seed ^ index) as usize % (most - least + 1)
    }
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Number of the first flow.
    pub first_flow: u32,
    /// Datagrams of each flow, from the first flow's number on.
    pub flows: Vec<u64>,
    /// UDP payload bytes.
    pub bytes: u64,
    /// From the first datagram to the last.
    pub elapsed: Duration,
    /// Latest that a datagram left after its time: large values mean that the machine could not keep the rate.
    pub late_max: Duration,
    /// Times that the kernel refused a datagram, which was then sent again.
    pub refusals: u64,
}

impl Sent {
    /// Datagrams of all flows.
    pub fn total(&self) -> u64 {
        self.flows.iter().sum()
    }
}

/// A running sender. Dropping it stops it.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Sent>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
}

impl Sender {
    /// Starts sending from `host`.
    pub fn start(host: &Host, load: Load) -> Result<Self> {
        load.check()?;
        let sockets = host.run(|| (0..load.flows).map(|_| connected(load.to)).collect::<Result<Vec<_>>>())??;
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            pattern: Pattern::new(load.seed),
            buffers: (0..BATCH_MAX.min(batch_max(load.rate))).map(|_| vec![0; load.sizes.1]).collect(),
            sockets,
            shared: Arc::clone(&shared),
            refusals: 0,
            bytes: 0,
            load,
        };
        let thread = thread::Builder::new().name("sender".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Datagrams sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Acquire)
    }

    /// Whether it sends no more: the load is complete or failed, and [`Sender::join`] tells which.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the load's end.
    pub fn join(mut self) -> Result<Sent> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(sent)) => sent,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => bail!("the sender has ended already"),
        }
    }

    /// Ends the load now.
    pub fn stop(self) -> Result<Sent> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.join()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever wants its result joins it.
            let _ = thread.join();
        }
    }
}

/// The most that one wake-up sends: twice what is due, so that a delay is made up at twice the rate and not at once.
fn batch_max(rate: u64) -> u64 {
    (2 * rate.saturating_mul(TICK_NS) / 1_000_000_000).clamp(2, BATCH_MAX)
}

fn connected(to: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).and_then(|socket| socket.connect(to).map(|()| socket));
    socket.with_context(|| format!("no UDP socket towards {to}"))
}

struct Worker {
    load: Load,
    pattern: Pattern,
    sockets: Vec<UdpSocket>,
    buffers: Vec<Vec<u8>>,
    shared: Arc<Shared>,
    refusals: u64,
    bytes: u64,
}

impl Worker {
    fn run(mut self) -> Result<Sent> {
        sys::precise_timers();
        let start_ns = sys::monotonic_ns();
        let due_ns = |index: u64, rate: u64| start_ns + (u128::from(index) * 1_000_000_000 / u128::from(rate)) as u64;
        let (mut sent, mut late_max_ns) = (0, 0);
        while sent < self.load.count && !self.shared.stop.load(Ordering::Relaxed) {
            let now_ns = sys::monotonic_ns();
            let due = (u128::from(now_ns - start_ns) * u128::from(self.load.rate) / 1_000_000_000) as u64 + 1;
            let batch = due.min(self.load.count).saturating_sub(sent).min(self.buffers.len() as u64);
            if batch > 0 {
                late_max_ns = late_max_ns.max(now_ns.saturating_sub(due_ns(sent, self.load.rate)));
                self.send(sent, batch)?;
                sent += batch;
                self.shared.sent.store(sent, Ordering::Release);
            }
            if sent < self.load.count {
                sys::sleep_until(due_ns(sent, self.load.rate).max(now_ns + TICK_NS));
            }
        }
        let flows = u64::from(self.load.flows);
        Ok(Sent {
            first_flow: self.load.first_flow,
            flows: (0..flows).map(|flow| sent / flows + u64::from(flow < sent % flows)).collect(),
            bytes: self.bytes,
            elapsed: Duration::from_nanos(sys::monotonic_ns() - start_ns),
            late_max: Duration::from_nanos(late_max_ns),
            refusals: self.refusals,
        })
    }

    /// Sends datagrams `first..first + batch`, dealt to the flows in turn.
    fn send(&mut self, first: u64, batch: u64) -> Result<()> {
        let flows = u64::from(self.load.flows);
        let time_ns = sys::monotonic_ns();
        let mut lens = [0; BATCH_MAX as usize];
        for (slot, index) in (first..first + batch).enumerate() {
            lens[slot] = self.load.size_of(index);
            self.bytes += lens[slot] as u64;
            let flow = self.load.first_flow + (index % flows) as u32;
            self.pattern.write(&mut self.buffers[slot][..lens[slot]], flow, index / flows, time_ns);
        }
        for start in 0..batch.min(flows) {
            let slots: Vec<usize> = (start as usize..batch as usize).step_by(flows as usize).collect();
            let socket = &self.sockets[((first + start) % flows) as usize];
            let mut done = 0;
            let refused_ns = sys::monotonic_ns();
            while done < slots.len() {
                let waiting = slots[done..].iter().map(|slot| &self.buffers[*slot][..lens[*slot]]);
                match sys::send_many(socket, waiting) {
                    Ok(count) => done += count,
                    Err(error) if sys::monotonic_ns() - refused_ns > REFUSED_MAX_NS => {
                        return Err(error).with_context(|| format!("sending to {} fails", self.load.to));
                    }
                    Err(_) => {
                        // No buffer, no route yet, or an ICMP error of an earlier datagram: the next try tells.
                        self.refusals += 1;
                        sys::sleep_until(sys::monotonic_ns() + TICK_NS);
                    }
                }
            }
        }
        Ok(())
    }
}
