//! The folder that certificates are in.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::CertError;

/// A certificate with its key.
#[derive(Debug)]
pub struct Identity {
    /// The certificate, and those between it and the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Identity { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// A folder of certificates. Nothing is read before it is asked for.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at a path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Folder {
        Folder(path.into())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The certificates of the authority: several, while one takes over from another.
    pub fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, CertError> {
        read_certificates(&self.file("ca.crt"))
    }

    /// The node's certificate.
    pub fn node(&self) -> Result<Identity, CertError> {
        self.identity("node")
    }

    /// A user's certificate; `None` if there is none here.
    pub fn client(&self, user: &str) -> Result<Option<Identity>, CertError> {
        // A name with a slash would lead elsewhere.
        if user.contains(['/', '\0']) || !self.file(&format!("client.{user}.crt")).exists() {
            return Ok(None);
        }
        self.identity(&format!("client.{user}")).map(Some)
    }

    fn identity(&self, name: &str) -> Result<Identity, CertError> {
        read_identity(&self.file(&format!("{name}.crt")), &self.file(&format!("{name}.key")))
    }

    /// Writes a certificate and its key, the key first; for the owner's eyes only.
    pub(crate) fn write(
        &self,
        name: &str,
        certificate: &str,
        key: &str,
        overwrite: bool,
    ) -> Result<(), CertError> {
        fs::create_dir_all(&self.0)
            .map_err(|source| CertError::File { path: self.0.clone(), source })?;
        let (key_path, path) =
            (self.file(&format!("{name}.key")), self.file(&format!("{name}.crt")));
        if !overwrite && let Some(taken) = [&key_path, &path].into_iter().find(|p| p.exists()) {
            return Err(CertError::Exists(taken.clone()));
        }
        write(&key_path, key, 0o600)?;
        write(&path, certificate, 0o644)
    }
}

/// Reads a certificate and its key.
pub fn read_identity(certificate: &Path, key: &Path) -> Result<Identity, CertError> {
    let chain = read_certificates(certificate)?;
    let pem = read_key(key)?;
    let parsed = PrivateKeyDer::from_pem_slice(pem.as_bytes());
    let key = parsed
        .map_err(|error| CertError::Content { path: key.to_owned(), what: error.to_string() })?;
    Ok(Identity { chain, key })
}

pub(crate) fn read_key(path: &Path) -> Result<String, CertError> {
    let failed = |source| CertError::File { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(CertError::Exposed(path.to_owned()));
    }
    fs::read_to_string(path).map_err(failed)
}

/// Reads certificates; at least one.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let pem = fs::read(path).map_err(|source| CertError::File { path: path.to_owned(), source })?;
    let content = |what: String| CertError::Content { path: path.to_owned(), what };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| content(error.to_string()))?;
    match found.is_empty() {
        true => Err(content("no certificate in it".to_owned())),
        false => Ok(found),
    }
}

/// Replaces a file as a whole: whoever reads it meanwhile sees the old one or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertError> {
    let failed = |source| CertError::File { path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    // One that was left behind may have another mode.
    drop(fs::remove_file(&beside));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}
