//! Certificates as they are made are those that TLS accepts, for what they are for and for nothing else.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use certs::rustls::{ClientConnection, Error, ServerConnection};
use certs::{CertError, Folder, Lifetime};

const DAYS: Lifetime = Lifetime { days: 30 };

fn made() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = Folder::new(dir.path().join("certs"));
    certs::make_ca(&folder, DAYS, false).expect("an authority");
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    certs::make_node(&folder, None, &hosts, DAYS, false).expect("a node's");
    certs::make_client(&folder, None, "alice", DAYS, false).expect("a client's");
    (dir, folder)
}

/// Hands bytes back and forth until both sides are done; the first error of either.
fn shake(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), Error> {
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("memory");
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory");
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("memory");
            client.process_new_packets()?;
        }
        if !client.is_handshaking() && !server.is_handshaking() && !client.wants_write() {
            return Ok(());
        }
    }
    panic!("the handshake does not end");
}

#[test]
fn a_client_and_a_node_understand_each_other() {
    let (_dir, folder) = made();
    let ca = folder.authorities().expect("the authority");
    let node = folder.node().expect("the node's");
    let alice = folder.client("alice").expect("readable").expect("there");
    let server = certs::node_server_config(&ca, &node).expect("a server");
    let client = Arc::new(certs::client_config(&ca, Some(&alice)).expect("a client"));
    for host in ["localhost", "127.0.0.1"] {
        let name = certs::server_name(host).expect("a name");
        let mut client = ClientConnection::new(client.clone(), name).expect("a client");
        let mut server = ServerConnection::new(server.clone()).expect("a server");
        shake(&mut client, &mut server).expect("both agree");
        let shown = server.peer_certificates().expect("the client showed one");
        assert_eq!(certs::common_name(&shown[0]).as_deref(), Some("alice"));
        let shown = client.peer_certificates().expect("a server always does");
        assert_eq!(certs::common_name(&shown[0]).as_deref(), Some(certs::NODE));
        assert_eq!(certs::end_point_hash(&shown[0]).map(|hash| hash.len()), Some(32));
    }
}

#[test]
fn strangers_and_wrong_names_are_refused() {
    let (_dir, folder) = made();
    let (_other_dir, other) = made();
    let ca = folder.authorities().expect("the authority");
    let node = folder.node().expect("the node's");
    let foreign = other.node().expect("another cluster's");
    let alice = folder.client("alice").expect("readable").expect("there");
    let refused = |server, client, host: &str| {
        let name = certs::server_name(host).expect("a name");
        let mut client = ClientConnection::new(Arc::new(client), name).expect("a client");
        let mut server = ServerConnection::new(server).expect("a server");
        shake(&mut client, &mut server).expect_err("they must not agree")
    };
    let serve = |identity| certs::node_server_config(&ca, identity).expect("a server");
    let connect = |identity| certs::client_config(&ca, identity).expect("a client");
    // Of another cluster; without a certificate; a name that is not the node's; a client that serves.
    refused(serve(&node), connect(Some(&foreign)), "localhost");
    refused(serve(&node), connect(None), "localhost");
    refused(serve(&node), connect(Some(&node)), "elsewhere");
    refused(serve(&foreign), connect(Some(&node)), "localhost");
    refused(serve(&alice), connect(Some(&node)), "localhost");
}

#[test]
fn keys_are_the_owners_and_nothing_is_overwritten_unasked() {
    let (_dir, folder) = made();
    let key = folder.path().join("node.key");
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    for name in ["ca.key", "node.key", "client.alice.key"] {
        assert_eq!(mode(&folder.path().join(name)), 0o600, "{name}");
    }
    assert!(matches!(certs::make_ca(&folder, DAYS, false), Err(CertError::Exists(_))));
    let hosts = ["localhost".to_owned()];
    certs::make_node(&folder, None, &hosts, DAYS, true).expect("replaced as asked");
    assert_eq!(mode(&key), 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).expect("changed");
    assert!(matches!(folder.node(), Err(CertError::Exposed(_))));
    assert!(folder.client("../alice").expect("no such file").is_none());
    for user in ["", "node", "a/b"] {
        assert!(certs::make_client(&folder, None, user, DAYS, false).is_err(), "{user}");
    }
}
