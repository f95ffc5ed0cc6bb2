//! Makes certificates.

use anyhow::Result;
use jiff::{Span, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// An authority lasts for ten years, and is replaced in the last one.
const AUTHORITY_DAYS: i64 = 3650;
/// A certificate lasts for 90 days, and is replaced in the last 30.
const CERTIFICATE_DAYS: i64 = 90;

/// A certificate, its key, and when it should be replaced.
pub struct Made {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
    /// From when on a new one should be made.
    pub renew: Timestamp,
}

/// An authority of its own.
pub fn authority(now: Timestamp) -> Result<Made> {
    let key = KeyPair::generate()?;
    let certificate = authority_params(now)?.self_signed(&key)?;
    Ok(Made {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        renew: after(now, AUTHORITY_DAYS - 365)?,
    })
}

/// A certificate for these hosts, signed by the authority of this key.
pub fn certificate(hosts: Vec<String>, authority_key: &str, now: Timestamp) -> Result<Made> {
    let issuer = Issuer::new(authority_params(now)?, KeyPair::from_pem(authority_key)?);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(hosts)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "keda-http admission");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    valid(&mut params, now, CERTIFICATE_DAYS)?;
    Ok(Made {
        certificate: params.signed_by(&key, &issuer)?.pem(),
        key: key.serialize_pem(),
        renew: after(now, CERTIFICATE_DAYS - 30)?,
    })
}

/// The issuer is known by this name and its key.
fn authority_params(now: Timestamp) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params
        .distinguished_name
        .push(DnType::CommonName, "keda-http admission authority");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, now, AUTHORITY_DAYS)?;
    Ok(params)
}

/// From yesterday on, since clocks differ.
fn valid(params: &mut CertificateParams, now: Timestamp, days: i64) -> Result<()> {
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
