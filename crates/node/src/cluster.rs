//! How nodes become a cluster: `init`, joining, and what a node knows of the others.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use proto::meta::NodeDescriptor;
use proto::node::peer_client::PeerClient;
use proto::node::{InitRequest, JoinRequest, JoinResponse};
use tonic::transport::Channel;

use crate::error::StartError;
use crate::transport;

/// Pause between two rounds of asking seeds.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Flags of `conclave init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// RPC address of any node of the cluster to be.
    #[arg(long, env = "CONCLAVE_RPC", value_name = "HOST:PORT", default_value = "127.0.0.1:16432")]
    rpc: String,
}

#[expect(clippy::print_stdout, reason = "says what was done")]
pub(crate) fn run_init(args: InitArgs) -> Result<(), StartError> {
    let cluster = crate::process::runtime("init")?.block_on(init(&args.rpc))?;
    println!("initialised cluster {cluster}");
    Ok(())
}

/// Initialises the cluster that the node at `address` waits for; answers its id.
pub(crate) async fn init(address: &str) -> Result<String, StartError> {
    let answer = dial(address)
        .await?
        .init(InitRequest {})
        .await
        .map_err(|status| peer_error(address, status.message()))?
        .into_inner();
    if answer.already {
        return Err(StartError::AlreadyInitialised(answer.cluster_id));
    }
    Ok(answer.cluster_id)
}

/// Connects to a node's RPC port.
pub(crate) async fn dial(address: &str) -> Result<PeerClient<Channel>, StartError> {
    let endpoint = transport::endpoint(address).map_err(|e| peer_error(address, &e.to_string()))?;
    let channel =
        endpoint.connect().await.map_err(|_refused| peer_error(address, "no answer; is it up?"))?;
    Ok(transport::client(channel))
}

pub(crate) fn peer_error(address: &str, reason: &str) -> StartError {
    StartError::Peer { address: address.to_owned(), reason: reason.to_owned() }
}

/// Asks the seeds in turn until one of them knows an initialised cluster and lets us in. Never
/// gives up: a node that waits for `init` waits as long as it takes.
pub(crate) async fn join(
    seeds: &[SocketAddr],
    node: &NodeDescriptor,
    cluster_id: &str,
) -> JoinResponse {
    loop {
        for seed in seeds {
            match ask(&seed.to_string(), node, cluster_id).await {
                Ok(answer) if answer.ready => return answer,
                Ok(_) => {}
                Err(reason) => tracing::debug!(%seed, %reason, "not joined yet"),
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn ask(
    seed: &str,
    node: &NodeDescriptor,
    cluster_id: &str,
) -> Result<JoinResponse, StartError> {
    let request = JoinRequest { node: Some(node.clone()), cluster_id: cluster_id.to_owned() };
    let answer = dial(seed)
        .await?
        .join(request)
        .await
        .map_err(|status| peer_error(seed, status.message()))?;
    Ok(answer.into_inner())
}
