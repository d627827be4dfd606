//! The command line. One file per subcommand; this one knows them all, and how an error is shown.

mod agent;
mod alerts;
mod client;
mod config;
mod containers;
mod detail;
mod doctor;
mod events;
mod export;
mod health;
mod json;
mod policy;
mod show;
mod sql;
mod status;
mod terminal;
mod timeline;
mod tree;
mod tree_page;

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::heartbeat;

/// Exit code when a command could not do what it was asked.
const FAILURE: u8 = 1;

#[derive(Parser)]
#[command(
    name = "watchkeeper",
    version,
    about = "Runtime security of the containers on this node",
    after_help = "Examples:\n  \
        watchkeeper doctor                         does it work on this kernel?\n  \
        watchkeeper agent                          watch this node (as root)\n  \
        watchkeeper alerts --follow                alerts as they happen\n  \
        watchkeeper events --kind exec --pod shop/web-1 -o json\n  \
        watchkeeper tree shop/web-1                what ran in a pod, and what it did\n  \
        watchkeeper timeline --pod shop/web-1 --since 1h\n  \
        watchkeeper policy check policies/*.yaml   are policies right?\n  \
        watchkeeper sql 'SELECT * FROM connections LIMIT 10'"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Agent(agent::Arguments),
    Alerts(alerts::Arguments),
    Events(events::Arguments),
    Tree(tree::Arguments),
    Timeline(timeline::Arguments),
    Sql(sql::Arguments),
    Export(export::Arguments),
    Policy(policy::Arguments),
    Config(config::Arguments),
    Containers(containers::Arguments),
    Status(status::Arguments),
    Health(health::Arguments),
    Doctor(doctor::Arguments),
    /// Prints a completion script for a shell
    #[command(
        after_help = "Example:\n  watchkeeper completions bash > /etc/bash_completion.d/watchkeeper"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // Run by the agent every few seconds, to be seen.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == heartbeat::ARGUMENT)
    {
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    // Some look for what is wrong, and say `false` where they found it.
    let done = |()| true;
    let result = match arguments.command {
        Command::Agent(arguments) => agent::run(&arguments).map(done),
        Command::Alerts(arguments) => alerts::run(arguments).map(done),
        Command::Events(arguments) => events::run(arguments).map(done),
        Command::Tree(arguments) => tree::run(&arguments).map(done),
        Command::Timeline(arguments) => timeline::run(arguments).map(done),
        Command::Sql(arguments) => sql::run(&arguments).map(done),
        Command::Export(arguments) => export::run(arguments).map(done),
        Command::Policy(arguments) => policy::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Containers(arguments) => containers::run(&arguments).map(done),
        Command::Status(arguments) => status::run(&arguments).map(done),
        Command::Health(arguments) => health::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "watchkeeper",
                &mut io::stdout(),
            );
            Ok(true)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILURE),
        // Whoever read the output has had enough: `watchkeeper events | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("watchkeeper: {}", one_line(&error));
            ExitCode::from(FAILURE)
        }
    }
}

/// Shows help and version as they are, and a mistake in one line.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if asked_for || io::stderr().is_terminal() {
        error.exit();
    }
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("the command line can't be read");
    // What is missing is on the next line.
    let what = if first.ends_with(':') {
        format!(" {}", lines.next().unwrap_or_default())
    } else {
        String::new()
    };
    let tip = lines.find(|line| line.starts_with("tip:")).unwrap_or("");
    let first = first.strip_prefix("error: ").unwrap_or(first);
    eprintln!(
        "watchkeeper: {first}{what}{}{tip} (see --help)",
        if tip.is_empty() { "" } else { "; " }
    );
    ExitCode::from(2)
}

/// An error with its causes in one line, without what a terminal would act on.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !line.contains(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
    }
    terminal::clean(&line).into_owned()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn causes_are_told_once_and_in_one_line() {
        let error = anyhow::anyhow!("disk is full\x1b[2J")
            .context("writing x: disk is full\x1b[2J")
            .context("saving");
        assert_eq!(one_line(&error), "saving: writing x: disk is full\\x1b[2J");
    }
}
