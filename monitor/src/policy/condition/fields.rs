//! Reads the fields of events by their names.

use super::{
    schema::{self, Named, Root},
    subject::Subject,
    value::{Type, Value},
    view::View,
};

/// A field by its name, which one of these kinds of events must have.
///
/// # Errors
/// When there is none, with the name that is most like it.
pub fn field(name: &str, events: &[String]) -> Result<Named, String> {
    let named = schema::find(name).ok_or_else(|| unknown(name, &[]))?;
    let kinds = schema::events_of(&named);
    let comes = events.is_empty()
        || kinds.is_empty()
        || events.iter().any(|event| kinds.contains(&event.as_str()));
    if comes {
        Ok(named)
    } else {
        Err(format!(
            "`{name}` is only in events {}, and this is about {}",
            kinds.join(", "),
            events.join(", ")
        ))
    }
}

/// Reads a field; a process or its ancestors are no value.
#[must_use]
pub fn read<'a>(named: Named, view: &'a View<'a>) -> Value<'a> {
    match named {
        Named::Event(field) => (field.read)(view),
        Named::Detail(field) => view.detail().map_or(Value::Absent, field.read),
        Named::OfProcess(root, field) => {
            let subject = subject_of(root, view);
            subject.map_or(Value::Absent, |subject| (field.read)(&subject))
        }
        Named::Process(_) | Named::Ancestors => Value::Absent,
    }
}

/// Finds a process of an event.
pub(super) fn subject_of<'a>(root: Root, view: &'a View<'a>) -> Option<Subject<'a>> {
    let event = view.event;
    match root {
        Root::Own => view.process().copied(),
        Root::Parent => Some(Subject::of_ancestor(event.ancestors.first()?, view.memory)),
        Root::InjectedBy => Some(Subject {
            process: event.injected_by.as_deref()?,
            origin: None,
            container: None,
            memory: view.memory,
        }),
        Root::Target => Subject::of_target(event.target.as_ref()?, view.memory),
    }
}

/// The type of a field.
#[must_use]
pub fn kind(named: &Named) -> Type {
    match named {
        Named::Event(field) => field.kind,
        Named::Detail(field) => field.kind,
        Named::OfProcess(_, field) => field.kind,
        Named::Process(_) => Type::Process,
        Named::Ancestors => Type::Processes,
    }
}

/// What to say of a name that is not known.
pub(super) fn unknown(name: &str, further: &[String]) -> String {
    let below = schema::below(name);
    if !below.is_empty() {
        return format!(
            "`{name}` is not a field by itself; in it are {}",
            below.join(", ")
        );
    }
    let known = schema::all()
        .into_iter()
        .map(|field| field.path)
        .chain(further.iter().cloned());
    if let Some(nearest) = schema::nearest(name, known) {
        return format!("there is no field `{name}`; did you mean `{nearest}`?");
    }
    // Or the last component is wrong.
    if let Some((before, last)) = name.rsplit_once('.') {
        let below = schema::below(before);
        if !below.is_empty() {
            return format!(
                "there is no field `{last}` in `{before}`; in it are {}",
                below.join(", ")
            );
        }
    }
    format!("there is no field `{name}` (`watchkeeper policy fields` lists them)")
}

/// A hint at a name that is like the wrong one.
pub(super) fn meant(nearest: Option<String>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
