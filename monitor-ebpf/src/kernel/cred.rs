//! `struct cred`: ids, capability sets, user namespace.

use watchkeeper_ebpf::record::Credentials;

use super::{Address, follow, read, read_if_present};

/// Real user of a task, in the initial user namespace.
#[inline(always)]
pub fn uid(task: Address) -> u32 {
    read(follow(task, offset!(task_cred)), offset!(cred_uid))
}

/// Inode number of the user namespace that its capabilities hold in.
#[inline(always)]
pub fn user_namespace(task: Address) -> u32 {
    let cred = follow(task, offset!(task_cred));
    read(follow(cred, offset!(cred_user_ns)), offset!(user_ns_inum))
}

/// Credentials of a task.
#[inline(always)]
pub fn of_task(task: Address) -> Credentials {
    let cred = follow(task, offset!(task_cred));
    Credentials {
        cap_effective: read(cred, offset!(cred_cap_effective)),
        cap_permitted: read(cred, offset!(cred_cap_permitted)),
        cap_inheritable: read(cred, offset!(cred_cap_inheritable)),
        cap_bounding: read(cred, offset!(cred_cap_bounding)),
        cap_ambient: read(cred, offset!(cred_cap_ambient)),
        uid: read(cred, offset!(cred_uid)),
        gid: read(cred, offset!(cred_gid)),
        euid: read(cred, offset!(cred_euid)),
        egid: read(cred, offset!(cred_egid)),
        loginuid: read_if_present(task, offset!(task_loginuid)).unwrap_or(u32::MAX),
        sessionid: read_if_present(task, offset!(task_sessionid)).unwrap_or(u32::MAX),
    }
}
