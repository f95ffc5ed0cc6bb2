use proptest::prelude::*;

use super::*;

fn object(triggers: &Value) -> ScaledObject {
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "api"},
        "spec": {"scaleTargetRef": {"name": "api"}, "triggers": triggers},
    }))
    .unwrap()
}

/// Does what the patch says.
fn apply(conversion: &Conversion, object: &mut ScaledObject) {
    for converted in &conversion.triggers {
        let trigger = &mut object.spec.triggers[converted.index];
        EXTERNAL_PUSH.clone_into(&mut trigger.type_);
        let set = converted.metadata.iter();
        trigger
            .metadata
            .extend(set.map(|(key, value)| ((*key).to_owned(), value.clone())));
    }
}

fn trigger(name: Option<&str>, host: &str) -> Value {
    let mut trigger = json!({"type": "kedify-http", "metricType": "AverageValue", "metadata": {
        "hosts": host, "service": "api", "port": "80", "scalingMetric": "requestRate", "targetValue": "5",
    }});
    if let Some(name) = name {
        trigger["name"] = name.into();
    }
    trigger
}

#[test]
fn one_trigger_gets_the_scalers_address_and_nothing_else() {
    let object = object(&json!([{"type": "cpu", "metadata": {"value": "80"}}, trigger(Some("web"), "a.test")]));
    let conversion = convert(&object, "scaler.keda:9090").unwrap();
    assert_eq!(
        Value::from(conversion.patch()),
        json!([
            {"op": "test", "path": "/spec/triggers/1/type", "value": "kedify-http"},
            {"op": "replace", "path": "/spec/triggers/1/type", "value": "external-push"},
            {"op": "add", "path": "/spec/triggers/1/metadata/scalerAddress", "value": "scaler.keda:9090"},
        ])
    );
}

#[test]
fn several_triggers_are_distinguished_by_name() {
    let mut object = object(&json!([trigger(Some("a"), "a.test"), trigger(Some("b"), "b.test")]));
    let conversion = convert(&object, "scaler.keda:9090").unwrap();
    apply(&conversion, &mut object);
    let names: Vec<_> = object
        .spec
        .triggers
        .iter()
        .map(|trigger| &trigger.metadata[TRIGGER_NAME_KEY])
        .collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn everything_that_cannot_be_used_is_named() {
    let mut bad = trigger(Some("a"), "a.test");
    bad["metadata"]["targetValue"] = "many".into();
    let errors = convert(&object(&json!([bad, trigger(None, "b.test")])), "scaler.keda:9090").unwrap_err();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("spec.triggers[0].metadata") && told[0].contains("\"many\""),
        "{told:?}"
    );
    assert!(told[1].contains("spec.triggers[1].name"), "{told:?}");
}

#[test]
fn the_patch_is_what_apply_does() {
    let before = object(&json!([trigger(Some("a"), "a.test"), trigger(Some("b"), "b.test")]));
    let conversion = convert(&before, "s:1").unwrap();
    let mut after = before.clone();
    apply(&conversion, &mut after);
    let mut patched = serde_json::to_value(&before).unwrap();
    for operation in conversion.patch() {
        let path = operation["path"].as_str().unwrap();
        match operation["op"].as_str().unwrap() {
            "test" => assert_eq!(patched.pointer(path), Some(&operation["value"])),
            _ => {
                let (parent, key) = path.rsplit_once('/').unwrap();
                patched.pointer_mut(parent).unwrap()[key] = operation["value"].clone();
            }
        }
    }
    assert_eq!(patched, serde_json::to_value(&after).unwrap());
}

proptest! {
    #[test]
    fn converting_again_changes_nothing(
        hosts in proptest::collection::vec("[a-z]{1,5}", 1..5),
        others in proptest::collection::vec(any::<bool>(), 1..5),
    ) {
        let ours = hosts.iter().enumerate().map(|(number, host)| trigger(Some(&format!("t{number}")), &format!("{host}{number}.test")));
        let cpu = json!({"type": "cpu", "metadata": {"value": "80"}});
        let mut triggers: Vec<Value> = ours.collect();
        for (index, _) in others.iter().enumerate().filter(|(_, other)| **other) {
            triggers.insert(index.min(triggers.len()), cpu.clone());
        }
        let mut object = object(&Value::from(triggers));
        let conversion = convert(&object, "s:1").unwrap();
        apply(&conversion, &mut object);
        let again = convert(&object, "s:1").unwrap();
        prop_assert!(again.triggers.is_empty());
        prop_assert!(object.spec.triggers.iter().all(|trigger| trigger.type_ != KEDIFY_HTTP));
    }
}
