//! The socket and the server on it.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::{fs::Mode, process::umask};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{server::NamedService, transport::Server};

use super::{health, sources::Sources};
use crate::proto::{
    DESCRIPTORS,
    v1::{
        alerts_server::AlertsServer, containers_server::ContainersServer,
        events_server::EventsServer, history_server::HistoryServer, node_server::NodeServer,
        policies_server::PoliciesServer, processes_server::ProcessesServer,
    },
};

/// The services that health is told of, by name.
const SERVICES: &[&str] = &[
    AlertsServer::<Sources>::NAME,
    ContainersServer::<Sources>::NAME,
    EventsServer::<Sources>::NAME,
    HistoryServer::<Sources>::NAME,
    NodeServer::<Sources>::NAME,
    PoliciesServer::<Sources>::NAME,
    ProcessesServer::<Sources>::NAME,
];

/// The server could not be started, or failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket can't be made.
    #[error("listening on {path}: {source}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server answers at the socket.
    #[error(
        "listening on {path}: another server answers there; stop it, or use another --state-dir"
    )]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// The server failed.
    #[error("serving gRPC: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors of the API can't be read.
    #[error("preparing gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A socket that listens; its file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`, for root alone. A socket that a dead agent left there is replaced.
    ///
    /// # Errors
    /// When somebody answers there, or the socket can't be made.
    pub fn listen(path: &Path) -> Result<Self, ServeError> {
        let error = |source| ServeError::Listen {
            path: path.to_path_buf(),
            source,
        };
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => {
                if UnixStream::connect(path).is_ok() {
                    return Err(ServeError::Taken {
                        path: path.to_path_buf(),
                    });
                }
                fs::remove_file(path).map_err(error)?;
            }
            Ok(_) => {
                return Err(error(io::Error::other(
                    "there is a file that is not a socket; remove it",
                )));
            }
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
            Err(other) => return Err(error(other)),
        }
        // So that there is no moment in which the socket is open to others.
        let before = umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        umask(before);
        let listener = listener.map_err(error)?;
        listener.set_nonblocking(true).map_err(error)?;
        let socket = Self {
            listener: Some(listener),
            path: path.to_path_buf(),
        };
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(error)?;
        Ok(socket)
    }

    /// Serves until `stop` completes.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn serve(
        mut self,
        sources: Sources,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let Some(listener) = self.listener.take() else {
            return Ok(());
        };
        let listener =
            tokio::net::UnixListener::from_std(listener).map_err(|source| ServeError::Listen {
                path: self.path.clone(),
                source,
            })?;
        let (health_service, told) = health::service(sources.health.clone(), SERVICES).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let served = Server::builder()
            .add_service(health_service)
            .add_service(reflection)
            .add_service(AlertsServer::new(sources.clone()))
            .add_service(EventsServer::new(sources.clone()))
            .add_service(ContainersServer::new(sources.clone()))
            .add_service(HistoryServer::new(sources.clone()))
            .add_service(PoliciesServer::new(sources.clone()))
            .add_service(ProcessesServer::new(sources.clone()))
            .add_service(NodeServer::new(sources))
            .serve_with_incoming(UnixListenerStream::new(listener));
        // A graceful end would wait for clients that follow a stream.
        tokio::select! {
            served = served => served?,
            () = told => {}
            () = stop => {}
        }
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("removing the socket {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_the_own_one_removed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).expect("bound"));
        let socket = Socket::listen(&path).expect("the dead one's socket is replaced");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_living_server_and_a_foreign_file_stay() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("s");
        let other = UnixListener::bind(&path).expect("bound");
        assert!(matches!(
            Socket::listen(&path),
            Err(ServeError::Taken { .. })
        ));
        drop(other);
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "precious").expect("written");
        assert!(matches!(
            Socket::listen(&path),
            Err(ServeError::Listen { .. })
        ));
        assert_eq!(fs::read_to_string(&path).expect("there"), "precious");
    }
}
