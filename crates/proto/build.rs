//! Generates the messages from `proto/*.proto`.

fn main() -> std::io::Result<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
    println!("cargo::rerun-if-changed={root}");
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure().compile_with_config(
        config,
        &[format!("{root}/node.proto"), format!("{root}/kv.proto"), format!("{root}/meta.proto")],
        &[root.to_owned()],
    )
}
