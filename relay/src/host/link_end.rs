//! A host's end of a link as the site file describes it: where it is, where the other end is, what fits through.
//!
//! Owns nothing of the system. `link_tx` opens sending ends, `link_rx` receiving ones; either host may have both.

use anyhow::Context as _;

use crate::config::{Encapsulation, Endpoint, Link, Role, Transmit};
use crate::wire::{IP_UDP_LEN, symbol_size};
use crate::xsk::interface::{self, InterfaceInfo};

/// One host's end of one of the links.
#[derive(Clone, Copy, Debug)]
pub struct LinkEnd<'a> {
    /// Where this host is on the link.
    pub own: &'a Endpoint,
    /// Where the other one is.
    pub peer: &'a Endpoint,
    /// What frames are carried in.
    pub encapsulation: Encapsulation,
    /// How frames leave with the XDP driver.
    pub transmit: Transmit,
    /// UDP port of the frames.
    pub port: u16,
    /// IP MTU of the link in bytes, 576..=9000.
    pub mtu: u16,
    /// The site file's table about this end, for error texts.
    pub table: &'static str,
}

impl<'a> LinkEnd<'a> {
    /// The end of the host that plays `role`: on the forward link BLUE sends and RED receives.
    pub fn forward(link: &'a Link, role: Role) -> Self {
        match role {
            Role::Blue => Self::new(link, &link.blue, &link.red, "[link.blue]"),
            Role::Red => Self::new(link, &link.red, &link.blue, "[link.red]"),
        }
    }

    /// The same on the return link, if there is one: there RED sends and BLUE receives.
    pub fn of_return(link: &'a Link, role: Role) -> Option<Self> {
        let ends = link.return_link.as_ref()?;
        Some(match role {
            Role::Blue => Self::new(link, &ends.blue, &ends.red, "[link.return.blue]"),
            Role::Red => Self::new(link, &ends.red, &ends.blue, "[link.return.red]"),
        })
    }

    fn new(link: &Link, own: &'a Endpoint, peer: &'a Endpoint, table: &'static str) -> Self {
        let Link { encapsulation, transmit, port, mtu, .. } = *link;
        Self { own, peer, encapsulation, transmit, port, mtu, table }
    }

    /// The interface of this end, which must carry frames as large as the site file says.
    pub fn interface(&self) -> anyhow::Result<InterfaceInfo> {
        let interface = interface::info(&self.own.interface).with_context(|| format!("{} interface", self.table))?;
        self.check_mtu(&interface)?;
        Ok(interface)
    }

    /// The same for the socket driver, which finds its way by the address: an interface that is not there is no error.
    /// The kernel would cut larger frames into fragments, of which losing one loses all.
    pub fn check_interface_if_there(&self) -> anyhow::Result<()> {
        interface::info(&self.own.interface).map_or(Ok(()), |interface| self.check_mtu(&interface))
    }

    fn check_mtu(&self, interface: &InterfaceInfo) -> anyhow::Result<()> {
        anyhow::ensure!(
            interface.mtu >= u32::from(self.mtu),
            "[link] mtu = {} is above the MTU of {}, which is {}: set the same on both",
            self.mtu,
            self.own.interface,
            interface.mtu
        );
        Ok(())
    }

    /// The largest symbol that fits the link, bytes.
    pub fn symbol_bytes(&self) -> u16 {
        self.symbol_bytes_within(usize::from(self.mtu))
    }

    /// The largest symbol that fits IP packets of `mtu` bytes, bytes.
    pub(super) fn symbol_bytes_within(&self, mtu: usize) -> u16 {
        let ip_overhead = match self.encapsulation {
            Encapsulation::Udp => IP_UDP_LEN,
            Encapsulation::Ethernet => 0,
        };
        symbol_size(mtu, ip_overhead) as u16
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn either_host_has_its_own_end_of_either_link() {
        let text = r#"
            [link]
            blue = { interface = "b1", address = "10.0.0.1" }
            red = { interface = "r1", address = "10.0.0.2" }
            [link.return]
            mode = "status"
            red = { interface = "r2", address = "10.0.1.2" }
            blue = { interface = "b2", address = "10.0.1.1" }
            [blue]
            interface = "z"
            [red]
            interface = "y"
            [[stream]]
            channel = 1
            name = "s"
            type = "udp-unilateral"
            source_ip = ["10.1.0.0/16"]
            source_port = 5000
            destination_ip = "10.2.0.1"
            destination_port = 9
        "#;
        let link = crate::config::parse(Path::new("site.toml"), text).expect("valid").site.link;
        let names = |end: LinkEnd<'_>| [end.own.interface.clone(), end.peer.interface.clone(), end.table.to_owned()];
        assert_eq!(names(LinkEnd::forward(&link, Role::Blue)), ["b1", "r1", "[link.blue]"]);
        assert_eq!(names(LinkEnd::forward(&link, Role::Red)), ["r1", "b1", "[link.red]"]);
        let of_return = |role| names(LinkEnd::of_return(&link, role).expect("there is one"));
        assert_eq!(of_return(Role::Blue), ["b2", "r2", "[link.return.blue]"]);
        assert_eq!(of_return(Role::Red), ["r2", "b2", "[link.return.red]"]);
        assert!(LinkEnd::of_return(&Link { return_link: None, ..link }, Role::Red).is_none());
    }
}
