//! From what the agent keeps to the messages of its API.

use std::{sync::Arc, time::SystemTime};

use prost_types::Timestamp;
use watchkeeper_ebpf::{
    loss::{Class, Reason},
    record::{self, descriptor, exec_flag, file_flag, flag},
};

use crate::{
    container::{
        membership::Origin,
        model::{Container, Metadata},
        registry::Place,
        shape::Runtime,
    },
    detect::alert::Alert,
    event::{Cgroup, Detail, Event, LossReason},
    policy::file::Severity,
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
    /// Names this run of the agent in cursors.
    pub run: String,
}

/// A moment as protobuf has it.
#[must_use]
pub fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

impl Context {
    /// The cursor of an element of the sequence with this mark.
    #[must_use]
    pub fn cursor(&self, sequence: char, number: u64) -> String {
        format!("{}-{sequence}{number}", self.run)
    }

    /// The number in a cursor of this run and sequence; `None` for one of another, or something else.
    #[must_use]
    pub fn number(&self, sequence: char, cursor: &str) -> Option<u64> {
        cursor
            .strip_prefix(self.run.as_str())?
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
            kind: kind(&event.detail).into(),
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
            detail: self.detail(&event.detail),
        }
    }

    fn detail(&self, detail: &Detail) -> Option<v1::event::Detail> {
        Some(match detail {
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
            Detail::Loss(loss) => v1::event::Detail::Loss(v1::Loss {
                cgroup_id: loss.cgroup_id,
                count: loss.count,
                class: match loss.class {
                    Class::Process => "process",
                    Class::Cgroup => "cgroup",
                }
                .to_owned(),
                reason: match loss.reason {
                    LossReason::Kernel(Reason::RingFull) => "ring full",
                    LossReason::Kernel(Reason::NoScratch) => "no scratch buffer",
                    LossReason::DetectionOverloaded => "detection overloaded",
                }
                .to_owned(),
            }),
        })
    }

    /// An alert.
    #[must_use]
    pub fn alert(&self, number: u64, alert: &Alert) -> v1::Alert {
        let tally = alert.tally();
        let rule = &alert.rule.rule;
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
            severity: severity(rule.severity).into(),
            message: alert.message.clone(),
            attack: rule
                .attack
                .iter()
                .map(|attack| v1::Attack {
                    tactic_id: attack.tactic_id.clone(),
                    tactic: attack.tactic.clone(),
                    technique_id: attack.technique_id.clone(),
                    technique: attack.technique.clone(),
                })
                .collect(),
            process: Some(self.process(&alert.process, alert.event.origin, parent_of(0))),
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
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            claimed: alert.claimed.iter().map(|&name| name.to_owned()).collect(),
            rung: "tracing".to_owned(),
            policy: alert.rule.policy.clone(),
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
            // A forked child has a number of its own there, which only its exec tells.
            pid_inside: if process.source == Source::Fork {
                0
            } else {
                program.namespaces.pid_inside
            },
            start_time: Some(timestamp(process.started)),
            exec_time: program.executed.map(timestamp),
            exe: program.exe.clone(),
            argv: program.argv.to_vec(),
            argv_truncated: program.flags & exec_flag::ARGV_TRUNCATED != 0,
            cwd: program.cwd.clone(),
            filename: program.filename.clone(),
            script: program.flags & exec_flag::SCRIPT != 0,
            credentials: Some(credentials(&program.credentials)),
            namespaces: Some(namespaces(&program.namespaces, program.host_namespaces)),
            file: Some(file(&program.file)),
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
            parent_exec_id: parent
                .map(|parent| self.exec_id(parent))
                .unwrap_or_default(),
        }
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
        }),
        sandbox: description.sandbox,
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

/// The kind of an event.
#[must_use]
pub fn kind(detail: &Detail) -> v1::EventKind {
    match detail {
        Detail::Fork { .. } => v1::EventKind::Fork,
        Detail::Exec => v1::EventKind::Exec,
        Detail::Exit { .. } => v1::EventKind::Exit,
        Detail::CgroupCreated(_) => v1::EventKind::CgroupCreated,
        Detail::CgroupRemoved(_) => v1::EventKind::CgroupRemoved,
        Detail::CgroupAttach { .. } => v1::EventKind::CgroupAttach,
        Detail::Loss(_) => v1::EventKind::Loss,
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

/// A wait status: the signal in the low seven bits, else the exit code in the next byte (wait(2)).
fn exit(status: u32) -> v1::Exit {
    match status & 0x7f {
        0 => v1::Exit {
            code: Some((status >> 8) & 0xff),
            signal: None,
        },
        signal => v1::Exit {
            code: None,
            signal: Some(signal),
        },
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

fn credentials(credentials: &record::Credentials) -> v1::Credentials {
    let set = |id: u32| (id != u32::MAX).then_some(id);
    v1::Credentials {
        uid: credentials.uid,
        gid: credentials.gid,
        euid: credentials.euid,
        egid: credentials.egid,
        login_uid: set(credentials.loginuid),
        audit_session: set(credentials.sessionid),
        cap_effective: capabilities(credentials.cap_effective),
        cap_permitted: capabilities(credentials.cap_permitted),
        cap_inheritable: capabilities(credentials.cap_inheritable),
        cap_bounding: capabilities(credentials.cap_bounding),
        cap_ambient: capabilities(credentials.cap_ambient),
    }
}

/// Every capability that has a name: the full set since kernel 5.9.
const ALL_CAPABILITIES: u64 = (1 << CAPABILITIES.len()) - 1;

/// Names of capabilities by number (include/uapi/linux/capability.h).
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

fn capabilities(set: u64) -> Vec<String> {
    if set & ALL_CAPABILITIES == ALL_CAPABILITIES {
        return vec!["ALL".to_owned()];
    }
    (0..64)
        .filter(|number| set & (1 << number) != 0)
        .map(|number| {
            CAPABILITIES
                .get(number)
                .map_or_else(|| format!("CAP_{number}"), |&name| name.to_owned())
        })
        .collect()
}

fn namespaces(namespaces: &record::Namespaces, host: u32) -> v1::Namespaces {
    v1::Namespaces {
        mnt: namespaces.mnt,
        pid: namespaces.pid,
        net: namespaces.net,
        uts: namespaces.uts,
        ipc: namespaces.ipc,
        cgroup: namespaces.cgroup,
        user: namespaces.user,
        host: [
            (flag::HOST_MNT_NS, "mnt"),
            (flag::HOST_PID_NS, "pid"),
            (flag::HOST_NET_NS, "net"),
        ]
        .into_iter()
        .filter(|(bit, _)| host & bit != 0)
        .map(|(_, name)| name.to_owned())
        .collect(),
    }
}

fn file(file: &record::File) -> v1::File {
    let has = |bit: u32| file.flags & bit != 0;
    let layer = if has(file_flag::MEMFD) {
        v1::Layer::Memfd
    } else if has(file_flag::TMPFS) {
        v1::Layer::Tmpfs
    } else if has(file_flag::UPPER_LAYER) {
        v1::Layer::Upper
    } else if has(file_flag::UPPER_LAYER_UNKNOWN) {
        v1::Layer::OverlayUnknown
    } else if has(file_flag::OVERLAY) {
        v1::Layer::Image
    } else {
        v1::Layer::Unspecified
    };
    v1::File {
        inode: file.inode,
        device: format!("{}:{}", file.device >> 20, file.device & 0xf_ffff),
        links: file.links,
        mode: format!("{:o}", file.mode),
        uid: file.uid,
        size: file.size,
        change_time: Some(Timestamp {
            seconds: file.ctime_s.try_into().unwrap_or(i64::MAX),
            nanos: file.ctime_ns.try_into().unwrap_or(0),
        }),
        layer: layer.into(),
    }
}

fn stdio((number, found): (u32, &record::Descriptor)) -> v1::Descriptor {
    let kind = match found.kind {
        descriptor::CLOSED => v1::DescriptorKind::Closed,
        descriptor::TTY => v1::DescriptorKind::Tty,
        descriptor::PIPE => v1::DescriptorKind::Pipe,
        descriptor::SOCKET => v1::DescriptorKind::Socket,
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
            run: "run".to_owned(),
        }
    }

    #[test]
    fn cursors_are_read_back_and_those_of_another_run_are_not() {
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

    #[test]
    fn capabilities_are_named() {
        assert_eq!(capabilities(1 << 21 | 1), ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
        assert_eq!(capabilities(1 << 60), ["CAP_60"]);
        assert_eq!(capabilities(ALL_CAPABILITIES), ["ALL"]);
        assert_eq!(capabilities(ALL_CAPABILITIES & !1).len(), 40);
        assert_eq!(CAPABILITIES[39], "CAP_BPF");
    }
}
