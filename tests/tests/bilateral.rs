//! TCP both ways over two one-way links, and what holds for every kind of TCP stream: crowds, storms, silence, and who
//! shows the client's address.

#[path = "bilateral/crowd.rs"]
mod crowd;
#[path = "bilateral/ends.rs"]
mod ends;
#[path = "bilateral/identity.rs"]
mod identity;
#[path = "bilateral/pattern.rs"]
mod pattern;
#[path = "bilateral/pressure.rs"]
mod pressure;
#[path = "bilateral/rig.rs"]
mod rig;
#[path = "bilateral/silent.rs"]
mod silent;
#[path = "bilateral/storm.rs"]
mod storm;
#[path = "bilateral/whole.rs"]
mod whole;
