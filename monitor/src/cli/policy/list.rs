//! `watchkeeper policy list`

use clap::Args;

use crate::{
    cli::{
        client::{self, Connection, Output},
        json, show,
        terminal::{Style, clean, styled},
    },
    proto::v1::{self, policies_client::PoliciesClient},
};

/// Lists the rules and exceptions in force, with how often exceptions were used
#[derive(Args)]
#[command(
    after_help = "Examples:\n  watchkeeper policy list\n  watchkeeper policy list -o json | jq .rules[].id"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    /// How to print them
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let listed = client::block_on(async {
        let channel = arguments.connection.connect().await?;
        let listed = PoliciesClient::new(channel)
            .list(v1::PoliciesListRequest {})
            .await
            .map_err(client::refused("listing policies"))?;
        Ok(listed.into_inner())
    })?;
    if arguments.output == Output::Json {
        return json::print("PoliciesListResponse", &listed);
    }
    let mut text = String::new();
    let mut table = plain_table(&["RULE", "SEVERITY", "TECHNIQUE", "TITLE", "POLICY"]);
    for rule in &listed.rules {
        let techniques: Vec<&str> = rule
            .attack
            .iter()
            .map(|attack| attack.technique_id.as_str())
            .collect();
        let severity = if rule.silent {
            "(no alerts)".to_owned()
        } else {
            show::severity(rule.severity()).0.to_owned()
        };
        table.add_row([
            clean(&rule.id).into_owned(),
            severity,
            techniques.join(", "),
            clean(&rule.title).into_owned(),
            clean(&rule.policy).into_owned(),
        ]);
    }
    text.push_str(&format!("{table}\n"));
    if !listed.exceptions.is_empty() {
        let mut table = plain_table(&[
            "EXCEPTED RULES",
            "HITS",
            "LAST",
            "UNTIL",
            "REASON",
            "POLICY",
        ]);
        for exception in &listed.exceptions {
            table.add_row([
                clean(&exception.rules.join(", ")).into_owned(),
                exception.hits.to_string(),
                show::time(exception.last_hit.as_ref()),
                show::last_day(exception.until.as_ref()),
                clean(&exception.reason).into_owned(),
                clean(&exception.policy).into_owned(),
            ]);
        }
        text.push_str(&format!("\n{table}\n"));
    }
    text.push_str(&format!(
        "\n{} of set {}, in force since {}\n",
        show::count(listed.rules.len(), "rule"),
        listed.digest.get(..12).unwrap_or(&listed.digest),
        show::time(listed.since.as_ref())
    ));
    for problem in &listed.problems {
        let line = format!(
            "{}:{}:{}: {}",
            problem.file, problem.line, problem.column, problem.message
        );
        text.push_str(&format!(
            "{} {}\n",
            styled("not in force:", Style::Bad),
            clean(&line)
        ));
    }
    show::print(&text)?;
    Ok(())
}

/// A table without lines.
pub(super) fn plain_table(heading: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(heading);
    table
}
