//! Compiles the protocol definitions, without a `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["mvccpb.proto", "etcdserverpb.proto", "trireme_peer.proto", "trireme.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    // What reflection shows at the clients' port: what is served there.
    let face = protox::compile(["etcdserverpb.proto", "trireme.proto"], ["proto"])?;
    let path = std::path::Path::new(&std::env::var("OUT_DIR")?).join("face.bin");
    std::fs::write(path, prost::Message::encode_to_vec(&face))?;
    Ok(())
}
