//! What the Secret holds.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::authority;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITIES: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const RENEW: &str = "renew";
const RENEW_AUTHORITY: &str = "renew-authority";

/// A certificate with its key, and the authority.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
    /// PEM: the authority, and behind it the one before, which replicas may still serve with.
    pub authorities: String,
    authority_key: String,
    renew: Timestamp,
    renew_authority: Timestamp,
}

impl Bundle {
    /// A new authority and a certificate of it.
    pub fn new(hosts: Vec<String>, now: Timestamp) -> Result<Self> {
        Self::with_authority(authority::authority(now)?, "", hosts, now)
    }

    /// The same, or its successor when it is time.
    pub fn renewed(&self, hosts: Vec<String>, now: Timestamp) -> Result<Self> {
        if now >= self.renew_authority {
            let before = first(&self.authorities);
            return Self::with_authority(authority::authority(now)?, &before, hosts, now);
        }
        if now < self.renew {
            return Ok(self.clone());
        }
        let made = authority::certificate(hosts, &self.authority_key, now)?;
        Ok(Self {
            certificate: made.certificate,
            key: made.key,
            renew: made.renew,
            ..self.clone()
        })
    }

    fn with_authority(made: authority::Made, before: &str, hosts: Vec<String>, now: Timestamp) -> Result<Self> {
        let certificate = authority::certificate(hosts, &made.key, now)?;
        Ok(Self {
            certificate: certificate.certificate,
            key: certificate.key,
            renew: certificate.renew,
            authorities: format!("{}{before}", made.certificate),
            authority_key: made.key,
            renew_authority: made.renew,
        })
    }

    /// Reads what a Secret holds.
    ///
    /// # Errors
    /// When something is missing, or is not what we write.
    pub fn read(data: &BTreeMap<String, ByteString>) -> Result<Self> {
        let text = |key: &str| {
            let bytes = data.get(key).with_context(|| format!("{key} is missing"))?;
            String::from_utf8(bytes.0.clone()).with_context(|| format!("{key} is no text"))
        };
        let time = |key: &str| text(key)?.parse().with_context(|| format!("{key} is no time"));
        let bundle = Self {
            certificate: text(CERTIFICATE)?,
            key: text(KEY)?,
            authorities: text(AUTHORITIES)?,
            authority_key: text(AUTHORITY_KEY)?,
            renew: time(RENEW)?,
            renew_authority: time(RENEW_AUTHORITY)?,
        };
        bundle.server_config()?;
        Ok(bundle)
    }

    /// What a Secret holds.
    pub fn write(&self) -> BTreeMap<String, ByteString> {
        let entries = [
            (CERTIFICATE, self.certificate.clone()),
            (KEY, self.key.clone()),
            (AUTHORITIES, self.authorities.clone()),
            (AUTHORITY_KEY, self.authority_key.clone()),
            (RENEW, self.renew.to_string()),
            (RENEW_AUTHORITY, self.renew_authority.to_string()),
        ];
        entries
            .into_iter()
            .map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())))
            .collect()
    }

    /// For a server.
    ///
    /// # Errors
    /// When certificate and key cannot be read, or do not belong together.
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
