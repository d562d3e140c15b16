//! Places of files, each kind on a real server, against one contract.
//!
//! ```text
//!  namespace of its own for each test
//!  server <--loopback--> Endpoint       the server's folder is one of ours, so that a test sees what really is there
//! ```

#[path = "endpoints/contract.rs"]
#[macro_use]
mod contract;
#[path = "endpoints/ftp.rs"]
mod ftp;
#[path = "endpoints/passwords.rs"]
mod passwords;
#[path = "endpoints/stage.rs"]
mod stage;
