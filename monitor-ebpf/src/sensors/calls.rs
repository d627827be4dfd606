//! `sys_enter_*` and `sys_exit_*` of the table in `watchkeeper_ebpf::calls`: one pair of programs for all of them.
//!
//! Everything is read at the end of a call: the strings have been in memory for the kernel itself by then, and what
//! descriptors lead to is known. The arguments are in the registers that the task entered the kernel with.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{
        bpf_get_current_task_btf, bpf_probe_read_user, bpf_probe_read_user_str, bpf_task_pt_regs,
    },
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
    credentials::{check_credentials, note_credentials},
    kernel::{
        Address, cgroup, cred,
        file::{self, S_IFBLK, S_IFCHR, S_IFMT},
        follow, name, path, read, task,
    },
    maps::{BEFORE, CALLS, CRITICAL, TELEMETRY},
    output::{self, CONTENT_MASK, Draft},
    subject::{Place, Subject},
};

/// Where the fields of every `syscalls:*` tracepoint are (`events/syscalls/*/format`), in words: the number, then the result
/// (struct syscall_trace_enter and _exit, kernel/trace/trace.h).
const NUMBER: usize = 1;
const RESULT_WORD: usize = 2;

/// `AT_FDCWD` of include/uapi/linux/fcntl.h.
const AT_FDCWD: i32 = -100;

/// Bits of a mode that let a file be run, or be run as another user.
const RUNS: u64 = 0o6_111;

/// The system call that a tracepoint is about, and what its arguments mean.
#[inline(always)]
pub fn spec_of(ctx: &TracePointContext) -> Option<(u64, &'static Spec)> {
    // SAFETY: the context of every such tracepoint is longer than this, which the kernel checks when it attaches.
    let number = unsafe { ctx.as_ptr().cast::<u64>().add(NUMBER).read_volatile() };
    let spec = CALLS.get(number as u32)?;
    (spec.call != 0).then_some((number, spec))
}

/// What it returned.
#[inline(always)]
pub fn result_of(ctx: &TracePointContext) -> i64 {
    // SAFETY: as above.
    unsafe { ctx.as_ptr().cast::<i64>().add(RESULT_WORD).read_volatile() }
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

/// Notes the state of a process before a call that may change it. What has changed until then, that call does not explain.
#[tracepoint]
pub fn call_enter(ctx: TracePointContext) -> u32 {
    let Some((_, spec)) = spec_of(&ctx) else {
        return 0;
    };
    let task = task::current();
    if !Place::current().wants(spec.class) {
        return 0;
    }
    check_credentials(task);
    keep_identity(task);
    0
}

/// Keeps the state of a task until its call ends. In a frame of its own: the stack does not hold it beside what
/// `check_credentials` calls. Returns 0.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn keep_identity(task: Address) -> u32 {
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
    let place = Place::current();
    if !place.wants(spec.class) {
        return 0;
    }
    let result = result_of(&ctx);
    let key = thread(task);
    if spec.flags & spec_flag::CREDENTIALS != 0 && result >= 0 {
        note_credentials(task);
    }
    if is_wanted(task, spec, result)
        && let Some(draft) = Draft::claim(&place, spec.class)
        && report(task, &place, draft, spec, number, result)
        && spec.flags & spec_flag::CREDENTIALS == 0
    {
        check_credentials(task);
    }
    if spec.flags & spec_flag::BEFORE != 0 {
        let _ = BEFORE.remove(&key);
    }
    0
}

/// Whether a call with this result, by this thread, may be reported.
#[inline(always)]
fn is_wanted(task: Address, spec: &Spec, result: i64) -> bool {
    let process = task::tgid(task);
    (result >= 0 || spec.flags & spec_flag::SUCCESS_ONLY == 0)
        && (spec.flags & spec_flag::LEADER_ONLY == 0 || process == task::tid(task))
        && process != setting!(agent_pid)
}

/// Writes the arguments of the call that ends now into the body in scratch buffer `level`; returns whether they are known.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn write_arguments(level: u32, number: u64) -> u32 {
    let Some(draft) = Draft::claimed(level, 0) else {
        return 0;
    };
    let arguments = arguments_of(task::current(), number);
    // SAFETY: the body belongs to the caller until its draft is submitted.
    unsafe { (*draft.body::<Call>()).arguments = arguments.values };
    u32::from(arguments.known)
}

/// Whether a call with this first argument is reported.
#[inline(always)]
fn is_accepted(spec: &Spec, first: u64) -> bool {
    spec.accepted == 0
        || (first < 64 && spec.accepted >> first & 1 != 0)
        || (spec.accepted_large != 0 && first == u64::from(spec.accepted_large))
}

/// An argument by its number, out of the body: the verifier follows an index into a map's memory more easily than one
/// into registers.
#[inline(always)]
fn argument(body: *const Call, number: u8) -> u64 {
    // SAFETY: the arguments are followed by more than two words of the same body, so that every masked index lies in it.
    unsafe {
        *(&raw const (*body).arguments)
            .cast::<u64>()
            .add(usize::from(number & 7))
    }
}

/// What a mode says: whether it is of interest by itself.
#[inline(always)]
fn is_special_mode(call: u16, mode: u64) -> bool {
    if call == Name::Mknod as u16 || call == Name::Mknodat as u16 {
        let kind = mode as u32 & S_IFMT;
        return kind == S_IFBLK || kind == S_IFCHR;
    }
    mode & RUNS != 0
}

/// Reports a call, or gives the draft back; returns whether it was reported.
#[inline(always)]
fn report(
    task: Address,
    place: &Place,
    draft: Draft,
    spec: &Spec,
    number: u64,
    result: i64,
) -> bool {
    let body = draft.body::<Call>();
    let start = Draft::start::<Call>();
    let known = write_arguments(draft.level, number) != 0;
    if known && !is_accepted(spec, argument(body, 0)) {
        draft.discard();
        return false;
    }
    let mut flags = if known { 0 } else { call_flag::NO_ARGUMENTS };

    let mut end = start;
    let mut string_starts = [0u32; 3];
    for (index, start) in string_starts.iter_mut().enumerate() {
        *start = end;
        if spec.strings[index] != NONE && known {
            end = append_user_text(draft.level, end, argument(body, spec.strings[index]));
            end &= CONTENT_MASK;
        }
        // SAFETY: as above.
        unsafe { (*body).string_lengths[index] = end.saturating_sub(*start) };
    }
    let mut bases_flags = 0;
    for (index, string) in [string_starts[0], string_starts[1]].into_iter().enumerate() {
        let before = end;
        if spec.bases[index] != NONE && known {
            let directory = if spec.bases[index] == CWD {
                AT_FDCWD as u32
            } else {
                argument(body, spec.bases[index]) as u32
            };
            let returned = append_base(
                draft.level,
                end,
                string,
                directory,
                u32::from(spec.flags & spec_flag::ROOT),
            );
            // Two bits, which have the same distance in the record for each path.
            bases_flags |= (returned >> 30) << (2 * index);
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
        opened = file::of_descriptor(task, argument(body, spec.descriptor) as u32);
    }
    let fs = follow(task, offset!(task_fs));
    let (mount, dentry) = if spec.flags & spec_flag::ROOT != 0 {
        (
            follow(fs, offset!(fs_root_mnt)),
            follow(fs, offset!(fs_root_dentry)),
        )
    } else {
        file::path(opened)
    };
    if dentry != 0 {
        let returned = path::append_path(draft.level, end, mount, dentry);
        bases_flags |= returned >> 30 << 4;
        end = path::end(returned);
    }
    flags |= bases_flags << call_flag::PATHS;
    // SAFETY: as above.
    unsafe { (*body).path_lengths[2] = end.saturating_sub(before) };

    let mut watched = 0;
    if spec.flags & spec_flag::WATCHED != 0 {
        watched = name::watched_in(draft.level, start, end);
        let special = spec.flags & spec_flag::MODE != 0
            && is_special_mode(spec.call, argument(body, spec.mode));
        if watched & (WRITE | CHANGE) == 0 && !special {
            draft.discard();
            return false;
        }
    } else if spec.class == Class::File as u32 && !is_security_attribute(&draft, string_starts[1]) {
        draft.discard();
        return false;
    }
    if !place.admits(spec.class) {
        draft.discard();
        return false;
    }

    // SAFETY: the destination in the body is as long as what is read, and is zeroed where that fails.
    unsafe {
        bpf_probe_read_user(
            (&raw mut (*body).pointed).cast(),
            size_of::<[u64; 8]>() as u32,
            argument(body, spec.pointed) as *const core::ffi::c_void,
        )
    };
    if spec.flags & spec_flag::BEFORE != 0 {
        flags |= call_flag::BEFORE;
    }
    let mut target = 0;
    if spec.flags & spec_flag::PIDFD != 0 {
        target = task::of_pid(pid_of_pidfd(opened));
    } else if spec.flags & spec_flag::PTRACED != 0 && result >= 0 {
        target = task::traced_last(task);
    }
    // SAFETY: as above.
    unsafe {
        (*body).call = u32::from(spec.call);
        (*body).result = result as u64;
        (*body).watched = watched;
        (*body).flags = flags;
    }
    submit_call(draft.level, opened, target, end, spec.class);
    true
}

/// Fills in the state of the process, the file that its descriptor leads to and the process that it is about, and submits the
/// record in scratch buffer `level`. In a frame of its own: the stack of one program does not hold all of it.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn submit_call(
    level: u32,
    opened: Address,
    target: Address,
    end: u32,
    class: u32,
) -> u32 {
    let Some(draft) = Draft::claimed(level, class) else {
        return 0;
    };
    let body = draft.body::<Call>();
    let task = task::current();
    let namespaces = task::namespaces(task);
    let host_namespaces = task::host_namespaces(&namespaces);
    // SAFETY: the body belongs to the caller, which has given it away, until the draft is submitted.
    unsafe {
        (*body).after.namespaces = namespaces;
        (*body).after.credentials = cred::of_task(task);
        if task::seccomp_mode(task) != 0 {
            (*body).flags |= call_flag::SECCOMP;
        }
        match BEFORE.get_ptr(&thread(task)) {
            Some(before) if (*body).flags & call_flag::BEFORE != 0 => (*body).before = *before,
            _ => (*body).before = (*body).after,
        }
        (*body).file = file::describe(opened);
        (*body).device = file::device(opened);
        (*body).target = task::process(target);
        (*body).target_cgroup_id = cgroup::id(cgroup::of_task(target));
    }
    let ring = if class == Class::File as u32 {
        &TELEMETRY
    } else {
        &CRITICAL
    };
    draft.submit(
        ring,
        Kind::Call,
        &Subject::new(Place::of(task), task),
        host_namespaces,
        end,
    );
    0
}

/// Appends a string of the current process with its NUL at an offset of the content of scratch buffer `level`; returns where
/// that ends: nothing is appended where it is empty or can't be read.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn append_user_text(level: u32, start: u32, string: u64) -> u32 {
    let Some(content) = output::content(level) else {
        return start;
    };
    // SAFETY: the offset is masked, and slack of more than a string follows; the helper fails on a source that is not mapped.
    let length = unsafe {
        bpf_probe_read_user_str(
            (content as *mut u8)
                .add((start & CONTENT_MASK) as usize)
                .cast(),
            MAX_STRING as u32,
            string as *const core::ffi::c_void,
        )
    };
    if length <= 1 {
        return start;
    }
    start + length as u32
}

/// Appends the path of the directory that a string is relative to: the root for one that is absolute (nothing, where
/// the call changes that: `is_root_call`), the working directory, or that of a descriptor. Returns what
/// [`append_path`](crate::kernel::path::append_path) does.
///
/// A global function like that.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn append_base(
    level: u32,
    start: u32,
    string: u32,
    directory: u32,
    is_root_call: u32,
) -> u32 {
    let Some(content) = output::content(level) else {
        return start;
    };
    let task = task::current();
    let fs = follow(task, offset!(task_fs));
    // SAFETY: the masked offset lies within the content.
    let first = unsafe { *(content as *const u8).add((string & CONTENT_MASK) as usize) };
    let (mount, dentry) = if first == b'/' {
        if is_root_call != 0 {
            return start;
        }
        (
            follow(fs, offset!(fs_root_mnt)),
            follow(fs, offset!(fs_root_dentry)),
        )
    } else if directory as i32 == AT_FDCWD {
        (
            follow(fs, offset!(fs_pwd_mnt)),
            follow(fs, offset!(fs_pwd_dentry)),
        )
    } else {
        file::path(file::of_descriptor(task, directory))
    };
    path::append_path(level, start, mount, dentry)
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
