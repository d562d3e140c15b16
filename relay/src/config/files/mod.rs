//! The `[[files]]` tables.

mod read;
mod types;

pub(super) use read::all;

pub use types::{After, Files, FilesSource, FilesTarget, Place, PlaceKind};
