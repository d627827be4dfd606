//! Events, alerts and their parts as text for people.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use prost_types::Timestamp;

use super::{
    detail,
    terminal::{Style, clean, styled},
};
use crate::proto::{kind_name, v1};

/// Characters of the longest kind of event.
const KIND_WIDTH: usize = 18;
/// Characters of a place that are shown in a line: a pod's namespace and name with a container's.
const PLACE_WIDTH: usize = 40;
/// Digits of a container id that are shown.
const ID_DIGITS: usize = 12;

/// Prints, and flushes: whoever follows a stream through a pipe sees each line at once.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Says on standard error that something is missing.
pub(super) fn lost(lost: &v1::Lost) {
    let count = match lost.count {
        0 => String::new(),
        count => format!("{count} "),
    };
    eprintln!(
        "watchkeeper: {count}lost here: {}",
        clean(&lost.to_string())
    );
}

/// A time in UTC, to the millisecond.
pub(super) fn time(time: Option<&Timestamp>) -> String {
    match time {
        Some(time) => {
            let millisecond = Timestamp {
                seconds: time.seconds,
                nanos: time.nanos / 1_000_000 * 1_000_000,
            };
            let text = millisecond.to_string();
            let text = text.strip_suffix('Z').unwrap_or(&text);
            match text.split_once('.') {
                Some((seconds, fraction)) => format!("{seconds}.{fraction:0<3}Z"),
                None => format!("{text}.000Z"),
            }
        }
        None => "-".to_owned(),
    }
}

/// So many things, of a word that has an `s` when they are several.
pub(super) fn count<N: Copy + PartialEq + From<u8> + std::fmt::Display>(
    number: N,
    thing: &str,
) -> String {
    let s = if number == N::from(1) { "" } else { "s" };
    format!("{number} {thing}{s}")
}

/// The last day, in UTC, of what is over at this moment.
pub(super) fn last_day(end: Option<&Timestamp>) -> String {
    let Some(end) = end else {
        return "-".to_owned();
    };
    let last = Timestamp {
        seconds: end.seconds.saturating_sub(1),
        nanos: 0,
    };
    let text = last.to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// The first digits of a container id.
pub(super) fn short_id(id: &str) -> &str {
    id.get(..ID_DIGITS).unwrap_or(id)
}

/// A runtime's name.
pub(super) fn runtime(runtime: v1::Runtime) -> &'static str {
    match runtime {
        v1::Runtime::Unspecified => "unknown runtime",
        v1::Runtime::Containerd => "containerd",
        v1::Runtime::Crio => "cri-o",
        v1::Runtime::Docker => "docker",
        v1::Runtime::Podman => "podman",
        v1::Runtime::Buildah => "buildah",
    }
}

/// A pod as NAMESPACE/NAME, or the beginning of its uid where that is all there is.
pub(super) fn pod(pod: Option<&v1::Pod>) -> String {
    match pod {
        Some(pod) if !pod.name.is_empty() => {
            clean(&format!("{}/{}", pod.namespace, pod.name)).into_owned()
        }
        Some(pod) => clean(&format!("pod {}", pod.uid)).into_owned(),
        None => String::new(),
    }
}

/// Where something happened, in a word.
pub(super) fn place(location: v1::Location, container: Option<&v1::Container>) -> String {
    match (location, container) {
        (v1::Location::Container, Some(container)) => {
            let pod = pod(container.pod.as_ref());
            let name = if container.name.is_empty() {
                short_id(&container.id)
            } else {
                &container.name
            };
            if pod.is_empty() {
                clean(name).into_owned()
            } else {
                format!("{pod}/{}", clean(name))
            }
        }
        (v1::Location::Host, _) => "host".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// A text of at most `width` characters, of which the last says that there was more.
fn fitted(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width - 1).collect();
    format!("{kept}…")
}

/// The heading over events.
pub(super) fn event_heading() -> String {
    let heading = format!(
        "{:<25} {:<KIND_WIDTH$} {:<PLACE_WIDTH$} {:>8}  WHAT",
        "TIME", "KIND", "WHERE", "PID"
    );
    format!("{}\n", styled(&heading, Style::Bold))
}

/// One event in a line.
pub(super) fn event(event: &v1::Event) -> String {
    let kind = kind_name(event.kind());
    let what = detail::what(event);
    let pid = event.process.as_ref().map_or(0, |process| process.pid);
    format!(
        "{:<25} {kind:<KIND_WIDTH$} {:<PLACE_WIDTH$} {pid:>8}  {what}\n",
        time(event.time.as_ref()),
        fitted(
            &place(event.location(), event.container.as_ref()),
            PLACE_WIDTH
        ),
    )
}

/// A severity, and how it looks.
pub(super) fn severity(severity: v1::Severity) -> (&'static str, Style) {
    match severity {
        v1::Severity::Unspecified => ("UNKNOWN", Style::Warning),
        v1::Severity::Informational => ("INFO", Style::Dim),
        v1::Severity::Low => ("LOW", Style::Dim),
        v1::Severity::Medium => ("MEDIUM", Style::Warning),
        v1::Severity::High => ("HIGH", Style::Bad),
        v1::Severity::Critical => ("CRITICAL", Style::Bad),
    }
}

/// One alert, in a few lines.
pub(super) fn alert(alert: &v1::Alert) -> String {
    let (severity, style) = severity(alert.severity());
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "{} {} {} {}",
        time(alert.first_seen.as_ref()),
        styled(severity, style),
        styled(&alert.rule_id, Style::Bold),
        clean(&alert.title)
    );
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "    {name:<11}{value}");
        }
    };
    line("what", &clean(&alert.message));
    if let Some(container) = &alert.container {
        line(
            "pod",
            pod(container.pod.as_ref()).trim_start_matches("pod "),
        );
        let workload = container.pod.as_ref().and_then(|pod| pod.workload.as_ref());
        line(
            "workload",
            &clean(&workload.map_or_else(String::new, |workload| {
                format!("{}/{}", workload.kind, workload.name)
            })),
        );
        line(
            "container",
            clean(&format!(
                "{} {} ({})",
                container.name,
                short_id(&container.id),
                runtime(container.runtime())
            ))
            .trim_start(),
        );
        line(
            "image",
            &clean(format!("{} {}", container.image, container.image_digest).trim()),
        );
        if !container.metadata_reason.is_empty() {
            line(
                "note",
                &format!("no names: {}", clean(&container.metadata_reason)),
            );
        }
    }
    if let Some(process) = &alert.process {
        let user = process
            .credentials
            .as_ref()
            .map_or(0, |credentials| credentials.euid);
        line(
            "process",
            &format!(
                "pid {} uid {user}{}: {}",
                process.pid,
                if process.tty.is_empty() {
                    String::new()
                } else {
                    format!(" on {}", clean(&process.tty))
                },
                detail::program(process)
            ),
        );
    }
    let ancestors: Vec<String> = alert
        .ancestors
        .iter()
        .map(|process| format!("{} ({})", clean(&process.exe), process.pid))
        .collect();
    line("started by", &ancestors.join(" < "));
    let techniques: Vec<String> = alert
        .attack
        .iter()
        .map(|attack| format!("{} {}", attack.technique_id, attack.technique))
        .collect();
    line("ATT&CK", &techniques.join(", "));
    if alert.count > 1 {
        line(
            "repeated",
            &format!(
                "{} times, last {}",
                alert.count,
                time(alert.last_seen.as_ref())
            ),
        );
    }
    line("id", &alert.id);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        let at = |nanos| {
            time(Some(&Timestamp {
                seconds: 1_769_860_800,
                nanos,
            }))
        };
        assert_eq!(at(0), "2026-01-31T12:00:00.000Z");
        assert_eq!(at(5_999_999), "2026-01-31T12:00:00.005Z");
        assert_eq!(at(120_000_000), "2026-01-31T12:00:00.120Z");
        assert_eq!(time(None), "-");
    }

    #[test]
    fn numbers_agree_with_what_they_count() {
        assert_eq!(count(1_u32, "rule"), "1 rule");
        assert_eq!(count(0_usize, "rule"), "0 rules");
        assert_eq!(count(2_u64, "rule"), "2 rules");
    }

    #[test]
    fn the_last_day_is_the_one_before_the_end() {
        let end = Timestamp::date_time(2027, 1, 1, 0, 0, 0).expect("valid");
        assert_eq!(last_day(Some(&end)), "2026-12-31");
        assert_eq!(last_day(None), "-");
    }

    #[test]
    fn long_places_are_cut_to_their_column() {
        assert_eq!(fitted("shop/web", 8), "shop/web");
        assert_eq!(fitted("shop/web-1", 8), "shop/we…");
        assert_eq!(fitted("ééééé", 3), "éé…");
    }

    #[test]
    fn nothing_from_a_container_reaches_the_terminal_as_it_is() {
        let hostile = "\x1b[2J\x07".to_owned();
        let process = v1::Process {
            exe: hostile.clone(),
            argv: vec![hostile.clone()],
            tty: hostile.clone(),
            ..v1::Process::default()
        };
        let container = v1::Container {
            name: hostile.clone(),
            id: hostile.clone(),
            image: hostile.clone(),
            image_digest: hostile.clone(),
            metadata_reason: hostile.clone(),
            pod: Some(v1::Pod {
                name: hostile.clone(),
                namespace: hostile.clone(),
                ..v1::Pod::default()
            }),
            ..v1::Container::default()
        };
        let as_alert = alert(&v1::Alert {
            message: hostile.clone(),
            title: hostile,
            process: Some(process.clone()),
            ancestors: vec![process.clone()],
            container: Some(container.clone()),
            ..v1::Alert::default()
        });
        let as_event = event(&v1::Event {
            process: Some(process),
            location: v1::Location::Container.into(),
            container: Some(container),
            ..v1::Event::default()
        });
        for text in [as_alert, as_event] {
            assert!(
                !text
                    .chars()
                    .any(|character| character.is_control() && character != '\n'),
                "{text:?}"
            );
        }
    }
}
