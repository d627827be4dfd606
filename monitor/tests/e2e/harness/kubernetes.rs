//! A control plane of Kubernetes without nodes: etcd, the API server, and the controllers that make pods of Deployments.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{command, eventually, provided, service};

/// What may do everything.
const ADMINISTRATOR: &str = "token-of-the-administrator";

/// A running control plane. Dropping it ends it and removes what it has written.
pub(crate) struct ControlPlane {
    directory: TempDir,
    port: u16,
    etcd: String,
    /// Killed when it is dropped.
    programs: Vec<Child>,
    server: Option<Child>,
}

impl ControlPlane {
    /// Starts one, and waits until it is ready.
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("watchkeeper-kubernetes-")
            .tempdir()
            .expect("a temporary directory can be made");
        let mut plane = Self {
            directory,
            port: service::free_port(),
            etcd: format!("http://127.0.0.1:{}", service::free_port()),
            programs: Vec::new(),
            server: None,
        };
        plane.write_keys();
        plane.start_etcd();
        plane.start_api_server();
        let administrator = plane.kubeconfig("administrator", ADMINISTRATOR);
        let mut controllers = plane.program("kube-controller-manager");
        controllers
            .arg(format!("--kubeconfig={}", administrator.display()))
            .args(["--controllers=deployment,replicaset", "--port=0"])
            .args(["--secure-port=0", "--leader-elect=false"]);
        let controllers = plane.spawn(controllers);
        plane.programs.push(controllers);
        plane
    }

    /// The port of 127.0.0.1 at which it answers.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What its certificate is signed by.
    pub(crate) fn authority(&self) -> PathBuf {
        self.file("certificates/apiserver.crt")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, name: &str) -> Command {
        let directory = provided("WATCHKEEPER_CONTROL_PLANE", "kubernetes/bin");
        let mut command = Command::new(directory.join(name));
        command.current_dir(self.directory.path());
        command
    }

    fn spawn(&self, mut command: Command) -> Child {
        let program = Path::new(command.get_program()).file_name();
        let name = format!("log-{}", program.unwrap_or_default().display());
        let log = File::create(self.file(&name)).expect("a file can be made");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("could not run {command:?}: {error}"))
    }

    /// Keys for tokens of service accounts, and the administrator's token.
    fn write_keys(&self) {
        let key = self.file("accounts.key");
        command::succeed(
            Command::new("openssl")
                .args(["genrsa", "-out"])
                .arg(&key)
                .arg("2048"),
        );
        command::succeed(
            Command::new("openssl")
                .args(["rsa", "-pubout", "-in"])
                .arg(&key)
                .arg("-out")
                .arg(self.file("accounts.pub")),
        );
        let administrator = format!("{ADMINISTRATOR},administrator,1,\"system:masters\"\n");
        fs::write(self.file("tokens.csv"), administrator).expect("a file can be written");
    }

    fn start_etcd(&mut self) {
        let peers = format!("http://127.0.0.1:{}", service::free_port());
        let mut etcd = self.program("etcd");
        etcd.args(["--data-dir=etcd", "--unsafe-no-fsync"])
            .arg(format!("--listen-client-urls={}", self.etcd))
            .arg(format!("--advertise-client-urls={}", self.etcd))
            .arg(format!("--listen-peer-urls={peers}"))
            .arg(format!("--initial-advertise-peer-urls={peers}"))
            .arg(format!("--initial-cluster=default={peers}"));
        let etcd = self.spawn(etcd);
        self.programs.push(etcd);
    }

    /// Starts the API server, for the first time or again. What it holds is in etcd.
    pub(crate) fn start_api_server(&mut self) {
        let mut server = self.program("kube-apiserver");
        server
            .arg(format!("--etcd-servers={}", self.etcd))
            .arg(format!("--secure-port={}", self.port))
            .args(["--bind-address=127.0.0.1", "--cert-dir=certificates"])
            .args(["--authorization-mode=RBAC", "--token-auth-file=tokens.csv"])
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg("--service-account-key-file=accounts.pub")
            .arg("--service-account-signing-key-file=accounts.key")
            .arg("--service-cluster-ip-range=10.96.0.0/16")
            // Nobody makes the accounts that pods would have.
            .arg("--disable-admission-plugins=ServiceAccount");
        self.server = Some(self.spawn(server));
        eventually("the API server is ready", || {
            let mut ready = self.kubectl(&["get", "--raw", "/readyz"]);
            command::output(&mut ready).status.success().then_some(())
        });
    }

    /// Ends the API server at once, as a crash does.
    pub(crate) fn kill_api_server(&mut self) {
        if let Some(server) = self.server.take() {
            end(server);
        }
    }

    /// kubectl as the administrator.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Command {
        let program = provided(
            "WATCHKEEPER_KUBECTL",
            "tools/kubectl-trixie/usr/bin/kubectl",
        );
        let mut command = Command::new(program);
        command
            .arg(format!("--server=https://127.0.0.1:{}", self.port))
            .arg(format!("--token={ADMINISTRATOR}"))
            .arg(format!(
                "--certificate-authority={}",
                self.authority().display()
            ))
            .arg(format!("--cache-dir={}", self.file("kubectl").display()))
            .args(arguments);
        command
    }

    /// Makes objects.
    pub(crate) fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let file = self.file("objects.json");
        fs::write(&file, list.to_string()).expect("a file can be written");
        let file = file.display().to_string();
        command::succeed(&mut self.kubectl(&["apply", "-f", &file]));
    }

    /// The objects of a kind in a namespace.
    pub(crate) fn objects(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let mut get = self.kubectl(&["get", kind, "--namespace", namespace, "-o", "json"]);
        let list: Value =
            serde_json::from_str(&command::succeed(&mut get)).expect("kubectl writes JSON");
        list["items"].as_array().expect("a list").clone()
    }

    /// A token of a service account, as the kubelet asks for one.
    pub(crate) fn token(&self, namespace: &str, account: &str) -> String {
        let create = ["create", "token", account, "--namespace", namespace];
        command::succeed(&mut self.kubectl(&create))
    }

    /// A file that tells how `who` reaches it, with their token.
    pub(crate) fn kubeconfig(&self, who: &str, token: &str) -> PathBuf {
        let path = self.file(&format!("kubeconfig-{who}"));
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority": self.authority(),
            }}],
            "users": [{"name": "it", "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "current-context": "it",
        });
        fs::write(&path, content.to_string()).expect("a file can be written");
        path
    }

    /// The last lines of what its programs say.
    fn trouble(directory: &Path) -> String {
        let logs = fs::read_dir(directory).into_iter().flatten().flatten();
        let logs = logs.filter(|entry| entry.file_name().to_string_lossy().starts_with("log-"));
        logs.map(|log| {
            let text = fs::read_to_string(log.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(10)..].join("\n");
            format!("--- {}\n{last}\n", log.file_name().display())
        })
        .collect()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", Self::trouble(self.directory.path()));
        }
        self.kill_api_server();
        for program in self.programs.drain(..).rev() {
            end(program);
        }
    }
}

fn end(mut program: Child) {
    // It fails only when it has ended already, as waiting does.
    let _ = program.kill();
    let _ = program.wait();
}
