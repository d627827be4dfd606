//! Manifests as values, and the ways to what is in them.

use anyhow::Result;
use serde_json::Value;

/// The documents of a YAML stream.
pub(super) fn parse(text: &str) -> Result<Vec<Value>> {
    Ok(serde_saphyr::from_multiple(text)?)
}

/// What a message calls a document.
pub(super) fn title(document: &Value) -> String {
    format!(
        "{} {}",
        text(document, "/kind"),
        text(document, "/metadata/name")
    )
}

/// The documents of a kind.
pub(super) fn of_kind<'a>(
    documents: &'a [Value],
    kind: &'a str,
) -> impl Iterator<Item = &'a Value> {
    documents
        .iter()
        .filter(move |document| document["kind"] == kind)
}

/// The document of a kind and name.
pub(super) fn named<'a>(documents: &'a [Value], kind: &'a str, name: &str) -> Option<&'a Value> {
    of_kind(documents, kind).find(|document| document["metadata"]["name"] == name)
}

/// What is at `pointer`; null when there is nothing.
pub(super) fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The text at `pointer`; empty when there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer).as_str().unwrap_or_default()
}

/// The elements of the list at `pointer`; none when there is no list.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    at(value, pointer).as_array().into_iter().flatten()
}

/// The specification of pods in a document that makes some.
#[derive(Clone, Copy)]
pub(super) struct Pod<'a> {
    /// The document.
    pub(super) document: &'a Value,
    /// `metadata` and `spec` of its pods.
    pub(super) template: &'a Value,
    /// The `spec` in there.
    pub(super) spec: &'a Value,
}

/// All pods that the documents make.
pub(super) fn pods(documents: &[Value]) -> impl Iterator<Item = Pod<'_>> {
    documents.iter().filter_map(|document| {
        let template = match text(document, "/kind") {
            "Pod" => document,
            "CronJob" => at(document, "/spec/jobTemplate/spec/template"),
            _ => document.pointer("/spec/template")?,
        };
        Some(Pod {
            document,
            template,
            spec: at(template, "/spec"),
        })
    })
}

impl<'a> Pod<'a> {
    /// All containers, those included that only run at the start.
    pub(super) fn containers(self) -> impl Iterator<Item = Container<'a>> {
        ["/initContainers", "/containers"]
            .into_iter()
            .flat_map(move |place| list(self.spec, place))
            .map(move |container| Container {
                pod: self,
                container,
            })
    }

    /// A volume.
    pub(super) fn volume(self, name: &str) -> Option<&'a Value> {
        list(self.spec, "/volumes").find(|volume| volume["name"] == name)
    }
}

/// A container of a pod.
#[derive(Clone, Copy)]
pub(super) struct Container<'a> {
    pub(super) pod: Pod<'a>,
    container: &'a Value,
}

impl<'a> Container<'a> {
    /// What is at `pointer`; null when there is nothing.
    pub(super) fn at(self, pointer: &str) -> &'a Value {
        at(self.container, pointer)
    }

    /// The elements of a list.
    pub(super) fn list(self, pointer: &str) -> impl Iterator<Item = &'a Value> {
        list(self.container, pointer)
    }

    /// What a message calls it.
    pub(super) fn title(self) -> String {
        format!(
            "{}, container {}",
            title(self.pod.document),
            text(self.container, "/name")
        )
    }
}
