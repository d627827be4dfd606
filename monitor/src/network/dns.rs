//! DNS messages: what was asked for, and what was answered.
//!
//! A captured message may end anywhere, so it is read piece by piece as far as it goes; a parser of whole messages
//! would give nothing. The format is that of RFC 1035, section 4; names of types and codes are IANA's.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Most answers that are kept of one message.
pub const MAX_ANSWERS: usize = 32;
/// Most questions that are read on the way to the answers. Servers refuse more than one (RFC 9619).
const MAX_QUESTIONS: u16 = 4;
/// Most bytes of a name in a message, length bytes included (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;
/// Most compression pointers in one name: a name has at most 127 labels.
const MAX_POINTERS: usize = 127;
/// Most bytes of a text that are kept, before escapes.
const MAX_TEXT: usize = 1_024;

const RESPONSE: u16 = 1 << 15;
const TRUNCATION: u16 = 1 << 9;
const RESPONSE_CODE: u16 = 0xf;
const INTERNET: u16 = 1;

mod types {
    pub(super) const A: u16 = 1;
    pub(super) const NS: u16 = 2;
    pub(super) const CNAME: u16 = 5;
    pub(super) const PTR: u16 = 12;
    pub(super) const MX: u16 = 15;
    pub(super) const TXT: u16 = 16;
    pub(super) const AAAA: u16 = 28;
    pub(super) const SRV: u16 = 33;
    pub(super) const DNAME: u16 = 39;
    pub(super) const SPF: u16 = 99;
}

/// A query or an answer to one.
///
/// Names are in lower case and without the final dot; the root is `.`. A byte of a label that is not printable ASCII is
/// written `\DDD`, a dot or backslash in a label has a backslash before it, as in zone files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Chosen by who asks, and the same in the answer.
    pub id: u16,
    /// It is an answer, and not a query.
    pub answer: bool,
    /// `NOERROR`, `NXDOMAIN`, …; `RCODE12` for one without a name. Extended codes (RFC 6891) show their lower four bits.
    pub response_code: String,
    /// Name of the first question; empty where there is none, or it was cut.
    pub name: String,
    /// Type of the first question, `A`, `AAAA`, …; `TYPE65399` for one without a name. Empty as `name` is.
    pub record_type: String,
    /// Records of the answer section, at most [`MAX_ANSWERS`].
    pub answers: Vec<Answer>,
    /// Questions or answers are missing: cut by the server or by the capture, malformed, or too many.
    pub truncated: bool,
}

/// A record of the answer section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name it belongs to.
    pub name: String,
    /// What it says.
    pub data: Data,
    /// Seconds for which it may be cached.
    pub ttl: u32,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A, AAAA.
    Address(IpAddr),
    /// The other name in a record of CNAME, DNAME, NS, PTR, MX, SRV.
    Name(String),
    /// TXT, SPF: all strings as one, bytes that are not printable as `\DDD`. What there is of it, where it was cut.
    Text(String),
    /// Of another type, which is named.
    Other(String),
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(text) | Self::Text(text) | Self::Other(text) => f.write_str(text),
        }
    }
}

/// Why bytes are not a DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// They end before the header does.
    Short,
    /// The name asked for breaks the format: too long, a label of a reserved kind, a pointer that does not go back.
    Malformed,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "fewer bytes than a DNS header has",
            Self::Malformed => "a name that breaks the format of DNS",
        })
    }
}

impl std::error::Error for ParseError {}

/// Reads a message, which may be cut anywhere. Over TCP, a two-byte length is before it; what follows it is left.
///
/// # Errors
/// [`ParseError`] when the bytes are not a message, or only a part of its header. Behind the first question nothing is
/// an error: reading ends there, and the message is marked as truncated.
pub fn parse(bytes: &[u8], over_tcp: bool) -> Result<Message, ParseError> {
    let bytes = if over_tcp { framed(bytes)? } else { bytes };
    let mut reader = Reader { bytes, at: 0 };
    let id = reader.u16()?;
    let flags = reader.u16()?;
    let questions = reader.u16()?;
    let answers = reader.u16()?;
    reader.take(4)?;
    let mut message = Message {
        id,
        answer: flags & RESPONSE != 0,
        response_code: response_code(flags & RESPONSE_CODE),
        name: String::new(),
        record_type: String::new(),
        answers: Vec::new(),
        truncated: flags & TRUNCATION != 0,
    };
    if questions > 0 {
        match reader.question(&mut message) {
            Ok(()) => {}
            Err(ParseError::Short) => {
                message.truncated = true;
                return Ok(message);
            }
            Err(ParseError::Malformed) => return Err(ParseError::Malformed),
        }
    }
    let read = reader
        .skip_questions(questions)
        .and_then(|()| reader.answers(answers, &mut message.answers));
    message.truncated |= read.is_err();
    Ok(message)
}

/// The first message in a stream.
fn framed(stream: &[u8]) -> Result<&[u8], ParseError> {
    let (length, rest) = stream.split_first_chunk().ok_or(ParseError::Short)?;
    let length = usize::from(u16::from_be_bytes(*length));
    Ok(rest.get(..length).unwrap_or(rest))
}

/// A place in a message. Bytes before it can be pointed back to.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], ParseError> {
        let taken = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.get(..length));
        let taken = taken.ok_or(ParseError::Short)?;
        self.at += length;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, ParseError> {
        self.take(1)?.first().copied().ok_or(ParseError::Short)
    }

    fn u16(&mut self) -> Result<u16, ParseError> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn u32(&mut self) -> Result<u32, ParseError> {
        Ok((u32::from(self.u16()?) << 16) | u32::from(self.u16()?))
    }

    fn question(&mut self, message: &mut Message) -> Result<(), ParseError> {
        message.name = self.name()?;
        message.record_type = type_name(self.u16()?);
        self.take(2)?;
        Ok(())
    }

    /// What follows the first question, up to the answers.
    fn skip_questions(&mut self, count: u16) -> Result<(), ParseError> {
        if count > MAX_QUESTIONS {
            return Err(ParseError::Malformed);
        }
        for _ in 1..count {
            self.name()?;
            self.take(4)?;
        }
        Ok(())
    }

    fn answers(&mut self, count: u16, answers: &mut Vec<Answer>) -> Result<(), ParseError> {
        for _ in 0..count {
            if answers.len() == MAX_ANSWERS {
                return Err(ParseError::Short);
            }
            let name = self.name()?;
            let kind = self.u16()?;
            let class = self.u16()?;
            let ttl = self.u32()?;
            let length = usize::from(self.u16()?);
            let at = self.at;
            self.at = self.bytes.len().min(at + length);
            let cut = self.at < at + length;
            let bytes = self.bytes.get(..self.at).unwrap_or_default();
            let data = Reader { bytes, at }.data(kind, class, cut)?;
            answers.push(Answer { name, data, ttl });
            if cut {
                return Err(ParseError::Short);
            }
        }
        Ok(())
    }

    /// The data of a record, which reach to the end of the bytes.
    fn data(mut self, kind: u16, class: u16, cut: bool) -> Result<Data, ParseError> {
        if matches!(kind, types::TXT | types::SPF) {
            return Ok(Data::Text(self.text()));
        }
        if cut {
            return Err(ParseError::Short);
        }
        let before_name = match kind {
            types::A if class == INTERNET => {
                return Ok(Data::Address(Ipv4Addr::from(self.rest()?).into()));
            }
            types::AAAA if class == INTERNET => {
                return Ok(Data::Address(Ipv6Addr::from(self.rest()?).into()));
            }
            types::CNAME | types::DNAME | types::NS | types::PTR => 0,
            // A preference; priority, weight and port.
            types::MX => 2,
            types::SRV => 6,
            kind => return Ok(Data::Other(type_name(kind))),
        };
        self.take(before_name)?;
        self.name().map(Data::Name)
    }

    /// Exactly what is left.
    fn rest<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.try_into().map_err(|_| ParseError::Malformed)
    }

    /// All that is left, as strings with a length byte each.
    fn text(&mut self) -> String {
        let mut text = String::new();
        let mut room = MAX_TEXT;
        while let Ok(length) = self.u8()
            && room > 0
        {
            let left = self.bytes.len() - self.at;
            let string = self.take(left.min(usize::from(length))).unwrap_or_default();
            for &byte in string.iter().take(room) {
                match byte {
                    b'\\' => text.push_str(r"\\"),
                    b' '..=b'~' => text.push(char::from(byte)),
                    _ => push_decimal(&mut text, byte),
                }
            }
            room = room.saturating_sub(string.len());
        }
        text
    }

    /// A name, in which pointers only go back: what they point to was read before.
    fn name(&mut self) -> Result<String, ParseError> {
        let mut name = String::new();
        let mut length = 1;
        let mut pointers = 0;
        // Where reading goes on: behind the first pointer.
        let mut behind = None;
        loop {
            let start = self.at;
            let first = self.u8()?;
            match first >> 6 {
                0 if first == 0 => break,
                0 => {
                    length += 1 + usize::from(first);
                    if length > MAX_NAME {
                        return Err(ParseError::Malformed);
                    }
                    let label = self.take(usize::from(first))?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    push_label(&mut name, label);
                }
                3 => {
                    let target = (usize::from(first & 0x3f) << 8) | usize::from(self.u8()?);
                    pointers += 1;
                    if target >= start || pointers > MAX_POINTERS {
                        return Err(ParseError::Malformed);
                    }
                    behind.get_or_insert(self.at);
                    self.at = target;
                }
                _ => return Err(ParseError::Malformed),
            }
        }
        self.at = behind.unwrap_or(self.at);
        if name.is_empty() {
            name.push('.');
        }
        Ok(name)
    }
}

fn push_label(name: &mut String, label: &[u8]) {
    for byte in label.iter().map(u8::to_ascii_lowercase) {
        match byte {
            b'.' | b'\\' => name.extend(['\\', char::from(byte)]),
            b'!'..=b'~' => name.push(char::from(byte)),
            _ => push_decimal(name, byte),
        }
    }
}

/// `\DDD`.
fn push_decimal(text: &mut String, byte: u8) {
    let digit = |value: u8| char::from(b'0' + value % 10);
    text.extend(['\\', digit(byte / 100), digit(byte / 10), digit(byte)]);
}

/// Name of a response code in IANA's registry "DNS RCODEs".
fn response_code(code: u16) -> String {
    let name = match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        11 => "DSOTYPENI",
        _ => return format!("RCODE{code}"),
    };
    name.to_owned()
}

/// Name of a type in IANA's registry "Resource Record (RR) TYPEs"; others as RFC 3597 writes them.
fn type_name(kind: u16) -> String {
    let name = match kind {
        types::A => "A",
        types::NS => "NS",
        types::CNAME => "CNAME",
        6 => "SOA",
        10 => "NULL",
        types::PTR => "PTR",
        13 => "HINFO",
        types::MX => "MX",
        types::TXT => "TXT",
        17 => "RP",
        25 => "KEY",
        types::AAAA => "AAAA",
        29 => "LOC",
        types::SRV => "SRV",
        35 => "NAPTR",
        37 => "CERT",
        types::DNAME => "DNAME",
        41 => "OPT",
        43 => "DS",
        44 => "SSHFP",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        49 => "DHCID",
        50 => "NSEC3",
        51 => "NSEC3PARAM",
        52 => "TLSA",
        53 => "SMIMEA",
        59 => "CDS",
        60 => "CDNSKEY",
        61 => "OPENPGPKEY",
        62 => "CSYNC",
        63 => "ZONEMD",
        64 => "SVCB",
        65 => "HTTPS",
        types::SPF => "SPF",
        249 => "TKEY",
        250 => "TSIG",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        256 => "URI",
        257 => "CAA",
        _ => return format!("TYPE{kind}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
