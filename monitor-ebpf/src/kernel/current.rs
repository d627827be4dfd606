//! The current task, by plain loads where the kernel hands out a typed pointer to it: those cost a fraction of what a
//! helper call does.
//!
//! `bpf_get_current_task_btf` is there since 5.11 (kernel commit 3ca1032ab7ab); the setting that is asked stands for 5.15.

use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use watchkeeper_ebpf::offsets::ABSENT;

use super::{Address, cgroup, file, follow, read, task};

/// A field of the object that a typed pointer leads to. The verifier checks type and offset, and the kernel handles faults: 0
/// where there is no memory.
///
/// # Safety
/// `base` must come from the kernel as a typed pointer, or from such a load.
#[inline(always)]
unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the caller says so; the verifier refuses anything else. Volatile, so that it stays the one load that it is.
    unsafe { core::ptr::read_volatile(base.wrapping_add(offset as usize).cast::<T>()) }
}

/// Id of its cgroup in the watched hierarchy.
#[inline(always)]
pub fn cgroup_id() -> u64 {
    if setting!(has_registers_helper) == 0 || setting!(controller) != ABSENT {
        return cgroup::id(cgroup::of_task(task::current()));
    }
    let (cgroups, group, node, id) = (
        offset!(task_cgroups),
        offset!(css_set_dfl_cgrp),
        offset!(cgroup_kn),
        offset!(kernfs_id),
    );
    // SAFETY: the helper returns a typed pointer, and each load another one.
    unsafe {
        let task = bpf_get_current_task_btf().cast::<u8>();
        let css_set: *const u8 = load(task, cgroups);
        let cgroup: *const u8 = load(css_set, group);
        let node: *const u8 = load(cgroup, node);
        load(node, id)
    }
}

/// The file behind a descriptor of it; 0 for one that is not open.
#[inline(always)]
pub fn file_of(number: u32) -> Address {
    if setting!(has_registers_helper) == 0 {
        return file::of_descriptor(task::current(), number);
    }
    let (files, table, room, array) = (
        offset!(task_files),
        offset!(files_fdt),
        offset!(fdtable_max_fds),
        offset!(fdtable_fd),
    );
    // SAFETY: as above; the array itself has no type that the verifier knows, and is read as memory.
    let descriptors = unsafe {
        let task = bpf_get_current_task_btf().cast::<u8>();
        let files: *const u8 = load(task, files);
        let table: *const u8 = load(files, table);
        if number >= load::<u32>(table, room) {
            return 0;
        }
        load::<u64>(table, array)
    };
    read(descriptors.wrapping_add(u64::from(number) * 8), 0)
}

/// Its mount namespace; 0 where it is ending.
#[inline(always)]
pub fn mount_namespace() -> Address {
    if setting!(has_registers_helper) == 0 {
        let proxy = follow(task::current(), offset!(task_nsproxy));
        return follow(proxy, offset!(nsproxy_mnt));
    }
    let (proxy, namespace) = (offset!(task_nsproxy), offset!(nsproxy_mnt));
    // SAFETY: as above; the namespace is only compared.
    unsafe {
        let task = bpf_get_current_task_btf().cast::<u8>();
        let proxy: *const u8 = load(task, proxy);
        load::<u64>(proxy, namespace)
    }
}
