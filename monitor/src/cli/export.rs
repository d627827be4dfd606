//! `watchkeeper export`

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, IsTerminal as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, bail};
use clap::Args;
use prost_types::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tonic::transport::Channel;

use super::{
    client::{self, Connection},
    events::{Filter, kind},
    json, show,
    sql::hexadecimal,
};
use crate::proto::v1::{
    self, EventKind, alerts_client::AlertsClient, events_client::EventsClient,
    history_client::HistoryClient, history_export_response::Part,
};

/// Writes a part of history into a file, as evidence, with a manifest that has its SHA-256
#[derive(Args)]
#[command(after_help = "\
FILE.sqlite is a database with the schema of the history, which any SQLite tool reads; FILE.jsonl has one event or alert a
line. FILE.manifest.json says what it is, where and when it was made, what is missing, and its SHA-256.

Examples:
  watchkeeper export --since 1h --pod shop/web-1 -o web-1.sqlite
  watchkeeper export --since 2026-01-31T12:00:00Z --until 2026-01-31T13:00:00Z -o noon.jsonl")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    #[command(flatten)]
    filter: Filter,

    /// Only events of this kind; may be given more than once
    #[arg(long, value_name = "KIND", value_parser = kind())]
    kind: Vec<EventKind>,

    /// Nothing older: how long ago (90s, 15m, 1h, 2d) or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = client::moment, allow_hyphen_values = true)]
    since: Option<Timestamp>,

    /// Nothing newer, likewise
    #[arg(long, value_name = "TIME", value_parser = client::moment, allow_hyphen_values = true)]
    until: Option<Timestamp>,

    /// The file, whose ending says its form: .sqlite or .jsonl. One that is there is not replaced
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let path = arguments.output;
    let form = path.extension().and_then(|extension| extension.to_str());
    let as_database = match form {
        Some("sqlite" | "db") => true,
        Some("jsonl" | "json") => false,
        _ => bail!(
            "exporting to {}: the ending says the form; give one that ends in .sqlite or .jsonl",
            path.display()
        ),
    };
    let mut manifest_name = path.clone().into_os_string();
    manifest_name.push(".manifest.json");
    let manifest_path = PathBuf::from(manifest_name);
    let mut file = Hashed::new(create(&path)?);
    let manifest_file = create(&manifest_path).inspect_err(|_| {
        // Nothing is in it yet.
        let _ = std::fs::remove_file(&path);
    })?;
    let selection = Selected {
        filter: arguments.filter.into(),
        kinds: arguments.kind.into_iter().map(Into::into).collect(),
        since: arguments.since,
        until: arguments.until,
    };
    let selected = json::value("HistoryExportRequest", &selection.request())?;
    let exported = client::block_on(async {
        let channel = arguments.connection.connect().await?;
        if as_database {
            database(channel, &selection, &mut file).await
        } else {
            lines(channel, &selection, &mut file).await
        }
    });
    let summary = match exported.and_then(|summary| {
        file.flush()
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(summary)
    }) {
        Ok(summary) => summary,
        Err(error) => {
            // Half of it is no evidence.
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_file(&manifest_path);
            return Err(error);
        }
    };
    let (sha256, bytes) = file.finish();
    let manifest = json!({
        "file": path.file_name().map(|name| name.to_string_lossy()),
        "sha256": sha256,
        "bytes": bytes,
        "node": summary.node,
        "exported": show::time(Some(&SystemTime::now().into())),
        "exportedBy": concat!("watchkeeper ", env!("CARGO_PKG_VERSION")),
        "selection": selected,
        "events": summary.events,
        "alerts": summary.alerts,
        "firstEvent": summary.first_event.map(|time| time.to_string()),
        "lastEvent": summary.last_event.map(|time| time.to_string()),
        "gaps": summary.gaps,
    });
    let mut manifest_file = BufWriter::new(manifest_file);
    serde_json::to_writer_pretty(&mut manifest_file, &manifest)
        .map_err(io::Error::from)
        .and_then(|()| manifest_file.write_all(b"\n"))
        .and_then(|()| manifest_file.flush())
        .with_context(|| format!("writing {}", manifest_path.display()))?;
    show::print(&format!(
        "{sha256}  {}\n",
        super::terminal::clean(&path.to_string_lossy())
    ))?;
    eprintln!(
        "{} events and {} alerts, {bytes} bytes; manifest in {}",
        summary.events,
        summary.alerts,
        manifest_path.display()
    );
    for gap in &summary.gaps {
        eprintln!(
            "watchkeeper: something is missing: {}",
            super::terminal::clean(gap)
        );
    }
    Ok(())
}

/// Makes a file that is not there yet, for its owner only.
fn create(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("making {}; name another with --output", path.display()))
}

/// What is exported.
struct Selected {
    filter: v1::Filter,
    kinds: Vec<i32>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Selected {
    fn request(&self) -> v1::HistoryExportRequest {
        v1::HistoryExportRequest {
            filter: Some(self.filter.clone()),
            kinds: self.kinds.clone(),
            since: self.since,
            until: self.until,
        }
    }
}

/// Has the agent write a database.
async fn database(
    channel: Channel,
    selected: &Selected,
    file: &mut impl Write,
) -> anyhow::Result<v1::ExportSummary> {
    let failed = client::refused("exporting history");
    let mut stream = HistoryClient::new(channel)
        .export(selected.request())
        .await
        .map_err(&failed)?
        .into_inner();
    let mut progress = Progress::default();
    while let Some(message) = stream.message().await.map_err(&failed)? {
        match message.part {
            Some(Part::Data(data)) => {
                file.write_all(&data).context("writing the export")?;
                progress.add(data.len() as u64, "bytes");
            }
            Some(Part::Summary(summary)) => return Ok(summary),
            None => {}
        }
    }
    bail!("exporting history: the agent ended before the file was whole")
}

/// Writes events, then alerts, as lines: messages of the streams in their JSON form.
async fn lines(
    channel: Channel,
    selected: &Selected,
    file: &mut impl Write,
) -> anyhow::Result<v1::ExportSummary> {
    let failed = client::refused("exporting history");
    let mut summary = v1::ExportSummary::default();
    let mut progress = Progress::default();
    let mut events = EventsClient::new(channel.clone())
        .watch(v1::EventsWatchRequest {
            filter: Some(selected.filter.clone()),
            kinds: selected.kinds.clone(),
            since: selected.since,
            until: selected.until,
            ..v1::EventsWatchRequest::default()
        })
        .await
        .map_err(&failed)?
        .into_inner();
    while let Some(message) = events.message().await.map_err(&failed)? {
        use v1::events_watch_response::Item;
        match &message.item {
            Some(Item::Event(event)) => {
                summary.events += 1;
                summary.node.clone_from(&event.node);
                summary.first_event = summary.first_event.or(event.time);
                summary.last_event = event.time;
            }
            Some(Item::Lost(lost)) => summary.gaps.push(lost.to_string()),
            Some(Item::Amended(_) | Item::Heartbeat(_)) | None => continue,
        }
        writeln!(file, "{}", json::line("EventsWatchResponse", &message)?)
            .context("writing the export")?;
        progress.add(1, "events");
    }
    let mut alerts = AlertsClient::new(channel)
        .watch(v1::AlertsWatchRequest {
            filter: Some(selected.filter.clone()),
            since: selected.since,
            until: selected.until,
            ..v1::AlertsWatchRequest::default()
        })
        .await
        .map_err(&failed)?
        .into_inner();
    while let Some(message) = alerts.message().await.map_err(&failed)? {
        use v1::alerts_watch_response::Item;
        match &message.item {
            Some(Item::Alert(alert)) => {
                summary.alerts += 1;
                summary.node.clone_from(&alert.node);
            }
            Some(Item::Lost(lost)) => summary.gaps.push(lost.to_string()),
            Some(Item::Amended(_) | Item::Heartbeat(_)) | None => continue,
        }
        writeln!(file, "{}", json::line("AlertsWatchResponse", &message)?)
            .context("writing the export")?;
    }
    Ok(summary)
}

/// How far it is, on a terminal.
#[derive(Default)]
struct Progress {
    done: u64,
    shown: Option<std::time::Instant>,
}

impl Progress {
    fn add(&mut self, more: u64, what: &str) {
        self.done += more;
        let due = self
            .shown
            .is_none_or(|shown| shown.elapsed().as_millis() >= 200);
        if due && io::stderr().is_terminal() {
            self.shown = Some(std::time::Instant::now());
            eprint!("\r{} {what} ", self.done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// A file whose content is hashed as it is written.
struct Hashed {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Hashed {
    fn new(file: File) -> Self {
        Self {
            file: BufWriter::new(file),
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// The hash as digits, and how many bytes there were.
    fn finish(self) -> (String, u64) {
        (hexadecimal(&self.hash.finalize()), self.bytes)
    }
}

impl Write for Hashed {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.hash.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }
}
