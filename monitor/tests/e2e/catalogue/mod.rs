//! Techniques in podman's containers, typed as an attacker would, and the rules that must find them.
//!
//! For each a line goes to standard error, as of the suite of signals: `rule RULE/TECHNIQUE pass`.
//! `WATCHKEEPER_TECHNIQUES` names those to perform, separated by commas; `WATCHKEEPER_RECORD` a file to which the lines are
//! added as a machine's console has them.

mod credentials;
mod escape;
mod execution;
mod miner;
mod mining;
mod network;
mod over_time;
mod privilege;
mod tampering;

use std::env;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use watchkeeper::proto::v1::{Alert, Severity};

use crate::harness::agent::Agent;
use crate::harness::podman::{Container, Podman};
use crate::harness::watch::container_id;
use crate::harness::{cgroup, command, skipped, unique};

const TECHNIQUES: [&[Technique]; 7] = [
    escape::TECHNIQUES,
    privilege::TECHNIQUES,
    execution::TECHNIQUES,
    mining::TECHNIQUES,
    credentials::TECHNIQUES,
    tampering::TECHNIQUES,
    network::TECHNIQUES,
];

/// How long an alert may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// Makes every applet of busybox a program of its own name, which the image has only some of.
const APPLETS: &str = "b() { /bin/busybox \"$@\"; }; ";

/// What the image is without, and techniques need.
const PREPARE: &str = "/bin/busybox mkdir -p /usr/bin /sbin /var/log /etc /root; \
                       [ -e /etc/shadow ] || echo root > /etc/shadow";

/// A technique: what is typed in a session, and what must be found.
///
/// In scripts and options, AGENT stands for the agent's process id, and DIRECTORY for a directory of the host that is the
/// technique's own.
struct Technique {
    name: &'static str,
    /// Options of `podman run`.
    options: &'static [&'static str],
    /// What is done on the host before: PID stands for the container's first process there, and ENTER for going into its
    /// cgroup and namespaces as a runtime does, but with the technique's directory for the working directory.
    on_host: &'static str,
    script: &'static str,
    rules: &'static [(&'static str, Severity)],
    /// The rules find it in a process of the host, which names DIRECTORY or the container's layer.
    alerts_of_host: bool,
}

impl Technique {
    const fn new(
        name: &'static str,
        script: &'static str,
        rules: &'static [(&'static str, Severity)],
    ) -> Self {
        Self {
            name,
            options: &[],
            on_host: "",
            script,
            rules,
            alerts_of_host: false,
        }
    }

    /// The same in a container that is run with these options.
    const fn with(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }

    /// The same after something was done on the host.
    const fn after(self, on_host: &'static str) -> Self {
        Self { on_host, ..self }
    }

    /// The same, found in what the host does then.
    const fn found_on_host(self) -> Self {
        Self {
            alerts_of_host: true,
            ..self
        }
    }

    /// Performs it, and returns what it said on standard error.
    fn perform(&self, container: &Container, agent: &Agent, directory: &Path) -> String {
        container.exec(&["/bin/sh", "-c", PREPARE]);
        let mut said = String::new();
        if !self.on_host.is_empty() {
            let cgroup = cgroup::unified().join(container.cgroup().trim_start_matches('/'));
            // The parent of what is run stays outside.
            let enter = format!(
                "nsenter -t PID -p -- /bin/sh -c 'echo 0 > {}/cgroup.procs; \
                 exec nsenter -t PID -m -u -i -n --wd={} -- \"$@\"' -",
                cgroup.display(),
                directory.display()
            );
            let script = self
                .fill(self.on_host, agent, directory)
                .replace("ENTER", &enter)
                .replace("PID", &container.pid().to_string());
            let output = command::output(Command::new("/bin/sh").args(["-c", &script]));
            said += &command::text(&output.stderr);
        }
        if !self.script.is_empty() {
            let script = APPLETS.to_owned() + &self.fill(self.script, agent, directory);
            let output = container.exec(&["/bin/sh", "-c", &script]);
            said += &command::text(&output.stderr);
        }
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn fill(&self, text: &str, agent: &Agent, directory: &Path) -> String {
        text.replace("AGENT", &agent.pid().to_string())
            .replace("DIRECTORY", &directory.to_string_lossy())
    }
}

/// The techniques to perform.
fn chosen() -> Vec<&'static Technique> {
    let all = TECHNIQUES.into_iter().flatten();
    let Ok(names) = env::var("WATCHKEEPER_TECHNIQUES") else {
        return all.collect();
    };
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    let chosen: Vec<_> = all
        .filter(|technique| names.contains(&technique.name))
        .collect();
    assert_eq!(chosen.len(), names.len(), "there are not all of {names:?}");
    chosen
}

#[tokio::test(flavor = "multi_thread")]
async fn techniques_of_a_session_are_found() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::full(&["--cpu-interval", "1"]);
    let mut failed = Vec::new();
    for technique in chosen() {
        failed.extend(judge(&podman, &agent, technique).await);
    }
    assert!(
        failed.is_empty(),
        "{} are not found: {failed:?}",
        failed.len()
    );
}

/// Performs a technique in a container of its own, and says of each rule whether it found it. Returns those that did not.
async fn judge(podman: &Podman, agent: &Agent, technique: &Technique) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let options: Vec<String> = technique
        .options
        .iter()
        .map(|option| technique.fill(option, agent, directory.path()))
        .collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let container = podman.run(&unique(technique.name), &options, &["/bin/sleep", "1000"]);
    let said = technique.perform(&container, agent, directory.path());
    let mut failed = Vec::new();
    for (rule, severity) in technique.rules {
        let name = format!("{rule}/{}", technique.name);
        let is_about = |alert: &Alert| {
            let exe = alert.process.as_ref().map_or("", |process| &process.exe);
            if technique.alerts_of_host {
                alert.container.is_none()
                    && exe.starts_with(&podman.directory().to_string_lossy()[..])
            } else {
                container_id(alert.container.as_ref()) == container.id
            }
        };
        let found = find(agent, is_about, rule, *severity).await;
        let why = found.err().map(|why| format!("{why}; {said}"));
        say(&name, why.as_ref());
        if why.is_some() {
            failed.push(name);
        }
    }
    container.remove();
    failed
}

/// Says whether a rule found a technique.
pub(crate) fn say(name: &str, why: Option<&String>) {
    let line = match why {
        None => format!("rule {name} pass"),
        Some(why) => format!("rule {name} fail {why}"),
    };
    // Past the test harness's capture of output; nothing depends on whether anybody reads it.
    let _ = writeln!(std::io::stderr(), "{line}");
    if let Some(record) = env::var_os("WATCHKEEPER_RECORD") {
        let file = File::options().append(true).open(&record);
        let mut file = file.unwrap_or_else(|error| panic!("could not open {record:?}: {error}"));
        writeln!(file, "vm: {line}").expect("a line can be added to the record");
    }
}

/// Waits for an alert.
async fn find(
    agent: &Agent,
    is_about: impl Fn(&Alert) -> bool,
    rule: &str,
    severity: Severity,
) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut alerts = agent.past_alerts().await;
        alerts.retain(&is_about);
        let is_it = |alert: &Alert| alert.rule_id == rule && alert.severity() == severity;
        if alerts.iter().any(is_it) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let others: Vec<String> = alerts
                .iter()
                .map(|alert| format!("{} {}", alert.rule_id, alert.severity().as_str_name()))
                .collect();
            return Err(format!("not among {}", others.join(", ")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
