//! One way to read a sequence for all streams: the past, then what is live when asked to follow.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tonic::Status;

use super::convert::{self, Context};
use crate::{
    container::model::Container,
    proto::v1,
    store::recent::{Item, Recent},
};

/// Elements that are read at a time.
const BATCH: usize = 256;
/// Messages that may wait for a client; more stay in the sequence until it reads on.
const WAITING: usize = 64;
/// How long a stream waits for a runtime to tell of a new container.
const UNDECIDED: Duration = Duration::from_secs(2);
/// How long a stream may be silent.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Where and how far to read.
#[derive(Clone, Debug, Default)]
pub struct Range {
    /// Go on after the element with this cursor.
    pub cursor: String,
    /// At most this many from the past, the newest; 0 for all.
    pub limit: usize,
    /// Go on with what is live.
    pub follow: bool,
}

/// What a stream makes of the sequence.
pub trait Messages: Send + Sync + 'static {
    /// What the sequence holds.
    type Value: Send + Sync + 'static;
    /// What the client gets.
    type Message: Send + 'static;
    /// Marks the cursors of this sequence.
    const CURSOR: char;

    /// Whether the client wants this one.
    fn wants(&self, value: &Self::Value) -> bool;
    /// Whether that may change shortly, because a container is so new that its runtime has not told of it.
    fn is_undecided(&self, value: &Self::Value) -> bool;
    /// Whether nothing that the client wants can come any more after this one.
    fn is_past_end(&self, value: &Self::Value) -> bool;
    /// What the client is told, as a message.
    fn message(&self, told: Told<'_, Self::Value>) -> Self::Message;
}

/// What a client is told.
pub enum Told<'a, V> {
    /// A value, with its number.
    Value(u64, &'a V),
    /// Elements are missing.
    Lost(v1::Lost),
    /// More is known of a container.
    Amended(&'a Arc<Container>),
    /// There is nothing to tell.
    Heartbeat(v1::Heartbeat),
}

impl Range {
    /// From the fields that requests have for it.
    #[must_use]
    pub fn new(cursor: String, limit: u32, follow: bool) -> Self {
        Self {
            cursor,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            follow,
        }
    }
}

/// Starts a stream.
pub fn stream<M: Messages>(
    recent: Arc<Recent<M::Value>>,
    context: &Context,
    range: Range,
    messages: M,
) -> tokio_stream::wrappers::ReceiverStream<Result<M::Message, Status>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let start = if range.cursor.is_empty() {
        Start::Oldest
    } else {
        match context.number(M::CURSOR, &range.cursor) {
            Some(number) => Start::After(number),
            None => Start::UnknownCursor,
        }
    };
    tokio::spawn(async move {
        // An error means that the client is gone.
        let _ = send(&recent, start, &range, &messages, &sender).await;
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

/// The client is gone.
struct Gone;

/// Where a stream begins.
enum Start {
    Oldest,
    After(u64),
    UnknownCursor,
}

async fn send<M: Messages>(
    recent: &Recent<M::Value>,
    start: Start,
    range: &Range,
    messages: &M,
    sender: &mpsc::Sender<Result<M::Message, Status>>,
) -> Result<(), Gone> {
    let tell = async |message| sender.send(Ok(message)).await.map_err(|_| Gone);
    let mut news = recent.subscribe();
    let end_of_past = recent.last();
    let mut last_told = Instant::now();
    let mut after = match start {
        Start::Oldest => None,
        Start::After(number) => Some(number),
        Start::UnknownCursor => {
            let reason = "the cursor is not of this stream and this run of the agent: what came between is not kept";
            tell(messages.message(lost(0, reason))).await?;
            None
        }
    };
    if range.limit > 0 {
        after = newest(recent, after, end_of_past, range.limit, messages).or(after);
    }
    loop {
        let batch = recent.after(after, BATCH);
        if batch.missed > 0 {
            let reason = "slow client: it did not read fast enough";
            tell(messages.message(lost(batch.missed, reason))).await?;
        }
        let empty = batch.items.is_empty();
        for (number, item) in batch.items {
            let is_live = number > end_of_past;
            if is_live && !range.follow {
                return Ok(());
            }
            after = Some(number);
            let message = match item {
                Item::Value(value) => {
                    if messages.is_past_end(&value) {
                        return Ok(());
                    }
                    if is_live {
                        decided(messages, &*value, &mut news).await;
                    }
                    if !messages.wants(&value) {
                        continue;
                    }
                    messages.message(Told::Value(number, &value))
                }
                // The past is told as it is known by now.
                Item::Amended(_) if !is_live => continue,
                Item::Amended(container) => messages.message(Told::Amended(&container)),
            };
            tell(message).await?;
            last_told = Instant::now();
        }
        // Nothing may have been wanted of much that happened.
        if range.follow && last_told.elapsed() >= HEARTBEAT {
            tell(messages.message(heartbeat())).await?;
            last_told = Instant::now();
        }
        if empty || after >= Some(end_of_past) {
            if !range.follow {
                return Ok(());
            }
            // Who began with nothing has missed whatever it does not get from here on.
            after = after.or(Some(end_of_past));
        }
        if empty {
            tokio::select! {
                changed = news.changed() => changed.map_err(|_| Gone)?,
                () = tokio::time::sleep_until(last_told + HEARTBEAT) => {}
                () = sender.closed() => return Err(Gone),
            }
        }
    }
}

/// Waits until it can be told whether the client wants a value, which may hang on what a runtime has yet to say. The
/// client's other values wait behind it, so that they stay in order.
async fn decided<M: Messages>(messages: &M, value: &M::Value, news: &mut watch::Receiver<u64>) {
    let deadline = Instant::now() + UNDECIDED;
    while messages.is_undecided(value) {
        tokio::select! {
            changed = news.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(deadline) => return,
        }
    }
}

fn lost<V>(count: u64, reason: &str) -> Told<'static, V> {
    Told::Lost(v1::Lost {
        count,
        reason: reason.to_owned(),
    })
}

fn heartbeat<V>() -> Told<'static, V> {
    Told::Heartbeat(v1::Heartbeat {
        time: Some(convert::timestamp(SystemTime::now())),
    })
}

/// The number to begin after, so that the newest `limit` wanted elements of the past follow; `None` when there are not
/// so many.
fn newest<M: Messages>(
    recent: &Recent<M::Value>,
    mut after: Option<u64>,
    end_of_past: u64,
    limit: usize,
    messages: &M,
) -> Option<u64> {
    let mut wanted = VecDeque::with_capacity(limit.min(BATCH));
    'past: loop {
        let batch = recent.after(after, BATCH);
        if batch.items.is_empty() {
            break;
        }
        for (number, item) in batch.items {
            if number > end_of_past {
                break 'past;
            }
            after = Some(number);
            if let Item::Value(value) = item
                && messages.wants(&value)
            {
                if wanted.len() == limit {
                    wanted.pop_front();
                }
                wanted.push_back(number);
            }
        }
    }
    if wanted.len() < limit {
        return None;
    }
    wanted.front().map(|first| first - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_stream::StreamExt as _;

    use super::*;

    /// Every number, and "lost n".
    struct Numbers {
        only_even: bool,
        until: u64,
    }

    impl Messages for Numbers {
        type Value = u64;
        type Message = String;
        const CURSOR: char = 'n';

        fn is_undecided(&self, _: &u64) -> bool {
            false
        }
        fn wants(&self, value: &u64) -> bool {
            !self.only_even || value.is_multiple_of(2)
        }
        fn is_past_end(&self, value: &u64) -> bool {
            *value > self.until
        }
        fn message(&self, told: Told<'_, u64>) -> String {
            match told {
                Told::Value(_, value) => value.to_string(),
                Told::Lost(lost) => format!("lost {}", lost.count),
                Told::Amended(_) => "amended".to_owned(),
                Told::Heartbeat(_) => "heartbeat".to_owned(),
            }
        }
    }

    fn context() -> Context {
        Context {
            node: String::new(),
            boot_id: String::new(),
            run: "run".to_owned(),
        }
    }

    fn everything() -> Numbers {
        Numbers {
            only_even: false,
            until: u64::MAX,
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime")
            .block_on(future)
    }

    fn collect(recent: &Arc<Recent<u64>>, range: Range, numbers: Numbers) -> Vec<String> {
        run(async {
            stream(Arc::clone(recent), &context(), range, numbers)
                .map(|message| message.expect("no status"))
                .collect()
                .await
        })
    }

    fn filled(numbers: std::ops::RangeInclusive<u64>, ceiling: usize) -> Arc<Recent<u64>> {
        let recent = Arc::new(Recent::new(ceiling, usize::MAX));
        for number in numbers {
            recent.push(Arc::new(number), 1);
        }
        recent
    }

    #[test]
    fn without_follow_the_past_is_told_and_the_stream_ends() {
        let recent = filled(1..=4, 100);
        assert_eq!(
            collect(&recent, Range::default(), everything()),
            ["1", "2", "3", "4"]
        );
        let empty = Arc::new(Recent::new(1, 1));
        assert!(collect(&empty, Range::default(), everything()).is_empty());
    }

    #[test]
    fn limit_takes_the_newest_that_are_wanted() {
        let recent = filled(1..=10, 100);
        let range = Range {
            limit: 2,
            ..Range::default()
        };
        let even = Numbers {
            only_even: true,
            until: u64::MAX,
        };
        assert_eq!(collect(&recent, range, even), ["8", "10"]);
        let range = Range {
            limit: 50,
            ..Range::default()
        };
        assert_eq!(collect(&recent, range, everything()).len(), 10);
    }

    #[test]
    fn a_cursor_goes_on_after_its_element() {
        let recent = filled(1..=5, 100);
        let range = Range {
            cursor: "run-n3".to_owned(),
            ..Range::default()
        };
        assert_eq!(collect(&recent, range, everything()), ["4", "5"]);
    }

    #[test]
    fn gaps_are_told() {
        let recent = filled(1..=10, 4);
        let range = Range {
            cursor: "run-n3".to_owned(),
            ..Range::default()
        };
        assert_eq!(
            collect(&recent, range, everything()),
            ["lost 3", "7", "8", "9", "10"]
        );
        let range = Range {
            cursor: "earlier-n3".to_owned(),
            ..Range::default()
        };
        assert_eq!(collect(&recent, range, everything())[0], "lost 0");
    }

    #[test]
    fn the_end_in_time_ends_even_a_followed_stream() {
        let recent = filled(1..=10, 100);
        let range = Range {
            follow: true,
            ..Range::default()
        };
        let numbers = Numbers {
            only_even: false,
            until: 3,
        };
        assert_eq!(collect(&recent, range, numbers), ["1", "2", "3"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Wherever the past ends and the live part begins, a follower gets everything once and in order.
        #[test]
        fn history_and_live_make_up_the_sequence(past in 0..600u64, live in 1..600u64) {
            let recent = filled(1..=past, usize::MAX);
            let range = Range { follow: true, ..Range::default() };
            let total = usize::try_from(past + live).expect("small");
            let seen: Vec<String> = run(async {
                let mut stream = stream(Arc::clone(&recent), &context(), range, everything());
                let pushing = Arc::clone(&recent);
                let writer = tokio::spawn(async move {
                    for number in past + 1..=past + live {
                        pushing.push(Arc::new(number), 1);
                        if number % 7 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                });
                let mut seen = Vec::new();
                while seen.len() < total {
                    seen.push(stream.next().await.expect("goes on").expect("no status"));
                }
                writer.await.expect("written");
                seen
            });
            let expected: Vec<String> = (1..=past + live).map(|number| number.to_string()).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
