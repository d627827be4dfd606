//! `watchkeeper events`

use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use prost_types::Timestamp;

use super::{
    client::{self, Connection, Output},
    detail, json, show,
};
use crate::proto::{
    kind_name,
    v1::{self, EventKind, events_client::EventsClient, events_watch_response::Item},
};

/// Shows what processes did: the events that the node still has, and with --follow those to come
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    watchkeeper events --kind exec --since 15m\n  \
    watchkeeper events --follow --pod shop/web-1\n  \
    watchkeeper events --since 1h --address 203.0.113.0/24 --label app=shop\n  \
    watchkeeper events --containers -o json | jq .process.argv")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    #[command(flatten)]
    selection: Selection,

    /// Only this kind; may be given more than once
    #[arg(long, value_name = "KIND", value_parser = kind())]
    kind: Vec<EventKind>,

    /// Only with this address, or one of this network, at either end of a connection or in a DNS answer
    #[arg(long, value_name = "ADDRESS|CIDR")]
    address: Vec<String>,

    /// Only with this port at either end
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u32).range(1..=65535))]
    port: Vec<u32>,

    /// Only about this name or one below it: asked for by DNS, or connected to
    #[arg(long, value_name = "NAME")]
    domain: Vec<String>,

    /// Only about this file, or what is in this directory
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,

    /// Only the events that caused this alert (its id, or the beginning of it)
    #[arg(long, value_name = "ID", conflicts_with_all = ["cursor", "limit", "first", "follow"])]
    alert: Option<String>,
}

/// Which part of a stream to show, and how: the same for events and alerts.
#[derive(Args)]
pub(super) struct Selection {
    #[command(flatten)]
    pub(super) filter: Filter,

    /// Nothing older: how long ago (90s, 15m, 1h, 2d) or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = client::moment, allow_hyphen_values = true)]
    pub(super) since: Option<Timestamp>,

    /// Nothing newer, likewise
    #[arg(long, value_name = "TIME", value_parser = client::moment, allow_hyphen_values = true)]
    pub(super) until: Option<Timestamp>,

    /// Go on after the one with this cursor
    #[arg(long, value_name = "CURSOR")]
    pub(super) cursor: Option<String>,

    /// At most this many from the past, the newest; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(super) limit: u32,

    /// At most this many, the first; 0 for all
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        conflicts_with = "limit"
    )]
    pub(super) first: u32,

    /// Go on with those to come
    #[arg(long, short)]
    pub(super) follow: bool,

    /// How to print them
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub(super) output: Output,
}

/// Where something happened.
#[derive(Args)]
pub(super) struct Filter {
    /// Only this pod; may be given more than once
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = pod)]
    pod: Vec<String>,

    /// Only pods of this namespace; may be given more than once
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Vec<String>,

    /// Only pods of this workload, such as deployment/web; may be given more than once. Known where the API server is asked
    #[arg(long, value_name = "KIND/NAME", value_parser = workload)]
    workload: Vec<String>,

    /// Only this container, by name or the beginning of its id; may be given more than once
    #[arg(long, value_name = "NAME|ID")]
    container: Vec<String>,

    /// Only what happened in containers
    #[arg(long)]
    containers: bool,

    /// Only pods or containers with this label; where more are given, with all of them
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,

    /// Only containers whose image has this in its name or digest
    #[arg(long, value_name = "TEXT")]
    image: Vec<String>,

    /// Only this executable, by path or by name
    #[arg(long, value_name = "PATH|NAME")]
    binary: Vec<String>,

    /// Only processes with this in their command line
    #[arg(long, value_name = "TEXT")]
    argv: Vec<String>,

    /// Only processes with this effective user id
    #[arg(long, value_name = "UID")]
    uid: Vec<u32>,

    /// Only this process, by its id on the host
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
}

fn pod(text: &str) -> Result<String, String> {
    if is_pair(text) {
        Ok(text.to_owned())
    } else {
        Err("give it as NAMESPACE/NAME".to_owned())
    }
}

fn workload(text: &str) -> Result<String, String> {
    if is_pair(text) {
        Ok(text.to_owned())
    } else {
        Err("give it as KIND/NAME, and the namespace with --namespace".to_owned())
    }
}

fn is_pair(text: &str) -> bool {
    let mut parts = text.split('/');
    let is_part = |part: Option<&str>| part.is_some_and(|part| !part.is_empty());
    is_part(parts.next()) && is_part(parts.next()) && parts.next().is_none()
}

impl From<Filter> for v1::Filter {
    fn from(filter: Filter) -> Self {
        Self {
            pods: filter.pod,
            namespaces: filter.namespace,
            containers: filter.container,
            containers_only: filter.containers,
            labels: filter.label,
            images: filter.image,
            binaries: filter.binary,
            arguments: filter.argv,
            uids: filter.uid,
            pids: filter.pid,
            workloads: filter.workload,
        }
    }
}

pub(super) fn kind() -> impl TypedValueParser<Value = EventKind> {
    PossibleValuesParser::new(detail::kinds().map(|kind| PossibleValue::new(kind_name(kind)))).map(
        |name| {
            detail::kinds()
                .find(|kind| kind_name(*kind) == name)
                .unwrap_or_default()
        },
    )
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    client::block_on(async {
        let channel = arguments.connection.connect().await?;
        let selection = arguments.selection;
        let output = selection.output;
        let failed = client::refused("reading events");
        let mut stream = EventsClient::new(channel)
            .watch(v1::EventsWatchRequest {
                kinds: arguments.kind.into_iter().map(Into::into).collect(),
                since: selection.since,
                until: selection.until,
                cursor: selection.cursor.unwrap_or_default(),
                limit: selection.limit,
                first: selection.first,
                addresses: arguments.address,
                ports: arguments.port,
                domains: arguments.domain,
                paths: arguments.path,
                alert_id: arguments.alert.unwrap_or_default(),
                follow: selection.follow,
                filter: Some(selection.filter.into()),
            })
            .await
            .map_err(&failed)?
            .into_inner();
        let mut shown = 0_u64;
        while let Some(message) = stream.message().await.map_err(&failed)? {
            match message.item {
                Some(Item::Event(event)) if output == Output::Json => {
                    json::print("Event", &event)?;
                }
                Some(Item::Event(event)) => {
                    if shown == 0 {
                        show::print(&show::event_heading())?;
                    }
                    show::print(&show::event(&event))?;
                }
                Some(Item::Lost(lost)) => show::lost(&lost),
                Some(Item::Amended(_) | Item::Heartbeat(_)) | None => continue,
            }
            shown += 1;
        }
        if shown == 0 && output == Output::Table {
            eprintln!("no events");
        }
        Ok(())
    })
}
