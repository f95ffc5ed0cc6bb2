//! What the other tests stand on.

use k8s_openapi::api::core::v1::ConfigMap;
use keda_http_e2e::control_plane::ControlPlane;
use kube::Api;

#[tokio::test]
async fn an_object_is_kept_over_an_outage_of_the_api_server() {
    let control_plane = ControlPlane::start().await.unwrap();
    let namespace = control_plane.namespace("harness").await.unwrap();
    control_plane
        .apply(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kept, namespace: {namespace}}}\ndata: {{a: b}}\n"
        ))
        .await
        .unwrap();
    control_plane.stop_api_server();
    let client = control_plane.client().await.unwrap();
    let config_maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    assert!(config_maps.get("kept").await.is_err(), "nobody is there to answer");
    control_plane.start_api_server().await.unwrap();
    assert_eq!(config_maps.get("kept").await.unwrap().data.unwrap()["a"], "b");
}
