//! Real applications through the relay, each on a link without loss, with random loss, and with bursts of loss.
//!
//! Each also runs once over the same hosts with their kernels in the relay's place: what fails there is the
//! application's or the test's, not the relay's.

#[path = "apps/https.rs"]
mod https;
#[path = "apps/mariadb.rs"]
mod mariadb;
#[path = "apps/rig.rs"]
mod rig;
#[path = "apps/rsyslog.rs"]
mod rsyslog;
