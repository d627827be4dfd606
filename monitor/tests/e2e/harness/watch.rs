//! Clients of the agent's API.

use std::path::Path;

use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use watchkeeper::proto::v1::alerts_client::AlertsClient;
use watchkeeper::proto::v1::containers_client::ContainersClient;
use watchkeeper::proto::v1::events_client::EventsClient;
use watchkeeper::proto::v1::node_client::NodeClient;
use watchkeeper::proto::v1::{
    Alert, AlertsWatchRequest, AlertsWatchResponse, Container, ContainersListRequest, Event,
    EventKind, EventsWatchRequest, EventsWatchResponse, Lost, Metadata, NodeStatusRequest,
    NodeStatusResponse, alerts_watch_response, events_watch_response,
};

use super::agent::Agent;
use super::{LIMIT, within};

/// Connects to a gRPC server on a Unix socket.
pub(crate) async fn connect(socket: &Path) -> Channel {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
        .expect("the path makes a URI");
    within("connecting", endpoint.connect())
        .await
        .unwrap_or_else(|error| panic!("could not connect to {}: {error}", socket.display()))
}

/// What is streamed about containers: alerts and events.
pub(crate) trait Response {
    /// The thing itself.
    type Item: std::fmt::Debug;
    /// Takes the message apart.
    fn open(self) -> Received<Self::Item>;
    /// The container that the thing happened in.
    fn container(item: &mut Self::Item) -> &mut Option<Container>;
    /// One line about the thing, for a test that fails.
    fn summary(item: &Self::Item) -> String;
}

/// A message of a stream.
pub(crate) enum Received<T> {
    /// The thing itself, boxed for its size.
    Item(Box<T>),
    /// A container as it is known now.
    Amended(Box<Container>),
    /// A gap.
    Lost(Lost),
    /// Nothing happened.
    Heartbeat,
}

macro_rules! response {
    ($response:ty, $item:ty, $module:ident, $case:ident, $title:expr) => {
        impl Response for $response {
            type Item = $item;
            fn open(self) -> Received<$item> {
                match self.item.expect("a message of a stream is not empty") {
                    $module::Item::$case(item) => Received::Item(Box::new(item)),
                    $module::Item::Amended(amended) => Received::Amended(Box::new(
                        amended.container.expect("an amendment has its container"),
                    )),
                    $module::Item::Lost(lost) => Received::Lost(lost),
                    $module::Item::Heartbeat(_) => Received::Heartbeat,
                }
            }
            fn container(item: &mut $item) -> &mut Option<Container> {
                &mut item.container
            }
            fn summary(item: &$item) -> String {
                let title: fn(&$item) -> String = $title;
                let argv = item.process.as_ref().map(|process| &process.argv);
                let container = item.container.as_ref();
                let metadata = container.map(Container::metadata);
                let container = container_id(container);
                let location = item.location();
                format!(
                    "{} {argv:?} {location:?} {container} {metadata:?}",
                    title(item)
                )
            }
        }
    };
}
response!(
    AlertsWatchResponse,
    Alert,
    alerts_watch_response,
    Alert,
    |alert| alert.rule_id.clone()
);
response!(
    EventsWatchResponse,
    Event,
    events_watch_response,
    Event,
    |event| format!("{:?}", event.kind())
);

/// A stream with all that came over it.
pub(crate) struct Watch<R: Response> {
    stream: Streaming<R>,
    /// In order of arrival, with their containers as known by now.
    pub(crate) seen: Vec<R::Item>,
    /// The times in which no agent ran that it told of.
    pub(crate) absences: Vec<Lost>,
}

impl<R: Response> Watch<R> {
    fn new(stream: Streaming<R>) -> Self {
        Self {
            stream,
            seen: Vec::new(),
            absences: Vec::new(),
        }
    }

    /// The first that `matches`, of what came already or is still to come, once its container's metadata has come or is known
    /// never to come.
    pub(crate) async fn find(&mut self, what: &str, matches: impl Fn(&R::Item) -> bool) -> R::Item
    where
        R::Item: Clone,
    {
        let search = tokio::time::timeout(LIMIT, async {
            loop {
                for item in &mut self.seen {
                    let settled = |container: &Option<Container>| {
                        container
                            .as_ref()
                            .is_none_or(|known| known.metadata() != Metadata::Pending)
                    };
                    if matches(item) && settled(R::container(item)) {
                        return Some(item.clone());
                    }
                }
                if !self.receive().await {
                    return None;
                }
            }
        });
        let outcome = search.await;
        if let Ok(Some(item)) = outcome {
            return item;
        }
        for item in &self.seen {
            eprintln!("came: {}", R::summary(item));
        }
        let why = if outcome.is_ok() {
            "the stream ended"
        } else {
            "not in time"
        };
        panic!("{what}: {why}, {} came", self.seen.len());
    }

    /// Takes what comes until `count` of it `matches`; returns how many that is when nothing more comes in time.
    pub(crate) async fn gather(
        &mut self,
        count: usize,
        matches: impl Fn(&R::Item) -> bool,
    ) -> usize {
        let mut looked_at = 0;
        let mut found = 0;
        loop {
            found += self.seen[looked_at..]
                .iter()
                .filter(|item| matches(item))
                .count();
            looked_at = self.seen.len();
            let more = found < count
                && matches!(tokio::time::timeout(LIMIT, self.receive()).await, Ok(true));
            if !more {
                return found;
            }
        }
    }

    /// Takes one message; false when the stream has ended.
    async fn receive(&mut self) -> bool {
        let message = self.stream.message().await.expect("the stream is whole");
        let Some(message) = message else { return false };
        match message.open() {
            Received::Item(item) => self.seen.push(*item),
            Received::Amended(container) => {
                for item in &mut self.seen {
                    if let Some(known) = R::container(item)
                        && known.id == container.id
                    {
                        known.clone_from(&container);
                    }
                }
            }
            // The time between two runs, of an agent that was restarted.
            Received::Lost(lost) if lost.until.is_some() => self.absences.push(lost),
            Received::Lost(lost) => panic!("{} were lost: {}", lost.count, lost.reason),
            Received::Heartbeat => {}
        }
        true
    }

    /// Takes what comes until the stream ends by itself.
    pub(crate) async fn ended(mut self) -> Self {
        within("a query ends by itself", async {
            while self.receive().await {}
        })
        .await;
        self
    }

    async fn into_all(self) -> Vec<R::Item> {
        self.ended().await.seen
    }
}

impl Agent {
    /// Alerts as `request` wants them.
    pub(crate) async fn watch_alerts(
        &self,
        request: AlertsWatchRequest,
    ) -> Watch<AlertsWatchResponse> {
        let mut client = AlertsClient::new(connect(&self.socket()).await);
        let response = within("Alerts.Watch", client.watch(request)).await;
        Watch::new(response.expect("alerts can be watched").into_inner())
    }

    /// All alerts of its life, and those to come.
    pub(crate) async fn live_alerts(&self) -> Watch<AlertsWatchResponse> {
        self.watch_alerts(AlertsWatchRequest {
            follow: true,
            ..Default::default()
        })
        .await
    }

    /// The alerts so far.
    pub(crate) async fn past_alerts(&self) -> Vec<Alert> {
        self.watch_alerts(AlertsWatchRequest::default())
            .await
            .into_all()
            .await
    }

    /// Events as `request` wants them.
    pub(crate) async fn watch_events(
        &self,
        request: EventsWatchRequest,
    ) -> Watch<EventsWatchResponse> {
        let mut client = EventsClient::new(connect(&self.socket()).await);
        let response = within("Events.Watch", client.watch(request)).await;
        Watch::new(response.expect("events can be watched").into_inner())
    }

    /// All events of one kind, and those to come.
    pub(crate) async fn live_events(&self, kind: EventKind) -> Watch<EventsWatchResponse> {
        self.watch_events(EventsWatchRequest {
            kinds: vec![kind.into()],
            follow: true,
            ..Default::default()
        })
        .await
    }

    /// The events so far that `request` asks for.
    pub(crate) async fn past_events(&self, request: EventsWatchRequest) -> Vec<Event> {
        self.watch_events(request).await.into_all().await
    }

    /// The execs so far.
    pub(crate) async fn past_execs(&self) -> Vec<Event> {
        self.past_events(EventsWatchRequest {
            kinds: vec![EventKind::Exec.into()],
            ..Default::default()
        })
        .await
    }

    /// The exec that `matches`, past or to come.
    pub(crate) async fn exec(&self, what: &str, matches: impl Fn(&Event) -> bool) -> Event {
        let mut watch = self.live_events(EventKind::Exec).await;
        watch.find(what, matches).await
    }

    /// The exec with `argument` among its arguments. Tests use unique ones.
    pub(crate) async fn exec_with(&self, argument: &str) -> Event {
        self.exec(&format!("an exec with the argument {argument}"), |event| {
            argv(event).iter().any(|value| value == argument)
        })
        .await
    }

    /// The containers that it knows.
    pub(crate) async fn containers(&self, ended: bool) -> Vec<Container> {
        let mut client = ContainersClient::new(connect(&self.socket()).await);
        let response = within(
            "Containers.List",
            client.list(ContainersListRequest {
                ended,
                isolation: false,
            }),
        )
        .await;
        let response = response.expect("containers can be listed");
        response.into_inner().containers
    }

    /// How it is.
    pub(crate) async fn status(&self) -> NodeStatusResponse {
        let mut client = NodeClient::new(connect(&self.socket()).await);
        let response = within("Node.Status", client.status(NodeStatusRequest {})).await;
        response.expect("the node has a status").into_inner()
    }
}

/// Arguments of an event's process.
pub(crate) fn argv(event: &Event) -> &[String] {
    event
        .process
        .as_ref()
        .map_or(&[], |process| process.argv.as_slice())
}

/// Id of the container of an event or alert, empty for none.
pub(crate) fn container_id(container: Option<&Container>) -> &str {
    container.map_or("", |container| container.id.as_str())
}
