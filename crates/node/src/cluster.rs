//! How nodes become a cluster: `init`, joining, and what a node knows of the others.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use proto::meta::NodeDescriptor;
use proto::node::peer_client::PeerClient;
use proto::node::{InitRequest, JoinRequest, JoinResponse};
use tonic::transport::Channel;

use crate::error::StartError;
use crate::transport::{self, Dialer};

/// Pause between two rounds of asking seeds.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Flags of `conclave init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// RPC address of any node of the cluster to be.
    #[arg(long, env = "CONCLAVE_RPC", value_name = "HOST:PORT", default_value = "127.0.0.1:16432")]
    rpc: String,
    #[command(flatten)]
    certs: Certs,
}

/// Where the certificates are that a secure cluster is asked with.
#[derive(Debug, Args)]
pub(crate) struct Certs {
    /// Folder of certificates: ca.crt, and client.conclave.crt or node.crt. Needed by a secure cluster.
    #[arg(long, env = "CONCLAVE_CERTS_DIR", value_name = "DIR")]
    certs_dir: Option<PathBuf>,
}

impl Certs {
    /// How nodes are reached.
    pub(crate) fn dialer(&self) -> Result<Dialer, StartError> {
        let tls = self.certs_dir.as_deref().map(crate::tls::admin).transpose()?;
        Ok(Dialer::new(tls))
    }
}

#[expect(clippy::print_stdout, reason = "says what was done")]
pub(crate) fn run_init(args: InitArgs) -> Result<(), StartError> {
    let cluster =
        crate::process::runtime("init")?.block_on(init(&args.certs.dialer()?, &args.rpc))?;
    println!("initialised cluster {cluster}");
    Ok(())
}

/// Initialises the cluster that the node at `address` waits for; answers its id.
pub(crate) async fn init(dialer: &Dialer, address: &str) -> Result<String, StartError> {
    let answer = dial(dialer, address)
        .await?
        .init(InitRequest {})
        .await
        .map_err(|status| broke(address, &status))?
        .into_inner();
    if answer.already {
        return Err(StartError::AlreadyInitialised(answer.cluster_id));
    }
    Ok(answer.cluster_id)
}

/// Connects to a node's RPC port.
pub(crate) async fn dial(
    dialer: &Dialer,
    address: &str,
) -> Result<PeerClient<Channel>, StartError> {
    let channel = dialer.connect(address).await.map_err(|error| {
        peer_error(address, &tls_reason(&error).unwrap_or_else(|| NO_ANSWER.to_owned()))
    })?;
    Ok(transport::client(channel))
}

const NO_ANSWER: &str = "no answer; is it up, and insecure? A secure node needs --certs-dir";

/// What TLS has to say about a connection that did not come to be.
fn tls_reason(error: &tonic::transport::Error) -> Option<String> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        let inner = io.and_then(std::io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<certs::rustls::Error>());
        if let Some(tls) = tls {
            return Some(format!("TLS: {tls}"));
        }
        cause = error.source();
    }
    None
}

/// Why a node did not answer. A secure node ends a connection in the clear without a word.
pub(crate) fn broke(address: &str, status: &tonic::Status) -> StartError {
    match status.message() {
        "transport error" => {
            peer_error(address, "the connection broke; a secure node needs --certs-dir")
        }
        message => peer_error(address, message),
    }
}

pub(crate) fn peer_error(address: &str, reason: &str) -> StartError {
    StartError::Peer { address: address.to_owned(), reason: reason.to_owned() }
}

/// Asks the seeds in turn until one of them knows an initialised cluster and lets us in. Never
/// gives up: a node that waits for `init` waits as long as it takes.
pub(crate) async fn join(
    dialer: &Dialer,
    seeds: &[SocketAddr],
    node: &NodeDescriptor,
    cluster_id: &str,
) -> JoinResponse {
    loop {
        for seed in seeds {
            match ask(dialer, &seed.to_string(), node, cluster_id).await {
                Ok(answer) if answer.ready => return answer,
                Ok(_) => {}
                Err(reason) => tracing::debug!(%seed, %reason, "not joined yet"),
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn ask(
    dialer: &Dialer,
    seed: &str,
    node: &NodeDescriptor,
    cluster_id: &str,
) -> Result<JoinResponse, StartError> {
    let request = JoinRequest { node: Some(node.clone()), cluster_id: cluster_id.to_owned() };
    let answer = dial(dialer, seed)
        .await?
        .join(request)
        .await
        .map_err(|status| peer_error(seed, status.message()))?;
    Ok(answer.into_inner())
}
