//! What the relay tells about itself: log events, counters and their lines, syslog messages.
//!
//! ```text
//! lanes --Counter--> Registry --samples--> report: one line each --> log
//! control thread --Event--> syslog thread (limited, retried) --> local socket or server
//! ```
//!
//! Lanes only ever count. Formatting, logging and syslog belong to the control thread.

pub mod counters;
pub mod logging;
pub mod reasons;
pub mod report;
pub mod syslog;
