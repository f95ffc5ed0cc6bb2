//! The contents of the Secret.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::ca;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const CA_BUNDLE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const RENEW: &str = "renew";
const RENEW_CA: &str = "renew-authority";

/// The server certificate with its key, and the CA.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificates {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
    /// PEM: the CA, and after it the previous one, whose certificates other replicas may still serve.
    pub ca_bundle: String,
    ca_key: String,
    renew: Timestamp,
    renew_ca: Timestamp,
}

impl Certificates {
    /// A new CA with a certificate that it issued.
    pub fn new(hosts: Vec<String>, now: Timestamp) -> Result<Self> {
        Self::with_ca(ca::create_ca(now)?, "", hosts, now)
    }

    /// The same, or renewed when that is due.
    pub fn renewed(&self, hosts: Vec<String>, now: Timestamp) -> Result<Self> {
        if now >= self.renew_ca {
            let before = first(&self.ca_bundle);
            return Self::with_ca(ca::create_ca(now)?, &before, hosts, now);
        }
        if now < self.renew {
            return Ok(self.clone());
        }
        let issued = ca::create_certificate(hosts, &self.ca_key, now)?;
        Ok(Self {
            certificate: issued.certificate,
            key: issued.key,
            renew: issued.renew,
            ..self.clone()
        })
    }

    fn with_ca(issued: ca::Issued, before: &str, hosts: Vec<String>, now: Timestamp) -> Result<Self> {
        let certificate = ca::create_certificate(hosts, &issued.key, now)?;
        Ok(Self {
            certificate: certificate.certificate,
            key: certificate.key,
            renew: certificate.renew,
            ca_bundle: format!("{}{before}", issued.certificate),
            ca_key: issued.key,
            renew_ca: issued.renew,
        })
    }

    /// Parses the data of the Secret. Fails when a key is missing or not valid.
    pub fn read(data: &BTreeMap<String, ByteString>) -> Result<Self> {
        let text = |key: &str| {
            let bytes = data.get(key).with_context(|| format!("{key} is missing"))?;
            String::from_utf8(bytes.0.clone()).with_context(|| format!("{key} is not valid UTF-8"))
        };
        let time = |key: &str| text(key)?.parse().with_context(|| format!("{key} is not a valid time"));
        let bundle = Self {
            certificate: text(CERTIFICATE)?,
            key: text(KEY)?,
            ca_bundle: text(CA_BUNDLE)?,
            ca_key: text(CA_KEY)?,
            renew: time(RENEW)?,
            renew_ca: time(RENEW_CA)?,
        };
        bundle.server_config()?;
        CertificateDer::from_pem_slice(bundle.ca_bundle.as_bytes()).context(CA_BUNDLE)?;
        PrivateKeyDer::from_pem_slice(bundle.ca_key.as_bytes()).context(CA_KEY)?;
        Ok(bundle)
    }

    /// The data of the Secret.
    pub fn write(&self) -> BTreeMap<String, ByteString> {
        let entries = [
            (CERTIFICATE, self.certificate.clone()),
            (KEY, self.key.clone()),
            (CA_BUNDLE, self.ca_bundle.clone()),
            (CA_KEY, self.ca_key.clone()),
            (RENEW, self.renew.to_string()),
            (RENEW_CA, self.renew_ca.to_string()),
        ];
        entries
            .into_iter()
            .map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())))
            .collect()
    }

    /// Fails when certificate and key cannot be parsed or do not match.
    pub fn server_config(&self) -> Result<ServerConfig> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).context(KEY)?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates.context(CERTIFICATE)?, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// The first certificate of a PEM text.
fn first(pem: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----\n";
    pem.split_inclusive(END).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
