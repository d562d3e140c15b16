//! Files on RED: sessions of bytes become files under their names.
//!
//! ```text
//! Sessions on the lane ==> reception (a task per file) -> temporary file, hash -> journal
//!                               | status                                            |
//!                               v                                                   v
//!                           return lane <----------- stored <---------- keeper: commit, or upload and commit
//! ```
//!
//! In a folder of this host the temporary lies beside its target. For a server it lies in RED's state folder first, so that
//! neither the link nor BLUE waits for that server, and one that fails half-way costs nothing.
//!
//! A file is whole or not there: it gets its name only when its hash is right. The journal knows each file's UUID, so that a
//! copy of it is not stored again, whoever was killed meanwhile.
//!
//! BLUE's manifests name what it has sent: what of it does not come is told missing, with the bytes that are, and stays in the
//! account until it comes after all.

mod account;
mod keeper;
mod reception;
mod state;
mod store;
mod writing;

pub use reception::{Reception, Unstored};
pub use state::{Entry, State};
pub use store::{Store, folder, journal_of};
