//! `conclave status`: the nodes and ranges of a running cluster, as one of its nodes sees them.

use std::io::{ErrorKind, Write};

use bytesize::ByteSize;
use clap::Args;
use comfy_table::{Table, presets};
use proto::node::{StatusRequest, StatusResponse};
use serde_json::json;

use crate::cluster;
use crate::error::StartError;
use crate::transport::Dialer;

/// Flags of `conclave status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// RPC address of any node.
    #[arg(long, env = "CONCLAVE_RPC", value_name = "HOST:PORT", default_value = "127.0.0.1:16432")]
    rpc: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    certs: cluster::Certs,
}

pub(crate) fn run(args: StatusArgs) -> Result<(), StartError> {
    let status =
        crate::process::runtime("status")?.block_on(fetch(&args.certs.dialer()?, &args.rpc))?;
    let text = if args.json { format!("{:#}", to_json(&status)) } else { to_text(&status) };
    match writeln!(std::io::stdout().lock(), "{text}") {
        // `conclave status | head` has seen enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(StartError::Output(error)),
        _ => Ok(()),
    }
}

/// Asks a node for the cluster as it sees it.
pub(crate) async fn fetch(dialer: &Dialer, address: &str) -> Result<StatusResponse, StartError> {
    let mut client = cluster::dial(dialer, address).await?;
    let answer = client
        .status(StatusRequest::default())
        .await
        .map_err(|status| cluster::broke(address, &status))?;
    Ok(answer.into_inner())
}

/// The tables a person reads.
pub(crate) fn to_text(status: &StatusResponse) -> String {
    let mut nodes = Table::new();
    nodes
        .load_preset(presets::NOTHING)
        .set_header(["node", "state", "sql", "rpc", "leads", "replicas", "bytes"]);
    for node in &status.nodes {
        let descriptor = node.node.clone().unwrap_or_default();
        nodes.add_row([
            format!("n{}", descriptor.node_id),
            if node.live { "live" } else { "down" }.to_owned(),
            descriptor.sql_address,
            descriptor.rpc_address,
            node.leaders.to_string(),
            node.replicas.to_string(),
            ByteSize::b(node.bytes).to_string(),
        ]);
    }
    let mut ranges = Table::new();
    ranges
        .load_preset(presets::NOTHING)
        .set_header(["range", "start", "end", "replicas", "leader", "bytes", "applied"]);
    for range in &status.ranges {
        let descriptor = range.descriptor.clone().unwrap_or_default();
        ranges.add_row([
            format!("r{}", descriptor.range_id),
            key_text(&descriptor.start, "first"),
            key_text(&descriptor.end, "last"),
            replicas_text(&descriptor),
            if range.leader == 0 { "none".to_owned() } else { format!("n{}", range.leader) },
            ByteSize::b(range.bytes).to_string(),
            range.applied_index.to_string(),
        ]);
    }
    format!("cluster {}\n\n{nodes}\n\n{ranges}", status.cluster_id)
}

fn replicas_text(descriptor: &proto::meta::RangeDescriptor) -> String {
    let names: Vec<String> = descriptor
        .replicas
        .iter()
        .map(|r| format!("n{}{}", r.node_id, if r.learner { " (learner)" } else { "" }))
        .collect();
    names.join(" ")
}

/// A key as a person reads it: table and index by number, the rest escaped.
fn key_text(key: &[u8], when_empty: &str) -> String {
    match key {
        [] => when_empty.to_owned(),
        [base::keyspace::CATALOG] => "catalog".to_owned(),
        [base::keyspace::TABLES, rest @ ..] if rest.len() >= 4 => {
            let number = |b: &[u8]| u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
            let mut text = format!("table {}", number(rest));
            if rest.len() >= 8 {
                text += &format!(" index {}", number(&rest[4..]));
            }
            if rest.len() > 8 {
                text += &format!(" {}", rest[8..].escape_ascii());
            }
            text
        }
        other => other.escape_ascii().to_string(),
    }
}

fn to_json(status: &StatusResponse) -> serde_json::Value {
    let nodes: Vec<_> = status
        .nodes
        .iter()
        .map(|node| {
            let d = node.node.clone().unwrap_or_default();
            json!({
                "node": d.node_id, "live": node.live, "sql": d.sql_address, "rpc": d.rpc_address,
                "http": d.http_address, "leaders": node.leaders, "replicas": node.replicas,
                "bytes": node.bytes,
            })
        })
        .collect();
    let ranges: Vec<_> = status
        .ranges
        .iter()
        .map(|range| {
            let d = range.descriptor.clone().unwrap_or_default();
            let members = |learner: bool| -> Vec<u64> {
                let replicas = d.replicas.iter().filter(|r| r.learner == learner);
                replicas.map(|r| r.node_id).collect()
            };
            json!({
                "range": d.range_id, "start": key_text(&d.start, ""), "end": key_text(&d.end, ""),
                "generation": d.generation, "leader": range.leader, "bytes": range.bytes,
                "applied": range.applied_index,
                "voters": members(false), "learners": members(true),
            })
        })
        .collect();
    json!({ "cluster": status.cluster_id, "nodes": nodes, "ranges": ranges })
}
