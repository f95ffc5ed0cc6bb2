//! The image of one program: its binary, and the few files that a static binary reads.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::archive::{Archive, Image};
use crate::elf;
use crate::layer::Layer;
use crate::packages::Package;
use crate::sbom::{self, Subject};

/// User and group of the programs; no other user of a node has these numbers.
const USER: &str = "65532:65532";

pub struct Request<'a> {
    /// The program's name, which is also its package's.
    pub program: &'a str,
    pub binary: Vec<u8>,
    /// The image's name with its tag, such as `localhost/keda-http-interceptor:0.1.0`.
    pub reference: &'a str,
    /// The commit that it was built from.
    pub revision: Option<&'a str>,
    /// The creation time to record, in seconds since 1970.
    pub time: u64,
    /// What is linked into the program, itself first.
    pub packages: &'a [Package],
    /// What else is linked into it: name and version.
    pub runtime: &'a [(String, String)],
}

/// Makes the image and its bill of materials.
///
/// # Errors
/// When the binary is not static, and what [`Image::archive`] and [`sbom::cyclonedx`] say.
pub fn make(request: Request<'_>) -> Result<(Archive, Value)> {
    let architecture = elf::architecture(&request.binary).context(request.program.to_owned())?;
    let labels = labels(&request)?;
    let image = Image {
        architecture,
        reference: request.reference.to_owned(),
        entrypoint: format!("/{}", request.program),
        user: USER,
        labels,
        time: request.time,
        layers: vec![
            surroundings(),
            Layer::default().file(request.program, 0o755, request.binary),
        ],
    };
    let archive = image.archive()?;
    let subject = Subject {
        reference: request.reference,
        digest: &archive.digest,
        time: request.time,
        runtime: request.runtime,
    };
    let bill = sbom::cyclonedx(&subject, request.packages)?;
    Ok((archive, bill))
}

fn labels(request: &Request<'_>) -> Result<BTreeMap<String, String>> {
    let program = request.packages.first().context("no packages")?;
    let created = jiff::Timestamp::from_second(i64::try_from(request.time)?)?.to_string();
    let labels = [
        ("title", Some(request.program)),
        ("version", Some(program.version.as_str())),
        ("licenses", program.license.as_deref()),
        ("revision", request.revision),
        ("created", Some(created.as_str())),
    ];
    let label =
        |(name, value): (&str, Option<&str>)| Some((format!("org.opencontainers.image.{name}"), value?.to_owned()));
    Ok(labels.into_iter().filter_map(label).collect())
}

/// User names, the order of host name lookups, trusted certificate authorities, and a directory for temporary files.
fn surroundings() -> Layer {
    Layer::default()
        .directory("etc", 0o755)
        .directory("etc/ssl", 0o755)
        .directory("etc/ssl/certs", 0o755)
        .directory("tmp", 0o1777)
        .file(
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
        )
        .file("etc/group", 0o644, "root:x:0:\nnonroot:x:65532:\n")
        .file("etc/nsswitch.conf", 0o644, "hosts: files dns\n")
        .file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities())
}

/// Mozilla's certificate authorities, for collectors behind public names.
fn authorities() -> String {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|certificate| pem(certificate))
        .collect()
}

/// A certificate as text, in lines of 64 letters (RFC 7468).
fn pem(certificate: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::elf::tests::elf;
    use crate::packages::tests::{LOCK, metadata};

    fn request<'a>(binary: Vec<u8>, packages: &'a [Package]) -> Request<'a> {
        Request {
            program: "program",
            binary,
            reference: "localhost/program:0.1.0",
            revision: Some("abc"),
            time: 1_000_000_000,
            packages,
            runtime: &[],
        }
    }

    #[test]
    fn written_twice_it_is_the_same_to_the_byte() {
        let packages = metadata().linked_into("program", LOCK).unwrap();
        let made = || make(request(elf(62, &[1]), &packages)).unwrap();
        let (first, second) = (made(), made());
        assert!(first.0.tar == second.0.tar);
        assert_eq!(first.1, second.1);
        assert_eq!(first.1["metadata"]["component"]["bom-ref"], first.0.digest);
    }

    #[test]
    fn a_program_that_would_not_start_is_refused_by_its_name() {
        let packages = metadata().linked_into("program", LOCK).unwrap();
        let error = make(request(elf(62, &[3]), &packages)).err().unwrap();
        assert!(
            format!("{error:#}").starts_with("program: it needs a dynamic linker"),
            "{error:#}"
        );
    }

    #[test]
    fn labels_say_what_it_is() {
        let packages = metadata().linked_into("program", LOCK).unwrap();
        let labels = labels(&request(Vec::new(), &packages)).unwrap();
        assert_eq!(labels["org.opencontainers.image.version"], "0.1.0");
        assert_eq!(labels["org.opencontainers.image.created"], "2001-09-09T01:46:40Z");
        assert_eq!(labels["org.opencontainers.image.licenses"], "MIT OR Apache-2.0");
    }

    #[test]
    fn the_authorities_are_certificates() {
        let text = authorities();
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
            .map(Result::unwrap)
            .collect();
        assert_eq!(certificates, webpki_root_certs::TLS_SERVER_ROOT_CERTS);
        assert!(certificates.len() > 100 && text.lines().all(|line| line.len() <= 64));
    }
}
