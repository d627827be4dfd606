//! `watchkeeper containers`

use std::collections::BTreeSet;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};

use super::{
    client::{self, Connection, Output},
    json, show,
    terminal::clean,
};
use crate::proto::v1::{self, containers_client::ContainersClient};

/// Lists the containers of this node with their pods and images
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    watchkeeper containers\n  \
    watchkeeper containers --ended -o json")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    /// Also those that have ended, as far as the agent still knows them
    #[arg(long)]
    ended: bool,

    /// How to print them
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    client::block_on(async {
        let channel = arguments.connection.connect().await?;
        let containers = ContainersClient::new(channel)
            .list(v1::ContainersListRequest {
                ended: arguments.ended,
            })
            .await
            .map_err(client::refused("listing containers"))?
            .into_inner()
            .containers;
        if arguments.output == Output::Json {
            return containers
                .iter()
                .try_for_each(|container| json::print("Container", container));
        }
        if containers.is_empty() {
            eprintln!("no containers");
            return Ok(());
        }
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(["ID", "RUNTIME", "POD", "NAME", "IMAGE", "INIT PID", "STATE"]);
        for container in &containers {
            table.add_row([
                clean(show::short_id(&container.id)).into_owned(),
                show::runtime(container.runtime()).to_owned(),
                show::pod(container.pod.as_ref()),
                if container.sandbox {
                    "(sandbox)".to_owned()
                } else {
                    clean(&container.name).into_owned()
                },
                clean(&container.image).into_owned(),
                container.init_pid.to_string(),
                state(container).to_owned(),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let mut text = format!("{}\n", table.trim_fmt());
        let reasons: BTreeSet<&str> = containers
            .iter()
            .map(|container| container.metadata_reason.as_str())
            .filter(|reason| !reason.is_empty())
            .collect();
        for reason in reasons {
            text.push_str(&format!("\nno names: {}\n", clean(reason)));
        }
        show::print(&text)?;
        Ok(())
    })
}

fn state(container: &v1::Container) -> &'static str {
    match (&container.ended, container.metadata()) {
        (Some(_), _) => "ended",
        (None, v1::Metadata::Pending) => "running, names asked for",
        (None, v1::Metadata::Unavailable) => "running, no names",
        (None, v1::Metadata::Complete | v1::Metadata::Unspecified) => "running",
    }
}
