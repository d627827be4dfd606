//! `struct cgroup`: ids and ancestry in the watched hierarchy.

use watchkeeper_ebpf::offsets::ABSENT;

use super::{Address, follow, read};

/// The cgroup of a task in the watched hierarchy.
#[inline(always)]
pub fn of_task(task: Address) -> Address {
    let controller = setting!(controller);
    let css_set = follow(task, offset!(task_cgroups));
    if controller == ABSENT {
        return follow(css_set, offset!(css_set_dfl_cgrp));
    }
    let subsys = offset!(css_set_subsys) + controller * 8;
    follow(follow(css_set, subsys), offset!(css_cgroup))
}

/// Its id: the inode number of its directory, 64 bits since 5.5 (kernel commit 40430452fd5d).
#[inline(always)]
pub fn id(cgroup: Address) -> u64 {
    read(follow(cgroup, offset!(cgroup_kn)), offset!(kernfs_id))
}

/// Id of the cgroup above; 0 for the root.
#[inline(always)]
pub fn parent_id(cgroup: Address) -> u64 {
    let css = cgroup + u64::from(offset!(cgroup_self));
    let parent = follow(css, offset!(css_parent));
    id(follow(parent, offset!(css_cgroup)))
}

/// Whether it belongs to the hierarchy that the agent watches.
#[inline(always)]
pub fn is_watched(cgroup: Address) -> bool {
    let root = follow(cgroup, offset!(cgroup_root));
    read::<u32>(root, offset!(cgroup_root_hierarchy_id)) == setting!(hierarchy_id)
}
