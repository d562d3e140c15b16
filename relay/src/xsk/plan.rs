//! What to ask the kernel for, and what not to ask it at all.
//!
//! Owns: the limits of the configuration and the order in which modes are tried. Makes no system call.

use super::errors::XskError;
use super::umem::CHUNK_MAX;

/// Bytes that the kernel keeps in front of each received packet (`XDP_PACKET_HEADROOM`, linux/bpf.h).
const PACKET_HEADROOM: u32 = 256;
/// Bytes of an Ethernet header and two VLAN tags, which come on top of the IP MTU.
const LINK_HEADERS: u32 = 14 + 2 * 4;
/// Smallest ring: one batch of 64.
const RING_MIN: u32 = 64;
/// Largest RX or TX ring: more than 10 ms at 3 million packets/s, and only 512 KiB.
const RING_MAX: u32 = 32 << 10;
/// Most frames of a umem: 4 GiB of the larger ones.
const FRAMES_MAX: u32 = 1 << 20;

/// Largest frame of several chunks, bytes: more than the longest jumbo packets.
pub const SPANNING_MAX: u32 = 4 * CHUNK_MAX;

/// Whether to ask the driver for zero-copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Ask for zero-copy, take copy mode if the driver refuses.
    Prefer,
    /// Copy mode only.
    Never,
}

/// Bytes of the longest packet that one frame of `frame_size` bytes can receive.
///
/// The kernel keeps 256 bytes of each frame for the XDP program (`xp_create_and_assign_umem`,
/// `net/xdp/xsk_buff_pool.c`). Longer ones need multi-buffer, and without it are dropped and counted in
/// [`Statistics::rx_dropped`].
pub const fn rx_packet_max(frame_size: u32) -> u32 {
    frame_size.saturating_sub(PACKET_HEADROOM)
}

/// What both kinds of socket are configured with.
pub(super) struct Layout<'a> {
    pub(super) interface: &'a str,
    pub(super) queue: u32,
    pub(super) ring_size: u32,
    pub(super) frame_count: u32,
    pub(super) frame_size: u32,
    pub(super) zero_copy: ZeroCopy,
    pub(super) multi_buffer: bool,
    pub(super) huge_pages: bool,
}

/// One way to bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) zero_copy: bool,
    pub(super) multi_buffer: bool,
}

impl Plan {
    /// The `XDP_*` flags of the bind.
    pub(super) fn flags(self) -> u16 {
        let copying = if self.zero_copy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
        let spanning = if self.multi_buffer { libc::XDP_USE_SG } else { 0 };
        libc::XDP_USE_NEED_WAKEUP | copying | spanning
    }

    /// The flags by name, for errors.
    pub(super) fn flag_names(self) -> String {
        let copying = if self.zero_copy { "XDP_ZEROCOPY" } else { "XDP_COPY" };
        format!("{copying}{}", if self.multi_buffer { "|XDP_USE_SG" } else { "" })
    }
}

/// The ways to bind, best first. Packets that need several frames matter more than zero-copy; where none needs
/// them, zero-copy matters more.
pub(super) fn plans(zero_copy: ZeroCopy, multi_buffer: bool, must_span: bool) -> Vec<Plan> {
    let copying: &[bool] = if zero_copy == ZeroCopy::Prefer { &[true, false] } else { &[false] };
    let spanning: &[bool] = match (multi_buffer, must_span) {
        (true, true) => &[true],
        (true, false) => &[true, false],
        (false, _) => &[false],
    };
    let plan = |&zero_copy| spanning.iter().map(move |&multi_buffer| Plan { zero_copy, multi_buffer });
    copying.iter().flat_map(plan).collect()
}

/// Refuses what cannot work before the kernel says EINVAL to it, or, as for a TX queue beyond the last, sends nothing
/// and says nothing. `queues`: how many the interface has in the socket's direction.
pub(super) fn check(layout: &Layout<'_>, queues: u32, frames: u32) -> Result<(), XskError> {
    let Layout { interface, queue, ring_size, frame_size, .. } = *layout;
    if queue >= queues {
        let what = format!("interface {interface} has no queue {queue}");
        let remedy = format!("it has {queues}: use 0 to {} (`ethtool -L {interface}` changes how many)", queues - 1);
        return Err(XskError::config(what, remedy));
    }
    if !ring_size.is_power_of_two() || !(RING_MIN..=RING_MAX).contains(&ring_size) {
        let remedy = format!("use a power of two from {RING_MIN} to {RING_MAX}");
        return Err(XskError::config(format!("interface {interface}: a ring of {ring_size} slots"), remedy));
    }
    let spans = layout.multi_buffer && frame_size.is_multiple_of(CHUNK_MAX) && frame_size <= SPANNING_MAX;
    if frame_size != 2048 && frame_size != CHUNK_MAX && !spans {
        let what = format!("interface {interface}: frames of {frame_size} bytes");
        return Err(XskError::config(what, "use 2048 or 4096"));
    }
    if layout.frame_count == 0 || frames > FRAMES_MAX {
        let remedy = format!("use 1 to {FRAMES_MAX}");
        return Err(XskError::config(format!("interface {interface}: {frames} frames"), remedy));
    }
    Ok(())
}

/// Whether packets of the interface's MTU need more than one frame; an error if they do and may not. `refused`: the
/// kernel has refused `XDP_USE_SG`.
pub(super) fn check_mtu(layout: &Layout<'_>, mtu: u32, refused: bool) -> Result<bool, XskError> {
    let packet_max = rx_packet_max(layout.frame_size);
    let needed = mtu.saturating_add(LINK_HEADERS);
    if needed <= packet_max {
        return Ok(false);
    }
    if layout.multi_buffer && !refused {
        return Ok(true);
    }
    let fits_larger = layout.frame_size < 4096 && needed <= rx_packet_max(4096);
    Err(XskError::Mtu {
        interface: layout.interface.to_owned(),
        mtu,
        needed,
        packet_max,
        mtu_max: packet_max.saturating_sub(LINK_HEADERS),
        multi_buffer: if refused { "refused by the kernel" } else { "off" },
        alternative: match (fits_larger, refused) {
            (true, _) => ", or use frames of 4096 bytes",
            (false, false) => ", or turn multi-buffer on",
            (false, true) => "",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(frame_size: u32, multi_buffer: bool) -> Layout<'static> {
        let zero_copy = ZeroCopy::Prefer;
        let (interface, queue, ring_size, frame_count) = ("blu0", 0, 64, 64);
        let huge_pages = false;
        Layout { interface, queue, ring_size, frame_count, frame_size, zero_copy, multi_buffer, huge_pages }
    }

    #[test]
    fn plans_put_zero_copy_first_unless_packets_must_span_frames() {
        let both = [(true, true), (true, false), (false, true), (false, false)];
        let as_pairs = |plans: Vec<Plan>| plans.iter().map(|p| (p.zero_copy, p.multi_buffer)).collect::<Vec<_>>();
        assert_eq!(as_pairs(plans(ZeroCopy::Prefer, true, false)), both);
        assert_eq!(as_pairs(plans(ZeroCopy::Prefer, true, true)), [(true, true), (false, true)]);
        assert_eq!(as_pairs(plans(ZeroCopy::Never, false, false)), [(false, false)]);
    }

    #[test]
    fn an_mtu_fits_one_frame_up_to_its_headroom() {
        assert_eq!(rx_packet_max(2048), 1792);
        assert_eq!(rx_packet_max(4096), 3840);
        assert!(matches!(check_mtu(&layout(2048, false), 1770, false), Ok(false)));
        assert!(matches!(check_mtu(&layout(2048, true), 1771, false), Ok(true)));
        let text = check_mtu(&layout(2048, false), 1771, false).unwrap_err().to_string();
        for part in ["blu0", "1771", "1793", "1792", "mtu 1770", "4096"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = check_mtu(&layout(4096, true), 9000, true).unwrap_err().to_string();
        assert!(text.contains("refused by the kernel"), "{text}");
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_their_remedy() {
        assert!(check(&layout(2048, true), 2, 64).is_ok());
        let refused = |layout: Layout<'_>, frames| check(&layout, 2, frames).unwrap_err().to_string();
        assert!(refused(Layout { queue: 2, ..layout(2048, true) }, 64).contains("use 0 to 1"));
        assert!(refused(Layout { ring_size: 100, ..layout(2048, true) }, 64).contains("power of two"));
        assert!(refused(Layout { ring_size: 32, ..layout(2048, true) }, 64).contains("power of two"));
        assert!(refused(layout(3000, true), 64).contains("2048 or 4096"));
        assert!(refused(layout(2048, true), FRAMES_MAX + 1).contains("frames"));
    }
}
