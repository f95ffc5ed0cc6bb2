//! Images of the programs as OCI archives, written without a registry or a daemon, and their bills of materials.
//!
//! The same binary, version and time give the same bytes: files are sorted, their times are the given one, no name of
//! the machine gets in, and the certificate authorities come from a crate of `Cargo.lock`.
//!
//! # Layout
//!
//! - `elf`: the architecture of a binary, and whether it is static
//! - `layer`: files as a layer of an image
//! - `archive`: layers and settings as an image, and the archive around it
//! - `packages`: the packages that are linked into a program, from `cargo metadata`
//! - `sbom`: the bill of materials as CycloneDX
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
