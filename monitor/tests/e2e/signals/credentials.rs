//! Changes of credentials, by system calls, by running programs, and by nothing that explains them.

use watchkeeper::proto::v1::{Credentials, Event, EventKind, Layer};

use super::case::{Case, Facts, called, detail, holds, includes, same};

pub(super) const CASES: &[Case] = &[
    Case::new("setuid", EventKind::CredentialChange, &["setuid"], user),
    Case::new("setreuid", EventKind::CredentialChange, &["setreuid"], user),
    Case::new(
        "setresuid",
        EventKind::CredentialChange,
        &["setresuid"],
        user,
    ),
    Case::new("setgid", EventKind::CredentialChange, &["setgid"], ids),
    Case::new("setregid", EventKind::CredentialChange, &["setregid"], ids),
    Case::new(
        "setresgid",
        EventKind::CredentialChange,
        &["setresgid"],
        ids,
    ),
    Case::new("capset", EventKind::CredentialChange, &["capset"], dropped),
    Case::new(
        "loginuid",
        EventKind::CredentialChange,
        &["loginuid"],
        login,
    ),
    #[cfg(target_arch = "x86_64")]
    Case::new(
        "setuid-ia32",
        EventKind::CredentialChange,
        &["credential"],
        unexplained,
    ),
    #[cfg(target_arch = "x86_64")]
    Case::new(
        "setresuid-ia32",
        EventKind::CredentialChange,
        &["credential"],
        unexplained,
    ),
    Case::new(
        "exec-setuid-after-alg",
        EventKind::CredentialChange,
        EXEC,
        setuid_program,
    ),
    Case::new(
        "exec-setuid",
        EventKind::CredentialChange,
        EXEC,
        setuid_program,
    ),
    Case::new(
        "exec-file-capability",
        EventKind::CredentialChange,
        EXEC,
        capable_program,
    ),
    Case::new("exec-confined", EventKind::Exec, EXEC, confined),
    Case::new("memfd-exec", EventKind::Exec, EXEC, from_memory),
    Case::new("ld-preload", EventKind::LoaderVariable, EXEC, variable),
    Case::new("ld-audit", EventKind::LoaderVariable, EXEC, variable),
    Case::new("ld-library-path", EventKind::LoaderVariable, EXEC, variable),
    Case::new("glibc-tunables", EventKind::LoaderVariable, EXEC, variable),
];

const EXEC: &[&str] = &["exec"];

fn sides(event: &Event) -> Result<(&Credentials, &Credentials), String> {
    let found = detail!(event, CredentialChange);
    let before = found.before.as_ref().ok_or("before is missing")?;
    let after = found.after.as_ref().ok_or("after is missing")?;
    Ok((before, after))
}

fn same_ids(facts: &Facts, event: &Event) -> Result<(), String> {
    let (before, after) = sides(event)?;
    for (side, found) in [("before", before), ("after", after)] {
        let expected = facts.inner(side);
        for (what, id) in [
            ("uid", found.uid),
            ("gid", found.gid),
            ("euid", found.euid),
            ("egid", found.egid),
        ] {
            let expected = expected.number(what);
            same(&format!("{side}.{what}"), u64::from(id), expected)?;
        }
    }
    Ok(())
}

/// A call changed user or group.
fn ids(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, CredentialChange);
    called(facts, found.call.as_ref())?;
    same("unexplained", found.unexplained, false)?;
    same_ids(facts, event)
}

/// Root became somebody else, and lost its capabilities with that.
fn user(facts: &Facts, event: &Event) -> Result<(), String> {
    ids(facts, event)?;
    let (before, after) = sides(event)?;
    holds(
        "before.cap_effective is empty",
        !before.cap_effective.is_empty(),
    )?;
    same(
        "after.cap_effective",
        &after.cap_effective[..],
        &[] as &[&str],
    )
}

fn has(set: &[String], capability: &str) -> bool {
    set.iter().any(|one| one == capability || one == "ALL")
}

fn dropped(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, CredentialChange);
    called(facts, found.call.as_ref())?;
    same("unexplained", found.unexplained, false)?;
    let (before, after) = sides(event)?;
    let capability = facts.text("capability");
    for (what, before, after) in [
        ("cap_effective", &before.cap_effective, &after.cap_effective),
        ("cap_permitted", &before.cap_permitted, &after.cap_permitted),
    ] {
        holds(
            &format!("before.{what} is without {capability}"),
            has(before, capability),
        )?;
        holds(
            &format!("after.{what} has {capability}"),
            !has(after, capability),
        )?;
        includes(&format!("after.{what}"), after, "CAP_CHOWN")?;
    }
    Ok(())
}

fn login(facts: &Facts, event: &Event) -> Result<(), String> {
    let (before, after) = sides(event)?;
    let expected = Some(facts.number("login_uid"));
    same("after.login_uid", after.login_uid.map(u64::from), expected)?;
    holds(
        "before.login_uid is the same",
        before.login_uid != after.login_uid,
    )
}

/// Seen as what it is, or as a change that nothing explains.
#[cfg(target_arch = "x86_64")]
fn unexplained(facts: &Facts, event: &Event) -> Result<(), String> {
    same_ids(facts, event)?;
    let found = detail!(event, CredentialChange);
    let name = found.call.as_ref().map_or("", |call| call.name.as_str());
    holds(
        &format!("it is explained by {name:?}"),
        found.unexplained || name.starts_with("set"),
    )
}

fn setuid_program(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, CredentialChange);
    called(facts, found.call.as_ref())?;
    same("unexplained", found.unexplained, false)?;
    let (before, after) = sides(event)?;
    for (what, found, expected) in [
        ("before.euid", before.euid, "euid_before"),
        ("after.euid", after.euid, "euid_after"),
        ("before.uid", before.uid, "uid"),
        ("after.uid", after.uid, "uid"),
    ] {
        same(what, u64::from(found), facts.number(expected))?;
    }
    holds(
        "after.cap_effective is empty",
        !after.cap_effective.is_empty(),
    )
}

fn capable_program(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, CredentialChange);
    called(facts, found.call.as_ref())?;
    same("unexplained", found.unexplained, false)?;
    let (before, after) = sides(event)?;
    same("after.uid", u64::from(after.uid), facts.number("uid"))?;
    let expected = [facts.text("capability")];
    let none: [&str; 0] = [];
    same("before.cap_effective", &before.cap_effective[..], &none[..])?;
    same(
        "after.cap_effective",
        &after.cap_effective[..],
        &expected[..],
    )?;
    same(
        "after.cap_permitted",
        &after.cap_permitted[..],
        &expected[..],
    )
}

pub(super) fn from_memory(facts: &Facts, event: &Event) -> Result<(), String> {
    let process = event.process.as_ref().ok_or("there is no process")?;
    let file = process.file.as_ref().ok_or("file is missing")?;
    same("file.layer", file.layer(), Layer::Memfd)?;
    same("file.inode", file.inode, facts.number("inode"))
}

fn variable(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, LoaderVariable);
    same("name", found.name.as_str(), facts.text("name"))?;
    same("value", found.value.as_str(), facts.text("value"))
}

fn confined(facts: &Facts, event: &Event) -> Result<(), String> {
    let process = event.process.as_ref().ok_or("there is no process")?;
    same(
        "process.seccomp",
        u64::from(process.seccomp),
        facts.number("seccomp"),
    )?;
    same("process.no_new_privileges", process.no_new_privileges, true)
}
