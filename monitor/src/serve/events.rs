//! `watchkeeper.v1.Events`

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    convert::{self, Context},
    filter::WantedEvents,
    particulars::Particulars,
    sources::Sources,
    watch::{self, Messages, Range, Told},
};
use crate::{
    event::Event,
    proto::v1::{self, events_watch_response::Item},
    store::past::Narrow,
};

struct EventMessages {
    wanted: WantedEvents,
    /// Numbers of the events that caused an alert, where only those are wanted.
    evidence: Option<Vec<u64>>,
    context: Context,
}

impl Messages for EventMessages {
    type Value = Event;
    type Message = v1::EventsWatchResponse;
    const CURSOR: char = convert::EVENT_CURSOR;

    fn is_undecided(&self, event: &Event) -> bool {
        self.wanted
            .wanted
            .is_undecided(event.container().map(|container| &**container))
    }

    fn wants(&self, number: u64, event: &Event) -> bool {
        self.evidence
            .as_ref()
            .is_none_or(|evidence| evidence.contains(&number))
            && self.wanted.matches(event)
    }

    fn is_past_end(&self, event: &Event) -> bool {
        self.wanted.wanted.is_past_end(event.time)
    }

    fn narrow(&self) -> Narrow {
        self.wanted.wanted.narrow(&self.wanted.kinds)
    }

    fn message(&self, told: Told<'_, Event>) -> Self::Message {
        v1::EventsWatchResponse {
            item: Some(match told {
                Told::Value(number, event, boot) => {
                    Item::Event(self.context.of_boot(boot).event(number, event))
                }
                Told::Lost(lost) => Item::Lost(lost),
                Told::Amended(container) => Item::Amended(convert::amended(container)),
                Told::Heartbeat(heartbeat) => Item::Heartbeat(heartbeat),
            }),
        }
    }
}

#[tonic::async_trait]
impl v1::events_server::Events for Sources {
    type WatchStream = ReceiverStream<Result<v1::EventsWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::EventsWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let refused = Status::invalid_argument;
        let particulars = Particulars::new(&request).map_err(refused)?;
        let range = Range::new(
            request.cursor,
            (request.since, request.until),
            (request.limit, request.first),
            request.follow,
        )
        .map_err(refused)?;
        let (range, evidence) = if request.alert_id.is_empty() {
            (range, None)
        } else {
            let (_, alert) = self.find_alert(&request.alert_id).await?;
            let evidence = alert.tally().evidence;
            (range.around(&evidence), Some(evidence))
        };
        let messages = EventMessages {
            wanted: WantedEvents {
                wanted: self.wanted(request.filter, range.since, range.until)?,
                kinds: request.kinds,
                particulars,
            },
            evidence,
            context: self.context.clone(),
        };
        Ok(Response::new(watch::stream(
            self.events.clone(),
            &self.context,
            range,
            messages,
        )))
    }
}
