//! Messages between nodes, generated from `proto/*.proto`, and their conversions to the words of
//! `base`. No logic. Every `bytes` field is a [`bytes::Bytes`], so that decoding does not copy.

mod convert;

/// Ranges, nodes, and the commands of the system range.
#[allow(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated: the comments are in proto/meta.proto"
)]
pub mod meta {
    tonic::include_proto!("conclave.meta");
}

/// Requests to ranges and their answers.
#[allow(
    missing_docs,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    reason = "generated: the comments are in proto/kv.proto"
)]
pub mod kv {
    tonic::include_proto!("conclave.kv");
}

/// Frames between nodes, snapshots, log entries, joining.
#[allow(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated: the comments are in proto/node.proto"
)]
pub mod node {
    tonic::include_proto!("conclave.node");
}
