//! Questions in SQL over all segments at once. They can read, and nothing else: not write, not open other files, and not
//! run for ever.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use fallible_iterator::FallibleIterator as _;
use rusqlite::{
    Batch, Connection, OpenFlags,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
    types::Value,
};

use super::segment::Segment;

/// Views that answer for all segments.
const VIEWS: [&str; 11] = [
    "events",
    "executions",
    "processes",
    "connections",
    "dns",
    "files",
    "containers",
    "pods",
    "alerts",
    "losses",
    "activity",
];

/// Longest text or blob, and longest statement. Arguments of a process are far shorter.
const MAX_LENGTH: i32 = 1 << 20;
/// Longest pattern of LIKE, whose cost is the product of both lengths.
const MAX_PATTERN: i32 = 1_000;
/// Most columns of an answer.
const MAX_COLUMNS: i32 = 200;
/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 500;

/// A connection to all segments.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    max_time: Duration,
}

/// How a question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// With all rows.
    All,
    /// There were more.
    Truncated,
}

impl Session {
    /// Opens the segments, for a question that may take `max_time` from now on and can be cancelled.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn open(
        parts: &[Segment],
        max_time: Duration,
        cancelled: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let mut connection = Connection::open_in_memory_with_flags(
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_MEMORY
                | OpenFlags::SQLITE_OPEN_URI
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        let mut names = Vec::new();
        for part in parts {
            let path = &part.path;
            // One that a ceiling removed meanwhile is no longer part of history.
            if !path.exists() {
                continue;
            }
            let name = format!("s{}", part.sequence);
            let uri = format!("file:{}?mode=ro", escaped(path));
            connection
                .execute(&format!("ATTACH ?1 AS {name}"), [uri])
                .with_context(|| format!("opening {}", path.display()))?;
            names.push(name);
        }
        let deadline = Instant::now() + max_time;
        let gone = Arc::clone(cancelled);
        connection.progress_handler(
            STEPS,
            Some(move || Instant::now() >= deadline || gone.load(Ordering::Relaxed)),
        )?;
        let mut session = Self {
            connection,
            max_time,
        };
        session.find_copies(&names)?;
        session.unite(&names)?;
        session.confine()?;
        Ok(session)
    }

    /// What was carried from segment to segment is shown once: executions where they first are, all else where most is
    /// known of it.
    fn find_copies(&self, names: &[String]) -> anyhow::Result<()> {
        self.connection.execute_batch(
            "CREATE TEMP TABLE copy (segment TEXT, view TEXT, row INTEGER, PRIMARY KEY (segment, view, row)) WITHOUT ROWID",
        )?;
        for (index, later) in names.iter().enumerate() {
            for earlier in &names[..index] {
                let same_boot = "(SELECT value FROM {l}.meta WHERE name = 'boot_id') = (SELECT value FROM {e}.meta WHERE name = 'boot_id')";
                let sql = format!(
                    "INSERT OR IGNORE INTO temp.copy
                     SELECT '{{l}}', 'executions', lx.id FROM {{l}}.execution lx JOIN {{l}}.process lp ON lp.id = lx.process
                     JOIN {{e}}.process ep ON ep.pid = lp.pid AND ep.start_ticks = lp.start_ticks
                     JOIN {{e}}.execution ex ON ex.process = ep.id AND ex.boot_ns = lx.boot_ns
                     WHERE lx.carried AND {same_boot};
                     INSERT OR IGNORE INTO temp.copy
                     SELECT '{{e}}', 'processes', ep.id FROM {{l}}.process lp
                     JOIN {{e}}.process ep ON ep.pid = lp.pid AND ep.start_ticks = lp.start_ticks
                     WHERE lp.carried AND {same_boot};
                     INSERT OR IGNORE INTO temp.copy
                     SELECT '{{e}}', 'containers', ec.id FROM {{l}}.container lc
                     JOIN {{e}}.container ec ON ec.container_id = lc.container_id AND ec.cgroup_id = lc.cgroup_id
                     WHERE lc.id <> 0;
                     INSERT OR IGNORE INTO temp.copy
                     SELECT '{{e}}', 'pods', ep.id FROM {{l}}.pod lp JOIN {{e}}.pod ep ON ep.uid = lp.uid;"
                );
                let sql = sql.replace("{l}", later).replace("{e}", earlier);
                self.connection.execute_batch(&sql)?;
            }
        }
        Ok(())
    }

    /// Makes each view one over all segments.
    fn unite(&self, names: &[String]) -> anyhow::Result<()> {
        let Some(first) = names.first() else {
            bail!("nothing is kept yet");
        };
        for view in VIEWS {
            let columns: Vec<String> = self
                .connection
                .prepare("SELECT name FROM pragma_table_info(?1, ?2)")?
                .query_map((view, first), |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let copied = columns.iter().any(|column| column == "row");
            let shown: Vec<&str> = columns
                .iter()
                .map(String::as_str)
                .filter(|column| *column != "row")
                .collect();
            let selects: Vec<String> = names
                .iter()
                .map(|name| {
                    let mut select = format!("SELECT {} FROM {name}.{view}", shown.join(", "));
                    if copied {
                        select.push_str(&format!(
                            " WHERE row NOT IN (SELECT row FROM temp.copy WHERE segment = '{name}' AND view = '{view}')"
                        ));
                    }
                    select
                })
                .collect();
            self.connection.execute_batch(&format!(
                "CREATE TEMP VIEW {view} AS {}",
                selects.join(" UNION ALL ")
            ))?;
        }
        Ok(())
    }

    /// From here on it can only read what is open.
    fn confine(&mut self) -> anyhow::Result<()> {
        let connection = &mut self.connection;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_LENGTH)?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_LENGTH)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN)?;
        connection.set_limit(Limit::SQLITE_LIMIT_COLUMN, MAX_COLUMNS)?;
        connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
        connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
            AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => {
                Authorization::Allow
            }
            AuthAction::Function { function_name } if function_name != "load_extension" => {
                Authorization::Allow
            }
            _ => Authorization::Deny,
        }))?;
        Ok(())
    }

    /// Runs one statement. `columns` is called first, then `row` for each row, which may have enough.
    ///
    /// # Errors
    /// When it is no statement that only reads, or took too long.
    pub fn run(
        &mut self,
        sql: &str,
        columns: impl FnOnce(Vec<String>),
        mut row: impl FnMut(Vec<Value>) -> ControlFlow<()>,
    ) -> anyhow::Result<Answered> {
        let max_time = self.max_time;
        let explain = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => anyhow!(
                "it took longer than {} s; ask for less, or give it more time",
                max_time.as_secs()
            ),
            Some(rusqlite::ErrorCode::AuthorizationForStatementDenied) => {
                anyhow!("only statements that read history are allowed, such as SELECT ({error})")
            }
            _ => anyhow!(error),
        };
        let mut batch = Batch::new(&self.connection, sql);
        let mut statement = batch
            .next()
            .map_err(explain)?
            .context("there is no statement")?;
        if !statement.readonly() || statement.column_count() == 0 {
            bail!("only statements that read history are allowed, such as SELECT");
        }
        if batch.next().map_err(explain)?.is_some() {
            bail!("give one statement at a time");
        }
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let count = names.len();
        columns(names);
        let mut rows = statement.query(()).map_err(explain)?;
        while let Some(found) = rows.next().map_err(explain)? {
            let values = (0..count)
                .map(|index| found.get(index))
                .collect::<Result<_, _>>()
                .map_err(explain)?;
            if row(values).is_break() {
                return Ok(Answered::Truncated);
            }
        }
        Ok(Answered::All)
    }
}

/// A path in a URI, for SQLite: all but the plainest characters as percent and two digits.
fn escaped(path: &std::path::Path) -> String {
    use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _};
    let mut escaped = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            escaped.push(char::from(*byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02x}");
        }
    }
    escaped
}
