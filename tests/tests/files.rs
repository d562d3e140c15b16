//! Files: what is placed on BLUE's side appears on RED's, whole or not at all.

#[path = "files/checks.rs"]
mod checks;
#[path = "files/fault.rs"]
mod fault;
#[path = "files/loss.rs"]
mod loss;
#[path = "files/missing.rs"]
mod missing;
#[path = "files/reload.rs"]
mod reload;
#[path = "files/restart.rs"]
mod restart;
#[path = "files/rig.rs"]
mod rig;
#[path = "files/settle.rs"]
mod settle;
#[path = "files/whole.rs"]
mod whole;
