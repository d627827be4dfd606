//! Records of the sensors beside those of processes and cgroups: each becomes an event of the process that did it.

use std::sync::Arc;

use watchkeeper_ebpf::{
    decode::{CallRecord, DenialRecord, ExecRecord, OpenRecord},
    record::{self, Credentials, Header, Identity, ProcessId, flag},
};

use super::Engine;
use crate::{
    event::{Detail, Target},
    interpret::{call, constants, file, identity, loader, selinux},
    kernel::paths,
    process::execution::ProcessKey,
    proto::v1::{self, EventKind},
};

/// What changes namespaces at the creation of a process.
const CLONE: &str = "clone";

impl Engine {
    /// A system call of the table.
    pub(super) fn call(&mut self, header: &Header, record: &CallRecord<'_>) {
        let Some((kind, detail)) = call::meaning(record, header.flags, &self.watch) else {
            return;
        };
        let body = &record.body;
        let target = match &detail {
            v1::event::Detail::ProcessAccess(access) => self.accessed(header, body, access),
            _ => None,
        };
        self.emit_message(header, kind, detail, target);
    }

    /// The process that was reached into: from the kernel where it is told, else by the id that was given, in the
    /// caller's pid namespace.
    fn accessed(
        &mut self,
        header: &Header,
        body: &record::Call,
        access: &v1::ProcessAccess,
    ) -> Option<Target> {
        if body.target.pid != 0 {
            return Some(self.target(body.target, body.target_cgroup_id));
        }
        if access.claimed_pid == 0 {
            return None;
        }
        let namespace = body.after.namespaces.pid;
        let is_host = header.flags & flag::HOST_PID_NS != 0;
        let found = self
            .processes
            .iter()
            .filter(|entry| {
                if is_host {
                    entry.process.key.pid == access.claimed_pid
                } else {
                    entry.process.inside == Some((namespace, access.claimed_pid))
                }
            })
            // Ids come again.
            .max_by_key(|entry| entry.process.key.start_ticks)?;
        let process = Arc::clone(&found.process);
        let place = found.attachment.as_ref().map_or(
            crate::container::registry::Place::Unknown,
            |membership| {
                let container = Arc::clone(&membership.container);
                let path = container.cgroup_path.as_str().into();
                crate::container::registry::Place::Container(container, path)
            },
        );
        Some(Target {
            key: process.key,
            process: Some(process),
            place,
        })
    }

    /// A process that the kernel side told of.
    fn target(&mut self, id: ProcessId, cgroup_id: u64) -> Target {
        let key = ProcessKey::from(id);
        Target {
            key,
            process: self.process_at(key),
            place: self.place(cgroup_id, 0),
        }
    }

    /// A file that was opened.
    pub(super) fn open(&mut self, header: &Header, record: &OpenRecord<'_>) {
        let Some(opened) = file::opened(record, &self.watch) else {
            return;
        };
        let body = &record.body;
        let target =
            (body.target.pid != 0).then(|| self.target(body.target, body.target_cgroup_id));
        self.emit_message(
            header,
            EventKind::FileOpen,
            v1::event::Detail::FileOpen(opened),
            target,
        );
    }

    /// Credentials that changed without a system call.
    pub(super) fn credential_jump(&mut self, header: &Header, jump: &record::CredentialJump) {
        let [uid, gid, _, _, euid, egid, ..] = jump.before_ids;
        let before = Credentials {
            uid,
            gid,
            euid,
            egid,
            cap_effective: jump.before_effective,
            cap_permitted: jump.before_permitted,
            loginuid: jump.before_loginuid,
            ..jump.after
        };
        // The user who logged in is written to procfs.
        let is_login = jump.before_ids == jump.after_ids
            && before.cap_effective == jump.after.cap_effective
            && before.cap_permitted == jump.after.cap_permitted;
        let change = v1::CredentialChange {
            call: is_login.then(|| v1::Call {
                name: "loginuid".to_owned(),
                ..v1::Call::default()
            }),
            unexplained: !is_login,
            before: Some(identity::credentials(&before)),
            after: Some(identity::credentials(&jump.after)),
        };
        self.emit_message(
            header,
            EventKind::CredentialChange,
            v1::event::Detail::CredentialChange(change),
            None,
        );
    }

    /// A signal to the outside.
    pub(super) fn signal(&mut self, header: &Header, signal: &record::Signal) {
        let target = self.target(signal.target, signal.target_cgroup_id);
        let sent = v1::Signal {
            number: signal.number,
            target: None,
        };
        self.emit_message(
            header,
            EventKind::Signal,
            v1::event::Detail::Signal(sent),
            Some(target),
        );
    }

    /// The first use of an operation of `io_uring`.
    pub(super) fn uring(&mut self, header: &Header, used: &record::IoUring) {
        let name = usize::try_from(used.opcode)
            .ok()
            .and_then(|opcode| constants::URING.get(opcode));
        let operation = v1::IoUringOperation {
            opcode: used.opcode,
            name: name.map_or_else(String::new, |name| format!("IORING_OP_{name}")),
        };
        self.emit_message(
            header,
            EventKind::IoUringOperation,
            v1::event::Detail::IoUringOperation(operation),
            None,
        );
    }

    /// A kernel module that was loaded or unloaded.
    pub(super) fn module(&mut self, header: &Header, module: &record::Module, name: &[u8]) {
        let module = v1::KernelModule {
            unloaded: module.unloaded != 0,
            name: paths::text(name),
            path: String::new(),
            call: None,
        };
        self.emit_message(
            header,
            EventKind::KernelModule,
            v1::event::Detail::KernelModule(module),
            None,
        );
    }

    /// A denial of SELinux.
    pub(super) fn denial(&mut self, header: &Header, record: &DenialRecord<'_>) {
        let class = paths::text(record.class);
        let denial = v1::SelinuxDenial {
            source_context: paths::text(record.source),
            target_context: paths::text(record.target),
            permissions: selinux::permissions(&class, record.body.denied),
            target_class: class,
            requested: record.body.requested,
            denied: record.body.denied,
            enforced: record.body.enforced != 0,
        };
        self.emit_message(
            header,
            EventKind::SelinuxDenial,
            v1::event::Detail::SelinuxDenial(denial),
            None,
        );
    }

    /// Rounding modes of a process.
    pub(super) fn rounding(&mut self, header: &Header, rounding: &record::Rounding) {
        let rounding = v1::FloatRounding {
            down: rounding.down,
            up: rounding.up,
            toward_zero: rounding.toward_zero,
        };
        self.emit_message(
            header,
            EventKind::FloatRounding,
            v1::event::Detail::FloatRounding(rounding),
            None,
        );
    }

    /// What an exec changes beside the program: credentials, and code that the dynamic loader runs first.
    pub(super) fn beside_exec(&mut self, header: &Header, record: &ExecRecord<'_>) {
        let body = &record.body;
        let after = &body.credentials;
        let [uid, gid, euid, egid] = body.before_ids;
        let raised = body.before_known != 0
            && ((euid, egid) != (after.euid, after.egid)
                || after.cap_permitted & !body.before_permitted != 0);
        if raised {
            let mut known = *after;
            (known.uid, known.gid, known.euid, known.egid) = (uid, gid, euid, egid);
            known.cap_effective = body.before_effective;
            known.cap_permitted = body.before_permitted;
            let change = v1::CredentialChange {
                call: Some(v1::Call {
                    name: "exec".to_owned(),
                    ..v1::Call::default()
                }),
                unexplained: false,
                before: Some(identity::credentials(&known)),
                after: Some(identity::credentials(after)),
            };
            self.emit_message(
                header,
                EventKind::CredentialChange,
                v1::event::Detail::CredentialChange(change),
                None,
            );
        }
        for variable in loader::variables(record.loader) {
            self.emit_message(
                header,
                EventKind::LoaderVariable,
                v1::event::Detail::LoaderVariable(variable),
                None,
            );
        }
    }

    /// A child that begins in other namespaces than its creator.
    pub(super) fn beside_fork(&mut self, header: &Header, fork: &record::Fork) {
        if fork.new_namespaces == 0 {
            return;
        }
        let state = |namespaces| Identity {
            namespaces,
            ..Identity::default()
        };
        let changed = identity::changed(
            &state(fork.caller_namespaces),
            &state(fork.child_namespaces),
        );
        if changed.is_empty() {
            return;
        }
        let change = v1::NamespaceChange {
            call: Some(v1::Call {
                name: CLONE.to_owned(),
                ..v1::Call::default()
            }),
            before: Some(identity::namespaces(
                &fork.caller_namespaces,
                self.host.flags_of(&fork.caller_namespaces),
            )),
            after: Some(identity::namespaces(
                &fork.child_namespaces,
                self.host.flags_of(&fork.child_namespaces),
            )),
            requested: changed.clone(),
            changed,
            child_pid: fork.child.pid,
        };
        self.emit_message(
            header,
            EventKind::NamespaceChange,
            v1::event::Detail::NamespaceChange(change),
            None,
        );
    }

    /// Makes an event of the header's process, and passes it on.
    pub(super) fn emit_message(
        &mut self,
        header: &Header,
        kind: EventKind,
        detail: v1::event::Detail,
        target: Option<Target>,
    ) {
        self.emit_at(
            header,
            ProcessKey::from(header),
            Detail::Message(kind, Box::new(detail)),
            target,
        );
    }
}
