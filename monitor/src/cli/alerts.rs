//! `watchkeeper alerts`

use clap::{Args, ValueEnum};

use super::{
    client::{self, Connection, Output},
    json, show,
};
use crate::proto::v1::{self, alerts_client::AlertsClient, alerts_watch_response::Item};

/// Shows alerts: those that the node still has, and with --follow those to come
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    watchkeeper alerts --since 1h\n  \
    watchkeeper alerts --follow --severity high\n  \
    watchkeeper alerts -o json | jq -r '.ruleId + \" \" + .container.pod.name'")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    #[command(flatten)]
    selection: super::events::Selection,

    /// Only this rule; may be given more than once
    #[arg(long, value_name = "ID")]
    rule: Vec<String>,

    /// Nothing below this severity
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<Severity>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Severity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl From<Severity> for v1::Severity {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Informational => Self::Informational,
            Severity::Low => Self::Low,
            Severity::Medium => Self::Medium,
            Severity::High => Self::High,
            Severity::Critical => Self::Critical,
        }
    }
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    client::block_on(async {
        let channel = arguments.connection.connect().await?;
        let selection = arguments.selection;
        let (output, follow) = (selection.output, selection.follow);
        let failed = client::refused("reading alerts");
        let mut stream = AlertsClient::new(channel)
            .watch(v1::AlertsWatchRequest {
                min_severity: arguments
                    .severity
                    .map_or(v1::Severity::Unspecified, v1::Severity::from)
                    .into(),
                rules: arguments.rule,
                since: selection.since,
                until: selection.until,
                cursor: selection.cursor.unwrap_or_default(),
                limit: selection.limit,
                first: selection.first,
                follow,
                filter: Some(selection.filter.into()),
            })
            .await
            .map_err(&failed)?
            .into_inner();
        let mut shown = 0_u64;
        while let Some(message) = stream.message().await.map_err(&failed)? {
            match message.item {
                Some(Item::Alert(alert)) if output == Output::Json => {
                    json::print("Alert", &alert)?;
                }
                Some(Item::Alert(alert)) => show::print(&show::alert(&alert))?,
                Some(Item::Lost(lost)) => show::lost(&lost),
                Some(Item::Amended(_) | Item::Heartbeat(_)) | None => continue,
            }
            shown += 1;
        }
        if shown == 0 && output == Output::Table {
            eprintln!("no alerts");
        }
        Ok(())
    })
}
