//! What a secure cluster needs: certificates, and connections over TLS.

use std::path::Path;

use tokio_postgres::Client;
use workload::Connector;

use super::{Cluster, conclave};

/// The password of the superuser, where [`give_password`] was called.
pub(crate) const PASSWORD: &str = "sesame";

/// Makes an authority, a node's certificate and some users'.
pub(crate) fn make_certs(dir: &Path, users: &[&str]) {
    let dir = dir.to_str().expect("UTF-8");
    let made = |args: &[&str]| {
        let args = [&["cert"], args, &["--certs-dir", dir]].concat();
        let output = conclave(&args);
        assert!(output.success, "{args:?}: {}", output.text);
    };
    made(&["ca"]);
    made(&["node"]);
    for user in users {
        made(&["client", user]);
    }
}

/// A connection to the first node.
pub(crate) async fn connect(
    cluster: &Cluster,
    certs: &Path,
    user: &str,
    password: Option<&str>,
) -> Result<Client, tokio_postgres::Error> {
    let connector = Connector::secure(certs, user).expect("certificates");
    let password = password.map_or_else(String::new, |password| format!(" password={password}"));
    let url = format!(
        "host=localhost hostaddr=127.0.0.1 port={} user={user} dbname=conclave{password}",
        cluster.nodes[0].ports.sql
    );
    connector.connect(&url).await
}

/// The superuser, whom its certificate lets in, can say a password instead from now on.
pub(crate) async fn give_password(cluster: &Cluster, certs: &Path) {
    let admin = connect(cluster, certs, "conclave", None).await.expect("by certificate");
    let alter = format!("ALTER ROLE conclave PASSWORD '{PASSWORD}'");
    admin.batch_execute(&alter).await.expect("altered");
}
