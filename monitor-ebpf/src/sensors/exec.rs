//! `sched_process_exec`: a process runs a new program. The kernel has resolved everything by now: the
//! executable is `mm->exe_file`, the arguments are in the new memory, the credentials are committed.

use aya_ebpf::{
    helpers::generated::bpf_probe_read_user, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Exec, Kind, MAX_ARGV, MAX_COMPONENT, exec_flag},
    tables::KnownCredentials,
};

use crate::{
    credentials::{known, note_credentials},
    kernel::{Address, argument, cred, environment, file, follow, path, read, task},
    maps::TELEMETRY,
    output::Draft,
    subject::{Place, Subject},
};

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, include/trace/events/sched.h
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    let task = argument(&ctx, 0);
    let bprm = argument(&ctx, 2);
    let place = Place::of(task);
    if !place.wants(Class::Process as u32) {
        return 0;
    }
    let subject = Subject::new(place, task);
    let before = known(subject.process.pid, subject.process.start_ns);
    note_credentials(task);
    let Some(draft) = Draft::admitted(&place, Class::Process as u32) else {
        return 0;
    };
    let namespaces = task::namespaces(task);
    let end = fill(&draft, task, bprm);
    fill_before(&draft, before);
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe { (*draft.body::<Exec>()).namespaces = namespaces };
    draft.submit(
        &TELEMETRY,
        Kind::Exec,
        &subject,
        task::host_namespaces(&namespaces),
        end,
    );
    0
}

/// Fills in all but the namespaces; returns where the content ends.
#[inline(always)]
fn fill(draft: &Draft, task: Address, bprm: Address) -> u32 {
    let body = draft.body::<Exec>();
    let mm = follow(task, offset!(task_mm));
    let exe = follow(mm, offset!(mm_exe_file));
    let fs = follow(task, offset!(task_fs));
    let mut flags = 0;

    let start = Draft::start::<Exec>();
    let (mount, dentry) = file::path(exe);
    let returned = path::append_path(draft.level, start, mount, dentry);
    flags |= path::flags(returned, exec_flag::EXE_TRUNCATED, exec_flag::EXE_DETACHED);
    let mut exe_end = path::end(returned);
    if exe_end == start {
        // The file itself is the root of a mount that is nowhere (open_tree(2), as runc and crun run themselves).
        let name = follow(dentry, offset!(dentry_name));
        let name_end = draft.append_string::<MAX_COMPONENT>(start, name);
        if name_end != start {
            exe_end = name_end + 1;
            flags |= exec_flag::EXE_DETACHED;
        }
    }

    let cwd_mount = follow(fs, offset!(fs_pwd_mnt));
    let returned = path::append_path(
        draft.level,
        exe_end,
        cwd_mount,
        follow(fs, offset!(fs_pwd_dentry)),
    );
    flags |= path::flags(returned, exec_flag::CWD_TRUNCATED, exec_flag::CWD_DETACHED);
    if file::other_mount_namespace(cwd_mount) != 0 {
        flags |= exec_flag::CWD_DETACHED;
    }
    let cwd_end = path::end(returned);

    let filename = follow(bprm, offset!(bprm_filename));
    if filename != follow(bprm, offset!(bprm_interp)) {
        flags |= exec_flag::SCRIPT;
    }
    let filename_end = draft.append_string::<MAX_COMPONENT>(cwd_end, filename);

    let arguments: u64 = read(mm, offset!(mm_arg_start));
    let arguments_end: u64 = read(mm, offset!(mm_arg_end));
    let mut argv_length = arguments_end.saturating_sub(arguments);
    if argv_length > MAX_ARGV as u64 {
        argv_length = MAX_ARGV as u64;
        flags |= exec_flag::ARGV_TRUNCATED;
    }
    if !append_argv(draft, filename_end, arguments, argv_length as u32) {
        argv_length = 0;
        flags |= exec_flag::ARGV_UNREADABLE;
    }
    let argv_end = filename_end + argv_length as u32;

    let returned = environment::append_loader_variables(
        draft.level,
        argv_end,
        read(mm, offset!(mm_env_start)),
        read(mm, offset!(mm_env_end)),
    );
    flags |= path::flags(returned, exec_flag::ENVIRONMENT_TRUNCATED, 0);
    let end = path::end(returned);

    if task::no_new_privileges(task) {
        flags |= exec_flag::NO_NEW_PRIVILEGES;
    }
    if task::is_child_of_kernel(task) {
        flags |= exec_flag::KERNEL_STARTED;
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
        (*body).exe_length = exe_end.saturating_sub(start);
        (*body).cwd_length = cwd_end.saturating_sub(exe_end);
        (*body).filename_length = filename_end.saturating_sub(cwd_end);
        (*body).argv_length = argv_length as u32;
        (*body).loader_length = end.saturating_sub(argv_end);
        (*body).seccomp = task::seccomp_mode(task);
    }
    end
}

/// Fills in the credentials before the exec, where they are known.
#[inline(always)]
fn fill_before(draft: &Draft, before: Option<KnownCredentials>) {
    let body = draft.body::<Exec>();
    let (is_known, before) = match before {
        Some(before) => (1, before),
        None => (
            0,
            KnownCredentials {
                ids: [0; 4],
                effective: 0,
                permitted: 0,
                loginuid: 0,
                start_ns: 0,
            },
        ),
    };
    // SAFETY: the body belongs to the caller's program until its draft is submitted.
    unsafe {
        (*body).before_known = is_known;
        (*body).before_effective = before.effective;
        (*body).before_permitted = before.permitted;
        (*body).before_ids = [
            before.ids[0] as u32,
            (before.ids[0] >> 32) as u32,
            before.ids[2] as u32,
            (before.ids[2] >> 32) as u32,
        ];
    }
}

/// Appends the arguments from the memory of the new program; `false` when they can't be read.
#[inline(always)]
fn append_argv(draft: &Draft, start: u32, argv: u64, length: u32) -> bool {
    // SAFETY: `at` gives a place with slack after it, and the masked length is at most that.
    let result = unsafe {
        bpf_probe_read_user(
            draft.at(start),
            length & (2 * MAX_ARGV as u32 - 1),
            argv as *const core::ffi::c_void,
        )
    };
    result == 0
}
