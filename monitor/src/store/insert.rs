//! Writing into a segment: events and alerts become rows, and what they refer to is written once.
//!
//! What was written is remembered, within a ceiling. What is no longer remembered is written once more where that does
//! no harm, and looked up where it would show (processes, executions, containers).

use std::{
    hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState},
    num::NonZeroUsize,
    sync::Arc,
};

use anyhow::Context as _;
use lru::LruCache;
use rusqlite::{Connection, OptionalExtension as _, ToSql, params};

use super::{
    detail::{self, signed},
    nanoseconds,
};
use crate::{
    container::{
        membership::Origin,
        model::{Container, Metadata, Pod},
        registry::Place,
        shape::Runtime,
    },
    detect::alert::Alert,
    event::{Ancestor, Detail, Event},
    process::{
        clock,
        execution::{Execution, Process, ProcessKey, Source},
    },
    proto::v1,
};

/// How many rows of each kind are remembered.
const fn remembered(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("not zero")
}

/// One of the two sequences that history has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Events.
    Events,
    /// Alerts.
    Alerts,
}

impl Which {
    /// The table of what is missing of it.
    #[must_use]
    pub fn gaps(self) -> &'static str {
        match self {
            Self::Events => "gap",
            Self::Alerts => "alert_gap",
        }
    }
}

/// Names an execution within a boot.
type ExecutionKey = (ProcessKey, u64);

/// What a lineage row says.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Lineage {
    execution: i64,
    parent: Option<i64>,
    container: Option<i64>,
    origin: Option<i64>,
    entered_by: Option<i64>,
}

/// A kind and the bytes of a detail, which name its row.
type DetailKey = (i32, Box<[u8]>);

/// A row of `detail` that is remembered.
struct DetailRow {
    id: i64,
    /// Times it was seen that the row does not tell yet, and the last of them.
    more: i64,
    last: i64,
}

/// What was written into the segment by now.
pub struct Inserter {
    begun_ns: u64,
    /// Names of programs are made with these, so that nobody can make two programs with one name.
    seeds: [RandomState; 2],
    programs: LruCache<u128, i64>,
    processes: LruCache<ProcessKey, i64>,
    executions: LruCache<ExecutionKey, i64>,
    lineages: LruCache<Lineage, i64>,
    /// By slot.
    containers: LruCache<u32, i64>,
    /// By slot of the container, or 0, and cgroup path.
    places: LruCache<(u32, Arc<str>), i64>,
    details: LruCache<DetailKey, DetailRow>,
    /// Rows of `detail` whose counts are to be written.
    counted: Vec<DetailKey>,
    /// The chunk that is being filled.
    chunk: Option<Chunk>,
}

/// A row of `chunk`.
#[derive(Clone, Copy)]
struct Chunk {
    first: u64,
    last: u64,
    earliest: i64,
    latest: i64,
    events: u32,
}

/// The row that stands for no container, and for no pod.
const NONE: i64 = 0;

/// Events of a chunk.
const CHUNK: u32 = 1_024;

impl Inserter {
    /// Nothing was written yet. The segment was begun at this time, in nanoseconds since boot.
    #[must_use]
    pub fn new(begun_ns: u64) -> Self {
        Self {
            begun_ns,
            seeds: [RandomState::new(), RandomState::new()],
            programs: LruCache::new(remembered(4_096)),
            processes: LruCache::new(remembered(8_192)),
            executions: LruCache::new(remembered(8_192)),
            lineages: LruCache::new(remembered(8_192)),
            containers: LruCache::new(remembered(2_048)),
            places: LruCache::new(remembered(2_048)),
            details: LruCache::new(remembered(8_192)),
            counted: Vec::new(),
            chunk: None,
        }
    }

    /// Writes an event.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn event(
        &mut self,
        connection: &Connection,
        number: u64,
        event: &Event,
    ) -> anyhow::Result<()> {
        let time = nanoseconds(event.time);
        let kind = i32::from(event.detail.kind());
        let place = self.place(connection, &event.place)?;
        let lineage = match &event.process {
            Some(process) => Some(self.lineage(
                connection,
                process,
                &event.ancestors,
                Own {
                    container: event.container(),
                    origin: event.origin,
                    injected_by: event.injected_by.as_ref(),
                },
            )?),
            None => None,
        };
        let parts = detail::parts(event);
        let detail = match &parts.fixed {
            Some(fixed) => Some(self.detail(connection, kind, fixed, time)?),
            None => None,
        };
        connection
            .prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                signed(number),
                time,
                kind,
                lineage,
                place,
                detail,
                detail::numbers_to_text(&parts.numbers)
            ])?;
        self.target(connection, number, event)?;
        if let (Detail::Exit { status }, Some(process)) = (&event.detail, &event.process) {
            let id = self.process(connection, process)?;
            connection
                .prepare_cached("UPDATE process SET ended = ?2, status = ?3 WHERE id = ?1")?
                .execute(params![id, time, status])?;
        }
        self.extend_chunk(connection, number, time)
    }

    fn target(
        &mut self,
        connection: &Connection,
        number: u64,
        event: &Event,
    ) -> anyhow::Result<()> {
        let (key, process, place) = match (&event.target, &event.detail) {
            (Some(target), _) => (target.key, &target.process, Some(&target.place)),
            (None, Detail::CgroupAttach { moved, process, .. }) => (*moved, process, None),
            (None, _) => return Ok(()),
        };
        let execution = match process {
            Some(process) => Some(self.execution(connection, process, None)?),
            None => None,
        };
        let place = match place {
            Some(place) => Some(self.place(connection, place)?),
            None => None,
        };
        connection
            .prepare_cached("INSERT INTO target VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                signed(number),
                key.pid,
                signed(key.start_ticks),
                execution,
                place
            ])?;
        Ok(())
    }

    /// Writes an alert. Returns how often it was found, as it is written.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn alert(
        &mut self,
        connection: &Connection,
        number: u64,
        alert: &Alert,
    ) -> anyhow::Result<u32> {
        let event = &alert.event;
        let lineage = self.lineage(
            connection,
            &alert.process,
            &alert.ancestors,
            Own {
                container: event.container(),
                origin: event.origin,
                injected_by: event.injected_by.as_ref(),
            },
        )?;
        let place = self.place(connection, &event.place)?;
        let injected_by = match &alert.injected_by {
            Some(process) => Some(self.execution(connection, process, None)?),
            None => None,
        };
        let rule = &alert.rule.rule;
        let tally = alert.tally();
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO alert VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                 ?17, ?18)",
            )?
            .execute(params![
                signed(number),
                alert.id,
                tally.evidence.first().copied().map_or(0, signed),
                nanoseconds(event.time),
                nanoseconds(tally.last_seen),
                tally.count,
                rule.id,
                rule.title,
                rule.severity as i64 + 1,
                alert.rule.policy,
                serde_json::to_string(&rule.attack)?,
                alert.message,
                serde_json::to_string(&alert.facts)?,
                serde_json::to_string(&alert.claimed)?,
                serde_json::to_string(&tally.evidence)?,
                lineage,
                place,
                injected_by,
            ])?;
        Ok(tally.count)
    }

    /// Writes how often an alert was found by now. `false` where it is not in this segment.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn recount(connection: &Connection, alert: &Alert) -> anyhow::Result<bool> {
        let tally = alert.tally();
        let changed = connection
            .prepare_cached("UPDATE alert SET last = ?2, count = ?3, evidence = ?4 WHERE id = ?1")?
            .execute(params![
                alert.id,
                nanoseconds(tally.last_seen),
                tally.count,
                serde_json::to_string(&tally.evidence)?,
            ])?;
        Ok(changed > 0)
    }

    /// Writes down that events or alerts are missing.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn gap(
        connection: &Connection,
        of: Which,
        first: u64,
        last: u64,
        count: u64,
        reason: &str,
    ) -> anyhow::Result<()> {
        let table = of.gaps();
        connection
            .prepare_cached(&format!(
                "INSERT OR REPLACE INTO {table} VALUES (?1, ?2, ?3, ?4)"
            ))?
            .execute(params![signed(first), signed(last), signed(count), reason])?;
        Ok(())
    }

    /// Writes what is to be written once for many events. To be called before each commit.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn settle(&mut self, connection: &Connection) -> anyhow::Result<()> {
        for key in std::mem::take(&mut self.counted) {
            if let Some(row) = self.details.peek_mut(&key) {
                write_count(connection, row)?;
                row.more = 0;
            }
        }
        if let Some(chunk) = &self.chunk {
            chunk.write(connection)?;
        }
        Ok(())
    }

    fn extend_chunk(
        &mut self,
        connection: &Connection,
        number: u64,
        time: i64,
    ) -> anyhow::Result<()> {
        let chunk = self.chunk.get_or_insert(Chunk {
            first: number,
            last: number,
            earliest: time,
            latest: time,
            events: 0,
        });
        chunk.last = number;
        chunk.earliest = chunk.earliest.min(time);
        chunk.latest = chunk.latest.max(time);
        chunk.events += 1;
        if chunk.events >= CHUNK {
            chunk.write(connection)?;
            self.chunk = None;
        }
        Ok(())
    }

    fn detail(
        &mut self,
        connection: &Connection,
        kind: i32,
        fixed: &v1::event::Detail,
        time: i64,
    ) -> anyhow::Result<i64> {
        let mut bytes = Vec::with_capacity(fixed.encoded_len());
        fixed.encode(&mut bytes);
        let key = (kind, bytes.into_boxed_slice());
        if let Some(row) = self.details.get_mut(&key) {
            if row.more == 0 {
                self.counted.push(key);
            }
            row.more += 1;
            row.last = row.last.max(time);
            return Ok(row.id);
        }
        connection
            .prepare_cached(
                "INSERT INTO detail (kind, detail, count, first, last) VALUES (?1, ?2, 1, ?3, ?3)",
            )?
            .execute(params![kind, detail::to_json(fixed)?, time])?;
        let id = connection.last_insert_rowid();
        let row = DetailRow {
            id,
            more: 0,
            last: time,
        };
        // The one that makes room may have been counted on.
        if let Some((_, old)) = self.details.push(key, row)
            && old.more > 0
        {
            write_count(connection, &old)?;
        }
        Ok(id)
    }

    fn place(&mut self, connection: &Connection, place: &Place) -> anyhow::Result<i64> {
        let (location, container, path) = match place {
            Place::Host(path) => (v1::Location::Host, None, Arc::clone(path)),
            Place::Container(container, path) => {
                (v1::Location::Container, Some(container), Arc::clone(path))
            }
            Place::Unknown => (v1::Location::Unknown, None, Arc::from("")),
        };
        let slot = container.map_or(0, |container| container.slot);
        let key = (slot, path);
        if let Some(id) = self.places.get(&key) {
            return Ok(*id);
        }
        let container = match container {
            Some(container) => self.container(connection, container)?,
            None => NONE,
        };
        connection
            .prepare_cached(
                "INSERT INTO place (location, container, cgroup_path) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![i32::from(location), container, &*key.1])?;
        let id = connection.last_insert_rowid();
        self.places.put(key, id);
        Ok(id)
    }

    fn container(&mut self, connection: &Connection, container: &Container) -> anyhow::Result<i64> {
        if let Some(id) = self.containers.get(&container.slot) {
            return Ok(*id);
        }
        let id = self.write_container(connection, container)?;
        self.containers.put(container.slot, id);
        Ok(id)
    }

    /// Writes what is known of a container by now, where the segment has it.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn amend(&mut self, connection: &Connection, container: &Container) -> anyhow::Result<()> {
        let known = connection
            .prepare_cached("SELECT 1 FROM container WHERE container_id = ?1 AND cgroup_id = ?2")?
            .exists(params![container.id, signed(container.cgroup_id)])?;
        if known {
            self.write_container(connection, container)?;
        }
        Ok(())
    }

    fn write_container(
        &mut self,
        connection: &Connection,
        container: &Container,
    ) -> anyhow::Result<i64> {
        let details = container.details();
        let description = &details.description;
        let pod = match &description.pod {
            Some(pod) => write_pod(connection, pod)?,
            None => NONE,
        };
        let (metadata, reason) = match &details.metadata {
            Metadata::Complete => (v1::Metadata::Complete, ""),
            Metadata::Pending => (v1::Metadata::Pending, ""),
            Metadata::Unavailable(reason) => (v1::Metadata::Unavailable, reason.as_str()),
        };
        let runtime = match container.runtime() {
            Runtime::Unknown => 0,
            Runtime::Containerd => 1,
            Runtime::CriO => 2,
            Runtime::Docker => 3,
            Runtime::Podman => 4,
            Runtime::Buildah => 5,
        };
        connection
            .prepare_cached(
                "INSERT INTO container (container_id, runtime, cgroup_path, cgroup_id, init_pid, first_seen, ended, metadata,
                     reason, name, image, image_digest, labels, sandbox, pod)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
                 ON CONFLICT (container_id, cgroup_id) DO UPDATE SET runtime = ?2, init_pid = ?5, ended = coalesce(?7, ended), metadata = ?8,
                     reason = ?9, name = ?10, image = ?11, image_digest = ?12, labels = ?13, sandbox = ?14, pod = ?15
                 RETURNING id",
            )?
            .query_row(
                params![
                    container.id,
                    runtime,
                    container.cgroup_path,
                    signed(container.cgroup_id),
                    details.init_pid,
                    nanoseconds(container.first_seen),
                    details.ended.map(nanoseconds),
                    i32::from(metadata),
                    reason,
                    description.name,
                    description.image,
                    description.image_digest,
                    serde_json::to_string(&description.labels)?,
                    description.sandbox,
                    pod,
                ],
                |row| row.get(0),
            )
            .context("writing a container")
    }

    fn process(&mut self, connection: &Connection, process: &Process) -> anyhow::Result<i64> {
        if let Some(id) = self.processes.get(&process.key) {
            return Ok(*id);
        }
        let ProcessKey { pid, start_ticks } = process.key;
        let found = connection
            .prepare_cached("SELECT id FROM process WHERE pid = ?1 AND start_ticks = ?2")?
            .query_row(params![pid, signed(start_ticks)], |row| row.get(0))
            .optional()?;
        let id = match found {
            Some(id) => id,
            None => {
                connection
                    .prepare_cached(
                        "INSERT INTO process (pid, start_ticks, started, carried) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![
                        pid,
                        signed(start_ticks),
                        nanoseconds(process.started),
                        start_ticks.saturating_mul(clock::NS_PER_TICK) < self.begun_ns,
                    ])?;
                connection.last_insert_rowid()
            }
        };
        self.processes.put(process.key, id);
        Ok(id)
    }

    /// The row of a process with its program. `own` is what it is in a container, where that is known.
    fn execution(
        &mut self,
        connection: &Connection,
        process: &Process,
        own: Option<(i64, Option<i64>)>,
    ) -> anyhow::Result<i64> {
        let program = &process.program;
        let key = (process.key, program.exec_ns);
        if let Some(id) = self.executions.get(&key) {
            return Ok(*id);
        }
        let owner = self.process(connection, process)?;
        let found = connection
            .prepare_cached("SELECT id FROM execution WHERE process = ?1 AND boot_ns = ?2")?
            .query_row(params![owner, signed(program.exec_ns)], |row| row.get(0))
            .optional()?;
        let id = match found {
            Some(id) => id,
            None => {
                let program_id = self.program(connection, program)?;
                let source = match process.source {
                    Source::Kernel => 1,
                    Source::Procfs => 2,
                    Source::Fork => 3,
                };
                connection
                    .prepare_cached(
                        "INSERT INTO execution (process, program, boot_ns, executed, source, parent_pid,
                             parent_start_ticks, pid_ns, pid_inside, exec_pid_inside, stdio, carried, container, origin)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
                    )?
                    .execute(params![
                        owner,
                        program_id,
                        signed(program.exec_ns),
                        program.executed.map(nanoseconds),
                        source,
                        process.parent.map(|parent| parent.pid),
                        process.parent.map(|parent| signed(parent.start_ticks)),
                        process.inside.map(|inside| inside.0),
                        process.inside.map(|inside| inside.1),
                        program.namespaces.pid_inside,
                        stdio(program),
                        program.exec_ns < self.begun_ns,
                        own.map_or(NONE, |own| own.0),
                        own.and_then(|own| own.1),
                    ])?;
                connection.last_insert_rowid()
            }
        };
        self.executions.put(key, id);
        Ok(id)
    }

    fn program(&mut self, connection: &Connection, program: &Execution) -> anyhow::Result<i64> {
        let argv = serde_json::to_string(&program.argv.to_vec())?;
        let set = |id: u32| (id != u32::MAX).then_some(id);
        let credentials = &program.credentials;
        let namespaces = &program.namespaces;
        let file = &program.file;
        let values: [&dyn ToSql; 38] = [
            &program.exe,
            &argv,
            &program.cwd,
            &program.filename,
            &program.tty,
            &program.flags,
            &program.redacted,
            &program.seccomp,
            &credentials.uid,
            &credentials.gid,
            &credentials.euid,
            &credentials.egid,
            &set(credentials.loginuid),
            &set(credentials.sessionid),
            &signed(credentials.cap_effective),
            &signed(credentials.cap_permitted),
            &signed(credentials.cap_inheritable),
            &signed(credentials.cap_bounding),
            &signed(credentials.cap_ambient),
            &namespaces.mnt,
            &namespaces.pid,
            &namespaces.net,
            &namespaces.uts,
            &namespaces.ipc,
            &namespaces.cgroup,
            &namespaces.user,
            &namespaces.pid_for_children,
            &program.host_namespaces,
            &signed(file.inode),
            &file.device,
            &file.links,
            &file.mode,
            &file.uid,
            &signed(file.size),
            &signed(file.ctime_s),
            &file.ctime_ns,
            &file.flags,
            &file.filesystem,
        ];
        let key = digest(&self.seeds, &values)?;
        if let Some(id) = self.programs.get(&key) {
            return Ok(*id);
        }
        connection
            .prepare_cached(
                "INSERT INTO program VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                 ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38)",
            )?
            .execute(&values[..])?;
        let id = connection.last_insert_rowid();
        self.programs.put(key, id);
        Ok(id)
    }

    /// The row of a process with its ancestors.
    fn lineage(
        &mut self,
        connection: &Connection,
        process: &Arc<Process>,
        ancestors: &[Ancestor],
        own: Own<'_>,
    ) -> anyhow::Result<i64> {
        let mut parent = None;
        for ancestor in ancestors.iter().rev() {
            let membership = ancestor.membership.as_ref();
            let node = self.node(
                connection,
                &ancestor.process,
                parent,
                Own {
                    container: membership.map(|membership| &membership.container),
                    origin: membership.map(|membership| membership.origin),
                    injected_by: membership.and_then(|membership| membership.entered_by.as_ref()),
                },
            )?;
            parent = Some(node);
        }
        self.node(connection, process, parent, own)
    }

    fn node(
        &mut self,
        connection: &Connection,
        process: &Arc<Process>,
        parent: Option<i64>,
        own: Own<'_>,
    ) -> anyhow::Result<i64> {
        // Who is not in a container has not come into one.
        let container = match own.container.filter(|_| own.origin.is_some()) {
            Some(container) => Some(self.container(connection, container)?),
            None => None,
        };
        let came = own.origin.map(origin);
        let place = container.unwrap_or(NONE);
        let execution = self.execution(connection, process, Some((place, came)))?;
        let entered = matches!(own.origin, Some(Origin::Injected | Origin::NamespaceEntry));
        let entered_by = match own.injected_by.filter(|_| entered) {
            Some(process) => Some(self.execution(connection, process, None)?),
            None => None,
        };
        let lineage = Lineage {
            execution,
            parent,
            container,
            origin: came,
            entered_by,
        };
        if let Some(id) = self.lineages.get(&lineage) {
            return Ok(*id);
        }
        connection
            .prepare_cached(
                "INSERT INTO lineage (execution, parent, container, origin, entered_by) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![execution, parent, container, lineage.origin, entered_by])?;
        let id = connection.last_insert_rowid();
        self.lineages.put(lineage, id);
        Ok(id)
    }
}

/// How a process came into a container.
#[derive(Clone, Copy)]
struct Own<'a> {
    container: Option<&'a Arc<Container>>,
    origin: Option<Origin>,
    injected_by: Option<&'a Arc<Process>>,
}

impl Chunk {
    fn write(&self, connection: &Connection) -> anyhow::Result<()> {
        connection
            .prepare_cached("INSERT OR REPLACE INTO chunk VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                signed(self.first),
                signed(self.last),
                self.earliest,
                self.latest
            ])?;
        Ok(())
    }
}

fn write_count(connection: &Connection, row: &DetailRow) -> anyhow::Result<()> {
    connection
        .prepare_cached("UPDATE detail SET count = count + ?2, last = max(last, ?3) WHERE id = ?1")?
        .execute(params![row.id, row.more, row.last])?;
    Ok(())
}

fn write_pod(connection: &Connection, pod: &Pod) -> anyhow::Result<i64> {
    let labels = serde_json::to_string(&pod.labels)?;
    let found = connection
        .prepare_cached(
            "SELECT id FROM pod WHERE uid = ?1 AND name = ?2 AND namespace = ?3 AND labels = ?4",
        )?
        .query_row(params![pod.uid, pod.name, pod.namespace, labels], |row| {
            row.get(0)
        })
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    let title = if pod.name.is_empty() {
        pod.uid.clone()
    } else {
        format!("{}/{}", pod.namespace, pod.name)
    };
    connection
        .prepare_cached(
            "INSERT INTO pod (uid, name, namespace, labels, title) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![pod.uid, pod.name, pod.namespace, labels, title])?;
    Ok(connection.last_insert_rowid())
}

/// Names the content of a row. Two rows with the same name would be taken for one: 128 bits leave no room for that.
fn digest(seeds: &[RandomState; 2], values: &[&dyn ToSql]) -> anyhow::Result<u128> {
    use rusqlite::types::{ToSqlOutput, ValueRef};
    let mut hashers = seeds.each_ref().map(RandomState::build_hasher);
    for value in values {
        let output = value.to_sql()?;
        let value = match &output {
            ToSqlOutput::Borrowed(value) => *value,
            ToSqlOutput::Owned(value) => ValueRef::from(value),
            _ => ValueRef::Null,
        };
        for hasher in &mut hashers {
            match value {
                ValueRef::Integer(number) => number.hash(hasher),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.hash(hasher),
                ValueRef::Real(_) | ValueRef::Null => u8::MAX.hash(hasher),
            }
        }
    }
    let [high, low] = hashers.map(|hasher| hasher.finish());
    Ok(u128::from(high) << 64 | u128::from(low))
}

fn stdio(program: &Execution) -> String {
    let [input, output, errors] = program
        .stdio
        .each_ref()
        .map(|found| format!("{}:{}:{}", found.kind, found.inode, found.device));
    format!("{input} {output} {errors}")
}

/// How a process came into its container, as a number.
#[must_use]
pub fn origin(origin: Origin) -> i64 {
    match origin {
        Origin::Entrypoint => 1,
        Origin::Descendant => 2,
        Origin::Injected => 3,
        Origin::NamespaceEntry => 4,
        Origin::Unknown => 5,
    }
}
