//! The receiving end of a link: opens what frames arrive through, and tells the counters what arrived.
//!
//! ```text
//!                                .-> AF_XDP queue 0 --+-> Queues -> lane 0
//! link ==> interface [ReceivingLink] AF_XDP queue 2 -'
//!                                '-> AF_XDP queue 1 ----> Queues -> lane 1
//! ```
//!
//! With the socket driver there is one lane, a kernel socket, and no program.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use anyhow::Context as _;

use super::link_end::LinkEnd;
use super::udp_drops::UdpDrops;
use super::wait::Readiness;
use crate::config::Encapsulation;
use crate::link::socket::SocketRx;
use crate::link::xdp::XdpRx;
use crate::link::{ReceiverCounters, RxPort};
use crate::packet;
use crate::steer::{self, ReceivingLink};
use crate::telemetry::counters::ReceiveLink;
use crate::telemetry::reasons::FrameDropped;
use crate::xsk::interface::InterfaceInfo;
use crate::xsk::{RxConfig, RxSocket};

/// A lane's receiving end: one or several queues, or a kernel socket.
pub trait LinkPort: RxPort {
    /// Puts everything to wait for into `readiness`.
    fn register(&self, readiness: &Readiness) -> io::Result<()>;
    /// Frames that the kernel dropped because this end was full, as far as the end itself knows.
    fn overflow(&self) -> u64;
    /// Payload that may arrive at once before any of it is lost, bytes, with a margin for repair symbols and bursts of
    /// others.
    fn queue_bytes(&self) -> usize;
}

/// Memory for symbols that wait, per lane: at 10 Gbit/s it is 50 ms of link, far more than any `hold`.
pub const POOL_BYTES: usize = 64 << 20;
/// Half of a ring's slots, with a frame of at least 1 KiB of payload in each.
const BYTES_PER_SLOT: usize = 512;
/// The kernel counts about 2.3 KiB for a packet of 1,400 bytes (`SKB_TRUESIZE`, linux/skbuff.h); the rest is margin.
const SOCKET_SHARE: usize = 4;

/// All `AF_XDP` queues of a lane.
pub struct Queues<Q = XdpRx> {
    queues: Vec<Q>,
    /// The one that is looked at first: each in turn, since the last ones may get nothing of a full batch.
    first: usize,
}

impl<Q> Default for Queues<Q> {
    fn default() -> Self {
        Self { queues: Vec::new(), first: 0 }
    }
}

impl<Q: RxPort> RxPort for Queues<Q> {
    fn receive(&mut self, max: usize, each: &mut dyn FnMut(&mut [u8])) -> io::Result<usize> {
        let (before, from) = self.queues.split_at_mut(self.first);
        let mut count = 0;
        for queue in from.iter_mut().chain(before) {
            count += queue.receive(max - count, each)?;
            if count >= max {
                break;
            }
        }
        self.first = (self.first + 1) % self.queues.len().max(1);
        Ok(count)
    }
}

impl LinkPort for Queues {
    fn register(&self, readiness: &Readiness) -> io::Result<()> {
        self.queues.iter().try_for_each(|queue| readiness.add(queue.as_fd()))
    }

    fn overflow(&self) -> u64 {
        let statistics = self.queues.iter().filter_map(|queue| queue.socket().statistics().ok());
        statistics.map(|s| s.rx_dropped + s.rx_ring_full).sum()
    }

    fn queue_bytes(&self) -> usize {
        self.queues.iter().map(|queue| queue.socket().ring_size() as usize * BYTES_PER_SLOT).sum()
    }
}

impl LinkPort for SocketRx {
    fn register(&self, readiness: &Readiness) -> io::Result<()> {
        readiness.add(self.as_fd())
    }

    /// The control thread looks it up.
    fn overflow(&self) -> u64 {
        0
    }

    fn queue_bytes(&self) -> usize {
        self.buffer_bytes() / SOCKET_SHARE
    }
}

/// A receiving end with the XDP driver.
pub struct XdpReceiving {
    /// Lets nothing but diode frames in.
    pub program: ReceivingLink,
    /// The lanes' ends.
    pub lanes: Vec<Queues>,
    /// Where the program runs and how sockets move packets: `native/copy`.
    pub mode: String,
}

impl XdpReceiving {
    /// Opens `end`, which is at `interface`, for `lanes` lanes, at least 1, which share the interface's queues.
    pub fn open(end: &LinkEnd<'_>, interface: &InterfaceInfo, lanes: usize) -> anyhow::Result<Self> {
        let (steered, stripped) = match end.encapsulation {
            Encapsulation::Udp => (steer::Encapsulation::Udp, packet::Encapsulation::Udp),
            Encapsulation::Ethernet => (steer::Encapsulation::Ethernet, packet::Encapsulation::Ethernet),
        };
        let mut program = ReceivingLink::attach(&end.own.interface, end.port, steered)?;
        let mut mode = program.mode().to_string();
        let mut opened: Vec<Queues> = (0..lanes.max(1)).map(|_| Queues::default()).collect();
        for queue in 0..interface.rx_queues {
            let socket = RxSocket::open(&RxConfig::one_of(&end.own.interface, queue, interface.rx_queues))?;
            program.register(queue, socket.as_fd())?;
            mode = format!("{}/{}", program.mode(), socket.mode());
            let lane = queue as usize % opened.len();
            opened[lane].queues.push(XdpRx::new(socket, stripped));
        }
        Ok(Self { program, lanes: opened, mode })
    }
}

/// Opens `end` through the kernel.
pub fn open_socket_rx(end: &LinkEnd<'_>) -> anyhow::Result<SocketRx> {
    end.check_interface_if_there()?;
    let at = SocketAddr::from((end.own.address, end.port));
    SocketRx::open(at).with_context(|| {
        let interface = &end.own.interface;
        format!("cannot receive at {at} ({} address and [link] port); give {interface} that address", end.table)
    })
}

impl ReceiveLink {
    /// Takes over what a lane's receiver has seen, what its port had no room for, and what did not leave into the zone.
    pub fn publish(&self, receiver: &ReceiverCounters, overflow: u64, zone_errors: u64) {
        self.zone_errors.set(zone_errors);
        self.accepted.set(receiver.frames);
        self.bytes.set(receiver.frame_bytes);
        self.heartbeats.set(receiver.heartbeats);
        self.unneeded.set(receiver.unneeded);
        self.blocks_complete.set(receiver.blocks_complete);
        self.blocks_recovered.set(receiver.blocks_recovered);
        self.blocks_abandoned.set(receiver.blocks_abandoned);
        self.symbols_recovered.set(receiver.symbols_recovered);
        self.symbols_lost.set(receiver.symbols_lost);
        self.records_broken.set(receiver.records_broken);
        for (reason, count) in [
            (FrameDropped::Malformed, receiver.malformed),
            (FrameDropped::Version, receiver.version),
            (FrameDropped::Unsealed, receiver.unsealed),
            (FrameDropped::SealedWithoutKey, receiver.sealed_without_key),
            (FrameDropped::BadTag, receiver.bad_tag),
            (FrameDropped::Replayed, receiver.replayed),
            (FrameDropped::OldEpoch, receiver.old_epoch),
            (FrameDropped::UnknownChannel, receiver.unknown_channel),
            (FrameDropped::ForeignLane, receiver.foreign_lane),
            (FrameDropped::Oversize, receiver.oversize),
            (FrameDropped::Contradiction, receiver.contradictions),
            (FrameDropped::PoolFull, receiver.pool_full),
            (FrameDropped::Overflow, overflow),
        ] {
            self.dropped.of(reason).set(count);
        }
    }

    /// Takes over what the program dropped. For the control thread's slot.
    pub fn publish_program(&self, program: &ReceivingLink) {
        match program.counters() {
            Ok(counts) => {
                let not_for_us = counts.not_frame + counts.other_port + counts.bad_magic + counts.fragment;
                self.dropped.of(FrameDropped::NotForUs).set(not_for_us);
                self.dropped.of(FrameDropped::Malformed).set(counts.malformed);
                self.dropped.of(FrameDropped::NoSocket).set(counts.no_socket);
            }
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Takes over what the kernel's socket on `port` had no room for, which is known only while it is open. For the
    /// control thread's slot.
    pub fn publish_socket(&self, port: u16) {
        let overflow = self.dropped.of(FrameDropped::Overflow);
        overflow.set(overflow.get().max(UdpDrops::read().of(port)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue with so many frames of this byte.
    struct Waiting(usize, u8);

    impl RxPort for Waiting {
        fn receive(&mut self, max: usize, each: &mut dyn FnMut(&mut [u8])) -> io::Result<usize> {
            let count = self.0.min(max);
            (0..count).for_each(|_| each(&mut [self.1]));
            self.0 -= count;
            Ok(count)
        }
    }

    /// The lane takes a full batch as a sign that more waits, and does not look at its clocks.
    #[test]
    fn a_batch_of_several_queues_is_full_only_if_more_may_wait() {
        let mut queues = Queues { queues: vec![Waiting(40, 0), Waiting(40, 1)], first: 0 };
        let mut heard = [0; 2];
        let mut receive =
            || queues.receive(64, &mut |frame| heard[usize::from(frame[0])] += 1).expect("memory does not fail");
        assert_eq!([receive(), receive(), receive()], [64, 16, 0]);
        assert_eq!(heard, [40, 40]);
    }

    #[test]
    fn no_queue_starves_beside_one_that_is_always_full() {
        let mut queues = Queues { queues: vec![Waiting(1_000, 0), Waiting(100, 1), Waiting(100, 2)], first: 0 };
        let mut heard = [0; 3];
        for _ in 0..6 {
            queues.receive(64, &mut |frame| heard[usize::from(frame[0])] += 1).expect("memory does not fail");
        }
        assert_eq!(heard[1..], [100, 100], "two batches of six begin with each");
    }
}
