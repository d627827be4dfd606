//! Debian's cloud kernels, by series: fetched once, kept in the cache, never installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::archive::Archive;
use crate::paths;

/// A kernel that can be booted.
pub(crate) struct Kernel {
    /// What was asked for, such as `5.10`.
    pub(crate) series: String,
    /// The exact release, such as `5.10.0-32-cloud-amd64`.
    pub(crate) release: String,
    /// The compressed image.
    pub(crate) image: PathBuf,
    /// Modules that a test may need.
    pub(crate) modules: Vec<PathBuf>,
    /// Those that a disk takes, in the order in which they are loaded.
    pub(crate) disk_modules: Vec<PathBuf>,
}

/// Holds the release, once everything is there; the number grows when more is kept.
const RELEASE_FILE: &str = "release-3";

/// Modules that a test may need: of filesystems, sockets and devices that a kernel may also have built in, and one to be
/// loaded for the sake of it.
const MODULES: [&str; 7] = [
    "overlay",
    "nfnetlink",
    "af_alg",
    "vsock",
    "loop",
    "binfmt_misc",
    "dummy",
];

/// Modules that a disk of QEMU with a filesystem takes; kernels have some of them built in, and not all have each.
const DISK_MODULES: [&str; 12] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "crc16",
    "crc32c_generic",
    "libcrc32c",
    "mbcache",
    "jbd2",
    "ext4",
];

/// Names that a module's file may have.
fn file_names(module: &str) -> [String; 2] {
    [format!("{module}.ko"), format!("{module}.ko.xz")]
}

impl Kernel {
    /// The newest cloud kernel of a series, out of the cache or from Debian's archive.
    pub(crate) fn get(series: &str) -> Result<Self> {
        if !is_series(series) {
            bail!("`{series}` is no kernel series; give two numbers, such as 5.10 or 7.3");
        }
        let directory = paths::cache(Path::new("kernels").join(series))?;
        let release_file = directory.join(RELEASE_FILE);
        let release = match fs::read_to_string(&release_file) {
            Ok(release) => release,
            Err(_) => {
                let release = fetch(series, &directory).with_context(|| {
                    format!("could not get a kernel of the {series} series from Debian")
                })?;
                // Written last: what a broken-off fetch left is not taken for a kernel.
                fs::write(&release_file, &release)
                    .with_context(|| format!("could not write {}", release_file.display()))?;
                release
            }
        };
        let kept = |modules: &[&str]| {
            let names = modules.iter().flat_map(|name| file_names(name));
            let paths = names.map(|name| directory.join(name));
            paths.filter(|path| path.exists()).collect()
        };
        Ok(Self {
            series: series.to_owned(),
            release,
            image: directory.join("vmlinuz"),
            modules: kept(&MODULES),
            disk_modules: kept(&DISK_MODULES),
        })
    }
}

/// Downloads image and modules into `directory`; returns the release.
fn fetch(series: &str, directory: &Path) -> Result<String> {
    let archive = Archive::open(suite(series))?;
    let find = || -> Result<Option<Package>> {
        let mut found = Vec::new();
        // From 6.19 on the image is in a package of its own, and `linux-image-…` is an empty one that needs it.
        for kind in ["linux-image-", "linux-binary-"] {
            found.extend(archive.packages(&format!("{kind}{series}."))?);
        }
        Ok(newest(&found))
    };
    let package = archive.search(find)?.with_context(|| {
        format!(
            "its suite {} has no cloud kernel of that series",
            suite(series)
        )
    })?;
    let unpacked = directory.join(format!("unpacking-{}", std::process::id()));
    let kept = keep(&archive, &package, &unpacked, directory);
    // Left-overs only take room.
    let _ = fs::remove_dir_all(&unpacked);
    kept.map(|()| package.release)
}

fn keep(archive: &Archive, package: &Package, unpacked: &Path, directory: &Path) -> Result<()> {
    archive.unpack(&package.name, &package.version, &unpacked.join("image"))?;
    let image = find_file(&unpacked.join("image"), &|name| name.starts_with("vmlinuz"))
        .with_context(|| format!("the package {} holds no vmlinuz", package.name))?;
    move_file(&image, &directory.join("vmlinuz"))?;
    let mut places = vec![unpacked.join("image")];
    if package.name.starts_with("linux-binary-") {
        let modules = format!("linux-modules-{}", package.release);
        archive.unpack(&modules, &package.version, &unpacked.join("modules"))?;
        places.push(unpacked.join("modules"));
    }
    for module in MODULES.iter().chain(&DISK_MODULES) {
        let names = file_names(module);
        let is_module = |name: &str| names.iter().any(|wanted| wanted == name);
        if let Some(file) = places.iter().find_map(|place| find_file(place, &is_module)) {
            move_file(&file, &directory.join(file.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

struct Package {
    name: String,
    version: String,
    release: String,
}

/// The newest cloud kernel among `packages`. A `linux-binary-…` wins over the `linux-image-…` of the same release.
fn newest(packages: &[(String, String)]) -> Option<Package> {
    let cloud = packages.iter().filter_map(|(name, version)| {
        let release = name
            .strip_prefix("linux-image-")
            .or_else(|| name.strip_prefix("linux-binary-"))?;
        // Neither `…-cloud-amd64-dbg` nor `unsigned-…` holds an image to boot.
        let bootable =
            release.starts_with(|c: char| c.is_ascii_digit()) && release.ends_with("-cloud-amd64");
        bootable.then(|| Package {
            name: name.clone(),
            version: version.clone(),
            release: release.to_owned(),
        })
    });
    cloud.max_by_key(|package| {
        (
            numbers(&package.release),
            package.name.starts_with("linux-binary-"),
        )
    })
}

/// The numbers in a release, in their order: `5.10.0-32` sorts behind `5.10.0-9`.
pub(crate) fn numbers(release: &str) -> Vec<u64> {
    release
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

fn is_series(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.')
        .is_some_and(|(major, minor)| number(major) && number(minor))
}

/// Where Debian has a series: three are the kernels of a release, the rest are backports.
fn suite(series: &str) -> &'static str {
    match series {
        "5.10" => "bullseye",
        "6.1" => "bookworm",
        "6.12" => "trixie",
        _ => "trixie-backports",
    }
}

fn find_file(below: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut directories = vec![below.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).ok()?.filter_map(Result::ok) {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            } else if wanted(&entry.file_name().to_string_lossy()) {
                return Some(entry.path());
            }
        }
    }
    None
}

fn move_file(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("could not move {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of_newest(names: &[&str]) -> Option<String> {
        let packages: Vec<_> = names
            .iter()
            .map(|name| ((*name).to_owned(), "1".to_owned()))
            .collect();
        newest(&packages).map(|package| package.name)
    }

    #[test]
    fn newest_is_by_number_and_cloud_only() {
        let names = [
            "linux-image-5.10.0-9-cloud-amd64",
            "linux-image-5.10.0-32-cloud-amd64",
            "linux-image-5.10.0-32-cloud-amd64-dbg",
            "linux-image-5.10.0-40-amd64",
        ];
        assert_eq!(
            name_of_newest(&names).as_deref(),
            Some("linux-image-5.10.0-32-cloud-amd64")
        );
        assert_eq!(name_of_newest(&["linux-image-5.10.0-40-amd64"]), None);
    }

    #[test]
    fn the_package_that_holds_the_image_is_taken() {
        let names = [
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
        ];
        assert_eq!(
            name_of_newest(&names).as_deref(),
            Some("linux-binary-7.3.4+deb13-cloud-amd64")
        );
    }

    #[test]
    fn a_series_is_two_numbers() {
        assert!(is_series("5.10") && is_series("7.3"));
        assert!(
            !["5", "5.", ".3", "../x", "5.10.1", "a.b"]
                .into_iter()
                .any(is_series)
        );
    }
}
