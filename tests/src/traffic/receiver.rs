//! A receiver that checks every byte and accounts for every datagram.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::payload::{Pattern, Verdict};
use super::sender::Sent;
use crate::{Host, sys};

/// Socket buffer asked for: more than a second of 1 Gbit/s with the kernel's bookkeeping, so that a stall of this
/// process is not taken for a loss of the relay.
const BUFFER_BYTES: i32 = 256 << 20;
/// How long a call to stop may go unnoticed.
const POLL: Duration = Duration::from_millis(10);
/// Latencies up to a minute are told apart; longer ones count as a minute.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// Numbers beyond this are refused as corrupt: they bound the account's memory (64 MiB a flow).
const NUMBER_MAX: u64 = 1 << 29;

/// The account of one flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// Different datagrams that arrived.
    pub distinct: u64,
    /// Datagrams that arrived again.
    pub duplicates: u64,
    /// Datagrams that arrived for the first time after one with a higher number.
    pub out_of_order: u64,
    /// Where they came from, in the order of appearance.
    pub sources: Vec<SocketAddr>,
    seen: Vec<u64>,
    next: u64,
}

impl Flow {
    pub(super) fn take(&mut self, number: u64, source: Option<SocketAddr>) {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            self.duplicates += 1;
            return;
        }
        self.seen[word] |= bit;
        self.distinct += 1;
        self.out_of_order += u64::from(number < self.next);
        self.next = self.next.max(number + 1);
        if let Some(source) = source.filter(|source| !self.sources.contains(source)) {
            self.sources.push(source);
        }
    }

    /// Whether this datagram arrived.
    pub fn has(&self, number: u64) -> bool {
        self.seen.get((number / 64) as usize).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Numbers below `sent` that did not arrive, ascending.
    pub fn missing(&self, sent: u64) -> Vec<u64> {
        (0..sent).filter(|number| !self.has(*number)).collect()
    }
}

/// Everything that arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The account of each flow, by its number.
    pub flows: BTreeMap<u32, Flow>,
    /// Datagrams with a wrong byte.
    pub corrupt: u64,
    /// Sound datagrams of another seed.
    pub foreign: u64,
    /// Datagrams that the kernel dropped at this socket because its buffer was full.
    pub kernel_drops: u64,
    /// UDP payload bytes of distinct datagrams.
    pub bytes: u64,
    /// From the sender's clock reading to the receiver's, in nanoseconds, of distinct datagrams.
    pub latency_ns: Histogram<u64>,
    /// Longest time between two arrivals.
    pub silence_max: Duration,
    /// From the first arrival to the last.
    pub elapsed: Duration,
    first_ns: u64,
    last_ns: u64,
}

impl Received {
    fn new() -> Result<Self> {
        Ok(Self {
            flows: BTreeMap::new(),
            corrupt: 0,
            foreign: 0,
            kernel_drops: 0,
            bytes: 0,
            latency_ns: Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)?,
            silence_max: Duration::ZERO,
            elapsed: Duration::ZERO,
            first_ns: 0,
            last_ns: 0,
        })
    }

    /// Different datagrams of all flows.
    pub fn distinct(&self) -> u64 {
        self.flows.values().map(|flow| flow.distinct).sum()
    }

    /// Datagrams that arrived again, of all flows.
    pub fn duplicates(&self) -> u64 {
        self.flows.values().map(|flow| flow.duplicates).sum()
    }

    /// Datagrams out of order, of all flows.
    pub fn out_of_order(&self) -> u64 {
        self.flows.values().map(|flow| flow.out_of_order).sum()
    }

    /// What was sent and did not arrive: (flow, number), ascending.
    pub fn missing(&self, sent: &Sent) -> Vec<(u32, u64)> {
        let none = Flow::default();
        (sent.first_flow..)
            .zip(&sent.flows)
            .flat_map(|(flow, count)| {
                let numbers = self.flows.get(&flow).unwrap_or(&none).missing(*count);
                numbers.into_iter().map(move |number| (flow, number))
            })
            .collect()
    }

    /// Latency below which `percent` of the datagrams stayed, in microseconds.
    pub fn latency_us(&self, percent: f64) -> f64 {
        self.latency_ns.value_at_quantile(percent / 100.0) as f64 / 1000.0
    }

    /// Fails, with the account, unless every datagram of `sent` arrived once, whole and in order, and nothing else did.
    pub fn check_complete(&self, sent: &Sent) -> Result<()> {
        let missing = self.missing(sent);
        let extra = self.corrupt + self.foreign + self.duplicates() + self.out_of_order();
        ensure!(
            missing.is_empty() && extra == 0 && self.distinct() == sent.total(),
            "sent {}, arrived {self}; missing (flow, number): {:?}{}",
            sent.total(),
            &missing[..missing.len().min(20)],
            if missing.len() > 20 { format!(" and {} more", missing.len() - 20) } else { String::new() },
        );
        Ok(())
    }

    fn take(&mut self, verdict: &Verdict, len: usize, source: Option<SocketAddr>, now_ns: u64) {
        match *verdict {
            Verdict::Good { flow, number, time_ns } if number < NUMBER_MAX => {
                let flow = self.flows.entry(flow).or_default();
                let before = flow.distinct;
                flow.take(number, source);
                if flow.distinct > before {
                    self.bytes += len as u64;
                    self.latency_ns.saturating_record(now_ns.saturating_sub(time_ns).max(1));
                }
            }
            Verdict::Foreign => self.foreign += 1,
            Verdict::Good { .. } | Verdict::Corrupt => self.corrupt += 1,
        }
        if self.last_ns == 0 {
            self.first_ns = now_ns;
            self.last_ns = now_ns;
        }
        self.silence_max = self.silence_max.max(Duration::from_nanos(now_ns - self.last_ns));
        self.last_ns = now_ns;
        self.elapsed = Duration::from_nanos(now_ns - self.first_ns);
    }
}

impl std::fmt::Display for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} distinct, {} duplicate, {} out of order, {} corrupt, {} foreign, {} dropped at the receiver's socket",
            self.distinct(),
            self.duplicates(),
            self.out_of_order(),
            self.corrupt,
            self.foreign,
            self.kernel_drops,
        )
    }
}

/// A running receiver. Dropping it stops it.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State {
    received: Received,
    stop: bool,
    failed: Option<String>,
}

impl Receiver {
    /// Receives at `address` on `host`, expecting the payloads of `seed`. It listens when this returns.
    pub fn start(host: &Host, address: impl Into<SocketAddr>, seed: u64) -> Result<Self> {
        let address = address.into();
        let socket = host
            .run(|| UdpSocket::bind(address))?
            .with_context(|| format!("host {}: cannot bind {address}", host.name()))?;
        // The privileged option ignores the system's limit; without privilege the limit holds, which is no fault.
        if sys::set_socket_option(&socket, libc::SO_RCVBUFFORCE, BUFFER_BYTES).is_err() {
            sys::set_socket_option(&socket, libc::SO_RCVBUF, BUFFER_BYTES).context("SO_RCVBUF")?;
        }
        let state = State { received: Received::new()?, stop: false, failed: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), arrived: Condvar::new() });
        let worker = Arc::clone(&shared);
        let address = socket.local_addr()?;
        let thread = thread::Builder::new().name("receiver".to_owned()).spawn(move || {
            let result = worker.run(&socket, &Pattern::new(seed));
            worker.lock().failed =
                Some(result.as_ref().map_or_else(|error| format!("{error:#}"), |()| "stopped".into()));
            worker.arrived.notify_all();
            result
        })?;
        Ok(Self { shared, address, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The account so far.
    pub fn so_far(&self) -> Received {
        self.shared.lock().received.clone()
    }

    /// Different datagrams so far.
    pub fn distinct(&self) -> u64 {
        self.shared.lock().received.distinct()
    }

    /// Waits until the account satisfies `test`; false when `timeout` passes first.
    pub fn wait_until(&self, timeout: Duration, mut test: impl FnMut(&Received) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if test(&state.received) {
                return true;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|_| state.failed.is_none()) else {
                return false;
            };
            state = self.shared.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until all of `sent` has arrived, or nothing more has for `quiet`; then stops and gives the account.
    pub fn finish(self, sent: &Sent, quiet: Duration) -> Result<Received> {
        let complete = |received: &Received| {
            (sent.first_flow..)
                .zip(&sent.flows)
                .all(|(flow, count)| received.flows.get(&flow).map_or(0, |flow| flow.distinct) >= *count)
        };
        let mut last = None;
        while !self.wait_until(quiet, complete) {
            let count = { self.shared.lock().received.last_ns };
            if last == Some(count) {
                break;
            }
            last = Some(count);
        }
        self.stop()
    }

    /// Stops now and gives the account.
    pub fn stop(mut self) -> Result<Received> {
        self.shared.lock().stop = true;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result?,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => bail!("the receiver has ended already"),
        }
        Ok(self.so_far())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        if let Some(thread) = self.thread.take() {
            // Whoever wants its account stops it.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, socket: &UdpSocket, pattern: &Pattern) -> Result<()> {
        let mut inbox = sys::Inbox::new();
        while !self.lock().stop {
            if !sys::wait_readable(socket, POLL) {
                continue;
            }
            while inbox.receive(socket).context("recvmmsg")? > 0 {
                let now_ns = sys::monotonic_ns();
                let mut state = self.lock();
                for (datagram, source) in inbox.datagrams() {
                    state.received.take(&pattern.verify(datagram), datagram.len(), source, now_ns);
                }
                drop(state);
                self.arrived.notify_all();
            }
        }
        self.lock().received.kernel_drops = sys::socket_drops(socket).context("SO_MEMINFO")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_accounted_exactly() {
        let mut flow = Flow::default();
        for number in [0, 1, 4, 2, 4, 130] {
            flow.take(number, None);
        }
        assert_eq!((flow.distinct, flow.duplicates, flow.out_of_order), (5, 1, 1));
        assert_eq!(flow.missing(6), [3, 5]);
        assert_eq!(flow.missing(132).len(), 132 - 5);
        assert!(flow.has(130) && !flow.has(131) && !flow.has(1_000_000));
    }

    #[test]
    fn flows_that_never_arrived_are_missing() {
        let sent = Sent {
            first_flow: 5,
            flows: vec![1, 2],
            bytes: 0,
            elapsed: Duration::ZERO,
            late_max: Duration::ZERO,
            refusals: 0,
        };
        let mut received = Received::new().unwrap();
        received.take(&Verdict::Good { flow: 6, number: 1, time_ns: 5 }, 40, None, 6);
        assert_eq!(received.missing(&sent), [(5, 0), (6, 0)]);
        assert!(received.check_complete(&sent).is_err());
    }
}
