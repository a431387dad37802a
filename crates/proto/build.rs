//! Generates the messages from `proto/*.proto`.

fn main() -> std::io::Result<()> {
    // Asked when it runs: a clone elsewhere may share the compiled script through its target folder.
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    let root = format!("{here}/../../proto");
    println!("cargo::rerun-if-changed={root}");
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure().compile_with_config(
        config,
        &[format!("{root}/node.proto"), format!("{root}/kv.proto"), format!("{root}/meta.proto")],
        &[root],
    )
}
