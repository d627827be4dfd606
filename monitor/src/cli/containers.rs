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

/// Columns of the list, and of that with `--isolation`.
const PLAIN: [&str; 7] = ["ID", "RUNTIME", "POD", "NAME", "IMAGE", "INIT PID", "STATE"];
const ISOLATION: [&str; 7] = [
    "ID",
    "RUNTIME",
    "POD",
    "NAME",
    "UID",
    "CONFINED BY",
    "WEAK IN",
];

/// Lists the containers of this node with their pods and images
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    watchkeeper containers\n  \
    watchkeeper containers --isolation\n  \
    watchkeeper containers --ended -o json")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    /// Also those that have ended, as far as the agent still knows them
    #[arg(long)]
    ended: bool,

    /// How each is kept apart from the node at this moment: user, capabilities, seccomp, label, and what makes it easier to get out
    /// than it has to be
    #[arg(long)]
    isolation: bool,

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
                isolation: arguments.isolation,
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
            .set_header(if arguments.isolation {
                ISOLATION
            } else {
                PLAIN
            });
        for container in &containers {
            let mut row = vec![
                clean(show::short_id(&container.id)).into_owned(),
                show::runtime(container.runtime()).to_owned(),
                show::pod(container.pod.as_ref()),
                if container.sandbox {
                    "(sandbox)".to_owned()
                } else {
                    clean(&container.name).into_owned()
                },
            ];
            row.extend(if arguments.isolation {
                isolation(container.isolation.as_ref())
            } else {
                [
                    clean(&container.image).into_owned(),
                    container.init_pid.to_string(),
                    state(container).to_owned(),
                ]
            });
            table.add_row(row);
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

/// Who it runs as, what it may do, and what is weak.
fn isolation(isolation: Option<&v1::Isolation>) -> [String; 3] {
    let Some(found) = isolation else {
        return ["-".to_owned(), "-".to_owned(), "not known".to_owned()];
    };
    let mut confinement = vec![format!("seccomp {}", clean(&found.seccomp))];
    if found.no_new_privileges {
        confinement.push("no new privileges".to_owned());
    }
    if found.read_only_root {
        confinement.push("read-only root".to_owned());
    }
    if !found.label.is_empty() {
        confinement.push(clean(&found.label).into_owned());
    }
    let weaknesses = if found.weaknesses.is_empty() {
        "none".to_owned()
    } else {
        clean(&found.weaknesses.join("; ")).into_owned()
    };
    [found.uid().to_string(), confinement.join(", "), weaknesses]
}

fn state(container: &v1::Container) -> &'static str {
    match (&container.ended, container.metadata()) {
        (Some(_), _) => "ended",
        (None, v1::Metadata::Pending) => "running, names asked for",
        (None, v1::Metadata::Unavailable) => "running, no names",
        (None, v1::Metadata::Complete | v1::Metadata::Unspecified) => "running",
    }
}
