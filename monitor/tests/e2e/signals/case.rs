//! What a case is, and what checks of events are made of.

use std::collections::BTreeSet;
use std::fmt::Debug;

use serde_json::Value;
use watchkeeper::proto::v1::{
    Call, Endpoint, Event, EventKind, ExecOrigin, Location, Namespaces, ProcessReference,
};

use crate::harness::watch::container_id;

/// Whether an event is right, and if not, why.
pub(super) type Check = fn(&Facts, &Event) -> Result<(), String>;

/// An action and the event that is to come of it.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// An action of the actor.
    pub(super) action: &'static str,
    pub(super) kind: EventKind,
    check: Check,
    pub(super) by: By,
    /// There must be one such event only.
    pub(super) once: bool,
    /// What names of sensors or hooks that the event comes from have in them: one that failed excuses the case.
    pub(super) hooks: &'static [&'static str],
}

/// Whose event it is.
#[derive(Clone, Copy)]
pub(super) enum By {
    /// Of the container, by the process whose id is the fact of this name.
    Process(&'static str),
    /// Of the container, whoever the process is: the kernel may act for another one, or for none.
    Anyone,
    /// By the acting process, which has left the container with it.
    Mover,
}

impl Case {
    /// A case whose action has its name, by the acting process.
    pub(super) const fn new(
        name: &'static str,
        kind: EventKind,
        hooks: &'static [&'static str],
        check: Check,
    ) -> Self {
        Self {
            name,
            action: name,
            kind,
            check,
            by: By::Process("pid"),
            once: false,
            hooks,
        }
    }

    /// The same with an action of another name.
    pub(super) const fn of(self, action: &'static str) -> Self {
        Self { action, ..self }
    }

    /// The same by somebody else.
    pub(super) const fn by(self, by: By) -> Self {
        Self { by, ..self }
    }

    /// The same, of which only one may come.
    pub(super) const fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// Whether an event is by whom the case is about.
    pub(super) fn concerns(&self, facts: &Facts, event: &Event) -> bool {
        let pid = event.process.as_ref().map_or(0, |process| process.pid);
        let own = container_id(event.container.as_ref()) == facts.text("container");
        match self.by {
            By::Process(fact) => own && u64::from(pid) == facts.number(fact),
            By::Anyone => own,
            By::Mover => u64::from(pid) == facts.number("pid"),
        }
    }

    /// Whether an event is what the case expects.
    pub(super) fn holds(&self, facts: &Facts, event: &Event) -> Result<(), String> {
        (self.check)(facts, event)?;
        match self.by {
            By::Process(_) => placed(event),
            By::Anyone | By::Mover => Ok(()),
        }
    }
}

/// What every event of a process in a container has.
fn placed(event: &Event) -> Result<(), String> {
    same("location", event.location(), Location::Container)?;
    let process = event.process.as_ref().ok_or("there is no process")?;
    same("origin", process.origin(), ExecOrigin::Descendant)?;
    let pod = event
        .container
        .as_ref()
        .and_then(|container| container.pod.as_ref());
    for (what, missing) in [
        ("exec_id", process.exec_id.is_empty()),
        ("exe", process.exe.is_empty()),
        ("ancestors", event.ancestors.is_empty()),
        ("cgroup_path", event.cgroup_path.is_empty()),
        ("time", event.time.is_none()),
        ("pod.uid", pod.is_none_or(|pod| pod.uid.is_empty())),
    ] {
        if missing {
            return Err(format!("{what} is missing"));
        }
    }
    Ok(())
}

/// What an action said of itself.
pub(crate) struct Facts(Value);

impl Facts {
    pub(super) fn new(facts: Value) -> Self {
        Self(facts)
    }

    /// A text; empty where the action said nothing of it.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// A number; 0 where the action said nothing of it.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_default()
    }

    /// Several texts.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let values = self.0[name].as_array().into_iter().flatten();
        values
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// Facts within this one.
    pub(super) fn inner(&self, name: &str) -> Self {
        Self(self.0[name].clone())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        !self.0[name].is_null()
    }
}

/// The detail of an event, which must be of the kind that is named.
macro_rules! detail {
    ($event:expr, $case:ident) => {
        match &$event.detail {
            Some(watchkeeper::proto::v1::event::Detail::$case(detail)) => detail,
            other => return Err(format!("its detail is {other:?}")),
        }
    };
}
pub(super) use detail;

/// Two values must be equal.
pub(super) fn same<A: Copy + Debug + PartialEq<B>, B: Copy + Debug>(
    what: &str,
    found: A,
    expected: B,
) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what} is {found:?}, not {expected:?}"))
    }
}

/// Something must be so.
pub(super) fn holds(what: &str, so: bool) -> Result<(), String> {
    if so { Ok(()) } else { Err(what.to_owned()) }
}

/// A list must have a text in it.
pub(super) fn includes(what: &str, found: &[String], expected: &str) -> Result<(), String> {
    holds(
        &format!("{what} is {found:?}, without {expected:?}"),
        found.iter().any(|one| one == expected),
    )
}

/// Two lists must hold the same, in whatever order.
pub(super) fn same_set(what: &str, found: &[String], expected: &[String]) -> Result<(), String> {
    let found: BTreeSet<_> = found.iter().collect();
    same(what, &found, &expected.iter().collect())
}

/// A system call must be the one of the facts, and have ended as they say; well, where they say nothing.
pub(super) fn called(facts: &Facts, call: Option<&Call>) -> Result<(), String> {
    called_as(facts, call, facts.text("call"))
}

/// The same for a call with another name.
pub(super) fn called_as(facts: &Facts, call: Option<&Call>, name: &str) -> Result<(), String> {
    let call = call.ok_or("there is no call")?;
    same("call.name", call.name.as_str(), name)?;
    same("call.error", call.error.as_str(), facts.text("error"))?;
    let expected = facts.0["result"].as_i64();
    if let Some(expected) = expected {
        same("call.result", call.result, expected)?;
    } else {
        holds("call.result is negative", call.result >= 0)?;
    }
    same("call.arguments_unknown", call.arguments_unknown, false)
}

/// An address and a port.
pub(super) fn endpoint(
    what: &str,
    found: Option<&Endpoint>,
    address: &str,
    port: u64,
) -> Result<(), String> {
    let found = found.ok_or_else(|| format!("{what} is missing"))?;
    let found = (found.address.as_str(), u64::from(found.port));
    same(what, found, (address, port))
}

/// Namespaces must be those of the facts but for those that are left out.
pub(super) fn same_namespaces(
    what: &str,
    found: Option<&Namespaces>,
    expected: &Facts,
    without: &[&str],
) -> Result<(), String> {
    let found = found.ok_or_else(|| format!("{what} is missing"))?;
    for (name, inode) in [
        ("mnt", found.mnt),
        ("pid", found.pid),
        ("net", found.net),
        ("uts", found.uts),
        ("ipc", found.ipc),
        ("cgroup", found.cgroup),
        ("user", found.user),
    ] {
        if !without.contains(&name) {
            same(
                &format!("{what}.{name}"),
                u64::from(inode),
                expected.number(name),
            )?;
        }
    }
    Ok(())
}

/// A process must be the target of the facts.
pub(super) fn target(facts: &Facts, found: Option<&ProcessReference>) -> Result<(), String> {
    let found = found.ok_or("there is no target")?;
    same("target.pid", u64::from(found.pid), facts.number("target"))
}
