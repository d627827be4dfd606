//! Events from the messages of the API: those of cases, and those that were exported.

use std::{
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use anyhow::{Context as _, bail};
use prost_types::Timestamp;
use watchkeeper_ebpf::record::{
    Credentials, Descriptor, File, Namespaces, descriptor, exec_flag, file_flag, flag,
};

use crate::{
    container::{
        membership::Origin,
        model::{
            Container, Description, Details, First, Known, Metadata, NamespaceLabels, Pod, Workload,
        },
        registry::Place,
        shape::Runtime,
    },
    event::{Ancestor, Cgroup, Detail, Event, Loss, LossReason, Target, class_name},
    interpret::{exit, identity},
    process::execution::{Arguments, Execution, Process, ProcessKey, Recognised, Shell, Source},
    proto::v1,
};

/// An event.
///
/// # Errors
/// When its kind and its detail do not fit together.
pub fn event(message: &v1::Event) -> anyhow::Result<Event> {
    let place = place(message);
    let process = message.process.as_ref().map(process);
    Ok(Event {
        time: moment(message.time.as_ref()),
        origin: message
            .process
            .as_ref()
            .and_then(|process| origin(process.origin())),
        process,
        injected_by: None,
        ancestors: message.ancestors.iter().map(ancestor).collect(),
        target: target(message, &place),
        place,
        detail: detail(message)?,
    })
}

fn moment(time: Option<&Timestamp>) -> SystemTime {
    time.and_then(|time| SystemTime::try_from(*time).ok())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

fn detail(message: &v1::Event) -> anyhow::Result<Detail> {
    use v1::event::Detail as Told;
    let kind = message.kind();
    let told = message.detail.as_ref();
    let cgroup = |cgroup: &v1::Cgroup| Cgroup {
        id: cgroup.id,
        parent_id: cgroup.parent_id,
        path: cgroup.path.clone(),
    };
    Ok(match (kind, told) {
        (v1::EventKind::Unspecified, _) => bail!("the event has no kind"),
        (v1::EventKind::Exec, None) => Detail::Exec,
        (v1::EventKind::Fork, Some(Told::Fork(fork))) => Detail::Fork {
            child: key(fork.child_pid),
            started: moment(fork.child_start_time.as_ref()),
        },
        (v1::EventKind::Exit, Some(Told::Exit(exit))) => Detail::Exit {
            status: exit::status(exit),
        },
        (v1::EventKind::CgroupCreated, Some(Told::Cgroup(found))) => {
            Detail::CgroupCreated(cgroup(found))
        }
        (v1::EventKind::CgroupRemoved, Some(Told::Cgroup(found))) => {
            Detail::CgroupRemoved(cgroup(found))
        }
        (v1::EventKind::CgroupAttach, Some(Told::CgroupAttach(attach))) => Detail::CgroupAttach {
            moved: key(attach.pid),
            process: None,
            cgroup_id: attach.cgroup_id,
            path: (!attach.path.is_empty()).then(|| attach.path.as_str().into()),
        },
        (v1::EventKind::Loss, Some(Told::Loss(loss))) => Detail::Loss(Loss {
            cgroup_id: loss.cgroup_id,
            class: watchkeeper_ebpf::loss::Class::ALL
                .into_iter()
                .find(|class| class_name(*class) == loss.class)
                .with_context(|| format!("there is no class `{}` of losses", loss.class))?,
            reason: LossReason::ALL
                .into_iter()
                .find(|reason| reason.name() == loss.reason)
                .with_context(|| format!("there is no reason `{}` of losses", loss.reason))?,
            count: loss.count,
        }),
        (kind, Some(told)) if fits(kind, told) => Detail::Message(kind, Box::new(told.clone())),
        (kind, Some(_)) => bail!(
            "an event {} has another detail",
            crate::proto::kind_name(kind)
        ),
        (kind, None) => bail!("an event {} has a detail", crate::proto::kind_name(kind)),
    })
}

/// Whether an event of this kind has this detail.
fn fits(kind: v1::EventKind, told: &v1::event::Detail) -> bool {
    use v1::{EventKind as Kind, event::Detail as Told};
    matches!(
        (kind, told),
        (
            Kind::Connect | Kind::Accept | Kind::Close,
            Told::Connection(_)
        ) | (Kind::Listen | Kind::Bind | Kind::Socket, Told::Socket(_))
            | (Kind::Dns, Told::Dns(_))
            | (Kind::Payload, Told::Payload(_))
            | (Kind::FileOpen, Told::FileOpen(_))
            | (Kind::FileChange, Told::FileChange(_))
            | (Kind::Mount, Told::Mount(_))
            | (Kind::NamespaceChange, Told::NamespaceChange(_))
            | (Kind::CredentialChange, Told::CredentialChange(_))
            | (Kind::ProcessAccess, Told::ProcessAccess(_))
            | (Kind::Signal, Told::Signal(_))
            | (Kind::ProcessControl, Told::ProcessControl(_))
            | (Kind::KernelCall, Told::KernelCall(_))
            | (Kind::KernelModule, Told::KernelModule(_))
            | (Kind::IoUringOperation, Told::IoUringOperation(_))
            | (Kind::LoaderVariable, Told::LoaderVariable(_))
            | (Kind::SelinuxDenial, Told::SelinuxDenial(_))
            | (Kind::CpuUsage, Told::CpuUsage(_))
            | (Kind::FloatRounding, Told::FloatRounding(_))
            | (Kind::Heartbeat, Told::Heartbeat(_))
    )
}

fn key(pid: u32) -> ProcessKey {
    ProcessKey {
        pid,
        start_ticks: 0,
    }
}

fn place(message: &v1::Event) -> Place {
    let path: Arc<str> = message.cgroup_path.as_str().into();
    match (&message.container, message.location()) {
        (Some(found), _) => Place::Container(Arc::new(container(found)), path),
        (None, v1::Location::Host) => Place::Host(path),
        (None, _) => Place::Unknown,
    }
}

fn container(message: &v1::Container) -> Container {
    let container = Container::restore(Known {
        id: message.id.clone(),
        cgroup_path: message.cgroup_path.clone(),
        cgroup_id: message.cgroup_id,
        first_seen: moment(message.first_seen.as_ref()),
        details: Details {
            metadata: match message.metadata() {
                v1::Metadata::Pending => Metadata::Pending,
                v1::Metadata::Unavailable => Metadata::Unavailable(message.metadata_reason.clone()),
                v1::Metadata::Complete | v1::Metadata::Unspecified => Metadata::Complete,
            },
            description: Description {
                runtime: match message.runtime() {
                    v1::Runtime::Unspecified => None,
                    v1::Runtime::Containerd => Some(Runtime::Containerd),
                    v1::Runtime::Crio => Some(Runtime::CriO),
                    v1::Runtime::Docker => Some(Runtime::Docker),
                    v1::Runtime::Podman => Some(Runtime::Podman),
                    v1::Runtime::Buildah => Some(Runtime::Buildah),
                },
                name: message.name.clone(),
                image: message.image.clone(),
                image_digest: message.image_digest.clone(),
                labels: message.labels.clone().into_iter().collect(),
                pod: message.pod.as_ref().map(|pod| Pod {
                    uid: pod.uid.clone(),
                    name: pod.name.clone(),
                    namespace: pod.namespace.clone(),
                    labels: pod.labels.clone().into_iter().collect(),
                    workload: pod.workload.as_ref().map(|workload| Workload {
                        kind: workload.kind.clone(),
                        name: workload.name.clone(),
                    }),
                    namespace_labels: match &pod.namespace_labels {
                        Some(known) => {
                            NamespaceLabels::Known(known.labels.clone().into_iter().collect())
                        }
                        None => NamespaceLabels::Unknown,
                    },
                }),
                sandbox: message.sandbox,
            },
            init_pid: message.init_pid,
            ended: message.ended.as_ref().map(|time| moment(Some(time))),
        },
    });
    container.begins(First {
        root_device: 0,
        bounding: identity::capability_bits(&message.cap_bounding),
        user_ns: message.user_namespace,
    });
    container
}

fn origin(origin: v1::ExecOrigin) -> Option<Origin> {
    match origin {
        v1::ExecOrigin::Unspecified => None,
        v1::ExecOrigin::Entrypoint => Some(Origin::Entrypoint),
        v1::ExecOrigin::Descendant => Some(Origin::Descendant),
        v1::ExecOrigin::Injected => Some(Origin::Injected),
        v1::ExecOrigin::NamespaceEntry => Some(Origin::NamespaceEntry),
        v1::ExecOrigin::Unknown => Some(Origin::Unknown),
    }
}

fn ancestor(message: &v1::Ancestor) -> Ancestor {
    Ancestor {
        process: process(&v1::Process {
            pid: message.pid,
            exe: message.exe.clone(),
            ..v1::Process::default()
        }),
        membership: None,
    }
}

/// The process that something is done to, which messages refer to.
fn target(message: &v1::Event, own: &Place) -> Option<Target> {
    let reference = match message.detail.as_ref()? {
        v1::event::Detail::FileOpen(open) => open.target.as_ref(),
        v1::event::Detail::ProcessAccess(access) => access.target.as_ref(),
        v1::event::Detail::Signal(signal) => signal.target.as_ref(),
        _ => None,
    }?;
    let same = match own {
        Place::Container(container, _) if container.id == reference.container_id => Some(own),
        _ => None,
    };
    let place = match (reference.location(), same) {
        (_, Some(own)) => own.clone(),
        (v1::Location::Container, None) => Place::Container(
            Arc::new(container(&v1::Container {
                id: reference.container_id.clone(),
                ..v1::Container::default()
            })),
            Arc::from(""),
        ),
        (v1::Location::Host, None) => Place::Host(Arc::from("")),
        (v1::Location::Unspecified | v1::Location::Unknown, None) => Place::Unknown,
    };
    Some(Target {
        key: key(reference.pid),
        process: Some(process(&v1::Process {
            pid: reference.pid,
            exe: reference.exe.clone(),
            ..v1::Process::default()
        })),
        place,
    })
}

fn process(message: &v1::Process) -> Arc<Process> {
    let credentials = message.credentials.clone().unwrap_or_default();
    let namespaces = message.namespaces.clone().unwrap_or_default();
    let mut flags = 0;
    for (is, bit) in [
        (message.script, exec_flag::SCRIPT),
        (message.argv_truncated, exec_flag::ARGV_TRUNCATED),
        (message.no_new_privileges, exec_flag::NO_NEW_PRIVILEGES),
        (message.cwd_detached, exec_flag::CWD_DETACHED),
        (message.kernel_started, exec_flag::KERNEL_STARTED),
    ] {
        if is {
            flags |= bit;
        }
    }
    let host = [
        ("mnt", flag::HOST_MNT_NS),
        ("pid", flag::HOST_PID_NS),
        ("net", flag::HOST_NET_NS),
    ];
    let recognised = OnceLock::new();
    if !message.shell.is_empty() {
        // It was just made.
        let _ = recognised.set(Recognised::Shell(Shell {
            family: message.shell.clone(),
            recognised_by: "record".to_owned(),
            claimed: false,
        }));
    } else if !message.miner.is_empty() {
        let _ = recognised.set(Recognised::Miner(message.miner.clone()));
    }
    let mut stdio = [Descriptor::default(); 3];
    for told in &message.stdio {
        if let Some(descriptor) = stdio.get_mut(told.number as usize) {
            descriptor.kind = descriptor_kind(told.kind());
            descriptor.inode = told.inode;
        }
    }
    Arc::new(Process {
        key: key(message.pid),
        parent: (message.parent_pid != 0).then(|| key(message.parent_pid)),
        started: moment(message.start_time.as_ref()),
        inside: (message.pid_inside != 0).then_some((namespaces.pid, message.pid_inside)),
        source: match message.source() {
            v1::Source::Procfs => Source::Procfs,
            v1::Source::Fork => Source::Fork,
            v1::Source::Kernel | v1::Source::Unspecified => Source::Kernel,
        },
        program: Arc::new(Execution {
            exec_ns: 0,
            executed: message.exec_time.as_ref().map(|time| moment(Some(time))),
            exe: message.exe.clone(),
            argv: Arguments::new(message.argv.join("\0").as_bytes()),
            redacted: message.argv_redactions,
            cwd: message.cwd.clone(),
            filename: message.filename.clone(),
            flags,
            credentials: Credentials {
                uid: credentials.uid,
                gid: credentials.gid,
                euid: credentials.euid,
                egid: credentials.egid,
                cap_effective: identity::capability_bits(&credentials.cap_effective),
                cap_permitted: identity::capability_bits(&credentials.cap_permitted),
                cap_inheritable: identity::capability_bits(&credentials.cap_inheritable),
                cap_bounding: identity::capability_bits(&credentials.cap_bounding),
                cap_ambient: identity::capability_bits(&credentials.cap_ambient),
                loginuid: credentials.login_uid.unwrap_or(u32::MAX),
                sessionid: credentials.audit_session.unwrap_or(u32::MAX),
            },
            namespaces: Namespaces {
                mnt: namespaces.mnt,
                pid: namespaces.pid,
                net: namespaces.net,
                uts: namespaces.uts,
                ipc: namespaces.ipc,
                cgroup: namespaces.cgroup,
                user: namespaces.user,
                ..Namespaces::default()
            },
            host_namespaces: host
                .iter()
                .filter(|(name, _)| namespaces.host.iter().any(|host| host == name))
                .fold(0, |bits, (_, bit)| bits | bit),
            file: message.file.as_ref().map(file).unwrap_or_default(),
            seccomp: message.seccomp,
            stdio,
            tty: message.tty.clone(),
            recognised,
        }),
    })
}

fn file(message: &v1::File) -> File {
    let (major, minor) = message.device.split_once(':').unwrap_or(("0", "0"));
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    File {
        // What is known of a file has an inode.
        inode: message.inode.max(1),
        device: number(major) << 20 | number(minor) & 0xf_ffff,
        // Left out is not unlinked, except for what is in memory only.
        links: match (message.links, message.layer()) {
            (0, v1::Layer::Memfd) => 0,
            (0, _) if !message.unlinked => 1,
            (links, _) => links,
        },
        mode: u32::from_str_radix(&message.mode, 8).unwrap_or(0),
        uid: message.uid,
        size: message.size,
        ctime_s: message
            .change_time
            .as_ref()
            .map_or(0, |time| u64::try_from(time.seconds).unwrap_or(0)),
        flags: match message.layer() {
            v1::Layer::Unspecified => 0,
            v1::Layer::Image => file_flag::OVERLAY,
            v1::Layer::Upper => file_flag::OVERLAY | file_flag::UPPER_LAYER,
            v1::Layer::OverlayUnknown => file_flag::OVERLAY | file_flag::UPPER_LAYER_UNKNOWN,
            v1::Layer::Tmpfs => file_flag::TMPFS,
            v1::Layer::Memfd => file_flag::MEMFD,
        },
        ..File::default()
    }
}

fn descriptor_kind(kind: v1::DescriptorKind) -> u32 {
    match kind {
        v1::DescriptorKind::Unspecified | v1::DescriptorKind::Other => descriptor::OTHER,
        v1::DescriptorKind::Closed => descriptor::CLOSED,
        v1::DescriptorKind::Tty => descriptor::TTY,
        v1::DescriptorKind::Pipe => descriptor::PIPE,
        v1::DescriptorKind::Socket => descriptor::SOCKET,
        v1::DescriptorKind::InetSocket => descriptor::INET_SOCKET,
        v1::DescriptorKind::File => descriptor::FILE,
        v1::DescriptorKind::Null => descriptor::NULL,
        v1::DescriptorKind::Device => descriptor::DEVICE,
    }
}
