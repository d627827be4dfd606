//! podman and buildah with storage, locks and state of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::{cgroup, command, image, mounts, processes};

/// Storage for containers. Dropping it removes the containers and what they left.
pub(crate) struct Podman {
    directory: TempDir,
    /// A store of images that is only read.
    images: Option<PathBuf>,
}

impl Podman {
    /// Storage with the tests' image.
    pub(crate) fn start() -> Self {
        let podman = Self::without_image();
        let archive = podman.directory.path().join("image.tar");
        fs::write(&archive, image::archive()).expect("the archive can be written");
        command::succeed(podman.command(&["load", "-q", "-i"]).arg(&archive));
        podman
    }

    /// Storage with the tests' image, and the images of a store that is there already.
    pub(crate) fn with_images(store: PathBuf) -> Self {
        let mut podman = Self::start();
        podman.images = Some(store);
        podman
    }

    /// Storage with nothing in it.
    pub(crate) fn without_image() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("watchkeeper-podman-")
            .tempdir()
            .expect("a temporary directory can be made");
        let podman = Self {
            directory,
            images: None,
        };
        // The limits are those that need no CAP_SYS_RESOURCE.
        let configuration = format!(
            "[engine]\n\
             lock_type = \"file\"\n\
             tmp_dir = \"{}\"\n\
             cgroup_manager = \"cgroupfs\"\n\
             events_logger = \"none\"\n\
             runtime = \"runc\"\n\
             [containers]\n\
             pids_limit = 0\n\
             default_ulimits = [\"nofile=1024:1024\", \"nproc=1000:1000\"]\n\
             netns = \"none\"\n",
            podman.directory.path().join("tmp").display()
        );
        fs::write(podman.configuration(), configuration).expect("a file can be written");
        podman
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn configuration(&self) -> PathBuf {
        self.directory.path().join("containers.conf")
    }

    /// `podman` with this storage.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.tool("podman", arguments)
    }

    /// `buildah` with this storage.
    pub(crate) fn buildah(&self, arguments: &[&str]) -> Command {
        self.tool("buildah", arguments)
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Command {
        let path = self.directory.path();
        let mut command = Command::new(program);
        command
            .env("CONTAINERS_CONF", self.configuration())
            .arg("--root")
            .arg(path.join("root"))
            .arg("--runroot")
            .arg(path.join("run"))
            .arg("--storage-driver=overlay");
        if let Some(images) = &self.images {
            let option = format!("overlay.imagestore={}", images.display());
            command.arg("--storage-opt").arg(option);
        }
        command.args(arguments);
        command
    }

    /// Starts a container of the tests' image in the background.
    pub(crate) fn run<S: AsRef<str>>(
        &self,
        name: &str,
        options: &[&str],
        entry: &[S],
    ) -> Container<'_> {
        self.run_image(image::NAME, name, options, entry)
    }

    /// Starts a container in the background.
    pub(crate) fn run_image<S: AsRef<str>>(
        &self,
        image: &str,
        name: &str,
        options: &[&str],
        entry: &[S],
    ) -> Container<'_> {
        let mut run = self.command(&["run", "-d", "--name", name]);
        run.args(options).arg(image);
        run.args(entry.iter().map(AsRef::as_ref));
        let id = command::succeed(&mut run);
        Container {
            podman: self,
            name: name.to_owned(),
            id,
        }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Who shares namespaces with others can only go after them.
        let remove =
            || command::output(&mut self.command(&["rm", "--force", "--all", "--time", "0"]));
        let _ = (0..3).any(|_| remove().status.success());
        command::output(&mut self.buildah(&["rm", "--all"]));
        // podman cleans up after each exec in a process of its own, which would make the storage anew.
        processes::clear(self.directory.path());
        mounts::unmount_below(self.directory.path());
        cgroup::remove_if_empty("libpod_parent/conmon");
        cgroup::remove_if_empty("libpod_parent");
    }
}

/// A container of podman's.
pub(crate) struct Container<'a> {
    podman: &'a Podman,
    /// As it was asked for.
    pub(crate) name: String,
    /// 64 hexadecimal digits.
    pub(crate) id: String,
}

impl Container<'_> {
    /// `podman exec` in it.
    pub(crate) fn exec(&self, entry: &[&str]) -> Output {
        command::output(self.podman.command(&["exec", &self.name]).args(entry))
    }

    /// `podman exec` in it with a terminal.
    pub(crate) fn exec_with_terminal(&self, entry: &[&str]) {
        let mut exec = self.podman.command(&["exec", "--tty", &self.name]);
        exec.args(entry);
        let words: Vec<String> = [exec.get_program()]
            .into_iter()
            .chain(exec.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let mut script = Command::new("script");
        script
            .args([
                "--quiet",
                "--return",
                "--command",
                &words.join(" "),
                "/dev/null",
            ])
            .env("CONTAINERS_CONF", self.podman.configuration());
        command::succeed(&mut script);
    }

    /// Process id of its first process, on the host.
    pub(crate) fn pid(&self) -> u32 {
        let answer = self.inspect("{{.State.Pid}}");
        answer.parse().expect("podman knows the process id")
    }

    /// The digest of its image.
    pub(crate) fn image_digest(&self) -> String {
        self.inspect("{{.ImageDigest}}")
    }

    /// Whether its first process runs.
    pub(crate) fn runs(&self) -> bool {
        self.inspect("{{.State.Running}}") == "true"
    }

    /// What it wrote on its standard output and standard error.
    pub(crate) fn logs(&self) -> String {
        let logs = command::output(&mut self.podman.command(&["logs", &self.name]));
        command::text(&logs.stdout) + &command::text(&logs.stderr)
    }

    fn inspect(&self, format: &str) -> String {
        command::succeed(&mut self.podman.command(&[
            "inspect",
            "--type",
            "container",
            "--format",
            format,
            &self.name,
        ]))
    }

    /// Stops and removes it.
    pub(crate) fn remove(&self) {
        command::succeed(
            &mut self
                .podman
                .command(&["rm", "--force", "--time", "0", &self.name]),
        );
    }

    /// Where its cgroup is.
    pub(crate) fn cgroup(&self) -> String {
        format!("/libpod_parent/libpod-{}", self.id)
    }
}
