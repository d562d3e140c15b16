//! From an Ethernet frame to the addresses and ports that decide about it.
//!
//! Owns the walk over Ethernet, VLAN, IPv4, IPv6 and its extension headers, UDP and TCP. Never decides.
//! Lengths in headers are checked against each other and the frame, so that what is given to a stream is
//! what the kernel would also have accepted as a datagram.

use relay_ebpf::{PROTOCOL_TCP, PROTOCOL_UDP};

use crate::cursor::{Bytes, Cursor, Cut};

/// Tags looked through: 802.1Q, or 802.1ad with 802.1Q inside. More do not occur in Ethernet networks.
const VLAN_TAGS_MAX: u32 = 2;
/// Extension headers looked through, a fragment header included. RFC 8200 section 4.1 has six in its
/// longest legitimate chain; real traffic has at most two. Each one doubles the verifier's work.
const EXTENSION_HEADERS_MAX: u32 = 4;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86DD;
/// IEEE 802.1Q customer tag.
const ETHERTYPE_VLAN: u16 = 0x8100;
/// IEEE 802.1ad service tag.
const ETHERTYPE_QINQ: u16 = 0x88A8;

/// RFC 791 section 3.1: "more fragments" and the offset in units of eight bytes.
const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;
/// RFC 8200 section 4.5: offset bits of the fragment header's second word.
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;

/// IPv6 next header values (RFC 8200 section 4, RFC 4302).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

#[repr(C)]
pub struct Ethernet {
    pub destination: [u8; 6],
    pub source: [u8; 6],
    ethertype: [u8; 2],
}

#[repr(C)]
struct Vlan {
    tag: [u8; 2],
    ethertype: [u8; 2],
}

#[repr(C)]
pub struct Ipv4 {
    version_ihl: u8,
    service: u8,
    total_len: [u8; 2],
    identification: [u8; 2],
    fragment: [u8; 2],
    ttl: u8,
    pub protocol: u8,
    checksum: [u8; 2],
    source: [u8; 4],
    destination: [u8; 4],
}

#[repr(C)]
struct Ipv6 {
    version_class_flow: [u8; 4],
    payload_len: [u8; 2],
    next_header: u8,
    hop_limit: u8,
    source: [[u8; 8]; 2],
    destination: [u8; 16],
}

/// Hop-by-hop, routing and destination options: the fixed part.
#[repr(C)]
struct Extension {
    next_header: u8,
    len: u8,
}

#[repr(C)]
struct FragmentHeader {
    next_header: u8,
    reserved: u8,
    offset: [u8; 2],
    identification: [u8; 4],
}

#[repr(C)]
pub struct Ports {
    source: [u8; 2],
    destination: [u8; 2],
}

/// Behind the ports.
#[repr(C)]
struct UdpRest {
    len: [u8; 2],
    checksum: [u8; 2],
}

#[repr(C)]
struct TcpRest {
    sequence: [u8; 8],
    data_offset: u8,
    flags_to_urgent: [u8; 7],
}

macro_rules! bytes {
    ($($header:ty),+) => {
        // SAFETY: `repr(C)` with `u8` and `[u8; N]` fields only.
        $(unsafe impl Bytes for $header {})+
    };
}
bytes!(Ethernet, Vlan, Ipv4, Ipv6, Extension, FragmentHeader, Ports, UdpRest, TcpRest);

/// Bytes of a UDP header.
pub const UDP_HEADER_LEN: u32 = (size_of::<Ports>() + size_of::<UdpRest>()) as u32;

/// Why a frame has no [`Flow`].
pub enum NoFlow {
    /// Another protocol.
    Other,
    /// Cut off, or lengths that contradict each other.
    Malformed,
    /// Too many or too long headers in front of the ports.
    TooDeep,
    /// A fragment without ports.
    LaterFragment,
}

impl From<Cut> for NoFlow {
    #[inline(always)]
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Truncated => Self::Malformed,
            Cut::OutOfReach => Self::TooDeep,
        }
    }
}

/// A source address as its bytes lie in memory: two words stay in registers, where a byte array would be
/// cleared by a call of `memset`. IPv4 is the first four bytes, the rest zero.
#[derive(Clone, Copy)]
pub struct Source(u64, u64);

impl Source {
    #[inline(always)]
    fn v4(address: [u8; 4]) -> Self {
        let [a, b, c, d] = address;
        Self(u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), 0)
    }

    #[inline(always)]
    fn v6(address: &[[u8; 8]; 2]) -> Self {
        Self(u64::from_ne_bytes(address[0]), u64::from_ne_bytes(address[1]))
    }

    /// The IPv4 address.
    #[inline(always)]
    pub fn first(self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.0.to_ne_bytes();
        [a, b, c, d]
    }

    #[inline(always)]
    pub fn bytes(self) -> [u8; 16] {
        let bytes = u128::from_le(u128::from(self.1.to_le()) << 64 | u128::from(self.0.to_le()));
        bytes.to_ne_bytes()
    }
}

/// Who sends to which port.
pub struct Flow {
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
    /// A first fragment, or a datagram with a fragment header: for the kernel to put together.
    pub fragment: bool,
    pub source: Source,
    pub source_port: u16,
    pub destination_port: u16,
}

/// Behind the IP headers: what the transport header needs to know.
struct Network {
    protocol: u8,
    family: u8,
    fragment: bool,
    source: Source,
    /// Bytes of the IP payload behind all extension headers.
    payload_len: u32,
}

/// Reads everything behind the Ethernet header.
#[inline(always)]
pub fn flow(cursor: &mut Cursor, ethernet: &Ethernet) -> Result<Flow, NoFlow> {
    let network = match network_type(cursor, ethernet)? {
        ETHERTYPE_IPV4 => ipv4(cursor)?,
        ETHERTYPE_IPV6 => ipv6(cursor)?,
        _ => return Err(NoFlow::Other),
    };
    transport(cursor, network)
}

/// Looks through VLAN tags.
#[inline(always)]
fn network_type(cursor: &mut Cursor, ethernet: &Ethernet) -> Result<u16, NoFlow> {
    let mut ethertype = ethernet.ethertype();
    for _ in 0..VLAN_TAGS_MAX {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        ethertype = u16::from_be_bytes(cursor.take::<Vlan>()?.ethertype);
    }
    Ok(ethertype)
}

impl Ethernet {
    #[inline(always)]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes(self.ethertype)
    }

    /// Whether the frame is IPv4 without a VLAN tag.
    #[inline(always)]
    pub fn is_ipv4(&self) -> bool {
        self.ethertype() == ETHERTYPE_IPV4
    }
}

impl Ipv4 {
    /// Reads the header with its options and checks its lengths; gives the payload's length as well.
    #[inline(always)]
    pub fn take<'a>(cursor: &mut Cursor) -> Result<(&'a Self, u32), NoFlow> {
        let available = cursor.remaining();
        let header = cursor.take::<Self>()?;
        let header_len = u32::from(header.version_ihl & 0x0f) * 4;
        let total_len = u32::from(u16::from_be_bytes(header.total_len));
        if header.version_ihl >> 4 != 4
            || header_len < size_of::<Self>() as u32
            || total_len < header_len
            || total_len > available
        {
            return Err(NoFlow::Malformed);
        }
        cursor.skip(header_len - size_of::<Self>() as u32);
        Ok((header, total_len - header_len))
    }

    #[inline(always)]
    fn fragment_word(&self) -> u16 {
        u16::from_be_bytes(self.fragment)
    }

    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment_word() & IPV4_FRAGMENT_OFFSET != 0
    }

    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.fragment_word() & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET) != 0
    }
}

#[inline(always)]
fn ipv4(cursor: &mut Cursor) -> Result<Network, NoFlow> {
    let (header, payload_len) = Ipv4::take(cursor)?;
    if header.is_later_fragment() {
        return Err(NoFlow::LaterFragment);
    }
    Ok(Network {
        protocol: header.protocol,
        family: 4,
        fragment: header.is_fragment(),
        source: Source::v4(header.source),
        payload_len,
    })
}

#[inline(always)]
fn ipv6(cursor: &mut Cursor) -> Result<Network, NoFlow> {
    let header = cursor.take::<Ipv6>()?;
    let payload_len = u32::from(u16::from_be_bytes(header.payload_len));
    if header.version_class_flow[0] >> 4 != 6 || payload_len > cursor.remaining() {
        return Err(NoFlow::Malformed);
    }
    let mut network = Network {
        protocol: header.next_header,
        family: 6,
        fragment: false,
        source: Source::v6(&header.source),
        payload_len,
    };
    for _ in 0..EXTENSION_HEADERS_MAX {
        if !extension(cursor, &mut network)? {
            return Ok(network);
        }
    }
    if is_extension(network.protocol) {
        return Err(NoFlow::TooDeep);
    }
    Ok(network)
}

#[inline(always)]
fn is_extension(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// Looks through one extension header; false if there is none here.
#[inline(always)]
fn extension(cursor: &mut Cursor, network: &mut Network) -> Result<bool, NoFlow> {
    let kind = network.protocol;
    if !is_extension(kind) {
        return Ok(false);
    }
    let len = if kind == FRAGMENT {
        let header = cursor.take::<FragmentHeader>()?;
        if u16::from_be_bytes(header.offset) & IPV6_FRAGMENT_OFFSET != 0 {
            return Err(NoFlow::LaterFragment);
        }
        network.protocol = header.next_header;
        network.fragment = true;
        size_of::<FragmentHeader>() as u32
    } else {
        let header = cursor.take::<Extension>()?;
        network.protocol = header.next_header;
        // RFC 8200 counts eights beyond the first; RFC 4302 section 2.2 counts fours beyond two.
        let len =
            if kind == AUTHENTICATION { (u32::from(header.len) + 2) * 4 } else { (u32::from(header.len) + 1) * 8 };
        cursor.skip(len - size_of::<Extension>() as u32);
        len
    };
    if len > network.payload_len {
        return Err(NoFlow::Malformed);
    }
    network.payload_len -= len;
    Ok(true)
}

#[inline(always)]
fn transport(cursor: &mut Cursor, network: Network) -> Result<Flow, NoFlow> {
    if network.protocol != PROTOCOL_UDP && network.protocol != PROTOCOL_TCP {
        return Err(NoFlow::Other);
    }
    let (source_port, destination_port) = if network.protocol == PROTOCOL_UDP {
        udp(cursor, network.payload_len, network.fragment)?.0.pair()
    } else {
        tcp(cursor, network.payload_len, network.fragment)?
    };
    Ok(Flow {
        protocol: network.protocol,
        family: network.family,
        fragment: network.fragment,
        source: network.source,
        source_port,
        destination_port,
    })
}

/// Reads a UDP header (RFC 768): its ports, and the length of header and payload. The length of a first fragment
/// speaks of the whole datagram and is not checked.
#[inline(always)]
pub fn udp<'a>(cursor: &mut Cursor, payload_len: u32, fragment: bool) -> Result<(&'a Ports, u32), NoFlow> {
    let ports = cursor.take::<Ports>()?;
    let rest = cursor.take::<UdpRest>()?;
    let len = u32::from(u16::from_be_bytes(rest.len));
    if payload_len < UDP_HEADER_LEN || (!fragment && (len < UDP_HEADER_LEN || len > payload_len)) {
        return Err(NoFlow::Malformed);
    }
    Ok((ports, len))
}

/// Reads a TCP header (RFC 9293 section 3.1). A first fragment need not hold all of it.
#[inline(always)]
fn tcp(cursor: &mut Cursor, payload_len: u32, fragment: bool) -> Result<(u16, u16), NoFlow> {
    let ports = cursor.take::<Ports>()?;
    if fragment {
        if payload_len < size_of::<Ports>() as u32 {
            return Err(NoFlow::Malformed);
        }
        return Ok(ports.pair());
    }
    let rest = cursor.take::<TcpRest>()?;
    let least = (size_of::<Ports>() + size_of::<TcpRest>()) as u32;
    let header_len = u32::from(rest.data_offset >> 4) * 4;
    if header_len < least || header_len > payload_len {
        return Err(NoFlow::Malformed);
    }
    Ok(ports.pair())
}

impl Ports {
    #[inline(always)]
    pub fn pair(&self) -> (u16, u16) {
        (u16::from_be_bytes(self.source), u16::from_be_bytes(self.destination))
    }
}
