//! What a certificate says of whom it is for, and what binds a password to it.

use ring::digest;
use rustls::pki_types::CertificateDer;

use crate::der;

/// The common name of every node's certificate.
pub const NODE: &str = "node";

/// The common name that a certificate is made out to; `None` if it has none, or several.
#[must_use]
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let mut names = der::common_names(certificate)?;
    let name = names.pop()?;
    // Which one would be meant?
    (names.is_empty() && !name.contains('\0')).then_some(name)
}

/// The data of channel binding `tls-server-end-point` (RFC 5929): a hash of the certificate by its
/// signature's own algorithm, SHA-256 where that is weaker. `None`: the algorithm is not known here.
#[must_use]
pub fn end_point_hash(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    let (last, family) = der::signature_algorithm(certificate)?.split_last()?;
    let algorithm = match (family, last) {
        (ECDSA, 2) | (RSA, 5 | 11) => &digest::SHA256,
        (ECDSA, 3) | (RSA, 12) => &digest::SHA384,
        (ECDSA, 4) | (RSA, 13) => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}
