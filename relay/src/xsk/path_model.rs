//! The packet paths over a real umem, with a test in the kernel's place: bytes arrive as they were sent, and every
//! frame is always somewhere, once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::ring::memory::Plain;
use super::ring::{Consumer, Descriptor, Producer};
use super::rx::{GATHERED_MAX, RxPath, RxSocket};
use super::tx::{PACKET_MIN, TxPath, TxSocket};
use super::umem::{Frame, Pages, Umem};

const FRAME_SIZE: u32 = 2048;
/// Where the kernel puts a received packet in its frame.
const HEADROOM: u64 = 256;

fn umem(frames: u32) -> Umem {
    Umem::new(frames, FRAME_SIZE, false).unwrap()
}

/// A packet whose bytes tell its number and length.
fn pattern(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (number.wrapping_mul(31) ^ at.wrapping_mul(7)) as u8).collect()
}

/// Reads or writes umem bytes as the kernel does: by address, with no token.
fn kernel_bytes(umem: &mut Umem, addr: u64, len: usize) -> &mut [u8] {
    assert!(addr + len as u64 <= umem.len());
    // SAFETY: inside the mapping, as just checked; tests are single-threaded and use the slice before any other.
    unsafe { std::slice::from_raw_parts_mut((umem.start() + addr) as *mut u8, len) }
}

/// The kernel's side of a sending socket.
struct TxKernel {
    tx_ring: Arc<Plain<Descriptor>>,
    completion_ring: Arc<Plain<u64>>,
    tx: Consumer<Descriptor>,
    completion: Producer<u64>,
    /// Taken from the TX ring and not completed yet.
    in_flight: VecDeque<u64>,
    sent: Vec<Vec<u8>>,
    /// The last packet has more pieces.
    is_open: bool,
}

impl TxKernel {
    fn new(ring: u32, frames: u32, cursor: u32) -> (Self, TxPath) {
        let tx_ring = Plain::<Descriptor>::new(ring, cursor);
        let completion_ring = Plain::<u64>::new(frames.next_power_of_two(), cursor);
        tx_ring.flags.store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
        let path = TxPath::new(tx_ring.as_producer(), completion_ring.as_consumer());
        let (tx, completion) = (tx_ring.as_consumer(), completion_ring.as_producer());
        (
            Self {
                tx_ring,
                completion_ring,
                tx,
                completion,
                in_flight: VecDeque::new(),
                sent: Vec::new(),
                is_open: false,
            },
            path,
        )
    }

    /// Takes up to `max` pieces of packets from the TX ring.
    fn send(&mut self, umem: &mut Umem, max: usize) -> usize {
        let mut taken = 0;
        while taken < max {
            let Some(descriptor) = self.tx.pop() else { break };
            let piece = kernel_bytes(umem, descriptor.addr, descriptor.len as usize);
            match self.sent.last_mut().filter(|_| self.is_open) {
                Some(packet) => packet.extend_from_slice(piece),
                None => self.sent.push(piece.to_vec()),
            }
            self.is_open = descriptor.options & libc::XDP_PKT_CONTD != 0;
            self.in_flight.push_back(descriptor.addr);
            taken += 1;
        }
        self.tx.release();
        taken
    }

    /// Completes up to `max` of the pieces in flight.
    fn complete(&mut self, max: usize) {
        for _ in 0..max.min(self.in_flight.len()) {
            assert!(self.completion.push(self.in_flight.pop_front().unwrap()));
        }
        self.completion.publish();
    }
}

#[derive(Clone, Copy, Debug)]
enum TxStep {
    Take,
    Submit(u32),
    Release,
    /// Kick; the kernel takes so many per call, then answers with this errno.
    Kick(usize, i32),
    Complete(usize),
    Reap,
}

fn tx_steps() -> impl Strategy<Value = Vec<TxStep>> {
    let errno = prop::sample::select(vec![0, libc::EAGAIN, libc::EBUSY, libc::ENOBUFS, libc::ENETDOWN, libc::ENXIO]);
    let step = prop_oneof![
        4 => Just(TxStep::Take),
        4 => (0..FRAME_SIZE + 2).prop_map(TxStep::Submit),
        1 => Just(TxStep::Release),
        2 => (0usize..40, errno).prop_map(|(most, errno)| TxStep::Kick(most, errno)),
        2 => (0usize..40).prop_map(TxStep::Complete),
        1 => Just(TxStep::Reap),
    ];
    prop::collection::vec(step, 1..300)
}

/// A sending path, the kernel's side of it, and what should have been sent.
struct TxWorld {
    umem: Umem,
    path: TxPath,
    kernel: TxKernel,
    held: Vec<Frame>,
    expected: Vec<Vec<u8>>,
    frames: u32,
}

impl TxWorld {
    fn new(ring: u32, frames: u32, cursor: u32) -> Self {
        let (kernel, path) = TxKernel::new(ring, frames, cursor);
        Self { umem: umem(frames), path, kernel, held: Vec::new(), expected: Vec::new(), frames }
    }

    fn submit(&mut self, len: u32) {
        let Some(mut frame) = self.held.pop() else { return };
        let bytes = pattern(self.expected.len() as u64, len.min(FRAME_SIZE) as usize);
        self.umem.bytes(&mut frame)[..bytes.len()].copy_from_slice(&bytes);
        match self.path.submit(&mut self.umem, frame, len) {
            Ok(()) => {
                assert!((PACKET_MIN..=FRAME_SIZE).contains(&len));
                self.expected.push(bytes);
            }
            Err(frame) => self.held.push(frame),
        }
    }

    fn kick(&mut self, most: usize, errno: i32) {
        let Self { umem, path, kernel, .. } = self;
        let result = path.kick(|| {
            kernel.send(umem, most);
            if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
        });
        match result {
            Ok(waiting) => assert_eq!(waiting as usize, self.expected.len() - self.kernel.sent.len()),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENXIO), "only a lost interface is an error"),
        }
    }

    fn apply(&mut self, step: TxStep) {
        match step {
            TxStep::Take => self.held.extend(self.path.take(&mut self.umem)),
            TxStep::Submit(len) => self.submit(len),
            TxStep::Release => {
                if let Some(frame) = self.held.pop() {
                    self.path.release(&mut self.umem, frame);
                }
            }
            TxStep::Kick(most, errno) => self.kick(most, errno),
            TxStep::Complete(most) => self.kernel.complete(most),
            TxStep::Reap => {
                self.path.reap(&mut self.umem);
            }
        }
    }

    fn assert_conserved(&self) {
        assert_eq!(self.umem.free() + self.umem.lent() + self.held.len() as u32, self.frames);
        let counters = self.path.counters();
        assert_eq!(counters.submitted - counters.completed, u64::from(self.umem.lent()));
        assert_eq!((counters.kernel_faults, counters.foreign_frames), (0, 0));
    }
}

proptest! {
    #[test]
    fn sending_conserves_frames_and_bytes(
        ring in (3u32..7).prop_map(|shift| 1 << shift),
        frames in 1u32..80,
        cursor in prop_oneof![any::<u32>(), Just(u32::MAX - 20)],
        steps in tx_steps(),
    ) {
        let mut world = TxWorld::new(ring, frames, cursor);
        for step in steps {
            world.apply(step);
            world.assert_conserved();
        }
        while world.path.kick(|| { world.kernel.send(&mut world.umem, 32); Ok(()) }).unwrap() > 0 {}
        world.kernel.complete(usize::MAX);
        world.path.reap(&mut world.umem);
        world.assert_conserved();
        prop_assert_eq!(world.umem.lent(), 0);
        prop_assert_eq!(world.kernel.sent, world.expected);
    }
}

#[test]
fn a_kick_goes_on_while_the_kernel_takes_packets_and_no_longer() {
    let mut world = TxWorld::new(256, 256, 0);
    for _ in 0..256 {
        world.apply(TxStep::Take);
        world.apply(TxStep::Submit(60));
    }
    world.kick(32, libc::EAGAIN);
    assert_eq!(world.kernel.sent.len(), 256, "32 at a time, EAGAIN each time, until all are gone");
    assert_eq!(world.path.counters().kicks, 8);
    world.kernel.complete(256);
    world.apply(TxStep::Take);
    world.apply(TxStep::Submit(60));
    world.kick(0, libc::EAGAIN);
    assert_eq!(world.path.counters().kicks, 9, "no progress, no second call");
    world.kick(1, 0);
    assert_eq!(world.kernel.sent.len(), 257, "a kick with nothing new still moves what waits");
    world.kick(1, 0);
    assert_eq!(world.path.counters().kicks, 10, "an empty ring needs no call");
}

#[test]
fn a_driver_that_is_awake_is_not_called() {
    let mut world = TxWorld::new(64, 64, 0);
    world.kernel.tx_ring.flags.store(0, Ordering::Relaxed);
    world.apply(TxStep::Take);
    world.apply(TxStep::Submit(60));
    world.kick(1, 0);
    assert_eq!(world.path.counters().kicks, 0);
    assert_eq!(world.kernel.send(&mut world.umem, 1), 1, "but the packet is shown to it");
}

#[test]
fn a_full_ring_gives_the_frame_back() {
    let mut world = TxWorld::new(64, 65, 0);
    for _ in 0..65 {
        world.apply(TxStep::Take);
        world.apply(TxStep::Submit(60));
    }
    assert_eq!((world.held.len(), world.path.counters().ring_full), (1, 1));
    world.kick(64, 0);
    world.apply(TxStep::Submit(60));
    assert!(world.held.is_empty());
}

#[test]
fn a_frame_of_another_umem_is_refused_everywhere() {
    let mut world = TxWorld::new(64, 4, 0);
    let mut other = umem(4);
    let mut foreign = other.take().unwrap();
    assert!(world.umem.bytes(&mut foreign).is_empty());
    let foreign = world.path.submit(&mut world.umem, foreign, 60).unwrap_err();
    world.path.release(&mut world.umem, foreign);
    assert_eq!(world.path.counters().foreign_frames, 2);
    assert_eq!((world.umem.free(), world.umem.lent()), (4, 0));
}

#[test]
fn a_completion_of_what_was_never_sent_is_counted_and_dropped() {
    let mut world = TxWorld::new(64, 4, 0);
    let mut kernel = world.kernel.completion_ring.as_producer();
    for addr in [0, 4 * u64::from(FRAME_SIZE), u64::MAX] {
        assert!(kernel.push(addr));
    }
    kernel.publish();
    assert_eq!(world.path.reap(&mut world.umem), 0);
    assert_eq!(world.path.counters().kernel_faults, 3);
    assert_eq!(world.umem.free(), 4, "no second token of a free frame");
}

#[test]
fn long_packets_leave_in_pieces_and_their_frames_come_back_once() {
    let mut umem = Umem::new(4, 3 * 4096, false).unwrap();
    let (mut kernel, mut path) = TxKernel::new(8, 12, u32::MAX - 2);
    let mut submit = |umem: &mut Umem, len: usize| {
        let mut frame = path.take(umem).expect("a free frame");
        umem.bytes(&mut frame)[..len].copy_from_slice(&pattern(len as u64, len));
        path.submit(umem, frame, len as u32)
    };
    assert!([9014, 4096, 4097].iter().all(|len| submit(&mut umem, *len).is_ok()), "room for six pieces");
    let frame = submit(&mut umem, 12_288).expect_err("two slots are left, three are needed");
    path.release(&mut umem, frame);
    let waiting = path.kick(|| {
        kernel.send(&mut umem, 40);
        Ok(())
    });
    assert_eq!(waiting.unwrap(), 0);
    assert_eq!(kernel.sent, [9014, 4096, 4097].map(|len| pattern(len as u64, len)));
    for (completed, reaped) in [(2, 0), (1, 1), (1, 1), (1, 0), (1, 1)] {
        kernel.complete(completed);
        assert_eq!(path.reap(&mut umem), reaped);
    }
    assert_eq!((umem.free(), umem.lent(), path.counters().kernel_faults), (4, 0, 0));
}

/// The kernel's side of a receiving socket.
struct RxKernel {
    rx: Producer<Descriptor>,
    fill: Consumer<u64>,
    /// Taken from the fill ring, in no packet yet.
    frames: VecDeque<u64>,
}

impl RxKernel {
    fn new(ring: u32, frames: u32, cursor: u32) -> (Self, RxPath, Umem) {
        let rx_ring = Plain::<Descriptor>::new(ring, cursor);
        let fill_ring = Plain::<u64>::new(frames.next_power_of_two(), cursor);
        let mut path = RxPath::new(rx_ring.as_consumer(), fill_ring.as_producer());
        let mut umem = umem(frames);
        path.refill(&mut umem);
        let (rx, fill) = (rx_ring.as_producer(), fill_ring.as_consumer());
        (Self { rx, fill, frames: VecDeque::new() }, path, umem)
    }

    /// Receives one packet as the kernel does in copy mode: over as many frames as it needs, all or nothing.
    fn deliver(&mut self, umem: &mut Umem, packet: &[u8]) -> bool {
        self.frames.extend(std::iter::from_fn(|| self.fill.pop()));
        self.fill.release();
        let parts: Vec<&[u8]> = packet.chunks(FRAME_SIZE as usize - HEADROOM as usize).collect();
        if self.frames.len() < parts.len() || self.rx.size() - self.rx.waiting() < parts.len() as u32 {
            return false;
        }
        for (at, part) in parts.iter().enumerate() {
            let addr = self.frames.pop_front().unwrap() + HEADROOM;
            kernel_bytes(umem, addr, part.len()).copy_from_slice(part);
            let options = if at + 1 < parts.len() { libc::XDP_PKT_CONTD } else { 0 };
            assert!(self.rx.push(Descriptor { addr, len: part.len() as u32, options }));
        }
        self.rx.publish();
        true
    }

    /// Puts a descriptor into the RX ring, whatever it says.
    fn deliver_raw(&mut self, addr: u64, len: u32, options: u32) {
        assert!(self.rx.push(Descriptor { addr, len, options }));
        self.rx.publish();
    }

    /// A frame of the fill ring.
    fn frame(&mut self) -> u64 {
        let addr = self.fill.pop().unwrap();
        self.fill.release();
        addr
    }
}

fn received(path: &mut RxPath, umem: &mut Umem, max: usize) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let count = path.receive(umem, max, |packet| packets.push(packet.to_vec()));
    assert_eq!(count, packets.len());
    assert!(count <= max);
    packets
}

proptest! {
    #[test]
    fn receiving_conserves_frames_and_bytes(
        ring in (3u32..7).prop_map(|shift| 1 << shift),
        frames in 1u32..80,
        cursor in prop_oneof![any::<u32>(), Just(u32::MAX - 20)],
        batches in prop::collection::vec((prop::collection::vec(1usize..6000, 0..12), 0usize..20), 1..60),
    ) {
        let (mut kernel, mut path, mut umem) = RxKernel::new(ring, frames, cursor);
        let (mut expected, mut number) = (VecDeque::new(), 0);
        for (lengths, max) in batches {
            for len in lengths {
                number += 1;
                let packet = pattern(number, len);
                if kernel.deliver(&mut umem, &packet) {
                    expected.push_back(packet);
                }
            }
            for packet in received(&mut path, &mut umem, max) {
                prop_assert_eq!(Some(packet), expected.pop_front());
            }
            prop_assert_eq!((umem.free(), umem.lent()), (0, frames), "every frame is the kernel's between batches");
        }
        while !path.is_empty() {
            for packet in received(&mut path, &mut umem, 64) {
                prop_assert_eq!(Some(packet), expected.pop_front());
            }
        }
        prop_assert!(expected.is_empty());
        prop_assert_eq!(path.counters().kernel_faults, 0);
        kernel.frames.extend(std::iter::from_fn(|| kernel.fill.pop()));
        let mut all: Vec<u64> = kernel.frames.into();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), frames as usize, "the kernel has each frame once");
    }

    /// Descriptors that say anything at all: no panic, nothing read outside the umem, no frame twice.
    #[test]
    fn impossible_descriptors_do_no_harm(
        descriptors in prop::collection::vec((0u64..20 * u64::from(FRAME_SIZE), any::<u32>(), 0u32..2), 1..60),
    ) {
        let (mut kernel, mut path, mut umem) = RxKernel::new(64, 16, u32::MAX - 5);
        for (addr, len, options) in descriptors {
            kernel.deliver_raw(addr, len % 5000, options);
            path.receive(&mut umem, 64, |packet| assert!(packet.len() <= GATHERED_MAX));
            prop_assert_eq!(umem.free() + umem.lent(), 16);
        }
    }
}

#[test]
fn a_packet_may_come_in_fragments_over_several_batches() {
    let (mut kernel, mut path, mut umem) = RxKernel::new(64, 16, 0);
    let parts: Vec<Vec<u8>> = (0..3).map(|number| pattern(number, 1000)).collect();
    for (at, part) in parts.iter().enumerate() {
        let addr = kernel.frame() + HEADROOM;
        kernel_bytes(&mut umem, addr, part.len()).copy_from_slice(part);
        let last = at + 1 == parts.len();
        kernel.deliver_raw(addr, 1000, if last { 0 } else { libc::XDP_PKT_CONTD });
        let packets = received(&mut path, &mut umem, 64);
        assert_eq!(packets, if last { vec![parts.concat()] } else { vec![] });
    }
    assert_eq!(path.counters().gathered, 1);
}

#[test]
fn a_packet_longer_than_the_scratch_buffer_is_dropped_whole_and_counted() {
    let (mut kernel, mut path, mut umem) = RxKernel::new(64, 64, 0);
    assert!(kernel.deliver(&mut umem, &pattern(1, GATHERED_MAX)));
    assert!(!kernel.deliver(&mut umem, &pattern(2, GATHERED_MAX + 1)), "the RX ring is full: all or nothing");
    assert_eq!(received(&mut path, &mut umem, 64), [pattern(1, GATHERED_MAX)]);
    assert!(kernel.deliver(&mut umem, &pattern(2, GATHERED_MAX + 1)));
    assert!(kernel.deliver(&mut umem, &pattern(3, 100)));
    assert_eq!(received(&mut path, &mut umem, 64), [pattern(3, 100)]);
    let counters = path.counters();
    assert_eq!((counters.too_long, counters.packets, counters.gathered), (1, 2, 1));
    assert_eq!(counters.bytes, GATHERED_MAX as u64 + 100);
}

#[test]
fn a_broken_fragment_loses_its_packet_only() {
    let (mut kernel, mut path, mut umem) = RxKernel::new(64, 16, 0);
    let good = kernel.frame();
    kernel.deliver_raw(good, 500, libc::XDP_PKT_CONTD);
    kernel.deliver_raw(u64::MAX, 500, libc::XDP_PKT_CONTD);
    let tail = kernel.frame();
    kernel.deliver_raw(tail, 500, 0);
    assert!(kernel.deliver(&mut umem, &pattern(9, 700)));
    assert_eq!(received(&mut path, &mut umem, 64), [pattern(9, 700)]);
    let counters = path.counters();
    assert_eq!((counters.kernel_faults, counters.too_long), (1, 0));
    assert_eq!(umem.lent(), 16);
}

#[test]
fn a_descriptor_over_the_end_of_its_frame_is_refused() {
    let (mut kernel, mut path, mut umem) = RxKernel::new(64, 4, 0);
    let addr = kernel.frame();
    kernel.deliver_raw(addr + 1, FRAME_SIZE, 0);
    assert!(received(&mut path, &mut umem, 64).is_empty());
    assert_eq!(path.counters().kernel_faults, 1);
    assert_eq!(umem.lent(), 4, "its frame goes back to the kernel");
}

#[test]
fn frames_of_a_refused_socket_come_back_once() {
    let mut umem = umem(8);
    let frame = umem.take().unwrap();
    assert!(umem.lend(frame).is_ok());
    umem.take_back_all();
    assert_eq!((umem.free(), umem.lent()), (8, 0));
    let frames: Vec<Frame> = std::iter::from_fn(|| umem.take()).collect();
    let mut starts: Vec<u64> = frames.into_iter().map(|frame| umem.lend(frame).unwrap()).collect();
    starts.sort_unstable();
    starts.dedup();
    assert_eq!(starts.len(), 8, "each frame once");
}

#[test]
fn huge_pages_are_taken_where_there_are_any_and_what_was_taken_is_said() {
    assert_eq!(Umem::new(4, FRAME_SIZE, false).unwrap().pages(), Pages::Plain);
    let mut umem = Umem::new(4, FRAME_SIZE, true).unwrap();
    assert_eq!(umem.len(), 4 * u64::from(FRAME_SIZE), "rounding up to a huge page adds no frames");
    let mut last = std::iter::from_fn(|| umem.take()).last().unwrap();
    umem.bytes(&mut last).fill(1);
}

#[test]
fn sockets_may_move_to_a_lane_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<RxSocket>();
    assert_send::<TxSocket>();
    assert_send::<Frame>();
}
