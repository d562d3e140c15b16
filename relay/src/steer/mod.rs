//! The XDP programs from userspace: loading, attaching, rules, counters, drop events.
//!
//! Owns the embedded object, its maps and its attachments. Never sees a packet: those go from the programs
//! straight to the `AF_XDP` sockets registered here. A program is attached by a `bpf_link`, so it is gone
//! when its value is dropped, and also when the process is killed.
//!
//! ```text
//!                 update(rules)   take_events()   counters()
//!                      |               ^              ^
//!  BlueIngress    STREAMS, SOURCES   EVENTS       *_COUNTERS      register(queue, socket)
//!                      |               |              |                    |
//!  kernel         [ blue_ingress --------------------------] --redirect-> SOCKETS -> AF_XDP
//! ```
//!
//! [`SendingLink`] and [`ReceivingLink`] are the same with fewer maps.

mod error;
mod events;
mod ingress;
mod link;
mod program;
mod rules;

pub use error::SteerError;
pub use events::{DropEvent, DropReason, Events};
pub use ingress::{BlueIngress, IngressCounts, IngressOptions};
pub use link::{Encapsulation, ReceivingLink, SendingLink};
pub use program::Mode;
pub use relay_ebpf::{
    BlueLinkCounters, IngressCounters, QUEUES_MAX, RedLinkCounters, SOURCES_PER_FAMILY_MAX, STREAMS_MAX, StreamCounters,
};
pub use rules::{Protocol, Rule};
