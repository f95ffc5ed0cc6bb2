//! The objects of the case, and how they get into the API server.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use keda_http_e2e::control_plane::ControlPlane;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::manifests::{self, host};

/// How many objects are created at the same time.
const AT_ONCE: usize = 32;

pub struct Place {
    pub namespace: String,
    /// The name that route, Service and slice share.
    pub name: String,
}

/// The resource of InterceptorRoutes.
pub fn interceptor_routes() -> ApiResource {
    resource("http.keda.sh", "v1beta1", "InterceptorRoute", "interceptorroutes")
}

/// Creates the namespaces, and route, Service and a slice for each app, for each place.
pub async fn create(control_plane: &ControlPlane, places: &[Place], apps: &[SocketAddr]) -> Result<()> {
    let client = control_plane.client().await?;
    let mut namespaces: Vec<&str> = places.iter().map(|place| place.namespace.as_str()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    for namespace in namespaces {
        control_plane
            .apply(&format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"
            ))
            .await?;
    }
    stream::iter(places)
        .map(|place| all_of(&client, place, apps))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

async fn all_of(client: &Client, place: &Place, apps: &[SocketAddr]) -> Result<()> {
    let Place { name, .. } = place;
    post(
        client,
        &interceptor_routes(),
        place,
        manifests::route(name, &host(name)),
    )
    .await?;
    post(
        client,
        &resource("", "v1", "Service", "services"),
        place,
        manifests::service(name),
    )
    .await?;
    let slices = resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
    for (number, app) in apps.iter().enumerate() {
        let mut slice = slice(place, *app);
        slice["metadata"]["name"] = json!(format!("{name}-{number}"));
        post(client, &slices, place, slice).await?;
    }
    Ok(())
}

pub fn slice(place: &Place, endpoint: SocketAddr) -> Value {
    let mut slice = manifests::slice(&place.name, endpoint);
    slice["metadata"]["namespace"] = json!(place.namespace);
    slice
}

async fn post(client: &Client, resource: &ApiResource, place: &Place, mut object: Value) -> Result<()> {
    object["metadata"]["namespace"] = json!(place.namespace);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &place.namespace, resource);
    let object: DynamicObject = serde_json::from_value(object)?;
    api.create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("{} {}/{}", resource.kind, place.namespace, place.name))?;
    Ok(())
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        },
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}
