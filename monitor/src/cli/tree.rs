//! `watchkeeper tree`

use std::{fmt::Write as _, io::Write as _, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use prost_types::Timestamp;
use tonic::{Code, transport::Channel};

use super::{
    client::{self, Connection, Output},
    detail, json, show,
    terminal::{Style, clean, styled},
    tree_page,
};
use crate::proto::{
    kind_name,
    v1::{self, processes_client::ProcessesClient, processes_tree_request::About},
};

/// Shows processes as a tree, with what they did: those of a pod or container, or one with its ancestors and descendants
#[derive(Args)]
#[command(after_help = "\
Processes that have ended are in it, with the parents they had.

Examples:
  watchkeeper tree shop/web-1                      all of a pod
  watchkeeper tree 4242                            the newest process with this id on the host
  watchkeeper tree 0198f7a2-6c1e-7abc-8def-0123456789ab   around an alert, by its id
  watchkeeper tree shop/web-1 --since 1h --write web-1.html   a page for a report (.html or .svg)")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,

    /// A process id, an execution's id, an alert's id or the beginning of it, a pod, or a container by name or the beginning
    /// of its id
    #[arg(value_name = "PID|EXEC-ID|ALERT-ID|NAMESPACE/POD|CONTAINER")]
    what: String,

    /// Nothing older: how long ago (90s, 15m, 1h, 2d) or a time (2026-01-31T12:00:00Z); ancestors are there all the same
    #[arg(long, value_name = "TIME", value_parser = client::moment, allow_hyphen_values = true)]
    since: Option<Timestamp>,

    /// Nothing newer, likewise
    #[arg(long, value_name = "TIME", value_parser = client::moment, allow_hyphen_values = true)]
    until: Option<Timestamp>,

    /// Most processes
    #[arg(long, value_name = "COUNT", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    limit: u32,

    /// Write it as a page or a drawing instead; the ending says which: .html or .svg
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,

    /// How to print it
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let page = match &arguments.write {
        Some(path) => Some(match path.extension().and_then(|ending| ending.to_str()) {
            Some("html" | "htm") => {
                tree_page::html as fn(&str, &v1::ProcessesTreeResponse) -> String
            }
            Some("svg") => tree_page::svg,
            _ => bail!(
                "writing the tree to {}: give a file that ends in .html or .svg",
                path.display()
            ),
        }),
        None => None,
    };
    let tree = client::block_on(async {
        let channel = arguments.connection.connect().await?;
        let mut refusal = None;
        for about in meanings(&arguments.what) {
            match ask(&channel, arguments, about).await {
                Ok(tree) => return Ok(tree),
                // The first meaning is the likeliest.
                Err(status) if status.code() == Code::NotFound => {
                    refusal.get_or_insert(status);
                }
                Err(status) => return Err(client::refused("asking for the tree")(status)),
            }
        }
        match refusal {
            Some(status) => bail!("asking for the tree: {}", status.message()),
            None => bail!("asking for the tree: there is nothing to ask for"),
        }
    })?;
    if let (Some(path), Some(page)) = (&arguments.write, page) {
        let mut file = std::fs::File::create(path)
            .with_context(|| format!("writing the tree to {}", path.display()))?;
        file.write_all(page(&arguments.what, &tree).as_bytes())
            .with_context(|| format!("writing the tree to {}", path.display()))?;
    } else if arguments.output == Output::Json {
        json::print("ProcessesTreeResponse", &tree)?;
    } else {
        show::print(&text(&tree))?;
    }
    for gap in &tree.gaps {
        eprintln!("watchkeeper: something is missing: {}", clean(gap));
    }
    if tree.left_out > 0 {
        eprintln!(
            "watchkeeper: {} processes more; --limit or a shorter time shows them",
            tree.left_out
        );
    }
    Ok(())
}

async fn ask(
    channel: &Channel,
    arguments: &Arguments,
    about: About,
) -> Result<v1::ProcessesTreeResponse, tonic::Status> {
    let request = v1::ProcessesTreeRequest {
        about: Some(about),
        since: arguments.since,
        until: arguments.until,
        max_processes: arguments.limit,
    };
    ProcessesClient::new(channel.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .tree(request)
        .await
        .map(tonic::Response::into_inner)
}

/// A tree is one message: 50,000 processes with what they did.
const MAX_MESSAGE: usize = 512 << 20;

/// What a word may stand for, the likeliest first.
fn meanings(what: &str) -> Vec<About> {
    if what.contains('/') {
        return vec![About::Pod(what.to_owned())];
    }
    let container = || About::Container(what.to_owned());
    if let Ok(pid) = what.parse() {
        return vec![About::Pid(pid), container()];
    }
    let parts: Vec<&str> = what.split('-').collect();
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let decimal = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() == 4 && hexadecimal(parts[0]) && parts[1..].iter().all(|part| decimal(part)) {
        return vec![About::ExecId(what.to_owned()), container()];
    }
    let alert = || About::AlertId(what.to_owned());
    if parts.iter().all(|part| hexadecimal(part)) && what.len() >= 8 {
        return vec![alert(), container()];
    }
    vec![container()]
}

/// The tree for people.
fn text(tree: &v1::ProcessesTreeResponse) -> String {
    let mut out = String::new();
    let processes = &tree.processes;
    let last = last_children(processes);
    let mut prefixes: Vec<String> = Vec::with_capacity(processes.len());
    let mut heading = None;
    for (index, process) in processes.iter().enumerate() {
        let parent = (process.parent as usize).checked_sub(1);
        let (own, below) = match parent {
            None => (String::new(), String::new()),
            Some(parent) => {
                let above = &prefixes[parent];
                let (branch, rest) = if last[index] {
                    ("└─ ", "   ")
                } else {
                    ("├─ ", "│  ")
                };
                (format!("{above}{branch}"), format!("{above}{rest}"))
            }
        };
        let place = show::place(process.location(), process.container.as_ref());
        if process.asked_for && heading.as_ref() != Some(&place) && parent.is_none() {
            let _ = writeln!(out, "{}", styled(&place, Style::Bold));
        }
        let style = if process.asked_for {
            Style::Plain
        } else {
            Style::Dim
        };
        // Writing to a string does not fail.
        let parent = parent.map(|parent| &processes[parent]);
        let _ = writeln!(out, "{own}{}", styled(&title(process, parent), style));
        if process.asked_for && heading.as_ref() != Some(&place) {
            if parent.is_some() {
                let _ = writeln!(
                    out,
                    "{below}  {}",
                    styled(&format!("in {place}"), Style::Dim)
                );
            }
            heading = Some(place);
        }
        for line in lines(process) {
            let style = match line.kind {
                LineKind::Execution | LineKind::Plain => Style::Plain,
                LineKind::Alert => Style::Bad,
            };
            let _ = writeln!(out, "{below}  {}", styled(&line.text, style));
        }
        prefixes.push(below);
    }
    out
}

/// Of each process, whether no sibling comes after it.
fn last_children(processes: &[v1::TreeProcess]) -> Vec<bool> {
    let mut last = vec![true; processes.len()];
    let mut newest = vec![None; processes.len() + 1];
    for (index, process) in processes.iter().enumerate() {
        if let Some(before) = newest[process.parent as usize].replace(index) {
            last[before] = false;
        }
    }
    last
}

/// What is told of a process beside its title.
pub(super) struct Line {
    pub(super) kind: LineKind,
    pub(super) text: String,
}

/// What a line tells of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    /// A further program.
    Execution,
    /// Something that it did.
    Plain,
    /// An alert.
    Alert,
}

/// The programs that a process ran. What it had from its parent is one only where it ran no other.
fn executions(process: &v1::TreeProcess) -> &[v1::Process] {
    match process.executions.split_first() {
        Some((first, rest)) if first.source() == v1::Source::Fork && !rest.is_empty() => rest,
        _ => &process.executions,
    }
}

/// How a process came into its container, by the last that is known.
fn origin(process: &v1::TreeProcess) -> v1::ExecOrigin {
    process
        .executions
        .last()
        .map_or(v1::ExecOrigin::Unspecified, v1::Process::origin)
}

/// A process in a line: id, what it ran first, for whom, how it came there where that is not by its parent, when, and how it
/// ended.
pub(super) fn title(process: &v1::TreeProcess, parent: Option<&v1::TreeProcess>) -> String {
    let mut title = process.pid.to_string();
    if let Some(execution) = executions(process).first() {
        let _ = write!(title, "  {}", program(execution));
        if let Some(credentials) = &execution.credentials {
            let _ = write!(title, "  uid {}", credentials.euid);
        }
        let inherited = parent.is_some_and(|parent| origin(parent) == origin(process));
        let origin = match origin(process) {
            _ if inherited => "",
            v1::ExecOrigin::Injected => "  put into the container from outside",
            v1::ExecOrigin::NamespaceEntry => "  entered the container's namespaces",
            v1::ExecOrigin::Entrypoint => "  entry point",
            _ => "",
        };
        title.push_str(origin);
    } else {
        title.push_str("  (nothing is known of its program)");
    }
    let _ = write!(title, "  {}", when(process));
    title
}

/// A program, with a note where the process only began with it.
fn program(execution: &v1::Process) -> String {
    let program = detail::program(execution);
    if execution.source() == v1::Source::Fork {
        format!("(as forked) {program}")
    } else {
        program
    }
}

/// From when to when, and how it ended.
fn when(process: &v1::TreeProcess) -> String {
    let start = show::time(process.start_time.as_ref());
    let Some(end) = &process.end_time else {
        return if process.end_unseen {
            format!("{start}, its end was not seen")
        } else {
            format!("since {start}")
        };
    };
    let how = match process.exit.as_ref().map(|exit| (exit.signal, exit.code)) {
        Some((Some(signal), _)) => format!("killed by signal {signal}"),
        Some((None, Some(code))) => format!("exit code {code}"),
        _ => "ended".to_owned(),
    };
    let lasted = process
        .start_time
        .as_ref()
        .map(|start| format!(" after {}", length(start, end)))
        .unwrap_or_default();
    format!("{start}, {how}{lasted}")
}

/// The time between two moments.
fn length(start: &Timestamp, end: &Timestamp) -> String {
    let seconds = (end.seconds - start.seconds) as f64 + f64::from(end.nanos - start.nanos) / 1e9;
    match seconds.max(0.0) {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 120.0 => format!("{seconds:.1} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3_600.0),
    }
}

/// Further programs, alerts, and what the process did.
pub(super) fn lines(process: &v1::TreeProcess) -> Vec<Line> {
    let mut lines = Vec::new();
    for execution in executions(process).iter().skip(1) {
        let uid = execution
            .credentials
            .as_ref()
            .map_or(0, |credentials| credentials.euid);
        lines.push(Line {
            kind: LineKind::Execution,
            text: format!(
                "» {}  uid {uid}  {}",
                program(execution),
                show::time(execution.exec_time.as_ref())
            ),
        });
    }
    for alert in &process.alerts {
        let severity = show::severity(alert.severity()).0;
        lines.push(Line {
            kind: LineKind::Alert,
            text: format!(
                "! {severity} {}: {} ({})",
                clean(&alert.rule_id),
                clean(&alert.title),
                alert.id
            ),
        });
    }
    for activity in &process.activities {
        let Some(event) = &activity.event else {
            continue;
        };
        let times = match activity.count {
            0 | 1 => String::new(),
            count => format!(
                "  {count} times, last {}",
                show::time(activity.last.as_ref())
            ),
        };
        lines.push(Line {
            kind: LineKind::Plain,
            text: format!(
                "· {} {}  {}{times}",
                kind_name(event.kind()),
                detail::what(event).trim(),
                show::time(event.time.as_ref())
            ),
        });
    }
    if process.activities_left_out > 0 {
        lines.push(Line {
            kind: LineKind::Plain,
            text: format!("· and {} more", process.activities_left_out),
        });
    }
    lines
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn process(parent: u32, pid: u32, argv: &[&str]) -> v1::TreeProcess {
        v1::TreeProcess {
            parent,
            pid,
            start_time: Some(Timestamp {
                seconds: 1_769_860_800,
                nanos: 0,
            }),
            end_time: Some(Timestamp {
                seconds: 1_769_860_801,
                nanos: 500_000_000,
            }),
            exit: Some(v1::Exit {
                code: Some(3),
                ..v1::Exit::default()
            }),
            asked_for: true,
            location: v1::Location::Host.into(),
            executions: vec![v1::Process {
                pid,
                exe: argv[0].to_owned(),
                argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
                ..v1::Process::default()
            }],
            ..v1::TreeProcess::default()
        }
    }

    #[test]
    fn branches_join_what_belongs_together() {
        let tree = v1::ProcessesTreeResponse {
            processes: vec![
                process(0, 1, &["/a"]),
                process(1, 2, &["/b"]),
                process(2, 3, &["/c"]),
                process(1, 4, &["/d", "x y"]),
            ],
            ..v1::ProcessesTreeResponse::default()
        };
        let text = text(&tree);
        let starts: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split("  2026").next())
            .collect();
        assert_eq!(
            starts,
            ["host", "1  /a", "├─ 2  /b", "│  └─ 3  /c", "└─ 4  /d 'x y'"],
            "{text}"
        );
        assert!(text.contains("exit code 3 after 1.5 s"), "{text}");
    }

    #[test]
    fn what_was_forked_and_inherited_is_not_told_again() {
        let injected = |mut process: v1::TreeProcess, source: v1::Source| {
            for execution in &mut process.executions {
                execution.origin = v1::ExecOrigin::Injected.into();
            }
            process.executions[0].source = source.into();
            process
        };
        let mut shell = injected(process(0, 1, &["/runc"]), v1::Source::Fork);
        shell.executions.push(v1::Process {
            argv: vec!["/sh".to_owned()],
            exe: "/sh".to_owned(),
            origin: v1::ExecOrigin::Injected.into(),
            ..v1::Process::default()
        });
        let title_of = |process: &v1::TreeProcess, parent| title(process, parent);
        let first = title_of(&shell, None);
        assert!(
            first.starts_with("1  /sh") && first.contains("from outside"),
            "{first}"
        );
        assert!(
            lines(&shell).is_empty(),
            "the runtime it was forked from is no program of it"
        );
        let child = injected(process(1, 2, &["/id"]), v1::Source::Kernel);
        let below = title_of(&child, Some(&shell));
        assert!(!below.contains("from outside"), "{below}");
        let waiting = injected(process(1, 3, &["/sh"]), v1::Source::Fork);
        assert!(title_of(&waiting, Some(&shell)).contains("(as forked)"));
    }

    #[test]
    fn words_are_taken_for_what_they_look_like() {
        let first = |what| meanings(what).swap_remove(0);
        assert_eq!(first("4242"), About::Pid(4_242));
        assert_eq!(first("shop/web-1"), About::Pod("shop/web-1".to_owned()));
        assert_eq!(first("web-1"), About::Container("web-1".to_owned()));
        let exec = "0123abcd-42-777-123456789";
        assert_eq!(first(exec), About::ExecId(exec.to_owned()));
        let alert = "0198f7a2-6c1e-7abc-8def-0123456789ab";
        assert_eq!(first(alert), About::AlertId(alert.to_owned()));
        assert_eq!(meanings("0123456789ab").len(), 2, "alert or container");
    }

    #[test]
    fn nothing_from_a_container_reaches_the_terminal_as_it_is() {
        let mut hostile = process(0, 1, &["\x1b[2J\x07", "\u{202e}"]);
        hostile.executions.push(hostile.executions[0].clone());
        hostile.activities.push(v1::Activity {
            event: Some(v1::Event {
                detail: Some(v1::event::Detail::Dns(v1::Dns {
                    name: "\x1b[2J".to_owned(),
                    ..v1::Dns::default()
                })),
                ..v1::Event::default()
            }),
            count: 2,
            last: None,
        });
        let text = text(&v1::ProcessesTreeResponse {
            processes: vec![hostile],
            ..v1::ProcessesTreeResponse::default()
        });
        assert!(
            !text
                .chars()
                .any(|character| character.is_control() && character != '\n'),
            "{text:?}"
        );
    }
}
