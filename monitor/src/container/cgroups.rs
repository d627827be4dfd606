//! The cgroups of the watched hierarchy: their paths, and the containers they lie in. A removed one stays known for a
//! while, because records of its last processes are on the way.

use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
};

use super::model::Container;

/// Most cgroups that are kept; processes of others are found through their container's slot.
pub const MAX_CGROUPS: usize = 65_536;
/// How long a removed cgroup stays known, in nanoseconds.
const TOMBSTONE_NS: u64 = 60_000_000_000;
/// How many removed ones stay known for as long as that; those that are more stay for [`SHORT_NS`]. Each keeps its container.
const MAX_REMOVED: usize = 4_096;
/// How long each removed cgroup stays known, in nanoseconds, unless there are more than [`MAX_CGROUPS`] in all.
const SHORT_NS: u64 = 10_000_000_000;
/// Deepest directory that a walk enters.
const MAX_DEPTH: usize = 32;

/// What is known of a cgroup.
#[derive(Clone, Debug)]
pub struct Cgroup {
    /// Path from the root of the hierarchy.
    pub path: Arc<str>,
    /// The container it is the own cgroup of, or lies in.
    pub container: Option<Arc<Container>>,
    /// When it was removed.
    removed_ns: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Cgroups {
    known: HashMap<u64, Cgroup>,
    /// Those that were removed, with the time, the earliest first. May name some that are gone.
    removed: VecDeque<(u64, u64)>,
}

impl Cgroups {
    /// A cgroup by its id.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Cgroup> {
        self.known.get(&id)
    }

    /// How many there are, removed ones that are still kept included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Cgroup> {
        self.known.values()
    }

    /// Those that were not removed: ids and paths.
    pub fn present(&self) -> impl Iterator<Item = (u64, &str)> {
        let present = self
            .known
            .iter()
            .filter(|(_, cgroup)| cgroup.removed_ns.is_none());
        present.map(|(id, cgroup)| (*id, &*cgroup.path))
    }

    /// Notes one. At the ceiling the earliest removed makes room; where there is none, the new one is not kept.
    pub fn insert(&mut self, id: u64, path: &str, container: Option<Arc<Container>>) {
        while self.known.len() >= MAX_CGROUPS
            && let Some((_, gone)) = self.removed.pop_front()
        {
            self.known.remove(&gone);
        }
        if self.known.len() < MAX_CGROUPS {
            let cgroup = Cgroup {
                path: path.into(),
                container,
                removed_ns: None,
            };
            self.known.insert(id, cgroup);
        }
    }

    /// Notes that one was removed.
    pub fn removed(&mut self, id: u64, now_ns: u64) {
        if let Some(cgroup) = self.known.get_mut(&id) {
            cgroup.removed_ns = Some(now_ns);
            self.removed.push_back((now_ns, id));
        }
    }

    /// Lets go of those that were removed some time ago, and the sooner the more they are.
    pub fn sweep(&mut self, now_ns: u64) {
        while let Some((removed, id)) = self.removed.front().copied() {
            let kept = if self.removed.len() > MAX_REMOVED {
                SHORT_NS
            } else {
                TOMBSTONE_NS
            };
            if removed.saturating_add(kept) > now_ns {
                break;
            }
            self.removed.pop_front();
            if self
                .known
                .get(&id)
                .is_some_and(|cgroup| cgroup.removed_ns == Some(removed))
            {
                self.known.remove(&id);
            }
        }
    }
}

/// Reads the directory tree of a hierarchy: ids and paths, each cgroup after the one above it. A directory that
/// disappears meanwhile is left out.
///
/// # Errors
/// When the root can't be read.
pub fn walk(mount: &Path) -> io::Result<Vec<(u64, String)>> {
    let mut found = vec![(fs::metadata(mount)?.ino(), "/".to_owned())];
    walk_below(mount, "", 0, &mut found);
    Ok(found)
}

fn walk_below(directory: &Path, path: &str, depth: usize, found: &mut Vec<(u64, String)>) {
    if depth >= MAX_DEPTH {
        return;
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            let path = format!("{path}/{}", entry.file_name().to_string_lossy());
            found.push((metadata.ino(), path.clone()));
            walk_below(&entry.path(), &path, depth + 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_one_is_known_for_its_last_records() {
        let mut cgroups = Cgroups::default();
        cgroups.insert(10, "/a", None);
        assert_eq!(cgroups.present().next(), Some((10, "/a")));
        cgroups.removed(10, 5);
        cgroups.sweep(5 + TOMBSTONE_NS / 2);
        assert!(cgroups.get(10).is_some());
        assert_eq!(cgroups.present().count(), 0);
        cgroups.sweep(5 + TOMBSTONE_NS);
        assert!(cgroups.get(10).is_none());
    }

    #[test]
    fn many_removed_ones_are_known_for_a_shorter_time() {
        let mut cgroups = Cgroups::default();
        let count = MAX_REMOVED as u64 + 10;
        for id in 0..count {
            cgroups.insert(id, "/x", None);
            cgroups.removed(id, id);
        }
        cgroups.sweep(SHORT_NS - 1);
        assert_eq!(cgroups.count() as u64, count);
        cgroups.sweep(SHORT_NS + count);
        assert_eq!(cgroups.count(), MAX_REMOVED);
        assert!(cgroups.get(9).is_none() && cgroups.get(10).is_some());
    }

    #[test]
    fn removed_ones_make_room_for_new_ones_and_living_ones_do_not() {
        let mut cgroups = Cgroups::default();
        for id in 0..MAX_CGROUPS as u64 {
            cgroups.insert(id, "/x", None);
        }
        let next = MAX_CGROUPS as u64;
        cgroups.insert(next, "/y", None);
        assert!(cgroups.get(next).is_none(), "all of them live");
        cgroups.removed(7, 1);
        cgroups.insert(next, "/y", None);
        assert!(cgroups.get(next).is_some() && cgroups.get(7).is_none());
        assert_eq!(cgroups.iter().count(), MAX_CGROUPS);
    }

    #[test]
    fn a_walk_names_each_directory_with_its_inode() {
        let root = tempfile::tempdir().expect("temporary directory");
        fs::create_dir_all(root.path().join("a/b")).expect("created");
        fs::write(root.path().join("cgroup.procs"), "").expect("written");
        let found = walk(root.path()).expect("read");
        let paths: Vec<&str> = found.iter().map(|(_, path)| path.as_str()).collect();
        assert_eq!(paths, ["/", "/a", "/a/b"]);
        let inode = fs::metadata(root.path().join("a/b")).expect("there").ino();
        assert_eq!(found[2].0, inode);
        assert!(walk(Path::new("/nonexistent")).is_err());
    }
}
