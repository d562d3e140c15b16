//! What a network interface is: index, MTU, MAC, queues.
//!
//! Asks by ioctl, which answers for the network namespace of the calling thread. sysfs shows the namespace that it
//! was mounted in, so that it is only a fallback, and only where it is seen to speak of the same interface.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use super::errors::XskError;
use super::sys;

/// An interface, as it was when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// Interface index, in the caller's network namespace.
    pub index: u32,
    /// IP MTU in bytes: the Ethernet header and VLAN tags come on top.
    pub mtu: u32,
    /// Hardware address; zeroes for an interface without one.
    pub mac: [u8; 6],
    /// RX queues in use, at least 1. `AF_XDP` queues are 0 to this minus one.
    pub rx_queues: u32,
    /// TX queues in use, at least 1.
    pub tx_queues: u32,
}

/// Asks for an interface of the calling thread's network namespace.
///
/// # Errors
/// [`XskError::NoInterface`] if there is none of this name, [`XskError::Config`] if the name cannot be one, and the
/// failed call otherwise. Needs no privilege.
pub fn info(name: &str) -> Result<InterfaceInfo, XskError> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['\0', '/']) {
        let remedy = "use the name that `ip link` shows: 1 to 15 bytes, no slash";
        return Err(XskError::config(format!("{name:?} cannot be the name of an interface"), remedy));
    }
    let failed =
        |call: &'static str| move |error| XskError::system("ioctl", format!("{call}, interface {name}"), error);
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM).map_err(|e| XskError::system("socket", "AF_INET", e))?;
    let fd = socket.as_fd();
    let index = sys::interface_index(fd, name).map_err(failed("SIOCGIFINDEX"))?;
    let mtu = sys::interface_mtu(fd, name).map_err(failed("SIOCGIFMTU"))?;
    let mac = sys::interface_mac(fd, name).map_err(failed("SIOCGIFHWADDR"))?;
    let channels = sys::interface_channels(fd, name).ok();
    let (rx, tx) = channels.or_else(|| sysfs_queues(name, index, mac)).unwrap_or((1, 1));
    Ok(InterfaceInfo { index, mtu, mac, rx_queues: rx.max(1), tx_queues: tx.max(1) })
}

/// Counts the queues that sysfs shows, if its interface of this name is the one with this index and address.
fn sysfs_queues(name: &str, index: u32, mac: [u8; 6]) -> Option<(u32, u32)> {
    let directory = PathBuf::from("/sys/class/net").join(name);
    let shown_index = fs::read_to_string(directory.join("ifindex")).ok()?;
    let shown_mac = fs::read_to_string(directory.join("address")).ok()?;
    let same = shown_index.trim() == index.to_string() && shown_mac.trim() == mac_text(mac);
    if !same {
        return None;
    }
    let (mut rx, mut tx) = (0, 0);
    for entry in fs::read_dir(directory.join("queues")).ok()?.flatten() {
        let queue = entry.file_name();
        let queue = queue.to_string_lossy();
        rx += u32::from(queue.starts_with("rx-"));
        tx += u32::from(queue.starts_with("tx-"));
    }
    Some((rx, tx))
}

/// Six bytes as sysfs writes them.
fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known() {
        let lo = info("lo").unwrap();
        assert!(lo.index > 0);
        assert!(lo.mtu >= 1500);
        assert_eq!(lo.mac, [0; 6]);
        assert_eq!((lo.rx_queues, lo.tx_queues), (1, 1));
    }

    #[test]
    fn a_missing_interface_is_named() {
        let error = info("no-such-if0").unwrap_err();
        assert!(matches!(error, XskError::NoInterface(_)), "{error}");
        assert!(error.to_string().contains("no-such-if0"), "{error}");
    }

    #[test]
    fn impossible_names_are_refused_before_the_kernel_sees_them() {
        for name in ["", "sixteen-bytes-xx", "a\0b", "../lo"] {
            assert!(matches!(info(name), Err(XskError::Config { .. })), "{name:?}");
        }
    }

    #[test]
    fn sysfs_of_another_interface_is_not_believed() {
        let lo = info("lo").unwrap();
        assert_eq!(sysfs_queues("lo", lo.index + 1, lo.mac), None);
        assert_eq!(sysfs_queues("lo", lo.index, [2; 6]), None);
        assert_eq!(sysfs_queues("lo", lo.index, lo.mac), Some((1, 1)));
        assert_eq!(mac_text([2, 0, 0xab, 0, 0, 1]), "02:00:ab:00:00:01");
    }
}
