//! `watchkeeper policy dry-run`

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
};

use anyhow::bail;
use clap::Args;
use prost_types::Timestamp;

use super::{list::plain_table, messages};
use crate::{
    cli::{
        client::{self, Connection, Output},
        json, show,
        terminal::{Style, clean, styled},
    },
    proto::v1::{self, policies_client::PoliciesClient, policies_dry_run_response::Item},
};

/// Shows what policies would have found in this node's history: how often, and in which pods
///
/// The files are judged together with the built-in policies, in place of those in force. Nothing is put in force.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  watchkeeper policy dry-run shop.yaml --since 24h\n  watchkeeper policy dry-run --all-rules --since 1h -o json"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    /// Policy files, or directories of them
    #[arg(value_name = "FILE", required_unless_present = "all_rules")]
    files: Vec<PathBuf>,

    /// Nothing older than this
    #[arg(long, value_name = "TIME", value_parser = client::moment)]
    since: Option<Timestamp>,

    /// Nothing newer than this
    #[arg(long, value_name = "TIME", value_parser = client::moment)]
    until: Option<Timestamp>,

    /// Also rules that the files neither define nor change
    #[arg(long)]
    all_rules: bool,

    /// How to print what was found
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let files = messages(&arguments.files)?;
    let result = client::block_on(async {
        let channel = arguments.connection.connect().await?;
        let failed = client::refused("judging history");
        let mut stream = PoliciesClient::new(channel)
            .dry_run(v1::PoliciesDryRunRequest {
                files,
                since: arguments.since,
                until: arguments.until,
                filter: None,
                all_rules: arguments.all_rules,
            })
            .await
            .map_err(&failed)?
            .into_inner();
        while let Some(message) = stream.message().await.map_err(&failed)? {
            match message.item {
                Some(Item::Progress(progress)) => tell(&progress),
                Some(Item::Result(result)) => {
                    clear();
                    return Ok(result);
                }
                None => {}
            }
        }
        bail!("judging history: the agent ended it before the end");
    })?;
    if arguments.output == Output::Json {
        return json::print("DryRunResult", &result);
    }
    show::print(&table(&result))?;
    Ok(())
}

fn tell(progress: &v1::DryRunProgress) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let time = show::time(progress.time.as_ref());
        // Nothing depends on whether anybody sees it.
        let _ = write!(out, "\r{} events, up to {time}", progress.events);
        let _ = out.flush();
    }
}

fn clear() {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[K");
        let _ = out.flush();
    }
}

fn table(result: &v1::DryRunResult) -> String {
    let mut text = String::new();
    let mut table = plain_table(&[
        "RULE", "SEVERITY", "ALERTS", "FINDINGS", "EXCEPTED", "LAST", "WHERE",
    ]);
    for rule in &result.rules {
        let places: Vec<String> = rule
            .places
            .iter()
            .take(3)
            .map(|place| format!("{} ({})", clean(short(&place.place)), place.findings))
            .collect();
        let more = rule.places.len().saturating_sub(3);
        let more = if more == 0 {
            String::new()
        } else {
            format!(", {more} more")
        };
        let alerts = if rule.silent {
            "-".to_owned()
        } else {
            rule.alerts.to_string()
        };
        table.add_row([
            clean(&rule.rule_id).into_owned(),
            show::severity(rule.severity()).0.to_owned(),
            alerts,
            rule.findings.to_string(),
            rule.excepted.to_string(),
            show::time(rule.last.as_ref()),
            format!("{}{more}", places.join(", ")),
        ]);
    }
    if result.rules.is_empty() {
        text.push_str("nothing would have been found\n");
    } else {
        text.push_str(&format!("{table}\n"));
        for rule in &result.rules {
            for message in &rule.messages {
                text.push_str(&format!(
                    "\n{} {}",
                    styled(&clean(&rule.rule_id), Style::Bold),
                    clean(message)
                ));
            }
        }
        text.push('\n');
    }
    text.push_str(&format!(
        "\n{} from {} to {} judged\n",
        show::count(result.events, "event"),
        show::time(result.first.as_ref()),
        show::time(result.last.as_ref())
    ));
    for gap in &result.gaps {
        text.push_str(&format!(
            "{} {}\n",
            styled("missing:", Style::Warning),
            clean(gap)
        ));
    }
    text
}

/// A place, which of a container without a name is its id.
fn short(place: &str) -> &str {
    let is_id = place.len() == 64 && place.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { show::short_id(place) } else { place }
}
