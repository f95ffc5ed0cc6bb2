//! `keda-http-images PROGRAM BINARY REFERENCE DIRECTORY`: writes the image of a program of this workspace as an OCI
//! archive, `DIRECTORY/PROGRAM.tar`, and its bill of materials, `DIRECTORY/PROGRAM.cdx.json`. It needs no registry and
//! no daemon.
//!
//! The same binary, version and time give the same bytes: files are sorted and have the given time, the archive
//! contains nothing of the machine that writes it, and the CA bundle comes from a crate of `Cargo.lock`.
//!
//! # Layout
//!
//! - `elf`: the architecture of a binary, and whether it is static
//! - `layer`: files as a layer of an image
//! - `archive`: layers and settings as an image, and the archive around it
//! - `packages`: the packages that are linked into a program, from `cargo metadata`
//! - `sbom`: the bill of materials as CycloneDX
//! - `image`: all of it, for one program

mod archive;
mod elf;
mod image;
mod layer;
mod packages;
mod sbom;

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use image::Request;
use packages::Metadata;

const USAGE: &str = "\
keda-http-images PROGRAM BINARY REFERENCE DIRECTORY

Writes DIRECTORY/PROGRAM.tar, an OCI archive, and DIRECTORY/PROGRAM.cdx.json, its bill of materials (CycloneDX 1.6).

  PROGRAM     a package of this workspace, such as keda-http-interceptor
  BINARY      its static binary
  REFERENCE   the image's name with its tag, such as localhost/keda-http-interceptor:0.1.0

  SOURCE_DATE_EPOCH   time of all files and of the image, in seconds since 1970 (0)
  REVISION            the commit it was built from
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [program, binary, reference, directory] = arguments.as_slice() else {
        // A closed pipe (`| head`) is no failure.
        let _ = std::io::stderr().write_all(USAGE.as_bytes());
        return ExitCode::from(64);
    };
    match write(program, Path::new(binary), reference, Path::new(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keda-http-images: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(program: &str, binary: &Path, reference: &str, directory: &Path) -> Result<()> {
    let metadata: Metadata = serde_json::from_str(&output(
        "cargo",
        &[
            "metadata",
            "--format-version=1",
            "--locked",
            "--filter-platform",
            &host()?,
        ],
    )?)?;
    let lock = fs::read_to_string("Cargo.lock").context("Cargo.lock")?;
    let revision = env::var("REVISION").ok().filter(|revision| !revision.is_empty());
    let (archive, bill) = image::make(Request {
        program,
        binary: fs::read(binary).with_context(|| binary.display().to_string())?,
        reference,
        revision: revision.as_deref(),
        time: time()?,
        packages: &metadata.linked_into(program, &lock)?,
        runtime: &[libc()?, ("rust-std".to_owned(), rust_version()?)],
    })?;
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let (tar, sbom) = (
        directory.join(format!("{program}.tar")),
        directory.join(format!("{program}.cdx.json")),
    );
    fs::write(&tar, &archive.tar).with_context(|| tar.display().to_string())?;
    fs::write(&sbom, serde_json::to_vec_pretty(&bill)?).with_context(|| sbom.display().to_string())?;
    // A closed pipe is no failure: the files are written.
    let _ = writeln!(
        std::io::stdout(),
        "{reference}  {}  {} MB  {}",
        archive.digest,
        archive.tar.len() / 1_000_000,
        tar.display()
    );
    Ok(())
}

fn time() -> Result<u64> {
    let set = env::var("SOURCE_DATE_EPOCH").unwrap_or_default();
    if set.is_empty() {
        return Ok(0);
    }
    set.parse()
        .with_context(|| format!("SOURCE_DATE_EPOCH={set:?} cannot be used; it must be a number of seconds since 1970"))
}

/// The platform that the compiler builds for.
fn host() -> Result<String> {
    let version = output("rustc", &["--version", "--verbose"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .context("rustc --version --verbose did not print a host")?
        .to_owned())
}

fn rust_version() -> Result<String> {
    let version = output("rustc", &["--version"])?;
    Ok(version
        .split_whitespace()
        .nth(1)
        .context("rustc --version did not print a version")?
        .to_owned())
}

/// The C library of this machine, which is linked into static programs.
fn libc() -> Result<(String, String)> {
    let version = output("getconf", &["GNU_LIBC_VERSION"])?;
    let (name, version) = version
        .trim()
        .split_once(' ')
        .context("getconf GNU_LIBC_VERSION did not print a version")?;
    Ok((name.to_owned(), version.to_owned()))
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| program.to_owned())?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        error.trim()
    );
    String::from_utf8(output.stdout).with_context(|| program.to_owned())
}

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
