//! The edges of the main job: who may send, every kind of packet, limits, reloads, faults at start, RED's zone.

#[path = "edge/limits.rs"]
mod limits;
#[path = "edge/links.rs"]
mod links;
#[path = "edge/mismatch.rs"]
mod mismatch;
#[path = "edge/packets.rs"]
mod packets;
#[path = "edge/privilege.rs"]
mod privilege;
#[path = "edge/raw.rs"]
mod raw;
#[path = "edge/reload.rs"]
mod reload;
#[path = "edge/rig.rs"]
mod rig;
#[path = "edge/sources.rs"]
mod sources;
#[path = "edge/start.rs"]
mod start;
#[path = "edge/zone.rs"]
mod zone;
