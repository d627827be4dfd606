//! What conditions can name: the fields of events, by the names that they have in the API.

use super::{
    subject::{PROCESS_FIELDS, ProcessField},
    value::{Texts, Type, Value},
    view::{EVENT_FIELDS, EventField},
};
use crate::proto::v1::{EventKind, event::Detail};

/// One field of an event's detail.
pub struct DetailField {
    /// Its name; the first component is that of the detail.
    pub path: &'static str,
    /// Its type.
    pub kind: Type,
    /// The values it can have; empty for any.
    pub values: &'static [&'static str],
    /// What it says.
    pub comment: &'static str,
    /// Reads it.
    pub read: fn(&Detail) -> Value<'_>,
}

/// Every field of details. Made from the protobuf definitions when this is built.
pub static DETAIL_FIELDS: &[DetailField] = include!(concat!(env!("OUT_DIR"), "/event_fields.rs"));

/// Names of the kinds of events.
pub const KINDS: &[&str] = &[
    "fork",
    "exec",
    "exit",
    "cgroup-created",
    "cgroup-removed",
    "cgroup-attach",
    "loss",
    "connect",
    "accept",
    "close",
    "listen",
    "bind",
    "socket",
    "dns",
    "payload",
    "file-open",
    "file-change",
    "mount",
    "namespace-change",
    "credential-change",
    "process-access",
    "signal",
    "process-control",
    "kernel-call",
    "kernel-module",
    "io-uring-operation",
    "loader-variable",
    "selinux-denial",
    "cpu-usage",
    "float-rounding",
    "heartbeat",
];

/// A kind of events by its name.
#[must_use]
pub fn kind(name: &str) -> Option<EventKind> {
    // They are counted from 1.
    let place = KINDS.iter().position(|kind| *kind == name)? + 1;
    EventKind::try_from(i32::try_from(place).ok()?).ok()
}

/// Kinds whose detail has not their own name.
const DETAILS_OF_SEVERAL: [(&str, &[&str]); 2] = [
    ("connection", &["connect", "accept", "close"]),
    ("socket", &["listen", "bind", "socket"]),
];

/// A process that a condition can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The one that did it.
    Own,
    /// Its parent.
    Parent,
    /// The one that put it into its container.
    InjectedBy,
    /// The one that it is done to.
    Target,
}

/// Names of processes.
const ROOTS: [(&str, Root); 4] = [
    ("process.parent", Root::Parent),
    ("process.injected_by", Root::InjectedBy),
    ("process", Root::Own),
    ("target", Root::Target),
];

/// The list of a process's ancestors.
pub const ANCESTORS: &str = "process.ancestors";

/// What a name in a condition stands for.
#[derive(Clone, Copy)]
pub enum Named {
    /// A field of the event.
    Event(&'static EventField),
    /// A field of its detail.
    Detail(&'static DetailField),
    /// A process.
    Process(Root),
    /// A field of a process.
    OfProcess(Root, &'static ProcessField),
    /// A process's ancestors.
    Ancestors,
}

/// Looks a name up.
#[must_use]
pub fn find(path: &str) -> Option<Named> {
    if let Some(field) = EVENT_FIELDS.iter().find(|field| field.path == path) {
        return Some(Named::Event(field));
    }
    if path == ANCESTORS {
        return Some(Named::Ancestors);
    }
    for (name, root) in ROOTS {
        let Some(rest) = path.strip_prefix(name) else {
            continue;
        };
        if rest.is_empty() {
            return Some(Named::Process(root));
        }
        let field = rest.strip_prefix('.').and_then(of_process);
        if let Some(field) = field {
            return Some(Named::OfProcess(root, field));
        }
    }
    DETAIL_FIELDS
        .iter()
        .find(|field| field.path == path)
        .map(Named::Detail)
}

/// A field of processes by its name.
#[must_use]
pub fn of_process(path: &str) -> Option<&'static ProcessField> {
    PROCESS_FIELDS.iter().find(|field| field.path == path)
}

/// The kinds of events that have a field; none for all.
#[must_use]
pub fn events_of(named: &Named) -> Vec<&'static str> {
    match named {
        Named::Event(field) => field.events.to_vec(),
        Named::OfProcess(Root::Target, _) | Named::Process(Root::Target) => {
            vec!["process-access", "signal", "file-open"]
        }
        Named::OfProcess(..) | Named::Process(_) | Named::Ancestors => Vec::new(),
        Named::Detail(field) => {
            let detail = field.path.split('.').next().unwrap_or_default();
            let several = DETAILS_OF_SEVERAL.iter().find(|(name, _)| *name == detail);
            match several {
                Some((_, kinds)) => kinds.to_vec(),
                None => KINDS
                    .iter()
                    .filter(|kind| kind.replace('-', "_") == detail)
                    .copied()
                    .collect(),
            }
        }
    }
}

/// One line about a field, for people.
pub struct Described {
    /// Its name.
    pub path: String,
    /// Its type.
    pub kind: Type,
    /// The kinds of events that have it; none for all.
    pub events: Vec<&'static str>,
    /// The values it can have; empty for any.
    pub values: &'static [&'static str],
    /// What it says.
    pub comment: &'static str,
}

/// Every name that a condition can use.
#[must_use]
pub fn all() -> Vec<Described> {
    let mut all: Vec<Described> = EVENT_FIELDS
        .iter()
        .map(|field| Described {
            path: field.path.to_owned(),
            kind: field.kind,
            events: field.events.to_vec(),
            values: field.values,
            comment: field.comment,
        })
        .collect();
    all.push(Described {
        path: ANCESTORS.to_owned(),
        kind: Type::Processes,
        events: Vec::new(),
        values: &[],
        comment: "Its ancestors, the parent first. Each has the fields of `process`.",
    });
    for (name, root) in [ROOTS[2], ROOTS[0], ROOTS[1], ROOTS[3]] {
        all.extend(PROCESS_FIELDS.iter().map(|field| Described {
            path: format!("{name}.{}", field.path),
            kind: field.kind,
            events: events_of(&Named::Process(root)),
            values: field.values,
            comment: field.comment,
        }));
    }
    all.extend(DETAIL_FIELDS.iter().map(|field| Described {
        path: field.path.to_owned(),
        kind: field.kind,
        events: events_of(&Named::Detail(field)),
        values: field.values,
        comment: field.comment,
    }));
    all
}

/// What begins like this name: what a name that is not a field may have been meant as the beginning of.
#[must_use]
pub fn below(path: &str) -> Vec<String> {
    let prefix = format!("{path}.");
    let mut names: Vec<String> = all()
        .into_iter()
        .filter_map(|field| {
            let rest = field.path.strip_prefix(&prefix)?;
            Some(rest.split('.').next().unwrap_or(rest).to_owned())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The known name that is most like this one, if one is.
#[must_use]
pub fn nearest(wanted: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    /// From here on two names look alike (1 is the same).
    const ALIKE: f64 = 0.65;
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(wanted, &name), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::proto;

    #[test]
    fn names_are_unique_and_say_what_they_mean() {
        let mut seen = HashSet::new();
        for field in all() {
            assert!(
                seen.insert(field.path.clone()),
                "{} comes twice",
                field.path
            );
            assert!(find(&field.path).is_some(), "{} is not found", field.path);
        }
    }

    #[test]
    fn kinds_are_those_of_the_api() {
        let known: Vec<&String> = proto::kind_names().iter().skip(1).collect();
        assert_eq!(known, KINDS.iter().collect::<Vec<_>>());
        for name in KINDS {
            assert_eq!(kind(name).map(proto::kind_name), Some(*name));
        }
        assert_eq!(kind("unspecified"), None);
    }

    #[test]
    fn every_detail_belongs_to_a_kind_of_event() {
        for field in DETAIL_FIELDS {
            assert!(
                !events_of(&Named::Detail(field)).is_empty(),
                "{} comes with no event",
                field.path
            );
        }
    }

    #[test]
    fn fields_have_the_types_of_the_api() {
        for (path, kind) in [
            ("file_open.access", Type::Texts),
            ("file_open.file.inode", Type::Int),
            ("connection.remote.port", Type::Int),
            ("connection.outcome", Type::Text),
            ("cpu_usage.limit_cpus", Type::Double),
            ("credential_change.after.login_uid", Type::Int),
        ] {
            let found = DETAIL_FIELDS.iter().find(|field| field.path == path);
            assert_eq!(found.map(|field| field.kind), Some(kind), "{path}");
        }
        assert!(find("file_open.target.pid").is_none(), "it is `target.pid`");
    }

    #[test]
    fn names_that_are_alike_are_found() {
        let known = || ["file_open.path", "process.exe"].map(str::to_owned);
        assert_eq!(
            nearest("file_open.pth", known()).as_deref(),
            Some("file_open.path")
        );
        assert_eq!(nearest("nothing", known()), None);
    }
}
