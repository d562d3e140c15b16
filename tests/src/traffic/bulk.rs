//! Datagrams at rates that checking every byte would not reach: numbered, timed, counted one by one, their fill constant.
//!
//! One program for every path that is compared: `sendmmsg` of what is due every 100 us, each datagram its own packet (with
//! UDP GSO a path of veth cables would carry 64 KiB packets that no real link has), and `recvmmsg`.
//!
//! ```text
//!   0        8        16       24
//!   +--------+--------+--------+------
//!   | run    | number | time_ns| zeros     big-endian
//!   +--------+--------+--------+------
//! ```

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;

use super::receiver::Flow;
use crate::{Host, sys};

/// Bytes of the header: the least size of a datagram.
pub const HEADER_LEN: usize = 24;
/// Wake-ups are so far apart: at 200,000/s 20 datagrams each, which no queue on a path notices.
const TICK_NS: u64 = 100_000;
/// What a delay has held up leaves at so many times the rate, not at once: a sender that others keep from its core a third of the
/// time still reaches its rate, and no queue sees more than 100 datagrams in a row.
const CATCH_UP: u64 = 4;
/// Datagrams of one system call.
const BATCH_MAX: usize = 64;
/// What the kernel takes as one message of UDP over IPv4, bytes (65,535 less the headers), and datagrams (`UDP_MAX_SEGMENTS` of older
/// kernels).
const MESSAGE_MAX: usize = 65_507;
const SEGMENTS_MAX: usize = 64;
/// The receiver's socket buffer: some 100 ms of 2 Gbit/s with the kernel's bookkeeping. A receiver that is slower than what
/// comes loses within a second, one that waits for a core for a moment does not.
const BUFFER_BYTES: i32 = 64 << 20;
/// How long the receiver waits in one call, and so how long a call to stop may go unnoticed.
const POLL: Duration = Duration::from_millis(10);
/// Latencies up to so long are told apart.
const LATENCY_MAX_NS: u64 = 10_000_000_000;
/// Numbers beyond this are of no sender here: they bound the account's memory (64 MiB).
const NUMBER_MAX: u64 = 1 << 29;
/// A kernel that refuses datagrams for this long has a fault that waiting does not mend.
const REFUSED_MAX: Duration = Duration::from_secs(5);

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Datagrams a second. A sender that cannot keep it sends as fast as it goes.
    pub rate: u64,
    /// For so long.
    pub time: Duration,
    /// Tells these datagrams from late ones of an earlier load.
    pub run: u64,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Datagrams.
    pub count: u64,
    /// From the first to the last.
    pub elapsed: Duration,
    /// Processor time of the sending thread, with what the kernel did in its context.
    pub cpu: Duration,
}

/// A sender: one socket, and so one session on a relay, for all its loads.
#[derive(Debug)]
pub struct Source {
    socket: UdpSocket,
    /// Each is handed to the kernel as a whole: one datagram, or several with GSO.
    messages: Vec<Vec<u8>>,
    size_bytes: usize,
}

impl Source {
    /// On `host`, towards `to`, with datagrams of `size_bytes` of payload.
    pub fn open(host: &Host, to: SocketAddr, size_bytes: usize) -> Result<Self> {
        ensure!(size_bytes >= HEADER_LEN, "a datagram has at least {HEADER_LEN} bytes");
        let connected = || UdpSocket::bind(("0.0.0.0", 0)).and_then(|socket| socket.connect(to).map(|()| socket));
        let socket = host.run(connected)?.with_context(|| format!("no UDP socket towards {to}"))?;
        Ok(Self { socket, messages: vec![vec![0; size_bytes]; BATCH_MAX], size_bytes })
    }

    /// Has the kernel make datagrams of messages that are as long as they may be (`UDP_SEGMENT`).
    pub fn with_gso(mut self) -> Result<Self> {
        sys::set_udp_option(&self.socket, libc::UDP_SEGMENT, self.size_bytes as i32).context("UDP_SEGMENT")?;
        let datagrams = (MESSAGE_MAX / self.size_bytes).clamp(1, SEGMENTS_MAX);
        self.messages = vec![vec![0; datagrams * self.size_bytes]; BATCH_MAX / datagrams + 1];
        Ok(self)
    }

    /// Sends until the time is over.
    pub fn send(&mut self, load: Load) -> Result<Sent> {
        thread::scope(|scope| {
            let sender = scope.spawn(|| self.run(load));
            sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn run(&mut self, Load { rate, time, run }: Load) -> Result<Sent> {
        sys::precise_timers();
        for message in &mut self.messages {
            message
                .chunks_exact_mut(self.size_bytes)
                .for_each(|datagram| datagram[..8].copy_from_slice(&run.to_be_bytes()));
        }
        let rate = rate.max(1);
        let (start_ns, cpu) = (sys::monotonic_ns(), sys::thread_cpu_time());
        let end_ns = start_ns + time.as_nanos() as u64;
        let at_most = (CATCH_UP * rate * TICK_NS / 1_000_000_000).max(2);
        let (mut count, mut now_ns) = (0, start_ns);
        while now_ns < end_ns {
            let due = (u128::from(now_ns - start_ns) * u128::from(rate) / 1_000_000_000) as u64 + 1;
            count += self.send_due(count, due.saturating_sub(count).min(at_most))?;
            let next_ns = start_ns + (u128::from(count) * 1_000_000_000 / u128::from(rate)) as u64;
            let wake_ns = next_ns.max(now_ns + TICK_NS).min(end_ns);
            if sys::monotonic_ns() < wake_ns {
                sys::sleep_until(wake_ns);
            }
            now_ns = sys::monotonic_ns();
        }
        Ok(Sent {
            count,
            elapsed: Duration::from_nanos(now_ns - start_ns),
            cpu: sys::thread_cpu_time().saturating_sub(cpu),
        })
    }

    /// Sends the next `due` datagrams, from number `first` on; with GSO up to a message more.
    fn send_due(&mut self, first: u64, due: u64) -> Result<u64> {
        let each = (self.messages[0].len() / self.size_bytes) as u64;
        let mut done = 0;
        let mut refused: Option<Instant> = None;
        while done < due {
            let batch = ((due - done).div_ceil(each) as usize).min(self.messages.len());
            let time_ns = sys::monotonic_ns().to_be_bytes();
            let datagrams =
                self.messages[..batch].iter_mut().flat_map(|message| message.chunks_exact_mut(self.size_bytes));
            for (number, datagram) in (first + done..).zip(datagrams) {
                datagram[8..16].copy_from_slice(&number.to_be_bytes());
                datagram[16..24].copy_from_slice(&time_ns);
            }
            match sys::send_many(&self.socket, self.messages[..batch].iter().map(Vec::as_slice)) {
                Ok(sent) => (done, refused) = (done + sent as u64 * each, None),
                Err(error) if refused.is_some_and(|since| since.elapsed() > REFUSED_MAX) => {
                    return Err(error).context("sending fails");
                }
                // No buffer, or no route yet: the next try tells.
                Err(_) => {
                    refused.get_or_insert_with(Instant::now);
                    sys::sleep_until(sys::monotonic_ns() + TICK_NS);
                }
            }
        }
        Ok(done)
    }
}

/// What came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Different datagrams.
    pub count: u64,
    /// From the sender's clock reading to the receiver's, nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// Datagrams that the kernel dropped at the receiver's socket, for want of room.
    pub socket_drops: u64,
    /// Processor time of the receiving thread.
    pub cpu: Duration,
}

/// A running receiver. Dropping it stops it.
#[derive(Debug)]
pub struct Sink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Received>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    count: AtomicU64,
}

impl Sink {
    /// Receives datagrams of `run` at `at` on `host`, each of at most `size_bytes`. It listens when this returns.
    pub fn start(host: &Host, at: impl Into<SocketAddr>, size_bytes: usize, run: u64) -> Result<Self> {
        Self::open(host, at.into(), size_bytes, run, false)
    }

    /// The same for datagrams of exactly `size_bytes`, which the kernel may hand over many at once (`UDP_GRO`).
    pub fn start_with_gro(host: &Host, at: impl Into<SocketAddr>, size_bytes: usize, run: u64) -> Result<Self> {
        Self::open(host, at.into(), size_bytes, run, true)
    }

    fn open(host: &Host, at: SocketAddr, size_bytes: usize, run: u64, gro: bool) -> Result<Self> {
        let socket = host.run(|| UdpSocket::bind(at))?.with_context(|| format!("cannot bind {at}"))?;
        sys::set_socket_option(&socket, libc::SO_RCVBUFFORCE, BUFFER_BYTES).context("SO_RCVBUFFORCE")?;
        if gro {
            sys::set_udp_option(&socket, libc::UDP_GRO, 1).context("UDP_GRO")?;
        }
        let room_bytes = if gro { MESSAGE_MAX } else { size_bytes };
        let shared = Arc::new(Shared::default());
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || worker.run(&socket, (room_bytes, size_bytes), run))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits until `sent` datagrams have come, or none has for `quiet`; gives the account.
    pub fn finish(mut self, sent: u64, quiet: Duration) -> Result<Received> {
        let count = || self.shared.count.load(Ordering::Acquire);
        let (mut seen, mut since) = (count(), Instant::now());
        while count() < sent && since.elapsed() < quiet {
            thread::sleep(POLL);
            if count() != seen {
                (seen, since) = (count(), Instant::now());
            }
        }
        self.shared.stop.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(received)) => received,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => anyhow::bail!("the receiver has ended already"),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Whoever wants its account finishes it.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, socket: &UdpSocket, (room_bytes, size_bytes): (usize, usize), run: u64) -> Result<Received> {
        let cpu = sys::thread_cpu_time();
        let mut inbox = sys::Inbox::for_size(room_bytes);
        let mut flow = Flow::default();
        let mut latency_ns = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)?;
        while !self.stop.load(Ordering::Acquire) {
            if !sys::wait_readable(socket, POLL) {
                continue;
            }
            while inbox.receive(socket).context("recvmmsg")? > 0 {
                let now_ns = sys::monotonic_ns();
                for datagram in inbox.datagrams().flat_map(|(message, _)| message.chunks(size_bytes)) {
                    let Some((number, time_ns)) = read(datagram, run) else { continue };
                    let before = flow.distinct;
                    flow.take(number, None);
                    if flow.distinct > before {
                        latency_ns.saturating_record(now_ns.saturating_sub(time_ns).max(1));
                    }
                }
                self.count.store(flow.distinct, Ordering::Release);
            }
        }
        let socket_drops = sys::socket_drops(socket).context("SO_MEMINFO")?;
        Ok(Received { count: flow.distinct, latency_ns, socket_drops, cpu: sys::thread_cpu_time().saturating_sub(cpu) })
    }
}

/// Number and time of a datagram, if it is of this run.
fn read(datagram: &[u8], run: u64) -> Option<(u64, u64)> {
    let word = |at: usize| Some(u64::from_be_bytes(*datagram.get(at..)?.first_chunk()?));
    let number = word(8)?;
    (word(0)? == run && number < NUMBER_MAX).then_some((number, word(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_datagrams_of_the_run_count() {
        let mut datagram = [0; 40];
        datagram[7] = 9;
        datagram[15] = 3;
        datagram[23] = 5;
        assert_eq!(read(&datagram, 9), Some((3, 5)));
        assert_eq!(read(&datagram, 8), None);
        assert_eq!(read(&datagram[..20], 9), None);
        datagram[8] = 1;
        assert_eq!(read(&datagram, 9), None, "the number would take all memory");
    }
}
