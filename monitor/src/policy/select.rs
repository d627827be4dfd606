//! Which workloads a policy, a rule or an exception is about.

use super::{
    condition::view::repository,
    file::{ImageSelector, LabelExpression, LabelOperator, LabelSelector, Select},
};
use crate::container::model::{Details, Labels, Metadata, NamespaceLabels};

/// Whether a workload is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It can't be told yet: what the runtime knows of the container has not arrived.
    NotYet,
    /// It can't be told: nobody knows what is asked for.
    Unknown,
}

impl Selected {
    /// Both have to fit.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::NotYet, _) | (_, Self::NotYet) => Self::NotYet,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

/// Everything that has to fit, in addition to a container at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    parts: Vec<Select>,
    /// It is about what runs on the host.
    pub host: bool,
}

impl Selector {
    /// From the selections of a policy and of a part of it.
    ///
    /// # Errors
    /// When nothing can fit, with the reason.
    pub fn new(parts: &[Option<&Select>]) -> Result<Self, String> {
        let parts: Vec<Select> = parts.iter().flatten().map(|part| (*part).clone()).collect();
        let host = parts.iter().any(|part| part.host);
        for part in &parts {
            if host && is_about_containers(part) {
                return Err(
                    "`host: true` selects what runs in no container, and has no namespace, label, container or image"
                        .to_owned(),
                );
            }
            for labels in [&part.namespace_labels, &part.pod_labels]
                .into_iter()
                .flatten()
            {
                check(labels)?;
            }
        }
        let parts = parts.into_iter().filter(is_about_containers).collect();
        Ok(Self { parts, host })
    }

    /// Whether it selects every container.
    #[must_use]
    pub fn is_any_container(&self) -> bool {
        self.parts.is_empty() && !self.host
    }

    /// Whether it selects a container.
    #[must_use]
    pub fn container(&self, details: &Details) -> Selected {
        if self.host {
            return Selected::No;
        }
        self.parts
            .iter()
            .map(|part| selected(part, details))
            .fold(Selected::Yes, Selected::and)
    }
}

fn is_about_containers(part: &Select) -> bool {
    !part.namespaces.is_empty()
        || part.namespace_labels.is_some()
        || part.pod_labels.is_some()
        || !part.containers.is_empty()
        || !part.images.is_empty()
}

fn check(labels: &LabelSelector) -> Result<(), String> {
    for expression in &labels.match_expressions {
        let takes_values = matches!(
            expression.operator,
            LabelOperator::In | LabelOperator::NotIn
        );
        if takes_values == expression.values.is_empty() {
            return Err(format!(
                "matchExpressions of `{}`: In and NotIn take values, Exists and DoesNotExist take none",
                expression.key
            ));
        }
        let wanted = labels.match_labels.get(&expression.key);
        let excludes = match (expression.operator, wanted) {
            (LabelOperator::DoesNotExist, Some(_)) => true,
            (LabelOperator::NotIn, Some(value)) => expression.values.contains(value),
            (LabelOperator::In, Some(value)) => !expression.values.contains(value),
            _ => false,
        };
        if excludes {
            return Err(format!(
                "nothing can be selected: matchLabels and matchExpressions of `{}` exclude each other",
                expression.key
            ));
        }
    }
    Ok(())
}

fn selected(part: &Select, details: &Details) -> Selected {
    let description = &details.description;
    let pod = description.pod.as_ref();
    let told = details.metadata == Metadata::Complete;
    // What is empty before the runtime has told it may still come.
    let missing = match &details.metadata {
        Metadata::Pending => Selected::NotYet,
        Metadata::Complete => Selected::No,
        Metadata::Unavailable(_) => Selected::Unknown,
    };
    let judge = |is_wanted: bool, is_known: bool, fits: bool| match (is_wanted, is_known) {
        (false, _) => Selected::Yes,
        (true, false) => missing,
        (true, true) if fits => Selected::Yes,
        (true, true) => Selected::No,
    };
    let namespace = pod.map_or("", |pod| pod.namespace.as_str());
    let namespaces = judge(
        !part.namespaces.is_empty(),
        !namespace.is_empty(),
        part.namespaces
            .iter()
            .any(|pattern| glob(pattern, namespace)),
    );
    let containers = judge(
        !part.containers.is_empty(),
        !description.name.is_empty(),
        part.containers
            .iter()
            .any(|pattern| glob(pattern, &description.name)),
    );
    let images = judge(
        !part.images.is_empty(),
        told || !description.image.is_empty(),
        part.images
            .iter()
            .any(|image| is_image(image, &description.image, &description.image_digest)),
    );
    let pod_labels = judge(
        part.pod_labels.is_some(),
        told && pod.is_some(),
        part.pod_labels
            .as_ref()
            .is_none_or(|wanted| fits(wanted, pod.map(|pod| &pod.labels))),
    );
    let namespace_labels = match (
        &part.namespace_labels,
        pod.map_or(&NamespaceLabels::Unknown, |pod| &pod.namespace_labels),
    ) {
        (None, _) => Selected::Yes,
        // Which namespace it is tells the runtime.
        (Some(_), NamespaceLabels::Unknown) if details.metadata == Metadata::Pending => {
            Selected::NotYet
        }
        (Some(_), NamespaceLabels::Unknown) => Selected::Unknown,
        (Some(_), NamespaceLabels::Pending) => Selected::NotYet,
        (Some(wanted), NamespaceLabels::Known(known)) if fits(wanted, Some(known)) => Selected::Yes,
        (Some(_), NamespaceLabels::Known(_)) => Selected::No,
    };
    [namespaces, containers, images, pod_labels, namespace_labels]
        .into_iter()
        .fold(Selected::Yes, Selected::and)
}

fn is_image(wanted: &ImageSelector, image: &str, digest: &str) -> bool {
    let repository = repository(image);
    let registry = repository.split('/').next().unwrap_or_default();
    let digest_fits = wanted.digest.is_empty()
        || digest
            .rsplit('@')
            .next()
            .is_some_and(|digest| digest == wanted.digest)
        || image.ends_with(&format!("@{}", wanted.digest));
    (wanted.registry.is_empty() || wanted.registry == registry)
        && (wanted.repository.is_empty() || glob(&wanted.repository, repository))
        && digest_fits
}

fn fits(wanted: &LabelSelector, labels: Option<&Labels>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    wanted
        .match_labels
        .iter()
        .all(|(key, wanted)| value(key) == Some(wanted))
        && wanted
            .match_expressions
            .iter()
            .all(|expression| demand(expression, value(&expression.key)))
}

fn demand(expression: &LabelExpression, value: Option<&String>) -> bool {
    let is_listed = value.is_some_and(|value| expression.values.contains(value));
    match expression.operator {
        LabelOperator::In => is_listed,
        LabelOperator::NotIn => !is_listed,
        LabelOperator::Exists => value.is_some(),
        LabelOperator::DoesNotExist => value.is_none(),
    }
}

/// Whether a text fits a pattern, in which `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::model::{Description, Pod};

    fn details(metadata: Metadata) -> Details {
        Details {
            metadata,
            description: Description {
                name: "web".to_owned(),
                image: "quay.io/shop/web:1".to_owned(),
                image_digest: "quay.io/shop/web@sha256:0f".to_owned(),
                pod: Some(Pod {
                    namespace: "shop-eu".to_owned(),
                    labels: Labels::from([("app".to_owned(), "web".to_owned())]),
                    ..Pod::default()
                }),
                ..Description::default()
            },
            ..Details::default()
        }
    }

    fn select(yaml: &str) -> Select {
        serde_saphyr::from_str(yaml).expect("valid")
    }

    #[test]
    fn everything_that_is_given_has_to_fit() {
        for (yaml, expected) in [
            ("namespaces: [shop-*]", Selected::Yes),
            ("namespaces: [pay, shop-eu]", Selected::Yes),
            ("namespaces: [shop]", Selected::No),
            ("containers: [web]\nnamespaces: ['*']", Selected::Yes),
            ("containers: [proxy]\nnamespaces: ['*']", Selected::No),
            ("podLabels: {matchLabels: {app: web}}", Selected::Yes),
            ("podLabels: {matchLabels: {app: db}}", Selected::No),
            (
                "podLabels: {matchExpressions: [{key: app, operator: In, values: [db, web]}]}",
                Selected::Yes,
            ),
            (
                "podLabels: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}",
                Selected::No,
            ),
            (
                "podLabels: {matchExpressions: [{key: tier, operator: DoesNotExist}]}",
                Selected::Yes,
            ),
            ("images: [{registry: quay.io}]", Selected::Yes),
            (
                "images: [{registry: docker.io}, {repository: quay.io/shop/*}]",
                Selected::Yes,
            ),
            (
                "images: [{repository: quay.io/shop/web, digest: 'sha256:0f'}]",
                Selected::Yes,
            ),
            ("images: [{digest: 'sha256:10'}]", Selected::No),
            // Nobody has asked the API server.
            (
                "namespaceLabels: {matchLabels: {role: build}}",
                Selected::Unknown,
            ),
        ] {
            let selector = Selector::new(&[Some(&select(yaml))]).expect(yaml);
            assert_eq!(
                selector.container(&details(Metadata::Complete)),
                expected,
                "{yaml}"
            );
        }
    }

    #[test]
    fn labels_of_namespaces_are_those_that_the_api_server_told() {
        let selector = |yaml| Selector::new(&[Some(&select(yaml))]).expect("valid");
        let build = selector("namespaceLabels: {matchLabels: {role: build}}");
        let other =
            selector("namespaceLabels: {matchExpressions: [{key: role, operator: DoesNotExist}]}");
        let mut details = details(Metadata::Complete);
        for (known, is_build, is_other) in [
            (NamespaceLabels::Pending, Selected::NotYet, Selected::NotYet),
            (
                NamespaceLabels::Known(Labels::from([("role".to_owned(), "build".to_owned())])),
                Selected::Yes,
                Selected::No,
            ),
            (
                NamespaceLabels::Known(Labels::new()),
                Selected::No,
                Selected::Yes,
            ),
        ] {
            if let Some(pod) = &mut details.description.pod {
                pod.namespace_labels = known;
            }
            assert_eq!(build.container(&details), is_build);
            assert_eq!(other.container(&details), is_other);
        }
        details.metadata = Metadata::Pending;
        details.description.pod = None;
        assert_eq!(build.container(&details), Selected::NotYet);
    }

    #[test]
    fn what_is_not_known_yet_is_waited_for() {
        let selector =
            Selector::new(&[Some(&select("podLabels: {matchLabels: {app: web}}"))]).expect("valid");
        assert_eq!(
            selector.container(&details(Metadata::Pending)),
            Selected::NotYet
        );
        let gone = Metadata::Unavailable("gone".to_owned());
        assert_eq!(selector.container(&details(gone)), Selected::Unknown);
        let mut empty = details(Metadata::Pending);
        empty.description = Description::default();
        let by_image =
            Selector::new(&[Some(&select("images: [{registry: quay.io}]"))]).expect("valid");
        assert_eq!(by_image.container(&empty), Selected::NotYet);
    }

    #[test]
    fn what_nothing_fits_is_refused() {
        for (yaml, expected) in [
            ("host: true\nnamespaces: [a]", "in no container"),
            (
                "podLabels: {matchExpressions: [{key: a, operator: In}]}",
                "take values",
            ),
            (
                "podLabels: {matchLabels: {a: x}, matchExpressions: [{key: a, operator: DoesNotExist}]}",
                "exclude each other",
            ),
        ] {
            let error = Selector::new(&[Some(&select(yaml))]).expect_err(yaml);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acd", false),
            ("*", "", true),
            ("*b*", "abc", true),
            ("a", "ab", false),
            ("a*b*b", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
