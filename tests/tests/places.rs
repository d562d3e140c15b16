//! Files between places of all kinds, over the whole path, with a server for each kind in either zone.
//!
//! ```text
//!  client: vsftpd, pure-ftpd, smbd, sshd <--zone--> BLUE ==diode==> RED <--zone--> server: the same four
//!                                                     \<==status====/
//! ```
//!
//! The servers' folders are ours, so that a test sees what really is in them. The full sizes, 1 GB each, with `RELAY_SOAK`.

#[path = "places/examples.rs"]
mod examples;
#[path = "places/fault.rs"]
mod fault;
#[path = "places/killed.rs"]
mod killed;
#[path = "places/matrix.rs"]
mod matrix;
#[path = "places/names.rs"]
mod names;
#[path = "files/rig.rs"]
#[expect(dead_code, reason = "what tests of files share; those of places need a part of it")]
mod rig;
#[path = "places/room.rs"]
mod room;
#[path = "places/scene.rs"]
mod scene;
#[path = "places/zone.rs"]
mod zone;
