//! A gap in a sentence.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use prost_types::Timestamp;

use super::v1::Lost;

impl Lost {
    /// How long no agent ran, where that is why something is missing, and known. A clock that was set back meanwhile makes it
    /// nothing.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let since = SystemTime::try_from(self.since?).ok()?;
        let until = SystemTime::try_from(self.until?).ok()?;
        Some(until.duration_since(since).unwrap_or_default())
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)?;
        if let Some(since) = self.since {
            write!(formatter, ", from {}", to_the_second(since))?;
        }
        if let Some(until) = self.until {
            write!(formatter, " until {}", to_the_second(until))?;
        }
        match self.duration() {
            Some(duration) => write!(formatter, " ({:.1} s)", duration.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// A time in UTC.
fn to_the_second(time: Timestamp) -> Timestamp {
    Timestamp { nanos: 0, ..time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_told_with_its_times() {
        let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
        let told = |since, until| {
            let reason = "the agent did not run".to_owned();
            let lost = Lost {
                count: 0,
                reason,
                since,
                until,
            };
            lost.to_string()
        };
        assert_eq!(
            told(at(1, 0), at(4, 500_000_000)),
            "the agent did not run, from 1970-01-01T00:00:01Z until 1970-01-01T00:00:04Z (3.5 s)"
        );
        assert_eq!(
            told(None, at(4, 0)),
            "the agent did not run until 1970-01-01T00:00:04Z"
        );
        let set_back = told(at(9, 0), at(4, 0));
        assert!(set_back.ends_with("(0.0 s)"), "{set_back}");
        assert_eq!(told(None, None), "the agent did not run");
    }
}
