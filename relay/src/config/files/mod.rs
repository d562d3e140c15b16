//! The `[[files]]` tables.

mod types;

pub use types::{After, Files, FilesSource, FilesTarget, Place, PlaceKind};
