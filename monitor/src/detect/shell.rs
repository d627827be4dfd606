//! The rules about shells in containers.
//!
//! | how the shell came there | rule |
//! | --- | --- |
//! | from outside the container | `shell.injected` |
//! | from a process of the container that listens on the network | `shell.from-service` |
//! | otherwise, with a terminal | `shell.interactive` |
//! | otherwise | none: an entry point, or a script it runs |

use std::{collections::BTreeMap, sync::Arc};

use watchkeeper_ebpf::record::exec_flag;

use super::{executable::Content, said::Said};
use crate::{
    container::membership::Origin,
    event::{Ancestor, Event},
    process::execution::{Execution, Process, Shell, base_name},
};

/// Names that shells go by; only used where an executable can't be read, and to find a multi-call binary's applet.
const NAMES: [&str; 15] = [
    "sh", "ash", "bash", "csh", "dash", "fish", "hush", "ksh", "ksh93", "lash", "mksh", "msh",
    "rbash", "tcsh", "zsh",
];

/// Whether a program is a shell.
#[must_use]
pub fn recognise(program: &Execution, content: &Content) -> Option<Shell> {
    match content {
        Content::Shell(family) => Some(Shell {
            family: (*family).to_owned(),
            recognised_by: "content".to_owned(),
            claimed: false,
        }),
        // A multi-call binary does what its first argument says, or the next after its own name: the arguments are
        // what decides, so they can't lie here. Where they are not known it may be anything.
        Content::Multicall(binary) => {
            let cut = exec_flag::ARGV_TRUNCATED | exec_flag::ARGV_UNREADABLE;
            match applet(program, binary) {
                Some(applet) if is_name(&applet) => Some(Shell {
                    family: format!("{binary} {applet}"),
                    recognised_by: "applet".to_owned(),
                    claimed: false,
                }),
                _ if program.flags & cut != 0 => Some(Shell {
                    family: format!("{binary} with an unknown applet"),
                    recognised_by: "arguments that are too long to be read".to_owned(),
                    claimed: true,
                }),
                _ => None,
            }
        }
        Content::Miner(_) | Content::Other => None,
        Content::Unreadable(reason) => {
            let name = program.name();
            is_name(name).then(|| Shell {
                family: name.to_owned(),
                recognised_by: format!("name ({reason})"),
                claimed: true,
            })
        }
    }
}

/// The applet that a multi-call binary runs: the first argument that is not the binary's own name, which may come again
/// and again (`busybox busybox sh`).
fn applet(program: &Execution, binary: &str) -> Option<String> {
    program
        .argv
        .iter()
        .map(|argument| {
            // A login shell's name begins with a dash.
            base_name(argument.strip_prefix('-').unwrap_or(argument)).to_owned()
        })
        .find(|name| !name.starts_with(binary))
}

fn is_name(name: &str) -> bool {
    NAMES.contains(&name)
}

/// A process that listens on the network.
#[derive(Clone, Debug)]
struct Service {
    process: Arc<Process>,
    /// TCP port.
    port: u16,
}

/// The nearest ancestor in the same container that listens on the network, of a process that descends from the
/// container's own. `listens` gives the port that a process listens on.
fn service(event: &Event, mut listens: impl FnMut(&Process) -> Option<u16>) -> Option<Service> {
    match event.origin? {
        Origin::Injected | Origin::NamespaceEntry => None,
        Origin::Entrypoint | Origin::Descendant | Origin::Unknown => {
            within(event).find_map(|ancestor| {
                Some(Service {
                    port: listens(&ancestor.process)?,
                    process: Arc::clone(&ancestor.process),
                })
            })
        }
    }
}

/// The ancestors in the container that an event happened in, up to its first process.
fn within(event: &Event) -> impl Iterator<Item = &Ancestor> {
    let slot = event.container().map(|container| container.slot);
    event.ancestors.iter().take_while(move |ancestor| {
        let membership = ancestor.membership.as_ref();
        membership.map(|membership| membership.container.slot) == slot && slot.is_some()
    })
}

/// What the rules say of a program that a container's process runs, where that is a shell. `listens` gives the port that a process
/// listens on.
#[must_use]
pub fn judge(event: &Event, listens: impl FnMut(&Process) -> Option<u16>) -> Option<Said> {
    event.container()?;
    let process = event.process.as_deref()?;
    let shell = process.program.shell()?;
    let mut facts = facts(process, shell);
    let described = describe(process, shell);
    let origin = event.origin?;
    if matches!(origin, Origin::Injected | Origin::NamespaceEntry) {
        // One that joined the cgroup itself before it ran the shell: who started it says more. One that entered the namespaces says
        // by what program it did.
        let other = |by: &Arc<Process>| origin == Origin::NamespaceEntry || by.key != process.key;
        let outside = || {
            let outside = event.ancestors.get(within(event).count())?;
            Some(Arc::clone(&outside.process))
        };
        let entered_by = event.injected_by.clone();
        let injected_by = entered_by
            .clone()
            .filter(other)
            .or_else(outside)
            .or(entered_by);
        let method = method(origin, injected_by.as_deref());
        let by = injected_by.as_ref().map_or_else(
            || "a process that is gone".to_owned(),
            |process| format!("{} (pid {})", process.program.exe, process.key.pid),
        );
        facts.insert("method", method.to_owned());
        return Some(finding(
            "shell.injected",
            format!("{described} was put into the container by {by}, {method}"),
            event.ancestors.clone(),
            injected_by,
            facts,
            shell,
        ));
    }
    let ancestors: Vec<Ancestor> = within(event).cloned().collect();
    if let Some(Service {
        process: service,
        port,
    }) = service(event, listens)
    {
        facts.insert("service", service.program.exe.clone());
        facts.insert("servicePid", service.key.pid.to_string());
        facts.insert("servicePort", port.to_string());
        let message = format!(
            "{described} descends from {} (pid {}), which listens on TCP port {port}",
            service.program.exe, service.key.pid
        );
        return Some(finding(
            "shell.from-service",
            message,
            ancestors,
            None,
            facts,
            shell,
        ));
    }
    if !process.program.is_interactive() {
        return None;
    }
    let place = if origin == Origin::Entrypoint {
        "is the container's entry point"
    } else {
        "runs in the container"
    };
    let message = format!(
        "{described} {place} and has a terminal ({})",
        terminal(&process.program)
    );
    Some(finding(
        "shell.interactive",
        message,
        ancestors,
        None,
        facts,
        shell,
    ))
}

fn finding(
    rule: &'static str,
    message: String,
    ancestors: Vec<Ancestor>,
    injected_by: Option<Arc<Process>>,
    facts: BTreeMap<&'static str, String>,
    shell: &Shell,
) -> Said {
    let mut claimed = vec!["process.argv", "process.filename"];
    if shell.claimed {
        claimed.push("facts.shell");
    }
    Said {
        rule,
        message,
        ancestors,
        injected_by,
        facts,
        claimed,
        evidence: Vec::new(),
    }
}

fn facts(process: &Process, shell: &Shell) -> BTreeMap<&'static str, String> {
    let program = &process.program;
    let mut facts = BTreeMap::from([
        ("shell", shell.family.clone()),
        ("recognisedBy", shell.recognised_by.clone()),
        ("interactive", program.is_interactive().to_string()),
    ]);
    if program.flags & exec_flag::SCRIPT != 0 {
        facts.insert("script", program.filename.clone());
    }
    facts
}

/// The shell in a few words; its family only where the executable's name does not tell it.
fn describe(process: &Process, shell: &Shell) -> String {
    let program = &process.program;
    let kind = if program.is_interactive() {
        "interactive shell"
    } else {
        "shell"
    };
    if shell.family == program.name() {
        format!("{kind} {}", program.exe)
    } else {
        format!("{kind} {} ({})", program.exe, shell.family)
    }
}

/// How a shell was put into its container.
fn method(origin: Origin, injected_by: Option<&Process>) -> &'static str {
    if origin == Origin::NamespaceEntry {
        return "entering its namespaces";
    }
    // Kubernetes, CRI tools and podman all have the OCI runtime do it, with its command `exec`.
    let by_runtime = injected_by.is_some_and(|process| process.program.argv.contains("exec"));
    if by_runtime {
        "with the runtime's exec (kubectl exec, crictl exec, podman exec)"
    } else {
        "joining its cgroup"
    }
}

fn terminal(program: &Execution) -> &str {
    if program.tty.is_empty() {
        "standard input"
    } else {
        &program.tty
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::OnceLock, time::SystemTime};

    use super::*;
    use crate::{
        container::{membership::Membership, model::Container, registry::Place, shape},
        event::Detail,
        process::execution::{Arguments, ProcessKey, Recognised, tests::process},
    };

    fn container() -> Arc<Container> {
        let path = format!("/docker/{:064x}", 1);
        let shape = shape::recognise(&path).expect("a container's");
        Arc::new(Container::new(shape, path, 5, 1))
    }

    fn key(pid: u32) -> ProcessKey {
        ProcessKey {
            pid,
            start_ticks: 1,
        }
    }

    /// A program with these arguments.
    fn program(exe: &str, argv: &[&str]) -> Process {
        let mut process = process(key(9), Some(key(8)), exe);
        let program = Arc::make_mut(&mut process.program);
        program.argv = Arguments::new(argv.join("\0").as_bytes());
        program.recognised = OnceLock::from(Recognised::Shell(Shell {
            family: "bash".to_owned(),
            recognised_by: "content".to_owned(),
            claimed: false,
        }));
        process
    }

    fn ancestor(process: Process, container: Option<&Arc<Container>>, origin: Origin) -> Ancestor {
        Ancestor {
            process: Arc::new(process),
            membership: container.map(|container| Membership {
                container: Arc::clone(container),
                origin,
                entered_by: None,
            }),
        }
    }

    fn event(process: &Process, origin: Origin, ancestors: Vec<Ancestor>) -> Event {
        let container = container();
        Event {
            time: SystemTime::UNIX_EPOCH,
            process: Some(Arc::new(process.clone())),
            origin: Some(origin),
            injected_by: None,
            ancestors,
            place: Place::Container(container, "/docker/x".into()),
            target: None,
            detail: Detail::Exec,
        }
    }

    fn with_tty(process: &Process) -> Process {
        let mut program = (*process.program).clone();
        program.tty = "pts0".to_owned();
        Process {
            program: Arc::new(program),
            ..process.clone()
        }
    }

    #[test]
    fn a_shell_is_what_runs_not_what_it_is_called() {
        let multicall = Content::Multicall("busybox");
        let unreadable = Content::Unreadable("gone".to_owned());
        let cases: [(&str, &[&str], &Content, Option<&str>); 12] = [
            (
                "/usr/sbin/nginx",
                &["nginx"],
                &Content::Shell("bash"),
                Some("bash"),
            ),
            ("/bin/sh", &["sh"], &Content::Other, None),
            (
                "/bin/busybox",
                &["sh", "-c", "id"],
                &multicall,
                Some("busybox sh"),
            ),
            ("/bin/busybox", &["-ash"], &multicall, Some("busybox ash")),
            (
                "/bin/busybox",
                &["/bin/busybox", "sh"],
                &multicall,
                Some("busybox sh"),
            ),
            ("/tmp/nginx", &["sh"], &multicall, Some("busybox sh")),
            (
                "/tmp/nginx",
                &["busybox-copy", "ash"],
                &multicall,
                Some("busybox ash"),
            ),
            ("/bin/busybox", &["ls", "sh"], &multicall, None),
            (
                "/bin/busybox",
                &["busybox", "busybox", "sh"],
                &multicall,
                Some("busybox sh"),
            ),
            ("/bin/busybox", &[], &multicall, None),
            ("/bin/dash", &["x"], &unreadable, Some("dash")),
            ("/bin/ls", &["sh"], &unreadable, None),
        ];
        for (exe, argv, content, expected) in cases {
            let found = recognise(&program(exe, argv).program, content);
            assert_eq!(
                found.map(|shell| shell.family).as_deref(),
                expected,
                "{exe} {argv:?} {content:?}"
            );
        }
    }

    #[test]
    fn an_entry_point_without_terminal_is_quiet() {
        let process = program("/bin/sh", &["sh", "/entrypoint.sh"]);
        let event = event(&process, Origin::Entrypoint, Vec::new());
        assert!(
            judge(&event, |_| Some(80)).is_none(),
            "it has no ancestors inside"
        );
    }

    #[test]
    fn a_terminal_makes_it_interactive() {
        let process = with_tty(&program("/bin/sh", &["sh"]));
        let event = event(&process, Origin::Entrypoint, Vec::new());
        let finding = judge(&event, |_| None).expect("found");
        assert_eq!(finding.rule, "shell.interactive");
        assert!(finding.message.contains("pts0"), "{}", finding.message);
    }

    #[test]
    fn a_listening_ancestor_in_the_container_makes_it_from_a_service() {
        let process = program("/bin/sh", &["sh", "-c", "id"]);
        let container = container();
        let own = program("/app/worker", &["worker"]);
        let server = self::process(key(3), None, "/app/server");
        let host = self::process(key(2), None, "/usr/bin/shim");
        let event = event(
            &process,
            Origin::Descendant,
            vec![
                ancestor(own, Some(&container), Origin::Descendant),
                ancestor(server, Some(&container), Origin::Entrypoint),
                ancestor(host, None, Origin::Unknown),
            ],
        );
        let listens =
            |port_of: u32| move |process: &Process| (process.key.pid == port_of).then_some(8_080);
        let finding = judge(&event, listens(3)).expect("found");
        assert_eq!(finding.rule, "shell.from-service");
        assert_eq!(
            finding.ancestors.len(),
            2,
            "up to the container's first process"
        );
        assert_eq!(finding.facts["servicePort"], "8080");
        assert!(
            judge(&event, listens(2)).is_none(),
            "what listens outside the container does not count"
        );
    }

    #[test]
    fn an_injected_shell_names_who_did_it() {
        let process = program("/bin/sh", &["sh"]);
        let runtime = Process {
            key: key(4),
            ..program("/usr/bin/runc", &["runc", "exec", "x"])
        };
        let mut event = event(
            &process,
            Origin::Injected,
            vec![ancestor(runtime.clone(), None, Origin::Unknown)],
        );
        let finding = judge(&event, |_| None).expect("found");
        assert_eq!(finding.rule, "shell.injected");
        assert_eq!(
            finding.injected_by.map(|process| process.key.pid),
            Some(4),
            "the nearest ancestor outside"
        );
        assert!(finding.facts["method"].contains("kubectl exec"));
        assert_eq!(finding.facts["interactive"], "false");
        // The runtime has ended by then, and another process is the parent.
        event.injected_by = Some(Arc::new(Process {
            key: key(5),
            ..runtime
        }));
        let finding = judge(&event, |_| None).expect("found");
        assert_eq!(finding.injected_by.map(|process| process.key.pid), Some(5));
        // It joined the cgroup itself, as another program.
        event.injected_by = Some(Arc::new(self::process(
            process.key,
            None,
            "/usr/bin/entering",
        )));
        let finding = judge(&event, |_| None).expect("found");
        assert_eq!(finding.injected_by.map(|process| process.key.pid), Some(4));
        event.ancestors.clear();
        let finding = judge(&event, |_| None).expect("found");
        assert_eq!(
            finding.injected_by.map(|process| process.key),
            Some(process.key)
        );
    }

    #[test]
    fn a_shell_of_the_host_is_no_finding() {
        let process = with_tty(&program("/bin/sh", &["sh"]));
        let mut event = event(&process, Origin::Injected, Vec::new());
        event.place = Place::Host("/".into());
        assert!(judge(&event, |_| None).is_none());
    }
}
