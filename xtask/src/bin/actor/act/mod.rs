//! One thing that a container does, for each signal that the agent reports: `actor act ACTION`.
//!
//! The acting process descends from the first process of a container that is made for it. Files lie on a tmpfs that is the
//! container's root, connections stay on its own loopback interface, and files that control the kernel are opened but never
//! written. It knows nothing of the agent.

mod changes;
mod child;
mod control;
mod credentials;
mod devices;
mod dns;
mod evasion;
mod exec;
mod facts;
mod files;
mod flood;
mod host;
mod io_uring;
mod kernel;
mod measure;
mod mounts;
mod namespaces;
mod network;
mod payload;
mod program;
mod root;
mod rounding;
mod seccomp;
mod sockets;
mod sys;
mod tampering;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use serde_json::{Value, json};

use crate::container::Container;
use crate::namespaces::Pids;
use facts::NotOffered;
use host::Outside;

/// The exit code where the kernel or the host does not offer the action.
const NOT_OFFERED: u8 = 3;

/// Where the actor itself lies in the container.
const ACTOR: &str = "/actor";

/// Something to do in a container.
struct Action {
    name: &'static str,
    help: &'static str,
    /// What it needs outside the container.
    outside: Outside,
    /// Does it, and returns what is to be known of it.
    run: fn(&Inside) -> Result<Value>,
}

impl Action {
    const fn new(
        name: &'static str,
        help: &'static str,
        run: fn(&Inside) -> Result<Value>,
    ) -> Self {
        Self {
            name,
            help,
            outside: Outside::Nothing,
            run,
        }
    }

    const fn with(self, outside: Outside) -> Self {
        Self { outside, ..self }
    }
}

const ACTIONS: [&[Action]; 21] = [
    network::ACTIONS,
    sockets::ACTIONS,
    dns::ACTIONS,
    payload::ACTIONS,
    files::ACTIONS,
    changes::ACTIONS,
    devices::ACTIONS,
    control::ACTIONS,
    namespaces::ACTIONS,
    mounts::ACTIONS,
    credentials::ACTIONS,
    exec::ACTIONS,
    evasion::ACTIONS,
    tampering::ACTIONS,
    program::ACTIONS,
    kernel::ACTIONS,
    io_uring::ACTIONS,
    seccomp::ACTIONS,
    rounding::ACTIONS,
    flood::ACTIONS,
    measure::ACTIONS,
];

fn actions() -> impl Iterator<Item = &'static Action> {
    ACTIONS.into_iter().flatten()
}

/// The actions' names, for the command line.
pub(crate) fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(
        actions().map(|action| PossibleValue::new(action.name).help(action.help)),
    )
}

/// What a process in the container is told.
#[derive(Args)]
pub(crate) struct Inside {
    /// The action's name
    action: String,
    /// Names and values
    #[arg(value_parser = pair)]
    given: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Inside {
    fn get(&self, name: &str) -> Result<&str> {
        let given = self.given.iter().find(|(given, _)| given == name);
        given
            .map(|(_, value)| value.as_str())
            .with_context(|| format!("{name} was not given"))
    }

    fn action(&self) -> Result<&'static Action> {
        actions()
            .find(|action| action.name == self.action)
            .with_context(|| format!("there is no action {}", self.action))
    }

    fn arguments(&self) -> impl Iterator<Item = String> {
        let given = self
            .given
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        std::iter::once(self.action.clone()).chain(given)
    }
}

/// On the host: runs the action in a container of its own, and prints its facts.
pub(crate) fn run(name: &str) -> Result<ExitCode> {
    let action = actions().find(|action| action.name == name);
    let action = action.with_context(|| format!("there is no action {name}"))?;
    let outside = action.outside.set_up()?;
    let pids = match action.outside {
        Outside::ProcessInView | Outside::OtherContainerInView => Pids::Host,
        _ => Pids::Own,
    };
    let mut container = Container::run(pids, |cgroup| {
        let mut first = Command::new("/proc/self/exe");
        first.arg("contained").arg(name);
        first.arg(format!("cgroup={}", cgroup.display()));
        first.args(outside.given());
        first.stdout(Stdio::piped());
        first
    })?;
    let (status, output) = container.output()?;
    let facts = serde_json::from_str(output.trim());
    let code = status.code();
    let (Ok(Value::Object(mut facts)), Some(0 | 3)) = (facts, code) else {
        bail!("{name} in the container ended with {status}, and printed `{output}`");
    };
    facts.insert("container".to_owned(), container.id.clone().into());
    facts.insert("action".to_owned(), name.into());
    println!("{}", Value::Object(facts));
    Ok(if code == Some(0) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_OFFERED)
    })
}

/// As the container's first process: sets its root up and starts the acting process.
pub(crate) fn contain(inside: &Inside) -> Result<ExitCode> {
    root::enter(matches!(inside.action()?.outside, Outside::RuntimeSocket))?;
    let mut acting = Command::new(ACTOR);
    acting.arg("perform").args(inside.arguments());
    let status = acting
        .status()
        .context("could not start the acting process")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// As the acting process: does it.
pub(crate) fn perform(inside: &Inside) -> Result<ExitCode> {
    let pid = facts::host_pid()?;
    match (inside.action()?.run)(inside) {
        Ok(Value::Object(mut facts)) => {
            facts.entry("pid").or_insert(pid.into());
            println!("{}", Value::Object(facts));
            Ok(ExitCode::SUCCESS)
        }
        Ok(other) => bail!("the facts are no object: {other}"),
        Err(error) => match error.downcast_ref::<NotOffered>() {
            Some(_) => {
                println!("{}", json!({"not_offered": format!("{error:#}")}));
                Ok(ExitCode::from(NOT_OFFERED))
            }
            None => Err(error),
        },
    }
}

/// Prints its process id on the host, as a program that was run by an action.
pub(crate) fn noop() -> Result<()> {
    let pid = facts::host_pid()?;
    println!("{pid}");
    Ok(())
}

/// Waits until whoever started it closes its input, or ends.
pub(crate) fn idle() -> Result<()> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// Names and values as facts.
fn gathered(pairs: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Object(pairs.into_iter().collect())
}

/// Writes a file, and makes its directory where it is missing.
fn file(path: &str, content: &[u8]) -> Result<()> {
    if let Some(parent) = Path::new(path).parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("could not make {}", parent.display()))?;
    }
    std::fs::write(path, content).with_context(|| format!("could not write {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_actions_have_one_name() {
        let mut names: Vec<_> = actions().map(|action| action.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
