//! Packet sockets (packet(7)) that only send: whole Ethernet packets, many with one system call, and those of one flow and size
//! as one message, which the kernel or the card cuts apart (`VIRTIO_NET_HDR_GSO_UDP_L4`, Linux 6.2).
//!
//! `AF_XDP` without zero-copy takes every packet through the kernel by itself; here up to 64 go through it at once, which for full
//! packets is the faster way. Routing and addresses of the host have no part in either; its rules for what leaves a card
//! (nftables `egress`, tc, the card's queue) have one here.
//!
//! Owns: the frames, the socket and the `unsafe` around it. Never waits, never receives, never allocates after opening.
//!
//! ```text
//!   packets   [E I U 1400] [E I U 1400] [E I U 900] | [E I U' 1400]       U': of another flow
//!   messages  [v E I U  1400  1400  900]              [v E I U' 1400]     v: how to cut, and what to sum
//! ```

mod outbox;
mod sender;
mod sys;

pub use sender::PacketSender;
