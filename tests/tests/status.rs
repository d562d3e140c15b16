//! TCP streams with a return link in mode "status": BLUE knows how every session stands at its destination.

#[path = "status/death.rs"]
mod death;
#[path = "status/ending.rs"]
mod ending;
#[path = "status/opening.rs"]
mod opening;
#[path = "status/pressure.rs"]
mod pressure;
#[path = "status/reload.rs"]
mod reload;
#[path = "status/rig.rs"]
mod rig;
#[path = "status/smuggling.rs"]
mod smuggling;
#[path = "status/sources.rs"]
mod sources;
