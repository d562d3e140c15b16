//! Types shared between the XDP programs and userspace.
//!
//! Owns the layout of every map key, map value and ring-buffer event, and the limits of the maps. Never
//! holds logic of either side. All types are `repr(C)` with their padding spelled out, so that both
//! compilers agree on every byte and no padding byte is ever left unwritten.
//!
//! ```text
//! STREAMS  (hash)          StreamKey {protocol, port}     -> Stream {slot, list, flags}
//! SOURCES_V4/V6 (LPM trie) prefix, Source* {list, address} -> u32, always 1
//! STREAM_COUNTERS (percpu) slot                           -> StreamCounters
//! INGRESS, INGRESS_COUNTERS, EVENT_WINDOW, EVENTS            BLUE ingress: configuration, counts, events
//! LINK_COUNTERS                                              BLUE link
//! RED_LINK, RED_LINK_COUNTERS                                RED link: configuration, counts
//! SOCKETS  (XSKMAP)        RX queue                       -> AF_XDP socket
//! ```
#![no_std]

/// Most streams a host may have: slots 0 to 1023. One stream costs 48 bytes of counters per CPU, so this
/// is 48 KiB per CPU; an installation with more streams than this would outgrow its site file first.
pub const STREAMS_MAX: u32 = 1024;

/// Entries of each source trie. Tries take memory only for what they hold (`BPF_F_NO_PREALLOC`), so this
/// only bounds a mistake. Twice [`SOURCES_PER_FAMILY_MAX`], since an update adds before it removes.
pub const SOURCE_ENTRIES: u32 = 2 * SOURCES_PER_FAMILY_MAX;

/// Most source prefixes of one address family over all streams.
pub const SOURCES_PER_FAMILY_MAX: u32 = 65_536;

/// Receive queues that can have an `AF_XDP` socket: more than the widest NIC in use (256 queues), at eight
/// bytes each.
pub const QUEUES_MAX: u32 = 1024;

/// Bytes of the event ring: a power of two and whole pages, as the kernel asks for. Holds 1,365 events
/// (40 bytes and the kernel's 8), over ten seconds at the default rate limit on one CPU.
pub const EVENT_RING_BYTES: u32 = 64 * 1024;

/// Bits of [`SourceV4::list`] and [`SourceV6::list`], which every prefix length counts in full.
pub const LIST_BITS: u32 = 32;

/// IP protocol number of TCP (RFC 9293).
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP (RFC 768).
pub const PROTOCOL_UDP: u8 = 17;

/// [`Stream::flags`]: allowed packets go on to the kernel's own socket, not to `AF_XDP`.
pub const STREAM_TO_KERNEL: u32 = 1;

/// [`DropEvent::reason`]: the source is in none of the stream's prefixes.
pub const REASON_REFUSED_SOURCE: u8 = 1;
/// [`DropEvent::reason`]: allowed, but no `AF_XDP` socket is bound to the packet's receive queue.
pub const REASON_NO_SOCKET: u8 = 2;

/// [`RedLinkConfig::encapsulation`]: frames are UDP datagrams over IPv4.
pub const ENCAPSULATION_UDP: u8 = 0;
/// [`RedLinkConfig::encapsulation`]: frames follow the Ethernet header directly.
pub const ENCAPSULATION_ETHERNET: u8 = 1;

/// First two bytes of every diode frame; the same as in the wire protocol.
pub const FRAME_MAGIC: [u8; 2] = [0xD1, 0x0D];
/// `EtherType` of diode frames directly in Ethernet: local experimental 1 (IEEE 802, RFC 9542 section 3).
pub const FRAME_ETHERTYPE: u16 = 0x88B5;

/// Key of the stream table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    /// [`PROTOCOL_UDP`] or [`PROTOCOL_TCP`].
    pub protocol: u8,
    /// Always zero.
    pub padding: u8,
    /// Destination port, in host byte order.
    pub port: u16,
}

/// Value of the stream table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The stream's index in the counters and its name in events; below [`STREAMS_MAX`].
    pub slot: u32,
    /// The stream's source list in the tries. Never reused, so that an update cannot mix two lists.
    pub list: u32,
    /// [`STREAM_TO_KERNEL`] or 0.
    pub flags: u32,
}

/// Data of an IPv4 source prefix, after the prefix length. Bytes only: the trie compares them in order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceV4 {
    /// [`Stream::list`] in native byte order.
    pub list: [u8; 4],
    /// Address in network order.
    pub address: [u8; 4],
}

/// Data of an IPv6 source prefix, after the prefix length.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceV6 {
    /// [`Stream::list`] in native byte order.
    pub list: [u8; 4],
    /// Address in network order.
    pub address: [u8; 16],
}

/// What BLUE ingress does where the design leaves a choice.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngressConfig {
    /// The interface's address; other unicast destinations are not relayed. All zero: not checked.
    pub own_mac: [u8; 6],
    /// 1 drops whatever belongs to no stream; 0 passes it to the kernel.
    pub drop_other: u8,
    /// Always zero.
    pub padding: u8,
    /// Drop events per second and CPU; what exceeds it is counted only. 0 turns events off.
    pub events_per_second: u32,
}

/// Counts of one stream on BLUE ingress, in packets where no unit is named.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Allowed and given to an `AF_XDP` socket.
    pub allowed: u64,
    /// Bytes of `allowed`, whole Ethernet frames without checksum.
    pub allowed_bytes: u64,
    /// Allowed and passed to the kernel (TCP).
    pub passed: u64,
    /// Allowed first fragments, passed to the kernel to be put together.
    pub fragments: u64,
    /// Dropped: the source is in none of the stream's prefixes.
    pub refused_source: u64,
    /// Dropped: no `AF_XDP` socket is bound to the receive queue.
    pub no_socket: u64,
}

/// Counts of BLUE ingress that belong to no stream, in packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngressCounters {
    /// Well-formed, but of no stream.
    pub other: u64,
    /// Headers cut off or contradicting each other; treated as `other`.
    pub malformed: u64,
    /// Dropped: more extension headers, or longer ones, than the program can look through.
    pub headers_too_deep: u64,
    /// Fragments after the first, passed to the kernel.
    pub later_fragments: u64,
    /// Sent to another host's address, passed to the kernel.
    pub other_mac: u64,
    /// Events written to the ring.
    pub events: u64,
    /// Events withheld by the rate limit.
    pub events_suppressed: u64,
    /// Events lost because the ring was full.
    pub events_lost: u64,
}

/// Counts of the BLUE link, in packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlueLinkCounters {
    /// Dropped: nothing may ever come from the link.
    pub dropped: u64,
}

/// What RED link takes for a diode frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedLinkConfig {
    /// UDP port of the frames, in host byte order.
    pub port: u16,
    /// [`ENCAPSULATION_UDP`] or [`ENCAPSULATION_ETHERNET`].
    pub encapsulation: u8,
    /// Always zero.
    pub padding: u8,
}

/// Counts of the RED link, in packets where no unit is named. All but the first two were dropped.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedLinkCounters {
    /// Diode frames given to an `AF_XDP` socket.
    pub frames: u64,
    /// Bytes of `frames`, whole Ethernet frames without checksum.
    pub frame_bytes: u64,
    /// Not UDP over IPv4, or not the frames' `EtherType`.
    pub not_frame: u64,
    /// UDP to another port.
    pub other_port: u64,
    /// The payload does not start with [`FRAME_MAGIC`].
    pub bad_magic: u64,
    /// A fragment of an IPv4 datagram: BLUE never makes any.
    pub fragment: u64,
    /// Headers cut off or contradicting each other.
    pub malformed: u64,
    /// No `AF_XDP` socket is bound to the receive queue.
    pub no_socket: u64,
}

/// One dropped packet, as written to the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropEvent {
    /// `CLOCK_MONOTONIC` at the drop, in nanoseconds.
    pub time_ns: u64,
    /// Source address in network order; IPv4 in the first four bytes, the rest zero.
    pub source: [u8; 16],
    /// The stream's slot.
    pub slot: u32,
    /// Events that the rate limit withheld on this CPU since the previous one; stops at the top.
    pub suppressed: u32,
    /// Source port, in host byte order.
    pub source_port: u16,
    /// Destination port, in host byte order.
    pub destination_port: u16,
    /// [`REASON_REFUSED_SOURCE`] or [`REASON_NO_SOCKET`].
    pub reason: u8,
    /// [`PROTOCOL_UDP`] or [`PROTOCOL_TCP`].
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
    /// Always zero.
    pub padding: u8,
}

/// The rate limit's state on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventWindow {
    /// `CLOCK_MONOTONIC` when the current second began, in nanoseconds.
    pub start_ns: u64,
    /// Events written in it.
    pub events: u32,
    /// Events withheld since the last one written.
    pub suppressed: u32,
}

/// Adds up the counts of one CPU and another's.
macro_rules! add {
    ($($counters:ty { $($field:ident),+ $(,)? })+) => {
        $(impl core::ops::AddAssign<&Self> for $counters {
            fn add_assign(&mut self, other: &Self) {
                // Names every field: a new one does not compile until it is added up too.
                let Self { $($field),+ } = self;
                $(*$field += other.$field;)+
            }
        })+
    };
}

add! {
    StreamCounters { allowed, allowed_bytes, passed, fragments, refused_source, no_socket }
    IngressCounters {
        other, malformed, headers_too_deep, later_fragments, other_mac, events, events_suppressed,
        events_lost,
    }
    BlueLinkCounters { dropped }
    RedLinkCounters {
        frames, frame_bytes, not_frame, other_port, bad_magic, fragment, malformed, no_socket,
    }
}

#[cfg(feature = "userspace")]
mod pod {
    use super::{
        BlueLinkCounters, DropEvent, EventWindow, IngressConfig, IngressCounters, RedLinkConfig, RedLinkCounters,
        SourceV4, SourceV6, Stream, StreamCounters, StreamKey,
    };

    macro_rules! pod {
        ($($type:ty),+ $(,)?) => {
            // SAFETY: `repr(C)`, integers and byte arrays only, no implicit padding (the sizes below
            // are the sums of the fields), every bit pattern valid.
            $(unsafe impl aya::Pod for $type {})+
        };
    }

    pod!(
        BlueLinkCounters,
        DropEvent,
        EventWindow,
        IngressConfig,
        IngressCounters,
        RedLinkConfig,
        RedLinkCounters,
        SourceV4,
        SourceV6,
        Stream,
        StreamCounters,
        StreamKey,
    );
}

// The sums of the fields: a field added without its padding would not compile.
const _: () = {
    assert!(size_of::<StreamKey>() == 4);
    assert!(size_of::<Stream>() == 12);
    assert!(size_of::<SourceV4>() == 8);
    assert!(size_of::<SourceV6>() == 20);
    assert!(size_of::<IngressConfig>() == 12);
    assert!(size_of::<StreamCounters>() == 6 * 8);
    assert!(size_of::<IngressCounters>() == 8 * 8);
    assert!(size_of::<BlueLinkCounters>() == 8);
    assert!(size_of::<RedLinkConfig>() == 4);
    assert!(size_of::<RedLinkCounters>() == 8 * 8);
    assert!(size_of::<DropEvent>() == 40);
    assert!(size_of::<EventWindow>() == 16);
};
