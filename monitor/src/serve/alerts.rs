//! `watchkeeper.v1.Alerts`

use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    convert::{self, Context},
    filter::{Wanted, WantedAlerts},
    sources::Sources,
    watch::{self, Messages, Range, Told},
};
use crate::{
    detect::alert::Alert,
    proto::v1::{self, alerts_watch_response::Item},
};

struct AlertMessages {
    wanted: WantedAlerts,
    context: Context,
}

impl Messages for AlertMessages {
    type Value = Alert;
    type Message = v1::AlertsWatchResponse;
    const CURSOR: char = convert::ALERT_CURSOR;

    fn is_undecided(&self, alert: &Alert) -> bool {
        alert
            .event
            .container()
            .is_some_and(|container| container.is_unnamed())
    }

    fn wants(&self, alert: &Alert) -> bool {
        self.wanted.matches(alert)
    }

    fn is_past_end(&self, alert: &Alert) -> bool {
        self.wanted.wanted.is_past_end(alert.event.time)
    }

    fn message(&self, told: Told<'_, Alert>) -> Self::Message {
        v1::AlertsWatchResponse {
            item: Some(match told {
                Told::Value(number, alert) => Item::Alert(self.context.alert(number, alert)),
                Told::Lost(lost) => Item::Lost(lost),
                Told::Amended(container) => Item::Amended(convert::amended(container)),
                Told::Heartbeat(heartbeat) => Item::Heartbeat(heartbeat),
            }),
        }
    }
}

#[tonic::async_trait]
impl v1::alerts_server::Alerts for Sources {
    type WatchStream = ReceiverStream<Result<v1::AlertsWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::AlertsWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let messages = AlertMessages {
            wanted: WantedAlerts {
                wanted: Wanted::new(request.filter, request.since, request.until)
                    .map_err(Status::invalid_argument)?,
                rules: request.rules,
                min_severity: request.min_severity,
            },
            context: self.context.clone(),
        };
        let range = Range::new(request.cursor, request.limit, request.follow);
        let sequence = Arc::clone(&self.alerts);
        Ok(Response::new(watch::stream(
            sequence,
            &self.context,
            range,
            messages,
        )))
    }
}
