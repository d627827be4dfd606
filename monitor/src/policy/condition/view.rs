//! What conditions are asked of: an event with its place, and what conditions can ask of it beside its process and its detail.

use std::{cell::OnceCell, net::IpAddr, sync::Arc};

use memchr::memmem;

use super::{
    answers::Answers,
    subject::{Memory, Subject},
    value::{Texts, Type, Value},
};
use crate::{
    container::{
        model::{Container, Details, Labels, Workload},
        registry::Place,
        shape::Runtime,
    },
    event::{Detail, Event, class_name},
    interpret::{exit::exit, identity},
    proto::{self, v1},
};

/// An event, as conditions see it.
#[derive(Debug)]
pub struct View<'a> {
    /// The event.
    pub event: &'a Event,
    /// What detection remembers.
    pub memory: &'a dyn Memory,
    own: Option<Subject<'a>>,
    /// Where in the path of its program the name begins, from the moment it is first asked for.
    name_begins: OnceCell<usize>,
    /// Where a connection goes to, likewise.
    remote_address: OnceCell<Option<IpAddr>>,
    /// What is known of the container, from the moment it is first asked for.
    details: OnceCell<Option<Arc<Details>>>,
    /// What definitions came to.
    pub(super) answers: Answers,
}

impl<'a> View<'a> {
    /// Looks at an event, for the conditions of one set of policies.
    #[must_use]
    pub fn new(event: &'a Event, memory: &'a dyn Memory) -> Self {
        Self {
            event,
            memory,
            own: Subject::of_event(event, memory),
            name_begins: OnceCell::new(),
            remote_address: OnceCell::new(),
            details: OnceCell::new(),
            answers: Answers::default(),
        }
    }

    /// The container that it happened in.
    #[must_use]
    pub fn container(&self) -> Option<&Container> {
        self.event.container().map(|container| &**container)
    }

    /// What is known of that container.
    #[must_use]
    pub fn details(&self) -> Option<&Details> {
        self.details
            .get_or_init(|| self.container().map(Container::details))
            .as_deref()
    }

    /// The process that did it.
    #[must_use]
    pub fn process(&self) -> Option<&Subject<'a>> {
        self.own.as_ref()
    }

    /// The name of that process's program.
    pub(super) fn name(&self) -> &'a str {
        let Some(program) = self.own.as_ref().map(|own| &own.process.program) else {
            return "";
        };
        let length = || program.exe.len() - program.name().len();
        &program.exe[*self.name_begins.get_or_init(length)..]
    }

    /// The address of a connection's other side.
    pub(super) fn remote_address(&self) -> Option<IpAddr> {
        *self.remote_address.get_or_init(|| match self.detail()? {
            v1::event::Detail::Connection(connection) => {
                connection.remote.as_ref()?.address.parse().ok()
            }
            _ => None,
        })
    }

    /// What is particular to the event, where that is a message.
    #[must_use]
    pub fn detail(&self) -> Option<&v1::event::Detail> {
        match &self.event.detail {
            Detail::Message(_, detail) => Some(detail),
            _ => None,
        }
    }

    /// See the field.
    fn capabilities_beyond(&self) -> u64 {
        let (Some(container), Some(process)) = (self.container(), &self.event.process) else {
            return 0;
        };
        let (bounding, user_ns) = container.first_capabilities();
        let program = &process.program;
        let held = match self.detail() {
            Some(v1::event::Detail::CredentialChange(change)) => {
                change.after.as_ref().map_or(0, |after| {
                    identity::capability_bits(&after.cap_effective)
                        | identity::capability_bits(&after.cap_permitted)
                })
            }
            _ => program.credentials.cap_effective | program.credentials.cap_permitted,
        };
        // In a user namespace of its own a process may hold any, and they are worth nothing outside.
        if user_ns == 0 || program.namespaces.user != user_ns {
            return 0;
        }
        held & !bounding
    }

    fn exit(&self) -> Option<v1::Exit> {
        match self.event.detail {
            Detail::Exit { status } => Some(exit(status)),
            _ => None,
        }
    }

    fn description(&self, read: impl Fn(&Details) -> &str) -> Value<'_> {
        self.details()
            .map_or(Value::Absent, |details| Value::Text(read(details)))
    }

    fn pod(&self, read: impl Fn(&crate::container::model::Pod) -> &str) -> Value<'_> {
        self.details()
            .and_then(|details| details.description.pod.as_ref())
            .map_or(Value::Absent, |pod| Value::Text(read(pod)))
    }

    fn workload(&self, read: impl Fn(&Workload) -> &str) -> Value<'_> {
        self.details()
            .and_then(|details| details.description.pod.as_ref()?.workload.as_ref())
            .map_or(Value::Absent, |workload| Value::Text(read(workload)))
    }

    fn labels(&self, read: impl Fn(&Details) -> Option<&Labels>) -> Value<'_> {
        self.details()
            .and_then(read)
            .map_or(Value::Absent, Value::Labels)
    }
}

/// One field of events.
pub struct EventField {
    /// Its name.
    pub path: &'static str,
    /// Its type.
    pub kind: Type,
    /// The values it can have; empty for any.
    pub values: &'static [&'static str],
    /// Kinds of events that have it; empty for all.
    pub events: &'static [&'static str],
    /// What it says.
    pub comment: &'static str,
    /// Reads it.
    pub read: for<'a> fn(&'a View<'a>) -> Value<'a>,
}

const LOCATIONS: &[&str] = &["host", "container", "unknown"];
const RUNTIMES: &[&str] = &["", "containerd", "crio", "docker", "podman", "buildah"];
const RESULTS: &[&str] = &["attempt", "success"];
const EXIT: &[&str] = &["exit"];
const CGROUP: &[&str] = &["cgroup-created", "cgroup-removed"];
const ATTACH: &[&str] = &["cgroup-attach"];
const LOSS: &[&str] = &["loss"];
const TARGETED: &[&str] = &["process-access", "signal", "file-open"];

/// The registry and repository of an image: what is before its tag or digest.
#[must_use]
pub fn repository(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        // A colon before a slash is of the registry's port.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

fn location(place: &Place) -> &'static str {
    match place {
        Place::Container(..) => "container",
        Place::Host(_) => "host",
        Place::Unknown => "unknown",
    }
}

/// Whether a process was moved out of the container of whoever moved it.
fn is_moved_out(view: &View<'_>) -> bool {
    let (Some(container), Detail::CgroupAttach { path, .. }) =
        (view.container(), &view.event.detail)
    else {
        return false;
    };
    path.as_deref().is_some_and(|path| {
        path.strip_prefix(container.cgroup_path.as_str())
            .is_none_or(|rest| !rest.is_empty() && !rest.starts_with('/'))
    })
}

/// Whether something is done to a process outside the container: on the host, or in another container.
fn is_outside(view: &View<'_>) -> bool {
    let Some(target) = &view.event.target else {
        return false;
    };
    match (view.container(), &target.place) {
        (Some(own), Place::Container(other, _)) => own.id != other.id,
        (Some(_), Place::Host(_)) => true,
        (Some(_), Place::Unknown) | (None, _) => false,
    }
}

/// The directory of the kubelet in which each pod has one.
const PODS: &[u8] = b"/pods/";

/// The pod that a path below the kubelet's directory of pods is of.
fn pod_uid<'a>(view: &'a View<'_>) -> &'a str {
    let Some(v1::event::Detail::FileOpen(open)) = view.detail() else {
        return "";
    };
    let is_uid = |text: &str| {
        text.len() >= 32
            && text
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    };
    memmem::find_iter(open.path.as_bytes(), PODS)
        .map(|at| {
            let below = &open.path[at + PODS.len()..];
            below.split_once('/').map_or(below, |(first, _)| first)
        })
        .find(|first| is_uid(first))
        .unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "it is a measure")]
fn cpus(view: &View<'_>) -> f64 {
    match view.detail() {
        Some(v1::event::Detail::CpuUsage(usage)) if usage.interval_ns > 0 => {
            usage.used_ns as f64 / usage.interval_ns as f64
        }
        _ => 0.0,
    }
}

fn cpu_share(view: &View<'_>) -> f64 {
    match view.detail() {
        Some(v1::event::Detail::CpuUsage(usage)) if usage.limit_cpus > 0.0 => {
            cpus(view) / usage.limit_cpus
        }
        _ => cpus(view),
    }
}

macro_rules! event_fields {
    ($($path:literal, $kind:ident, $values:expr, $events:expr; $comment:literal, |$view:ident| $read:expr;)*) => {
        /// Every field of events that is not of the process or the detail.
        pub const EVENT_FIELDS: &[EventField] = &[$(
            EventField {
                path: $path,
                kind: Type::$kind,
                values: $values,
                events: $events,
                comment: $comment,
                read: |$view| $read,
            },
        )*];
    };
}

event_fields! {
    "kind", Text, super::schema::KINDS, &[]; "The kind of event.",
        |view| Value::Text(proto::kind_names()[view.event.detail.kind() as usize].as_str());
    "outcome", Text, RESULTS, &[]; "\"attempt\" where the call failed or the connection was refused, \"success\" otherwise.",
        |view| Value::Text(if view.event.failed() { "attempt" } else { "success" });
    "location", Text, LOCATIONS, &[]; "Where the process runs.",
        |view| Value::Text(location(&view.event.place));
    "cgroup_path", Text, &[], &[]; "Path of the process's cgroup.",
        |view| match &view.event.place {
            Place::Container(_, path) | Place::Host(path) => Value::Text(path),
            Place::Unknown => Value::Absent,
        };
    "container.id", Text, &[], &[]; "The runtime's id of the container.",
        |view| view.container().map_or(Value::Absent, |container| Value::Text(&container.id));
    "container.name", Text, &[], &[]; "Name within the pod, or the name that podman gave it.",
        |view| view.description(|details| &details.description.name);
    "container.image", Text, &[], &[]; "Image as it was asked for.",
        |view| view.description(|details| &details.description.image);
    "container.image_repository", Text, &[], &[]; "The same without tag and digest.",
        |view| view.description(|details| repository(&details.description.image));
    "container.image_digest", Text, &[], &[]; "Image as it was resolved: a digest.",
        |view| view.description(|details| &details.description.image_digest);
    "container.labels", Labels, &[], &[]; "Labels of the container.",
        |view| view.labels(|details| Some(&details.description.labels));
    "container.sandbox", Bool, &[], &[]; "The container only holds a pod's namespaces.",
        |view| Value::Bool(view.details().is_some_and(|details| details.description.sandbox));
    "container.runtime", Text, RUNTIMES, &[]; "The container's runtime.",
        |view| view.container().map_or(Value::Absent, |container| Value::Text(match container.runtime() {
            Runtime::Unknown => "",
            Runtime::Containerd => "containerd",
            Runtime::CriO => "crio",
            Runtime::Docker => "docker",
            Runtime::Podman => "podman",
            Runtime::Buildah => "buildah",
        }));
    "container.pod.name", Text, &[], &[]; "Name of the pod.",
        |view| view.pod(|pod| &pod.name);
    "container.pod.namespace", Text, &[], &[]; "Namespace of the pod.",
        |view| view.pod(|pod| &pod.namespace);
    "container.pod.uid", Text, &[], &[]; "Uid of the pod.",
        |view| view.pod(|pod| &pod.uid);
    "container.pod.labels", Labels, &[], &[]; "Labels of the pod.",
        |view| view.labels(|details| details.description.pod.as_ref().map(|pod| &pod.labels));
    "container.pod.workload.kind", Text, &[], &[]; "Kind of what the pod belongs to, as \"Deployment\"; empty where the API server is not asked.",
        |view| view.workload(|workload| &workload.kind);
    "container.pod.workload.name", Text, &[], &[]; "Name of what the pod belongs to; empty where the API server is not asked.",
        |view| view.workload(|workload| &workload.name);
    "container.pod.namespace_labels", Labels, &[], &[]; "Labels of the pod's namespace; none where the API server is not asked.",
        |view| view.labels(|details| details.description.pod.as_ref()?.namespace_labels.known());
    "target.location", Text, &["", "host", "container", "unknown"], TARGETED; "Where the process runs that something is done to; empty where there is none.",
        |view| Value::Text(view.event.target.as_ref().map_or("", |target| location(&target.place)));
    "target.outside", Bool, &[], TARGETED; "The process that something is done to is on the host or in another container.",
        |view| Value::Bool(is_outside(view));
    "target.self", Bool, &[], TARGETED; "The process does it to itself.",
        |view| Value::Bool(match (&view.event.target, &view.event.process) {
            (Some(target), Some(process)) => target.key == process.key,
            _ => false,
        });
    "target.agent", Bool, &[], TARGETED; "The process that something is done to is this agent.",
        |view| Value::Bool(view.event.target.as_ref().is_some_and(|target| target.key.pid == view.memory.agent()));
    "process.capabilities_beyond_container", Texts, &[], &["exec", "credential-change"]; "Capabilities that the process holds, in the container's own user namespace, and that the container's first process could not have had.",
        |view| Value::Texts(Texts::Capabilities(view.capabilities_beyond()));
    "file_open.pod_uid", Text, &[], &["file-open"]; "The pod in whose directory of the kubelet the path lies (\"/pods/UID/volumes/…\"); empty for none.",
        |view| Value::Text(pod_uid(view));
    "cpu_usage.cpus", Double, &[], &["cpu-usage"]; "CPUs' worth of time that the container used.",
        |view| Value::Double(cpus(view));
    "cpu_usage.share", Double, &[], &["cpu-usage"]; "The same as part of its limit, or of one CPU where it has none.",
        |view| Value::Double(cpu_share(view));
    "exit.code", Int, &[], EXIT; "Exit code; -1 when a signal ended it.",
        |view| Value::Int(view.exit().map_or(-1, |exit| exit.code.map_or(-1, i64::from)));
    "exit.signal", Int, &[], EXIT; "The signal that ended it; 0 when it ended by itself.",
        |view| Value::Int(view.exit().map_or(0, |exit| exit.signal.map_or(0, i64::from)));
    "exit.killed_by_seccomp", Bool, &[], EXIT; "Seccomp killed it.",
        |view| Value::Bool(view.exit().is_some_and(|exit| exit.killed_by_seccomp));
    "cgroup.path", Text, &[], CGROUP; "Path of the cgroup that was created or removed.",
        |view| match &view.event.detail {
            Detail::CgroupCreated(cgroup) | Detail::CgroupRemoved(cgroup) => Value::Text(&cgroup.path),
            _ => Value::Absent,
        };
    "cgroup_attach.path", Text, &[], ATTACH; "The cgroup that a process was moved to; empty when unknown.",
        |view| match &view.event.detail {
            Detail::CgroupAttach { path: Some(path), .. } => Value::Text(path),
            _ => Value::Absent,
        };
    "cgroup_attach.outside", Bool, &[], ATTACH; "A process of a container moved one, or itself, to a cgroup outside the container.",
        |view| Value::Bool(is_moved_out(view));
    "loss.class", Text, &["process", "cgroup", "network", "dns", "file", "namespace", "credential", "tampering", "kernel"], LOSS;
        "What kind of records were lost.",
        |view| match &view.event.detail {
            Detail::Loss(loss) => Value::Text(class_name(loss.class)),
            _ => Value::Absent,
        };
    "loss.reason", Text, &["ring full", "no scratch buffer", "over budget", "table full", "detection overloaded"], LOSS;
        "Why they were lost: \"over budget\" where the container produced more than its share.",
        |view| match &view.event.detail {
            Detail::Loss(loss) => Value::Text(loss.reason.name()),
            _ => Value::Absent,
        };
    "loss.count", Int, &[], LOSS; "How many were lost.",
        |view| match &view.event.detail {
            Detail::Loss(loss) => Value::Int(i64::try_from(loss.count).unwrap_or(i64::MAX)),
            _ => Value::Absent,
        };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_what_comes_before_tag_and_digest() {
        for (image, expected) in [
            ("docker.io/library/nginx:1.27", "docker.io/library/nginx"),
            ("registry.example:5000/a/b", "registry.example:5000/a/b"),
            ("registry.example:5000/a/b:1", "registry.example:5000/a/b"),
            ("quay.io/a/b@sha256:0f", "quay.io/a/b"),
            ("quay.io/a/b:2@sha256:0f", "quay.io/a/b"),
            ("", ""),
        ] {
            assert_eq!(repository(image), expected, "{image}");
        }
    }
}
