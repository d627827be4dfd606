//! `watchkeeper sql`

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Read as _, Write as _},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::{
    client::{self, Connection},
    json,
    terminal::clean,
};
use crate::configuration::value;
use crate::proto::v1::{self, history_client::HistoryClient, value::Value};

/// Asks history in SQL: all that is kept, with what happened up to now
#[derive(Args)]
#[command(after_help = "\
Views: events, executions, processes, connections, dns, files, containers, pods, alerts, losses, activity.
`SELECT * FROM executions LIMIT 1` shows the columns. Times are text in UTC; time_ns is the same in nanoseconds.

Examples:
  watchkeeper sql 'SELECT time, pod, exe, argv FROM executions WHERE uid = 0 ORDER BY time_ns DESC LIMIT 20'
  watchkeeper sql \"SELECT pod, remote_address, remote_port, count(*) FROM connections WHERE kind = 'connect' GROUP BY 1, 2, 3\"
  watchkeeper sql -o csv 'SELECT * FROM dns' > dns.csv
  watchkeeper sql - < question.sql")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    /// The statement, a SELECT; `-` reads it from standard input
    #[arg(value_name = "SQL")]
    sql: String,

    /// Most rows
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Longest time that it may take, at most 10m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = max_time)]
    max_time: Duration,

    /// How to print the rows
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// A row may have many long texts.
const MAX_MESSAGE: usize = 128 << 20;

/// How rows are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object a line
    Json,
    /// With a heading (RFC 4180)
    Csv,
}

fn max_time(text: &str) -> Result<Duration, String> {
    value::time(text).and_then(|time| match time.as_secs() {
        1..=600 => Ok(time),
        _ => Err("give a time from 1s to 10m".to_owned()),
    })
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let sql = if arguments.sql == "-" {
        let mut sql = String::new();
        io::stdin()
            .read_to_string(&mut sql)
            .context("reading the statement from standard input")?;
        sql
    } else {
        arguments.sql.clone()
    };
    client::block_on(async {
        let channel = arguments.connection.connect().await?;
        let failed = client::refused("asking history");
        let mut stream = HistoryClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .query(v1::HistoryQueryRequest {
                sql,
                max_rows: arguments.limit,
                max_seconds: u32::try_from(arguments.max_time.as_secs()).unwrap_or(0),
            })
            .await
            .map_err(&failed)?
            .into_inner();
        let mut rows = Printer::new(arguments.output);
        let mut truncated = false;
        let mut incomplete = String::new();
        while let Some(message) = stream.message().await.map_err(&failed)? {
            if !message.columns.is_empty() {
                rows.columns(message.columns)?;
            }
            for row in message.rows {
                rows.row(row.values)?;
            }
            truncated |= message.truncated;
            if !message.incomplete.is_empty() {
                incomplete = message.incomplete;
            }
        }
        rows.finish()?;
        if !incomplete.is_empty() {
            eprintln!("watchkeeper: something is missing: {}", clean(&incomplete));
        }
        if truncated {
            eprintln!(
                "watchkeeper: there are more than {} rows; --limit shows more",
                arguments.limit
            );
        }
        Ok(())
    })
}

/// Prints rows as they come; a table when it has them all, for the widths of its columns.
struct Printer {
    format: Format,
    columns: Vec<String>,
    table: comfy_table::Table,
    out: io::BufWriter<io::Stdout>,
}

impl Printer {
    fn new(format: Format) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        Self {
            format,
            columns: Vec::new(),
            table,
            out: io::BufWriter::new(io::stdout()),
        }
    }

    fn columns(&mut self, columns: Vec<String>) -> anyhow::Result<()> {
        match self.format {
            Format::Table => {
                self.table
                    .set_header(columns.iter().map(|name| clean(name).to_ascii_uppercase()));
            }
            Format::Csv => self.csv(columns.iter().map(|name| Cow::from(name.as_str())))?,
            Format::Json => {}
        }
        self.columns = apart(columns);
        Ok(())
    }

    fn row(&mut self, values: Vec<v1::Value>) -> anyhow::Result<()> {
        match self.format {
            Format::Table => {
                self.table
                    .add_row(values.iter().map(|value| fitted(&clean(&text(value)))));
            }
            Format::Csv => {
                let fields: Vec<String> = values
                    .iter()
                    .map(|value| text(value).into_owned())
                    .collect();
                self.csv(fields.iter().map(|field| Cow::from(field.as_str())))?;
            }
            Format::Json => {
                let object: serde_json::Map<String, serde_json::Value> = self
                    .columns
                    .iter()
                    .cloned()
                    .zip(values.into_iter().map(as_json))
                    .collect();
                let line = serde_json::to_string(&object).context("writing JSON")?;
                writeln!(self.out, "{}", json::escaped(&line))?;
            }
        }
        Ok(())
    }

    /// A line of fields. What a terminal would act on is written out only where one reads it: a file has what there is.
    fn csv<'a>(&mut self, fields: impl Iterator<Item = Cow<'a, str>>) -> io::Result<()> {
        let for_terminal = io::stdout().is_terminal();
        for (index, field) in fields.enumerate() {
            if index > 0 {
                self.out.write_all(b",")?;
            }
            let field = if for_terminal {
                clean(&field)
            } else {
                field.as_ref().into()
            };
            if field.contains(['"', ',', '\n', '\r']) {
                write!(self.out, "\"{}\"", field.replace('"', "\"\""))?;
            } else {
                self.out.write_all(field.as_bytes())?;
            }
        }
        self.out.write_all(b"\r\n")
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.format == Format::Table {
            if self.table.is_empty() {
                eprintln!("no rows");
            } else {
                writeln!(self.out, "{}", self.table)?;
            }
        }
        self.out.flush()
    }
}

fn text(value: &v1::Value) -> Cow<'_, str> {
    match &value.value {
        None => Cow::from(""),
        Some(Value::Integer(number)) => number.to_string().into(),
        Some(Value::Real(number)) => number.to_string().into(),
        Some(Value::Text(text)) => text.as_str().into(),
        Some(Value::Blob(bytes)) => hexadecimal(bytes).into(),
    }
}

fn as_json(value: v1::Value) -> serde_json::Value {
    match value.value {
        None => serde_json::Value::Null,
        Some(Value::Integer(number)) => number.into(),
        Some(Value::Real(number)) => number.into(),
        Some(Value::Text(text)) => text.into(),
        Some(Value::Blob(bytes)) => hexadecimal(&bytes).into(),
    }
}

/// Names of columns, each once: an object has one value for a name.
fn apart(columns: Vec<String>) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(columns.len());
    for column in columns {
        let mut name = column.clone();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{column}_{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}

/// A cell of a table, cut where it is too long for a line; the other formats have all of it.
fn fitted(text: &str) -> String {
    const WIDTH: usize = 80;
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}

/// Bytes as digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_with_one_name_are_told_apart() {
        let columns = ["pod", "count(*)", "pod", "pod"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(apart(columns), ["pod", "count(*)", "pod_2", "pod_3"]);
    }

    #[test]
    fn long_cells_are_cut() {
        assert_eq!(fitted("short"), "short");
        assert_eq!(fitted(&"x".repeat(200)).chars().count(), 80);
    }
}
