//! One way to read a sequence for all streams: the past, from disk and from memory, then what is live when asked to
//! follow.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use prost_types::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tonic::Status;

use super::{
    convert::{self, Context},
    filter,
    subscribers::Subscribers,
};
use crate::{
    container::model::Container,
    proto::v1,
    store::{
        Store,
        gap::Gap,
        past::{Kept, Narrow, Past},
        recent::{Item, Recent},
    },
};

/// Elements that are read at a time.
const BATCH: usize = 256;
/// Messages that may wait for a client; more stay in the sequence until it reads on.
const WAITING: usize = 64;
/// How long a stream waits for a runtime to tell of a new container.
const UNDECIDED: Duration = Duration::from_secs(2);
/// How long a stream may be silent.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// From one look at what is new to the next, at least: each takes a thread that is woken, which costs more than what came. Where
/// nothing came for so long, what comes is told at once.
const PACE: Duration = Duration::from_millis(2);
/// How long what must be on disk first is held back for it.
const DURABLE: Duration = Duration::from_secs(1);
/// How long a reader waits for what is on its way to the disk.
const WRITING: Duration = Duration::from_secs(10);

/// Where and how far to read.
#[derive(Clone, Debug, Default)]
pub struct Range {
    /// Go on after the element with this cursor.
    pub cursor: String,
    /// Begin after this number.
    pub after: Option<u64>,
    /// Nothing older.
    pub since: Option<SystemTime>,
    /// Nothing newer.
    pub until: Option<SystemTime>,
    /// At most this many from the past, the newest; 0 for all.
    pub last: usize,
    /// At most this many, the first; 0 for all.
    pub first: usize,
    /// Go on with what is live.
    pub follow: bool,
}

impl Range {
    /// From the fields that requests have for it: times from and to, and how many, the last or the first.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(
        cursor: String,
        (since, until): (Option<Timestamp>, Option<Timestamp>),
        (last, first): (u32, u32),
        follow: bool,
    ) -> Result<Self, String> {
        if last > 0 && first > 0 {
            return Err("limit and first can't be given together".to_owned());
        }
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Self {
            cursor,
            after: None,
            since: filter::time("since", since)?,
            until: filter::time("until", until)?,
            last: count(last),
            first: count(first),
            follow,
        })
    }

    /// The part that has these numbers.
    #[must_use]
    pub fn around(self, numbers: &[u64]) -> Self {
        Self {
            after: numbers.iter().min().map(|first| first - 1),
            first: numbers.len(),
            ..self
        }
    }
}

/// A sequence: its end in memory, and what of it is on disk.
#[derive(Debug)]
pub struct Sequence<T> {
    /// In memory.
    pub recent: Arc<Recent<T>>,
    /// On disk, where history is kept.
    pub store: Option<Arc<Store>>,
    /// Who follows it.
    pub subscribers: Arc<Subscribers>,
}

impl<T> Clone for Sequence<T> {
    fn clone(&self) -> Self {
        Self {
            recent: Arc::clone(&self.recent),
            store: self.store.clone(),
            subscribers: Arc::clone(&self.subscribers),
        }
    }
}

/// What a stream makes of the sequence.
pub trait Messages: Send + Sync + 'static {
    /// What the sequence holds.
    type Value: Kept;
    /// What the client gets.
    type Message: Send + 'static;
    /// Marks the cursors of this sequence.
    const CURSOR: char;

    /// Whether the client wants this one.
    fn wants(&self, number: u64, value: &Self::Value) -> bool;
    /// Whether that may change shortly, because a container is so new that its runtime has not told of it.
    fn is_undecided(&self, value: &Self::Value) -> bool;
    /// Whether it is later than all that the client wants.
    fn is_past_end(&self, value: &Self::Value) -> bool;
    /// What the client wants, as far as it helps to find it on disk.
    fn narrow(&self) -> Narrow;
    /// What the client is told, as a message.
    fn message(&self, told: Told<'_, Self::Value>) -> Self::Message;
}

/// What a client is told.
pub enum Told<'a, V> {
    /// A value, with its number, and the id of the boot that it is of where that is not this one.
    Value(u64, &'a V, Option<&'a str>),
    /// Elements are missing.
    Lost(v1::Lost),
    /// More is known of a container.
    Amended(&'a Arc<Container>),
    /// There is nothing to tell.
    Heartbeat(v1::Heartbeat),
}

/// Starts a stream.
pub fn stream<M: Messages>(
    sequence: Sequence<M::Value>,
    context: &Context,
    range: Range,
    messages: M,
) -> tokio_stream::wrappers::ReceiverStream<Result<M::Message, Status>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let start = if let Some(after) = range.after {
        Start::After(after)
    } else if range.cursor.is_empty() {
        Start::Oldest
    } else {
        match context.number(M::CURSOR, &range.cursor) {
            Some(number) => Start::After(number),
            None => Start::UnknownCursor,
        }
    };
    let messages = Arc::new(messages);
    tokio::spawn(async move {
        let past = sequence
            .store
            .as_ref()
            .map(|store| Past::new(Arc::clone(store), messages.narrow()));
        let stream = Stream {
            recent: sequence.recent,
            store: sequence.store,
            subscribers: sequence.subscribers,
            past,
            range,
            messages,
            sender,
            last_told: Instant::now(),
            left: usize::MAX,
        };
        // An error means that the client is gone, or has had all that it asked for.
        let _ = stream.send(start).await;
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

/// The client is gone, or has all that it asked for.
struct Done;

/// Where a stream begins.
enum Start {
    Oldest,
    After(u64),
    UnknownCursor,
}

/// A stream to one client.
struct Stream<M: Messages> {
    recent: Arc<Recent<M::Value>>,
    store: Option<Arc<Store>>,
    subscribers: Arc<Subscribers>,
    /// Taken out while a thread reads with it.
    past: Option<Past>,
    range: Range,
    messages: Arc<M>,
    sender: mpsc::Sender<Result<M::Message, Status>>,
    last_told: Instant,
    /// Values that the client still wants.
    left: usize,
}

impl<M: Messages> Stream<M> {
    async fn send(mut self, start: Start) -> Result<(), Done> {
        let mut news = self.recent.subscribe();
        let end_of_past = self.recent.last();
        if self.range.first > 0 {
            self.left = self.range.first;
        }
        let mut after = match start {
            Start::After(number) => number,
            Start::Oldest => self.beginning().await,
            Start::UnknownCursor => {
                let reason =
                    "the cursor is not of this stream, or of a history that is no longer there";
                self.tell(lost(0, reason)).await?;
                self.beginning().await
            }
        };
        if self.range.last > 0 {
            after = self.newest(after, end_of_past).await;
        }
        let end_on_disk = self.end_on_disk(end_of_past).await;
        let subscriber = self.range.follow.then(|| self.subscribers.add(after));
        let has_had = |number: u64| {
            if let Some(subscriber) = &subscriber {
                subscriber.has_had(number);
            }
        };
        let mut looked = Instant::now();
        // Clocks are set back: what is too late in the past does not end it, but nothing live is wanted any more.
        let mut over = self
            .range
            .until
            .is_some_and(|until| until < SystemTime::now());
        loop {
            let batch = self.recent.after(Some(after), BATCH);
            if batch.missed > 0 {
                let until = after + batch.missed;
                after = match &self.store {
                    Some(_) if after >= end_on_disk && until <= end_of_past => until,
                    Some(_) => self.tell_past(after, until).await?,
                    None => {
                        self.subscribers.count_missed(batch.missed);
                        let reason = "slow client: it did not read fast enough";
                        self.tell(lost(batch.missed, reason)).await?;
                        until
                    }
                };
                has_had(after);
                continue;
            }
            let empty = batch.items.is_empty();
            for (number, item) in batch.items {
                let is_live = number > end_of_past;
                if is_live && !self.range.follow {
                    return Ok(());
                }
                after = number;
                match item {
                    Item::Value(value) => {
                        over |= self.messages.is_past_end(&value);
                        if is_live {
                            if over {
                                return Ok(());
                            }
                            self.decided(&value, &mut news).await;
                        }
                        self.tell_value(number, &value, None).await?;
                    }
                    // The past is told as it is known by now.
                    Item::Amended(_) if !is_live => {}
                    Item::Amended(container) => self.tell(Told::Amended(&container)).await?,
                }
                has_had(number);
            }
            self.beat().await?;
            if (empty || after >= end_of_past) && (over || !self.range.follow) {
                return Ok(());
            }
            if empty {
                tokio::select! {
                    changed = news.changed() => changed.map_err(|_| Done)?,
                    () = tokio::time::sleep_until(self.last_told + HEARTBEAT) => {}
                    () = self.sender.closed() => return Err(Done),
                }
                if looked.elapsed() < PACE {
                    tokio::time::sleep_until(looked + PACE).await;
                }
                looked = Instant::now();
            }
        }
    }

    /// Tells what is on disk of the numbers above `after` and up to `until`; returns how far it came.
    async fn tell_past(&mut self, after: u64, until: u64) -> Result<u64, Done> {
        if let Some(store) = &self.store {
            // What memory has let go of may be in the batch that is being written.
            store
                .wait(WRITING, |settled| M::Value::settled(settled) >= until)
                .await;
        }
        let settled = self.store.as_ref().map(|store| *store.settled().borrow());
        let written = settled.map_or(after, |settled| M::Value::settled(&settled));
        if written <= after {
            let reason = "history is not written at the moment";
            self.tell(lost(until - after, reason)).await?;
            return Ok(until);
        }
        let until = until.min(written);
        let Some(slice) = self
            .with_past(move |past| past.read::<M::Value>(after, until, BATCH))
            .await
        else {
            return Ok(until);
        };
        let mut gaps = slice.gaps.into_iter().peekable();
        for (number, value) in slice.items {
            while let Some(gap) = gaps.next_if(|gap| gap.first <= number) {
                self.tell_gap(&gap).await?;
            }
            self.tell_value(number, &value, slice.boot_id.as_deref())
                .await?;
        }
        for gap in gaps {
            self.tell_gap(&gap).await?;
        }
        self.beat().await?;
        Ok(slice.scanned)
    }

    /// Tells of a gap, unless it is of another time than the client asks for.
    async fn tell_gap(&mut self, gap: &Gap) -> Result<(), Done> {
        if let Some(absence) = gap.absence {
            let is_before = self.range.since.is_some_and(|since| absence.until < since);
            let begins = absence.since.unwrap_or(absence.until);
            if is_before || self.range.until.is_some_and(|until| begins > until) {
                return Ok(());
            }
        }
        self.tell(Told::Lost(gap.into())).await
    }

    async fn tell_value(
        &mut self,
        number: u64,
        value: &M::Value,
        boot: Option<&str>,
    ) -> Result<(), Done> {
        if !self.messages.wants(number, value) {
            return Ok(());
        }
        if M::Value::DURABLE
            && let Some(store) = &self.store
        {
            store
                .wait(DURABLE, |settled| M::Value::settled(settled) >= number)
                .await;
        }
        self.tell(Told::Value(number, value, boot)).await?;
        self.left -= 1;
        if self.left == 0 {
            return Err(Done);
        }
        Ok(())
    }

    async fn tell(&mut self, told: Told<'_, M::Value>) -> Result<(), Done> {
        let message = self.messages.message(told);
        self.sender.send(Ok(message)).await.map_err(|_| Done)?;
        self.last_told = Instant::now();
        Ok(())
    }

    /// Tells that it is there: nothing may have been wanted of much that happened.
    async fn beat(&mut self) -> Result<(), Done> {
        if self.last_told.elapsed() >= HEARTBEAT {
            let now = convert::timestamp(SystemTime::now());
            self.tell(Told::Heartbeat(v1::Heartbeat { time: Some(now) }))
                .await?;
        }
        Ok(())
    }

    /// Waits until it can be told whether the client wants a value, which may hang on what a runtime has yet to say. The
    /// client's other values wait behind it, so that they stay in order.
    async fn decided(&mut self, value: &M::Value, news: &mut watch::Receiver<u64>) {
        let deadline = Instant::now() + UNDECIDED;
        while self.messages.is_undecided(value) {
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(deadline) => return,
            }
        }
    }

    /// Reads on a thread that may wait for the disk.
    async fn with_past<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&mut Past) -> T + Send + 'static,
    ) -> Option<T> {
        let mut past = self.past.take()?;
        let read = tokio::task::spawn_blocking(move || {
            let result = read(&mut past);
            (past, result)
        });
        let (past, result) = read.await.ok()?;
        self.past = Some(past);
        Some(result)
    }

    /// The number to begin after, so that all follows that the client may want.
    async fn beginning(&mut self) -> u64 {
        let oldest = self.recent.oldest_number().saturating_sub(1);
        let Some(store) = &self.store else {
            return oldest;
        };
        let settled = M::Value::settled(&store.settled().borrow());
        let since = self.range.since;
        self.with_past(move |past| match since {
            // The times of alerts are not in order, and they are few.
            Some(since) if M::Value::BY_TIME => Some(past.before(since).unwrap_or(settled)),
            _ => past.beginning::<M::Value>(),
        })
        .await
        .flatten()
        .unwrap_or(oldest)
    }

    /// The number up to which what is on disk may be wanted, where all of the past is there.
    async fn end_on_disk(&mut self, end_of_past: u64) -> u64 {
        let settled = self
            .store
            .as_ref()
            .map_or(0, |store| M::Value::settled(&store.settled().borrow()));
        let by_time = M::Value::BY_TIME && settled >= end_of_past;
        let Some(until) = self.range.until.filter(|_| by_time) else {
            return u64::MAX;
        };
        self.with_past(move |past| past.up_to(until).unwrap_or(0))
            .await
            .unwrap_or(u64::MAX)
    }

    /// The number to begin after, so that the newest wanted elements of the past follow; `after` when there are not so
    /// many.
    async fn newest(&mut self, after: u64, end_of_past: u64) -> u64 {
        let limit = self.range.last;
        let mut wanted = VecDeque::with_capacity(limit.min(BATCH));
        let in_memory = after.max(self.recent.oldest_number().saturating_sub(1));
        let mut next = in_memory;
        'past: loop {
            let batch = self.recent.after(Some(next), BATCH);
            if batch.items.is_empty() {
                break;
            }
            for (number, item) in batch.items {
                if number > end_of_past {
                    break 'past;
                }
                next = number;
                if let Item::Value(value) = item
                    && self.messages.wants(number, &value)
                {
                    if wanted.len() == limit {
                        wanted.pop_front();
                    }
                    wanted.push_back(number);
                }
            }
        }
        if wanted.len() == limit {
            return wanted.front().map_or(after, |first| first - 1);
        }
        let missing = limit - wanted.len();
        let messages = Arc::clone(&self.messages);
        let found = self
            .with_past(move |past| {
                past.last::<M::Value>((after, in_memory), missing, &|number, value| {
                    messages.wants(number, value)
                })
            })
            .await;
        found.flatten().unwrap_or(after).max(after)
    }
}

fn lost<V>(count: u64, reason: &str) -> Told<'static, V> {
    Told::Lost(v1::Lost {
        count,
        reason: reason.to_owned(),
        ..v1::Lost::default()
    })
}

#[cfg(test)]
mod tests;
