//! curl in the BLUE zone fetches a file by HTTPS from nginx in the RED zone: TLS from end to end, untouched.

use std::fs;
use std::path::Path;
use std::process::Command;

use lab::apps::{HOST_NAME, Nginx};
use lab::require_root;

use super::rig::{Carrier, Stage};

const PORT: u16 = 443;
const BYTES: u64 = 20_000_000;

/// Fetches the file, trusting no certificate but this one.
fn fetch(stage: &Stage, certificate: &Path, to: &Path) -> anyhow::Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--tlsv1.3", "--max-time", "120"]);
    curl.args(["--write-out", "%{ssl_verify_result} %{http_code} %{size_download}"]);
    curl.args(["--resolve", &format!("{HOST_NAME}:{PORT}:{}", stage.entrance().ip())]);
    curl.arg("--cacert").arg(certificate).arg("--output").arg(to);
    curl.arg(format!("https://{HOST_NAME}:{PORT}/file"));
    stage.lab().client.output(curl, "")
}

/// The certificate that a client is shown, in PEM, and whether it is by TLS 1.3.
fn shown_certificate(stage: &Stage) -> (String, bool) {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-servername", HOST_NAME, "-connect", &stage.entrance().to_string()]);
    let shown = stage.lab().client.output(openssl, "").unwrap();
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let from = shown.find(begin).unwrap_or_else(|| panic!("no certificate in: {shown}"));
    let to = shown.find(end).unwrap() + end.len();
    (shown[from..to].to_owned(), shown.contains("TLSv1.3"))
}

fn file_arrives(carrier: Carrier) {
    let stage = Stage::bilateral(carrier, PORT, 4);
    let server = Nginx::start(&stage.lab().server, stage.folder(), PORT, BYTES).unwrap();
    let to = stage.folder().join("fetched");
    let told = fetch(&stage, server.certificate(), &to)
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", server.log_text(), stage.log_text()));
    assert_eq!(told, format!("0 200 {BYTES}"));
    // Not assert_eq, which would print both.
    assert!(fs::read(&to).unwrap() == fs::read(server.file()).unwrap(), "the file is not what the server has");
    let (shown, is_tls_1_3) = shown_certificate(&stage);
    assert_eq!(shown, fs::read_to_string(server.certificate()).unwrap().trim_end());
    assert!(is_tls_1_3);
    let Some((_, red)) = stage.end() else { return };
    assert_eq!(red.number("sessions").unwrap(), 2, "{red:?}");
}

#[test]
fn without_a_relay() {
    require_root!();
    file_arrives(Carrier::Kernel);
}

#[test]
fn without_loss() {
    require_root!();
    file_arrives(Carrier::Relay);
}

#[test]
fn with_one_percent_lost() {
    require_root!();
    file_arrives(Carrier::RelayRandomLoss);
}

#[test]
fn with_bursts() {
    require_root!();
    file_arrives(Carrier::RelayBursts);
}
