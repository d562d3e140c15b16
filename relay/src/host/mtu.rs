//! Whether the link's interface carries frames as large as the site file says.

use crate::config::{Endpoint, Link};
use crate::xsk::interface::{self, InterfaceInfo};

/// An error where [link] mtu is above the interface's.
pub fn check_mtu(link: &Link, end: &Endpoint, interface: &InterfaceInfo) -> anyhow::Result<()> {
    anyhow::ensure!(
        interface.mtu >= u32::from(link.mtu),
        "[link] mtu = {} is above the MTU of {}, which is {}: set the same on both",
        link.mtu,
        end.interface,
        interface.mtu
    );
    Ok(())
}

/// The same for the socket driver, which finds its way by the address: an interface that is not there is no error. The
/// kernel would cut larger frames into fragments, of which losing one loses all.
pub fn check_mtu_if_there(link: &Link, end: &Endpoint) -> anyhow::Result<()> {
    interface::info(&end.interface).map_or(Ok(()), |interface| check_mtu(link, end, &interface))
}
