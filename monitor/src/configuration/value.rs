//! Values of the configuration that are written as text: the same in a file, in the environment and on the command line.

use std::{
    borrow::Cow, collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, str::FromStr,
    time::Duration,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use watchkeeper_ebpf::{budget::Rate, loss::Class, offsets::Sensor};

use crate::{container::cri, event::class_name, kernel::sensors, store::MIN_BYTES};

/// Highest rate of a budget, in events a second.
const MAX_RATE: u32 = 1_000_000;

/// A size of history in bytes: as `512MiB`, `2GiB` or a plain number. 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A time of `MIN` to `MAX` seconds: as `90s`, `15m`, `1h`, `2d`, or a plain number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time<const MIN: u64, const MAX: u64>(pub Duration);

/// The socket of a container runtime: an absolute path, `auto` or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeSocket(pub cri::Socket);

/// An address and a port, as `127.0.0.1:9464`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

/// The size of a ring buffer in KiB: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize(pub u32);

/// The path of a cgroup from the root of the hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupPath(pub String);

/// A class of events by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassName(pub Class);

/// A sensor by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SensorName(pub Sensor);

/// A budget as the command line has it: `file=1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub Class, pub Rate);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "" => Some(0),
            "KiB" | "Ki" | "K" => Some(10),
            "MiB" | "Mi" | "M" => Some(20),
            "GiB" | "Gi" | "G" => Some(30),
            "TiB" | "Ti" | "T" => Some(40),
            _ => None,
        };
        let bytes = digits
            .parse::<u64>()
            .ok()
            .zip(unit)
            .and_then(|(number, unit)| number.checked_mul(1 << unit))
            .ok_or("give a size as 512MiB or 2GiB")?;
        if bytes == 0 || bytes >= MIN_BYTES {
            Ok(Self(bytes))
        } else {
            Err(format!(
                "give at least {} MiB, or 0 for none",
                MIN_BYTES >> 20
            ))
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = units
            .into_iter()
            .find(|(bits, _)| self.0 != 0 && self.0.trailing_zeros() >= *bits);
        match whole {
            Some((bits, unit)) => write!(formatter, "{}{unit}", self.0 >> bits),
            None => write!(formatter, "{}", self.0),
        }
    }
}

/// A time as `90s`, `15m`, `1h` or `2d`.
///
/// # Errors
/// When it is none.
pub fn time(text: &str) -> Result<Duration, String> {
    text.char_indices()
        .last()
        .and_then(|(end, unit)| {
            let number: u64 = text[..end].parse().ok()?;
            let seconds = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3_600,
                'd' => 86_400,
                _ => return None,
            };
            Some(Duration::from_secs(number.checked_mul(seconds)?))
        })
        .ok_or_else(|| "give a time as 90s, 15m, 1h or 2d".to_owned())
}

impl<const MIN: u64, const MAX: u64> FromStr for Time<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration = match text.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => time(text)?,
        };
        if (MIN..=MAX).contains(&duration.as_secs()) {
            Ok(Self(duration))
        } else {
            Err(format!("give a time from {MIN} to {MAX} seconds"))
        }
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Time<MIN, MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
        let whole = units
            .into_iter()
            .find(|(unit, _)| seconds.is_multiple_of(*unit));
        let (unit, letter) = whole.unwrap_or((1, 's'));
        write!(formatter, "{}{letter}", seconds / unit)
    }
}

impl FromStr for RuntimeSocket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "auto" => cri::Socket::Auto,
            "none" => cri::Socket::None,
            path if path.starts_with('/') => cri::Socket::Path(PathBuf::from(path)),
            _ => return Err("give an absolute path, `auto` or `none`".to_owned()),
        }))
    }
}

impl fmt::Display for RuntimeSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            cri::Socket::Auto => formatter.write_str("auto"),
            cri::Socket::None => formatter.write_str("none"),
            cri::Socket::Path(path) => write!(formatter, "{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            "give an address and a port, such as 127.0.0.1:9464 or [::]:9464".to_owned()
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl RingSize {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u32 {
        self.0 * 1_024
    }
}

impl FromStr for RingSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kib: u32 = text
            .parse()
            .map_err(|_| "give a number of KiB".to_owned())?;
        if kib.is_power_of_two() && (64..=1 << 20).contains(&kib) {
            Ok(Self(kib))
        } else {
            Err("give a power of two from 64 to 1048576".to_owned())
        }
    }
}

impl fmt::Display for RingSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for CgroupPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.trim_end_matches('/');
        if path.starts_with('/') {
            Ok(Self(path.to_owned()))
        } else {
            Err("give a path below the root, such as /system.slice/backup.service".to_owned())
        }
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for ClassName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(text, Class::ALL, class_name).map(Self)
    }
}

impl fmt::Display for ClassName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(class_name(self.0))
    }
}

impl FromStr for SensorName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(text, Sensor::ALL, sensors::name).map(Self)
    }
}

impl fmt::Display for SensorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(sensors::name(self.0))
    }
}

/// The one of several that has a name.
fn named<T: Copy, const N: usize>(
    text: &str,
    all: [T; N],
    name: fn(T) -> &'static str,
) -> Result<T, String> {
    all.into_iter()
        .find(|one| name(*one) == text)
        .ok_or_else(|| {
            let names: Vec<_> = all.into_iter().map(name).collect();
            let near = names
                .iter()
                .max_by(|one, other| strsim::jaro(one, text).total_cmp(&strsim::jaro(other, text)))
                .filter(|name| strsim::jaro(name, text) > 0.8);
            match near {
                Some(near) => format!("there is no `{text}`; is `{near}` meant?"),
                None => format!("give one of {}", names.join(", ")),
            }
        })
}

/// A budget of so many events a second, which may come at once.
fn rate(per_second: u32) -> Result<Rate, String> {
    if (1..=MAX_RATE).contains(&per_second) {
        Ok(Rate {
            per_second,
            burst: per_second,
        })
    } else {
        Err(format!("give a rate from 1 to {MAX_RATE} events a second"))
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text
            .split_once('=')
            .ok_or("give it as CLASS=RATE, such as file=1000")?;
        let ClassName(class) = name.parse()?;
        // What is no number is no rate either.
        Ok(Self(class, rate(number.parse().unwrap_or(0))?))
    }
}

/// Budgets as a file has them, classes with rates: `{file: 1000}`.
pub mod budgets {
    use super::{BTreeMap, Budget, ClassName, Deserialize, Deserializer, Serializer, de, rate};

    /// Reads them.
    ///
    /// # Errors
    /// When a class is unknown, or a rate is out of range.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<Budget>>, D::Error> {
        let rates = BTreeMap::<ClassName, u32>::deserialize(deserializer)?;
        let budgets = rates
            .into_iter()
            .map(|(class, per_second)| Ok(Budget(class.0, rate(per_second)?)))
            .collect::<Result<_, String>>();
        budgets.map(Some).map_err(de::Error::custom)
    }

    /// Writes them.
    ///
    /// # Errors
    /// As the format has them.
    pub fn serialize<S: Serializer>(
        budgets: &Option<Vec<Budget>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let rates = budgets.iter().flatten();
        serializer
            .collect_map(rates.map(|Budget(class, rate)| (ClassName(*class), rate.per_second)))
    }
}

/// Reads a value that is written as text, and may look like a number.
fn from_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = String>,
    D: Deserializer<'de>,
{
    struct Text<T>(std::marker::PhantomData<T>);
    impl<T: FromStr<Err = String>> de::Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a text or a number")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
    }
    deserializer.deserialize_any(Text(std::marker::PhantomData))
}

/// Writes such a value: as a number where it looks like one, so that a file has it as people write it.
fn to_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    let text = value.to_string();
    match text.parse() {
        Ok(number) => serializer.serialize_u64(number),
        Err(_) => serializer.serialize_str(&text),
    }
}

/// Reading, writing and the schema of values that are written as text.
macro_rules! written_as_text {
    ($([$($parameter:ident),*] $type:ty, $name:literal, $schema:expr;)*) => {$(
        impl<'de, $(const $parameter: u64),*> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer)
            }
        }

        impl<$(const $parameter: u64),*> Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                to_text(self, serializer)
            }
        }

        impl<$(const $parameter: u64),*> JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

written_as_text! {
    [] Size, "Size", json_schema!({"type": ["string", "integer"], "pattern": "^[0-9]+([KMGT](iB?)?)?$"});
    [MIN, MAX] Time<MIN, MAX>, "Time", json_schema!({"type": ["string", "integer"], "pattern": "^[0-9]+[smhd]?$"});
    [] RuntimeSocket, "RuntimeSocket", json_schema!({"type": "string", "pattern": "^(auto|none|/.*)$"});
    [] Address, "Address", json_schema!({"type": "string", "pattern": "^.+:[0-9]+$"});
    [] RingSize, "RingSize", json_schema!({"type": "integer", "enum": (6..=20).map(|bits| 1 << bits).collect::<Vec<u32>>()});
    [] CgroupPath, "CgroupPath", json_schema!({"type": "string", "pattern": "^/"});
    [] ClassName, "ClassName", json_schema!({"type": "string", "enum": Class::ALL.map(class_name)});
    [] SensorName, "SensorName", json_schema!({"type": "string", "enum": Sensor::ALL.map(sensors::name)});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["0", "17", "16MiB", "1GiB", "3TiB", "20000KiB"] {
            let Ok(size) = text.parse::<Size>() else {
                assert_eq!(text, "17");
                continue;
            };
            assert_eq!(size.to_string().parse(), Ok(size), "{text}");
        }
        for (text, shown) in [("90", "90s"), ("60s", "1m"), ("24h", "1d"), ("36h", "36h")] {
            let time: Time<1, 1_000_000> = text.parse().expect(text);
            assert_eq!(time.to_string(), shown);
        }
        assert!("5000".parse::<Time<1, 3_600>>().is_err());
        assert!("0".parse::<Time<1, 3_600>>().is_err());
        assert_eq!("1GiB".parse(), Ok(Size(1 << 30)));
        assert_eq!(Size(1 << 30).to_string(), "1GiB");
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("16MiB", Some(16 << 20)),
            ("1G", Some(1 << 30)),
            ("100", None),
            ("1MiB", None),
            ("GiB", None),
            ("5EiB", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(
                text.parse::<Size>().ok().map(|size| size.0),
                bytes,
                "{text}"
            );
        }
    }

    #[test]
    fn names_that_are_mistyped_get_a_suggestion() {
        let error = "file-opens".parse::<SensorName>().expect_err("unknown");
        assert_eq!(error, "there is no `file-opens`; is `file-open` meant?");
        let error = "xyz".parse::<ClassName>().expect_err("unknown");
        assert!(error.starts_with("give one of "), "{error}");
        assert!("file=0".parse::<Budget>().is_err());
        assert!("file=x".parse::<Budget>().is_err());
        assert!("file".parse::<Budget>().is_err());
        assert_eq!(
            "file=7".parse::<Budget>().map(|budget| budget.1.per_second),
            Ok(7)
        );
    }
}
