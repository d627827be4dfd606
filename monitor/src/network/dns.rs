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
mod tests {
    use proptest::prelude::*;
    use simple_dns::{
        CLASS, Label, Name, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE,
        rdata::{A, AAAA, CNAME, MX, RData, SRV, TXT},
    };

    use super::*;

    /// A message with names written by an independent implementation, compressed as servers do.
    fn built(answers: &[(&'static str, u32, RData<'static>)]) -> Vec<u8> {
        let mut packet = Packet::new_reply(0xbeef);
        packet.questions.push(Question::new(
            Name::new_unchecked("WWW.Example.com"),
            QTYPE::TYPE(TYPE::A),
            CLASS::IN.into(),
            false,
        ));
        for (name, ttl, data) in answers {
            let name = Name::new_unchecked(name);
            let record = ResourceRecord::new(name, CLASS::IN, *ttl, data.clone());
            packet.answers.push(record);
        }
        packet.build_bytes_vec_compressed().expect("short")
    }

    fn alias() -> RData<'static> {
        RData::CNAME(CNAME(Name::new_unchecked("web.cdn.example.net")))
    }

    fn address(last: u8) -> RData<'static> {
        RData::A(A::from(Ipv4Addr::new(192, 0, 2, last)))
    }

    fn header(questions: u16, answers: u16) -> Vec<u8> {
        let counts = [7, 0x8180, questions, answers, 0, 0];
        counts
            .iter()
            .flat_map(|count| count.to_be_bytes())
            .collect()
    }

    #[test]
    fn an_answer_with_an_alias() {
        let bytes = built(&[
            ("www.example.com", 30, alias()),
            ("web.cdn.example.net", 60, address(1)),
        ]);
        let answer = |name: &str, ttl, data| Answer {
            name: name.to_owned(),
            data,
            ttl,
        };
        let address = IpAddr::from([192, 0, 2, 1]);
        let expected = Message {
            id: 0xbeef,
            answer: true,
            response_code: "NOERROR".to_owned(),
            name: "www.example.com".to_owned(),
            record_type: "A".to_owned(),
            answers: vec![
                answer(
                    "www.example.com",
                    30,
                    Data::Name("web.cdn.example.net".to_owned()),
                ),
                answer("web.cdn.example.net", 60, Data::Address(address)),
            ],
            truncated: false,
        };
        assert_eq!(parse(&bytes, false), Ok(expected.clone()));
        let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
        let stream = [&length[..], &bytes, b"the next message"].concat();
        assert_eq!(parse(&stream, true), Ok(expected));
    }

    #[test]
    fn a_query_that_glibc_sends() {
        let bytes = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x07example\x03org\0\0\x1c\0\x01\
                      \0\0\x29\x04\xb0\0\0\0\0\0\0";
        let message = parse(bytes, false).expect("a message");
        assert_eq!(
            (message.id, message.answer, message.truncated),
            (0x1234, false, false)
        );
        assert_eq!(
            (&*message.name, &*message.record_type),
            ("example.org", "AAAA")
        );
    }

    #[test]
    fn every_kind_of_data() {
        let six = Ipv6Addr::LOCALHOST;
        let exchange = Name::new_unchecked("mx.example.com");
        let text = TXT::new()
            .with_string("v=spf1 -all")
            .and_then(|text| text.with_string("\\\u{1b}"));
        let target = Name::new_unchecked("sip.example.com");
        let service = SRV {
            priority: 1,
            weight: 2,
            port: 5_060,
            target,
        };
        let cases: [(RData<'static>, Data); 6] = [
            (
                RData::SRV(service),
                Data::Name("sip.example.com".to_owned()),
            ),
            (RData::AAAA(AAAA::from(six)), Data::Address(six.into())),
            (
                RData::MX(MX {
                    preference: 10,
                    exchange,
                }),
                Data::Name("mx.example.com".to_owned()),
            ),
            (
                RData::TXT(text.expect("short")),
                Data::Text(r"v=spf1 -all\\\027".to_owned()),
            ),
            (
                RData::NULL(10, simple_dns::rdata::NULL::new(b"x").expect("short")),
                Data::Other("NULL".to_owned()),
            ),
            (alias(), Data::Name("web.cdn.example.net".to_owned())),
        ];
        for (data, expected) in cases {
            let message = parse(&built(&[("www.example.com", 1, data)]), false).expect("a message");
            assert_eq!(message.answers[0].data, expected);
            assert!(!message.truncated);
        }
    }

    #[test]
    fn an_error_has_a_code_and_perhaps_no_question() {
        let mut packet = Packet::new_reply(1);
        *packet.rcode_mut() = RCODE::NameError;
        packet.set_flags(PacketFlag::TRUNCATION);
        let message = parse(&packet.build_bytes_vec().expect("short"), false).expect("a message");
        assert_eq!(message.response_code, "NXDOMAIN");
        assert!(message.name.is_empty() && message.truncated);
    }

    #[test]
    fn a_cut_message_gives_what_is_there() {
        let bytes = built(&[
            ("www.example.com", 30, alias()),
            ("web.cdn.example.net", 60, address(1)),
        ]);
        let whole = parse(&bytes, false).expect("a message");
        let mut seen = [0; 3];
        for length in 0..bytes.len() {
            match parse(&bytes[..length], false) {
                Err(error) => assert!(error == ParseError::Short && length < 12),
                Ok(message) => {
                    assert!(message.truncated, "{length} bytes");
                    assert!(whole.name.starts_with(&message.name));
                    assert!(whole.answers.starts_with(&message.answers));
                    seen[message.answers.len()] += 1;
                }
            }
        }
        assert!(seen[0] > 10 && seen[1] > 10 && seen[2] == 0, "{seen:?}");
    }

    #[test]
    fn a_cut_text_is_kept_up_to_the_cut() {
        let text = RData::TXT(TXT::new().with_string("exfiltrated").expect("short"));
        let bytes = built(&[("www.example.com", 1, text)]);
        let message = parse(&bytes[..bytes.len() - 4], false).expect("a message");
        assert_eq!(message.answers[0].data, Data::Text("exfiltr".to_owned()));
        assert!(message.truncated);
    }

    #[test]
    fn a_message_in_a_stream_ends_where_its_length_says() {
        let bytes = built(&[("www.example.com", 60, address(1))]);
        let length = u16::try_from(bytes.len() - 1).expect("short").to_be_bytes();
        let message = parse(&[&length[..], &bytes].concat(), true).expect("a message");
        assert!(message.answers.is_empty() && message.truncated);
    }

    #[test]
    fn a_long_text_is_bounded() {
        let strings = [&[255][..], &[b'a'; 255]].concat().repeat(8);
        let length = u16::try_from(strings.len()).expect("short").to_be_bytes();
        let record = b"\x01a\0\0\x10\0\x01\0\0\0\x01";
        let bytes = [&header(0, 1), &record[..], &length, &strings].concat();
        let message = parse(&bytes, false).expect("a message");
        assert_eq!(message.answers[0].data, Data::Text("a".repeat(MAX_TEXT)));
    }

    #[test]
    fn reading_goes_on_behind_the_first_of_several_pointers() {
        let exchange = MX {
            preference: 1,
            exchange: Name::new_unchecked("mx.example.com"),
        };
        let bytes = built(&[
            ("www.example.com", 5, RData::MX(exchange)),
            ("mx.example.com", 5, address(1)),
            ("mx.example.com", 5, address(2)),
        ]);
        let message = parse(&bytes, false).expect("a message");
        assert_eq!(message.answers.len(), 3);
        assert_eq!(message.answers[2].name, "mx.example.com");
    }

    #[test]
    fn a_chain_of_pointers_is_bounded() {
        for (pointers, answers) in [(MAX_POINTERS, 2), (MAX_POINTERS + 1, 1)] {
            // Data of a type that is not read: a root, a pointer to it, a pointer to that pointer, and so on.
            let start = 12 + 11;
            let mut data = vec![0];
            for index in 1..pointers {
                let target = start + if index == 1 { 0 } else { 2 * index - 3 };
                data.extend((0xc000 | u16::try_from(target).expect("short")).to_be_bytes());
            }
            let length = u16::try_from(data.len()).expect("short").to_be_bytes();
            let last = u16::try_from(start + data.len() - 2).expect("short") | 0xc000;
            let bytes = [
                &header(0, 2),
                &b"\0\0\x0a\0\x01\0\0\0\x01"[..],
                &length,
                &data,
                &last.to_be_bytes(),
                b"\0\x01\0\x01\0\0\0\x01\0\x04\xc0\0\x02\x01",
            ]
            .concat();
            let message = parse(&bytes, false).expect("a message");
            assert_eq!(message.answers.len(), answers, "{pointers}");
        }
    }

    #[test]
    fn answers_come_after_all_questions() {
        let question = b"\x01q\0\0\x01\0\x01";
        let answer = b"\x01a\0\0\x01\0\x01\0\0\0\x01\0\x04\xc0\0\x02\x01";
        for (questions, answers) in [(1, 1), (2, 1), (MAX_QUESTIONS, 1), (MAX_QUESTIONS + 1, 0)] {
            let asked = question.repeat(usize::from(questions));
            let bytes = [&header(questions, 1), &asked[..], answer].concat();
            let message = parse(&bytes, false).expect("a message");
            assert_eq!((&*message.name, message.answers.len()), ("q", answers));
            assert_eq!(message.truncated, answers == 0);
        }
    }

    #[test]
    fn an_address_of_another_class_is_none() {
        let chaos = b"\x01a\0\0\x01\0\x03\0\0\0\x01\0\x04\xc0\0\x02\x01";
        let message = parse(&[&header(0, 1), &chaos[..]].concat(), false).expect("a message");
        assert_eq!(message.answers[0].data, Data::Other("A".to_owned()));
    }

    #[test]
    fn labels_of_any_bytes_are_escaped() {
        let cases: [(&[u8], &str); 5] = [
            (b"\x03A.b\0", r"a\.b"),
            (b"\x02\xff\0\x03COM\0", r"\255\000.com"),
            (b"\x02\\ \0", r"\\\032"),
            (b"\x03\xe2\x82\xac\0", r"\226\130\172"),
            (b"\0", "."),
        ];
        for (name, expected) in cases {
            let bytes = [&header(1, 0), name, b"\0\x01\0\x01"].concat();
            assert_eq!(parse(&bytes, false).expect("a message").name, expected);
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(4);
        let cases: [(&str, &[u8]); 5] = [
            ("a pointer to itself", b"\xc0\x0c"),
            ("a loop through a label", b"\x01a\xc0\x0c"),
            ("a pointer forward", b"\xc0\x20"),
            ("a label of a reserved kind", b"\x41a\0"),
            ("a long name", &long),
        ];
        for (what, name) in cases {
            let bytes = [&header(1, 0), name, &[0; 40]].concat();
            assert_eq!(parse(&bytes, false), Err(ParseError::Malformed), "{what}");
        }
    }

    #[test]
    fn a_malformed_answer_ends_the_answers() {
        let good = b"\x01a\0\0\x01\0\x01\0\0\0\x01\0\x04\xc0\0\x02\x01";
        let short_address = b"\x01a\0\0\x01\0\x01\0\0\0\x01\0\x03\xc0\0\x02";
        let bytes = [&header(0, 3), &good[..], short_address, good].concat();
        let message = parse(&bytes, false).expect("a message");
        assert_eq!((message.answers.len(), message.truncated), (1, true));
    }

    #[test]
    fn answers_are_bounded() {
        let many: Vec<_> = (0..40)
            .map(|last| ("www.example.com", 5, address(last)))
            .collect();
        let message = parse(&built(&many), false).expect("a message");
        assert_eq!(
            (message.answers.len(), message.truncated),
            (MAX_ANSWERS, true)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), over_tcp: bool) {
            let _ = parse(&bytes, over_tcp);
        }

        #[test]
        fn no_change_of_a_message_makes_it_panic_or_grow(at in any::<prop::sample::Index>(), value: u8) {
            let mut bytes = built(&[("www.example.com", 30, alias()), ("web.cdn.example.net", 60, address(1))]);
            let at = at.index(bytes.len());
            bytes[at] = value;
            if let Ok(message) = parse(&bytes, false) {
                prop_assert!(message.answers.len() <= MAX_ANSWERS);
                prop_assert!(message.name.len() <= 4 * MAX_NAME);
            }
        }

        #[test]
        fn names_agree_with_another_implementation(
            labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..6)
        ) {
            let labels: Vec<_> = labels.iter().map(|label| Label::new_unchecked(&label[..])).collect();
            let name = Name::new_with_labels(&labels);
            let mut packet = Packet::new_query(1);
            packet.questions.push(Question::new(name, QTYPE::ANY, CLASS::IN.into(), false));
            let message = parse(&packet.build_bytes_vec().expect("short"), false).expect("a message");
            let mut expected = String::new();
            for (index, label) in packet.questions[0].qname.as_bytes().enumerate() {
                if index > 0 {
                    expected.push('.');
                }
                for byte in label {
                    match byte.to_ascii_lowercase() {
                        byte @ (b'.' | b'\\') => expected.push_str(&format!("\\{}", char::from(byte))),
                        byte if byte.is_ascii_graphic() => expected.push(char::from(byte)),
                        byte => expected.push_str(&format!("\\{byte:03}")),
                    }
                }
            }
            prop_assert_eq!(message.name, expected);
        }
    }
}
