//! What happened in an event, in one line for people.

use super::terminal::{clean, command_line};
use crate::proto::v1::{self, EventKind, event::Detail};

/// Characters of a command line that are shown.
const ARGUMENTS_SHOWN: usize = 160;
/// The signal that seccomp kills with.
const SIGSYS: u32 = 31;

/// Every kind of event.
pub(super) fn kinds() -> impl Iterator<Item = EventKind> {
    (1..).map_while(|number| EventKind::try_from(number).ok())
}

/// Executable and arguments; the executable only where the arguments don't name it.
pub(super) fn program(process: &v1::Process) -> String {
    let line = command_line(&process.argv, ARGUMENTS_SHOWN);
    if process.argv.first() == Some(&process.exe) {
        line
    } else {
        format!("{}  [{line}]", clean(&process.exe))
    }
}

/// What happened. Everything that a container chooses is cleaned.
pub(super) fn what(event: &v1::Event) -> String {
    let process = event.process.clone().unwrap_or_default();
    let text = match &event.detail {
        // Exec is the one that is about the program itself.
        None => return program(&process),
        Some(detail) => of_detail(detail, &process),
    };
    clean(&text).into_owned()
}

fn of_detail(detail: &Detail, process: &v1::Process) -> String {
    let exe = &process.exe;
    match detail {
        Detail::Fork(fork) => format!("{exe} creates {}", fork.child_pid),
        Detail::Exit(exit) => match (exit.signal, exit.code) {
            (Some(SIGSYS), _) => format!("{exe} killed by seccomp (SIGSYS)"),
            (Some(signal), _) => format!("{exe} killed by signal {signal}"),
            (None, code) => format!("{exe} ends with code {}", code.unwrap_or(0)),
        },
        Detail::Cgroup(cgroup) => cgroup.path.clone(),
        Detail::CgroupAttach(attach) => {
            let moved = if attach.pid == process.pid {
                "itself".to_owned()
            } else {
                attach.pid.to_string()
            };
            format!("moves {moved} to {}", attach.path)
        }
        Detail::Loss(loss) => format!("{} {} records: {}", loss.count, loss.class, loss.reason),
        Detail::Connection(connection) => format!("{exe} {}", self::connection(connection)),
        Detail::Socket(socket) => {
            let at = socket
                .local
                .as_ref()
                .map(|end| format!(" {}", endpoint(end)));
            format!(
                "{exe} {} {} socket, protocol {}{}",
                socket.family,
                socket.r#type,
                socket.protocol,
                at.unwrap_or_default()
            )
        }
        Detail::Dns(dns) if dns.answer => format!(
            "{} {} is {}",
            dns.name,
            dns.r#type,
            if dns.answers.is_empty() {
                dns.response_code.clone()
            } else {
                dns.answers.join(", ")
            }
        ),
        Detail::Dns(dns) => format!("{exe} asks for {} {}", dns.name, dns.r#type),
        Detail::Payload(payload) => format!(
            "{exe} speaks {} ({}) with {}{}",
            payload.protocol,
            payload.method,
            named(payload.remote.as_ref(), &payload.remote_name),
            quoted(" as ", &payload.agent)
        ),
        Detail::FileOpen(open) => format!(
            "{exe} opens {} for {} ({})",
            open.path,
            open.access.join(", "),
            open.reasons.join(", ")
        ),
        Detail::FileChange(change) => format!(
            "{exe} {} {}{}{} ({})",
            call(change.call.as_ref()),
            change.path,
            quoted(" to ", &change.new_path),
            quoted(" mode ", &change.mode),
            change.reasons.join(", ")
        ),
        Detail::Mount(mount) => {
            let parts = [
                &mount.filesystem,
                &mount.source,
                &mount.target,
                &mount.key,
                &mount.value,
                &mount.root,
            ];
            let parts: Vec<&str> = parts
                .into_iter()
                .map(String::as_str)
                .filter(|part| !part.is_empty())
                .collect();
            format!(
                "{exe} {} {} {}",
                call(mount.call.as_ref()),
                parts.join(" "),
                mount.flags.join("|")
            )
        }
        Detail::NamespaceChange(change) => format!(
            "{exe} {} of {}",
            call(change.call.as_ref()),
            if change.changed.is_empty() {
                change.requested.join(", ")
            } else {
                change.changed.join(", ")
            }
        ),
        Detail::CredentialChange(change) => {
            let state = |credentials: Option<&v1::Credentials>| match credentials {
                Some(found) => format!(
                    "uid {} euid {} capabilities {}",
                    found.uid,
                    found.euid,
                    match found.cap_effective.len() {
                        0 => "none".to_owned(),
                        1 => found.cap_effective[0].clone(),
                        count => count.to_string(),
                    }
                ),
                None => "unknown".to_owned(),
            };
            format!(
                "{exe} {}: {} → {}",
                if change.unexplained {
                    "without a system call".to_owned()
                } else {
                    call(change.call.as_ref())
                },
                state(change.before.as_ref()),
                state(change.after.as_ref())
            )
        }
        Detail::ProcessAccess(access) => format!(
            "{exe} {} {} {}",
            call(access.call.as_ref()),
            access.request,
            reference(access.target.as_ref(), access.claimed_pid)
        ),
        Detail::Signal(signal) => format!(
            "{exe} sends signal {} to {}",
            signal.number,
            reference(signal.target.as_ref(), 0)
        ),
        Detail::ProcessControl(control) => format!(
            "{exe} {} {}{}",
            call(control.call.as_ref()),
            control.option,
            quoted(" ", &control.name)
        ),
        Detail::KernelCall(kernel) => format!(
            "{exe} {} {} {} {}",
            call(kernel.call.as_ref()),
            kernel.command,
            kernel.r#type,
            kernel.name
        ),
        Detail::KernelModule(module) => format!(
            "{exe} {} module {} {}",
            if module.unloaded { "unloads" } else { "loads" },
            module.name,
            module.path
        ),
        Detail::IoUringOperation(operation) => {
            format!("{exe} uses {} ({})", operation.name, operation.opcode)
        }
        Detail::LoaderVariable(variable) => format!("{exe} {}={}", variable.name, variable.value),
        Detail::SelinuxDenial(denial) => format!(
            "{exe} {} → {} {} {} {}",
            denial.source_context,
            denial.target_context,
            denial.target_class,
            if denial.enforced {
                "denied"
            } else {
                "permissive, not denied"
            },
            denial.permissions.join(",")
        ),
        Detail::FloatRounding(rounding) => format!(
            "{exe} rounds in all ways: down {}, up {}, toward zero {}",
            rounding.down, rounding.up, rounding.toward_zero
        ),
        Detail::Heartbeat(heartbeat) => format!("heartbeat {}", heartbeat.number),
        Detail::CpuUsage(usage) => format!(
            "{:.2} CPUs{}",
            usage.used_ns as f64 / usage.interval_ns.max(1) as f64,
            if usage.limit_cpus > 0.0 {
                format!(" of {:.2}", usage.limit_cpus)
            } else {
                String::new()
            }
        ),
    }
}

fn quoted(before: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{before}{text}")
    }
}

fn endpoint(end: &v1::Endpoint) -> String {
    if end.address.contains(':') {
        format!("[{}]:{}", end.address, end.port)
    } else {
        format!("{}:{}", end.address, end.port)
    }
}

/// An end with the name that it was asked for by.
fn named(end: Option<&v1::Endpoint>, name: &str) -> String {
    let address = end.map(endpoint).unwrap_or_default();
    if name.is_empty() {
        address
    } else {
        format!("{name} ({address})")
    }
}

fn connection(connection: &v1::Connection) -> String {
    if !connection.runtime.is_empty() {
        return format!(
            "connects to the {} socket {}",
            connection.runtime, connection.path
        );
    }
    let protocol = match connection.protocol() {
        v1::Protocol::Udp => "udp",
        v1::Protocol::Unix => "unix",
        v1::Protocol::Tcp | v1::Protocol::Unspecified => "tcp",
    };
    let bytes = if connection.bytes_sent + connection.bytes_received == 0 {
        String::new()
    } else {
        format!(
            ", {} bytes sent, {} received",
            connection.bytes_sent, connection.bytes_received
        )
    };
    format!(
        "{protocol} {} {} {}{}{bytes}",
        connection.local.as_ref().map(endpoint).unwrap_or_default(),
        if connection.outbound { "→" } else { "←" },
        named(connection.remote.as_ref(), &connection.remote_name),
        match connection.outcome() {
            v1::Outcome::Failed => quoted(" failed: ", &connection.error),
            v1::Outcome::InProgress => " in progress".to_owned(),
            v1::Outcome::Established | v1::Outcome::Unspecified => String::new(),
        },
    )
}

fn call(call: Option<&v1::Call>) -> String {
    match call {
        Some(call) if call.error.is_empty() => call.name.clone(),
        Some(call) => format!("{} ({})", call.name, call.error),
        None => String::new(),
    }
}

fn reference(target: Option<&v1::ProcessReference>, claimed: u32) -> String {
    match target {
        Some(target) => format!("{} {}", target.pid, target.exe),
        None if claimed == 0 => String::new(),
        None => format!("{claimed} (in its own numbering)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_contract_is_there() {
        assert_eq!(kinds().last(), Some(EventKind::Heartbeat));
    }

    #[test]
    fn nothing_that_a_container_chooses_reaches_the_terminal_as_it_is() {
        let hostile = "\x1b[2J\x07".to_owned();
        let event = v1::Event {
            detail: Some(Detail::FileOpen(v1::FileOpen {
                path: hostile.clone(),
                reasons: vec![hostile],
                ..v1::FileOpen::default()
            })),
            ..v1::Event::default()
        };
        assert!(!what(&event).chars().any(char::is_control));
    }

    #[test]
    fn a_connection_shows_its_name_and_its_failure() {
        let connection = v1::Connection {
            remote: Some(v1::Endpoint {
                address: "2001:db8::1".to_owned(),
                port: 443,
            }),
            remote_name: "example.org".to_owned(),
            outbound: true,
            outcome: v1::Outcome::Failed.into(),
            error: "ECONNREFUSED".to_owned(),
            ..v1::Connection::default()
        };
        assert_eq!(
            super::connection(&connection),
            "tcp  → example.org ([2001:db8::1]:443) failed: ECONNREFUSED"
        );
    }
}
