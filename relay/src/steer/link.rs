//! The programs on either end of the one-way link.

use std::os::fd::BorrowedFd;

use aya::maps::{MapData, PerCpuArray};
use relay_ebpf::{BlueLinkCounters, ENCAPSULATION_ETHERNET, ENCAPSULATION_UDP, RedLinkConfig, RedLinkCounters};

use super::{
    error::SteerError,
    program::{Attached, Loaded, Mode, sum},
};

/// How diode frames travel on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// As UDP datagrams over IPv4.
    Udp,
    /// Directly in Ethernet, with `EtherType` 0x88B5.
    Ethernet,
}

/// `blue_link` at work on a sending end: drops everything that arrives from the link. Dropping it detaches it.
pub struct SendingLink {
    attached: Attached,
    counters: PerCpuArray<MapData, BlueLinkCounters>,
}

impl SendingLink {
    /// Loads and attaches the program.
    pub fn attach(interface: &str) -> Result<Self, SteerError> {
        let mut loaded = Loaded::new(interface, "blue_link")?;
        Ok(Self { counters: loaded.map("LINK_COUNTERS")?, attached: loaded.attach()? })
    }

    /// Where the kernel runs the program.
    pub fn mode(&self) -> Mode {
        self.attached.mode()
    }

    /// Counts since the program was attached, over all CPUs.
    pub fn counters(&self) -> Result<BlueLinkCounters, SteerError> {
        sum("LINK_COUNTERS", &self.counters, 0)
    }
}

/// `red_link` at work on a receiving end: diode frames to `AF_XDP`, all else dropped. Dropping it detaches it.
pub struct ReceivingLink {
    attached: Attached,
    counters: PerCpuArray<MapData, RedLinkCounters>,
}

impl ReceivingLink {
    /// Loads and attaches the program. `port` is the frames' UDP port, which Ethernet encapsulation ignores.
    pub fn attach(interface: &str, port: u16, encapsulation: Encapsulation) -> Result<Self, SteerError> {
        let mut loaded = Loaded::new(interface, "red_link")?;
        let config = RedLinkConfig {
            port,
            encapsulation: match encapsulation {
                Encapsulation::Udp => ENCAPSULATION_UDP,
                Encapsulation::Ethernet => ENCAPSULATION_ETHERNET,
            },
            padding: 0,
        };
        loaded.configure("RED_LINK", config)?;
        Ok(Self { counters: loaded.map("RED_LINK_COUNTERS")?, attached: loaded.attach()? })
    }

    /// Where the kernel runs the program.
    pub fn mode(&self) -> Mode {
        self.attached.mode()
    }

    /// Gives the frames that arrive on a receive queue to an `AF_XDP` socket bound to that queue.
    pub fn register(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), SteerError> {
        self.attached.register(queue, socket)
    }

    /// Counts since the program was attached, over all CPUs.
    pub fn counters(&self) -> Result<RedLinkCounters, SteerError> {
        sum("RED_LINK_COUNTERS", &self.counters, 0)
    }
}
