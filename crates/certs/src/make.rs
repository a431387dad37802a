//! Making certificates: of the authority, of nodes, of users.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;

use crate::folder::read_key;
use crate::names::NODE;
use crate::{CertError, Folder};

/// How long a certificate is good, from now on.
#[derive(Debug, Clone, Copy)]
pub struct Lifetime {
    /// In days.
    pub days: u32,
}

/// Clocks of machines differ: a new certificate is good for those behind, too.
const BEFORE: Duration = Duration::hours(1);

fn params(name: &str, lifetime: Lifetime) -> Result<CertificateParams, CertError> {
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(failed)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Conclave");
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BEFORE;
    params.not_after = now + Duration::days(i64::from(lifetime.days));
    Ok(params)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: rcgen::Error) -> CertError {
    CertError::Make(error.to_string())
}

/// What an authority is: all that differs between two of them is the key, and the time.
fn authority(lifetime: Lifetime) -> Result<CertificateParams, CertError> {
    let mut params = params("Conclave CA", lifetime)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Makes an authority: `ca.crt` and `ca.key`.
pub fn make_ca(folder: &Folder, lifetime: Lifetime, overwrite: bool) -> Result<(), CertError> {
    let params = authority(lifetime)?;
    let key = KeyPair::generate().map_err(failed)?;
    let made = params.self_signed(&key).map_err(failed)?;
    folder.write("ca", &made.pem(), &key.serialize_pem(), overwrite)
}

/// Makes a node's certificate, for all the names and addresses that clients and other nodes reach it
/// by: `node.crt` and `node.key`. `ca_key` is where the authority's key is, if not in the folder.
pub fn make_node(
    folder: &Folder,
    ca_key: Option<&Path>,
    hosts: &[String],
    lifetime: Lifetime,
    overwrite: bool,
) -> Result<(), CertError> {
    let mut params = params(NODE, lifetime)?;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    for host in hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => {
                let name = host.as_str().try_into();
                SanType::DnsName(name.map_err(|_| CertError::Name(host.clone()))?)
            }
        });
    }
    sign(folder, ca_key, "node", params, lifetime, overwrite)
}

/// Makes a user's certificate: `client.USER.crt` and `client.USER.key`.
pub fn make_client(
    folder: &Folder,
    ca_key: Option<&Path>,
    user: &str,
    lifetime: Lifetime,
    overwrite: bool,
) -> Result<(), CertError> {
    if user.is_empty() || user == NODE || user.contains(['/', '\0']) {
        return Err(CertError::Make(format!("{user:?} is no name of a user for a certificate")));
    }
    let mut params = params(user, lifetime)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(folder, ca_key, &format!("client.{user}"), params, lifetime, overwrite)
}

fn sign(
    folder: &Folder,
    ca_key: Option<&Path>,
    name: &str,
    mut params: CertificateParams,
    lifetime: Lifetime,
    overwrite: bool,
) -> Result<(), CertError> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let path = ca_key.map_or_else(|| folder.file("ca.key"), Path::to_owned);
    let wrong =
        |error: rcgen::Error| CertError::Content { path: path.clone(), what: error.to_string() };
    let ca_key = KeyPair::from_pem(&read_key(&path)?).map_err(wrong)?;
    let issuer = Issuer::new(authority(lifetime)?, ca_key);
    let key = KeyPair::generate().map_err(failed)?;
    let made = params.signed_by(&key, &issuer).map_err(failed)?;
    let mut roots = RootCertStore::empty();
    for authority in folder.authorities()? {
        roots.add(authority).map_err(|error| CertError::Tls(error.to_string()))?;
    }
    // The key may be another authority's than the certificate in the folder.
    let provider = ring::default_provider().into();
    let verified = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .map_err(|error| CertError::Tls(error.to_string()))?
        .verify_client_cert(made.der(), &[], UnixTime::now());
    if let Err(error) = verified {
        let what = format!("not the key of the authority in ca.crt ({error})");
        return Err(CertError::Content { path, what });
    }
    folder.write(name, &made.pem(), &key.serialize_pem(), overwrite)
}
