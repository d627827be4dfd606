//! Asking runtimes for what only they know of a container. Nothing waits for the answer: it is put into the
//! [`Container`] when it comes, and whoever has to know is told.

use std::{
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, Semaphore, mpsc};

use super::{
    cluster::knowledge::Cluster,
    cri::{Cri, Socket},
    figures::{self, Figures, Outcome},
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
/// Longest time that looking into podman's storage may take.
const STORAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Least time between two attempts to connect.
const RECONNECT: Duration = Duration::from_secs(2);

/// A question about a container.
#[derive(Debug)]
pub struct Question {
    /// The container.
    pub container: Arc<Container>,
    /// Podman's storage, where its monitor named one.
    pub podman_storage: Option<podman::Storage>,
}

/// Where questions are put, from a thread that does not wait.
#[derive(Clone, Debug)]
pub struct Questions {
    queue: mpsc::Sender<Question>,
    figures: Arc<Figures>,
}

impl Questions {
    /// A queue of at most [`QUEUE`] questions, with its end.
    #[must_use]
    pub fn new(figures: Arc<Figures>) -> (Self, mpsc::Receiver<Question>) {
        let (queue, asked) = mpsc::channel(QUEUE);
        (Self { queue, figures }, asked)
    }

    /// Puts a question; `false` when the queue is full.
    #[must_use]
    pub fn ask(&self, question: Question) -> bool {
        self.figures.questions.fetch_add(1, Ordering::Relaxed);
        // Before it is sent: it may be taken at once.
        self.figures.queued.fetch_add(1, Ordering::Relaxed);
        let is_taken = self.queue.try_send(question).is_ok();
        if !is_taken {
            self.figures.queued.fetch_sub(1, Ordering::Relaxed);
            self.figures.refused.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }
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

/// What came of asking the CRI.
enum Answer {
    /// What it knows is in the container.
    Told,
    /// It does not know the container.
    NotKnown(String),
    /// It could not be asked.
    NotAsked(String),
}

/// Asks runtimes.
pub struct Resolver {
    socket: Socket,
    state: Mutex<State>,
    connection: Arc<RwLock<Connection>>,
    figures: Arc<Figures>,
    cluster: Arc<Cluster>,
    changed: Box<Changed>,
    permits: Semaphore,
}

#[derive(Default)]
struct State {
    cri: Option<Cri>,
    last_attempt: Option<Instant>,
}

impl Resolver {
    /// A resolver that adds what `cluster` knows, and calls `changed` whenever more is known of a container.
    pub fn new(
        socket: Socket,
        connection: Arc<RwLock<Connection>>,
        figures: Arc<Figures>,
        cluster: Arc<Cluster>,
        changed: impl Fn(&Arc<Container>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            socket,
            state: Mutex::default(),
            connection,
            figures,
            cluster,
            changed: Box::new(changed),
            permits: Semaphore::new(CONCURRENT),
        }
    }

    /// Answers questions until no one can ask any more.
    pub async fn run(self, mut questions: mpsc::Receiver<Question>) {
        let this = Arc::new(self);
        // Connect before the first question, so that the status tells how it is.
        let _ = this.cri().await;
        while let Some(question) = questions.recv().await {
            this.figures.queued.fetch_sub(1, Ordering::Relaxed);
            let this = Arc::clone(&this);
            tokio::spawn(async move {
                this.answer(&question).await;
                this.figures.settled.fetch_add(1, Ordering::Relaxed);
            });
        }
    }

    /// Answers one question. Only who asks a runtime holds a permit, not who waits to ask again.
    async fn answer(&self, question: &Question) {
        let container = &question.container;
        if !container.is_cri() {
            let _permit = self.permits.acquire().await;
            self.answer_without_cri(question).await;
            return;
        }
        let mut pauses = RETRIES.into_iter();
        loop {
            let answer = {
                let _permit = self.permits.acquire().await;
                self.ask_cri(container).await
            };
            if self.figures.is_cri_wanted {
                let outcome = match answer {
                    Answer::Told => Outcome::Told,
                    Answer::NotKnown(_) => Outcome::Unknown,
                    Answer::NotAsked(_) => Outcome::Failed,
                };
                self.figures.count(figures::Runtime::Cri, outcome);
            }
            let (reason, is_final) = match answer {
                Answer::Told => return,
                Answer::NotKnown(reason) => (reason, true),
                Answer::NotAsked(reason) => (reason, self.socket == Socket::None),
            };
            let ended = container.details().ended.is_some();
            self.tell(container, Metadata::Unavailable(reason));
            match pauses.next() {
                Some(pause) if !ended => tokio::time::sleep(pause).await,
                // The runtime may only be started after the agent.
                None if !ended && !is_final => tokio::time::sleep(RETRY_LATER).await,
                _ => return,
            }
        }
    }

    /// Asks the CRI.
    async fn ask_cri(&self, container: &Arc<Container>) -> Answer {
        let cri = match self.cri().await {
            Ok(cri) => cri,
            Err(reason) => return Answer::NotAsked(reason),
        };
        match cri.describe(&container.id).await {
            Ok(Some(description)) => {
                container.describe(description, |known| self.cluster.complete(known));
                (self.changed)(container);
                Answer::Told
            }
            Ok(None) => Answer::NotKnown(format!("{} does not know the container", cri.version)),
            Err(error) => {
                if error.is_disconnected() {
                    self.disconnect(&error.to_string()).await;
                }
                Answer::NotAsked(error.to_string())
            }
        }
    }

    async fn answer_without_cri(&self, question: &Question) {
        let container = &question.container;
        let reason = match (container.shape_runtime, &question.podman_storage) {
            (Runtime::Podman, Some(storage)) => {
                let (storage, id) = (storage.clone(), container.id.clone());
                let looking = tokio::task::spawn_blocking(move || podman::describe(&storage, &id));
                let looked = tokio::time::timeout(STORAGE_TIMEOUT, looking).await;
                let outcome = match &looked {
                    Ok(Ok(Ok(Some(_)))) => Outcome::Told,
                    Ok(Ok(Ok(None))) => Outcome::Unknown,
                    _ => Outcome::Failed,
                };
                self.figures.count(figures::Runtime::Podman, outcome);
                match looked {
                    Ok(Ok(Ok(Some(description)))) => {
                        container.describe(description, |_| {});
                        (self.changed)(container);
                        return;
                    }
                    Ok(Ok(Ok(None))) => "podman's storage does not have the container".to_owned(),
                    Ok(Ok(Err(error))) => error.to_string(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "podman's storage does not answer".to_owned(),
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
        match self.socket.connect().await {
            Ok((path, cri)) => {
                self.write_connection(Connection {
                    socket: path.display().to_string(),
                    runtime: Some(cri.version.clone()),
                    reason: String::new(),
                });
                state.cri = Some(cri.clone());
                Ok(cri)
            }
            Err((path, reason)) => Err(self.refused(&path.display().to_string(), reason)),
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
