//! Images of the programs as OCI archives, written without a registry or a daemon, and their bills of materials.
//!
//! The same binary, version and time give the same bytes: files are sorted, their times are the given one, nothing of
//! the machine is named, and the certificate authorities come from a crate of `Cargo.lock`.
//!
//! # Layout
//!
//! - `elf`: what a binary is for, and whether it needs anything beside itself
//! - `layer`: files as a layer of an image
//! - `archive`: layers and settings as an image, and the archive around it
//! - `packages`: what a program is made of, from `cargo metadata`
//! - `sbom`: the same as CycloneDX
//! - `image`: all of it, for one program

pub mod archive;
pub mod elf;
pub mod image;
pub mod layer;
pub mod packages;
pub mod sbom;

/// The SHA-256 of something, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
