//! What procfs tells of the processes that were there before the agent.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, statx};
use watchkeeper_ebpf::record::{
    Credentials, Descriptor, File, MAX_ARGV, Namespaces, descriptor, exec_flag, flag,
};

use super::{
    clock,
    execution::{Arguments, Execution, Process, ProcessKey, Source},
};
use crate::{kernel::loader::HostNamespaces, redact::Redactor};

/// `PF_KTHREAD` of include/linux/sched.h.
const PF_KTHREAD: u32 = 0x0020_0000;
/// `PF_EXITING` of include/linux/sched.h.
const PF_EXITING: u32 = 0x0000_0004;

/// Most bytes read of one file of procfs.
const MAX_READ: usize = 64 << 10;

/// A process found in procfs.
#[derive(Clone, Debug)]
pub struct Found {
    /// The process.
    pub process: Process,
    /// The content of `/proc/PID/cgroup`.
    pub cgroups: String,
}

/// Every process but kernel threads. One that ends meanwhile is left out.
///
/// # Errors
/// When procfs can't be listed.
pub fn scan(host: HostNamespaces, redactor: &Redactor) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        found.extend(read(pid, host, redactor));
    }
    Ok(found)
}

/// One process; `None` when it is gone, or a kernel thread.
#[must_use]
pub fn read(pid: u32, host: HostNamespaces, redactor: &Redactor) -> Option<Found> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let stat = Stat::of(pid)?;
    if stat.flags & PF_KTHREAD != 0 {
        return None;
    }
    let exe = match fs::read_link(directory.join("exe")) {
        Ok(exe) => exe.to_string_lossy().into_owned(),
        // A process can be shielded even from root; its name, which it chooses itself, is then all there is.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => format!("({})", stat.name),
        Err(_) => return None,
    };
    let status = read_text(&directory.join("status")).unwrap_or_default();
    let mut argv = read_bytes(&directory.join("cmdline")).unwrap_or_default();
    let argv_truncated = argv.len() > MAX_ARGV;
    argv.truncate(MAX_ARGV);
    let (argv, redacted) = Arguments::without_secrets(&argv, redactor);
    let namespaces = Namespaces {
        mnt: namespace(&directory, "mnt"),
        pid: namespace(&directory, "pid"),
        net: namespace(&directory, "net"),
        uts: namespace(&directory, "uts"),
        ipc: namespace(&directory, "ipc"),
        cgroup: namespace(&directory, "cgroup"),
        user: namespace(&directory, "user"),
        pid_inside: last_number(&status, "NSpid:").unwrap_or(0),
        pid_for_children: namespace(&directory, "pid_for_children"),
        reserved: 0,
    };
    let mut host_namespaces = 0;
    for (ours, theirs, bit) in [
        (namespaces.mnt, host.mnt, flag::HOST_MNT_NS),
        (namespaces.pid, host.pid, flag::HOST_PID_NS),
        (namespaces.net, host.net, flag::HOST_NET_NS),
    ] {
        if ours == theirs {
            host_namespaces |= bit;
        }
    }
    let program = Execution {
        exec_ns: 0,
        executed: None,
        exe,
        argv,
        redacted,
        cwd: fs::read_link(directory.join("cwd"))
            .map(|cwd| cwd.to_string_lossy().into_owned())
            .unwrap_or_default(),
        filename: String::new(),
        flags: if argv_truncated {
            exec_flag::ARGV_TRUNCATED
        } else {
            0
        } | if last_number(&status, "NoNewPrivs:") == Some(1) {
            exec_flag::NO_NEW_PRIVILEGES
        } else {
            0
        },
        seccomp: last_number(&status, "Seccomp:").unwrap_or(0),
        credentials: credentials(&directory, &status),
        namespaces,
        host_namespaces,
        file: file(&directory.join("exe")),
        stdio: [0, 1, 2].map(|number| stdio(&directory, number)),
        tty: tty_name(stat.tty),
        recognised: OnceLock::new(),
    };
    Some(Found {
        process: Process {
            key: ProcessKey {
                pid,
                start_ticks: stat.start_ticks,
            },
            inside: (namespaces.pid_inside != 0).then_some((namespaces.pid, namespaces.pid_inside)),
            parent: start_ticks(stat.parent).map(|start_ticks| ProcessKey {
                pid: stat.parent,
                start_ticks,
            }),
            started: clock::wall(stat.start_ticks.saturating_mul(clock::NS_PER_TICK)),
            program: Arc::new(program),
            source: Source::Procfs,
        },
        cgroups: read_text(&directory.join("cgroup"))?,
    })
}

/// Start of the process that has this id now, in clock ticks since boot; `None` when there is none.
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    Stat::of(pid).map(|stat| stat.start_ticks)
}

/// Whether a process is there and has not begun to end. One that ends is still found in procfs, but has let go of its descriptors
/// and its memory; so has one whose first thread ended before the others.
#[must_use]
pub fn is_whole(key: ProcessKey) -> bool {
    Stat::of(key.pid)
        .is_some_and(|stat| stat.start_ticks == key.start_ticks && stat.flags & PF_EXITING == 0)
}

/// What is used of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    flags: u32,
    parent: u32,
    tty: u32,
    start_ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&read_text(Path::new(&format!("/proc/{pid}/stat")))?)
    }

    fn parse(content: &str) -> Option<Self> {
        // The name in parentheses may hold blanks and parentheses itself.
        let (before, rest) = content.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            name: before.split_once('(')?.1.to_owned(),
            flags: fields.get(6)?.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            tty: fields.get(4)?.parse::<i32>().ok()?.cast_unsigned(),
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Name of a terminal from its device number as procfs encodes it: minor bits 7..0 and 31..20, major 15..8.
fn tty_name(device: u32) -> String {
    let major = (device >> 8) & 0xff;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    match major {
        0 => String::new(),
        4 => format!("tty{minor}"),
        136..=143 => format!("pts{}", (major - 136) * 256 + minor),
        _ => format!("{major}:{minor}"),
    }
}

fn credentials(directory: &Path, status: &str) -> Credentials {
    let number = |name: &str| {
        read_text(&directory.join(name))
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(u32::MAX)
    };
    let ids = |name| numbers(status, name);
    let capabilities = |name: &str| {
        field(status, name)
            .and_then(|value| u64::from_str_radix(value, 16).ok())
            .unwrap_or(0)
    };
    let (uid, gid) = (ids("Uid:"), ids("Gid:"));
    let at = |ids: &[u32], index: usize| ids.get(index).copied().unwrap_or(u32::MAX);
    Credentials {
        cap_effective: capabilities("CapEff:"),
        cap_permitted: capabilities("CapPrm:"),
        cap_inheritable: capabilities("CapInh:"),
        cap_bounding: capabilities("CapBnd:"),
        cap_ambient: capabilities("CapAmb:"),
        uid: at(&uid, 0),
        gid: at(&gid, 0),
        euid: at(&uid, 1),
        egid: at(&gid, 1),
        loginuid: number("loginuid"),
        sessionid: number("sessionid"),
    }
}

/// The value of a line of `/proc/PID/status`.
#[must_use]
pub fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

fn numbers(status: &str, name: &str) -> Vec<u32> {
    field(status, name)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect()
}

fn last_number(status: &str, name: &str) -> Option<u32> {
    numbers(status, name).last().copied()
}

fn namespace(directory: &Path, name: &str) -> u32 {
    fs::metadata(directory.join("ns").join(name))
        .ok()
        .and_then(|metadata| u32::try_from(metadata.ino()).ok())
        .unwrap_or(0)
}

/// Looks at what a link of procfs leads to, with what the kernel has at hand: a filesystem whose server is slow, or a
/// container's own, is not asked.
fn look(path: &Path) -> Option<Statx> {
    statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS).ok()
}

fn file(path: &Path) -> File {
    let Some(found) = look(path) else {
        return File::default();
    };
    File {
        inode: found.stx_ino,
        size: found.stx_size,
        ctime_s: found.stx_ctime.tv_sec.try_into().unwrap_or(0),
        ctime_ns: found.stx_ctime.tv_nsec,
        device: (found.stx_dev_major << 20) | found.stx_dev_minor,
        links: found.stx_nlink,
        mode: found.stx_mode.into(),
        uid: found.stx_uid,
        ..File::default()
    }
}

fn stdio(directory: &Path, number: u32) -> Descriptor {
    let path = directory.join("fd").join(number.to_string());
    let (Ok(target), Some(found)) = (fs::read_link(&path), look(&path)) else {
        return Descriptor::default();
    };
    let target = target.to_string_lossy();
    let kind = match found.stx_mode & 0o170_000 {
        0o010_000 => descriptor::PIPE,
        0o140_000 => descriptor::SOCKET,
        0o100_000 => descriptor::FILE,
        0o020_000 if target == "/dev/null" => descriptor::NULL,
        0o020_000
            if target.starts_with("/dev/pts/")
                || target.starts_with("/dev/tty")
                || target == "/dev/console" =>
        {
            descriptor::TTY
        }
        0o020_000 | 0o060_000 => descriptor::DEVICE,
        _ => descriptor::OTHER,
    };
    Descriptor {
        inode: found.stx_ino,
        kind,
        device: 0,
    }
}

fn read_bytes(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(MAX_READ as u64)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// The text of a file of procfs, as far as so much of it is read; `None` when it is not there.
#[must_use]
pub fn read_text(path: &Path) -> Option<String> {
    read_bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_shift_the_fields_of_stat() {
        let content =
            "42 (a) S 1 (b) S 7 42 42 34817 42 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 3";
        assert_eq!(
            Stat::parse(content),
            Some(Stat {
                name: "a) S 1 (b".to_owned(),
                flags: 4_194_304,
                parent: 7,
                tty: 34_817,
                start_ticks: 987_654
            })
        );
        assert_eq!(Stat::parse("42 (a"), None);
    }

    #[test]
    fn terminals_are_named() {
        assert_eq!(tty_name(0), "");
        assert_eq!(tty_name(34_817), "pts1");
        assert_eq!(tty_name(1_025), "tty1");
    }

    #[test]
    fn this_process_is_found_as_it_is() {
        let host = HostNamespaces {
            mnt: namespace(Path::new("/proc/self"), "mnt"),
            pid: namespace(Path::new("/proc/self"), "pid"),
            net: 1,
        };
        let found = read(std::process::id(), host, &Redactor::built_in()).expect("alive");
        let process = found.process;
        let execution = &process.program;
        assert_eq!(
            execution.exe,
            std::env::current_exe().expect("known").to_string_lossy()
        );
        assert_eq!(
            execution.argv.to_vec(),
            std::env::args().collect::<Vec<_>>(),
            "arguments"
        );
        assert_eq!(
            execution.host_namespaces,
            flag::HOST_MNT_NS | flag::HOST_PID_NS
        );
        assert_eq!(
            process.parent.map(|parent| parent.pid),
            Some(std::os::unix::process::parent_id())
        );
        assert_eq!(start_ticks(process.key.pid), Some(process.key.start_ticks));
        assert!(execution.file.inode != 0 && execution.credentials.euid != u32::MAX);
    }

    #[test]
    fn a_process_that_is_gone_is_left_out() {
        let host = HostNamespaces {
            mnt: 0,
            pid: 0,
            net: 0,
        };
        assert!(read(u32::MAX, host, &Redactor::built_in()).is_none());
    }
}
