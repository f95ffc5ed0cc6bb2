//! The two gRPC contracts as generated code: KEDA's external scaler, and how interceptors tell scalers what is pending.
//!
//! The code is checked in, so that building needs neither `protoc` nor a build script. After a change in
//! `proto/*.proto`: `UPDATE_GENERATED=1 cargo test -p keda-http-proto`.

/// KEDA's contract with external scalers (`externalscaler.proto`): messages, client and server.
#[rustfmt::skip]
#[path = "generated/externalscaler.rs"]
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
pub mod externalscaler;

/// What interceptors report to scalers (`pending.proto`): messages, client and server.
#[rustfmt::skip]
#[path = "generated/kedahttp.pending.v1.rs"]
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
pub mod pending;

/// Both files as an encoded `FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptors.bin");
