//! The `[[files]]` tables: what they say, how they are read, and what is wrong together.

mod credentials;
mod place;
mod read;
mod rules;
mod types;
mod words;

pub(super) use credentials::check as credentials;
pub(super) use read::all;
pub(super) use rules::check as rules;
pub use types::{After, Files, FilesSource, FilesTarget, Place, PlaceKind};
