//! Single packages from a Debian suite that this host does not use: kernels for virtual machines, the Rust library's sources,
//! kubectl.
//!
//! Lists and sources are private, in the cache directory: the host's own apt set-up stays as it is, and no root is needed.
//! The mirror is the one that the host's apt uses.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{command, paths};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite of the Debian archive, with private package lists.
pub(crate) struct Archive {
    suite: String,
    directory: PathBuf,
}

impl Archive {
    /// Opens `suite` (such as `trixie-backports`); its lists are fetched the first time.
    pub(crate) fn open(suite: &str) -> Result<Self> {
        Self::with("deb", suite, suite)
    }

    /// The same for packages or sources, with its lists in `directory`.
    fn with(kind: &str, suite: &str, directory: &str) -> Result<Self> {
        let doing = format!("use Debian's suite {suite}");
        if !command::exists("apt-get") {
            bail!("could not {doing}: there is no apt-get on this system");
        }
        let archive = Self {
            suite: suite.to_owned(),
            directory: paths::cache(Path::new("apt").join(directory))?,
        };
        for sub in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(archive.directory.join(sub))
                .with_context(|| format!("could not {doing}"))?;
        }
        let site = mirror().with_context(|| format!("could not {doing}"))?;
        let sources = format!("{kind} [signed-by={KEYRING}] {site} {suite} main\n");
        let list = archive.directory.join("sources.list");
        let fresh = std::fs::read_to_string(&list).is_ok_and(|known| known == sources)
            && archive.has_lists();
        if !fresh {
            std::fs::write(&list, sources)
                .with_context(|| format!("could not write {}", list.display()))?;
            archive.update()?;
        }
        Ok(archive)
    }

    /// Fetches the suite's package lists anew.
    pub(crate) fn update(&self) -> Result<()> {
        println!("fetching the package lists of Debian's {}", self.suite);
        command::run(
            self.apt("apt-get").args(["-q", "update"]),
            &format!("fetch the package lists of {}", self.suite),
        )
    }

    /// What `find` finds in the package lists. They are fetched anew before it is said that there is nothing.
    pub(crate) fn search<T>(&self, find: impl Fn() -> Result<Option<T>>) -> Result<Option<T>> {
        match find()? {
            None => {
                self.update()?;
                find()
            }
            found => Ok(found),
        }
    }

    /// Names and versions of the packages whose name starts with `prefix`.
    pub(crate) fn packages(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let names = command::output(
            self.apt("apt-cache").args(["pkgnames", prefix]),
            "search the package lists",
        )?;
        let mut found = Vec::new();
        for name in names.lines() {
            let mut madison = self.apt("apt-cache");
            let table =
                command::output(madison.args(["madison", name]), "search the package lists")?;
            found.extend(
                versions(&table)
                    .into_iter()
                    .map(|version| (name.to_owned(), version)),
            );
        }
        Ok(found)
    }

    /// Downloads a package of exactly this name, and unpacks it as [`Self::unpack`] does.
    pub(crate) fn fetch(&self, package: &str, into: &Path) -> Result<()> {
        let version = self
            .search(|| {
                let packages = self.packages(package)?;
                let mut found = packages.into_iter().filter(|(name, _)| name == package);
                Ok(found.next().map(|(_, version)| version))
            })?
            .with_context(|| format!("Debian's {} has no {package}", self.suite))?;
        self.unpack(package, &version, into)
    }

    /// Downloads one package and unpacks it into `into`, which must not exist yet. Nothing gets installed.
    pub(crate) fn unpack(&self, package: &str, version: &str, into: &Path) -> Result<()> {
        std::fs::create_dir_all(into)
            .with_context(|| format!("could not make {}", into.display()))?;
        let mut download = self.apt("apt-get");
        download
            .args(["-q", "download", &format!("{package}={version}")])
            .current_dir(into);
        command::run(
            &mut download,
            &format!("download {package} {version} of Debian's {}", self.suite),
        )?;
        let deb = std::fs::read_dir(into)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| {
                format!(
                    "apt-get left no package file of {package} in {}",
                    into.display()
                )
            })?;
        command::run(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(&deb)
                .arg(into),
            &format!("unpack {package}"),
        )?;
        std::fs::remove_file(&deb).with_context(|| format!("could not remove {}", deb.display()))
    }

    fn has_lists(&self) -> bool {
        std::fs::read_dir(self.directory.join("lists")).is_ok_and(|entries| {
            entries.filter_map(Result::ok).any(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.contains("_Packages") || name.contains("_Sources")
            })
        })
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let at = |name: &str| self.directory.join(name).display().to_string();
        for option in [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            // Translations and indexes for other tools are not needed.
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // The files are ours: no other user must be able to write them.
            format!(
                "APT::Sandbox::User={}",
                if command::is_root() { "root" } else { "" }
            ),
        ] {
            apt.arg("-o").arg(option);
        }
        apt
    }
}

/// Fetches the source of a package of `suite`, as its authors published it, and unpacks it into `into`.
pub(crate) fn source(suite: &str, package: &str, into: &Path) -> Result<()> {
    let archive = Archive::with("deb-src", suite, &format!("{suite}-sources"))?;
    std::fs::create_dir_all(into).with_context(|| format!("could not make {}", into.display()))?;
    let mut download = archive.apt("apt-get");
    download
        .args(["-q", "source", "--download-only", package])
        .current_dir(into);
    command::run(
        &mut download,
        &format!("download the source of {package} of Debian's {suite}"),
    )?;
    let files: Vec<PathBuf> = std::fs::read_dir(into)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    let is_original = |path: &&PathBuf| path.to_string_lossy().contains(".orig.tar.");
    let original = files
        .iter()
        .find(is_original)
        .with_context(|| format!("apt-get left no source of {package} in {}", into.display()))?;
    command::run(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(original)
            .arg("--directory")
            .arg(into)
            .arg("--strip-components=1"),
        &format!("unpack the source of {package}"),
    )?;
    for file in files {
        std::fs::remove_file(&file)
            .with_context(|| format!("could not remove {}", file.display()))?;
    }
    Ok(())
}

/// The mirror of the main Debian archive that the host's apt uses.
pub(crate) fn mirror() -> Result<String> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(SITE)"]);
    let sites = command::output(&mut targets, "ask apt which mirrors it uses")?;
    match main_archive(&sites) {
        Some(site) => Ok(site.to_owned()),
        None => bail!("apt on this system uses no mirror whose address ends in /debian"),
    }
}

/// The main Debian archive's, out of the sites of all package lists.
fn main_archive(sites: &str) -> Option<&str> {
    sites
        .lines()
        .map(|site| site.trim_end_matches('/'))
        .find(|site| site.ends_with("/debian"))
}

/// Versions in a table of `apt-cache madison` (`name | version | source`), binary packages only, each once.
fn versions(table: &str) -> Vec<String> {
    let mut versions: Vec<String> = Vec::new();
    for line in table.lines().filter(|line| line.contains(" Packages")) {
        if let Some(version) = line.split('|').nth(1).map(str::trim)
            && !versions.iter().any(|known| known == version)
        {
            versions.push(version.to_owned());
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_archive_is_told_from_security_and_third_parties() {
        let sites = "http://mirror.example/debian-security\nhttps://packages.example/tools\nhttp://mirror.example/debian/\n";
        assert_eq!(main_archive(sites), Some("http://mirror.example/debian"));
        assert_eq!(
            main_archive("http://mirror.example/debian-security\n"),
            None
        );
    }

    #[test]
    fn versions_come_from_binary_packages() {
        let table = " rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror.example/debian trixie-backports/main amd64 Packages\n \
                     rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror.example/debian trixie-backports/main amd64 Packages\n  \
                     rustc | 1.94 | http://mirror.example/debian trixie-backports/main Sources\n";
        assert_eq!(versions(table), ["1.95.0+dfsg1-2~bpo13+1"]);
    }
}
