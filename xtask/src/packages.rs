//! Debian packages: makes sure that those a step needs are installed. Costs one `dpkg-query` when they are.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::command;

/// Installs those of `packages` that are missing. `purpose` completes "needed to …".
///
/// Nothing is ever removed: where a package conflicts with one that is installed, this fails and apt says which.
/// Recommended packages are left out, and the package lists are brought up to date only if apt does not know a package.
/// Services that come with a package are not started where systemd does not run; elsewhere that is the host's own policy.
pub(crate) fn ensure(packages: &[&str], purpose: &str) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !command::exists("apt-get") {
        bail!(
            "needed to {purpose}: {names} (Debian's names), and there is no apt-get here to get them with\n  \
             install the same software with this system's own package manager"
        );
    }
    if command::as_root("apt-get").is_none() {
        bail!(
            "needed to {purpose}: {names}, and installing takes root\n  \
             run as root: apt-get install --no-install-recommends {names}"
        );
    }
    println!("installing {names}: needed to {purpose}");
    if !all_have_candidates(&missing) {
        update(purpose)?;
    }
    let mut install = apt_get(purpose)?;
    install
        .args(["install", "--yes", "--no-remove", "--no-install-recommends"])
        .args(&missing);
    command::run(
        &mut install,
        &format!("install {names}, needed to {purpose}"),
    )
}

/// Brings the host's package lists up to date.
pub(crate) fn update(purpose: &str) -> Result<()> {
    command::run(
        apt_get(purpose)?.arg("update"),
        "bring the package lists up to date",
    )
}

/// `apt-get` as root, quiet, asking nothing.
fn apt_get(purpose: &str) -> Result<Command> {
    let Some(mut env) = command::as_root("env") else {
        bail!(
            "apt is needed to {purpose}, which takes root, and there is no sudo here\n  \
             run as root: apt-get update"
        );
    };
    env.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-o",
        "Dpkg::Use-Pty=0",
        "-q",
    ]);
    env.stdin(Stdio::null());
    Ok(env)
}

/// Those of `packages` that are not installed. Where there is no dpkg, all are.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    if !command::exists("dpkg-query") {
        return Ok(packages.to_vec());
    }
    let mut query = Command::new("dpkg-query");
    query
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(packages);
    // It ends with 1 when it has never heard of one of them: its output is the answer all the same.
    let listed = query.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    Ok(not_installed(
        packages,
        &String::from_utf8_lossy(&listed.stdout),
    ))
}

fn not_installed<'a>(packages: &[&'a str], listed: &str) -> Vec<&'a str> {
    let installed: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    packages
        .iter()
        .copied()
        .filter(|package| !installed.contains(package))
        .collect()
}

fn all_have_candidates(packages: &[&str]) -> bool {
    let policy = command::output(
        Command::new("apt-cache").arg("policy").args(packages),
        "ask apt for packages",
    );
    policy.is_ok_and(|text| candidates(&text) == packages.len())
}

/// How many packages of an `apt-cache policy` answer could be installed.
fn candidates(policy: &str) -> usize {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .filter(|version| *version != "(none)")
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_but_configured_and_unknown_packages_are_missing() {
        let listed = "zlib1g-dev installed\nrunc config-files\n";
        assert_eq!(
            not_installed(&["zlib1g-dev", "runc", "podman"], listed),
            ["runc", "podman"]
        );
    }

    #[test]
    fn a_package_without_candidate_is_not_counted() {
        let policy = "a:\n  Installed: (none)\n  Candidate: (none)\nb:\n  Installed: (none)\n  Candidate: 1:2-3\n";
        assert_eq!(candidates(policy), 1);
    }
}
