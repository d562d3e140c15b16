//! What both hosts need around their lanes: a clock, a way to wait, mailboxes into lane threads, state that survives a
//! restart, signals, and quiet link interfaces. Knows nothing of streams; `blue` and `red` stand on it.

mod channel;
mod clock;
mod control;
mod lanes;
mod mailbox;
mod mtu;
mod open_files;
mod quiet;
mod report;
mod state;
mod tcp_runtime;
mod udp_drops;
mod wait;

pub use channel::{byte_channel, encoder, sender_channel, tx_frames};
pub use clock::Clock;
pub use control::{Controlled, run};
pub use lanes::{Lanes, Ready};
pub use mailbox::Mailbox;
pub use mtu::{check_mtu, check_mtu_if_there};
pub use open_files::raise_open_files;
pub use quiet::quiet;
pub use report::{Chatter, link_key, log_refused_reload, print_report, warn_not_carried};
pub use state::{RedState, StateError, load_red, next_epoch, store_red};
pub use tcp_runtime::TcpRuntime;
pub use udp_drops::UdpDrops;
pub use wait::{Readiness, prepare_lane_thread, wait_until};
