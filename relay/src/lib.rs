//! The relay's library: everything that the `relay` command is made of.
pub mod blue;
pub mod cli;
pub mod config;
pub mod fec;
pub mod host;
pub mod lane;
pub mod link;
pub mod mmsg;
pub mod packet;
pub mod probe;
pub mod red;
pub mod session;
pub mod steer;
pub mod tcp;
pub mod telemetry;
pub mod wire;
pub mod xsk;
