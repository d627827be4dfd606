//! Messages as servers send them, and as nobody should.

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
