//! Asking runtimes for what only they know of a container. Nothing waits for the answer: it is put into the
//! [`Container`] when it comes, and whoever has to know is told.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, Semaphore, mpsc};

use super::{
    cri::{Cri, Socket, USUAL_SOCKETS},
    model::{Container, Metadata},
    podman,
    shape::Runtime,
};

/// Questions that may wait; a node starts some tens of containers at a time.
pub const QUEUE: usize = 4_096;
/// Questions under way at a time.
const CONCURRENT: usize = 8;
/// When to ask again a runtime that does not know a container yet.
const RETRIES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
];
/// And when to ask again after that.
const RETRY_LATER: Duration = Duration::from_secs(5);
/// Least time between two attempts to connect.
const RECONNECT: Duration = Duration::from_secs(2);

/// A question about a container.
#[derive(Debug)]
pub struct Question {
    /// The container.
    pub container: Arc<Container>,
    /// Podman's storage, where its monitor named one.
    pub podman_storage: Option<PathBuf>,
}

/// How the connection to the CRI is.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The socket; empty when there is none.
    pub socket: String,
    /// The runtime's name and version, while connected.
    pub runtime: Option<String>,
    /// Why it is not connected.
    pub reason: String,
}

/// Called when more is known of a container.
type Changed = dyn Fn(&Arc<Container>) + Send + Sync;

/// Asks runtimes.
pub struct Resolver {
    socket: Socket,
    state: Mutex<State>,
    connection: Arc<RwLock<Connection>>,
    changed: Box<Changed>,
}

#[derive(Default)]
struct State {
    cri: Option<Cri>,
    last_attempt: Option<Instant>,
}

impl Resolver {
    /// A resolver that calls `changed` whenever more is known of a container.
    pub fn new(
        socket: Socket,
        connection: Arc<RwLock<Connection>>,
        changed: impl Fn(&Arc<Container>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            socket,
            state: Mutex::default(),
            connection,
            changed: Box::new(changed),
        }
    }

    /// Answers questions until no one can ask any more.
    pub async fn run(self, mut questions: mpsc::Receiver<Question>) {
        let this = Arc::new(self);
        let permits = Arc::new(Semaphore::new(CONCURRENT));
        // Connect before the first question, so that the status tells how it is.
        let _ = this.cri().await;
        while let Some(question) = questions.recv().await {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            let this = Arc::clone(&this);
            tokio::spawn(async move {
                this.answer(&question, permit).await;
            });
        }
    }

    /// Answers one question. The permit is given back while it waits to ask again.
    async fn answer(&self, question: &Question, permit: tokio::sync::OwnedSemaphorePermit) {
        let container = &question.container;
        if !container.is_cri() {
            self.answer_without_cri(question).await;
            return;
        }
        let mut permit = Some(permit);
        // It goes on asking at long intervals: the runtime may only be started after the agent.
        for pause in RETRIES.into_iter().chain(std::iter::repeat(RETRY_LATER)) {
            let Some(reason) = self.ask_cri(container).await else {
                return;
            };
            permit.take();
            let ended = container.details().ended.is_some();
            self.tell(container, Metadata::Unavailable(reason));
            if ended || self.socket == Socket::None {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks the CRI; returns why there is no answer.
    async fn ask_cri(&self, container: &Arc<Container>) -> Option<String> {
        let cri = match self.cri().await {
            Ok(cri) => cri,
            Err(reason) => return Some(reason),
        };
        match cri.describe(&container.id).await {
            Ok(Some(description)) => {
                container.learn(|details| {
                    details.metadata = Metadata::Complete;
                    details.runtime = (cri.runtime != Runtime::Unknown).then_some(cri.runtime);
                    details.name = description.name;
                    details.image = description.image;
                    details.image_digest = description.image_digest;
                    details.labels = description.labels;
                    details.sandbox = description.sandbox;
                    if description.pod.is_some() {
                        details.pod = description.pod;
                    }
                });
                (self.changed)(container);
                None
            }
            Ok(None) => Some(format!("{} does not know the container", cri.version)),
            Err(error) => {
                self.disconnect(&error.to_string()).await;
                Some(error.to_string())
            }
        }
    }

    async fn answer_without_cri(&self, question: &Question) {
        let container = &question.container;
        let reason = match (container.shape_runtime, &question.podman_storage) {
            (Runtime::Podman, Some(storage)) => {
                let (storage, id) = (storage.clone(), container.id.clone());
                match tokio::task::spawn_blocking(move || podman::describe(&storage, &id)).await {
                    Ok(Ok(Some(description))) => {
                        container.learn(|details| {
                            details.metadata = Metadata::Complete;
                            details.name = description.name;
                            details.image = description.image;
                            details.image_digest = description.image_digest;
                        });
                        (self.changed)(container);
                        return;
                    }
                    Ok(Ok(None)) => "podman's storage does not have the container".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                }
            }
            (Runtime::Podman, None) => {
                "its monitor (conmon) has not been seen, which names podman's storage".to_owned()
            }
            (Runtime::Docker, _) => {
                "a Docker container outside Kubernetes: names and images are not looked up"
                    .to_owned()
            }
            _ => "its runtime can't be asked".to_owned(),
        };
        self.tell(container, Metadata::Unavailable(reason));
    }

    /// Notes the state of the metadata, and tells of it when it is another.
    fn tell(&self, container: &Arc<Container>, metadata: Metadata) {
        if container.details().metadata != metadata {
            container.learn(|details| details.metadata = metadata);
            (self.changed)(container);
        }
    }

    /// The connection, made when there is none and the last attempt is not too recent.
    async fn cri(&self) -> Result<Cri, String> {
        let mut state = self.state.lock().await;
        if let Some(cri) = &state.cri {
            return Ok(cri.clone());
        }
        let recent = state
            .last_attempt
            .is_some_and(|attempt| attempt.elapsed() < RECONNECT);
        if recent {
            return Err(self.read_connection().reason);
        }
        state.last_attempt = Some(Instant::now());
        let path = match &self.socket {
            Socket::None => {
                return Err(self.refused("", "switched off by --cri-socket none".to_owned()));
            }
            Socket::Path(path) => path.clone(),
            Socket::Auto => {
                match USUAL_SOCKETS
                    .iter()
                    .map(PathBuf::from)
                    .find(|path| path.exists())
                {
                    Some(path) => path,
                    None => {
                        return Err(self.refused(
                            "",
                            format!(
                                "no container runtime's socket at {}; name it with --cri-socket",
                                USUAL_SOCKETS.join(", ")
                            ),
                        ));
                    }
                }
            }
        };
        let socket = path.display().to_string();
        match Cri::connect(&path).await {
            Ok(cri) => {
                self.write_connection(Connection {
                    socket,
                    runtime: Some(cri.version.clone()),
                    reason: String::new(),
                });
                state.cri = Some(cri.clone());
                Ok(cri)
            }
            Err(error) => Err(self.refused(&socket, error.to_string())),
        }
    }

    async fn disconnect(&self, reason: &str) {
        let mut state = self.state.lock().await;
        state.cri = None;
        let socket = self.read_connection().socket;
        self.refused(&socket, reason.to_owned());
    }

    /// Notes why there is no connection; says so when that is news.
    fn refused(&self, socket: &str, reason: String) -> String {
        let connection = Connection {
            socket: socket.to_owned(),
            runtime: None,
            reason: reason.clone(),
        };
        if self.read_connection().reason != reason {
            tracing::warn!("no pod and image names: {reason}");
        }
        self.write_connection(connection);
        reason
    }

    fn read_connection(&self) -> Connection {
        self.connection
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn write_connection(&self, connection: Connection) {
        *self
            .connection
            .write()
            .unwrap_or_else(PoisonError::into_inner) = connection;
    }
}
