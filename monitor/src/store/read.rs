//! Reading a segment: rows become the events and alerts that they were made of.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use lru::LruCache;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use watchkeeper_ebpf::record::{Credentials, Descriptor, File, Namespaces};

use super::{
    detail::{self, Moved, Parts, signed, unsigned},
    segment::{self, Segment},
};
use crate::{
    container::{
        membership::{Membership, Origin},
        model::{Container, Description, Details, Known, Metadata, Pod},
        registry::Place,
        shape::Runtime,
    },
    detect::alert::{Alert, Stored, Tally},
    event::{Ancestor, Event, Target},
    policy::{
        catalogue::ActiveRule,
        file::{Attack, Rule, Severity},
    },
    process::{
        execution::{Arguments, Execution, Process, ProcessKey, Source},
        table::MAX_ANCESTORS,
    },
    proto::v1::{EventKind, event::Detail as Message},
};

/// Rows of each kind that are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// Numbers with what they number.
pub type Numbered<T> = Vec<(u64, Arc<T>)>;

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

/// See the module.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    /// Id of the boot that all of it is of.
    pub boot_id: Arc<str>,
    lines: LruCache<i64, Arc<Line>>,
    executions: LruCache<i64, Arc<Process>>,
    programs: LruCache<i64, Arc<Execution>>,
    containers: HashMap<i64, Arc<Container>>,
    places: LruCache<i64, Place>,
    details: LruCache<i64, Message>,
    refreshed: Instant,
}

/// Which events to read.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Numbers above this.
    pub after: u64,
    /// Numbers up to this.
    pub until: u64,
    /// Only these places; all when `None`.
    pub places: Option<Vec<i64>>,
    /// Only these kinds; all when empty.
    pub kinds: Vec<i32>,
    /// At most so many.
    pub count: usize,
    /// The last ones, the last first.
    pub backwards: bool,
}

impl Selection {
    /// Numbers and count as SQLite takes them.
    fn bounds(&self) -> [i64; 3] {
        [
            signed(self.after),
            signed(self.until.min(i64::MAX.cast_unsigned())),
            i64::try_from(self.count).unwrap_or(i64::MAX),
        ]
    }
}

impl Reader {
    /// Opens a segment.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn open(segment: &Segment) -> anyhow::Result<Self> {
        let connection = segment.read()?;
        let boot_id = segment::fact(&connection, "boot_id")?.unwrap_or_default();
        Ok(Self {
            connection,
            boot_id: boot_id.into(),
            lines: LruCache::new(REMEMBERED),
            executions: LruCache::new(REMEMBERED),
            programs: LruCache::new(REMEMBERED),
            containers: HashMap::new(),
            places: LruCache::new(REMEMBERED),
            details: LruCache::new(REMEMBERED),
            refreshed: Instant::now(),
        })
    }

    /// The database.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Number of the first and of the last event; `None` where there are none.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn range(&self) -> anyhow::Result<Option<(u64, u64)>> {
        let range = self
            .connection
            .prepare_cached("SELECT min(number), max(number) FROM event")?
            .query_row((), |row| {
                Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
            })?;
        Ok(match range {
            (Some(first), Some(last)) => Some((unsigned(first), unsigned(last))),
            _ => None,
        })
    }

    /// The places whose container is wanted; `None` stands for the host and the unknown.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn places(
        &mut self,
        wanted: impl Fn(Option<&Container>) -> bool,
    ) -> anyhow::Result<Vec<i64>> {
        let rows: Vec<(i64, Option<i64>)> = self
            .connection
            .prepare_cached("SELECT id, nullif(container, 0) FROM place")?
            .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut places = Vec::new();
        for (id, container) in rows {
            let container = match container {
                Some(container) => Some(self.container(container)?),
                None => None,
            };
            if wanted(container.as_deref()) {
                places.push(id);
            }
        }
        Ok(places)
    }

    /// Events in the order of their numbers, or backwards.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn events(&mut self, selection: &Selection) -> anyhow::Result<Numbered<Event>> {
        let mut sql = "SELECT number, time, kind, lineage, place, detail, numbers FROM event WHERE number > ?1 AND \
                       number <= ?2"
            .to_owned();
        if let Some(places) = &selection.places {
            sql.push_str(" AND place IN (");
            list(&mut sql, places);
            sql.push(')');
        }
        if !selection.kinds.is_empty() {
            // Not by an index: there is none, and the one of places must not be given up for it.
            sql.push_str(" AND +kind IN (");
            list(&mut sql, &selection.kinds);
            sql.push(')');
        }
        sql.push_str(if selection.backwards {
            " ORDER BY number DESC LIMIT ?3"
        } else {
            " ORDER BY number LIMIT ?3"
        });
        let rows: Vec<EventRow> = self
            .connection
            .prepare_cached(&sql)?
            .query_map(selection.bounds(), EventRow::read)?
            .collect::<Result<_, _>>()?;
        rows.into_iter()
            .map(|row| Ok((row.number, Arc::new(self.event(&row)?))))
            .collect()
    }

    fn event(&mut self, row: &EventRow) -> anyhow::Result<Event> {
        let kind = EventKind::try_from(row.kind)
            .map_err(|_| anyhow!("event {} is of no known kind", row.number))?;
        let time = moment(row.time);
        let fixed = match row.detail {
            Some(detail) => Some(self.detail(detail)?),
            None => None,
        };
        let parts = Parts {
            fixed,
            numbers: match &row.numbers {
                Some(text) => detail::numbers_from_text(text)?,
                None => Vec::new(),
            },
        };
        let target = self.target(row.number)?;
        let moved = target.as_ref().map(|target| Moved {
            key: target.key,
            process: target.process.as_ref(),
        });
        let detail = detail::detail(kind, &parts, time, moved)?;
        let line = match row.lineage {
            Some(lineage) => Some(self.line(lineage)?),
            None => None,
        };
        let membership = line.as_ref().and_then(|line| line.membership.as_ref());
        Ok(Event {
            time,
            origin: membership.map(|membership| membership.origin),
            injected_by: membership.and_then(|membership| membership.entered_by.clone()),
            process: line.as_ref().map(|line| Arc::clone(&line.process)),
            ancestors: line
                .as_ref()
                .map_or_else(Vec::new, |line| line.ancestors.clone()),
            place: self.place(row.place)?,
            target: target.filter(|_| kind != EventKind::CgroupAttach),
            detail,
        })
    }

    /// Alerts in the order of their numbers, or backwards. Places and kinds are not looked at.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn alerts(&mut self, selection: &Selection) -> anyhow::Result<Numbered<Alert>> {
        let order = if selection.backwards { "DESC" } else { "ASC" };
        let rows: Vec<AlertRow> = self
            .connection
            .prepare_cached(&format!(
                "SELECT * FROM alert WHERE number > ?1 AND number <= ?2 ORDER BY number {order} LIMIT ?3"
            ))?
            .query_map(selection.bounds(), AlertRow::read,
            )?
            .collect::<Result<_, _>>()?;
        rows.into_iter()
            .map(|row| Ok((row.number, Arc::new(self.alert(row)?))))
            .collect()
    }

    /// An alert by its id, or the beginning of it: the newest.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn alert_by_id(&mut self, id: &str) -> anyhow::Result<Option<(u64, Arc<Alert>)>> {
        let row = self
            .connection
            .prepare_cached("SELECT * FROM alert WHERE substr(id, 1, length(?1)) = ?1 ORDER BY number DESC LIMIT 1")?
            .query_row([id], AlertRow::read)
            .optional()?;
        row.map(|row| Ok((row.number, Arc::new(self.alert(row)?))))
            .transpose()
    }

    fn alert(&mut self, row: AlertRow) -> anyhow::Result<Alert> {
        let line = self.line(row.lineage)?;
        let membership = line.membership.as_ref();
        let place = self.place(row.place)?;
        let event = Event {
            time: moment(row.time),
            process: Some(Arc::clone(&line.process)),
            origin: membership.map(|membership| membership.origin),
            injected_by: membership.and_then(|membership| membership.entered_by.clone()),
            ancestors: line.ancestors.clone(),
            place,
            target: None,
            detail: crate::event::Detail::Exec,
        };
        let injected_by = match row.injected_by {
            Some(execution) => Some(self.execution(execution)?),
            None => None,
        };
        let attack: Vec<Attack> = serde_json::from_str(&row.attack)?;
        Ok(Alert::restore(Stored {
            id: row.id,
            rule: Arc::new(ActiveRule {
                rule: Rule {
                    id: row.rule,
                    title: row.title,
                    severity: Severity::ALL
                        .into_iter()
                        .find(|severity| *severity as i64 + 1 == row.severity)
                        .context("reading an alert: it has no known severity")?,
                    attack,
                    description: String::new(),
                    triage: String::new(),
                    benign: Vec::new(),
                },
                policy: row.policy,
            }),
            message: row.message,
            process: Arc::clone(&line.process),
            ancestors: line.ancestors.clone(),
            injected_by,
            facts: serde_json::from_str(&row.facts)?,
            claimed: serde_json::from_str(&row.claimed)?,
            tally: Tally {
                count: row.count,
                last_seen: moment(row.last),
                evidence: serde_json::from_str(&row.evidence)?,
            },
            event: Arc::new(event),
        }))
    }

    /// The containers.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn containers(&mut self) -> anyhow::Result<Vec<Arc<Container>>> {
        let ids: Vec<i64> = self
            .connection
            .prepare_cached("SELECT id FROM container WHERE id <> 0 ORDER BY id")?
            .query_map((), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        ids.into_iter().map(|id| self.container(id)).collect()
    }

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
    fn line(&mut self, id: i64) -> anyhow::Result<Arc<Line>> {
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

    fn node(&mut self, id: i64) -> anyhow::Result<(Arc<Process>, Option<Membership>, Option<i64>)> {
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

    fn execution(&mut self, id: i64) -> anyhow::Result<Arc<Process>> {
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
    fn program(&mut self, id: i64) -> anyhow::Result<Arc<Execution>> {
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

    fn container(&mut self, id: i64) -> anyhow::Result<Arc<Container>> {
        if let Some(container) = self.containers.get(&id) {
            return Ok(Arc::clone(container));
        }
        let (mut known, labels, pod) = self
            .connection
            .prepare_cached(
                "SELECT c.container_id, c.runtime, c.cgroup_path, c.cgroup_id, c.init_pid, c.first_seen, c.ended, c.metadata,
                     c.reason, c.name, c.image, c.image_digest, c.sandbox, c.labels, p.uid, p.name, p.namespace, p.labels
                 FROM container c LEFT JOIN pod p ON p.id = c.pod WHERE c.id = ?1",
            )?
            .query_row([id], container)
            .with_context(|| format!("reading container {id}"))?;
        let description = &mut known.details.description;
        description.labels = serde_json::from_str(&labels)?;
        if let Some((mut pod, labels)) = pod {
            pod.labels = serde_json::from_str(&labels)?;
            description.pod = Some(pod);
        }
        let container = Arc::new(Container::restore(known));
        self.containers.insert(id, Arc::clone(&container));
        Ok(container)
    }

    /// Forgets what may have changed, once a second: more becomes known of a container while a segment is written.
    pub fn refresh(&mut self) {
        if self.refreshed.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.refreshed = Instant::now();
        self.containers.clear();
        self.places.clear();
        self.lines.clear();
    }

    fn place(&mut self, id: i64) -> anyhow::Result<Place> {
        if let Some(place) = self.places.get(&id) {
            return Ok(place.clone());
        }
        let (location, container, path): (i64, Option<i64>, String) = self
            .connection
            .prepare_cached(
                "SELECT location, nullif(container, 0), cgroup_path FROM place WHERE id = ?1",
            )?
            .query_row([id], |row| row.try_into())
            .with_context(|| format!("reading place {id}"))?;
        let place = match (location, container) {
            (2, Some(container)) => Place::Container(self.container(container)?, path.into()),
            (1, _) => Place::Host(path.into()),
            _ => Place::Unknown,
        };
        self.places.put(id, place.clone());
        Ok(place)
    }

    fn detail(&mut self, id: i64) -> anyhow::Result<Message> {
        if let Some(detail) = self.details.get(&id) {
            return Ok(detail.clone());
        }
        let text: String = self
            .connection
            .prepare_cached("SELECT detail FROM detail WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .with_context(|| format!("reading detail {id}"))?;
        let detail = detail::from_json(&text)?;
        self.details.put(id, detail.clone());
        Ok(detail)
    }

    fn target(&mut self, number: u64) -> anyhow::Result<Option<Target>> {
        type Columns = (u32, i64, Option<i64>, Option<i64>);
        let found: Option<Columns> = self
            .connection
            .prepare_cached(
                "SELECT pid, start_ticks, execution, place FROM target WHERE number = ?1",
            )?
            .query_row([signed(number)], |row| row.try_into())
            .optional()?;
        let Some((pid, start_ticks, execution, place)) = found else {
            return Ok(None);
        };
        Ok(Some(Target {
            key: ProcessKey {
                pid,
                start_ticks: unsigned(start_ticks),
            },
            process: match execution {
                Some(execution) => Some(self.execution(execution)?),
                None => None,
            },
            place: match place {
                Some(place) => self.place(place)?,
                None => Place::Unknown,
            },
        }))
    }
}

/// A row of `event`.
struct EventRow {
    number: u64,
    time: i64,
    kind: i32,
    lineage: Option<i64>,
    place: i64,
    detail: Option<i64>,
    numbers: Option<String>,
}

impl EventRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: unsigned(row.get(0)?),
            time: row.get(1)?,
            kind: row.get(2)?,
            lineage: row.get(3)?,
            place: row.get(4)?,
            detail: row.get(5)?,
            numbers: row.get(6)?,
        })
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

/// A row of `alert`.
struct AlertRow {
    number: u64,
    id: String,
    time: i64,
    last: i64,
    count: u32,
    rule: String,
    title: String,
    severity: i64,
    policy: String,
    attack: String,
    message: String,
    facts: String,
    claimed: String,
    evidence: String,
    lineage: i64,
    place: i64,
    injected_by: Option<i64>,
}

impl AlertRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: unsigned(row.get("number")?),
            id: row.get("id")?,
            time: row.get("time")?,
            last: row.get("last")?,
            count: row.get("count")?,
            rule: row.get("rule")?,
            title: row.get("title")?,
            severity: row.get("severity")?,
            policy: row.get("policy")?,
            attack: row.get("attack")?,
            message: row.get("message")?,
            facts: row.get("facts")?,
            claimed: row.get("claimed")?,
            evidence: row.get("evidence")?,
            lineage: row.get("lineage")?,
            place: row.get("place")?,
            injected_by: row.get("injected_by")?,
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
    })
}

/// What a row of `container` says, with the labels of container and pod as they are stored.
type ContainerRow = (Known, String, Option<(Pod, String)>);

fn container(row: &Row<'_>) -> rusqlite::Result<ContainerRow> {
    let runtime = match row.get::<_, i64>(1)? {
        1 => Runtime::Containerd,
        2 => Runtime::CriO,
        3 => Runtime::Docker,
        4 => Runtime::Podman,
        5 => Runtime::Buildah,
        _ => Runtime::Unknown,
    };
    let pod = match row.get::<_, Option<String>>(14)? {
        Some(uid) => Some((
            Pod {
                uid,
                name: row.get(15)?,
                namespace: row.get(16)?,
                ..Pod::default()
            },
            row.get(17)?,
        )),
        None => None,
    };
    let known = Known {
        id: row.get(0)?,
        cgroup_path: row.get(2)?,
        cgroup_id: unsigned(row.get(3)?),
        first_seen: moment(row.get(5)?),
        details: Details {
            metadata: match row.get::<_, i64>(7)? {
                1 => Metadata::Complete,
                2 => Metadata::Pending,
                _ => Metadata::Unavailable(row.get(8)?),
            },
            description: Description {
                runtime: Some(runtime),
                name: row.get(9)?,
                image: row.get(10)?,
                image_digest: row.get(11)?,
                sandbox: row.get(12)?,
                ..Description::default()
            },
            init_pid: row.get(4)?,
            ended: row.get::<_, Option<i64>>(6)?.map(moment),
        },
    };
    Ok((known, row.get(13)?, pod))
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
    .find(|origin| super::insert::origin(*origin) == number)
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

/// A moment from nanoseconds since the epoch.
#[must_use]
pub fn moment(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    if nanoseconds < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

fn list<T: std::fmt::Display>(sql: &mut String, numbers: &[T]) {
    use std::fmt::Write as _;
    for (index, number) in numbers.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write!(sql, "{}{number}", if index == 0 { "" } else { "," });
    }
}
