//! `struct cred`: ids, capability sets, user namespace.

use watchkeeper_ebpf::record::Credentials;

use super::{Address, follow, read, read_or_zero};

/// Real user of a task, in the initial user namespace.
#[inline(always)]
pub fn uid(task: Address) -> u32 {
    read_or_zero(follow(task, offset!(task_cred)), offset!(cred_uid))
}

/// Inode number of the user namespace that its capabilities hold in.
#[inline(always)]
pub fn user_namespace(task: Address) -> u32 {
    let cred = follow(task, offset!(task_cred));
    read_or_zero(follow(cred, offset!(cred_user_ns)), offset!(user_ns_inum))
}

/// Credentials of a task.
#[inline(always)]
pub fn of_task(task: Address) -> Credentials {
    let cred = follow(task, offset!(task_cred));
    Credentials {
        cap_effective: read_or_zero(cred, offset!(cred_cap_effective)),
        cap_permitted: read_or_zero(cred, offset!(cred_cap_permitted)),
        cap_inheritable: read_or_zero(cred, offset!(cred_cap_inheritable)),
        cap_bounding: read_or_zero(cred, offset!(cred_cap_bounding)),
        cap_ambient: read_or_zero(cred, offset!(cred_cap_ambient)),
        uid: read_or_zero(cred, offset!(cred_uid)),
        gid: read_or_zero(cred, offset!(cred_gid)),
        euid: read_or_zero(cred, offset!(cred_euid)),
        egid: read_or_zero(cred, offset!(cred_egid)),
        loginuid: read(task, offset!(task_loginuid)).unwrap_or(u32::MAX),
        sessionid: read(task, offset!(task_sessionid)).unwrap_or(u32::MAX),
    }
}
