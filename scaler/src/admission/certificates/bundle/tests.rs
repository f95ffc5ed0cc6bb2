use super::*;

fn at(days: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start.checked_add(jiff::Span::new().hours(days * 24)).unwrap()
}

fn hosts() -> Vec<String> {
    vec!["admission.keda.svc".to_owned()]
}

#[test]
fn a_certificate_is_renewed_when_it_is_old_and_not_before() {
    keda_http_runtime::install_crypto_provider();
    let bundle = Certificates::new(hosts(), at(0)).unwrap();
    assert_eq!(bundle.renewed(hosts(), at(59)).unwrap(), bundle);
    let renewed = bundle.renewed(hosts(), at(60)).unwrap();
    assert_ne!(renewed.certificate, bundle.certificate);
    assert_eq!(renewed.ca_bundle, bundle.ca_bundle, "the authority lasts longer");
    assert!(renewed.server_config().is_ok());
}

#[test]
fn after_a_new_authority_the_one_before_is_still_trusted() {
    keda_http_runtime::install_crypto_provider();
    let bundle = Certificates::new(hosts(), at(0)).unwrap();
    let renewed = bundle.renewed(hosts(), at(3650 - 365)).unwrap();
    assert!(renewed.ca_bundle.ends_with(&bundle.ca_bundle) && renewed.ca_bundle.len() > bundle.ca_bundle.len());
    let again = renewed.renewed(hosts(), at(2 * (3650 - 365))).unwrap();
    assert!(
        !again.ca_bundle.contains(&bundle.ca_bundle),
        "only the last one is kept"
    );
}

#[test]
fn what_is_written_is_read_again_and_damage_is_an_error() {
    keda_http_runtime::install_crypto_provider();
    let bundle = Certificates::new(hosts(), at(0)).unwrap();
    let mut data = bundle.write();
    assert_eq!(Certificates::read(&data).unwrap(), bundle);
    data.insert(KEY.to_owned(), ByteString(b"no key".to_vec()));
    assert!(Certificates::read(&data).unwrap_err().to_string().contains(KEY));
    data.remove(KEY);
    assert!(
        Certificates::read(&data)
            .unwrap_err()
            .to_string()
            .contains("tls.key is missing")
    );
    let other = Certificates::new(hosts(), at(0)).unwrap().write();
    data.insert(KEY.to_owned(), other[KEY].clone());
    assert!(Certificates::read(&data).is_err(), "the key of another certificate");
}

#[test]
fn a_ca_that_could_not_issue_the_next_certificate_or_be_trusted_is_damage() {
    keda_http_runtime::install_crypto_provider();
    let good = Certificates::new(hosts(), at(0)).unwrap().write();
    for key in [CA_BUNDLE, CA_KEY] {
        for damage in [
            &b""[..],
            b"no PEM",
            b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n",
            b"\xff",
        ] {
            let mut data = good.clone();
            data.insert(key.to_owned(), ByteString(damage.to_vec()));
            let error = Certificates::read(&data).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
