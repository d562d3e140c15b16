//! Files: what is placed on BLUE's side appears on RED's, whole or not at all.

#[path = "files/missing.rs"]
mod missing;
#[path = "files/rig.rs"]
mod rig;
#[path = "files/whole.rs"]
mod whole;
