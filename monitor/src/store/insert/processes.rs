//! Processes, what they ran, and their lineage, as rows.

use std::{
    hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState},
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension as _, ToSql, params};

use super::{
    super::{detail::signed, nanoseconds},
    Inserter, NONE,
};
use crate::{
    container::{membership::Origin, model::Container},
    event::Ancestor,
    process::{
        clock,
        execution::{Execution, Process, ProcessKey, Source},
    },
};

/// What a lineage row says.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Lineage {
    execution: i64,
    parent: Option<i64>,
    container: Option<i64>,
    origin: Option<i64>,
    entered_by: Option<i64>,
}

/// How a process came into a container.
#[derive(Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) container: Option<&'a Arc<Container>>,
    pub(super) origin: Option<Origin>,
    pub(super) injected_by: Option<&'a Arc<Process>>,
}

impl Inserter {
    pub(super) fn process(
        &mut self,
        connection: &Connection,
        process: &Process,
    ) -> anyhow::Result<i64> {
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
    pub(super) fn execution(
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

    pub(super) fn program(
        &mut self,
        connection: &Connection,
        program: &Execution,
    ) -> anyhow::Result<i64> {
        let argv = serde_json::to_string(&program.argv.to_vec())?;
        let set = |id: u32| (id != u32::MAX).then_some(id);
        let credentials = &program.credentials;
        let namespaces = &program.namespaces;
        let file = &program.file;
        let is_known = program.recognised.get().is_some();
        let shell = is_known.then(|| program.shell().map_or("", |shell| &shell.family));
        let miner = is_known.then(|| program.miner().unwrap_or_default());
        let values: [&dyn ToSql; 40] = [
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
            &shell,
            &miner,
        ];
        let key = digest(&self.seeds, &values)?;
        if let Some(id) = self.programs.get(&key) {
            return Ok(*id);
        }
        connection
            .prepare_cached(
                "INSERT INTO program VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                 ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39, ?40)",
            )?
            .execute(&values[..])?;
        let id = connection.last_insert_rowid();
        self.programs.put(key, id);
        Ok(id)
    }

    /// The row of a process with its ancestors.
    pub(super) fn lineage(
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

    pub(super) fn node(
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
