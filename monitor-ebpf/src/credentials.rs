//! Whether a task's credentials are those that the system calls it made explain.
//!
//! What was seen last is kept by thread. Every hooked call that may change credentials, and every exec, notes the new
//! ones; everything else a process does compares. A kernel exploit that overwrites credentials is found at the next
//! thing its process does.

use watchkeeper_ebpf::{
    loss::Class,
    record::{CredentialJump, Kind},
    tables::KnownCredentials,
};

use crate::{
    kernel::{Address, cred, follow, read, read_if_present, task},
    maps::{CREDENTIALS, CRITICAL, WATCHING},
    output::Draft,
    subject::{Place, Subject},
};

/// What is compared. `real_cred`: the kernel lends a task other credentials in `cred` now and then (`override_creds`).
#[inline(always)]
fn now(task: Address, start_ns: u64) -> KnownCredentials {
    let cred = follow(task, offset!(task_real_cred));
    KnownCredentials {
        // The eight ids follow each other (struct cred, include/linux/cred.h).
        ids: read(cred, offset!(cred_uid)),
        effective: read(cred, offset!(cred_cap_effective)),
        permitted: read(cred, offset!(cred_cap_permitted)),
        loginuid: u64::from(
            read_if_present::<u32>(task, offset!(task_loginuid)).unwrap_or(u32::MAX),
        ),
        start_ns,
    }
}

/// Notes the credentials of a task, because what changed them is known.
#[inline(always)]
pub fn note(task: Address) {
    let process = task::process(task);
    let key = task::thread_key(process.pid, task::tid(task));
    let _ = CREDENTIALS.insert(&key, &now(task, process.start_ns), 0);
}

/// What was seen last of the thread that begins a program.
#[inline(always)]
pub fn known(process: u32, start_ns: u64) -> Option<KnownCredentials> {
    let known = CREDENTIALS.get_ptr(&task::thread_key(process, process))?;
    // SAFETY: the entry is copied at once.
    let known = unsafe { *known };
    (known.start_ns == start_ns).then_some(known)
}

/// Compares the credentials of a task with those seen last; reports a difference, and notes them. Returns 1 for one.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn check_credentials(task: Address) -> u32 {
    let place = Place::of(task);
    let explained = match WATCHING.get(0) {
        Some(watching) => watching.credentials_explained,
        None => 0,
    };
    if explained == 0 || !place.wants(Class::Credential as u32) {
        return 0;
    }
    let subject = Subject::new(place, task);
    let key = task::thread_key(subject.process.pid, subject.tid);
    // A thread that has not been seen has those of its process's first one.
    let leader_key = task::thread_key(subject.process.pid, subject.process.pid);
    let current = now(task, subject.process.start_ns);
    let known = match CREDENTIALS.get_ptr(&key) {
        Some(known) => Some(known),
        None => CREDENTIALS.get_ptr(&leader_key),
    };
    let Some(known) = known else {
        let _ = CREDENTIALS.insert(&key, &current, 0);
        return 0;
    };
    // SAFETY: the entry is valid as long as the program runs.
    let known = unsafe { *known };
    if known.start_ns != current.start_ns {
        let _ = CREDENTIALS.insert(&key, &current, 0);
        return 0;
    }
    let same = known.ids[0] == current.ids[0]
        && known.ids[1] == current.ids[1]
        && known.ids[2] == current.ids[2]
        && known.ids[3] == current.ids[3]
        && known.effective == current.effective
        && known.permitted == current.permitted;
    if same && known.loginuid == current.loginuid {
        return 0;
    }
    let _ = CREDENTIALS.insert(&key, &current, 0);
    let Some(draft) = Draft::admitted(&place, Class::Credential as u32) else {
        return 1;
    };
    let body = draft.body::<CredentialJump>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).before_ids = [
            known.ids[0] as u32,
            (known.ids[0] >> 32) as u32,
            known.ids[1] as u32,
            (known.ids[1] >> 32) as u32,
            known.ids[2] as u32,
            (known.ids[2] >> 32) as u32,
            known.ids[3] as u32,
            (known.ids[3] >> 32) as u32,
        ];
        (*body).before_effective = known.effective;
        (*body).before_permitted = known.permitted;
        (*body).before_loginuid = known.loginuid as u32;
        (*body).login_only = u32::from(same);
        (*body).after = cred::of_task(task);
    }
    let end = Draft::start::<CredentialJump>();
    draft.submit(&CRITICAL, Kind::CredentialJump, &subject, 0, end);
    1
}
