//! `watchkeeper status`

use std::fmt::Write as _;

use aya::sys::{Stats, enable_stats};
use clap::Args;

use super::{
    client::{self, Connection, Output},
    json, show,
    terminal::{Style, clean, styled},
};
use crate::proto::v1::{self, node_client::NodeClient};

/// Shows how the agent is: sensors, runtime, losses, how far back its memory reaches
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    watchkeeper status -o json | jq .degraded\n  \
    watchkeeper status --programs --seconds 10")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    /// Show what each eBPF program costs instead: counts for some seconds
    #[arg(long)]
    programs: bool,

    /// How long to count
    #[arg(long, value_name = "SECONDS", default_value_t = 1, requires = "programs",
        value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,

    /// How to print it
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    client::block_on(async {
        let channel = arguments.connection.connect().await?;
        if arguments.programs {
            // The kernel counts as long as this is open. The agent has given up the capability that it takes.
            let _counting = enable_stats(Stats::RunTime);
            return programs(NodeClient::new(channel), arguments).await;
        }
        let status = NodeClient::new(channel)
            .status(v1::NodeStatusRequest {})
            .await
            .map_err(client::refused("asking for the status"))?
            .into_inner();
        if arguments.output == Output::Json {
            json::print("NodeStatusResponse", &status)
        } else {
            Ok(show::print(&text(&status))?)
        }
    })
}

/// What the programs cost.
async fn programs(
    mut client: NodeClient<tonic::transport::Channel>,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let request = v1::NodeProgramsRequest {
        seconds: arguments.seconds,
    };
    let costs = client
        .programs(request)
        .await
        .map_err(client::refused("asking what the programs cost"))?
        .into_inner();
    if arguments.output == Output::Json {
        return json::print("NodeProgramsResponse", &costs);
    }
    let heading = format!(
        "{:<22} {:>10} {:>10} {:>8} {:>12} {:>8}",
        "PROGRAM", "RUNS/S", "NS/RUN", "CPU %", "VERIFIED", "KIB"
    );
    let mut out = format!("{}\n", styled(&heading, Style::Bold));
    let seconds = f64::from(costs.seconds.max(1));
    for program in &costs.programs {
        let runs = program.runs as f64;
        let time_ns = program.time_ns as f64;
        let _ = writeln!(
            out,
            "{:<22} {:>10.1} {:>10.0} {:>8.3} {:>12} {:>8}",
            program.name,
            runs / seconds,
            if program.runs == 0 {
                0.0
            } else {
                time_ns / runs
            },
            time_ns / seconds / 1e7,
            program.verified_instructions,
            program.memory.div_ceil(1024),
        );
    }
    Ok(show::print(&out)?)
}

/// What the API server tells.
fn kubernetes(kubernetes: &v1::KubernetesConnection) -> String {
    let known = format!(
        "{} of this node and {} known",
        show::count(kubernetes.pods, "pod"),
        show::count(kubernetes.namespaces, "namespace")
    );
    if kubernetes.connected {
        known
    } else {
        format!("not connected; {known}")
    }
}

/// The policies in force.
fn policy(policy: Option<&v1::PolicyStatus>) -> String {
    let policy = policy.cloned().unwrap_or_default();
    let own = if policy.directory.is_empty() {
        "built in".to_owned()
    } else {
        format!("built in and in {}", policy.directory)
    };
    format!(
        "{} and {}, {own}; set {}, since {}",
        show::count(policy.rules, "rule"),
        show::count(policy.exceptions, "exception"),
        policy.digest.get(..12).unwrap_or(&policy.digest),
        show::time(policy.since.as_ref())
    )
}

/// What is kept on disk.
fn history(history: Option<&v1::HistoryStatus>) -> String {
    let history = history.cloned().unwrap_or_default();
    if history.directory.is_empty() {
        return "in memory only".to_owned();
    }
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    format!(
        "{} of at most {} and {} h, in {}; {} events written, {} missing",
        mib(history.bytes),
        mib(history.max_bytes),
        history.max_age_seconds / 3_600,
        clean(&history.directory),
        history.events_written,
        history.events_missed,
    )
}

/// The status for people.
fn text(status: &v1::NodeStatusResponse) -> String {
    let mut out = String::new();
    let counters = status.counters.unwrap_or_default();
    let runtime = status.runtime.clone().unwrap_or_default();
    let mut line = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{name:<12}{value}");
    };
    line("node", &clean(&status.node));
    line("agent", &status.version);
    line("kernel", &clean(&status.kernel));
    line("started", &show::time(status.started.as_ref()));
    line("cgroups", &status.cgroup_hierarchy);
    let health = status.health.clone().unwrap_or_default();
    line(
        "health",
        &if health.serving {
            "serving".to_owned()
        } else {
            clean(&format!("NOT SERVING: {}", health.reasons.join("; "))).into_owned()
        },
    );
    line(
        "runtime",
        &if runtime.connected {
            clean(&format!("{} at {}", runtime.runtime, runtime.socket)).into_owned()
        } else {
            "not connected".to_owned()
        },
    );
    if let Some(kubernetes) = &status.kubernetes {
        line("kubernetes", &self::kubernetes(kubernetes));
    }
    line(
        "events",
        &format!(
            "{} seen, kept since {}",
            counters.events,
            show::time(status.oldest_event.as_ref())
        ),
    );
    line("alerts", &counters.alerts.to_string());
    line("policies", &policy(status.policy.as_ref()));
    line("history", &history(status.history.as_ref()));
    line(
        "lost",
        &format!("{}, and {} unreadable", counters.lost, counters.malformed),
    );
    line(
        "processes",
        &format!(
            "{} of at most {}, {} refused",
            counters.processes, counters.process_ceiling, counters.processes_refused
        ),
    );
    line("containers", &counters.containers.to_string());
    line("clients", &counters.subscribers.to_string());
    let _ = writeln!(
        out,
        "\n{}",
        styled("SENSOR            STATE       HOOK", Style::Bold)
    );
    for sensor in &status.sensors {
        let (state, style) = match sensor.state() {
            v1::SensorState::Active => ("active", Style::Good),
            v1::SensorState::Failed => ("failed", Style::Bad),
            v1::SensorState::Disabled => ("disabled", Style::Warning),
            v1::SensorState::NotOffered => ("not needed", Style::Dim),
            v1::SensorState::Unspecified => ("unknown", Style::Warning),
        };
        let padding = " ".repeat(12_usize.saturating_sub(state.len()));
        if sensor.state() == v1::SensorState::NotOffered {
            let state = styled(state, style);
            let _ = writeln!(out, "{:<18}{state}{padding}{}", sensor.name, sensor.reason);
            continue;
        }
        let _ = writeln!(
            out,
            "{:<18}{}{padding}{} ({}{})",
            sensor.name,
            styled(state, style),
            sensor.hook,
            sensor.rung,
            match sensor.verified_instructions {
                0 => String::new(),
                count => format!(", {count} verified instructions"),
            },
        );
    }
    if !status.degraded.is_empty() {
        let _ = writeln!(out, "\n{}", styled("DEGRADED", Style::Warning));
        for reason in &status.degraded {
            let _ = writeln!(out, "- {}", clean(reason));
        }
    }
    out
}
