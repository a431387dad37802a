//! TCP proxies in front of the nodes' RPC ports, to cut who talks to whom.
//!
//! ```text
//!   node 1 (dials from 127.0.0.11) ──▶ proxy of node 2 ──▶ node 2 (listens on 127.0.0.12)
//!                                       └ knows both ends, so it can cut this pair and no other
//! ```
//!
//! Each node listens on a loopback address of its own and dials its peers from it; what it tells them as
//! its address is its proxy's. Whoever dials from another address (init, join, status) is never cut.
//!
//! | cut | does |
//! |---|---|
//! | severed | open connections break, new ones are refused: a switch that answers with resets |
//! | silent | bytes of one direction wait in the proxy: a cable that leads nowhere, maybe one way only |

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::error::CheckError;

/// Directed pairs of nodes, by position from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cuts {
    /// Bytes from the first to the second wait.
    pub(crate) silent: BTreeSet<(usize, usize)>,
    /// Connections between the two are broken, whoever dialled.
    pub(crate) severed: BTreeSet<(usize, usize)>,
}

impl Cuts {
    fn severs(&self, a: usize, b: usize) -> bool {
        self.severed.contains(&(a, b)) || self.severed.contains(&(b, a))
    }
}

/// The proxies of a cluster. Dropped: all end.
pub(crate) struct Proxies {
    cuts: watch::Sender<Cuts>,
    /// Where each node is told to be.
    pub(crate) addresses: Vec<SocketAddr>,
    tasks: Vec<tokio::task::AbortHandle>,
}

/// The loopback address that a node listens on and dials from.
pub(crate) fn home(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 11 + u8::try_from(node).expect("nodes are few"))
}

fn node_at(address: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let [127, 0, 0, last] = ip.octets() else { return None };
    last.checked_sub(11).map(usize::from)
}

impl Proxies {
    /// Starts a proxy before each of `targets`.
    pub(crate) async fn start(targets: &[SocketAddr]) -> Result<Self, CheckError> {
        let (cuts, _) = watch::channel(Cuts::default());
        let mut proxies = Proxies { cuts, addresses: Vec::new(), tasks: Vec::new() };
        for (node, &target) in targets.iter().enumerate() {
            let fail = |source| CheckError::Spawn { program: "a proxy".to_owned(), source };
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(fail)?;
            proxies.addresses.push(listener.local_addr().map_err(fail)?);
            let task = tokio::spawn(accept(listener, node, target, proxies.cuts.subscribe()));
            proxies.tasks.push(task.abort_handle());
        }
        Ok(proxies)
    }

    /// What is cut from now on; nothing else is.
    pub(crate) fn cut(&self, cuts: Cuts) {
        self.cuts.send_replace(cuts);
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn accept(
    listener: TcpListener,
    node: usize,
    target: SocketAddr,
    cuts: watch::Receiver<Cuts>,
) {
    loop {
        // Out of descriptors: the next one may do.
        let Ok((dialler, from)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let pair = node_at(from).map(|from| (from, node));
        if pair.is_some_and(|(from, to)| cuts.borrow().severs(from, to)) {
            continue;
        }
        tokio::spawn(forward(dialler, target, pair, cuts.clone()));
    }
}

/// Carries one connection until either side closes it, or it is severed.
async fn forward(
    dialler: TcpStream,
    target: SocketAddr,
    pair: Option<(usize, usize)>,
    mut cuts: watch::Receiver<Cuts>,
) {
    let Ok(node) = TcpStream::connect(target).await else { return };
    // Without it small frames wait for each other; if it can't be set they just do.
    drop((dialler.set_nodelay(true), node.set_nodelay(true)));
    let (from_dialler, to_dialler) = dialler.into_split();
    let (from_node, to_node) = node.into_split();
    let there = pump(from_dialler, to_node, pair, cuts.clone());
    let back = pump(from_node, to_dialler, pair.map(|(from, to)| (to, from)), cuts.clone());
    let severed = async {
        match pair {
            Some((from, to)) => drop(cuts.wait_for(|cuts| cuts.severs(from, to)).await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
        () = severed => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Option<(usize, usize)>,
    mut cuts: watch::Receiver<Cuts>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if let Some(direction) = direction
            && cuts.wait_for(|cuts| !cuts.silent.contains(&direction)).await.is_err()
        {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
