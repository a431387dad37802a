//! With which certificates is the server believed, and which is shown to it?
//!
//! They come from a folder as `conclave cert` makes it (`--certs-dir`), or from the connection string as
//! for libpq: `sslmode=verify-full&sslrootcert=ca.crt`, and `sslcert`, `sslkey`. What the string asks for
//! and cannot be had is refused, never left out: without an authority nobody can be verified.

use std::path::PathBuf;
use std::sync::Arc;

use certs::Folder;
use certs::rustls::ClientConfig;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::error::ShellError;

/// Where certificates are.
#[derive(Clone, Debug, Default)]
pub(crate) enum Source {
    /// Nowhere: connections are not encrypted.
    #[default]
    None,
    /// `--certs-dir`.
    Folder(PathBuf),
    /// Files of the connection string.
    Files { root: PathBuf, own: Option<(PathBuf, PathBuf)> },
}

/// Where to connect.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) config: Config,
    pub(crate) source: Source,
}

impl Target {
    /// Reads a connection string. The password is that of `PGPASSWORD` if the string has none.
    pub(crate) fn parse(url: &str, folder: Option<PathBuf>) -> Result<Target, ShellError> {
        let (rest, options) = take_options(url);
        let mut config: Config = rest.parse().map_err(ShellError::Url)?;
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        let find = |name| options.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let mode = find("sslmode");
        let source = match (folder, find("sslrootcert")) {
            _ if mode.as_deref() == Some("disable") => Source::None,
            (_, Some(root)) => {
                let own = find("sslcert").zip(find("sslkey"));
                let own = own.map(|(cert, key)| (cert.into(), key.into()));
                Source::Files { root: root.into(), own }
            }
            (Some(folder), None) => Source::Folder(folder),
            (None, None) => match mode.as_deref() {
                None | Some("allow" | "prefer") => Source::None,
                Some(_) => {
                    return Err(ShellError::Unsupported("TLS without --certs-dir or sslrootcert"));
                }
            },
        };
        Ok(Target { config, source })
    }

    /// The same without the password.
    pub(crate) fn without_password(self) -> Target {
        let old = self.config;
        let mut config = Config::new();
        for host in old.get_hosts() {
            match host {
                Host::Tcp(name) => config.host(name),
                Host::Unix(folder) => config.host_path(folder),
            };
        }
        for port in old.get_ports() {
            config.port(*port);
        }
        if let Some(database) = old.get_dbname() {
            config.dbname(database);
        }
        if let Some(user) = old.get_user() {
            config.user(user);
        }
        if let Some(options) = old.get_options() {
            config.options(options);
        }
        if let Some(timeout) = old.get_connect_timeout() {
            config.connect_timeout(*timeout);
        }
        if let Some(name) = old.get_application_name() {
            config.application_name(name);
        }
        Target { config, source: self.source }
    }

    /// The user who connects.
    pub(crate) fn user(&self) -> &str {
        self.config.get_user().unwrap_or("conclave")
    }

    /// What TLS is spoken with; `None`: it is not.
    pub(crate) fn tls(&self) -> Result<Option<Arc<ClientConfig>>, ShellError> {
        let (authorities, identity) = match &self.source {
            Source::None => return Ok(None),
            Source::Folder(path) => {
                let folder = Folder::new(path);
                (folder.authorities()?, folder.client(self.user())?)
            }
            Source::Files { root, own } => {
                let own = own.as_ref().map(|(cert, key)| certs::read_identity(cert, key));
                (certs::read_certificates(root)?, own.transpose()?)
            }
        };
        Ok(Some(Arc::new(certs::client_config(&authorities, identity.as_ref())?)))
    }
}

/// Takes libpq's options about TLS out of a connection string: the parser knows few of them.
fn take_options(url: &str) -> (String, Vec<(String, String)>) {
    const NAMES: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];
    let mut taken = Vec::new();
    let mut keep = |text: &&str| {
        let option = text.split_once('=').filter(|(name, _)| NAMES.contains(name));
        taken.extend(option.map(|(name, value)| (name.to_owned(), value.to_owned())));
        option.is_none()
    };
    let rest = match url.split_once('?') {
        Some((head, query)) if url.contains("://") => {
            let query: Vec<&str> = query.split('&').filter(&mut keep).collect();
            if query.is_empty() { head.to_owned() } else { format!("{head}?{}", query.join("&")) }
        }
        _ if url.contains("://") => url.to_owned(),
        _ => url.split_whitespace().filter(&mut keep).collect::<Vec<_>>().join(" "),
    };
    (rest, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_about_tls_are_taken_out() {
        let (rest, taken) =
            take_options("postgres://a@h:1/d?sslmode=verify-full&connect_timeout=5&sslrootcert=c");
        assert_eq!(rest, "postgres://a@h:1/d?connect_timeout=5");
        assert_eq!(taken.len(), 2);
        let (rest, taken) = take_options("host=h sslmode=require user=a");
        assert_eq!(rest, "host=h user=a");
        assert_eq!(taken, [("sslmode".to_owned(), "require".to_owned())]);
        assert_eq!(take_options("postgres://a@h").0, "postgres://a@h");
    }

    #[test]
    fn what_cannot_be_verified_is_refused() {
        let parse = |url: &str| Target::parse(url, None);
        for mode in ["require", "verify-ca", "verify-full"] {
            let url = format!("postgres://a@h?sslmode={mode}");
            assert!(matches!(parse(&url), Err(ShellError::Unsupported(_))), "{mode}");
        }
        let target = parse("postgres://a@h?sslmode=verify-full&sslrootcert=c").expect("a target");
        assert!(matches!(target.source, Source::Files { own: None, .. }));
        let folder = Target::parse("postgres://a@h", Some("certs".into())).expect("a target");
        assert!(matches!(folder.source, Source::Folder(_)));
        assert!(matches!(parse("postgres://a@h").expect("a target").source, Source::None));
    }
}
