//! nginx serving one file by HTTPS, with a certificate of its own.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Daemon;
use crate::Host;

/// The name that the certificate is for. RFC 6761 keeps `.test` from ever being anybody's.
pub const HOST_NAME: &str = "server.red.test";

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    daemon: Daemon,
    certificate: PathBuf,
    file: PathBuf,
}

impl Nginx {
    /// Serves `bytes` random bytes as `/file` over TLS 1.3 on `port` of all of the host's addresses.
    pub fn start(host: &Host, folder: &Path, port: u16, bytes: u64) -> Result<Self> {
        let root = folder.join("nginx");
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let (certificate, key) = (root.join("certificate.pem"), root.join("key.pem"));
        certify(host, &certificate, &key)?;
        let file = root.join("file");
        write_random(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        let config = root.join("nginx.conf");
        fs::write(&config, configuration(&root, port)).with_context(|| format!("cannot write {}", config.display()))?;
        let mut server = Command::new("/usr/sbin/nginx");
        server.arg("-p").arg(&root).arg("-c").arg(&config).arg("-e").arg("stderr");
        let daemon = Daemon::start_listening(host, "nginx", server, port)?;
        Ok(Self { daemon, certificate, file })
    }

    /// The certificate, in PEM.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The file that is served.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What the server wrote.
    pub fn log_text(&self) -> String {
        self.daemon.log().text()
    }
}

/// One process without workers, which ends with its parent whatever happens; nothing of it outside of `root`.
fn configuration(root: &Path, port: u16) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", root.display()))
        .concat();
    format!(
        "daemon off;
        master_process off;
        user root;
        pid {root}/pid;
        events {{ }}
        http {{
            access_log off;
            {temporary}
            server {{
                listen {port} ssl;
                server_name {HOST_NAME};
                ssl_certificate {root}/certificate.pem;
                ssl_certificate_key {root}/key.pem;
                ssl_protocols TLSv1.3;
                root {root};
                location / {{ deny all; }}
                location = /file {{ allow all; }}
            }}
        }}
        ",
        root = root.display()
    )
}

fn certify(host: &Host, certificate: &Path, key: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "1"]);
    openssl.args(["-subj", &format!("/CN={HOST_NAME}"), "-addext", &format!("subjectAltName=DNS:{HOST_NAME}")]);
    openssl.arg("-keyout").arg(key).arg("-out").arg(certificate);
    host.output(openssl, "").map(drop)
}

fn write_random(path: &Path, bytes: u64) -> io::Result<()> {
    let mut random = File::open("/dev/urandom")?.take(bytes);
    io::copy(&mut random, &mut File::create(path)?).map(drop)
}
