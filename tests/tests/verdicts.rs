//! What the XDP programs decide about every kind of packet, and how they count it.
//!
//! Each case is one packet, run by the kernel through the program as `relay::steer` attaches it. The whole
//! difference of the counters is compared, so that a packet counted twice or in the wrong place fails.

#[path = "verdicts/blue.rs"]
mod blue;
#[path = "verdicts/ingress.rs"]
mod ingress;
#[path = "verdicts/packets.rs"]
mod packets;
#[path = "verdicts/red.rs"]
mod red;
#[path = "verdicts/rig.rs"]
mod rig;
#[path = "verdicts/steering.rs"]
mod steering;
