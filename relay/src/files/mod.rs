//! Files: where they are read and written, and what both hosts know of them.
//!
//! ```text
//! BLUE: Endpoint (list, read) -> checks -> session of bytes on the file's channel ==> link
//! RED:  link ==> session of bytes -> temporary file -> hash -> Endpoint (commit under its name)
//! ```
//!
//! A file is a session like any other: its UUID, a head, its content, and a tail with the hash. Owns no session and no
//! link: `blue::files` watches and sends, `red::files` receives and stores.

pub mod checks;
pub mod endpoint;
pub mod frame;
mod hash;
mod id;
pub mod journal;
pub mod manifest;
pub mod missing;
mod name;
mod pool;
mod progress;
mod scribe;

pub use checks::Chain;
pub use endpoint::{Attributes, Endpoint, EndpointError, Found, Trouble, Writers};
pub use hash::ContentHash;
pub use id::{file_of, new_file, session_of};
pub use name::{FileName, NAME_BYTES_MAX, NameFault, PART_BYTES_MAX};
pub use pool::{Connection, Pool};
pub use progress::{Active, Progress};
pub use scribe::{Scribe, Unwritten};
