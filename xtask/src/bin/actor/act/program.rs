//! What a process changes of itself, and its memory.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use serde_json::{Value, json};

use super::facts::offered;
use super::host::Outside;
use super::{Action, Inside, sys};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("memfd-create", "Makes a file in memory", memfd),
    Action::new("userfaultfd", "Asks to handle its own page faults", |_| {
        let flags = usize::try_from(libc::O_CLOEXEC)?;
        // SAFETY: it takes a number.
        let made = unsafe { sys::call(libc::SYS_userfaultfd, [flags]) };
        // SAFETY: the call just returned it.
        drop(unsafe { sys::descriptor(offered(made, "userfaultfd")?) }?);
        Ok(json!({"call": "userfaultfd"}))
    }),
    Action::new("prctl-name", "Names itself as a kernel thread", |_| {
        const NAME: &str = "kworker/0:1-ev";
        let name = sys::text(NAME)?;
        // SAFETY: the name is a text.
        let done = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
        Errno::result(done).context("could not set a name")?;
        Ok(json!({"call": "prctl", "option": "PR_SET_NAME", "name": NAME}))
    }),
    Action::new("prctl-dumpable", "Hides its memory from others", |_| {
        // SAFETY: it takes numbers.
        let done = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
        Errno::result(done).context("could not change whether it is dumpable")?;
        Ok(json!({"call": "prctl", "option": "PR_SET_DUMPABLE", "argument": 0}))
    }),
    Action::new("cgroup-create", "Makes a cgroup inside its own", |inside| {
        let path = format!("{}/inside", inside.get("cgroup")?);
        fs::create_dir(&path).with_context(|| format!("could not make {path}"))?;
        let inode = fs::metadata(&path)?.ino();
        fs::remove_dir(&path).with_context(|| format!("could not remove {path}"))?;
        Ok(json!({"path": path, "id": inode}))
    }),
    Action::new("cgroup-leave", "Moves itself to another cgroup", |inside| {
        let other = inside.get("other")?;
        let inode = fs::metadata(other)?.ino();
        let door = format!("{other}/cgroup.procs");
        fs::write(&door, "0").with_context(|| format!("could not write to {door}"))?;
        Ok(json!({"path": other, "id": inode}))
    })
    .with(Outside::Cgroup),
    Action::new("cpu-burn", "Computes for three seconds", |_| {
        let begin = Instant::now();
        let mut number = 1_u64;
        while begin.elapsed() < Duration::from_secs(3) {
            for _ in 0..100_000 {
                number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005));
            }
        }
        Ok(json!({"seconds": 3}))
    }),
];

fn memfd(_: &Inside) -> Result<Value> {
    const NAME: &str = "watchkeeper-memory";
    let name = sys::text(NAME)?;
    // SAFETY: the name is a text.
    let made = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    let made = Errno::result(made).map_err(Into::into);
    let made = offered(made, "could not make a memfd")?;
    // SAFETY: the call just returned it.
    let memory = fs::File::from(unsafe { sys::descriptor(made.into()) }?);
    let inode = memory.metadata()?.ino();
    Ok(json!({
        "call": "memfd_create", "name": NAME, "inode": inode, "flags": libc::MFD_CLOEXEC,
    }))
}
