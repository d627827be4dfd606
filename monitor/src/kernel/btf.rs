//! Where a structure of the running kernel keeps a field, from the kernel's type information (BTF).
//!
//! Knows types and members, nothing of which ones the programs need.

use std::path::Path;

use btf_rs::{Btf, Type};

/// The kernel's own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Types of overlayfs, where it is a module.
pub const OVERLAY: &str = "/sys/kernel/btf/overlay";

/// Deepest nesting of anonymous structures, typedefs and qualifiers that is followed.
const MAX_DEPTH: u32 = 16;

/// The types of the running kernel.
pub struct KernelTypes {
    base: Btf,
    /// Types of overlayfs, where it is a loaded module.
    overlay: Option<Btf>,
}

/// The kernel's type information could not be read.
#[derive(Debug, thiserror::Error)]
#[error("reading kernel type information from {path}: {reason}")]
pub struct BtfError {
    path: String,
    reason: String,
}

impl KernelTypes {
    /// Reads the types of the running kernel.
    ///
    /// # Errors
    /// When the kernel has none (`CONFIG_DEBUG_INFO_BTF`, since 5.2) or they can't be parsed.
    pub fn of_running_kernel() -> Result<Self, BtfError> {
        Self::read(Path::new(VMLINUX), Path::new(OVERLAY))
    }

    fn read(vmlinux: &Path, overlay: &Path) -> Result<Self, BtfError> {
        let error = |path: &Path, error: btf_rs::Error| BtfError {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let base = Btf::from_file(vmlinux).map_err(|reason| error(vmlinux, reason))?;
        // A module that can't be read costs one detail of one sensor, which is then reported as missing.
        let overlay = Btf::from_split_file(overlay, &base).ok();
        Ok(Self { base, overlay })
    }

    /// Byte offset of `type.member.member` or `type.member+n`, or the size asked for by `sizeof type`.
    #[must_use]
    pub fn offset(&self, place: &str) -> Option<u32> {
        [Some(&self.base), self.overlay.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|btf| match place.strip_prefix("sizeof ") {
                Some(name) => size_of_struct(btf, name),
                None => match place.split_once('+') {
                    Some((place, more)) => Some(offset_in(btf, place)? + more.parse::<u32>().ok()?),
                    None => offset_in(btf, place),
                },
            })
    }

    /// Number of the argument of the `io_uring` tracepoint that is the operation; 0 where it is a field of the request, which
    /// is the first argument then.
    ///
    /// The prototype has had three shapes (include/trace/events/io_uring.h): `submit_sqe(ctx, opcode, ...)` with 5 arguments
    /// in 5.10, `submit_sqe(ctx, req, opcode, ...)` with 7 after that, and the request alone or with one more in 6.1
    /// and later.
    #[must_use]
    pub fn uring_opcode_argument(&self) -> u32 {
        match self.tracepoint_arguments("io_uring_submit_sqe") {
            Some(5) => 1,
            Some(7) => 2,
            _ => 0,
        }
    }

    /// Whether completions of `io_uring` name no request, but the `user_data` of the submission: `complete(ctx, user_data, res)` in
    /// 5.10, with one argument more until 5.17 (include/trace/events/io_uring.h).
    #[must_use]
    pub fn uring_completes_by_user_data(&self) -> bool {
        let arguments = self.tracepoint_arguments("io_uring_complete");
        self.uring_opcode_argument() != 0 && matches!(arguments, Some(3 | 4))
    }

    /// How many arguments a tracepoint has; `None` for one that the kernel does not have.
    #[must_use]
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let base = &self.base;
        let types = base
            .resolve_types_by_name(&format!("btf_trace_{name}"))
            .ok()?;
        types.iter().find_map(|found| {
            let Type::Typedef(typedef) = found else {
                return None;
            };
            let Type::Ptr(pointer) = base.resolve_chained_type(typedef).ok()? else {
                return None;
            };
            let Type::FuncProto(prototype) = base.resolve_chained_type(&pointer).ok()? else {
                return None;
            };
            // The first one is for whoever attached.
            prototype.parameters.len().checked_sub(1)
        })
    }

    /// Value of an enumerator, such as `memory_cgrp_id` of `cgroup_subsys_id`.
    #[must_use]
    pub fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        let types = self.base.resolve_types_by_name(enumeration).ok()?;
        types.iter().find_map(|found| {
            let Type::Enum(found) = found else {
                return None;
            };
            found
                .members
                .iter()
                .find(|member| {
                    self.base
                        .resolve_name(*member)
                        .is_ok_and(|member| member == name)
                })
                .map(btf_rs::EnumMember::val)
        })
    }
}

fn size_of_struct(btf: &Btf, name: &str) -> Option<u32> {
    let types = btf.resolve_types_by_name(name).ok()?;
    types.iter().find_map(|found| match found {
        Type::Struct(found) => u32::try_from(found.size()).ok(),
        _ => None,
    })
}

fn offset_in(btf: &Btf, place: &str) -> Option<u32> {
    let mut names = place.split('.');
    let structure = names.next()?;
    let members: Vec<&str> = names.collect();
    let types = btf.resolve_types_by_name(structure).ok()?;
    types
        .iter()
        .filter(|found| matches!(found, Type::Struct(_) | Type::Union(_)))
        .find_map(|found| bits_of_path(btf, found, &members))
        .filter(|bits| bits % 8 == 0)
        .map(|bits| bits / 8)
}

/// Bit offset of a chain of members, each within the structure that the one before it is.
fn bits_of_path(btf: &Btf, structure: &Type, members: &[&str]) -> Option<u32> {
    let (first, rest) = members.split_first()?;
    let (bits, member) = bits_of_member(btf, structure, first, 0)?;
    if rest.is_empty() {
        return Some(bits);
    }
    Some(bits + bits_of_path(btf, &member, rest)?)
}

/// Bit offset and type of a member, which may lie in an anonymous structure or union.
fn bits_of_member(btf: &Btf, structure: &Type, name: &str, depth: u32) -> Option<(u32, Type)> {
    if depth > MAX_DEPTH {
        return None;
    }
    let (Type::Struct(found) | Type::Union(found)) = structure else {
        return None;
    };
    for member in &found.members {
        let member_name = btf.resolve_name(member).ok()?;
        if member_name == name {
            return Some((member.bit_offset(), value_type(btf, member)?));
        }
        if member_name.is_empty()
            && let Some(inner) = value_type(btf, member)
            && let Some((bits, found)) = bits_of_member(btf, &inner, name, depth + 1)
        {
            return Some((member.bit_offset() + bits, found));
        }
    }
    None
}

/// The type of a member, behind typedefs and qualifiers.
fn value_type(btf: &Btf, member: &btf_rs::Member) -> Option<Type> {
    let mut found = btf.resolve_chained_type(member).ok()?;
    for _ in 0..MAX_DEPTH {
        found = match &found {
            Type::Typedef(inner) => btf.resolve_chained_type(inner).ok()?,
            Type::Const(inner) | Type::Volatile(inner) => btf.resolve_chained_type(inner).ok()?,
            _ => return Some(found),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> KernelTypes {
        KernelTypes::of_running_kernel().expect("the test host's kernel has BTF")
    }

    #[test]
    fn first_member_is_at_zero_and_later_ones_are_not() {
        let types = running();
        assert_eq!(types.offset("list_head.next"), Some(0));
        assert_eq!(types.offset("list_head.prev"), Some(8));
        assert_eq!(types.offset("list_head.prev+24"), Some(32));
    }

    #[test]
    fn nested_members_add_up() {
        let types = running();
        let path = types.offset("file.f_path").expect("present");
        let dentry = types.offset("path.dentry").expect("present");
        assert_eq!(types.offset("file.f_path.dentry"), Some(path + dentry));
    }

    #[test]
    fn anonymous_structures_are_searched() {
        // All of mm_struct but its last member is in an anonymous structure.
        let types = running();
        let start = types.offset("mm_struct.arg_start").expect("present");
        assert_eq!(types.offset("mm_struct.arg_end"), Some(start + 8));
    }

    #[test]
    fn what_is_missing_has_no_offset() {
        let types = running();
        for place in [
            "task_struct.no_such_field",
            "no_such_struct.field",
            "task_struct",
            "task_struct.pid.nothing",
            "sizeof no_such_struct",
        ] {
            assert_eq!(types.offset(place), None, "{place}");
        }
    }

    #[test]
    fn sizes_and_enumerators() {
        let types = running();
        assert_eq!(types.offset("sizeof list_head"), Some(16));
        assert_eq!(types.enumerator("pid_type", "PIDTYPE_TGID"), Some(1));
        assert_eq!(types.enumerator("pid_type", "PIDTYPE_NONE"), None);
    }

    #[test]
    fn arguments_of_tracepoints_are_counted() {
        let types = running();
        assert_eq!(types.tracepoint_arguments("sched_process_exec"), Some(3));
        assert_eq!(types.tracepoint_arguments("no_such_tracepoint"), None);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = KernelTypes::read(Path::new("/nonexistent/vmlinux"), Path::new("/x"))
            .err()
            .expect("must fail");
        assert!(error.to_string().contains("/nonexistent/vmlinux"));
    }
}
