//! What an executable is, by its content: a shell stays a shell under any name.
//!
//! A shell has to know the words of its language, and a multi-call binary those of its own; both are searched for
//! in the file. The answer is kept by the file's identity (device, inode, size, change time), which a
//! container can't give to another file. The file is opened while its process lives; one that is gone is looked for
//! below the root directory of its container.

use std::{
    fs::File,
    io::{self, Read as _},
    num::NonZeroUsize,
    os::unix::fs::MetadataExt as _,
    sync::{Mutex, PoisonError},
};

use lru::LruCache;
use memchr::memmem;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use watchkeeper_ebpf::record;

use crate::process::{
    execution::{Process, ProcessKey},
    procfs,
};

/// Most files whose content is remembered.
const CACHED: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");
/// Most bytes of a file that are searched; the largest shell known has 2 MiB.
const MAX_SEARCHED: u64 = 16 << 20;
/// Bytes that are searched at a time.
const CHUNK: usize = 256 << 10;
/// The longest marker.
const OVERLAP: usize = 64;

/// Filesystems whose files are opened: those that answer from this node alone (include/uapi/linux/magic.h).
/// A file of a container's own FUSE server could hold the reader up for ever.
const LOCAL_FILESYSTEMS: [u32; 12] = [
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x794c_7630, // overlayfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0xf2f5_2010, // F2FS
    0xe0f5_e1e2, // EROFS
    0x7371_7368, // SquashFS
    0x2fc1_2fc1, // ZFS
    0x0000_9660, // ISO 9660
    0x0000_4d44, // FAT
];

/// What an executable is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A shell, of this family.
    Shell(&'static str),
    /// A multi-call binary, of this name: what it does depends on how it is called.
    Multicall(&'static str),
    /// Something else.
    Other,
    /// It could not be read, for this reason.
    Unreadable(String),
}

/// A kind of executable, recognised when all its markers are in the file.
struct Kind {
    content: Content,
    markers: &'static [&'static [u8]],
}

/// In the order to try.
const KINDS: [Kind; 9] = [
    Kind {
        content: Content::Multicall("busybox"),
        markers: &[b"BusyBox v", b"applet not found"],
    },
    Kind {
        content: Content::Multicall("toybox"),
        markers: &[b"Toybox %s multicall binary"],
    },
    Kind {
        content: Content::Shell("bash"),
        markers: &[b"@(#)Bash version", b"getopts\0", b"OPTIND\0"],
    },
    Kind {
        content: Content::Shell("zsh"),
        markers: &[b"ZSH_VERSION\0", b"getopts\0", b"OPTIND\0"],
    },
    Kind {
        content: Content::Shell("ksh"),
        markers: &[b"KSH_VERSION", b"getopts\0", b"OPTIND\0"],
    },
    Kind {
        content: Content::Shell("csh"),
        markers: &[b"/etc/csh.login\0"],
    },
    Kind {
        content: Content::Shell("fish"),
        markers: &[b"fish_default_key_bindings", b"FISH_DEBUG"],
    },
    Kind {
        content: Content::Shell("yash"),
        markers: &[b"YASH_LOADPATH", b"getopts\0"],
    },
    // The special built-ins and variables that POSIX demands of any shell (XCU 2.5.3, 2.14).
    Kind {
        content: Content::Shell("POSIX shell"),
        markers: &[
            b"getopts\0",
            b"OPTIND\0",
            b"umask\0",
            b"trap\0",
            b"readonly\0",
        ],
    },
];

/// A file by what its owner can't choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    device: u32,
    inode: u64,
    size: u64,
    ctime_s: u64,
    ctime_ns: u32,
}

impl From<&record::File> for FileKey {
    fn from(file: &record::File) -> Self {
        Self {
            device: file.device,
            inode: file.inode,
            size: file.size,
            ctime_s: file.ctime_s,
            ctime_ns: file.ctime_ns,
        }
    }
}

/// An executable whose content is known, or whose file is open to be searched.
#[derive(Debug)]
pub enum Candidate {
    /// Searched before.
    Known(Content),
    /// Open.
    Open(FileKey, File),
    /// Not to be had, for this reason.
    Lost(String),
}

/// Recognises executables, and remembers them.
#[derive(Debug)]
pub struct Inspector {
    known: Mutex<LruCache<FileKey, Content>>,
}

impl Default for Inspector {
    fn default() -> Self {
        Self {
            known: Mutex::new(LruCache::new(CACHED)),
        }
    }
}

impl Inspector {
    /// Looks an executable up, or opens it: cheap, and to be called while the process lives. `init` is the first
    /// process of its container.
    #[must_use]
    pub fn candidate(&self, process: &Process, init: Option<ProcessKey>) -> Candidate {
        let file = &process.program.file;
        let key = FileKey::from(file);
        if let Some(content) = self.lock().get(&key) {
            return Candidate::Known(content.clone());
        }
        if !LOCAL_FILESYSTEMS.contains(&file.filesystem) {
            return Candidate::Lost(format!(
                "its filesystem ({:#x}) may not answer",
                file.filesystem
            ));
        }
        let own = File::open(format!("/proc/{}/exe", process.key.pid))
            .and_then(|opened| same_file(opened, file));
        match own {
            Ok(opened) => Candidate::Open(key, opened),
            Err(gone) => match init.map(|init| open_below_root_of(init, process)) {
                Some(Ok(opened)) => Candidate::Open(key, opened),
                Some(Err(error)) => Candidate::Lost(format!("the process is gone, and {error}")),
                None => Candidate::Lost(gone.to_string()),
            },
        }
    }

    /// What a candidate is; searches the file where that has not been done.
    pub fn content(&self, candidate: Candidate) -> Content {
        match candidate {
            Candidate::Known(content) => content,
            Candidate::Lost(reason) => Content::Unreadable(reason),
            Candidate::Open(key, file) => match search(file) {
                Ok(content) => {
                    self.lock().put(key, content.clone());
                    content
                }
                Err(error) => Content::Unreadable(error.to_string()),
            },
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<FileKey, Content>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands the file back when it is the one of the record. The device is not compared: overlayfs shows another one to
/// stat(2) than its superblock has.
fn same_file(opened: File, expected: &record::File) -> io::Result<File> {
    let metadata = opened.metadata()?;
    if metadata.is_file() && metadata.ino() == expected.inode && metadata.size() == expected.size {
        Ok(opened)
    } else {
        Err(io::Error::other("another file has its place by now"))
    }
}

/// Opens the executable of a process that is gone, as seen from the root directory of its container. Links in the
/// container's tree can't lead out of it.
fn open_below_root_of(init: ProcessKey, process: &Process) -> io::Result<File> {
    let root = File::open(format!("/proc/{}/root", init.pid))?;
    if procfs::start_ticks(init.pid) != Some(init.start_ticks) {
        return Err(io::Error::other(
            "its container's first process is gone too",
        ));
    }
    let opened = openat2(
        &root,
        &process.program.exe,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    same_file(File::from(opened), &process.program.file)
}

/// Searches a file for the markers of every kind.
fn search(file: File) -> io::Result<Content> {
    let mut found: Vec<Vec<bool>> = KINDS
        .iter()
        .map(|kind| vec![false; kind.markers.len()])
        .collect();
    let mut file = file.take(MAX_SEARCHED);
    let mut buffer = vec![0; OVERLAP + CHUNK];
    let mut kept = 0;
    loop {
        let read = read_full(&mut file, &mut buffer[kept..])?;
        if read == 0 {
            break;
        }
        let filled = kept + read;
        for (kind, found) in KINDS.iter().zip(&mut found) {
            for (marker, found) in kind.markers.iter().zip(found) {
                *found = *found || memmem::find(&buffer[..filled], marker).is_some();
            }
        }
        kept = filled.min(OVERLAP);
        buffer.copy_within(filled - kept..filled, 0);
    }
    Ok(KINDS
        .into_iter()
        .zip(found)
        .find(|(_, found)| found.iter().all(|found| *found))
        .map_or(Content::Other, |(kind, _)| kind.content))
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, path::Path};

    use super::*;

    fn content_of(path: &Path) -> Content {
        search(File::open(path).expect("readable")).expect("searched")
    }

    #[test]
    fn the_shells_of_this_host_are_recognised_under_any_name() {
        let directory = tempfile::tempdir().expect("temporary directory");
        for (path, expected) in [
            ("/bin/bash", Content::Shell("bash")),
            ("/bin/dash", Content::Shell("POSIX shell")),
            ("/bin/busybox", Content::Multicall("busybox")),
        ] {
            if !Path::new(path).exists() {
                continue;
            }
            let copy = directory.path().join("nginx");
            fs::copy(path, &copy).expect("copied");
            assert_eq!(content_of(&copy), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_shell_is_not_one() {
        for path in ["/bin/ls", "/usr/bin/make", "/bin/cat"] {
            if Path::new(path).exists() {
                assert_eq!(content_of(Path::new(path)), Content::Other, "{path}");
            }
        }
    }

    #[test]
    fn markers_are_found_across_the_border_of_two_chunks() {
        let marker = KINDS[1].markers[0];
        for before in [CHUNK - 3, CHUNK + OVERLAP - 3, CHUNK + OVERLAP] {
            let mut file = tempfile::tempfile().expect("temporary file");
            file.write_all(&vec![b'x'; before]).expect("written");
            file.write_all(marker).expect("written");
            let mut again = file.try_clone().expect("cloned");
            io::Seek::rewind(&mut again).expect("rewound");
            assert_eq!(
                search(again).expect("searched"),
                Content::Multicall("toybox"),
                "{before}"
            );
        }
    }

    #[test]
    fn no_marker_is_longer_than_what_is_kept_between_chunks() {
        for kind in &KINDS {
            assert!(kind.markers.iter().all(|marker| marker.len() <= OVERLAP));
        }
    }
}
