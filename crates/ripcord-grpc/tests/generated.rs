//! The committed code for `proto/echo.proto` is what `tonic-prost-build` generates. protox parses the file, so that no `protoc` is
//! needed.
//!
//! After a change of `proto/echo.proto`, write the code again with
//! `RIPCORD_GENERATE=1 cargo test -p ripcord-grpc --test generated`.

use std::path::Path;
use std::{env, fs};

#[test]
fn committed_code_is_generated_from_the_proto_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["echo.proto"], [root.join("proto")]).expect("echo.proto is valid");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tonic_prost_build::configure().out_dir(directory).compile_fds(descriptors).expect("the directory is writable");
    let generated = fs::read_to_string(directory.join("ripcord.test.v1.rs")).expect("the file was written");

    let committed = root.join("examples/echo_server/generated.rs");
    if env::var_os("RIPCORD_GENERATE").is_some() {
        fs::write(&committed, &generated).expect("the source is writable");
    }
    let committed = fs::read_to_string(committed).unwrap_or_default();
    assert!(committed == generated, "examples/echo_server/generated.rs is not what echo.proto generates");
}
