//! `sched_process_exec`: a process runs a new program. The kernel has resolved everything by now: the
//! executable is `mm->exe_file`, the arguments are in the new memory, the credentials are committed.

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Exec, Kind, MAX_ARGV, MAX_COMPONENT, exec_flag},
};

use crate::{
    kernel::{Address, cred, file, follow, path, read, task},
    maps::TELEMETRY,
    output::{Draft, PAYLOAD_MASK, Payload, Subject, is_ignored},
};

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, include/trace/events/sched.h
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    let task = ctx.arg::<*const u8>(0) as Address;
    let bprm = ctx.arg::<*const u8>(2) as Address;
    let subject = Subject::of(task);
    if is_ignored(subject.state) {
        return 0;
    }
    let Some(draft) = Draft::claim(&subject, Class::Process) else {
        return 0;
    };
    let namespaces = task::namespaces(task);
    let used = fill(&draft, task, bprm);
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe { (*draft.body::<Exec>()).namespaces = namespaces };
    draft.submit::<Exec>(
        &TELEMETRY,
        Kind::Exec,
        Class::Process,
        &subject,
        task::host_namespaces(&namespaces),
        used,
    );
    0
}

/// Fills in all but the namespaces; returns the bytes of variable data.
#[inline(always)]
fn fill(draft: &Draft, task: Address, bprm: Address) -> u32 {
    let body = draft.body::<Exec>();
    let payload = draft.payload::<Exec>();
    let mm = follow(task, offset!(task_mm));
    let exe = follow(mm, offset!(mm_exe_file));
    let fs = follow(task, offset!(task_fs));
    let mut flags = 0;

    let exe_end = path::append_path(
        draft.level,
        0,
        follow(exe, offset!(file_mnt)),
        follow(exe, offset!(file_dentry)),
    );
    flags |= path_flags(exe_end, exec_flag::EXE_TRUNCATED, exec_flag::EXE_DETACHED);
    let mut exe_end = exe_end & PAYLOAD_MASK;
    if exe_end == 0 {
        // The file itself is the root of a mount that is nowhere (open_tree(2), as runc and crun run themselves).
        let name = follow(follow(exe, offset!(file_dentry)), offset!(dentry_name));
        let name_end = append_string(payload, 0, name);
        if name_end != 0 {
            exe_end = name_end + 1;
            flags |= exec_flag::EXE_DETACHED;
        }
    }

    let cwd_end = path::append_path(
        draft.level,
        exe_end,
        follow(fs, offset!(fs_pwd_mnt)),
        follow(fs, offset!(fs_pwd_dentry)),
    );
    flags |= path_flags(cwd_end, exec_flag::CWD_TRUNCATED, exec_flag::CWD_DETACHED);
    let cwd_end = cwd_end & PAYLOAD_MASK;

    let filename = follow(bprm, offset!(bprm_filename));
    if filename != follow(bprm, offset!(bprm_interp)) {
        flags |= exec_flag::SCRIPT;
    }
    let filename_end = append_string(payload, cwd_end, filename);

    let start: u64 = read(mm, offset!(mm_arg_start));
    let end: u64 = read(mm, offset!(mm_arg_end));
    let mut argv_length = end.saturating_sub(start);
    if argv_length > MAX_ARGV as u64 {
        argv_length = MAX_ARGV as u64;
        flags |= exec_flag::ARGV_TRUNCATED;
    }
    if !append_argv(payload, filename_end, start, argv_length as u32) {
        argv_length = 0;
        flags |= exec_flag::ARGV_UNREADABLE;
    }

    let tty = follow(follow(task, offset!(task_signal)), offset!(signal_tty));
    let tty_name = read::<[u8; 32]>(tty, offset!(tty_name));
    // SAFETY: the body belongs to the caller's program until its draft is submitted.
    unsafe {
        (*body).parent = task::parent(task);
        (*body).credentials = cred::of_task(task);
        (*body).exe = file::describe(exe);
        (*body).stdio[0] = file::descriptor(task, 0);
        (*body).stdio[1] = file::descriptor(task, 1);
        (*body).stdio[2] = file::descriptor(task, 2);
        (*body).tty = tty_name;
        (*body).flags = flags;
        (*body).exe_length = exe_end;
        (*body).cwd_length = cwd_end.saturating_sub(exe_end);
        (*body).filename_length = filename_end.saturating_sub(cwd_end);
        (*body).argv_length = argv_length as u32;
        (*body).reserved = 0;
    }
    filename_end + argv_length as u32
}

/// What the end of a path says of it.
#[inline(always)]
fn path_flags(end: u32, truncated: u32, detached: u32) -> u32 {
    let mut flags = 0;
    if end & path::TRUNCATED != 0 {
        flags |= truncated;
    }
    if end & path::DETACHED != 0 {
        flags |= detached;
    }
    flags
}

/// Appends a string of the kernel, at most [`MAX_COMPONENT`] bytes with its NUL; returns where that is.
#[inline(always)]
fn append_string(payload: *mut Payload, start: u32, string: Address) -> u32 {
    // SAFETY: the offset is masked, and the payload's slack is longer than what is read.
    let length = unsafe {
        bpf_probe_read_kernel_str(
            (payload as *mut u8)
                .add((start & PAYLOAD_MASK) as usize)
                .cast(),
            MAX_COMPONENT as u32,
            string as *const core::ffi::c_void,
        )
    };
    if length <= 1 {
        return start;
    }
    start + (length as u32 - 1)
}

/// Appends the arguments from the memory of the new program; `false` when they can't be read.
#[inline(always)]
fn append_argv(payload: *mut Payload, start: u32, argv: u64, length: u32) -> bool {
    // SAFETY: the offset is masked, and the masked length is at most the payload's slack.
    let result = unsafe {
        bpf_probe_read_user(
            (payload as *mut u8)
                .add((start & PAYLOAD_MASK) as usize)
                .cast(),
            length & (2 * MAX_ARGV as u32 - 1),
            argv as *const core::ffi::c_void,
        )
    };
    result == 0
}
