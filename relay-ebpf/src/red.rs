//! RED's program: diode frames and nothing else.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_REDIRECT},
    macros::{map, xdp},
    maps::{Array, PerCpuArray},
    programs::XdpContext,
};
use relay_ebpf::{ENCAPSULATION_UDP, FRAME_ETHERTYPE, FRAME_MAGIC, PROTOCOL_UDP, RedLinkConfig, RedLinkCounters};

use crate::{
    SOCKETS,
    cursor::{Cursor, Cut},
    headers::{self, Ethernet, Ipv4, NoFlow, UDP_HEADER_LEN},
};

#[map]
static RED_LINK: Array<RedLinkConfig> = Array::with_max_entries(1, 0);
#[map]
static RED_LINK_COUNTERS: PerCpuArray<RedLinkCounters> = PerCpuArray::with_max_entries(1, 0);

/// Why a packet on the link is no diode frame.
enum NoFrame {
    NotFrame,
    OtherPort,
    BadMagic,
    Fragment,
    Malformed,
}

impl From<Cut> for NoFrame {
    #[inline(always)]
    fn from(_: Cut) -> Self {
        Self::Malformed
    }
}

impl From<NoFlow> for NoFrame {
    #[inline(always)]
    fn from(_: NoFlow) -> Self {
        Self::Malformed
    }
}

/// From the diode: frames of the configured kind to `AF_XDP`, all else nowhere.
#[xdp(frags)]
pub fn red_link(ctx: XdpContext) -> u32 {
    let (Some(config), Some(counters)) = (RED_LINK.get(0), RED_LINK_COUNTERS.get_ptr_mut(0)) else {
        return XDP_DROP;
    };
    // SAFETY: this CPU's own entry, and XDP does not nest.
    let counters = unsafe { &mut *counters };
    let mut cursor = Cursor::new(&ctx);
    if let Err(no_frame) = frame(&mut cursor, config) {
        match no_frame {
            NoFrame::NotFrame => counters.not_frame += 1,
            NoFrame::OtherPort => counters.other_port += 1,
            NoFrame::BadMagic => counters.bad_magic += 1,
            NoFrame::Fragment => counters.fragment += 1,
            NoFrame::Malformed => counters.malformed += 1,
        }
        return XDP_DROP;
    }
    if SOCKETS.redirect(ctx.rx_queue_index(), u64::from(XDP_DROP)).is_err() {
        counters.no_socket += 1;
        return XDP_DROP;
    }
    counters.frames += 1;
    counters.frame_bytes += u64::from(cursor.frame_len());
    XDP_REDIRECT
}

#[inline(always)]
fn frame(cursor: &mut Cursor, config: &RedLinkConfig) -> Result<(), NoFrame> {
    let ethernet = cursor.take::<Ethernet>()?;
    if config.encapsulation == ENCAPSULATION_UDP {
        udp_payload(cursor, ethernet, config.port)?;
    } else if ethernet.ethertype() != FRAME_ETHERTYPE {
        return Err(NoFrame::NotFrame);
    }
    if *cursor.take::<[u8; 2]>()? == FRAME_MAGIC { Ok(()) } else { Err(NoFrame::BadMagic) }
}

/// Moves to the payload of a datagram to the frames' port.
#[inline(always)]
fn udp_payload(cursor: &mut Cursor, ethernet: &Ethernet, port: u16) -> Result<(), NoFrame> {
    if !ethernet.is_ipv4() {
        return Err(NoFrame::NotFrame);
    }
    let (header, payload_len) = Ipv4::take(cursor)?;
    if header.protocol != PROTOCOL_UDP {
        return Err(NoFrame::NotFrame);
    }
    if header.is_fragment() {
        return Err(NoFrame::Fragment);
    }
    let (ports, len) = headers::udp(cursor, payload_len, false)?;
    if ports.pair().1 != port {
        return Err(NoFrame::OtherPort);
    }
    // What follows may be Ethernet's padding, and no part of the datagram.
    if len < UDP_HEADER_LEN + FRAME_MAGIC.len() as u32 {
        return Err(NoFrame::Malformed);
    }
    Ok(())
}
