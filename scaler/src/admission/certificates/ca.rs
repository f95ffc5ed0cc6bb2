//! Creates the CA and the certificates that it issues.

use anyhow::Result;
use jiff::{Span, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// The validity of a CA, in days. It is replaced in the last year.
const CA_DAYS: i64 = 3650;
/// The validity of a certificate, in days. It is renewed in the last 30.
const CERTIFICATE_DAYS: i64 = 90;

pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
    /// From when on it should be replaced.
    pub renew: Timestamp,
}

pub fn create_ca(now: Timestamp) -> Result<Issued> {
    let key = KeyPair::generate()?;
    let certificate = ca_params(now)?.self_signed(&key)?;
    Ok(Issued {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        renew: after(now, CA_DAYS - 365)?,
    })
}

/// A certificate for these DNS names, issued by the CA with this key.
pub fn create_certificate(hosts: Vec<String>, ca_key: &str, now: Timestamp) -> Result<Issued> {
    let issuer = Issuer::new(ca_params(now)?, KeyPair::from_pem(ca_key)?);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(hosts)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "keda-http admission");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_validity(&mut params, now, CERTIFICATE_DAYS)?;
    Ok(Issued {
        certificate: params.signed_by(&key, &issuer)?.pem(),
        key: key.serialize_pem(),
        renew: after(now, CERTIFICATE_DAYS - 30)?,
    })
}

/// Also identifies the issuer of a certificate, together with the key.
fn ca_params(now: Timestamp) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params
        .distinguished_name
        .push(DnType::CommonName, "keda-http admission authority");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, CA_DAYS)?;
    Ok(params)
}

/// Valid from yesterday on, because clocks differ.
fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i64) -> Result<()> {
    let (year, month, day) = date(after(now, -1)?)?;
    params.not_before = date_time_ymd(year, month, day);
    let (year, month, day) = date(after(now, days)?)?;
    params.not_after = date_time_ymd(year, month, day);
    Ok(())
}

fn date(time: Timestamp) -> Result<(i32, u8, u8)> {
    let date = time.to_zoned(TimeZone::UTC).date();
    Ok((date.year().into(), date.month().try_into()?, date.day().try_into()?))
}

fn after(now: Timestamp, days: i64) -> Result<Timestamp> {
    Ok(now.checked_add(Span::new().try_hours(days * 24)?)?)
}
