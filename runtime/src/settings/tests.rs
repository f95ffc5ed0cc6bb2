use super::*;

#[derive(Debug, PartialEq)]
struct Example {
    port: u16,
    limit: u64,
    token: Option<String>,
    name: Option<String>,
}

fn reader(settings: &Settings) -> Example {
    let main = settings.section("Main");
    let enabled = main
        .variable("EXTRAS", &BOOLEAN, "Whether there are extras")
        .default(false);
    let extras = main.only_if(enabled).section("Extras");
    main.variable("OLD_TIMES", &TEXT, "What was once there")
        .without_effect("it is gone");
    Example {
        port: main.variable("PORT", &PORT, "Where it listens").required(),
        limit: main
            .variable(
                "LIMIT",
                &WHOLE_NUMBER,
                "How many there may be at the same time before the next ones have to wait",
            )
            .replaces("MAXIMUM", |limit| *limit > 0)
            .default(7),
        token: extras
            .variable("TOKEN", &TEXT, "What it says to be let in")
            .secret()
            .required_if_used(),
        name: extras.variable("NAME", &DNS_LABEL, "Its name").optional("none"),
    }
}

impl Variable<'_, String> {
    fn required_if_used(self) -> Option<String> {
        Some(self.required()).filter(|text| !text.is_empty())
    }
}

fn read_from(variables: &[(&str, &str)]) -> Result<(Example, Table), String> {
    read(&Environment::of(variables.iter().copied()), reader).map_err(|error| error.to_string())
}

fn value(table: &Table, name: &str) -> Option<String> {
    table.rows().iter().find(|row| row.name == name).unwrap().value.clone()
}

#[test]
fn the_table_names_each_variable_in_order_whether_it_applies_or_not() {
    let names = |table: &Table| table.rows().iter().map(|row| row.name.clone()).collect::<Vec<_>>();
    let all = ["EXTRAS", "OLD_TIMES", "PORT", "MAXIMUM", "LIMIT", "TOKEN", "NAME"];
    assert_eq!(names(&describe(reader)), all);
    assert_eq!(names(&read_from(&[("PORT", "1")]).unwrap().1), all);
}

#[test]
fn all_that_cannot_be_used_is_reported_at_once() {
    let error = read_from(&[("EXTRAS", "yes"), ("LIMIT", "-1")]).unwrap_err();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(
        lines[0].starts_with("EXTRAS=\"yes\" cannot be used; it must be true or false"),
        "{error}"
    );
    assert!(lines[1].starts_with("PORT is not set; it must be a port"), "{error}");
    assert!(lines[2].starts_with("LIMIT=\"-1\" cannot be used"), "{error}");
}

#[test]
fn what_is_switched_off_is_neither_read_nor_missing() {
    let (example, table) = read_from(&[("PORT", "1"), ("NAME", "Not A Name")]).unwrap();
    assert_eq!((example.name, value(&table, "NAME")), (None, None));
    let error = read_from(&[("PORT", "1"), ("EXTRAS", "true"), ("NAME", "Not A Name")]).unwrap_err();
    assert!(
        error.contains("TOKEN is not set") && error.contains("NAME=\"Not A Name\""),
        "{error}"
    );
}

#[test]
fn values_in_force_are_shown_and_secrets_are_not() {
    let variables = [
        ("PORT", "80"),
        ("EXTRAS", "T"),
        ("TOKEN", "sesame"),
        ("NAME", "bob"),
        ("OLD_TIMES", "x"),
    ];
    let (example, table) = read_from(&variables).unwrap();
    assert_eq!(example.token.as_deref(), Some("sesame"));
    let json =
        r#"{"EXTRAS":"true","OLD_TIMES":"x","PORT":"80","MAXIMUM":null,"LIMIT":"7","TOKEN":"(secret)","NAME":"bob"}"#;
    assert_eq!(serde_json::to_string(&table).unwrap(), json);
    let secret = |settings: &Settings| settings.variable("PIN", &WHOLE_NUMBER, "A PIN").secret().default(0);
    let error = read(&Environment::of([("PIN", "sesame")]), secret)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "PIN=\"(secret)\" cannot be used; it must be a whole number, 0 or more"
    );
}

#[test]
fn an_older_name_wins_when_it_says_something() {
    let limit = |old| read_from(&[("PORT", "1"), ("LIMIT", "5"), ("MAXIMUM", old)]).unwrap();
    let (example, table) = limit("3");
    assert_eq!((example.limit, value(&table, "LIMIT").as_deref()), (3, Some("3")));
    assert_eq!(limit("0").0.limit, 5);
    assert!(
        read_from(&[("PORT", "1"), ("MAXIMUM", "many")])
            .unwrap_err()
            .contains("MAXIMUM=\"many\"")
    );
}

#[test]
fn the_help_has_sections_defaults_and_lines_of_at_most_120_columns() {
    let help = describe(reader).help();
    for line in [
        "\nMain\n  EXTRAS                               Whether there are extras. Default: false.",
        "\n  OLD_TIMES                            What was once there. No effect: it is gone.\n",
        "Where it listens. Required: a port",
        "\n  MAXIMUM                              Deprecated; it wins over LIMIT when it is set.\n",
        "\nExtras\n  TOKEN ",
    ] {
        assert!(help.contains(line), "{line:?} is not in\n{help}");
    }
    assert!(help.lines().all(|line| line.len() <= 120), "{help}");
    assert!(
        help.lines().count() > describe(reader).rows().len() + 3,
        "one row is wrapped:\n{help}"
    );
}

#[test]
fn booleans_are_those_of_go() {
    for (texts, value) in [
        (["1", "t", "T", "true", "TRUE", "True"], Some(true)),
        (["0", "f", "F", "false", "FALSE", "False"], Some(false)),
        (["yes", "tRUE", "2", " true", "no", "off"], None),
    ] {
        assert!(texts.iter().all(|text| (BOOLEAN.parse)(text) == value), "{texts:?}");
    }
}

#[test]
fn kinds_take_what_they_say() {
    assert_eq!((PORT.parse)("65535"), Some(65535));
    assert!((PORT.parse)("65536").is_none() && (PORT.parse)("-1").is_none());
    assert_eq!((WHOLE_NUMBER.parse)("18446744073709551615"), Some(u64::MAX));
    assert!((WHOLE_NUMBER.parse)("18446744073709551616").is_none() && (WHOLE_NUMBER.parse)("1.5").is_none());
    assert!((DNS_LABEL.parse)("shop-2").is_some() && (DNS_NAME.parse)("cluster.local").is_some());
    for text in ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)] {
        assert!((DNS_LABEL.parse)(text).is_none(), "{text:?}");
    }
    assert!((DNS_NAME.parse)("cluster..local").is_none());
    assert!((DIRECTORY.parse)("/").is_some() && (DIRECTORY.parse)("/no/such/directory").is_none());
}

#[test]
fn the_log_line_has_what_differs_from_the_defaults_and_no_secret() {
    let environment = Environment::of([("PORT", "80"), ("EXTRAS", "true"), ("TOKEN", "s3cr3t"), ("NAME", "a-b")]);
    let (_, table) = read(&environment, reader).unwrap();
    assert_eq!(table.to_string(), "EXTRAS=true PORT=80 TOKEN=(secret) NAME=a-b");
}

#[test]
fn a_default_that_is_found_at_the_start_is_not_in_the_log_line() {
    let line = |variables: &[(&'static str, &'static str)]| {
        let reader = |settings: &Settings| {
            settings
                .section("Main")
                .variable("THREADS", &WHOLE_NUMBER, "How many")
                .default_described(2, "one for each CPU")
        };
        let environment = Environment::of(variables.iter().copied());
        read(&environment, reader).unwrap().1.to_string()
    };
    assert_eq!(line(&[]), "");
    assert_eq!(line(&[("THREADS", "2")]), "THREADS=2");
}
