//! `watchkeeper agent`

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, builder::PossibleValue};
use tracing_subscriber::EnvFilter;
use watchkeeper_ebpf::{budget::Rate, loss::Class, offsets::Sensor};

use super::{client, show};
use crate::{
    agent::{self, Configuration, SOCKET},
    container::cri::Socket,
    event::class_name,
    kernel::{attach, sensors},
    serve::sources::Sources,
    store::{Limits, MIN_BYTES, recent::Item},
};

/// Where the agent keeps its state when nothing else is said.
pub(super) const DEFAULT_STATE_DIR: &str = "/run/watchkeeper";

/// Where history is kept when nothing else is said.
const DEFAULT_HISTORY_DIR: &str = "/var/lib/watchkeeper";

/// Watches this node: loads the eBPF programs, and serves events and alerts until it is stopped
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    watchkeeper agent\n  \
    watchkeeper agent --print-alerts --cri-socket /run/crio/crio.sock\n  \
    watchkeeper agent --metrics-listen 127.0.0.1:9464\n  \
    watchkeeper agent --policy-dir /etc/watchkeeper/policies --ignore-cgroup /system.slice/backup.service")]
pub(super) struct Arguments {
    /// Directory for the socket, and for what else it writes where nothing else is said; made if missing
    #[arg(long, value_name = "DIR", env = "WATCHKEEPER_STATE_DIR", default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,

    /// Directory for what is kept of the past, in files; made if missing [default: /var/lib/watchkeeper, or `history` in the
    /// --state-dir that is given]
    #[arg(long, value_name = "DIR", env = "WATCHKEEPER_HISTORY_DIR")]
    history_dir: Option<PathBuf>,

    /// How large that may become; the oldest goes first. 0 keeps nothing on disk
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    history_size: u64,

    /// How old it may become
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = client::duration)]
    history_age: Duration,

    /// Socket of the container runtime, for the names of pods, containers and images; `auto` takes the first usual one
    #[arg(long, value_name = "PATH|auto|none", default_value = "auto", value_parser = cri_socket)]
    cri_socket: Socket,

    /// Directory with policy files (*.yaml) that change built-in rules
    #[arg(long, value_name = "DIR")]
    policy_dir: Option<PathBuf>,

    /// File with a list of watched files, which adds to the built-in one; read again at SIGHUP
    #[arg(long, value_name = "FILE")]
    watch_list: Option<PathBuf>,

    /// File with a list of secrets that are cut out of arguments, which adds to the built-in one
    #[arg(long, value_name = "FILE")]
    redact_list: Option<PathBuf>,

    /// Name of this node in events and alerts [default: the host's name]
    #[arg(long, value_name = "NAME", env = "WATCHKEEPER_NODE_NAME")]
    node_name: Option<String>,

    /// Answer requests of Prometheus for metrics here, at /metrics: whoever reaches the address can read them
    #[arg(long, value_name = "ADDRESS:PORT", env = "WATCHKEEPER_METRICS_LISTEN", value_parser = metrics_address)]
    metrics_listen: Option<SocketAddr>,

    /// Print alerts on standard output as they happen
    #[arg(long)]
    print_alerts: bool,

    /// Report nothing from this cgroup of the host and those below it (path from the hierarchy's root); containers
    /// are reported all the same
    #[arg(long, value_name = "PATH", value_parser = cgroup_path)]
    ignore_cgroup: Vec<String>,

    /// Do without this sensor
    #[arg(long, value_name = "NAME", value_parser = sensors())]
    disable_sensor: Vec<String>,

    /// Of the host's own processes, outside containers, report only these classes of events
    #[arg(long, value_name = "CLASS", value_delimiter = ',', default_value = "process,cgroup,credential,kernel",
        value_parser = class)]
    host_class: Vec<Class>,

    /// How many events of a class one container may cause, a second; more are counted and left out. May be given for
    /// each class
    #[arg(long, value_name = "CLASS=RATE", value_parser = budget)]
    budget: Vec<(Class, Rate)>,

    /// How often the CPU time that containers use is reported
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    cpu_interval: u32,

    /// How long is learnt what a workload usually does on the network, before it is told when it does something else
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=604_800))]
    learning: u32,

    /// Size of the ring buffer for events, in KiB: a power of two
    #[arg(long, value_name = "KIB", default_value = "4096", value_parser = ring_size)]
    ring_size: u32,
}

pub(super) fn cri_socket(text: &str) -> Result<Socket, String> {
    match text {
        "auto" => Ok(Socket::Auto),
        "none" => Ok(Socket::None),
        path if path.starts_with('/') => Ok(Socket::Path(PathBuf::from(path))),
        _ => Err("give an absolute path, `auto` or `none`".to_owned()),
    }
}

fn cgroup_path(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err("give a path below the root, such as /system.slice/backup.service".to_owned())
    }
}

/// Bytes, as `512MiB`, `2GiB` or a plain number.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => Some(0),
        "KiB" | "Ki" | "K" => Some(10),
        "MiB" | "Mi" | "M" => Some(20),
        "GiB" | "Gi" | "G" => Some(30),
        "TiB" | "Ti" | "T" => Some(40),
        _ => None,
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .zip(unit)
        .and_then(|(number, unit)| number.checked_mul(1 << unit))
        .ok_or("give a size as 512MiB or 2GiB")?;
    if bytes == 0 || bytes >= MIN_BYTES {
        Ok(bytes)
    } else {
        Err(format!(
            "give at least {} MiB, or 0 for none",
            MIN_BYTES >> 20
        ))
    }
}

fn ring_size(text: &str) -> Result<u32, String> {
    let kib: u32 = text
        .parse()
        .map_err(|_| "give a number of KiB".to_owned())?;
    if kib.is_power_of_two() && (64..=1 << 20).contains(&kib) {
        Ok(kib * 1_024)
    } else {
        Err("give a power of two from 64 to 1048576".to_owned())
    }
}

fn class(text: &str) -> Result<Class, String> {
    Class::ALL
        .into_iter()
        .find(|class| class_name(*class) == text)
        .ok_or_else(|| {
            let names: Vec<_> = Class::ALL.into_iter().map(class_name).collect();
            format!("give one of {}", names.join(", "))
        })
}

fn budget(text: &str) -> Result<(Class, Rate), String> {
    let (name, rate) = text
        .split_once('=')
        .ok_or("give it as CLASS=RATE, such as file=1000")?;
    let per_second: u32 = rate
        .parse()
        .ok()
        .filter(|rate| (1..=1_000_000).contains(rate))
        .ok_or("give a rate from 1 to 1000000 events a second")?;
    Ok((
        class(name)?,
        Rate {
            per_second,
            burst: per_second,
        },
    ))
}

fn metrics_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "give an address and a port, such as 127.0.0.1:9464 or [::]:9464".to_owned())
}

fn sensors() -> impl clap::builder::TypedValueParser<Value = String> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    PossibleValuesParser::new(
        Sensor::ALL
            .into_iter()
            .map(|sensor| PossibleValue::new(sensors::name(sensor))),
    )
    .map(|name| name)
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder()
                .with_env_var("WATCHKEEPER_LOG")
                .try_from_env()
                .unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let print_alerts = arguments.print_alerts;
    let socket = arguments.state_dir.join(SOCKET);
    // Whoever names a state directory has everything in there.
    let history_dir = match arguments.history_dir {
        Some(directory) => directory,
        None if arguments.state_dir == Path::new(DEFAULT_STATE_DIR) => DEFAULT_HISTORY_DIR.into(),
        None => arguments.state_dir.join("history"),
    };
    let configuration = Configuration {
        state_dir: arguments.state_dir,
        cri_socket: arguments.cri_socket,
        policy_dir: arguments.policy_dir,
        watch_list: arguments.watch_list,
        redact_list: arguments.redact_list,
        telemetry_bytes: arguments.ring_size,
        critical_bytes: 1 << 20,
        ignored_cgroups: arguments.ignore_cgroup,
        disabled_sensors: Sensor::ALL
            .into_iter()
            .filter(|sensor| {
                arguments
                    .disable_sensor
                    .iter()
                    .any(|name| name == sensors::name(*sensor))
            })
            .collect(),
        host_classes: arguments.host_class,
        budgets: arguments.budget,
        cpu_interval: Duration::from_secs(arguments.cpu_interval.into()),
        learning: Duration::from_secs(arguments.learning.into()),
        history: (arguments.history_size > 0).then_some((
            history_dir,
            Limits {
                bytes: arguments.history_size,
                age: arguments.history_age,
            },
        )),
        node_name: arguments.node_name,
        metrics_listen: arguments.metrics_listen,
    };
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
