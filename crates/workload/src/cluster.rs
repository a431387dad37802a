//! The cluster under test: at an address, or made of processes of our own.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config};

use crate::args::CheckArgs;
use crate::connect::Connector;
use crate::error::CheckError;
use crate::processes::{Processes, signal};
use crate::proxy::Cuts;

/// How long nodes may take to answer and ranges to be replicated.
const PATIENCE: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Where clients connect, and what faults can do.
pub(crate) struct Cluster {
    pub(crate) urls: Vec<String>,
    pub(crate) connector: Connector,
    processes: Option<Processes>,
    pids: Vec<u32>,
}

impl Cluster {
    /// Finds or starts it.
    pub(crate) async fn open(args: &CheckArgs) -> Result<Self, CheckError> {
        if let Some(count) = args.start {
            let binary = match &args.binary {
                Some(binary) => binary.clone(),
                None => std::env::current_exe().map_err(|source| CheckError::Spawn {
                    program: "conclave".to_owned(),
                    source,
                })?,
            };
            let processes = Processes::start(binary, usize::from(count), args.keep).await?;
            let urls = processes.urls();
            let (processes, connector) = (Some(processes), Connector::default());
            let cluster = Cluster { urls, connector, processes, pids: Vec::new() };
            for node in 0..cluster.nodes() {
                cluster.wait_serving(node).await?;
            }
            cluster.wait_replicated().await?;
            return Ok(cluster);
        }
        let connector = connector(args)?;
        let urls = discover(&connector, &args.url).await?;
        Ok(Cluster { urls, connector, processes: None, pids: args.pids.clone() })
    }

    pub(crate) fn nodes(&self) -> usize {
        let processes = self.processes.as_ref().map(Processes::count);
        processes.unwrap_or_else(|| self.pids.len().max(self.urls.len()))
    }

    /// A connection to a node, when it serves.
    pub(crate) async fn wait_serving(&self, node: usize) -> Result<Client, CheckError> {
        let url = &self.urls[node];
        let start = Instant::now();
        loop {
            if let Some(client) = connect(&self.connector, url).await
                && client.simple_query("SELECT 1").await.is_ok()
            {
                return Ok(client);
            }
            if start.elapsed() > PATIENCE {
                return Err(CheckError::NotReady(format!("node {} does not serve", node + 1)));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Waits until every range has a leader and three replicas (or as many as there are nodes).
    pub(crate) async fn wait_replicated(&self) -> Result<(), CheckError> {
        let wanted = self.nodes().min(3);
        let client = self.wait_serving(0).await?;
        let short = format!(
            "SELECT count(*) FROM conclave.ranges WHERE coalesce(leader, 0) = 0 \
             OR length(replicas) < {}",
            2 * wanted - 1
        );
        let start = Instant::now();
        loop {
            let answer = client.simple_query(&short).await;
            let count = answer.ok().and_then(|messages| {
                messages.into_iter().find_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                })
            });
            if count.as_deref() == Some("0") {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let count = count.unwrap_or_else(|| "unknown".to_owned());
                return Err(CheckError::NotReady(format!("{count} ranges are not replicated")));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn ours(&mut self) -> Result<&mut Processes, CheckError> {
        let refused = || CheckError::Refused("this fault needs --start".to_owned());
        self.processes.as_mut().ok_or_else(refused)
    }

    pub(crate) fn kill(&mut self, node: usize) -> Result<(), CheckError> {
        self.ours()?.kill(node);
        Ok(())
    }

    /// Starts a node again and waits until it serves.
    pub(crate) async fn restart(&mut self, node: usize) -> Result<(), CheckError> {
        self.ours()?.spawn(node)?;
        self.wait_serving(node).await.map(drop)
    }

    pub(crate) fn pause(&mut self, node: usize, stop: bool) -> Result<(), CheckError> {
        if let Some(processes) = &mut self.processes {
            return processes.pause(node, stop);
        }
        signal(self.pids[node], if stop { "STOP" } else { "CONT" })
    }

    pub(crate) fn cut(&mut self, cuts: Cuts) -> Result<(), CheckError> {
        self.ours()?.cut(cuts);
        Ok(())
    }

    pub(crate) fn set_clock(&mut self, node: usize, offset_ms: i64) -> Result<(), CheckError> {
        self.ours()?.set_clock(node, offset_ms)
    }

    /// Ends every fault, however far it had come.
    pub(crate) async fn heal(&mut self) -> Result<(), CheckError> {
        for pid in self.pids.clone() {
            signal(pid, "CONT")?;
        }
        let Some(processes) = &mut self.processes else { return Ok(()) };
        processes.cut(Cuts::default());
        for node in 0..processes.count() {
            processes.pause(node, false)?;
        }
        for node in 0..self.nodes() {
            self.wait_serving(node).await?;
        }
        Ok(())
    }

    /// A node that ended although nobody killed it.
    pub(crate) fn unexpected_exit(&mut self) -> Option<String> {
        self.processes.as_mut().and_then(Processes::unexpected_exit)
    }

    /// Where data and logs are, if they are ours.
    pub(crate) fn folder(&self) -> Option<&std::path::Path> {
        self.processes.as_ref().map(Processes::folder)
    }
}

/// How the cluster at --url is reached.
fn connector(args: &CheckArgs) -> Result<Connector, CheckError> {
    let Some(folder) = &args.certs_dir else { return Ok(Connector::default()) };
    Ok(Connector::secure_for(folder, &args.url)?)
}

async fn connect(connector: &Connector, url: &str) -> Option<Client> {
    tokio::time::timeout(Duration::from_secs(3), connector.connect(url)).await.ok()?.ok()
}

/// The addresses of all nodes, as the one at `url` knows them.
async fn discover(connector: &Connector, url: &str) -> Result<Vec<String>, CheckError> {
    let nobody = || CheckError::NoNode(url.to_owned());
    let config: Config = url.parse().map_err(|_malformed| nobody())?;
    let client = connect(connector, url).await.ok_or_else(nobody)?;
    let rows = client
        .query("SELECT sql_address FROM conclave.nodes ORDER BY node_id", &[])
        .await
        .map_err(|_refused| nobody())?;
    let user = config.get_user().unwrap_or("conclave");
    let database = config.get_dbname().unwrap_or(user);
    let urls = rows.iter().map(|row| {
        let address: String = row.get(0);
        format!("postgres://{user}@{address}/{database}")
    });
    Ok(urls.collect())
}
