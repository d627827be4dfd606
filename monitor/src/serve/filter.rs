//! Whether an element is what a client asked for.

use std::time::SystemTime;

use crate::{
    container::model::Container, detect::alert::Alert, event::Event, proto::v1, serve::convert,
};

/// What a client asks for, of either stream.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    filter: v1::Filter,
    /// Nothing older.
    since: Option<SystemTime>,
    /// Nothing newer.
    until: Option<SystemTime>,
}

impl Wanted {
    /// From a request.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn new(
        filter: Option<v1::Filter>,
        since: Option<prost_types::Timestamp>,
        until: Option<prost_types::Timestamp>,
    ) -> Result<Self, String> {
        let filter = filter.unwrap_or_default();
        if let Some(pod) = filter
            .pods
            .iter()
            .find(|pod| pod.split('/').filter(|part| !part.is_empty()).count() != 2)
        {
            return Err(format!("pod `{pod}` is not NAMESPACE/NAME"));
        }
        let time = |name: &str, time: Option<prost_types::Timestamp>| {
            time.map(SystemTime::try_from)
                .transpose()
                .map_err(|error| format!("{name}: {error}"))
        };
        Ok(Self {
            filter,
            since: time("since", since)?,
            until: time("until", until)?,
        })
    }

    /// Whether it hangs on what the runtime has yet to say of a container.
    #[must_use]
    pub fn is_undecided(&self, container: Option<&Container>) -> bool {
        let by_name = !self.filter.pods.is_empty()
            || !self.filter.namespaces.is_empty()
            || !self.filter.containers.is_empty();
        by_name && container.is_some_and(Container::is_unnamed)
    }

    /// Whether a time is after all that is wanted.
    #[must_use]
    pub fn is_past_end(&self, time: SystemTime) -> bool {
        self.until.is_some_and(|until| time > until)
    }

    fn time(&self, time: SystemTime) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }

    fn place(&self, container: Option<&Container>) -> bool {
        let v1::Filter {
            pods,
            namespaces,
            containers,
            containers_only,
        } = &self.filter;
        let anywhere = pods.is_empty() && namespaces.is_empty() && containers.is_empty();
        let Some(container) = container else {
            return anywhere && !containers_only;
        };
        if anywhere {
            return true;
        }
        let details = container.details();
        let description = &details.description;
        let pod_matches = |matches: &dyn Fn(&str, &str) -> bool| {
            description
                .pod
                .as_ref()
                .is_some_and(|pod| matches(&pod.namespace, &pod.name))
        };
        let in_pods = pods.is_empty()
            || pods.iter().any(|wanted| {
                pod_matches(&|namespace, name| wanted.split_once('/') == Some((namespace, name)))
            });
        let in_namespaces = namespaces.is_empty()
            || pod_matches(&|namespace, _| namespaces.iter().any(|wanted| wanted == namespace));
        let in_containers = containers.is_empty()
            || containers.iter().any(|wanted| {
                !wanted.is_empty()
                    && (container.id.starts_with(wanted) || description.name == *wanted)
            });
        in_pods && in_namespaces && in_containers
    }
}

/// Which events.
#[derive(Clone, Debug)]
pub struct WantedEvents {
    /// Common to both streams.
    pub wanted: Wanted,
    /// Kinds; all when empty.
    pub kinds: Vec<i32>,
}

/// Which alerts.
#[derive(Clone, Debug)]
pub struct WantedAlerts {
    /// Common to both streams.
    pub wanted: Wanted,
    /// Rules; all when empty.
    pub rules: Vec<String>,
    /// Nothing below.
    pub min_severity: i32,
}

impl WantedEvents {
    /// Whether an event is wanted.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&event.detail.kind().into()))
            && self.wanted.time(event.time)
            && self
                .wanted
                .place(event.container().map(|container| &**container))
    }
}

impl WantedAlerts {
    /// Whether an alert is wanted.
    #[must_use]
    pub fn matches(&self, alert: &Alert) -> bool {
        let rule = &alert.rule.rule;
        (self.rules.is_empty() || self.rules.contains(&rule.id))
            && i32::from(convert::severity(rule.severity)) >= self.min_severity
            && self.wanted.time(alert.event.time)
            && self
                .wanted
                .place(alert.event.container().map(|container| &**container))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{model::Pod, shape};

    fn container() -> Container {
        let path = format!("/docker/{:064x}", 0xabc);
        let shape = shape::recognise(&path).expect("a container's");
        let container = Container::new(shape, path, 5, 1);
        container.learn(|details| {
            details.description.name = "web".to_owned();
            details.description.pod = Some(Pod {
                name: "shop-1".to_owned(),
                namespace: "shop".to_owned(),
                ..Pod::default()
            });
        });
        container
    }

    fn wanted(filter: v1::Filter) -> Wanted {
        Wanted::new(Some(filter), None, None).expect("valid")
    }

    fn list(values: &[&str]) -> Vec<String> {
        values.iter().map(|&value| value.to_owned()).collect()
    }

    #[test]
    fn every_field_narrows() {
        let container = container();
        let cases = [
            (v1::Filter::default(), true, true),
            (
                v1::Filter {
                    containers_only: true,
                    ..v1::Filter::default()
                },
                true,
                false,
            ),
            (
                v1::Filter {
                    pods: list(&["shop/shop-1", "x/y"]),
                    ..v1::Filter::default()
                },
                true,
                false,
            ),
            (
                v1::Filter {
                    pods: list(&["shop/shop-2"]),
                    ..v1::Filter::default()
                },
                false,
                false,
            ),
            (
                v1::Filter {
                    namespaces: list(&["shop"]),
                    ..v1::Filter::default()
                },
                true,
                false,
            ),
            (
                v1::Filter {
                    containers: list(&["web"]),
                    ..v1::Filter::default()
                },
                true,
                false,
            ),
            (
                v1::Filter {
                    containers: list(&["000000"]),
                    ..v1::Filter::default()
                },
                true,
                false,
            ),
            (
                v1::Filter {
                    namespaces: list(&["shop"]),
                    containers: list(&["db"]),
                    ..v1::Filter::default()
                },
                false,
                false,
            ),
        ];
        for (filter, in_container, on_host) in cases {
            let wanted = wanted(filter.clone());
            assert_eq!(wanted.place(Some(&container)), in_container, "{filter:?}");
            assert_eq!(wanted.place(None), on_host, "{filter:?}");
        }
    }

    #[test]
    fn a_pod_without_namespace_is_refused() {
        for pod in ["shop-1", "/shop-1", "a/b/c", ""] {
            let filter = v1::Filter {
                pods: list(&[pod]),
                ..v1::Filter::default()
            };
            assert!(Wanted::new(Some(filter), None, None).is_err(), "{pod}");
        }
    }
}
