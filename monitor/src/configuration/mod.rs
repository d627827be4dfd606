//! The configuration: what a file, the environment and the command line say of how the agent is to run. What is said on the command
//! line or in the environment counts before what the file says, and that before what is usual.

pub mod file;
pub mod value;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use value::{
    Address, Budget, CgroupPath, ClassName, RingSize, RuntimeSocket, SensorName, Size, Time,
};
use watchkeeper_ebpf::loss::Class;

use crate::{
    agent::Configuration,
    container::{cluster::Server, cri},
    store::Limits,
};

/// Where the agent keeps its state when nothing else is said.
pub const STATE_DIRECTORY: &str = "/run/watchkeeper";
/// Where history is kept when nothing else is said.
const HISTORY_DIRECTORY: &str = "/var/lib/watchkeeper";
/// Bytes of the ring for what must arrive.
const CRITICAL_BYTES: u32 = 1 << 20;

/// Everything that can be said, each in one place: the texts are those of `--help` and of the schema of files.
#[derive(Args, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Settings {
    /// The form of the file.
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<file::ApiVersion>,

    /// The kind of the file.
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<file::Kind>,

    /// Name of this node in events and alerts [default: the host's name]
    #[arg(long, value_name = "NAME", env = "WATCHKEEPER_NODE_NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,

    /// Directory for the socket, and for what else it writes where nothing else is said; made if missing [default: /run/watchkeeper]
    #[arg(long = "state-dir", value_name = "DIR", env = "WATCHKEEPER_STATE_DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_directory: Option<PathBuf>,

    /// Print alerts on standard output as they happen [default: false]
    #[arg(long, env = "WATCHKEEPER_PRINT_ALERTS", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_name = "true|false", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub print_alerts: Option<bool>,

    /// How long is learnt what a workload usually does on the network, before it is told when it does something else [default: 10m]
    #[arg(long, value_name = "TIME", env = "WATCHKEEPER_LEARNING")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning: Option<Time<1, 604_800>>,

    /// How much memory the agent may take as a whole, below the limit of its container: beyond it recent events are kept on disk
    /// alone, then recent alerts [default: 192MiB]
    #[arg(long, value_name = "SIZE", env = "WATCHKEEPER_MEMORY_LIMIT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<Size>,

    /// What is kept of the past.
    #[command(flatten)]
    #[serde(skip_serializing_if = "is_empty")]
    pub history: History,

    /// The container runtime.
    #[command(flatten)]
    #[serde(skip_serializing_if = "is_empty")]
    pub runtime: Runtime,

    /// What else is asked about containers.
    #[command(flatten)]
    #[serde(skip_serializing_if = "is_empty")]
    pub enrichment: Enrichment,

    /// What is looked for.
    #[command(flatten)]
    #[serde(skip_serializing_if = "is_empty")]
    pub policies: Policies,

    /// Metrics.
    #[command(flatten)]
    #[serde(skip_serializing_if = "is_empty")]
    pub metrics: Metrics,

    /// Health checks.
    #[command(flatten)]
    #[serde(skip_serializing_if = "is_empty")]
    pub health: Health,

    /// What runs on the host, outside containers.
    #[command(flatten)]
    #[serde(skip_serializing_if = "is_empty")]
    pub host: Host,

    /// What is taken from the kernel.
    #[command(flatten)]
    #[serde(skip_serializing_if = "is_empty")]
    pub sensors: Sensors,
}

/// What is kept of the past.
#[derive(Args, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct History {
    /// Directory for what is kept of the past, in files; made if missing [default: /var/lib/watchkeeper, or `history` in the
    /// state directory that is given]
    #[arg(
        id = "history-dir",
        long = "history-dir",
        value_name = "DIR",
        env = "WATCHKEEPER_HISTORY_DIR"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,

    /// How large that may become; the oldest goes first. 0 keeps nothing on disk [default: 1GiB]
    #[arg(
        id = "history-size",
        long = "history-size",
        value_name = "SIZE",
        env = "WATCHKEEPER_HISTORY_SIZE"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,

    /// How old it may become [default: 24h]
    #[arg(
        id = "history-age",
        long = "history-age",
        value_name = "TIME",
        env = "WATCHKEEPER_HISTORY_AGE"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Time<1, 315_360_000>>,
}

/// The container runtime.
#[derive(Args, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Runtime {
    /// Socket of the container runtime, for the names of pods, containers and images; `auto` takes the first usual one
    /// [default: auto]
    #[arg(
        long = "cri-socket",
        value_name = "PATH|auto|none",
        env = "WATCHKEEPER_CRI_SOCKET"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<RuntimeSocket>,
}

/// What else is asked about containers.
#[derive(Args, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Enrichment {
    /// Ask the API server of Kubernetes for the workloads that pods belong to, and for the labels of their namespaces. It takes
    /// read access to metadata of pods and namespaces [default: false, or true with a kubeconfig file]
    #[arg(long, env = "WATCHKEEPER_KUBERNETES", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_name = "true|false", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<bool>,

    /// Kubeconfig file that tells how to reach the API server, for agents that run in no pod [default: the service account of the
    /// agent's pod]
    #[arg(long, value_name = "FILE", env = "WATCHKEEPER_KUBECONFIG")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
}

/// What is looked for.
#[derive(Args, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Policies {
    /// Directory with policy files (*.yaml), which add rules and change built-in ones; changes of the files are taken over at once
    #[arg(
        id = "policy-dir",
        long = "policy-dir",
        value_name = "DIR",
        env = "WATCHKEEPER_POLICY_DIR"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,

    /// File with a list of watched files, which adds to the built-in one; read again at SIGHUP
    #[arg(long, value_name = "FILE", env = "WATCHKEEPER_WATCH_LIST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_list: Option<PathBuf>,

    /// File with a list of secrets that are cut out of arguments, which adds to the built-in one
    #[arg(long, value_name = "FILE", env = "WATCHKEEPER_REDACT_LIST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redact_list: Option<PathBuf>,
}

/// Metrics.
#[derive(Args, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Metrics {
    /// Answer requests of Prometheus for metrics here, at /metrics: whoever reaches the address can read them
    #[arg(
        id = "metrics-listen",
        long = "metrics-listen",
        value_name = "ADDRESS:PORT",
        env = "WATCHKEEPER_METRICS_LISTEN"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<Address>,
}

/// Health checks.
#[derive(Args, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Health {
    /// Answer health checks here, over gRPC (grpc.health.v1.Health, services `liveness` and `readiness`): whoever reaches the address
    /// can ask whether the node is watched, and nothing else
    #[arg(
        id = "health-listen",
        long = "health-listen",
        value_name = "ADDRESS:PORT",
        env = "WATCHKEEPER_HEALTH_LISTEN"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<Address>,
}

/// What runs on the host, outside containers.
#[derive(Args, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Host {
    /// Of the host's own processes, outside containers, report only these classes of events
    /// [default: process,cgroup,credential,kernel]
    #[arg(
        id = "host-class",
        long = "host-class",
        value_name = "CLASS",
        value_delimiter = ',',
        env = "WATCHKEEPER_HOST_CLASS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<ClassName>>,

    /// Report nothing from this cgroup of the host and those below it (path from the hierarchy's root); containers are reported
    /// all the same
    #[arg(
        id = "ignore-cgroup",
        long = "ignore-cgroup",
        value_name = "PATH",
        value_delimiter = ',',
        env = "WATCHKEEPER_IGNORE_CGROUP"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored_cgroups: Option<Vec<CgroupPath>>,
}

/// What is taken from the kernel.
#[derive(Args, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Sensors {
    /// Do without this sensor
    #[arg(
        id = "disable-sensor",
        long = "disable-sensor",
        value_name = "NAME",
        value_delimiter = ',',
        env = "WATCHKEEPER_DISABLE_SENSOR"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Vec<SensorName>>,

    /// How many events of a class one container may cause, a second; more are counted and left out. May be given for each class
    #[arg(
        id = "budget",
        long = "budget",
        value_name = "CLASS=RATE",
        value_delimiter = ',',
        env = "WATCHKEEPER_BUDGET"
    )]
    #[serde(with = "value::budgets", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<std::collections::BTreeMap<ClassName, u32>>")]
    pub budgets: Option<Vec<Budget>>,

    /// How often the CPU time that containers use is reported [default: 30s]
    #[arg(long, value_name = "TIME", env = "WATCHKEEPER_CPU_INTERVAL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_interval: Option<Time<1, 3_600>>,

    /// Size of the ring buffer for events, in KiB: a power of two [default: 4096]
    #[arg(
        id = "ring-size",
        long = "ring-size",
        value_name = "KIB",
        env = "WATCHKEEPER_RING_SIZE"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_kib: Option<RingSize>,
}

fn is_empty<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
}

impl Settings {
    /// These, and where they say nothing, those below.
    ///
    /// # Panics
    /// Never: what was written is read again.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        let mut all = below.as_json();
        lay_over(&mut all, self.as_json());
        serde_json::from_value(all).expect("what was written is read again")
    }

    /// What is usual, in places that follow from these.
    #[must_use]
    pub fn usual(&self) -> Self {
        let state = self.state_directory.as_deref();
        // Whoever names a state directory has everything in there.
        let history = match state {
            Some(state) if state != Path::new(STATE_DIRECTORY) => state.join("history"),
            _ => HISTORY_DIRECTORY.into(),
        };
        let classes = [
            Class::Process,
            Class::Cgroup,
            Class::Credential,
            Class::Kernel,
        ];
        Self {
            state_directory: Some(STATE_DIRECTORY.into()),
            print_alerts: Some(false),
            learning: Some(Time(Duration::from_mins(10))),
            memory_limit: Some(Size(192 << 20)),
            history: History {
                directory: Some(history),
                size: Some(Size(1 << 30)),
                age: Some(Time(Duration::from_hours(24))),
            },
            runtime: Runtime {
                socket: Some(RuntimeSocket(cri::Socket::Auto)),
            },
            enrichment: Enrichment {
                kubernetes: Some(self.enrichment.kubeconfig.is_some()),
                kubeconfig: None,
            },
            host: Host {
                classes: Some(classes.map(ClassName).to_vec()),
                ignored_cgroups: None,
            },
            sensors: Sensors {
                cpu_interval: Some(Time(Duration::from_secs(30))),
                ring_kib: Some(RingSize(4_096)),
                ..Sensors::default()
            },
            ..Self::default()
        }
    }

    /// As JSON, without what is not said.
    ///
    /// # Panics
    /// Never: all of it is text, numbers and lists.
    #[must_use]
    pub fn as_json(&self) -> Value {
        serde_json::to_value(self).expect("settings can be written")
    }

    /// What the agent runs by.
    ///
    /// # Errors
    /// When something is not said that has no usual value.
    pub fn configuration(&self) -> anyhow::Result<Configuration> {
        let Self {
            node_name,
            state_directory,
            learning,
            memory_limit,
            history,
            runtime,
            enrichment,
            policies,
            metrics,
            health,
            host,
            sensors,
            ..
        } = self.over(&self.usual());
        let said = "the configuration does not say";
        let directory = history.directory.context(said)?;
        let Size(bytes) = history.size.context(said)?;
        let Time(age) = history.age.context(said)?;
        let ignored = host.ignored_cgroups.unwrap_or_default();
        let disabled = sensors.disabled.unwrap_or_default();
        let budgets = sensors.budgets.unwrap_or_default();
        Ok(Configuration {
            state_dir: state_directory.context(said)?,
            cri_socket: runtime.socket.context(said)?.0,
            kubernetes: enrichment.kubernetes.context(said)?.then_some(
                match enrichment.kubeconfig {
                    Some(file) => Server::Kubeconfig(file),
                    None => Server::OfThePod,
                },
            ),
            policy_dir: policies.directory,
            watch_list: policies.watch_list,
            redact_list: policies.redact_list,
            telemetry_bytes: sensors.ring_kib.context(said)?.bytes(),
            critical_bytes: CRITICAL_BYTES,
            ignored_cgroups: ignored.into_iter().map(|path| path.0).collect(),
            disabled_sensors: disabled.into_iter().map(|name| name.0).collect(),
            host_classes: host
                .classes
                .context(said)?
                .into_iter()
                .map(|name| name.0)
                .collect(),
            budgets: budgets
                .into_iter()
                .map(|Budget(class, rate)| (class, rate))
                .collect(),
            cpu_interval: sensors.cpu_interval.context(said)?.0,
            learning: learning.context(said)?.0,
            history: (bytes > 0).then_some((directory, Limits { bytes, age })),
            memory_limit: memory_limit.context(said)?.0,
            node_name,
            metrics_listen: metrics.listen.map(|address| address.0),
            health_listen: health.listen.map(|address| address.0),
        })
    }
}

/// Lays a value over another: objects member by member, everything else as a whole.
fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                lay_over(below.entry(name).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn line(arguments: &[&str]) -> Settings {
        let name = std::iter::once(&"agent");
        Line::try_parse_from(name.chain(arguments))
            .unwrap_or_else(|error| panic!("{error}"))
            .settings
    }

    #[test]
    fn the_command_line_counts_before_the_file_and_that_before_what_is_usual() {
        let file: Settings = serde_json::from_value(serde_json::json!({
            "history": {"size": "2GiB", "age": "2d"},
            "host": {"classes": ["file"]},
            "sensors": {"budgets": {"file": 10, "network": 20}},
        }))
        .expect("right");
        let line = line(&[
            "--history-size",
            "64MiB",
            "--budget",
            "process=5",
            "--state-dir",
            "/tmp/x",
        ]);
        let configuration = line.over(&file).configuration().expect("complete");
        let (directory, limits) = configuration.history.expect("kept");
        assert_eq!(directory, Path::new("/tmp/x/history"));
        assert_eq!(limits.bytes, 64 << 20);
        assert_eq!(limits.age, Duration::from_hours(48));
        assert_eq!(configuration.host_classes, [Class::File]);
        // Each class has a budget of its own.
        assert_eq!(configuration.budgets.len(), 3);
        assert_eq!(configuration.telemetry_bytes, 4 << 20);
    }

    #[test]
    fn what_is_usual_is_enough() {
        let configuration = Settings::default().configuration().expect("complete");
        assert_eq!(configuration.state_dir, Path::new("/run/watchkeeper"));
        let (directory, _) = configuration.history.expect("kept");
        assert_eq!(directory, Path::new("/var/lib/watchkeeper"));
        assert_eq!(configuration.host_classes.len(), 4);
    }

    #[test]
    fn a_kubeconfig_file_is_there_to_be_used() {
        let server = |arguments: &[&str]| {
            let configuration = line(arguments).configuration().expect("complete");
            configuration.kubernetes
        };
        assert_eq!(server(&[]), None);
        assert_eq!(server(&["--kubernetes"]), Some(Server::OfThePod));
        let file = Server::Kubeconfig("/x".into());
        assert_eq!(server(&["--kubeconfig", "/x"]), Some(file));
        let not = ["--kubernetes=false", "--kubeconfig", "/x"];
        assert_eq!(server(&not), None);
    }

    #[test]
    fn flags_without_a_value_and_with_one_are_taken() {
        assert_eq!(line(&["--print-alerts"]).print_alerts, Some(true));
        assert_eq!(line(&["--print-alerts=false"]).print_alerts, Some(false));
        assert_eq!(line(&[]), Settings::default());
        let none = line(&["--history-size", "0"]);
        assert!(none.configuration().expect("complete").history.is_none());
        let classes = line(&["--host-class", "file,network"]).host.classes;
        assert_eq!(classes.map_or(0, |classes| classes.len()), 2);
    }
}
