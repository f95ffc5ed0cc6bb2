//! The keys and certificates of a control plane.

use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Writes `ca.crt`, `server.crt` and `server.key` for loopback, and `sa.key` and `sa.pub` for service account tokens.
pub fn write(directory: &Path) -> Result<()> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "control plane");
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let names = ["localhost", "127.0.0.1", "kubernetes.default.svc"].map(ToOwned::to_owned);
    let server_key = KeyPair::generate()?;
    let server = CertificateParams::new(names)?.signed_by(&server_key, &issuer)?;
    let service_accounts = KeyPair::generate()?;
    let files = [
        ("ca.crt", authority_certificate.pem()),
        ("server.crt", server.pem()),
        ("server.key", server_key.serialize_pem()),
        ("sa.key", service_accounts.serialize_pem()),
        ("sa.pub", service_accounts.public_key_pem()),
    ];
    for (name, text) in files {
        std::fs::write(directory.join(name), text)?;
    }
    Ok(())
}
