//! Drop events out of the kernel's ring.

use std::{
    fmt, mem,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    ptr,
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use relay_ebpf::{REASON_NO_SOCKET, REASON_REFUSED_SOURCE};

use super::rules::Protocol;

/// Why a packet of a stream was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Its source is not allowed.
    RefusedSource,
    /// It is allowed, but no `AF_XDP` socket is registered for its receive queue.
    NoSocket,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RefusedSource => "source not allowed",
            Self::NoSocket => "no AF_XDP socket on the receive queue",
        })
    }
}

/// One dropped packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropEvent {
    /// When, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// Why.
    pub reason: DropReason,
    /// The stream's slot.
    pub slot: u32,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Source address and port.
    pub source: SocketAddr,
    /// The stream's port.
    pub destination_port: u16,
    /// Further events on the same CPU that the rate limit withheld before this one.
    pub suppressed: u32,
}

/// The ring of drop events. Wait until its descriptor is readable, then [`Events::drain`] it.
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// Hands over every event that is there and tells how many. Never waits. A call takes at most as many
    /// events as the ring holds, so a flood cannot keep it from returning.
    pub fn drain(&mut self, mut on_event: impl FnMut(DropEvent)) -> usize {
        let ring_events = relay_ebpf::EVENT_RING_BYTES as usize / size_of::<relay_ebpf::DropEvent>();
        let mut drained = 0;
        while drained < ring_events {
            let Some(item) = self.ring.next() else { break };
            drained += 1;
            if let Some(event) = decode(&item) {
                on_event(event);
            }
        }
        drained
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// None for what this version does not know: the ring is the kernel's word, but not worth a panic.
fn decode(bytes: &[u8]) -> Option<DropEvent> {
    if bytes.len() < mem::size_of::<relay_ebpf::DropEvent>() {
        return None;
    }
    // SAFETY: long enough, read without regard to alignment, and every bit pattern is a valid event.
    let raw: relay_ebpf::DropEvent = unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) };
    let [a, b, c, d, ..] = raw.source;
    let address: IpAddr = match raw.family {
        4 => [a, b, c, d].into(),
        6 => raw.source.into(),
        _ => return None,
    };
    Some(DropEvent {
        at: Duration::from_nanos(raw.time_ns),
        reason: match raw.reason {
            REASON_REFUSED_SOURCE => DropReason::RefusedSource,
            REASON_NO_SOCKET => DropReason::NoSocket,
            _ => return None,
        },
        slot: raw.slot,
        protocol: Protocol::from_number(raw.protocol)?,
        source: SocketAddr::new(address, raw.source_port),
        destination_port: raw.destination_port,
        suppressed: raw.suppressed,
    })
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn what_is_not_an_event_is_left_out() {
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[0; 39]), None);
        assert_eq!(decode(&[0xff; 40]), None);
    }
}
