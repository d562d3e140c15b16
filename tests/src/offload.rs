//! What an interface does for the kernel: what a veth does and no real card, and the other way round.

use std::io;

use crate::{Host, sys};

/// `ETHTOOL_GSTRINGS`, `ETHTOOL_SFEATURES` and `ETH_SS_FEATURES` of linux/ethtool.h.
const GET_STRINGS: u32 = 0x1b;
const SET_FEATURES: u32 = 0x3b;
const FEATURES: u32 = 4;
/// Words of a string (`ETH_GSTRING_LEN`), and of the header before them.
const STRING_WORDS: usize = 8;
const STRINGS_AT: usize = 3;

/// `NETIF_F_ALL_TSO` of `linux/netdev_features.h`.
const TCP_SEGMENTATION: [&str; 4] =
    ["tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation"];

/// Has the kernel cut the messages of UDP senders (`UDP_SEGMENT`) before they reach the interface's cable, as a card does. A veth
/// carries them whole, and a diode would lose up to 64 frames at a time.
pub(crate) fn cut_udp_messages(host: &Host, interface: &str) -> anyhow::Result<()> {
    Ok(host.run(|| set(interface, "tx-udp-segmentation", false))??)
}

/// Has packets polled and joined at a cable's end as they arrive (NAPI and GRO, `rx-gro`). A veth passes them by while the other end
/// could send whole messages of TCP, so that one has to cut them as well.
pub(crate) fn join_received(
    (from, from_interface): (&Host, &str),
    (to, interface): (&Host, &str),
) -> anyhow::Result<()> {
    let cut = |feature| set(from_interface, feature, false);
    from.run(|| TCP_SEGMENTATION.into_iter().try_for_each(cut))??;
    Ok(to.run(|| set(interface, "rx-gro", true))??)
}

/// Switches a feature, by the name that `ethtool -k` has for it, of an interface of the calling thread's network namespace.
pub fn set(interface: &str, feature: &str, on: bool) -> io::Result<()> {
    let mut strings = [0; sys::ETHTOOL_WORDS];
    (strings[0], strings[1]) = (GET_STRINGS, FEATURES);
    sys::ethtool(interface, &mut strings)?;
    let names = strings[STRINGS_AT..].chunks_exact(STRING_WORDS).take(strings[2] as usize);
    let Some(bit) = names.map(text).position(|name| name == feature) else {
        return Err(io::Error::other(format!("this kernel has no feature {feature}")));
    };
    // Blocks of 32 features, two words each: which are meant, and what they shall be.
    let blocks = (strings[2] as usize).div_ceil(32);
    let mut request = [0; sys::ETHTOOL_WORDS];
    (request[0], request[1]) = (SET_FEATURES, blocks as u32);
    request[2 + bit / 32 * 2] = 1 << (bit % 32);
    request[3 + bit / 32 * 2] = u32::from(on) << (bit % 32);
    sys::ethtool(interface, &mut request)
}

/// A name, up to its first NUL.
fn text(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0);
    bytes.map(char::from).collect()
}
