//! From what the agent keeps to the messages of its API.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use prost_types::Timestamp;
use watchkeeper_ebpf::record::{self, descriptor, exec_flag};

use crate::{
    container::{
        membership::Origin,
        model::{Container, Metadata},
        registry::Place,
        shape::Runtime,
    },
    detect::alert::Alert,
    event::{Cgroup, Detail, Event, Target, class_name},
    interpret::{exit::exit, identity},
    policy::file::{Attack, Severity},
    process::execution::{Process, ProcessKey, Source},
    proto::v1,
};

/// Most ancestors that an event carries; an alert carries all that are known.
const MAX_EVENT_ANCESTORS: usize = 16;

/// Marks cursors of events.
pub const EVENT_CURSOR: char = 'e';
/// Marks cursors of alerts.
pub const ALERT_CURSOR: char = 'a';

/// What the messages need beside what they are about.
#[derive(Clone, Debug)]
pub struct Context {
    /// Name of this node.
    pub node: String,
    /// Boot id, without dashes.
    pub boot_id: String,
    /// Names the history in cursors.
    pub store: String,
}

/// A moment as protobuf has it.
#[must_use]
pub fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

impl Context {
    /// The same for what is of an earlier boot; `None` stands for this one.
    #[must_use]
    pub fn of_boot(&self, boot_id: Option<&str>) -> Cow<'_, Self> {
        match boot_id {
            Some(boot_id) if boot_id != self.boot_id => Cow::Owned(Self {
                boot_id: boot_id.to_owned(),
                ..self.clone()
            }),
            _ => Cow::Borrowed(self),
        }
    }

    /// The cursor of an element of the sequence with this mark.
    #[must_use]
    pub fn cursor(&self, sequence: char, number: u64) -> String {
        format!("{}-{sequence}{number}", self.store)
    }

    /// The number in a cursor of this history and sequence; `None` for one of another, or something else.
    #[must_use]
    pub fn number(&self, sequence: char, cursor: &str) -> Option<u64> {
        cursor
            .strip_prefix(self.store.as_str())?
            .strip_prefix('-')?
            .strip_prefix(sequence)?
            .parse()
            .ok()
    }

    /// Names an execution for good.
    #[must_use]
    pub fn exec_id(&self, process: &Process) -> String {
        let boot = self.boot_id.get(..8).unwrap_or(&self.boot_id);
        let ProcessKey { pid, start_ticks } = process.key;
        format!("{boot}-{pid}-{start_ticks}-{}", process.program.exec_ns)
    }

    /// An event.
    #[must_use]
    pub fn event(&self, number: u64, event: &Event) -> v1::Event {
        let process = event.process.as_ref().map(|process| {
            let parent = event.ancestors.first().map(|ancestor| &*ancestor.process);
            self.process(process, event.origin, parent)
        });
        let (location, container, cgroup_path) = place(&event.place);
        v1::Event {
            cursor: self.cursor(EVENT_CURSOR, number),
            time: Some(timestamp(event.time)),
            node: self.node.clone(),
            kind: event.detail.kind().into(),
            process,
            ancestors: event
                .ancestors
                .iter()
                .take(MAX_EVENT_ANCESTORS)
                .map(|ancestor| v1::Ancestor {
                    exec_id: self.exec_id(&ancestor.process),
                    pid: ancestor.process.key.pid,
                    exe: ancestor.process.program.exe.clone(),
                })
                .collect(),
            location: location.into(),
            container,
            cgroup_path,
            detail: self.detail(event),
        }
    }

    fn detail(&self, event: &Event) -> Option<v1::event::Detail> {
        Some(match &event.detail {
            Detail::Exec => return None,
            Detail::Fork { child, started } => v1::event::Detail::Fork(v1::Fork {
                child_pid: child.pid,
                child_start_time: Some(timestamp(*started)),
            }),
            Detail::Exit { status } => v1::event::Detail::Exit(exit(*status)),
            Detail::CgroupCreated(found) | Detail::CgroupRemoved(found) => {
                v1::event::Detail::Cgroup(cgroup(found))
            }
            Detail::CgroupAttach {
                moved,
                process,
                cgroup_id,
                path,
            } => v1::event::Detail::CgroupAttach(v1::CgroupAttach {
                pid: moved.pid,
                exec_id: process
                    .as_ref()
                    .map(|process| self.exec_id(process))
                    .unwrap_or_default(),
                cgroup_id: *cgroup_id,
                path: path.as_deref().unwrap_or_default().to_owned(),
            }),
            Detail::Message(_, detail) => {
                let mut detail = (**detail).clone();
                let target = event.target.as_ref().map(|target| self.reference(target));
                match &mut detail {
                    v1::event::Detail::FileOpen(open) => open.target = target,
                    v1::event::Detail::ProcessAccess(access) => access.target = target,
                    v1::event::Detail::Signal(signal) => signal.target = target,
                    _ => {}
                }
                detail
            }
            Detail::Loss(loss) => v1::event::Detail::Loss(v1::Loss {
                cgroup_id: loss.cgroup_id,
                count: loss.count,
                class: class_name(loss.class).to_owned(),
                reason: loss.reason.name().to_owned(),
            }),
        })
    }

    /// The process that something was done to.
    fn reference(&self, target: &Target) -> v1::ProcessReference {
        let process = target.process.as_deref();
        let (location, container, _) = place(&target.place);
        v1::ProcessReference {
            pid: target.key.pid,
            exec_id: process
                .map(|process| self.exec_id(process))
                .unwrap_or_default(),
            exe: process
                .map(|process| process.program.exe.clone())
                .unwrap_or_default(),
            location: location.into(),
            container_id: container.map(|container| container.id).unwrap_or_default(),
        }
    }

    /// An alert.
    #[must_use]
    pub fn alert(&self, number: u64, alert: &Alert) -> v1::Alert {
        let tally = alert.tally();
        let rule = &alert.rule;
        let ancestors = &alert.ancestors;
        let (location, container, _) = place(&alert.event.place);
        let parent_of = |index: usize| ancestors.get(index).map(|ancestor| &*ancestor.process);
        v1::Alert {
            id: alert.id.clone(),
            cursor: self.cursor(ALERT_CURSOR, number),
            first_seen: Some(timestamp(alert.event.time)),
            last_seen: Some(timestamp(tally.last_seen)),
            count: tally.count,
            node: self.node.clone(),
            rule_id: rule.id.clone(),
            title: rule.title.clone(),
            severity: severity(alert.severity).into(),
            message: alert.message.clone(),
            attack: rule.attack.iter().map(attack).collect(),
            // Of records that were lost nobody knows whose they were.
            process: (alert.process.key.pid != 0)
                .then(|| self.process(&alert.process, alert.event.origin, parent_of(0))),
            ancestors: ancestors
                .iter()
                .enumerate()
                .map(|(index, ancestor)| {
                    let origin = ancestor
                        .membership
                        .as_ref()
                        .map(|membership| membership.origin);
                    self.process(&ancestor.process, origin, parent_of(index + 1))
                })
                .collect(),
            injected_by: alert
                .injected_by
                .as_ref()
                .map(|process| self.process(process, None, None)),
            location: location.into(),
            container,
            evidence: tally
                .evidence
                .iter()
                .map(|number| self.cursor(EVENT_CURSOR, *number))
                .collect(),
            facts: alert
                .facts
                .iter()
                .map(|(name, value)| (name.clone().into_owned(), value.clone()))
                .collect(),
            claimed: alert
                .claimed
                .iter()
                .map(|name| name.clone().into_owned())
                .collect(),
            rung: "tracing".to_owned(),
            policy: rule.policy.clone(),
            policy_set: rule.set.to_string(),
            outcome: if alert.attempt {
                v1::AlertOutcome::Attempt
            } else {
                v1::AlertOutcome::Success
            }
            .into(),
        }
    }

    /// A process.
    #[must_use]
    pub fn process(
        &self,
        process: &Process,
        origin: Option<Origin>,
        parent: Option<&Process>,
    ) -> v1::Process {
        let program = &process.program;
        v1::Process {
            exec_id: self.exec_id(process),
            pid: process.key.pid,
            pid_inside: process.inside.map_or(0, |(_, pid)| pid),
            start_time: Some(timestamp(process.started)),
            exec_time: program.executed.map(timestamp),
            exe: program.exe.clone(),
            argv: program.argv.to_vec(),
            argv_redactions: program.redacted,
            argv_truncated: program.flags & exec_flag::ARGV_TRUNCATED != 0,
            cwd: program.cwd.clone(),
            filename: program.filename.clone(),
            script: program.flags & exec_flag::SCRIPT != 0,
            credentials: Some(identity::credentials(&program.credentials)),
            namespaces: Some(identity::namespaces(
                &program.namespaces,
                program.host_namespaces,
            )),
            file: Some(identity::file(&program.file)),
            stdio: (0..).zip(&program.stdio).map(stdio).collect(),
            tty: program.tty.clone(),
            origin: self::origin(origin).into(),
            source: match process.source {
                Source::Kernel => v1::Source::Kernel,
                Source::Procfs => v1::Source::Procfs,
                Source::Fork => v1::Source::Fork,
            }
            .into(),
            parent_pid: process.parent.map_or(0, |parent| parent.pid),
            seccomp: program.seccomp,
            shell: program
                .shell()
                .map(|shell| shell.family.clone())
                .unwrap_or_default(),
            miner: program.miner().unwrap_or_default().to_owned(),
            kernel_started: program.flags & exec_flag::KERNEL_STARTED != 0,
            cwd_detached: program.flags & exec_flag::CWD_DETACHED != 0,
            no_new_privileges: program.flags & exec_flag::NO_NEW_PRIVILEGES != 0,
            parent_exec_id: parent
                .map(|parent| self.exec_id(parent))
                .unwrap_or_default(),
        }
    }
}

/// A technique of ATT&CK.
#[must_use]
pub fn attack(attack: &Attack) -> v1::Attack {
    v1::Attack {
        tactic_id: attack.tactic_id.clone(),
        tactic: attack.tactic.clone(),
        technique_id: attack.technique_id.clone(),
        technique: attack.technique.clone(),
    }
}

/// A container.
#[must_use]
pub fn container(container: &Container) -> v1::Container {
    let details = container.details();
    let description = &details.description;
    let (metadata, metadata_reason) = match &details.metadata {
        Metadata::Pending => (v1::Metadata::Pending, String::new()),
        Metadata::Complete => (v1::Metadata::Complete, String::new()),
        Metadata::Unavailable(reason) => (v1::Metadata::Unavailable, reason.clone()),
    };
    v1::Container {
        id: container.id.clone(),
        runtime: match container.runtime() {
            Runtime::Unknown => v1::Runtime::Unspecified,
            Runtime::Containerd => v1::Runtime::Containerd,
            Runtime::CriO => v1::Runtime::Crio,
            Runtime::Docker => v1::Runtime::Docker,
            Runtime::Podman => v1::Runtime::Podman,
            Runtime::Buildah => v1::Runtime::Buildah,
        }
        .into(),
        cgroup_path: container.cgroup_path.clone(),
        cgroup_id: container.cgroup_id,
        init_pid: details.init_pid,
        first_seen: Some(timestamp(container.first_seen)),
        ended: details.ended.map(timestamp),
        metadata: metadata.into(),
        metadata_reason,
        name: description.name.clone(),
        image: description.image.clone(),
        image_digest: description.image_digest.clone(),
        labels: description.labels.clone().into_iter().collect(),
        pod: description.pod.as_ref().map(|pod| v1::Pod {
            uid: pod.uid.clone(),
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            labels: pod.labels.clone().into_iter().collect(),
            workload: pod.workload.as_ref().map(|workload| v1::Workload {
                kind: workload.kind.clone(),
                name: workload.name.clone(),
            }),
            namespace_labels: pod
                .namespace_labels
                .known()
                .map(|labels| v1::NamespaceLabels {
                    labels: labels.clone().into_iter().collect(),
                }),
        }),
        cap_bounding: identity::capabilities(container.first_capabilities().0),
        user_namespace: container.first_capabilities().1,
        sandbox: description.sandbox,
        isolation: None,
    }
}

fn place(place: &Place) -> (v1::Location, Option<v1::Container>, String) {
    match place {
        Place::Container(found, path) => (
            v1::Location::Container,
            Some(container(found)),
            path.to_string(),
        ),
        Place::Host(path) => (v1::Location::Host, None, path.to_string()),
        Place::Unknown => (v1::Location::Unknown, None, String::new()),
    }
}

/// A severity.
#[must_use]
pub fn severity(severity: Severity) -> v1::Severity {
    match severity {
        Severity::Informational => v1::Severity::Informational,
        Severity::Low => v1::Severity::Low,
        Severity::Medium => v1::Severity::Medium,
        Severity::High => v1::Severity::High,
        Severity::Critical => v1::Severity::Critical,
    }
}

fn cgroup(cgroup: &Cgroup) -> v1::Cgroup {
    v1::Cgroup {
        id: cgroup.id,
        parent_id: cgroup.parent_id,
        path: cgroup.path.clone(),
    }
}

fn origin(origin: Option<Origin>) -> v1::ExecOrigin {
    match origin {
        None => v1::ExecOrigin::Unspecified,
        Some(Origin::Entrypoint) => v1::ExecOrigin::Entrypoint,
        Some(Origin::Descendant) => v1::ExecOrigin::Descendant,
        Some(Origin::Injected) => v1::ExecOrigin::Injected,
        Some(Origin::NamespaceEntry) => v1::ExecOrigin::NamespaceEntry,
        Some(Origin::Unknown) => v1::ExecOrigin::Unknown,
    }
}

fn stdio((number, found): (u32, &record::Descriptor)) -> v1::Descriptor {
    let kind = match found.kind {
        descriptor::CLOSED => v1::DescriptorKind::Closed,
        descriptor::TTY => v1::DescriptorKind::Tty,
        descriptor::PIPE => v1::DescriptorKind::Pipe,
        descriptor::SOCKET => v1::DescriptorKind::Socket,
        descriptor::INET_SOCKET => v1::DescriptorKind::InetSocket,
        descriptor::FILE => v1::DescriptorKind::File,
        descriptor::NULL => v1::DescriptorKind::Null,
        descriptor::DEVICE => v1::DescriptorKind::Device,
        _ => v1::DescriptorKind::Other,
    };
    v1::Descriptor {
        number,
        kind: kind.into(),
        inode: found.inode,
    }
}

/// What a container is now, as news for those who heard of it before.
#[must_use]
pub fn amended(found: &Arc<Container>) -> v1::Amended {
    v1::Amended {
        container: Some(container(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            node: "n".to_owned(),
            boot_id: "0123456789abcdef".to_owned(),
            store: "run".to_owned(),
        }
    }

    #[test]
    fn cursors_are_read_back_and_those_of_another_history_are_not() {
        let context = context();
        let cursor = context.cursor(EVENT_CURSOR, 42);
        assert_eq!(context.number(EVENT_CURSOR, &cursor), Some(42));
        assert_eq!(
            context.number(ALERT_CURSOR, &cursor),
            None,
            "of another stream"
        );
        for cursor in ["other-e42", "run", "run-", "run-42", "run-ex", ""] {
            assert_eq!(context.number(EVENT_CURSOR, cursor), None, "{cursor}");
        }
    }

    #[test]
    fn wait_statuses_are_taken_apart() {
        assert_eq!(exit(3 << 8).code, Some(3));
        assert_eq!(exit(9).signal, Some(9));
        assert_eq!(exit(0x80 | 11).signal, Some(11), "with a core dump");
    }
}
