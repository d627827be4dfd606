//! `watchkeeper.v1.Events`

use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    convert::{self, Context},
    filter::{Wanted, WantedEvents},
    sources::Sources,
    watch::{self, Messages, Range, Told},
};
use crate::{
    event::Event,
    proto::v1::{self, events_watch_response::Item},
};

struct EventMessages {
    wanted: WantedEvents,
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

    fn wants(&self, event: &Event) -> bool {
        self.wanted.matches(event)
    }

    fn is_past_end(&self, event: &Event) -> bool {
        self.wanted.wanted.is_past_end(event.time)
    }

    fn message(&self, told: Told<'_, Event>) -> Self::Message {
        v1::EventsWatchResponse {
            item: Some(match told {
                Told::Value(number, event) => Item::Event(self.context.event(number, event)),
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
        let messages = EventMessages {
            wanted: WantedEvents {
                wanted: Wanted::new(request.filter, request.since, request.until)
                    .map_err(Status::invalid_argument)?,
                kinds: request.kinds,
            },
            context: self.context.clone(),
        };
        let range = Range::new(request.cursor, request.limit, request.follow);
        let sequence = Arc::clone(&self.events);
        Ok(Response::new(watch::stream(
            sequence,
            &self.context,
            range,
            messages,
        )))
    }
}
