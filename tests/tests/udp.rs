//! The main job: datagrams of real clients cross a real one-way link with losses, over `AF_XDP` and kernel sockets.

#[path = "udp/beyond.rs"]
mod beyond;
#[path = "udp/cost.rs"]
mod cost;
#[path = "udp/delivery.rs"]
mod delivery;
#[path = "udp/frames.rs"]
mod frames;
#[path = "udp/hostile.rs"]
mod hostile;
#[path = "udp/restart.rs"]
mod restart;
