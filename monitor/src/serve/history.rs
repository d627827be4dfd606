//! `watchkeeper.v1.History`

use std::{
    io::Read as _,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::types::Value;
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{self, error::TrySendError},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    convert,
    filter::{self, WantedAlerts, WantedEvents},
    particulars::Particulars,
    sources::Sources,
};
use crate::{
    event::Event,
    memory,
    proto::v1::{self, history_export_response::Part, value},
    store::{
        Store,
        export::{self, Exported},
        past::{Kept, Past},
        query::{Answered, Session},
    },
};

/// Rows that are wanted when nothing is said.
const ROWS: u32 = 100_000;
/// Seconds that a question may take when nothing is said, and at most.
const SECONDS: (u32, u32) = (30, 600);
/// Rows of a message.
const ROWS_AT_A_TIME: usize = 256;
/// About the most bytes of a message.
const BYTES_AT_A_TIME: usize = 256 << 10;
/// Messages that may wait for a client.
const WAITING: usize = 4;

/// How long a client may keep a file waiting.
const STALLED: Duration = Duration::from_secs(60);

type Sender<T> = mpsc::Sender<Result<T, Status>>;

#[tonic::async_trait]
impl v1::history_server::History for Sources {
    type QueryStream = ReceiverStream<Result<v1::HistoryQueryResponse, Status>>;
    type ExportStream = ReceiverStream<Result<v1::HistoryExportResponse, Status>>;

    async fn query(
        &self,
        request: Request<v1::HistoryQueryRequest>,
    ) -> Result<Response<Self::QueryStream>, Status> {
        let request = request.into_inner();
        if request.max_seconds > SECONDS.1 {
            return Err(Status::invalid_argument(format!(
                "max_seconds: at most {}",
                SECONDS.1
            )));
        }
        let (store, lacks) = self.up_to_now().await?;
        let place = self.place_for_a_question().await?;
        let (sender, receiver) = mpsc::channel(WAITING);
        // Whoever goes away ends it, even while it looks for its first row.
        let cancelled = Arc::new(AtomicBool::new(false));
        let (watched, cancel) = (sender.clone(), Arc::clone(&cancelled));
        let watcher = tokio::spawn(async move {
            watched.closed().await;
            cancel.store(true, Ordering::Relaxed);
        });
        tokio::task::spawn_blocking(move || {
            if let Err(error) = answer(&store, lacks, &request, &cancelled, &sender) {
                // The client may be gone.
                let _ = sender.blocking_send(Err(Status::invalid_argument(format!("{error:#}"))));
            }
            watcher.abort();
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn export(
        &self,
        request: Request<v1::HistoryExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let request = request.into_inner();
        let refused = Status::invalid_argument;
        let since = filter::time("since", request.since).map_err(refused)?;
        let until = filter::time("until", request.until).map_err(refused)?;
        let wanted = self.wanted(request.filter, since, until)?;
        let alerts = WantedAlerts {
            wanted: wanted.clone(),
            rules: Vec::new(),
            min_severity: 0,
        };
        let events = WantedEvents {
            wanted,
            kinds: request.kinds,
            particulars: Particulars::default(),
        };
        let (store, lacks) = self.up_to_now().await?;
        let place = self.place_for_a_question().await?;
        let context = self.context.clone();
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::task::spawn_blocking(move || {
            let narrow = events.wanted.narrow(&events.kinds);
            let mut past = Past::new(Arc::clone(&store), narrow);
            let settled = Event::settled(&store.settled().borrow());
            let after = match since {
                Some(since) => past.before(since),
                None => past.beginning::<Event>(),
            };
            let end = match until {
                Some(until) => past.up_to(until).unwrap_or(0),
                None => settled,
            };
            let facts = [
                ("store", store.name()),
                ("node", context.node.as_str()),
                ("agent", env!("CARGO_PKG_VERSION")),
            ];
            let exported = export::export(
                &store,
                &mut past,
                (after.unwrap_or(settled), end.min(settled)),
                &facts,
                &|event| events.matches(event),
                &|alert| alerts.matches(alert),
                &|| sender.is_closed(),
            );
            let sent = match exported {
                Ok(exported) => send_file(&exported, lacks, &context.node, &sender),
                Err(error) => Err(Status::failed_precondition(format!("{error:#}"))),
            };
            if let Err(status) = sent {
                // The client may be gone.
                let _ = sender.blocking_send(Err(status));
            }
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl Sources {
    /// History on disk, with all that happened up to now, and what is to be told where that could not be written.
    ///
    /// # Errors
    /// When none is kept.
    pub async fn up_to_now(&self) -> Result<(Arc<Store>, Option<String>), Status> {
        let Some(store) = &self.store else {
            let why = self
                .store_trouble
                .clone()
                .unwrap_or_else(|| "the agent was told to keep no history on disk".to_owned());
            return Err(Status::failed_precondition(why));
        };
        let (event, alert) = (self.events.recent.last(), self.alerts.recent.last());
        store.flush(event, alert).await;
        Ok((Arc::clone(store), store.lacks(event, alert)))
    }
}

impl Sources {
    /// A place among the questions that take long: each holds a thread, files and memory.
    ///
    /// # Errors
    /// When none becomes free in time.
    pub async fn place_for_a_question(&self) -> Result<Place, Status> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let place = Arc::clone(&self.questions).acquire_owned();
        match tokio::time::timeout(PATIENCE, place).await {
            Ok(Ok(place)) => Ok(Place(Some(place))),
            _ => Err(Status::resource_exhausted(
                "other questions are being answered; try again when they are",
            )),
        }
    }
}

/// A place among the questions that take long. What the answer took is given back with it.
pub struct Place(Option<OwnedSemaphorePermit>);

impl Drop for Place {
    fn drop(&mut self) {
        memory::release();
        self.0 = None;
    }
}

/// The client is gone.
struct Gone;

/// Sends a message to a client that may be slow, but no longer than this: whoever waits with a question holds up history.
fn send_until<T>(sender: &Sender<T>, message: T, deadline: Instant) -> Result<(), Gone> {
    let mut message = Ok(message);
    loop {
        match sender.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(back)) if Instant::now() < deadline => message = back,
            Err(_) => return Err(Gone),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a question, and sends its rows as they come.
fn answer(
    store: &Store,
    lacks: Option<String>,
    request: &v1::HistoryQueryRequest,
    cancelled: &Arc<AtomicBool>,
    sender: &Sender<v1::HistoryQueryResponse>,
) -> anyhow::Result<()> {
    let or = |asked: u32, usual: u32| if asked == 0 { usual } else { asked };
    let max_rows = or(request.max_rows, ROWS);
    let max_time = Duration::from_secs(or(request.max_seconds, SECONDS.0).into());
    let deadline = Instant::now() + max_time;
    let send = |columns, rows, truncated| {
        let message = v1::HistoryQueryResponse {
            columns,
            rows,
            truncated,
            incomplete: String::new(),
        };
        send_until(sender, message, deadline)
    };
    let mut session = Session::open(&store.parts(), max_time, cancelled)?;
    let mut rows = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    let answered = session.run(
        &request.sql,
        |columns| {
            // A client that is gone is found out with the first rows.
            let _ = send(columns, Vec::new(), false);
        },
        |values| {
            if count == max_rows {
                return ControlFlow::Break(());
            }
            count += 1;
            bytes += values.iter().map(size).sum::<usize>();
            rows.push(v1::Row {
                values: values.into_iter().map(message).collect(),
            });
            if rows.len() < ROWS_AT_A_TIME && bytes < BYTES_AT_A_TIME {
                return ControlFlow::Continue(());
            }
            bytes = 0;
            match send(Vec::new(), std::mem::take(&mut rows), false) {
                Ok(()) => ControlFlow::Continue(()),
                Err(Gone) => ControlFlow::Break(()),
            }
        },
    )?;
    let end = v1::HistoryQueryResponse {
        columns: Vec::new(),
        rows,
        truncated: answered == Answered::Truncated,
        incomplete: lacks.unwrap_or_default(),
    };
    // A client that is gone does not need the end.
    let _ = send_until(sender, end, deadline);
    Ok(())
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Integer(_) | Value::Real(_) => 8,
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
    }
}

fn message(value: Value) -> v1::Value {
    v1::Value {
        value: match value {
            Value::Null => None,
            Value::Integer(number) => Some(value::Value::Integer(number)),
            Value::Real(number) => Some(value::Value::Real(number)),
            Value::Text(text) => Some(value::Value::Text(text)),
            Value::Blob(bytes) => Some(value::Value::Blob(bytes)),
        },
    }
}

/// Sends a file and what is in it.
fn send_file(
    exported: &Exported,
    lacks: Option<String>,
    node: &str,
    sender: &Sender<v1::HistoryExportResponse>,
) -> Result<(), Status> {
    let failed = |error: std::io::Error| Status::internal(format!("reading the export: {error}"));
    let send = |part| {
        let message = v1::HistoryExportResponse { part: Some(part) };
        send_until(sender, message, Instant::now() + STALLED)
            .map_err(|Gone| Status::cancelled("the client is gone, or does not read"))
    };
    let mut file = std::fs::File::open(&exported.path).map_err(failed)?;
    let mut buffer = vec![0; BYTES_AT_A_TIME];
    loop {
        let length = file.read(&mut buffer).map_err(failed)?;
        if length == 0 {
            break;
        }
        send(Part::Data(buffer[..length].to_vec()))?;
    }
    send(Part::Summary(v1::ExportSummary {
        node: node.to_owned(),
        events: exported.events,
        alerts: exported.alerts,
        first_event: exported.span.map(|span| convert::timestamp(span.0)),
        last_event: exported.span.map(|span| convert::timestamp(span.1)),
        gaps: exported
            .gaps
            .iter()
            .map(ToString::to_string)
            .chain(lacks)
            .collect(),
    }))
}
