//! The checked-in code is what the `.proto` files say. `UPDATE_GENERATED=1` writes it anew.

#![allow(clippy::expect_used, reason = "in tests a panic is how a failure is told")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;

const PROTOS: [&str; 2] = ["externalscaler.proto", "pending.proto"];

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compiles the `.proto` files into `directory`.
fn generate(directory: &Path) {
    let descriptors = protox::compile(PROTOS, [package().join("proto")]).expect("the .proto files are well formed");
    let mut without_source = descriptors.clone();
    for file in &mut without_source.file {
        file.source_code_info = None; // Comments and positions: reflection does not need them.
    }
    fs::write(directory.join("descriptors.bin"), without_source.encode_to_vec()).expect("the directory is writable");
    tonic_prost_build::configure()
        .out_dir(directory)
        .compile_fds(descriptors)
        .expect("code can be generated");
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("the directory exists");
    entries
        .map(|entry| entry.expect("the entry is readable"))
        .map(|entry| {
            let name = entry.file_name().into_string().expect("the name is UTF-8");
            (name, fs::read(entry.path()).expect("the file is readable"))
        })
        .collect()
}

#[test]
fn generated_code_is_not_stale() {
    let checked_in = package().join("src/generated");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        generate(&checked_in);
        return;
    }
    let fresh = tempfile::tempdir().expect("a temporary directory");
    generate(fresh.path());
    let (fresh, checked_in) = (files(fresh.path()), files(&checked_in));
    assert_eq!(
        fresh.keys().collect::<Vec<_>>(),
        checked_in.keys().collect::<Vec<_>>(),
        "other files than those in src/generated"
    );
    for (name, content) in fresh {
        assert!(
            checked_in[&name] == content,
            "src/generated/{name} is stale: run `UPDATE_GENERATED=1 cargo test -p keda-http-proto`"
        );
    }
}
