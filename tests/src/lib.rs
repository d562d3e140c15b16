//! The laboratory: hosts in network namespaces, a one-way lossy link in the kernel, and real traffic.
//!
//! ```text
//!  client            blue              diode              red              server
//!  +------+        +------+          +------+          +------+          +------+
//!  | cli0 |--veth--| blu0 |          |      |          | red0 |---veth---| srv0 |
//!  |      |        | blu1 |--veth----| dio0 |  nft     |      |          |      |
//!  |      |        |      |          |    --+--fwd-->  |      |          |      |
//!  |      |        |      |          | dio1 |---veth---| red1 |          |      |
//!  +------+        +------+          +------+          +------+          +------+
//!   10.71.1.10      10.71.1.1                           10.71.3.1         10.71.3.10
//!   fd71:1::10      fd71:1::1                           fd71:3::1         fd71:3::10
//!                   10.71.2.1 ---- one way only ----->  10.71.2.2
//! ```
//!
//! With a return link ([`Options::return_loss`]) a second diode stands beside the first, the other way round:
//!
//! ```text
//!                     blue           return diode          red
//!                   +------+          +------+          +------+
//!                   | blu2 |--veth----| dio3 |  nft     |      |
//!                   |      |          |    <-fwd--+--   |      |
//!                   |      |          | dio2 |---veth---| red2 |
//!                   +------+          +------+          +------+
//!                   10.71.4.1 <---- one way only -----  10.71.4.2
//! ```
//!
//! Owns what surrounds the relay in a test or in the demo; it never touches the machine's own network. Nothing it
//! makes outlives its process: namespaces have no name but a file descriptor, and every child dies with the process
//! that started it, so that the kernel cleans up after a panic, a signal and even SIGKILL.

pub mod apps;
mod child;
mod diode;
mod host;
mod interrupt;
pub mod offload;
pub mod path;
mod relay;
mod require;
mod site;
mod summary;
mod sys;
mod syslog;
mod tap;
mod tempdir;
mod topology;
pub mod traffic;
pub mod usage;

pub use child::{Child, Log};
pub use diode::{Counters, Diode, Loss};
pub use host::Host;
pub use interrupt::clean_up_on_interrupt;
pub use relay::{RelayProcess, Role, Stopped};
pub use require::{is_root_or_skip, privilege};
pub use site::{Site, Stream};
pub use summary::{Line, Summary};
pub use sys::monotonic_ns;
pub use syslog::Syslog;
pub use tap::Tap;
pub use tempdir::TempDir;
pub use topology::{Lab, Nic, Options, address, connect};
