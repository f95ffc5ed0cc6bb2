//! Manifests to objects of a cluster.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery;
use kube::runtime::wait::conditions;
use kube::{Client, ResourceExt};

/// Applies every manifest of a directory.
pub async fn apply(client: &Client, directory: &Path) -> Result<()> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("{} is missing; `make control-plane` makes it", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        apply_text(client, &text)
            .await
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Applies every object of a YAML text; CustomResourceDefinitions are served when this returns.
pub async fn apply_text(client: &Client, yaml: &str) -> Result<()> {
    let objects: Vec<Option<DynamicObject>> = serde_saphyr::from_multiple(yaml)?;
    for object in objects.into_iter().flatten() {
        apply_object(client, &object).await?;
    }
    Ok(())
}

async fn apply_object(client: &Client, object: &DynamicObject) -> Result<()> {
    let types = object.types.as_ref().context("an object without a kind")?;
    let kind = GroupVersionKind::try_from(types)?;
    let (resource, capabilities) = discovery::pinned_kind(client, &kind).await?;
    let api: Api<DynamicObject> = match (&object.metadata.namespace, capabilities.scope) {
        (Some(namespace), discovery::Scope::Namespaced) => Api::namespaced_with(client.clone(), namespace, &resource),
        (None, discovery::Scope::Namespaced) => Api::default_namespaced_with(client.clone(), &resource),
        (_, discovery::Scope::Cluster) => Api::all_with(client.clone(), &resource),
    };
    let name = object.name_any();
    api.patch(&name, &PatchParams::apply("e2e").force(), &Patch::Apply(object))
        .await
        .with_context(|| format!("{} {name}", types.kind))?;
    if types.kind == "CustomResourceDefinition" {
        served(client, &name).await?;
    }
    Ok(())
}

/// Deletes an object.
pub async fn delete(client: &Client, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<()> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = GroupVersionKind::gvk(group, version, kind);
    let (resource, _) = discovery::pinned_kind(client, &kind).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    api.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

async fn served(client: &Client, name: &str) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let established = kube::runtime::wait::await_condition(definitions, name, conditions::is_crd_established());
    tokio::time::timeout(Duration::from_secs(30), established)
        .await
        .with_context(|| format!("{name} is not established"))??;
    Ok(())
}
