//! Opened files.

use watchkeeper_ebpf::{
    calls::{Call as Name, IO_URING},
    decode::OpenRecord,
    record::{open_reason, path_flag},
    watch::{CHANGE, READ, WRITE},
};

use super::{constants, identity};
use crate::{kernel::paths, proto::v1, watch::WatchList};

/// include/uapi/asm-generic/fcntl.h
const O_ACCMODE: u32 = 3;
const O_WRONLY: u32 = 1;
const O_RDWR: u32 = 2;
const O_CREAT: u32 = 0o100;
const O_TRUNC: u32 = 0o1_000;
const O_APPEND: u32 = 0o2_000;

/// `PROC_SUPER_MAGIC` of include/uapi/linux/magic.h.
const PROCFS: u32 = 0x9fa0;

/// What a record means; `None` where it is of no interest after all: the names that the kernel side knows are also
/// those of other files.
#[must_use]
pub fn opened(record: &OpenRecord<'_>, watch: &WatchList) -> Option<v1::FileOpen> {
    let body = &record.body;
    let path_of = |components: &[u8], number: usize| {
        paths::from_components(
            components,
            body.path_flags & path_flag::TRUNCATED[number] != 0,
            body.path_flags & path_flag::DETACHED[number] != 0,
        )
    };
    let has = |reason: u32| body.reasons & reason != 0;
    let path = path_of(record.path, 0);
    let inner = path_of(record.inner, 1);
    let linked = if record.linked.is_empty() {
        String::new()
    } else {
        path_of(record.linked, 2)
    };
    let is_proc = body.file.filesystem == PROCFS;
    let access = access(body.open_flags);
    let mut bits = if body.open_flags & (O_WRONLY | O_RDWR) == 0 {
        READ
    } else {
        WRITE
    };
    if body.open_flags & O_ACCMODE == O_RDWR {
        bits |= READ;
    }
    if body.open_flags & O_TRUNC != 0 {
        bits |= CHANGE | WRITE;
    }
    // A file below /proc/self is the process's own.
    let is_own = is_proc && body.target.pid != 0 && !has(open_reason::OTHER_PROCESS);
    let mut reasons = if is_own {
        Vec::new()
    } else {
        watch.reasons([path.as_str(), inner.as_str(), linked.as_str()], bits)
    };
    let mut add = |is: bool, name: &str| {
        if is {
            reasons.push(name.to_owned());
        }
    };
    // Of a process's own files below /proc the login user is what others believe; the rest is its own business.
    let controls = has(open_reason::KERNEL_CONTROL) && (!is_own || inner.ends_with("/loginuid"));
    add(controls, "kernel-control");
    add(has(open_reason::DEVICE), "device");
    add(has(open_reason::HANDLE), "handle");
    add(
        has(open_reason::OTHER_MOUNT_NAMESPACE),
        "other-mount-namespace",
    );
    if reasons.is_empty() {
        return None;
    }
    Some(v1::FileOpen {
        path,
        path_in_filesystem: inner,
        linked_path: linked,
        access,
        file: Some(identity::file(&body.file)),
        reasons,
        mount_namespace: body.mount_ns,
        target: None,
        call: match Name::from_number(body.call) {
            Some(row) => row.name,
            None if body.call == IO_URING => "io_uring",
            None => "",
        }
        .to_owned(),
        device: if body.device == 0 {
            String::new()
        } else {
            constants::device(body.device)
        },
        filesystem: constants::FILESYSTEMS
            .iter()
            .find(|(magic, _)| *magic == u64::from(body.file.filesystem))
            .map(|(_, name)| (*name).to_owned())
            .unwrap_or_default(),
    })
}

/// What a file is opened for.
fn access(flags: u32) -> Vec<String> {
    let mut access = Vec::new();
    match flags & O_ACCMODE {
        O_WRONLY => access.push("write"),
        O_RDWR => access.extend(["read", "write"]),
        _ => access.push("read"),
    }
    for (bit, name) in [
        (O_CREAT, "create"),
        (O_TRUNC, "truncate"),
        (O_APPEND, "append"),
    ] {
        if flags & bit != 0 {
            access.push(name);
        }
    }
    access.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use watchkeeper_ebpf::record::{File, Open};

    use super::*;

    fn open(body: Open, path: &[u8], inner: &[u8]) -> Option<v1::FileOpen> {
        let watch = WatchList::built_in();
        let record = OpenRecord {
            body,
            path,
            inner,
            linked: b"",
        };
        opened(&record, &watch)
    }

    #[test]
    fn a_bind_mount_does_not_hide_a_watched_file() {
        let body = Open {
            reasons: open_reason::WATCHED,
            path_flags: path_flag::DETACHED[1],
            ..Open::default()
        };
        let found = open(body, b"x\0tmp\0", b"shadow\0etc\0/\0").expect("watched");
        assert_eq!(found.path, "/tmp/x");
        assert_eq!(found.path_in_filesystem, "/etc/shadow");
        assert_eq!(found.reasons, ["shadow"]);
        assert_eq!(found.access, ["read"]);
        assert!(open(body, b"shadow\0tmp\0", b"shadow\0tmp\0/\0").is_none());
    }

    #[test]
    fn own_files_in_proc_are_of_no_interest_but_the_login_user() {
        let body = Open {
            reasons: open_reason::KERNEL_CONTROL,
            open_flags: O_WRONLY,
            target: watchkeeper_ebpf::record::ProcessId {
                pid: 5,
                ..Default::default()
            },
            file: File {
                filesystem: PROCFS,
                ..File::default()
            },
            ..Open::default()
        };
        assert!(open(body, b"comm\0self\0proc\0", b"comm\x005\0/\0").is_none());
        assert!(open(body, b"loginuid\0self\0proc\0", b"loginuid\x005\0/\0").is_some());
    }
}
