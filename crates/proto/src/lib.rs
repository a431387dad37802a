//! Messages between nodes, generated from `proto/*.proto`, and their conversions to the words of
//! `base`. No logic. Every `bytes` field is a [`bytes::Bytes`], so that decoding does not copy.

mod convert;

/// Ranges, nodes, and the commands of the system range.
#[expect(missing_docs, reason = "the comments are in proto/meta.proto")]
pub mod meta {
    tonic::include_proto!("conclave.meta");
}

/// Requests to ranges and their answers.
#[expect(missing_docs, reason = "the comments are in proto/kv.proto")]
pub mod kv {
    tonic::include_proto!("conclave.kv");
}

/// Frames between nodes, snapshots, log entries, joining.
#[expect(missing_docs, reason = "the comments are in proto/node.proto")]
pub mod node {
    tonic::include_proto!("conclave.node");
}
