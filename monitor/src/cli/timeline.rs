//! `watchkeeper timeline`

use anyhow::bail;
use clap::Args;
use prost_types::Timestamp;

use super::{
    client::{self, Connection},
    detail,
    events::Filter,
    show,
    terminal::{Style, clean, styled},
};
use crate::proto::{
    kind_name,
    v1::{
        self, EventKind, alerts_client::AlertsClient, alerts_watch_response::Item as AlertItem,
        events_client::EventsClient, events_watch_response::Item,
    },
};

/// Kinds that tell how things were set up, and not what happened: left out unless all are wanted.
const BACKGROUND: [EventKind; 4] = [
    EventKind::Fork,
    EventKind::CgroupAttach,
    EventKind::CpuUsage,
    EventKind::Socket,
];

/// Shows what happened in the order of time, alerts among it: what a pod did in the last hour
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    watchkeeper timeline --pod shop/web-1 --since 1h\n  \
    watchkeeper timeline --image registry.example/shop/web --since 2h --until 1h --all")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    #[command(flatten)]
    filter: Filter,

    /// Nothing older: how long ago (90s, 15m, 1h, 2d) or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = client::moment, allow_hyphen_values = true)]
    since: Timestamp,

    /// Nothing newer, likewise
    #[arg(long, value_name = "TIME", value_parser = client::moment, allow_hyphen_values = true)]
    until: Option<Timestamp>,

    /// Also processes created, moves between cgroups, CPU use and sockets
    #[arg(long)]
    all: bool,
}

/// What happened several times in a row.
struct Row {
    kind: &'static str,
    place: String,
    pid: u32,
    what: String,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    count: u32,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let filter: v1::Filter = arguments.filter.into();
    let kinds = if arguments.all {
        Vec::new()
    } else {
        detail::kinds()
            .filter(|kind| !BACKGROUND.contains(kind))
            .map(Into::into)
            .collect()
    };
    client::block_on(async {
        let channel = arguments.connection.connect().await?;
        let failed = client::refused("reading the timeline");
        let mut alerts = AlertsClient::new(channel.clone())
            .watch(v1::AlertsWatchRequest {
                filter: Some(filter.clone()),
                since: Some(arguments.since),
                until: arguments.until,
                ..v1::AlertsWatchRequest::default()
            })
            .await
            .map_err(&failed)?
            .into_inner();
        let mut pending = Vec::new();
        while let Some(message) = alerts.message().await.map_err(&failed)? {
            if let Some(AlertItem::Alert(alert)) = message.item {
                pending.push(alert);
            }
        }
        let at = |time: Option<Timestamp>| time.map_or((0, 0), |time| (time.seconds, time.nanos));
        pending.sort_by_key(|alert| at(alert.first_seen));
        let mut pending = pending.into_iter().peekable();
        let mut events = EventsClient::new(channel)
            .watch(v1::EventsWatchRequest {
                filter: Some(filter),
                kinds,
                since: Some(arguments.since),
                until: arguments.until,
                ..v1::EventsWatchRequest::default()
            })
            .await
            .map_err(&failed)?
            .into_inner();
        let mut row: Option<Row> = None;
        let mut shown = false;
        while let Some(message) = events.message().await.map_err(&failed)? {
            let event = match message.item {
                Some(Item::Event(event)) => event,
                Some(Item::Lost(lost)) => {
                    show_row(row.take())?;
                    show::lost(&lost);
                    continue;
                }
                Some(Item::Amended(_) | Item::Heartbeat(_)) | None => continue,
            };
            shown = true;
            while let Some(alert) = pending.next_if(|alert| at(alert.first_seen) < at(event.time)) {
                show_row(row.take())?;
                show_alert(&alert)?;
            }
            let new = Row {
                kind: kind_name(event.kind()),
                place: show::place(event.location(), event.container.as_ref()),
                pid: event.process.as_ref().map_or(0, |process| process.pid),
                what: detail::what(&event),
                first: event.time,
                last: event.time,
                count: 1,
            };
            match &mut row {
                Some(row) if row.is_like(&new) => {
                    row.count += 1;
                    row.last = new.last;
                }
                _ => show_row(row.replace(new))?,
            }
        }
        show_row(row.take())?;
        for alert in pending {
            shown = true;
            show_alert(&alert)?;
        }
        if !shown {
            bail!("nothing is known for that time; a longer --since may show something");
        }
        Ok(())
    })
}

impl Row {
    /// The same thing, done by whichever process.
    fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.place == other.place && self.what == other.what
    }
}

fn show_row(row: Option<Row>) -> anyhow::Result<()> {
    let Some(row) = row else {
        return Ok(());
    };
    let times = match row.count {
        1 => String::new(),
        count => format!("  ({count} times, last {})", show::time(row.last.as_ref())),
    };
    show::print(&format!(
        "{:<25} {:<18} {:>8}  {}{times}  {}\n",
        show::time(row.first.as_ref()),
        row.kind,
        row.pid,
        row.what,
        styled(&row.place, Style::Dim),
    ))?;
    Ok(())
}

fn show_alert(alert: &v1::Alert) -> anyhow::Result<()> {
    let (severity, style) = show::severity(alert.severity());
    let place = show::place(alert.location(), alert.container.as_ref());
    show::print(&format!(
        "{:<25} {}  {}  {}\n",
        show::time(alert.first_seen.as_ref()),
        styled(
            &format!(
                "ALERT {severity} {}: {}",
                clean(&alert.rule_id),
                clean(&alert.message)
            ),
            style
        ),
        styled(&place, Style::Dim),
        alert.id,
    ))?;
    Ok(())
}
