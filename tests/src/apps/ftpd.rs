//! FTP servers: vsftpd, which knows the old commands only, and pure-ftpd, which has the newer ones.
//!
//! `cargo xtask setup` unpacks them beside the tests' own programs, since their packages exclude each other.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::enclosed::{Enclosed, place};
use crate::Host;

/// Where `cargo xtask setup` puts them, under the target directory.
const SERVERS: &str = "tools/servers/usr/sbin";
/// The only host that the certificate is for, besides the server's address.
pub const HOST_NAME: &str = "ftp.red.test";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Has neither MLSD nor MFMT; names of folders are absolute; wants transfers to resume the TLS session.
    Vsftpd,
    /// Has both; `/mnt` is its root.
    PureFtpd,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Vsftpd => "vsftpd",
            Self::PureFtpd => "pure-ftpd",
        }
    }

    /// The folders of [`super::enclosed`] as the server names them.
    pub fn path(self, folder: &str) -> String {
        match self {
            Self::Vsftpd => format!("/mnt/{folder}"),
            Self::PureFtpd => folder.to_owned(),
        }
    }
}

/// A running server, whose user is [`super::enclosed::USER`].
#[derive(Debug)]
pub struct Ftpd {
    server: Enclosed,
    folder: PathBuf,
}

impl Ftpd {
    /// Serves the folders of [`super::enclosed`] at an address and port, for which its certificate is; with `tls` to nobody
    /// who does not use it. All that it writes is in `folder`.
    pub fn start(
        host: &Host,
        folder: &Path,
        program: Program,
        tls: bool,
        (address, port): (Ipv4Addr, u16),
    ) -> Result<Self> {
        certify(host, folder, address)?;
        let script = match program {
            Program::Vsftpd => {
                let config = vsftpd_configuration(folder, tls, (address, port));
                fs::write(folder.join("vsftpd.conf"), config).context("cannot write vsftpd.conf")?;
                VSFTPD.to_owned()
            }
            Program::PureFtpd => pure_ftpd_command(tls, (address, port)),
        };
        let script = script.replace("PROGRAM", &find(program)?.display().to_string());
        let server = Enclosed::start(host, program.name(), folder, &script, port)?;
        Ok(Self { server, folder: folder.to_owned() })
    }

    /// Where this process sees `/mnt/place`.
    pub fn place(&self) -> PathBuf {
        place(&self.folder)
    }

    /// The certificate that the server shows, in PEM: its own issuer.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    /// The server itself.
    pub fn server(&self) -> &Enclosed {
        &self.server
    }

    /// The server itself, to be started again.
    pub fn server_mut(&mut self) -> &mut Enclosed {
        &mut self.server
    }
}

/// The program, beside this process's own.
fn find(program: Program) -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program's own path")?;
    let found = own.ancestors().map(|folder| folder.join(SERVERS).join(program.name())).find(|path| path.exists());
    found.with_context(|| format!("there is no {}: run cargo xtask setup", program.name()))
}

/// `$1` is the folder. PAM is told to look at the enclosed users only. The shell stays: as the first process of its namespace
/// vsftpd would get other processes' children, and ends when it sees one.
const VSFTPD: &str = r#"mkdir /run/empty
mount -t tmpfs tmpfs /etc/pam.d
printf 'auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n' > /etc/pam.d/vsftpd
PROGRAM "$1/vsftpd.conf"
exit $?
"#;

fn vsftpd_configuration(folder: &Path, tls: bool, (address, port): (Ipv4Addr, u16)) -> String {
    let yes_or_no = if tls { "YES" } else { "NO" };
    format!(
        "listen=YES\n\
         listen_address={address}\n\
         listen_port={port}\n\
         background=NO\n\
         anonymous_enable=NO\n\
         local_enable=YES\n\
         write_enable=YES\n\
         local_umask=022\n\
         pam_service_name=vsftpd\n\
         secure_chroot_dir=/run/empty\n\
         xferlog_enable=NO\n\
         utf8_filesystem=YES\n\
         force_dot_files=YES\n\
         ssl_enable={yes_or_no}\n\
         require_ssl_reuse={yes_or_no}\n\
         rsa_cert_file={certificate}\n\
         rsa_private_key_file={key}\n",
        certificate = folder.join("certificate.pem").display(),
        key = folder.join("key.pem").display(),
    )
}

/// In the foreground, everybody shut in their home, users from the password file, names not looked up; files with a leading
/// dot are shown.
fn pure_ftpd_command(tls: bool, (address, port): (Ipv4Addr, u16)) -> String {
    let tls = if tls { "-Y 2 -2 \"$1/both.pem\"" } else { "-Y 0" };
    format!("exec PROGRAM -S {address},{port} -A -E -H -D -z -l unix -u 100 -g /run/pid {tls}\n")
}

/// A key and its certificate, for nobody else to sign with.
fn certify(host: &Host, folder: &Path, address: Ipv4Addr) -> Result<()> {
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "1"]);
    openssl.args(["-subj", &format!("/CN={HOST_NAME}"), "-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.args(["-addext", &format!("subjectAltName=DNS:{HOST_NAME},IP:{address}")]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    host.output(openssl, "")?;
    let both = [fs::read(key)?, fs::read(certificate)?].concat();
    fs::write(folder.join("both.pem"), both).context("cannot write both.pem")
}
