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
#[path = "endpoints/idle.rs"]
mod idle;
#[path = "endpoints/passwords.rs"]
mod passwords;
#[path = "endpoints/rate.rs"]
mod rate;
#[path = "endpoints/sftp.rs"]
mod sftp;
#[path = "endpoints/smb.rs"]
mod smb;
#[path = "endpoints/stage.rs"]
mod stage;
