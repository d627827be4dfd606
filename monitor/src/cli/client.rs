//! Reaching the agent, and what commands that do so have in common.

use std::{path::PathBuf, time::SystemTime};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use prost_types::Timestamp;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    agent::SOCKET,
    configuration::{STATE_DIRECTORY, value},
};

/// Where the agent listens.
#[derive(Args)]
pub(super) struct Connection {
    /// Socket of the agent
    #[arg(
        long,
        value_name = "PATH",
        env = "WATCHKEEPER_SOCKET",
        default_value_os_t = PathBuf::from(STATE_DIRECTORY).join(SOCKET)
    )]
    socket: PathBuf,
}

/// How a command prints what it got.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// For programs: one object a line, in the JSON mapping of the protobuf messages
    Json,
}

impl Connection {
    /// Connects to the agent.
    pub(super) async fn connect(&self) -> anyhow::Result<Channel> {
        let path = self.socket.display();
        let advice = "is the agent running? Start it with `watchkeeper agent`, or name its socket with --socket";
        if !self.socket.exists() {
            bail!("connecting to the agent at {path}: there is no such socket; {advice}");
        }
        Endpoint::from_shared(format!("unix://{path}"))
            .with_context(|| format!("connecting to the agent at {path}"))?
            .connect()
            .await
            .map_err(|error| {
                let mut cause: &dyn std::error::Error = &error;
                while let Some(source) = cause.source() {
                    cause = source;
                }
                anyhow!("connecting to the agent at {path}: {cause}; {advice}")
            })
    }
}

/// Runs a command's asynchronous part.
pub(super) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")?
        .block_on(future)
}

/// What the agent answered instead of what was asked for.
pub(super) fn refused(doing: &str) -> impl Fn(Status) -> anyhow::Error + '_ {
    move |status| match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => {
            anyhow!("{doing}: the agent is gone ({})", status.message())
        }
        code => anyhow!("{doing}: {} ({code:?})", status.message()),
    }
}

/// A moment on the command line: RFC 3339, or how long ago (`90s`, `15m`, `1h`, `2d`).
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    let ago = value::time(text)
        .ok()
        .and_then(|ago| SystemTime::now().checked_sub(ago));
    ago.map(Timestamp::from).ok_or_else(|| {
        "give how long ago, as 90s, 15m, 1h or 2d, or a time as 2026-01-31T12:00:00Z".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        let now = Timestamp::from(SystemTime::now()).seconds;
        for (text, ago) in [("90s", 90), ("15m", 900), ("1h", 3_600), ("2d", 172_800)] {
            let seconds = moment(text).expect(text).seconds;
            assert!((now - ago - seconds).abs() <= 1, "{text}");
        }
        assert_eq!(
            moment("2026-01-31T12:00:00Z").expect("a time").seconds,
            1_769_860_800
        );
        for text in [
            "",
            "h",
            "1w",
            "-1h",
            "yesterday",
            "99999999999999999999d",
            "5é",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
