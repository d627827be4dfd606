//! Offsets for the programs, and what a kernel that lacks some of them can't do.

use watchkeeper_ebpf::offsets::{ABSENT, Field, KernelOffsets, Sensor};

use super::btf::KernelTypes;

/// Looks every field up in the types of the running kernel.
#[must_use]
pub fn resolve(types: &KernelTypes) -> KernelOffsets {
    KernelOffsets::resolve(|field| field.places.iter().find_map(|place| types.offset(place)))
}

/// Fields that `sensor` can't do without and this kernel does not have.
pub fn missing(offsets: &KernelOffsets, sensor: Sensor) -> Vec<&'static Field> {
    offsets
        .iter()
        .filter(|(field, offset)| *offset == ABSENT && field.needed.by(sensor))
        .map(|(field, _)| field)
        .collect()
}

/// Why a sensor can't work on this kernel, where it is known before it is tried.
#[must_use]
pub fn obstacle(offsets: &KernelOffsets, types: &KernelTypes, sensor: Sensor) -> Option<String> {
    let missing = missing(offsets, sensor);
    if !missing.is_empty() {
        let names: Vec<_> = missing
            .iter()
            .map(|field| field.places.join(" or "))
            .collect();
        return Some(format!("this kernel has no {}", names.join(", no ")));
    }
    let of_request = [
        offsets.kiocb_opcode,
        offsets.kiocb_result,
        offsets.kiocb_command,
        offsets.io_open_flags,
        offsets.io_open_slot,
    ];
    let is_unknown = sensor == Sensor::IoUringOpen
        && of_request.contains(&ABSENT)
        && !types.uring_completes_by_user_data();
    is_unknown
        .then(|| "this kernel tells completions of io_uring in a form that is not known".to_owned())
}

/// What a sensor that works does not tell on this kernel, where that is something.
#[must_use]
pub fn lacking_detail(offsets: &KernelOffsets, sensor: Sensor) -> Option<&'static str> {
    let absent = |fields: &[u32]| fields.contains(&ABSENT);
    match sensor {
        Sensor::Exec if absent(&[offsets.ovl_inode_upper, offsets.ovl_inode_vfs]) => Some(
            "overlayfs is not loaded or has no BTF: files of an overlay's upper layer are not told apart",
        ),
        Sensor::FileOpen if absent(&[offsets.dentry_alias, offsets.inode_aliases]) => {
            Some("the kernel does not tell a file's other names: a hard link hides a watched file")
        }
        // Before 5.15 there is no such table, and nothing to be missed.
        Sensor::IoUringOpen
            if (offsets.kiocb_result != ABSENT || offsets.kiocb_open_slot != ABSENT)
                && absent(&[
                    offsets.uring_nodes,
                    offsets.uring_node_count,
                    offsets.uring_node_file,
                ])
                && absent(&[offsets.uring_files, offsets.uring_file_count]) =>
        {
            Some(
                "the kernel's table of files without a descriptor is unknown: opens into it are only seen as use of io_uring",
            )
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_all_that_the_sensors_need() {
        let types = KernelTypes::of_running_kernel().expect("the test host's kernel has BTF");
        let offsets = resolve(&types);
        for sensor in Sensor::ALL {
            let missing: Vec<_> = missing(&offsets, sensor)
                .iter()
                .map(|field| field.name)
                .collect();
            assert!(missing.is_empty(), "{sensor:?} lacks {missing:?}");
        }
    }

    #[test]
    fn a_missing_field_disables_only_who_needs_it() {
        let offsets = KernelOffsets::resolve(|field| (field.name != "bprm_filename").then_some(8));
        assert_eq!(missing(&offsets, Sensor::Exec).len(), 1);
        assert!(missing(&offsets, Sensor::Fork).is_empty());
        assert!(missing(&offsets, Sensor::CgroupMkdir).is_empty());
    }
}
