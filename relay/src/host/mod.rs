//! What both hosts need around their lanes: a clock, a way to wait, mailboxes into lane threads, state that survives a
//! restart, signals, the ends of the links and a watch over them. Knows nothing of streams; `blue` and `red` stand on it.
//!
//! Everything about a link's end goes by its direction: BLUE sends on the forward link and receives on the return link,
//! RED the other way round.

mod channel;
mod clock;
mod control;
mod heap;
mod lanes;
mod link_end;
mod link_rx;
mod link_tx;
mod link_watch;
mod mailbox;
mod open_files;
mod quiet;
mod report;
mod state;
mod tcp_runtime;
mod udp_drops;
mod wait;

pub use channel::{byte_channel, encoder, fec_channel, scheme, sender_channel, tx_frames};
pub use clock::Clock;
pub use control::{Controlled, run};
pub use lanes::{Lanes, Ready};
pub use link_end::LinkEnd;
pub use link_rx::{LinkPort, POOL_BYTES, Queues, XdpReceiving, open_socket_rx};
pub use link_tx::{LinkTx, XdpSending};
pub use link_watch::{LinkWatch, SharedSeen};
pub use mailbox::Mailbox;
pub use open_files::raise_open_files;
pub use quiet::quiet;
pub use report::{Chatter, FilesChatter, link_key, log_refused_reload, print_files, print_report};
pub use state::{ReceiverState, StateError, make_private, next_epoch};
pub use tcp_runtime::TcpRuntime;
pub use udp_drops::UdpDrops;
pub use wait::{Readiness, prepare_lane_thread, wait_until};
