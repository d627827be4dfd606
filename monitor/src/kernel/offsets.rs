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

/// Whether the kernel tells which layer of an overlay a file lies in.
#[must_use]
pub fn knows_upper_layer(offsets: &KernelOffsets) -> bool {
    offsets.ovl_inode_upper != ABSENT && offsets.ovl_inode_vfs != ABSENT
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
