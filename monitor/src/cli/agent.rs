//! `watchkeeper agent`

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::show;
use crate::{
    agent::{self, SOCKET},
    configuration::{Settings, file},
    kernel::attach,
    serve::sources::Sources,
    store::recent::Item,
};

/// What is logged when nothing else is said. What the client of Kubernetes says of its failures, the agent says itself.
const LOGGED: &str = "info,kube_client=off,kube_runtime=off";

/// Watches this node: loads the eBPF programs, and serves events and alerts until it is stopped
///
/// What is said here or in the environment counts before what the configuration file says. `watchkeeper config show --effective` tells
/// what comes of it.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    watchkeeper agent\n  \
    watchkeeper agent --config /etc/watchkeeper/config.yaml --history-size 4GiB\n  \
    watchkeeper agent --print-alerts --cri-socket /run/crio/crio.sock\n  \
    watchkeeper agent --metrics-listen 127.0.0.1:9464\n  \
    watchkeeper agent --policy-dir /etc/watchkeeper/policies --ignore-cgroup /system.slice/backup.service")]
pub(super) struct Arguments {
    /// Configuration file [default: /etc/watchkeeper/config.yaml, where it exists]
    #[arg(long, value_name = "FILE", env = "WATCHKEEPER_CONFIG")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder()
                .with_env_var("WATCHKEEPER_LOG")
                .try_from_env()
                .unwrap_or_else(|_| EnvFilter::new(LOGGED)),
        )
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let said_in_file =
        file::find(arguments.config.as_deref()).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let settings = arguments.settings.over(&said_in_file.unwrap_or_default());
    let print_alerts = settings.print_alerts == Some(true);
    let configuration = settings.configuration()?;
    let socket = configuration.state_dir.join(SOCKET);
    agent::run(configuration, |sources| {
        if print_alerts {
            print_as_they_happen(sources);
        }
        let count = |state| {
            let sensors = sources.sensors.iter();
            sensors.filter(|status| status.state == state).count()
        };
        tracing::info!(
            "ready: {} of {} sensors active, {} containers, listening on {}",
            count(attach::SensorState::Active),
            sources.sensors.len() - count(attach::SensorState::NotOffered),
            sources.containers.all().len(),
            socket.display()
        );
        Ok(())
    })
}

/// Prints each new alert. A full standard output holds up nothing but this.
fn print_as_they_happen(sources: &Sources) {
    let (alerts, context) = (Arc::clone(&sources.alerts.recent), sources.context.clone());
    tokio::spawn(async move {
        let mut news = alerts.subscribe();
        let mut after = None;
        loop {
            let batch = alerts.after(after, 64);
            let empty = batch.items.is_empty();
            for (number, item) in batch.items {
                after = Some(number);
                if let Item::Value(alert) = item {
                    let text = show::alert(&context.alert(number, &alert));
                    let printed = tokio::task::spawn_blocking(move || show::print(&text)).await;
                    if !matches!(printed, Ok(Ok(()))) {
                        return;
                    }
                }
            }
            if empty && news.changed().await.is_err() {
                return;
            }
        }
    });
}
