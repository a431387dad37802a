//! How TLS is spoken: by whom, and who has to show what.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::{CertError, Identity};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn failed(error: impl std::fmt::Display) -> CertError {
    CertError::Tls(error.to_string())
}

fn roots(authorities: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, CertError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(failed)?;
    }
    Ok(Arc::new(roots))
}

/// For clients of a node: they may show a certificate, which is checked if they do.
pub fn server_config(
    authorities: &[CertificateDer<'static>],
    node: &Identity,
) -> Result<Arc<ServerConfig>, CertError> {
    served(authorities, node, false)
}

/// For other nodes: they have to show a certificate.
pub fn node_server_config(
    authorities: &[CertificateDer<'static>],
    node: &Identity,
) -> Result<Arc<ServerConfig>, CertError> {
    served(authorities, node, true).map(|mut config| {
        // gRPC asks for HTTP/2 by name.
        Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec()];
        config
    })
}

fn served(
    authorities: &[CertificateDer<'static>],
    node: &Identity,
    required: bool,
) -> Result<Arc<ServerConfig>, CertError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authorities)?, provider());
    let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_client_cert_verifier(verifier.build().map_err(failed)?)
        .with_single_cert(node.chain.clone(), node.key.clone_key())
        .map_err(failed)?;
    Ok(Arc::new(config))
}

/// For whoever connects: believes the authority, and shows a certificate if there is one to show.
pub fn client_config(
    authorities: &[CertificateDer<'static>],
    identity: Option<&Identity>,
) -> Result<ClientConfig, CertError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots(authorities)?);
    match identity {
        Some(identity) => config
            .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(failed),
        None => Ok(config.with_no_client_auth()),
    }
}

/// The name that a server has to have in its certificate.
pub fn server_name(host: &str) -> Result<ServerName<'static>, CertError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(|_| CertError::Name(host.to_owned()))
}
