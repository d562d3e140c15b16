//! Real applications on the laboratory's hosts: rsyslog, `MariaDB`, nginx, FTP servers, `OpenSSH`, Samba, as Debian packages them.
//!
//! Each keeps all that it writes in one folder of the caller's and nothing of the machine's own installation: it reads
//! a configuration made here, and ends with its handle. `cargo xtask setup` installs the programs.

mod daemon;
pub mod enclosed;
pub mod ftpd;
mod mariadb;
mod nginx;
mod rsyslog;
mod samba;
pub mod sockets;
mod sshd;

pub use daemon::Daemon;
pub use ftpd::Ftpd;
pub use mariadb::{MariaDb, Session};
pub use nginx::{HOST_NAME, Nginx};
pub use rsyslog::Rsyslog;
pub use samba::Samba;
pub use sshd::Sshd;
