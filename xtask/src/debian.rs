//! An image of Debian with real servers, schedulers, compilers and a miner, in a store that podman and buildah read: what healthy
//! containers of the tests run, and one that is not.
//!
//! Made once and kept in the cache. Packages come from the mirror that the host's apt uses, nothing is installed on the host but
//! the program that makes root filesystems, and the containers that use the image need no network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{archive, command, kept, packages, paths};

/// The variable that tells the end-to-end tests where the store is.
pub(crate) const STORE: &str = "WATCHKEEPER_DEBIAN";

/// The image's name in the store.
const NAME: &str = "localhost/watchkeeper-debian:1";

const SUITE: &str = "bookworm";

/// What healthy workloads run, and a miner.
const INSTALLED: [&str; 19] = [
    "apache2-utils",
    "cron",
    "curl",
    "dbus",
    "dpkg-dev",
    "fakeroot",
    "gcc",
    "git",
    "iproute2",
    "iptables",
    "libc6-dev",
    "logrotate",
    "make",
    "monero",
    "nginx-light",
    "postgresql-15",
    "procps",
    "rsyslog",
    "systemd-sysv",
];

/// What builds of images install: a service with a user and keys of its own, and a program that is setuid. They lie in
/// `/srv/packages` of the image, as a repository for apt.
const INSTALLABLE: &str = "openssh-server sudo";

/// Run by the maker of the root filesystem, with its path as the argument.
const REPOSITORY: &str = r#"
packages="$1/srv/packages"
mkdir -p "$packages/partial"
chroot "$1" apt-get -q -y --no-install-recommends --download-only -o APT::Sandbox::User=root \
    -o Dir::Cache::archives=/srv/packages install PACKAGES
rm -r "$packages/partial" "$packages/lock"
for file in "$packages"/*.deb; do
    dpkg-deb --field "$file"
    echo "Filename: ./$(basename "$file")"
    echo "Size: $(stat --format %s "$file")"
    echo "SHA256: $(sha256sum <"$file" | cut -d' ' -f1)"
    echo
done >"$packages/Packages"
"#;

/// Bytes that a root filesystem and its archive need together.
const ROOM: u64 = 3 << 30;

/// The directory of the store, for podman's option `--storage-opt overlay.imagestore=…`. Needs root.
pub(crate) fn store(purpose: &str) -> Result<PathBuf> {
    let directory = paths::cache("debian")?;
    let store = directory.join("store");
    let recipe = format!("{NAME} {SUITE} {INSTALLED:?} {INSTALLABLE} {REPOSITORY}");
    kept::once(&directory, &recipe, || {
        packages::ensure(&["mmdebstrap", "podman", "runc"], purpose)?;
        println!(
            "making an image of Debian in {}: needed to {purpose}",
            directory.display()
        );
        fs::create_dir(&store).with_context(|| format!("could not make {}", store.display()))?;
        let work = workplace(&directory);
        let archive = work.join(format!("watchkeeper-debian-{}.tar", std::process::id()));
        let made = make(&archive, &work).and_then(|()| import(&archive, &store));
        // In the way of nothing but space; there is none to remove where it could not be made.
        let _ = fs::remove_file(&archive);
        made
    })?;
    Ok(store)
}

/// Where a root filesystem is filled: in memory where there is room, as dpkg waits for the disk after each file.
fn workplace(otherwise: &Path) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = nix::sys::statvfs::statvfs(memory)
        .map_or(0, |found| found.blocks_available() * found.fragment_size());
    if room >= ROOM { memory } else { otherwise }.to_owned()
}

/// Makes a root filesystem, as an archive.
fn make(archive: &Path, work: &Path) -> Result<()> {
    let hook = REPOSITORY.replace("PACKAGES", INSTALLABLE);
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.env("TMPDIR", work).args([
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        "--format=tar",
        "--dpkgopt=force-unsafe-io",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--aptopt=Acquire::Languages \"none\"",
    ]);
    mmdebstrap.arg(format!("--include={}", INSTALLED.join(",")));
    mmdebstrap.arg(format!("--customize-hook=set -eu{hook}"));
    mmdebstrap.arg(SUITE).arg(archive).arg(archive::mirror()?);
    command::run(&mut mmdebstrap, "make a root filesystem of Debian")
}

/// Puts it into the store as an image.
fn import(archive: &Path, store: &Path) -> Result<()> {
    let mut podman = Command::new("podman");
    podman.arg("--root").arg(store);
    podman.arg("--runroot").arg(store.with_file_name("run"));
    podman.args(["--storage-driver=overlay", "import", "--quiet"]);
    podman.arg(archive).arg(NAME);
    command::run(&mut podman, "make an image of Debian")
}
