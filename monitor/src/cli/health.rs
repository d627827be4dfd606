//! `watchkeeper health`

use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::{
    client::{self, Connection, Output},
    json, show,
    terminal::clean,
};
use crate::proto::v1::{self, node_client::NodeClient};

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells whether the node is watched: whether a sign of life came from the kernel to a client within the last seconds, and what is
/// wrong otherwise
///
/// Ends with code 0 only if it is. The same is told by the gRPC service grpc.health.v1.Health on the agent's socket.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    watchkeeper health           is the node watched? (readiness)\n  \
    watchkeeper health --live    does the agent itself work, or may a restart help? (liveness)")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    /// Only whether the agent itself works: where it does not, a restart may help
    #[arg(long)]
    live: bool,

    /// How to print it
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// `false` where something is wrong.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    client::block_on(async {
        let asked = tokio::time::timeout(PATIENCE, ask(&arguments.connection)).await;
        let Ok(answer) = asked else {
            bail!(
                "asking for the health: the agent does not answer within {} s",
                PATIENCE.as_secs()
            );
        };
        let health = answer?;
        let is_well = if arguments.live {
            health.live
        } else {
            health.serving
        };
        if arguments.output == Output::Json {
            json::print("Health", &health)?;
        } else if is_well {
            show::print(if arguments.live {
                "live\n"
            } else {
                "serving\n"
            })?;
        } else {
            for reason in &health.reasons {
                eprintln!("watchkeeper: {}", clean(reason));
            }
        }
        Ok(is_well)
    })
}

async fn ask(connection: &Connection) -> anyhow::Result<v1::Health> {
    let status = NodeClient::new(connection.connect().await?)
        .status(v1::NodeStatusRequest {})
        .await
        .map_err(client::refused("asking for the health"))?
        .into_inner();
    Ok(status.health.unwrap_or_default())
}
