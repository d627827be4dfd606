//! Whether an element is what a client asked for.

use std::{sync::Arc, time::SystemTime};

use super::particulars::Particulars;

use crate::{
    container::model::Container, detect::alert::Alert, event::Event, process::execution::Process,
    proto::v1, serve::convert, store::past::Narrow,
};

/// What a client asks for, of either stream.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    filter: v1::Filter,
    labels: Vec<(String, Option<String>)>,
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
        since: Option<SystemTime>,
        until: Option<SystemTime>,
    ) -> Result<Self, String> {
        let filter = filter.unwrap_or_default();
        if let Some(pod) = filter
            .pods
            .iter()
            .find(|pod| pod.split('/').filter(|part| !part.is_empty()).count() != 2)
        {
            return Err(format!("pod `{pod}` is not NAMESPACE/NAME"));
        }
        if let Some(workload) = filter
            .workloads
            .iter()
            .find(|workload| !workload.contains('/'))
        {
            return Err(format!("workload `{workload}` is not KIND/NAME"));
        }
        let labels = filter
            .labels
            .iter()
            .map(|label| match label.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (label.clone(), None),
            })
            .collect();
        Ok(Self {
            filter,
            labels,
            since,
            until,
        })
    }

    /// Whether it asks for some containers and not for others.
    fn narrows(&self) -> bool {
        self.filter.containers_only || self.names_containers()
    }

    /// Whether it asks for containers by what their runtime tells of them.
    fn names_containers(&self) -> bool {
        let v1::Filter {
            pods,
            namespaces,
            containers,
            images,
            workloads,
            ..
        } = &self.filter;
        !(pods.is_empty()
            && namespaces.is_empty()
            && containers.is_empty()
            && images.is_empty()
            && workloads.is_empty()
            && self.labels.is_empty())
    }

    /// What helps to find it on disk.
    #[must_use]
    pub fn narrow(&self, kinds: &[i32]) -> Narrow {
        let wanted = self.clone();
        Narrow {
            containers: self.narrows().then(|| {
                Arc::new(move |container: Option<&Container>| wanted.place(container)) as Arc<_>
            }),
            kinds: kinds.to_vec(),
        }
    }

    /// Whether it hangs on what the runtime, or the API server, has yet to say of a container.
    #[must_use]
    pub fn is_undecided(&self, container: Option<&Container>) -> bool {
        let may_change = if self.filter.workloads.is_empty() {
            Container::is_unnamed
        } else {
            Container::is_unsettled
        };
        self.names_containers() && container.is_some_and(may_change)
    }

    /// Whether a time is after all that is wanted.
    #[must_use]
    pub fn is_past_end(&self, time: SystemTime) -> bool {
        self.until.is_some_and(|until| time > until)
    }

    /// Whether it is of the wanted time.
    #[must_use]
    pub fn is_at(&self, time: SystemTime) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }

    /// Whether what happened there is wanted; `None` stands for the host and the unknown.
    #[must_use]
    pub fn place(&self, container: Option<&Container>) -> bool {
        let v1::Filter {
            pods,
            namespaces,
            containers,
            containers_only,
            images,
            workloads,
            ..
        } = &self.filter;
        let Some(container) = container else {
            return !self.names_containers() && !containers_only;
        };
        if !self.names_containers() {
            return true;
        }
        let details = container.details();
        let description = &details.description;
        let pod = description.pod.as_ref();
        let pod_matches = |matches: &dyn Fn(&str, &str) -> bool| {
            pod.is_some_and(|pod| matches(&pod.namespace, &pod.name))
        };
        let in_pods = pods.is_empty()
            || pods.iter().any(|wanted| {
                pod_matches(&|namespace, name| wanted.split_once('/') == Some((namespace, name)))
            });
        let in_namespaces = namespaces.is_empty()
            || pod_matches(&|namespace, _| namespaces.iter().any(|wanted| wanted == namespace));
        let workload = pod.and_then(|pod| pod.workload.as_ref());
        let in_workloads = workloads.is_empty()
            || workload.is_some_and(|workload| {
                let mut wanted = workloads.iter().filter_map(|text| text.split_once('/'));
                wanted.any(|(kind, name)| {
                    workload.kind.eq_ignore_ascii_case(kind) && workload.name == name
                })
            });
        let in_containers = containers.is_empty()
            || containers.iter().any(|wanted| {
                !wanted.is_empty()
                    && (container.id.starts_with(wanted) || description.name == *wanted)
            });
        let of_images = images.is_empty()
            || images.iter().any(|wanted| {
                description.image.contains(wanted) || description.image_digest.contains(wanted)
            });
        let labelled = self.labels.iter().all(|(key, value)| {
            let found = pod
                .and_then(|pod| pod.labels.get(key))
                .or_else(|| description.labels.get(key));
            found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        });
        in_pods && in_namespaces && in_workloads && in_containers && of_images && labelled
    }

    fn process(&self, process: Option<&Process>) -> bool {
        let v1::Filter {
            binaries,
            arguments,
            uids,
            pids,
            ..
        } = &self.filter;
        if binaries.is_empty() && arguments.is_empty() && uids.is_empty() && pids.is_empty() {
            return true;
        }
        let Some(process) = process else {
            return false;
        };
        let program = &process.program;
        let by_binary = || {
            binaries.is_empty()
                || binaries
                    .iter()
                    .any(|wanted| program.exe == *wanted || program.name() == wanted)
        };
        let by_arguments = || {
            arguments.is_empty() || {
                let line = program.argv.to_vec().join(" ");
                arguments.iter().any(|wanted| line.contains(wanted))
            }
        };
        (uids.is_empty() || uids.contains(&program.credentials.euid))
            && (pids.is_empty() || pids.contains(&process.key.pid))
            && by_binary()
            && by_arguments()
    }
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct WantedEvents {
    /// Common to both streams.
    pub wanted: Wanted,
    /// Kinds; all but heartbeats when empty.
    pub kinds: Vec<i32>,
    /// What they are about.
    pub particulars: Particulars,
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
        let kind = event.detail.kind();
        let is_kind = match self.kinds.as_slice() {
            [] => kind != v1::EventKind::Heartbeat,
            kinds => kinds.contains(&kind.into()),
        };
        is_kind
            && self.wanted.is_at(event.time)
            && self
                .wanted
                .place(event.container().map(|container| &**container))
            && self.wanted.process(event.process.as_deref())
            && self.particulars.match_event(event)
    }
}

impl WantedAlerts {
    /// Whether an alert is wanted.
    #[must_use]
    pub fn matches(&self, alert: &Alert) -> bool {
        let rule = &alert.rule;
        (self.rules.is_empty() || self.rules.contains(&rule.id))
            && i32::from(convert::severity(alert.severity)) >= self.min_severity
            && self.wanted.is_at(alert.event.time)
            && self
                .wanted
                .place(alert.event.container().map(|container| &**container))
            && self.wanted.process(Some(&alert.process))
    }
}

/// A time of a request.
///
/// # Errors
/// When it is out of range.
pub fn time(
    name: &str,
    time: Option<prost_types::Timestamp>,
) -> Result<Option<SystemTime>, String> {
    time.map(SystemTime::try_from)
        .transpose()
        .map_err(|error| format!("{name}: {error}"))
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{
        model::{Labels, Metadata, NamespaceLabels, Pod, Workload},
        shape,
    };

    fn container() -> Container {
        let path = format!("/docker/{:064x}", 0xabc);
        let shape = shape::recognise(&path).expect("a container's");
        let container = Container::new(shape, path, 5, 1);
        container.learn(|details| {
            details.description.name = "web".to_owned();
            details.description.pod = Some(Pod {
                name: "shop-1".to_owned(),
                namespace: "shop".to_owned(),
                workload: Workload::parse("Deployment/shop"),
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
                    workloads: list(&["statefulset/db", "deployment/shop"]),
                    ..v1::Filter::default()
                },
                true,
                false,
            ),
            (
                v1::Filter {
                    workloads: list(&["Deployment/Shop", "shop/Deployment"]),
                    ..v1::Filter::default()
                },
                false,
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
    fn a_workload_that_is_not_told_yet_is_waited_for() {
        let container = container();
        container.learn(|details| {
            details.metadata = Metadata::Complete;
            if let Some(pod) = &mut details.description.pod {
                pod.workload = None;
                pod.namespace_labels = NamespaceLabels::Pending;
            }
        });
        let by_workload = wanted(v1::Filter {
            workloads: list(&["deployment/shop"]),
            ..v1::Filter::default()
        });
        let by_namespace = wanted(v1::Filter {
            namespaces: list(&["shop"]),
            ..v1::Filter::default()
        });
        assert!(by_workload.is_undecided(Some(&container)));
        assert!(!by_namespace.is_undecided(Some(&container)));
        container.learn(|details| {
            if let Some(pod) = &mut details.description.pod {
                pod.namespace_labels = NamespaceLabels::Known(Labels::new());
            }
        });
        assert!(by_workload.is_undecided(Some(&container)), "half of it");
        container.learn(|details| {
            if let Some(pod) = &mut details.description.pod {
                pod.workload = Workload::parse("Deployment/shop");
            }
        });
        assert!(!by_workload.is_undecided(Some(&container)));
        assert!(by_workload.place(Some(&container)));
    }

    #[test]
    fn labels_and_images_narrow() {
        let container = container();
        container.learn(|details| {
            details.description.image = "registry.example/shop/web:1.2".to_owned();
            details.description.image_digest = "sha256:0123abcd".to_owned();
            details
                .description
                .labels
                .insert("tier".to_owned(), "front".to_owned());
            if let Some(pod) = &mut details.description.pod {
                pod.labels.insert("app".to_owned(), "shop".to_owned());
            }
        });
        let labels = |labels: &[&str]| v1::Filter {
            labels: list(labels),
            ..v1::Filter::default()
        };
        let images = |images: &[&str]| v1::Filter {
            images: list(images),
            ..v1::Filter::default()
        };
        for (filter, expected) in [
            (labels(&["app=shop"]), true),
            (labels(&["app"]), true),
            (labels(&["app=shop", "tier=front"]), true),
            (labels(&["app=shop", "tier=back"]), false),
            (labels(&["role"]), false),
            (images(&["shop/web"]), true),
            (images(&["sha256:0123"]), true),
            (images(&["shop/db"]), false),
        ] {
            let wanted = wanted(filter.clone());
            assert_eq!(wanted.place(Some(&container)), expected, "{filter:?}");
            assert!(!wanted.place(None), "{filter:?}");
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
