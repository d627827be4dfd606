//! Whether an element is what a client asked for.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use crate::{
    container::model::Container,
    detect::alert::Alert,
    event::{Detail, Event},
    process::execution::Process,
    proto::v1::{self, event::Detail as Message},
    serve::convert,
    store::past::Narrow,
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
            ..
        } = &self.filter;
        !(pods.is_empty()
            && namespaces.is_empty()
            && containers.is_empty()
            && images.is_empty()
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

    /// Whether it hangs on what the runtime has yet to say of a container.
    #[must_use]
    pub fn is_undecided(&self, container: Option<&Container>) -> bool {
        self.names_containers() && container.is_some_and(Container::is_unnamed)
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
        in_pods && in_namespaces && in_containers && of_images && labelled
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

/// Addresses: one, or all with the same beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    /// Bits of the beginning.
    length: u32,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("`{text}` is no address and no network such as 10.0.0.0/8");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(bits);
        if length > bits {
            return Err(invalid());
        }
        Ok(Self { address, length })
    }

    fn has(&self, text: &str) -> bool {
        let Ok(address) = text.parse::<IpAddr>() else {
            return false;
        };
        let differing = match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                (one.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                (one.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differing >= self.length
    }
}

/// What a client asks for of the particulars of events.
#[derive(Clone, Debug, Default)]
pub struct Particulars {
    networks: Vec<Network>,
    ports: Vec<u32>,
    domains: Vec<String>,
    paths: Vec<String>,
}

impl Particulars {
    /// From a request.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn new(request: &v1::EventsWatchRequest) -> Result<Self, String> {
        Ok(Self {
            networks: request
                .addresses
                .iter()
                .map(|text| Network::parse(text))
                .collect::<Result<_, _>>()?,
            ports: request.ports.clone(),
            domains: request
                .domains
                .iter()
                .map(|domain| domain.trim_matches('.').to_ascii_lowercase())
                .collect(),
            paths: request.paths.clone(),
        })
    }

    fn match_event(&self, event: &Event) -> bool {
        (self.networks.is_empty() && self.ports.is_empty() || self.endpoints(&event.detail))
            && (self.domains.is_empty() || self.domain(&event.detail))
            && (self.paths.is_empty() || self.path(event))
    }

    fn endpoints(&self, detail: &Detail) -> bool {
        let Detail::Message(_, message) = detail else {
            return false;
        };
        let (ends, answers): ([Option<&v1::Endpoint>; 2], &[String]) = match &**message {
            Message::Connection(it) => ([it.local.as_ref(), it.remote.as_ref()], &[]),
            Message::Socket(it) => ([it.local.as_ref(), None], &[]),
            Message::Payload(it) => ([it.local.as_ref(), it.remote.as_ref()], &[]),
            Message::Dns(it) => ([it.server.as_ref(), None], &it.answers),
            _ => return false,
        };
        let port = |wanted: &[u32], port: u32| wanted.is_empty() || wanted.contains(&port);
        let address = |address: &str| {
            self.networks.is_empty() || self.networks.iter().any(|network| network.has(address))
        };
        // One end must have both.
        ends.into_iter()
            .flatten()
            .any(|end| address(&end.address) && port(&self.ports, end.port))
            || self.ports.is_empty() && answers.iter().any(|answer| address(answer))
    }

    fn domain(&self, detail: &Detail) -> bool {
        let Detail::Message(_, message) = detail else {
            return false;
        };
        let name = match &**message {
            Message::Connection(it) => &it.remote_name,
            Message::Payload(it) => &it.remote_name,
            Message::Dns(it) => &it.name,
            _ => return false,
        };
        let name = name.trim_matches('.').to_ascii_lowercase();
        self.domains.iter().any(|wanted| {
            name == *wanted
                || name
                    .strip_suffix(wanted.as_str())
                    .is_some_and(|before| before.ends_with('.'))
        })
    }

    fn path(&self, event: &Event) -> bool {
        let found = |path: &str| self.paths.iter().any(|wanted| is_at_or_below(path, wanted));
        match &event.detail {
            Detail::Exec => event
                .process
                .as_ref()
                .is_some_and(|process| found(&process.program.exe)),
            Detail::Message(_, message) => match &**message {
                Message::FileOpen(it) => {
                    found(&it.path) || found(&it.path_in_filesystem) || found(&it.linked_path)
                }
                Message::FileChange(it) => found(&it.path) || found(&it.new_path),
                Message::Mount(it) => found(&it.source) || found(&it.target),
                Message::Connection(it) => found(&it.path),
                Message::KernelModule(it) => found(&it.path),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Whether a path is the wanted one, or one in that directory.
fn is_at_or_below(path: &str, wanted: &str) -> bool {
    match path.strip_prefix(wanted) {
        Some(rest) => {
            !wanted.is_empty()
                && (rest.is_empty() || wanted.ends_with('/') || rest.starts_with('/'))
        }
        None => false,
    }
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct WantedEvents {
    /// Common to both streams.
    pub wanted: Wanted,
    /// Kinds; all when empty.
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
        (self.kinds.is_empty() || self.kinds.contains(&event.detail.kind().into()))
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
        let rule = &alert.rule.rule;
        (self.rules.is_empty() || self.rules.contains(&rule.id))
            && i32::from(convert::severity(rule.severity)) >= self.min_severity
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
    fn networks_hold_their_addresses() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.0/31", "192.0.2.1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "192.0.2.1", false),
            ("10.0.0.0/8", "", false),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert_eq!(parsed.has(address), expected, "{network} {address}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "example.com",
            "10.0.0.0/8/8",
        ] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }

    fn event(message: Message) -> Event {
        Event {
            time: SystemTime::now(),
            process: None,
            origin: None,
            injected_by: None,
            ancestors: Vec::new(),
            place: crate::container::registry::Place::Unknown,
            target: None,
            detail: Detail::Message(v1::EventKind::Connect, Box::new(message)),
        }
    }

    fn wants(request: &v1::EventsWatchRequest, event: &Event) -> bool {
        Particulars::new(request).expect("valid").match_event(event)
    }

    #[test]
    fn one_end_has_both_address_and_port() {
        let end = |address: &str, port| {
            Some(v1::Endpoint {
                address: address.to_owned(),
                port,
            })
        };
        let event = event(Message::Connection(v1::Connection {
            local: end("10.0.0.5", 40_000),
            remote: end("192.0.2.7", 3_333),
            remote_name: "Pool.Example.com".to_owned(),
            ..v1::Connection::default()
        }));
        let request =
            |addresses: &[&str], ports: &[u32], domains: &[&str]| v1::EventsWatchRequest {
                addresses: list(addresses),
                ports: ports.to_vec(),
                domains: list(domains),
                ..v1::EventsWatchRequest::default()
            };
        for (addresses, ports, domains, expected) in [
            (&["192.0.2.0/24"][..], &[][..], &[][..], true),
            (&["192.0.2.0/24"], &[3_333], &[], true),
            (&["192.0.2.0/24"], &[40_000], &[], false),
            (&[], &[40_000, 1], &[], true),
            (&[], &[80], &[], false),
            (&[], &[], &["example.com"], true),
            (&[], &[], &["pool.example.com."], true),
            (&[], &[], &["ample.com"], false),
            (&[], &[3_333], &["example.org"], false),
        ] {
            let asked = request(addresses, ports, domains);
            assert_eq!(wants(&asked, &event), expected, "{asked:?}");
        }
    }

    #[test]
    fn a_directory_stands_for_what_is_in_it() {
        for (path, wanted, expected) in [
            ("/etc/shadow", "/etc/shadow", true),
            ("/etc/shadow", "/etc", true),
            ("/etc/shadow", "/etc/", true),
            ("/etc/shadow-", "/etc/shadow", false),
            ("/etc", "/etc/shadow", false),
            ("/etc/shadow", "/", true),
            ("/etc/shadow", "", false),
        ] {
            assert_eq!(is_at_or_below(path, wanted), expected, "{path} {wanted}");
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
