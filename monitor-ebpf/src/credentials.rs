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
fn compared(task: Address) -> Address {
    follow(task, offset!(task_real_cred))
}

/// Notes the credentials of a task, because what changed them is known. Returns 0.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_credentials(task: Address) -> u32 {
    let process = task::process(task);
    let key = task::thread_key(process.pid, task::tid(task));
    let cred = compared(task);
    let known = KnownCredentials {
        // The eight ids follow each other (struct cred, include/linux/cred.h).
        ids: read(cred, offset!(cred_uid)),
        effective: read(cred, offset!(cred_cap_effective)),
        permitted: read(cred, offset!(cred_cap_permitted)),
        loginuid: loginuid(task),
        start_ns: process.start_ns,
    };
    let _ = CREDENTIALS.insert(&key, &known, 0);
    0
}

/// Lets go of what was seen of a thread that ends, so that those that live keep their place in the map however many come
/// and go. What is known of a process's first thread stands for the others and stays until the last of them ends.
#[inline(always)]
pub fn forget_credentials(task: Address, is_last: bool) {
    let (pid, tid) = (task::tgid(task), task::tid(task));
    if tid != pid {
        let _ = CREDENTIALS.remove(&task::thread_key(pid, tid));
    }
    if is_last {
        let _ = CREDENTIALS.remove(&task::thread_key(pid, pid));
    }
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
/// A global function, see [`append_path`](crate::kernel::path::append_path). The stacks of its callers and its own add up,
/// so the comparison and the report have frames of their own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn check_credentials(task: Address) -> u32 {
    let explained = match WATCHING.get(0) {
        Some(watching) => watching.credentials_explained,
        None => 0,
    };
    if explained == 0 || !Place::of(task).wants(Class::Credential as u32) {
        return 0;
    }
    if differ(task) != 0 {
        report_jump(task);
        note_credentials(task);
        return 1;
    }
    0
}

/// What was seen last of a task; where that is nothing, of its process's first thread.
#[inline(always)]
fn last_seen(task: Address) -> Option<*const KnownCredentials> {
    let process = task::process(task);
    let known = match CREDENTIALS.get_ptr(&task::thread_key(process.pid, task::tid(task))) {
        Some(known) => known,
        None => CREDENTIALS.get_ptr(&task::thread_key(process.pid, process.pid))?,
    };
    // SAFETY: the entry is valid as long as the program runs.
    (unsafe { (*known).start_ns } == process.start_ns).then_some(known)
}

/// Whether the credentials of a task differ from those seen last. Those of one that was not seen before are noted.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn differ(task: Address) -> u32 {
    let Some(known) = last_seen(task) else {
        note_credentials(task);
        return 0;
    };
    let cred = compared(task);
    let ids: [u64; 4] = read(cred, offset!(cred_uid));
    let effective: u64 = read(cred, offset!(cred_cap_effective));
    let permitted: u64 = read(cred, offset!(cred_cap_permitted));
    // SAFETY: the entry is valid as long as the program runs.
    let difference = unsafe {
        ((*known).ids[0] ^ ids[0])
            | ((*known).ids[1] ^ ids[1])
            | ((*known).ids[2] ^ ids[2])
            | ((*known).ids[3] ^ ids[3])
            | ((*known).effective ^ effective)
            | ((*known).permitted ^ permitted)
            | ((*known).loginuid ^ loginuid(task))
    };
    u32::from(difference != 0)
}

/// Reports the difference.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn report_jump(task: Address) -> u32 {
    let place = Place::of(task);
    let Some(known) = last_seen(task) else {
        return 0;
    };
    let Some(draft) = Draft::admitted(&place, Class::Credential as u32) else {
        return 0;
    };
    let body = draft.body::<CredentialJump>();
    let after_ids: [u32; 8] = read(compared(task), offset!(cred_uid));
    // SAFETY: the body belongs to this program until the draft is submitted, and the entry is valid as long as it runs.
    unsafe {
        (*body).before_ids = (&raw const (*known).ids).cast::<[u32; 8]>().read();
        (*body).before_effective = (*known).effective;
        (*body).before_permitted = (*known).permitted;
        (*body).before_loginuid = (*known).loginuid as u32;
        (*body).reserved = 0;
        (*body).after_ids = after_ids;
        (*body).after = cred::of_task(task);
    }
    draft.submit(
        &CRITICAL,
        Kind::CredentialJump,
        &Subject::new(place, task),
        0,
        Draft::start::<CredentialJump>(),
    );
    1
}

/// The user who logged in, as the audit system records it.
#[inline(always)]
fn loginuid(task: Address) -> u64 {
    u64::from(read_if_present::<u32>(task, offset!(task_loginuid)).unwrap_or(u32::MAX))
}
