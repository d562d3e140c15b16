//! Drop events: what userspace logs about refused packets.
//!
//! Owns the ring and its rate limit. A flood of refused packets costs a counter each, never an event each.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use relay_ebpf::{DropEvent, EVENT_RING_BYTES, EventWindow, IngressConfig, IngressCounters};

use crate::headers::Flow;

/// The window of the rate limit: `events_per_second` says which.
const WINDOW_NS: u64 = 1_000_000_000;

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);
#[map]
static EVENT_WINDOW: PerCpuArray<EventWindow> = PerCpuArray::with_max_entries(1, 0);

/// Writes an event unless this CPU has used up its share of the current second.
#[inline(always)]
pub fn report(flow: &Flow, slot: u32, reason: u8, config: &IngressConfig, counters: &mut IngressCounters) {
    let Some(window) = EVENT_WINDOW.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own entry, and XDP does not nest.
    let window = unsafe { &mut *window };
    // SAFETY: the helper has no preconditions.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    if time_ns.wrapping_sub(window.start_ns) >= WINDOW_NS {
        window.start_ns = time_ns;
        window.events = 0;
    }
    if window.events >= config.events_per_second {
        window.suppressed = window.suppressed.saturating_add(1);
        counters.events_suppressed += 1;
        return;
    }
    window.events += 1;
    let event = DropEvent {
        time_ns,
        source: flow.source.bytes(),
        slot,
        suppressed: window.suppressed,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        reason,
        protocol: flow.protocol,
        family: flow.family,
        padding: 0,
    };
    let Some(mut entry) = EVENTS.reserve::<DropEvent>(0) else {
        counters.events_lost += 1;
        return;
    };
    entry.write(event);
    entry.submit(0);
    window.suppressed = 0;
    counters.events += 1;
}
