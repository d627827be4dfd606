//! Rows of processes, of what they ran, and of their lineage.

use std::{
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use anyhow::Context as _;
use rusqlite::{OptionalExtension as _, Row, params};
use watchkeeper_ebpf::record::{Credentials, Descriptor, File, Namespaces};

use super::{
    super::{
        detail::{signed, unsigned},
        insert,
    },
    Reader, moment,
};
use crate::{
    container::membership::{Membership, Origin},
    event::Ancestor,
    process::{
        execution::{Arguments, Execution, Process, ProcessKey, Recognised, Shell, Source},
        table::MAX_ANCESTORS,
    },
};

/// A process as an event has it: itself, how it came into its container, and its ancestors.
#[derive(Clone, Debug)]
pub struct Line {
    /// The process.
    pub process: Arc<Process>,
    /// How it came into its container.
    pub membership: Option<Membership>,
    /// Its ancestors, the parent first.
    pub ancestors: Vec<Ancestor>,
}

impl Reader {
    /// The newest process of which that holds.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn last_process(
        &mut self,
        holds: &dyn Fn(ProcessKey) -> bool,
    ) -> anyhow::Result<Option<ProcessKey>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT pid, start_ticks FROM process ORDER BY start_ticks DESC")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let key = ProcessKey {
                pid: row.get(0)?,
                start_ticks: unsigned(row.get(1)?),
            };
            if holds(key) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The last that is known of a process: its lineage at the last event that has one.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn last_line(&mut self, key: ProcessKey) -> anyhow::Result<Option<Arc<Line>>> {
        let id: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT n.id FROM process r JOIN execution x ON x.process = r.id JOIN lineage n ON n.execution = x.id
                 WHERE r.pid = ?1 AND r.start_ticks = ?2 ORDER BY x.boot_ns DESC, n.id DESC LIMIT 1",
            )?
            .query_row(params![key.pid, signed(key.start_ticks)], |row| row.get(0))
            .optional()?;
        id.map(|id| self.line(id)).transpose()
    }

    /// When a process ended, and its wait status; `None` while it runs, or where that was not seen.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn end_of(&self, key: ProcessKey) -> anyhow::Result<Option<(SystemTime, u32)>> {
        let end: Option<(Option<i64>, Option<u32>)> = self
            .connection
            .prepare_cached(
                "SELECT ended, status FROM process WHERE pid = ?1 AND start_ticks = ?2",
            )?
            .query_row(params![key.pid, signed(key.start_ticks)], |row| {
                row.try_into()
            })
            .optional()?;
        Ok(end.and_then(|(ended, status)| Some((moment(ended?), status?))))
    }

    /// A process with its ancestors.
    pub(super) fn line(&mut self, id: i64) -> anyhow::Result<Arc<Line>> {
        if let Some(line) = self.lines.get(&id) {
            return Ok(Arc::clone(line));
        }
        let (process, membership, mut next) = self.node(id)?;
        let mut ancestors = Vec::new();
        // A damaged file may have a circle.
        while let Some(parent) = next
            && ancestors.len() < MAX_ANCESTORS
        {
            let (process, membership, above) = self.node(parent)?;
            ancestors.push(Ancestor {
                process,
                membership,
            });
            next = above;
        }
        let line = Arc::new(Line {
            process,
            membership,
            ancestors,
        });
        self.lines.put(id, Arc::clone(&line));
        Ok(line)
    }

    pub(super) fn node(
        &mut self,
        id: i64,
    ) -> anyhow::Result<(Arc<Process>, Option<Membership>, Option<i64>)> {
        type Columns = (i64, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
        let (execution, parent, container, origin, entered_by): Columns = self
            .connection
            .prepare_cached(
                "SELECT execution, parent, container, origin, entered_by FROM lineage WHERE id = ?1",
            )?
            .query_row([id], |row| row.try_into())
            .with_context(|| format!("reading lineage {id}"))?;
        let process = self.execution(execution)?;
        let membership = match (container, origin.and_then(self::origin)) {
            (Some(container), Some(origin)) => Some(Membership {
                container: self.container(container)?,
                origin,
                entered_by: match entered_by {
                    Some(execution) => Some(self.execution(execution)?),
                    None => None,
                },
            }),
            _ => None,
        };
        Ok((process, membership, parent))
    }

    pub(super) fn execution(&mut self, id: i64) -> anyhow::Result<Arc<Process>> {
        if let Some(process) = self.executions.get(&id) {
            return Ok(Arc::clone(process));
        }
        let row = self
            .connection
            .prepare_cached(
                "SELECT r.pid, r.start_ticks, r.started, x.program, x.boot_ns, x.executed, x.source, x.parent_pid,
                     x.parent_start_ticks, x.pid_ns, x.pid_inside, x.exec_pid_inside, x.stdio
                 FROM execution x JOIN process r ON r.id = x.process WHERE x.id = ?1",
            )?
            .query_row([id], ExecutionRow::read)
            .with_context(|| format!("reading execution {id}"))?;
        let mut program = (*self.program(row.program)?).clone();
        program.exec_ns = row.boot_ns;
        program.executed = row.executed.map(moment);
        program.namespaces.pid_inside = row.exec_pid_inside;
        program.stdio = stdio(&row.stdio);
        let process = Arc::new(Process {
            key: row.key,
            parent: row.parent,
            started: moment(row.started),
            inside: row.inside,
            program: Arc::new(program),
            source: match row.source {
                1 => Source::Kernel,
                2 => Source::Procfs,
                _ => Source::Fork,
            },
        });
        self.executions.put(id, Arc::clone(&process));
        Ok(process)
    }

    /// What a process runs, without what differs from execution to execution.
    pub(super) fn program(&mut self, id: i64) -> anyhow::Result<Arc<Execution>> {
        if let Some(program) = self.programs.get(&id) {
            return Ok(Arc::clone(program));
        }
        let program = self
            .connection
            .prepare_cached("SELECT * FROM program WHERE id = ?1")?
            .query_row([id], |row| {
                Ok((row.get::<_, String>("argv")?, program(row)?))
            })
            .with_context(|| format!("reading program {id}"))?;
        let (argv, mut program) = program;
        let arguments: Vec<String> = serde_json::from_str(&argv)?;
        let mut bytes = Vec::with_capacity(argv.len());
        for argument in arguments {
            bytes.extend_from_slice(argument.as_bytes());
            bytes.push(0);
        }
        program.argv = Arguments::new(&bytes);
        let program = Arc::new(program);
        self.programs.put(id, Arc::clone(&program));
        Ok(program)
    }
}

/// A row of `execution` with its process.
struct ExecutionRow {
    key: ProcessKey,
    started: i64,
    program: i64,
    boot_ns: u64,
    executed: Option<i64>,
    source: i64,
    parent: Option<ProcessKey>,
    inside: Option<(u32, u32)>,
    exec_pid_inside: u32,
    stdio: String,
}

impl ExecutionRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let parent_pid: Option<u32> = row.get(7)?;
        let parent_ticks: Option<i64> = row.get(8)?;
        let namespace: Option<u32> = row.get(9)?;
        let inside: Option<u32> = row.get(10)?;
        Ok(Self {
            key: ProcessKey {
                pid: row.get(0)?,
                start_ticks: unsigned(row.get(1)?),
            },
            started: row.get(2)?,
            program: row.get(3)?,
            boot_ns: unsigned(row.get(4)?),
            executed: row.get(5)?,
            source: row.get(6)?,
            parent: parent_pid.zip(parent_ticks).map(|(pid, ticks)| ProcessKey {
                pid,
                start_ticks: unsigned(ticks),
            }),
            inside: namespace.zip(inside),
            exec_pid_inside: row.get(11)?,
            stdio: row.get(12)?,
        })
    }
}

/// What a row of `program` says; the arguments are left to the caller, and what differs each time is empty.
fn program(row: &Row<'_>) -> rusqlite::Result<Execution> {
    let set = |name: &str| -> rusqlite::Result<u64> { Ok(unsigned(row.get(name)?)) };
    let id = |name: &str| -> rusqlite::Result<u32> {
        Ok(row.get::<_, Option<u32>>(name)?.unwrap_or(u32::MAX))
    };
    Ok(Execution {
        exec_ns: 0,
        executed: None,
        exe: row.get("exe")?,
        argv: Arguments::default(),
        redacted: row.get("redacted")?,
        cwd: row.get("cwd")?,
        filename: row.get("filename")?,
        flags: row.get("flags")?,
        credentials: Credentials {
            cap_effective: set("cap_effective")?,
            cap_permitted: set("cap_permitted")?,
            cap_inheritable: set("cap_inheritable")?,
            cap_bounding: set("cap_bounding")?,
            cap_ambient: set("cap_ambient")?,
            uid: row.get("uid")?,
            gid: row.get("gid")?,
            euid: row.get("euid")?,
            egid: row.get("egid")?,
            loginuid: id("login_uid")?,
            sessionid: id("audit_session")?,
        },
        namespaces: Namespaces {
            mnt: row.get("mnt_ns")?,
            pid: row.get("pid_ns")?,
            net: row.get("net_ns")?,
            uts: row.get("uts_ns")?,
            ipc: row.get("ipc_ns")?,
            cgroup: row.get("cgroup_ns")?,
            user: row.get("user_ns")?,
            pid_inside: 0,
            pid_for_children: row.get("pid_ns_for_children")?,
            reserved: 0,
        },
        host_namespaces: row.get("host_ns")?,
        file: File {
            inode: set("inode")?,
            size: set("size")?,
            ctime_s: set("changed_s")?,
            ctime_ns: row.get("changed_ns")?,
            device: row.get("device")?,
            links: row.get("links")?,
            mode: row.get("mode")?,
            uid: row.get("file_uid")?,
            flags: row.get("file_flags")?,
            filesystem: row.get("filesystem")?,
            reserved: 0,
        },
        seccomp: row.get("seccomp")?,
        stdio: [Descriptor::default(); 3],
        tty: row.get("tty")?,
        recognised: recognised(row.get("shell")?, row.get("miner")?),
    })
}

/// What was known of the kind of a program.
fn recognised(shell: Option<String>, miner: Option<String>) -> OnceLock<Recognised> {
    let (Some(family), Some(miner)) = (shell, miner) else {
        return OnceLock::new();
    };
    OnceLock::from(if !miner.is_empty() {
        Recognised::Miner(miner)
    } else if !family.is_empty() {
        Recognised::Shell(Shell {
            family,
            recognised_by: "history".to_owned(),
            claimed: false,
        })
    } else {
        Recognised::Other
    })
}

fn origin(number: i64) -> Option<Origin> {
    [
        Origin::Entrypoint,
        Origin::Descendant,
        Origin::Injected,
        Origin::NamespaceEntry,
        Origin::Unknown,
    ]
    .into_iter()
    .find(|origin| insert::origin(*origin) == number)
}

fn stdio(text: &str) -> [Descriptor; 3] {
    let mut found = [Descriptor::default(); 3];
    for (descriptor, text) in found.iter_mut().zip(text.split(' ')) {
        let mut numbers = text.split(':');
        let mut number = || {
            numbers
                .next()
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let (kind, inode, device) = (number(), number(), number());
        *descriptor = Descriptor {
            inode,
            kind: u32::try_from(kind).unwrap_or(0),
            device: u32::try_from(device).unwrap_or(0),
        };
    }
    found
}
