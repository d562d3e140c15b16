//! BLUE's two programs: who may send, and nothing comes back.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT},
    macros::{map, xdp},
    maps::{Array, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
    programs::XdpContext,
};
use relay_ebpf::{
    BlueLinkCounters, IngressConfig, IngressCounters, LIST_BITS, REASON_NO_SOCKET, REASON_REFUSED_SOURCE,
    SOURCE_ENTRIES, STREAM_TO_KERNEL, STREAMS_MAX, SourceV4, SourceV6, Stream, StreamCounters, StreamKey,
};

use crate::{
    SOCKETS,
    cursor::Cursor,
    events,
    headers::{self, Ethernet, Flow, NoFlow},
};

#[map]
static STREAMS: HashMap<StreamKey, Stream> = HashMap::with_max_entries(STREAMS_MAX, 0);
#[map]
static SOURCES_V4: LpmTrie<SourceV4, u32> = LpmTrie::with_max_entries(SOURCE_ENTRIES, 0);
#[map]
static SOURCES_V6: LpmTrie<SourceV6, u32> = LpmTrie::with_max_entries(SOURCE_ENTRIES, 0);
#[map]
static INGRESS: Array<IngressConfig> = Array::with_max_entries(1, 0);
#[map]
static STREAM_COUNTERS: PerCpuArray<StreamCounters> = PerCpuArray::with_max_entries(STREAMS_MAX, 0);
#[map]
static INGRESS_COUNTERS: PerCpuArray<IngressCounters> = PerCpuArray::with_max_entries(1, 0);
#[map]
static LINK_COUNTERS: PerCpuArray<BlueLinkCounters> = PerCpuArray::with_max_entries(1, 0);

/// Towards the BLUE zone: allowed datagrams to `AF_XDP`, refused ones nowhere, the rest to the kernel.
#[xdp(frags)]
pub fn blue_ingress(ctx: XdpContext) -> u32 {
    // Both arrays have entry 0, always: the branch exists for the verifier.
    let (Some(config), Some(counters)) = (INGRESS.get(0), INGRESS_COUNTERS.get_ptr_mut(0)) else {
        return XDP_DROP;
    };
    // SAFETY: this CPU's own entry, and XDP does not nest.
    let counters = unsafe { &mut *counters };
    let mut cursor = Cursor::new(&ctx);
    let Ok(ethernet) = cursor.take::<Ethernet>() else {
        counters.malformed += 1;
        return verdict_of_other(config);
    };
    if !is_for_us(&ethernet.destination, &config.own_mac) {
        counters.other_mac += 1;
        return XDP_PASS;
    }
    match headers::flow(&mut cursor, ethernet) {
        Ok(flow) => ingress_flow(&ctx, &flow, cursor.frame_len(), config, counters),
        Err(NoFlow::LaterFragment) => {
            counters.later_fragments += 1;
            XDP_PASS
        }
        // Dropped whatever the configuration says: the kernel would look further than we can, and a
        // refused source could reach a TCP listener that way.
        Err(NoFlow::TooDeep) => {
            counters.headers_too_deep += 1;
            XDP_DROP
        }
        Err(NoFlow::Malformed) => {
            counters.malformed += 1;
            verdict_of_other(config)
        }
        Err(NoFlow::Other) => {
            counters.other += 1;
            verdict_of_other(config)
        }
    }
}

/// Towards the diode: a transmitter has nothing to receive.
#[xdp(frags)]
pub fn blue_link(_ctx: XdpContext) -> u32 {
    if let Some(counters) = LINK_COUNTERS.get_ptr_mut(0) {
        // SAFETY: this CPU's own entry, and XDP does not nest.
        unsafe { (*counters).dropped += 1 };
    }
    XDP_DROP
}

#[inline(always)]
fn verdict_of_other(config: &IngressConfig) -> u32 {
    if config.drop_other == 0 { XDP_PASS } else { XDP_DROP }
}

/// Group addresses (IEEE 802 I/G bit), our own address, or no address to compare with.
#[inline(always)]
fn is_for_us(destination: &[u8; 6], own: &[u8; 6]) -> bool {
    let is_group = destination[0] & 1 != 0;
    is_group || address(own) == 0 || address(destination) == address(own)
}

#[inline(always)]
fn address(mac: &[u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]])
}

/// Decides about a packet whose ports are known.
#[inline(always)]
fn ingress_flow(
    ctx: &XdpContext,
    flow: &Flow,
    frame_len: u32,
    config: &IngressConfig,
    counters: &mut IngressCounters,
) -> u32 {
    let key = StreamKey { protocol: flow.protocol, padding: 0, port: flow.destination_port };
    // SAFETY: entries are replaced as a whole and freed only after a grace period of RCU, which this
    // program's run is part of.
    let Some(stream) = (unsafe { STREAMS.get(key) }) else {
        counters.other += 1;
        return verdict_of_other(config);
    };
    let Some(stream_counters) = STREAM_COUNTERS.get_ptr_mut(stream.slot) else {
        return XDP_DROP;
    };
    // SAFETY: this CPU's own entry, and XDP does not nest.
    let stream_counters = unsafe { &mut *stream_counters };
    if !is_allowed(stream.list, flow) {
        stream_counters.refused_source += 1;
        events::report(flow, stream.slot, REASON_REFUSED_SOURCE, config, counters);
        return XDP_DROP;
    }
    if flow.fragment {
        stream_counters.fragments += 1;
        return XDP_PASS;
    }
    if stream.flags & STREAM_TO_KERNEL != 0 {
        stream_counters.passed += 1;
        return XDP_PASS;
    }
    if SOCKETS.redirect(ctx.rx_queue_index(), u64::from(XDP_DROP)).is_err() {
        stream_counters.no_socket += 1;
        events::report(flow, stream.slot, REASON_NO_SOCKET, config, counters);
        return XDP_DROP;
    }
    stream_counters.allowed += 1;
    stream_counters.allowed_bytes += u64::from(frame_len);
    XDP_REDIRECT
}

/// Longest prefix match of the source in the stream's own list.
#[inline(always)]
fn is_allowed(list: u32, flow: &Flow) -> bool {
    let list = list.to_ne_bytes();
    if flow.family == 4 {
        let address = flow.source.first();
        SOURCES_V4.get(Key::new(LIST_BITS + 32, SourceV4 { list, address })).is_some()
    } else {
        let address = flow.source.bytes();
        SOURCES_V6.get(Key::new(LIST_BITS + 128, SourceV6 { list, address })).is_some()
    }
}
