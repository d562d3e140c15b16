//! TCP streams one way: what clients send arrives whole and in order, or its connection is reset.

#[path = "tcp/broken.rs"]
mod broken;
#[path = "tcp/rate.rs"]
mod rate;
#[path = "tcp/rig.rs"]
mod rig;
#[path = "tcp/whole.rs"]
mod whole;
