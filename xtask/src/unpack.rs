//! Programs from Debian packages without installing them: unpacked in the cache with the libraries that are missing here.
//!
//! For programs that a developer's machine may have in another version: an installed package could only be had by
//! changing or removing what is there. Needs no root once apt has its lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{command, packages, paths};

/// The directory below which `package` has its files: `/` where it is installed, else one in the cache.
pub(crate) fn root(package: &str, purpose: &str) -> Result<PathBuf> {
    if packages::missing(&[package])?.is_empty() {
        return Ok(PathBuf::from("/"));
    }
    let directory = paths::cache(Path::new("packages").join(package))?;
    let complete = directory.join("complete");
    if complete.exists() {
        return Ok(directory);
    }
    if !command::exists("apt-get") {
        bail!(
            "needed to {purpose}: {package} (Debian's name), and there is no apt-get here to get it with"
        );
    }
    println!(
        "unpacking {package} in {}: needed to {purpose}",
        directory.display()
    );
    let plan = match plan(package) {
        Ok(plan) => plan,
        // Lists that were never fetched, or are too old.
        Err(_) => {
            packages::update(purpose)?;
            plan(package)?
        }
    };
    let mut download = apt_get();
    download.arg("download").args(&plan).current_dir(&directory);
    command::run(
        &mut download,
        &format!("download {package} and what it needs"),
    )?;
    extract(&directory).with_context(|| format!("could not unpack {package}"))?;
    // Written last: what a broken-off run left is not taken for a program.
    fs::write(&complete, "").with_context(|| format!("could not write {}", complete.display()))?;
    Ok(directory)
}

/// What apt would install for `package`, as `name=version`. Nothing is changed.
fn plan(package: &str) -> Result<Vec<String>> {
    let mut simulation = apt_get();
    simulation.args(["--simulate", "--no-install-recommends", "install", package]);
    let text = command::output(&mut simulation, &format!("find out what {package} needs"))?;
    Ok(new_packages(&text))
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.arg("-q");
    if command::is_root() {
        // The files are ours: no other user must be able to write them.
        apt.args(["-o", "APT::Sandbox::User=root"]);
    }
    apt
}

/// New packages in the answer of `apt-get --simulate`; upgrades of installed ones (`Inst name [old] (new …)`) are not.
fn new_packages(simulation: &str) -> Vec<String> {
    let package = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
        let version = rest.split_whitespace().next()?;
        (!name.contains('[')).then(|| format!("{name}={version}"))
    };
    simulation.lines().filter_map(package).collect()
}

/// Unpacks the package files in `directory` there, and removes them.
fn extract(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut dpkg = Command::new("dpkg-deb");
            dpkg.arg("--extract").arg(&path).arg(directory);
            command::run(&mut dpkg, "unpack a package")?;
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_packages_are_unpacked() {
        let simulation = "The following packages will be REMOVED:\n  qemu-utils\n\
                          Remv qemu-utils [1:10.0.2]\n\
                          Inst libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n\
                          Inst libc6 [2.36-8] (2.36-9 Debian:12.15/oldstable [amd64])\n\
                          Conf libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n";
        assert_eq!(new_packages(simulation), ["libfdt1=1.6.1-4+b1"]);
    }
}
