//! TLS of FTPS: whom to trust, and one session for the control connection and its transfers.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use suppaftp::tokio::AsyncRustlsConnector;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::super::{EndpointError, Trouble};
use crate::config::Place;

/// TLS for one connection and its transfers, which resume its session: servers want to see that both come from the same
/// client (vsftpd's `require_ssl_reuse`). Reads files.
///
/// # Errors
/// [`Trouble::Login`]: there are no certificates to trust.
pub fn connector(place: &Place) -> Result<AsyncRustlsConnector, EndpointError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let fail =
        |why: &dyn fmt::Display| EndpointError::new(Trouble::Login, format_args!("use TLS with {}", place.server), why);
    let verifier: Arc<dyn ServerCertVerifier> = if place.verify {
        let roots = Arc::new(roots(place)?);
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| fail(&error))?
    } else {
        warn_once(place);
        Arc::new(AnyCertificate(Arc::clone(&provider)))
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fail(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)).into())
}

/// The certificates to trust: those of `ca_file`, else this host's.
fn roots(place: &Place) -> Result<RootCertStore, EndpointError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &place.ca_file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = "this host has none (package ca-certificates); name the server's in ca_file";
            return Err(EndpointError::new(Trouble::Login, "find certificates to trust", why));
        }
        return Ok(roots);
    };
    let fail = |why: &dyn fmt::Display| {
        EndpointError::new(Trouble::Login, format_args!("read the certificates in ca_file {}", path.display()), why)
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fail(&error))? {
        let certificate = certificate.map_err(|error| fail(&error))?;
        roots.add(certificate).map_err(|error| fail(&error))?;
    }
    if roots.is_empty() { Err(fail(&"it has none (PEM is expected)")) } else { Ok(roots) }
}

/// Says once for each server that nobody knows who it is.
fn warn_once(place: &Place) {
    static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let server = format!("{}:{}", place.server, place.port);
    if WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(server.clone()) {
        tracing::warn!(
            server,
            "the certificate of this FTPS server is NOT verified (verify = false): whoever sits in between gets its \
             password and files, and can change them"
        );
    }
}

/// Takes every certificate; only that the server has its key is verified.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
