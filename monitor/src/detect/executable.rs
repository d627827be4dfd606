//! What an executable is, by its content: a shell stays a shell under any name.
//!
//! A shell has to know the words of its language, and a multi-call binary those of its own; both are searched for
//! in the file. The answer is kept by the file's identity (device, inode, size, change time), which a container can't
//! give to another file.
//!
//! The file is taken hold of while its process lives, without asking its filesystem (`O_PATH`); a process that is
//! gone has its file looked for below the root directory of its container. It is opened and searched on the detection
//! thread. How many files of one container may wait for that is limited, and each is searched once.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read as _},
    num::NonZeroUsize,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use aho_corasick::AhoCorasick;
use lru::LruCache;
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags, ResolveFlags, open, openat2},
};
use watchkeeper_ebpf::record;

use crate::process::{
    execution::{Process, ProcessKey},
    procfs,
};

/// Most files whose content is remembered.
pub(super) const CACHED: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");
/// Most bytes of a file that are searched; the largest shell known has 2 MiB.
const MAX_SEARCHED: u64 = 16 << 20;
/// Bytes that are searched at a time.
const CHUNK: usize = 256 << 10;
/// The longest marker.
const OVERLAP: usize = 64;

/// Files that may wait to be searched: of all containers, and of one.
const MAX_HELD: usize = 256;
const MAX_HELD_OF_CONTAINER: usize = 16;

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
    /// A program that mines a currency, of this name.
    Miner(&'static str),
    /// Something else.
    Other,
    /// It could not be read, for this reason.
    Unreadable(String),
}

/// A kind of executable, recognised when all its markers are in the file.
struct Kind {
    content: Content,
    markers: Vec<Vec<u8>>,
}

/// Miners, by what their files hold. The markers are written backwards, so that the agent's own file does not hold them: it is the
/// file of a process in a container, too.
const MINERS: [(&str, &[&str]); 4] = [
    (
        "XMRig",
        &["moc.girmx.2v.etanod", "level-etanod--", "xmodnar"],
    ),
    (
        "cpuminer",
        &["//:pct+mutarts", "tpyrcs", "dlohserht-hsah--"],
    ),
    ("ethminer", &["//:pct+1mutarts", "hsahte", "sretupmoc"]),
    (
        "a client of mining pools",
        &["ebircsbus.gninim", "timbus.gninim", "//:pct+mutarts"],
    ),
];

/// In the order to try.
static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let miners = MINERS.iter().map(|(name, markers)| Kind {
        content: Content::Miner(name),
        markers: markers
            .iter()
            .map(|marker| marker.bytes().rev().collect())
            .collect(),
    });
    let shells = SHELLS.iter().map(|(content, markers)| Kind {
        content: content.clone(),
        markers: markers.iter().map(|marker| marker.to_vec()).collect(),
    });
    miners.chain(shells).collect()
});

/// Shells and what may be one.
const SHELLS: [(Content, &[&[u8]]); 9] = [
    (
        Content::Multicall("busybox"),
        &[b"BusyBox v", b"applet not found"],
    ),
    (
        Content::Multicall("toybox"),
        &[b"Toybox %s multicall binary"],
    ),
    (
        Content::Shell("bash"),
        &[b"@(#)Bash version", b"getopts\0", b"OPTIND\0"],
    ),
    (
        Content::Shell("zsh"),
        &[b"ZSH_VERSION\0", b"getopts\0", b"OPTIND\0"],
    ),
    (
        Content::Shell("ksh"),
        &[b"KSH_VERSION", b"getopts\0", b"OPTIND\0"],
    ),
    (Content::Shell("csh"), &[b"/etc/csh.login\0"]),
    (
        Content::Shell("fish"),
        &[b"fish_default_key_bindings", b"FISH_DEBUG"],
    ),
    (Content::Shell("yash"), &[b"YASH_LOADPATH", b"getopts\0"]),
    // The special built-ins and variables that POSIX demands of any shell (XCU 2.5.3, 2.14).
    (
        Content::Shell("POSIX shell"),
        &[
            b"getopts\0",
            b"OPTIND\0",
            b"umask\0",
            b"trap\0",
            b"readonly\0",
        ],
    ),
];

/// The markers of all kinds, one after the other.
static MARKERS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::new(KINDS.iter().flat_map(|kind| &kind.markers))
        .expect("a few dozen short patterns are within every limit")
});

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

/// An executable whose content is known, or can be found out.
#[derive(Debug)]
pub enum Candidate {
    /// Searched before.
    Known(Content),
    /// Taken hold of, to be searched.
    Held(Held),
    /// Waits to be searched, for a process that came before.
    Waiting(FileKey),
    /// Not to be had, for this reason.
    Lost(String),
}

/// A file that is held by an `O_PATH` descriptor.
#[derive(Debug)]
pub struct Held {
    key: FileKey,
    file: OwnedFd,
    expected: record::File,
    slot: u32,
}

/// Recognises executables, and remembers them.
#[derive(Debug)]
pub struct Inspector {
    known: Mutex<LruCache<FileKey, Content>>,
    /// How many of them there are.
    remembered: AtomicUsize,
    held: Mutex<HeldFiles>,
}

/// What waits to be searched.
#[derive(Debug, Default)]
struct HeldFiles {
    keys: HashSet<FileKey>,
    by_container: HashMap<u32, usize>,
}

impl Default for Inspector {
    fn default() -> Self {
        Self {
            known: Mutex::new(LruCache::new(CACHED)),
            remembered: AtomicUsize::new(0),
            held: Mutex::default(),
        }
    }
}

impl Inspector {
    /// Looks an executable up, or takes hold of it: cheap, and to be called while the process lives. `slot` is that of
    /// its container, `init` the container's first process.
    #[must_use]
    pub fn candidate(&self, process: &Process, slot: u32, init: Option<ProcessKey>) -> Candidate {
        let file = &process.program.file;
        let key = FileKey::from(file);
        if let Some(content) = lock(&self.known).get(&key) {
            return Candidate::Known(content.clone());
        }
        if !LOCAL_FILESYSTEMS.contains(&file.filesystem) {
            return Candidate::Lost(format!(
                "its filesystem ({:#x}) may not answer",
                file.filesystem
            ));
        }
        let mut held = lock(&self.held);
        if held.keys.contains(&key) {
            return Candidate::Waiting(key);
        }
        let waiting = held.by_container.get(&slot).copied().unwrap_or(0);
        if held.keys.len() >= MAX_HELD || waiting >= MAX_HELD_OF_CONTAINER {
            return Candidate::Lost("too many files wait to be looked at".to_owned());
        }
        let taken = open(
            format!("/proc/{}/exe", process.key.pid),
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(io::Error::from)
        .or_else(|gone| match init {
            Some(init) => find_below_root_of(init, process),
            None => Err(gone),
        });
        match taken {
            Ok(taken) => {
                held.keys.insert(key);
                *held.by_container.entry(slot).or_default() += 1;
                Candidate::Held(Held {
                    key,
                    file: taken,
                    expected: *file,
                    slot,
                })
            }
            Err(error) => Candidate::Lost(format!("the process is gone: {error}")),
        }
    }

    /// How many executables are remembered.
    pub(super) fn len(&self) -> usize {
        self.remembered.load(Ordering::Relaxed)
    }

    /// What a candidate is; searches the file where that has not been done.
    pub fn content(&self, candidate: Candidate) -> Content {
        match candidate {
            Candidate::Known(content) => content,
            Candidate::Lost(reason) => Content::Unreadable(reason),
            // Candidates come in order, so the one that held the file has been here.
            Candidate::Waiting(key) => lock(&self.known).get(&key).cloned().unwrap_or_else(|| {
                Content::Unreadable("it could not be read a moment ago".to_owned())
            }),
            Candidate::Held(held) => {
                let (content, is_expected) = match inspect(&held) {
                    Ok(found) => found,
                    Err(error) => (Content::Unreadable(error.to_string()), false),
                };
                let unreadable = matches!(content, Content::Unreadable(_));
                if is_expected && !unreadable {
                    let mut known = lock(&self.known);
                    known.put(held.key, content.clone());
                    self.remembered.store(known.len(), Ordering::Relaxed);
                }
                self.release(&held);
                content
            }
        }
    }

    /// Lets go of a candidate that will not be looked at.
    pub fn discard(&self, candidate: Candidate) {
        if let Candidate::Held(held) = candidate {
            self.release(&held);
        }
    }

    fn release(&self, held: &Held) {
        let mut files = lock(&self.held);
        files.keys.remove(&held.key);
        if let Some(count) = files.by_container.get_mut(&held.slot) {
            *count -= 1;
            if *count == 0 {
                files.by_container.remove(&held.slot);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens and searches a held file. The second value says whether it certainly still is what the kernel saw, so that the
/// answer may be kept. The device is not compared: overlayfs shows another one to stat(2) than its superblock has.
fn inspect(held: &Held) -> io::Result<(Content, bool)> {
    let opened = open(
        format!("/proc/self/fd/{}", held.file.as_raw_fd()),
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        Mode::empty(),
    )?;
    let file = File::from(opened);
    let metadata = file.metadata()?;
    let expected = &held.expected;
    if !metadata.is_file() || metadata.ino() != expected.inode || metadata.size() != expected.size {
        return Err(io::Error::other("another file has its place by now"));
    }
    let unchanged = u64::try_from(metadata.ctime()) == Ok(expected.ctime_s)
        && u32::try_from(metadata.ctime_nsec()) == Ok(expected.ctime_ns);
    Ok((search(file)?, unchanged))
}

/// Finds the executable of a process that is gone, as seen from the root directory of its container: on the
/// container's own root filesystem, which links in its tree can't lead out of.
fn find_below_root_of(init: ProcessKey, process: &Process) -> io::Result<OwnedFd> {
    let root = open(
        format!("/proc/{}/root", init.pid),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if procfs::start_ticks(init.pid) != Some(init.start_ticks) {
        return Err(io::Error::other(
            "its container's first process is gone too",
        ));
    }
    let found = openat2(
        &root,
        &process.program.exe,
        OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
    )?;
    Ok(found)
}

/// Searches a file for the markers of every kind, in one pass.
fn search(file: File) -> io::Result<Content> {
    let mut found = vec![false; MARKERS.patterns_len()];
    let mut file = file.take(MAX_SEARCHED + 1);
    let mut buffer = vec![0; OVERLAP + CHUNK];
    let mut kept = 0;
    loop {
        let read = read_full(&mut file, &mut buffer[kept..])?;
        if read == 0 {
            break;
        }
        let filled = kept + read;
        for marker in MARKERS.find_overlapping_iter(&buffer[..filled]) {
            found[marker.pattern().as_usize()] = true;
        }
        kept = filled.min(OVERLAP);
        buffer.copy_within(filled - kept..filled, 0);
    }
    let mut found = found.into_iter();
    for kind in KINDS.iter() {
        // All of them, and not only up to the first that is missing: the next kind's follow.
        let of_kind: Vec<bool> = found.by_ref().take(kind.markers.len()).collect();
        if of_kind.iter().all(|found| *found) {
            return Ok(kind.content.clone());
        }
    }
    if file.limit() == 0 {
        return Ok(Content::Unreadable(format!(
            "it has more than the {MAX_SEARCHED} bytes that are searched"
        )));
    }
    Ok(Content::Other)
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
        let marker = SHELLS[1].1[0];
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
        for kind in KINDS.iter() {
            assert!(kind.markers.iter().all(|marker| marker.len() <= OVERLAP));
        }
    }
}
