//! The figures that the README quotes, measured on the five-namespace path, one file each. Not tests: nothing here asserts a
//! timing, and they run only when asked for, one after another, with a released build. What was measured must have been
//! right, though: a run that lost, changed or broke off anything fails, and with files one that took too much memory.
//!
//! ```text
//! cargo build --release -p relay
//! RELAY_BINARY=$PWD/target/release/relay cargo test --release -p lab --test figures -- --ignored --nocapture [NAME]
//! ```
//!
//! What the TCP figures take from the environment is listed in `figures/rig.rs`; the README's are with
//! `RELAY_FIGURES_RETURN=status`.

#[path = "figures/delivery.rs"]
mod delivery;
#[path = "figures/files.rs"]
mod files;
#[path = "figures/latency.rs"]
mod latency;
#[path = "figures/rate.rs"]
mod rate;
#[path = "figures/rig.rs"]
mod rig;
#[path = "figures/stalled.rs"]
mod stalled;
#[path = "figures/whole.rs"]
mod whole;
