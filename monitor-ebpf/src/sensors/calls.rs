//! `sys_enter_*` and `sys_exit_*` of the table in `watchkeeper_ebpf::calls`: one pair of programs for all of them.
//!
//! Everything is read at the end of a call: the strings have been in memory for the kernel itself by then, and what
//! descriptors lead to is known. The arguments are in the registers that the task entered the kernel with.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs},
    macros::tracepoint,
    programs::TracePointContext,
};
use watchkeeper_ebpf::{
    calls::{CWD, Call as Name, MAX_STRING, NONE, RESULT, Spec, spec_flag},
    loss::Class,
    record::{Call, Identity, Kind, call_flag},
    watch::{CHANGE, WRITE},
};

use crate::{
    credentials::{check_credentials, note},
    kernel::{Address, cgroup, cred, file, follow, name, path, read, task},
    maps::{BEFORE, CALLS, CRITICAL, TELEMETRY},
    output::Draft,
    subject::{Place, Subject},
};

/// Where the fields of every `syscalls:*` tracepoint are (`events/syscalls/*/format`): the number, then the arguments
/// or the result (struct syscall_trace_enter and _exit, kernel/trace/trace.h).
const NUMBER: usize = 8;
const ARGUMENTS: usize = 16;

/// `AT_FDCWD` of include/uapi/linux/fcntl.h.
const AT_FDCWD: i32 = -100;

const S_IFMT: u64 = 0o170_000;
const S_IFBLK: u64 = 0o060_000;
const S_IFCHR: u64 = 0o020_000;
/// Bits of a mode that let a file be run, or be run as another user.
const RUNS: u64 = 0o6_111;

/// The system call that a tracepoint is about, and what its arguments mean.
#[inline(always)]
pub fn spec_of(ctx: &TracePointContext) -> Option<(u64, &'static Spec)> {
    // SAFETY: the context of every such tracepoint is longer than this.
    let number = unsafe { ctx.read_at::<u64>(NUMBER) }.ok()?;
    let spec = CALLS.get(number as u32)?;
    (spec.call != 0).then_some((number, spec))
}

/// What it returned.
#[inline(always)]
pub fn result_of(ctx: &TracePointContext) -> i64 {
    // SAFETY: as above.
    unsafe { ctx.read_at::<i64>(ARGUMENTS) }.unwrap_or(-1)
}

/// Key of what is kept from the beginning of a call to its end.
#[inline(always)]
fn thread(task: Address) -> u64 {
    u64::from(task::tid(task))
}

/// The arguments of a system call.
#[derive(Clone, Copy)]
pub struct Arguments {
    /// The arguments; 0 where they are not known.
    pub values: [u64; 6],
    /// Whether they are known.
    pub known: bool,
}

/// The arguments of the call with this number that ends now: the registers that the current task entered the kernel with.
///
/// They are at the top of the kernel's stack. Before 5.15 there is no helper that tells where that is, and it follows from
/// the size of the stack, which differs where a kernel is built for debugging: they only count when the number of the
/// call is among them.
#[inline(always)]
pub fn arguments_of(task: Address, number: u64) -> Arguments {
    let registers = if setting!(has_registers_helper) != 0 {
        // SAFETY: the helpers exist where the setting says so, and elsewhere the verifier removes this; they return the
        // current task, and where its registers are.
        unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as Address }
    } else {
        follow(task, offset!(task_stack))
            .wrapping_add(u64::from(setting!(stack_size)))
            .wrapping_sub(u64::from(offset!(registers_size)))
    };
    let found: u64 = read(registers, offset!(registers_number));
    if found as u32 != number as u32 {
        return Arguments {
            values: [0; 6],
            known: false,
        };
    }
    Arguments {
        values: [
            read(registers, offset!(registers_0)),
            read(registers, offset!(registers_1)),
            read(registers, offset!(registers_2)),
            read(registers, offset!(registers_3)),
            read(registers, offset!(registers_4)),
            read(registers, offset!(registers_5)),
        ],
        known: true,
    }
}

/// Notes the state of a process before a call that may change it.
#[tracepoint]
pub fn call_enter(ctx: TracePointContext) -> u32 {
    let Some((_, spec)) = spec_of(&ctx) else {
        return 0;
    };
    let task = task::current();
    if !Place::of(task).wants(spec.class) {
        return 0;
    }
    let identity = Identity {
        credentials: cred::of_task(task),
        namespaces: task::namespaces(task),
    };
    let _ = BEFORE.insert(&thread(task), &identity, 0);
    0
}

/// Reports a call that has ended.
#[tracepoint]
pub fn call_exit(ctx: TracePointContext) -> u32 {
    let Some((number, spec)) = spec_of(&ctx) else {
        return 0;
    };
    let task = task::current();
    let place = Place::of(task);
    if !place.wants(spec.class) {
        return 0;
    }
    let result = result_of(&ctx);
    let key = thread(task);
    if let Some(arguments) = of_interest(task, number, spec, result)
        && task::tgid(task) != setting!(agent_pid)
    {
        if spec.flags & spec_flag::CREDENTIALS == 0 {
            check_credentials(task);
        } else if result >= 0 {
            note(task);
        }
        report(task, &place, spec, result, key, &arguments);
    }
    if spec.flags & spec_flag::BEFORE != 0 {
        let _ = BEFORE.remove(&key);
    }
    0
}

/// The arguments of a call, where it is of interest.
#[inline(always)]
fn of_interest(task: Address, number: u64, spec: &Spec, result: i64) -> Option<Arguments> {
    if result < 0 && spec.flags & spec_flag::SUCCESS_ONLY != 0 {
        return None;
    }
    let arguments = arguments_of(task, number);
    let first = arguments.values[0];
    let accepted = spec.accepted == 0
        || !arguments.known
        || (first < 64 && spec.accepted >> first & 1 != 0)
        || (spec.accepted_large != 0 && first == u64::from(spec.accepted_large));
    accepted.then_some(arguments)
}

/// An argument by its number; 0 where there is none.
#[inline(always)]
fn argument(arguments: &Arguments, number: u8) -> u64 {
    match number {
        0 => arguments.values[0],
        1 => arguments.values[1],
        2 => arguments.values[2],
        3 => arguments.values[3],
        4 => arguments.values[4],
        5 => arguments.values[5],
        _ => 0,
    }
}

/// What a mode says: whether it is of interest by itself.
#[inline(always)]
fn is_special_mode(call: u16, mode: u64) -> bool {
    if call == Name::Mknod as u16 || call == Name::Mknodat as u16 {
        return mode & S_IFMT == S_IFBLK || mode & S_IFMT == S_IFCHR;
    }
    mode & RUNS != 0
}

#[inline(always)]
fn report(
    task: Address,
    place: &Place,
    spec: &Spec,
    result: i64,
    key: u64,
    arguments: &Arguments,
) -> Option<()> {
    if spec.flags & spec_flag::LEADER_ONLY != 0 && task::tgid(task) != task::tid(task) {
        return None;
    }
    let known = arguments.known;
    let draft = Draft::claim(place, spec.class)?;
    let body = draft.body::<Call>();
    let start = Draft::start::<Call>();
    let mut flags = if known { 0 } else { call_flag::NO_ARGUMENTS };

    let mut end = start;
    let mut string_starts = [0u32; 3];
    for (index, start) in string_starts.iter_mut().enumerate() {
        *start = end;
        if spec.strings[index] != NONE && known {
            end = append_argument(&draft, end, argument(arguments, spec.strings[index]));
        }
        let length = end - *start;
        if length >= MAX_STRING as u32 {
            flags |= call_flag::STRING_TRUNCATED[index];
        }
        // SAFETY: the body belongs to this program until the draft is submitted.
        unsafe { (*body).string_lengths[index] = length };
    }
    for (index, string) in [string_starts[0], string_starts[1]].into_iter().enumerate() {
        let before = end;
        if spec.bases[index] != NONE && known {
            let base = spec.bases[index];
            let directory = if base == CWD {
                AT_FDCWD
            } else {
                argument(arguments, base) as i32
            };
            let (mount, dentry) = base_of(&draft, task, spec, string, directory);
            let returned = path::append_path(draft.level, end, mount, dentry);
            flags |= path::flags(
                returned,
                call_flag::PATH_TRUNCATED[index],
                call_flag::PATH_DETACHED[index],
            );
            end = path::end(returned);
        }
        // SAFETY: as above.
        unsafe { (*body).path_lengths[index] = end.saturating_sub(before) };
    }

    let before = end;
    let mut opened = 0;
    if spec.descriptor == RESULT {
        if result >= 0 {
            opened = file::of_descriptor(task, result as u32);
        }
    } else if spec.descriptor != NONE && known {
        opened = file::of_descriptor(task, argument(arguments, spec.descriptor) as u32);
    }
    let fs = follow(task, offset!(task_fs));
    let (mount, dentry) = if spec.flags & spec_flag::ROOT != 0 {
        (
            follow(fs, offset!(fs_root_mnt)),
            follow(fs, offset!(fs_root_dentry)),
        )
    } else {
        (
            follow(opened, offset!(file_mnt)),
            follow(opened, offset!(file_dentry)),
        )
    };
    if dentry != 0 {
        let returned = path::append_path(draft.level, end, mount, dentry);
        flags |= path::flags(
            returned,
            call_flag::PATH_TRUNCATED[2],
            call_flag::PATH_DETACHED[2],
        );
        end = path::end(returned);
    }
    // SAFETY: as above.
    unsafe { (*body).path_lengths[2] = end.saturating_sub(before) };

    let mut watched = 0;
    if spec.flags & spec_flag::WATCHED != 0 {
        watched = name::watched_in(draft.level, start, end);
        let special = spec.flags & spec_flag::MODE != 0
            && is_special_mode(spec.call, argument(arguments, spec.mode));
        if watched & (WRITE | CHANGE) == 0 && !special {
            draft.discard();
            return None;
        }
    } else if spec.class == Class::File as u32 && !is_security_attribute(&draft, string_starts[1]) {
        draft.discard();
        return None;
    }
    if !place.admits(spec.class) {
        draft.discard();
        return None;
    }

    // SAFETY: the destination in the body is as long as what is read, and is zeroed where that fails.
    unsafe {
        bpf_probe_read_user(
            (&raw mut (*body).pointed).cast(),
            size_of::<[u64; 8]>() as u32,
            argument(arguments, spec.pointed) as *const core::ffi::c_void,
        )
    };
    if task::seccomp_mode(task) != 0 {
        flags |= call_flag::SECCOMP;
    }
    let mut target = 0;
    if spec.flags & spec_flag::PIDFD != 0 {
        target = task::of_pid(pid_of_pidfd(opened));
    } else if spec.flags & spec_flag::PTRACED != 0 && result >= 0 {
        target = task::traced_last(task);
    }
    let namespaces = task::namespaces(task);
    // SAFETY: as above.
    unsafe {
        (*body).call = u32::from(spec.call);
        (*body).result = result as u64;
        (*body).arguments = arguments.values;
        (*body).after.namespaces = namespaces;
        (*body).after.credentials = cred::of_task(task);
        if let Some(before) = BEFORE.get_ptr(&key)
            && spec.flags & spec_flag::BEFORE != 0
        {
            flags |= call_flag::BEFORE;
            (*body).before = *before;
        } else {
            (*body).before.namespaces = namespaces;
            (*body).before.credentials = (*body).after.credentials;
        }
        (*body).file = file::describe(opened);
        (*body).device = file::device(opened);
        (*body).target = task::process(target);
        (*body).target_cgroup_id = if target == 0 {
            0
        } else {
            cgroup::id(cgroup::of_task(target))
        };
        (*body).watched = watched;
        (*body).flags = flags;
    }
    let subject = Subject::new(*place, task);
    let ring = if spec.class == Class::File as u32 {
        &TELEMETRY
    } else {
        &CRITICAL
    };
    draft.submit(
        ring,
        Kind::Call,
        &subject,
        task::host_namespaces(&namespaces),
        end,
    );
    Some(())
}

/// Appends a string of the process with its NUL; nothing where it is empty or can't be read.
#[inline(always)]
fn append_argument(draft: &Draft, start: u32, string: u64) -> u32 {
    let end = draft.append_user_string::<MAX_STRING>(start, string);
    if end == start { start } else { end + 1 }
}

/// The directory that a path is relative to: the root for one that is absolute, the working directory, or that of a
/// descriptor.
#[inline(always)]
fn base_of(
    draft: &Draft,
    task: Address,
    spec: &Spec,
    string: u32,
    directory: i32,
) -> (Address, Address) {
    let fs = follow(task, offset!(task_fs));
    // SAFETY: `at` gives a place within the content.
    let first = unsafe { *draft.at(string).cast::<u8>() };
    if first == b'/' && spec.flags & spec_flag::ROOT != 0 {
        // The root is another one by now.
        (0, 0)
    } else if first == b'/' {
        (
            follow(fs, offset!(fs_root_mnt)),
            follow(fs, offset!(fs_root_dentry)),
        )
    } else if directory == AT_FDCWD {
        (
            follow(fs, offset!(fs_pwd_mnt)),
            follow(fs, offset!(fs_pwd_dentry)),
        )
    } else {
        let opened = file::of_descriptor(task, directory as u32);
        (
            follow(opened, offset!(file_mnt)),
            follow(opened, offset!(file_dentry)),
        )
    }
}

/// Whether the name of an extended attribute begins with `security`.
#[inline(always)]
fn is_security_attribute(draft: &Draft, string: u32) -> bool {
    // SAFETY: `at` gives a place with slack after it; the bytes need no alignment.
    let first = unsafe { draft.at(string).cast::<u64>().read_unaligned() };
    first == u64::from_ne_bytes(*b"security")
}

/// The `struct pid` of a pidfd: since 6.9 its inode holds it, not its file (kernel commit cb12fd8e0dab).
#[inline(always)]
fn pid_of_pidfd(pidfd: Address) -> Address {
    let private = follow(pidfd, offset!(file_private));
    if private != 0 {
        return private;
    }
    read(follow(pidfd, offset!(file_inode)), offset!(inode_private))
}
