//! An event: a record of the kernel side, put into its place among processes and containers.

use std::{sync::Arc, time::SystemTime};

use watchkeeper_ebpf::{loss, record::flag};

use crate::{
    container::{
        membership::{Membership, Origin},
        model::Container,
        registry::Place,
    },
    process::execution::{Process, ProcessKey},
    proto::v1::{self, EventKind},
};

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it happened.
    pub time: SystemTime,
    /// Who did it; `None` for losses, and where nothing is known of the process.
    pub process: Option<Arc<Process>>,
    /// How the process came into its container.
    pub origin: Option<Origin>,
    /// Who put it there, of one that was put into its container from outside.
    pub injected_by: Option<Arc<Process>>,
    /// The process's ancestors, its parent first.
    pub ancestors: Vec<Ancestor>,
    /// Where it happened.
    pub place: Place,
    /// The other process that it was done to.
    pub target: Option<Target>,
    /// What happened.
    pub detail: Detail,
}

/// A process that something is done to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Which.
    pub key: ProcessKey,
    /// The same, where it is known.
    pub process: Option<Arc<Process>>,
    /// Where it runs.
    pub place: Place,
}

impl Target {
    /// The container it runs in.
    #[must_use]
    pub fn container(&self) -> Option<&Container> {
        match &self.place {
            Place::Container(container, _) => Some(container),
            Place::Host(_) | Place::Unknown => None,
        }
    }
}

/// An ancestor of a process.
#[derive(Clone, Debug)]
pub struct Ancestor {
    /// The process.
    pub process: Arc<Process>,
    /// The container it is in, and how it came there.
    pub membership: Option<Membership>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Detail {
    /// A process was created.
    Fork {
        /// The child.
        child: ProcessKey,
        /// When it started.
        started: SystemTime,
    },
    /// The process runs a new program.
    Exec,
    /// The process ended, with this wait status.
    Exit {
        /// As waitpid(2) gives it.
        status: u32,
    },
    /// A cgroup was created.
    CgroupCreated(Cgroup),
    /// A cgroup was removed.
    CgroupRemoved(Cgroup),
    /// A process was moved to another cgroup.
    CgroupAttach {
        /// Which.
        moved: ProcessKey,
        /// What it runs.
        process: Option<Arc<Process>>,
        /// Where it is now.
        cgroup_id: u64,
        /// The same, as path.
        path: Option<Arc<str>>,
    },
    /// Records were lost.
    Loss(Loss),
    /// Anything else: its facts need no other process or container, and are kept in the form in which they are served.
    Message(EventKind, Box<v1::event::Detail>),
}

impl Detail {
    /// What kind of event it is.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Fork { .. } => EventKind::Fork,
            Self::Exec => EventKind::Exec,
            Self::Exit { .. } => EventKind::Exit,
            Self::CgroupCreated(_) => EventKind::CgroupCreated,
            Self::CgroupRemoved(_) => EventKind::CgroupRemoved,
            Self::CgroupAttach { .. } => EventKind::CgroupAttach,
            Self::Loss(_) => EventKind::Loss,
            Self::Message(kind, _) => *kind,
        }
    }

    /// The number of the heartbeat that it is, if it is one.
    #[must_use]
    pub fn heartbeat(&self) -> Option<u64> {
        match self {
            Self::Message(EventKind::Heartbeat, detail) => match &**detail {
                v1::event::Detail::Heartbeat(heartbeat) => Some(heartbeat.number),
                _ => None,
            },
            _ => None,
        }
    }

    /// What the file is watched for that it is about, if it is about one.
    #[must_use]
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Message(_, detail) => match &**detail {
                v1::event::Detail::FileOpen(open) => &open.reasons,
                v1::event::Detail::FileChange(change) => &change.reasons,
                _ => &[],
            },
            _ => &[],
        }
    }
}

/// A cgroup that was created or removed.
#[derive(Clone, Debug)]
pub struct Cgroup {
    /// Its id.
    pub id: u64,
    /// That of the one above.
    pub parent_id: u64,
    /// Its path.
    pub path: String,
}

/// Records that did not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Cgroup whose processes the records were about; 0 when that is not known.
    pub cgroup_id: u64,
    /// What kind of records.
    pub class: loss::Class,
    /// Why.
    pub reason: LossReason,
    /// How many.
    pub count: u64,
}

/// Why records did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossReason {
    /// In the kernel.
    Kernel(loss::Reason),
    /// The detection stage did not keep up.
    DetectionOverloaded,
}

/// Name of a lane.
#[must_use]
pub fn lane_name(lane: loss::Lane) -> &'static str {
    match lane {
        loss::Lane::None => "none",
        loss::Lane::Telemetry => "telemetry",
        loss::Lane::Critical => "critical",
    }
}

/// Name of a class of events.
#[must_use]
pub fn class_name(class: loss::Class) -> &'static str {
    match class {
        loss::Class::Process => "process",
        loss::Class::Cgroup => "cgroup",
        loss::Class::Network => "network",
        loss::Class::Dns => "dns",
        loss::Class::File => "file",
        loss::Class::Namespace => "namespace",
        loss::Class::Credential => "credential",
        loss::Class::Tampering => "tampering",
        loss::Class::Kernel => "kernel",
    }
}

impl LossReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Kernel(loss::Reason::RingFull),
        Self::Kernel(loss::Reason::NoScratch),
        Self::Kernel(loss::Reason::OverBudget),
        Self::Kernel(loss::Reason::TableFull),
        Self::DetectionOverloaded,
    ];

    /// The same in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel(loss::Reason::RingFull) => "ring full",
            Self::Kernel(loss::Reason::NoScratch) => "no scratch buffer",
            Self::Kernel(loss::Reason::OverBudget) => "over budget",
            Self::Kernel(loss::Reason::TableFull) => "table full",
            Self::DetectionOverloaded => "detection overloaded",
        }
    }
}

impl Event {
    /// The container it happened in.
    #[must_use]
    pub fn container(&self) -> Option<&Arc<Container>> {
        match &self.place {
            Place::Container(container, _) => Some(container),
            Place::Host(_) | Place::Unknown => None,
        }
    }

    /// Whether it is the runtime that acts in the container's cgroup, and not yet the container: neither the process nor one
    /// it descends from in there has run a program in another mount namespace than the host's, or than that of whoever put it
    /// there (buildah runs its runtime in one of its own).
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        let (Some(container), Some(process)) = (self.container(), &self.process) else {
            return false;
        };
        let is_outside = |ancestor: &Ancestor| {
            ancestor
                .membership
                .as_ref()
                .is_none_or(|found| found.container.slot != container.slot)
        };
        let count = self.ancestors.iter().position(is_outside);
        let (within, beyond) = self
            .ancestors
            .split_at(count.unwrap_or(self.ancestors.len()));
        let outside = beyond
            .first()
            .map(|ancestor| ancestor.process.program.namespaces.mnt);
        std::iter::once(process)
            .chain(within.iter().map(|ancestor| &ancestor.process))
            .all(|process| {
                let program = &process.program;
                let mnt = program.namespaces.mnt;
                program.host_namespaces & flag::HOST_MNT_NS != 0
                    || (mnt != 0 && Some(mnt) == outside)
            })
    }

    /// Whether it was only tried: the call failed, or the connection did not come about.
    #[must_use]
    pub fn failed(&self) -> bool {
        let Detail::Message(_, detail) = &self.detail else {
            return false;
        };
        let call = match &**detail {
            v1::event::Detail::FileChange(found) => &found.call,
            v1::event::Detail::Mount(found) => &found.call,
            v1::event::Detail::NamespaceChange(found) => &found.call,
            v1::event::Detail::CredentialChange(found) => &found.call,
            v1::event::Detail::ProcessAccess(found) => &found.call,
            v1::event::Detail::ProcessControl(found) => &found.call,
            v1::event::Detail::KernelCall(found) => &found.call,
            v1::event::Detail::KernelModule(found) => &found.call,
            v1::event::Detail::Connection(found) => {
                return found.outcome() == v1::Outcome::Failed;
            }
            v1::event::Detail::SelinuxDenial(found) => return found.enforced,
            _ => return false,
        };
        call.as_ref().is_some_and(|call| !call.error.is_empty())
    }

    /// About how many bytes it takes beside what it shares with other events.
    #[must_use]
    pub fn size(&self) -> usize {
        let own = size_of::<Self>() + self.ancestors.len() * size_of::<Ancestor>();
        match (&self.detail, &self.process) {
            (Detail::Exec, Some(process)) => own + process.program.size(),
            (Detail::CgroupCreated(cgroup) | Detail::CgroupRemoved(cgroup), _) => {
                own + cgroup.path.len()
            }
            (Detail::Message(_, detail), _) => {
                own + size_of::<v1::event::Detail>() + 2 * detail.encoded_len()
            }
            _ => own,
        }
    }
}
