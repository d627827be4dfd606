//! What a connection carries, by its first bytes: Stratum, which miners speak to their pools.
//!
//! Stratum is JSON-RPC, a request a line, on any port. The bytes may end anywhere, so requests are read as far as they
//! go. Only the `method` of a request counts: text about mining in other values, however nested, is not mining.

/// Most bytes that are kept of a string.
const MAX_STRING: usize = 128;

/// What was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// `stratum`.
    pub protocol: &'static str,
    /// The method of the first request that told.
    pub method: String,
    /// What the client calls itself, at most 128 bytes of it. Any characters: it is for who shows it to clean it.
    pub agent: Option<String>,
}

/// Methods that only Stratum has. All are requests of a client.
const METHODS: [&str; 6] = [
    "mining.subscribe",
    "mining.authorize",
    "mining.configure",
    "mining.extranonce.subscribe",
    // EthereumStratum/2.0.0.
    "mining.hello",
    // Ethereum, as proxies for getwork spoke it.
    "eth_submitLogin",
];

/// The method of Stratum for CryptoNote, a name that others use too: parameters tell.
const LOGIN: &str = "login";

/// Recognises the protocol by the first bytes that a client sent, all of them or the beginning.
#[must_use]
pub fn recognise(bytes: &[u8]) -> Option<Recognised> {
    let mut reader = Reader { bytes, at: 0 };
    let mut found: Option<Recognised> = None;
    while reader.peek() == Some(b'{') {
        let mut request = Request::default();
        let whole = reader.request(&mut request).is_some();
        match (&mut found, request.recognise()) {
            (Some(found), Some(other)) => found.agent = found.agent.take().or(other.agent),
            (None, recognised) => found = recognised,
            (Some(_), None) => {}
        }
        // What comes after a cut or broken request can't be told from its inside.
        if !whole || found.as_ref().is_some_and(|found| found.agent.is_some()) {
            break;
        }
    }
    found
}

/// What matters of a request, as far as it was read.
#[derive(Default)]
struct Request {
    method: Option<Vec<u8>>,
    parameters: Parameters,
}

#[derive(Default)]
struct Parameters {
    /// The first one in a list.
    first: Option<Vec<u8>>,
    agent: Option<Vec<u8>>,
    has_agent: bool,
    has_algorithm: bool,
    has_login: bool,
    has_password: bool,
}

impl Request {
    fn recognise(self) -> Option<Recognised> {
        let method = String::from_utf8(self.method?).ok()?;
        let given = &self.parameters;
        let mining = METHODS.contains(&&*method)
            || (method == LOGIN
                && (given.has_agent
                    || given.has_algorithm
                    || (given.has_login && given.has_password)));
        if !mining {
            return None;
        }
        // Elsewhere the first parameter is an account.
        let first = self
            .parameters
            .first
            .filter(|_| method == "mining.subscribe");
        let agent = self.parameters.agent.or(first).map(|agent| text(&agent));
        Some(Recognised {
            protocol: "stratum",
            method,
            agent: agent.filter(|agent| !agent.is_empty()),
        })
    }
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    text.truncate(text.floor_char_boundary(MAX_STRING));
    text
}

/// A place in JSON. Each step gives `None` where the bytes end, or are no JSON; being strict is for who answers.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.bytes.get(self.at..)?;
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.at += rest.iter().take_while(|byte| space(byte)).count();
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        (self.peek()? == expected).then(|| self.at += 1)
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn request(&mut self, request: &mut Request) -> Option<()> {
        self.object(|reader, key| {
            match (key, reader.peek()?) {
                (b"method", b'"') => request.method = Some(reader.string()?),
                (b"params", b'[') => reader.list(&mut request.parameters.first)?,
                (b"params", b'{') => {
                    let parameters = &mut request.parameters;
                    reader.object(|reader, key| reader.parameter(key, parameters))?;
                }
                _ => reader.skip()?,
            }
            Some(())
        })
    }

    fn parameter(&mut self, key: &[u8], parameters: &mut Parameters) -> Option<()> {
        match key {
            b"agent" => parameters.has_agent = true,
            b"algo" => parameters.has_algorithm = true,
            b"login" => parameters.has_login = true,
            b"pass" => parameters.has_password = true,
            _ => {}
        }
        if key == b"agent" && self.peek()? == b'"' {
            self.string_into(parameters.agent.insert(Vec::new()))
        } else {
            self.skip()
        }
    }

    /// An object, of which `member` reads each value.
    fn object(&mut self, mut member: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        loop {
            match self.peek()? {
                b'"' => {
                    let key = self.string()?;
                    self.take(b':')?;
                    member(self, &key)?;
                }
                b',' => self.at += 1,
                b'}' => return self.take(b'}'),
                _ => return None,
            }
        }
    }

    /// A list, of which the first value is kept if it is a string.
    fn list(&mut self, first: &mut Option<Vec<u8>>) -> Option<()> {
        self.take(b'[')?;
        if self.peek()? == b'"' {
            self.string_into(first.insert(Vec::new()))?;
        }
        self.close(1)
    }

    /// Any value.
    fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.close(0),
            _ => {
                while !matches!(self.peek()?, b',' | b'}' | b']') {
                    self.at += 1;
                }
                Some(())
            }
        }
    }

    /// What is left of `depth` lists and objects, one in the other. With 0, first one opens.
    fn close(&mut self, mut depth: usize) -> Option<()> {
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        self.string_into(&mut text)?;
        Some(text)
    }

    /// A string without its escapes, its beginning if it is long; what there is of it where the bytes end in it.
    fn string_into(&mut self, text: &mut Vec<u8>) -> Option<()> {
        self.take(b'"')?;
        loop {
            let byte = match self.byte()? {
                b'"' => return Some(()),
                b'\\' => match self.byte()? {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'u' => {
                        let character = self.unicode()?;
                        let mut buffer = [0; 4];
                        extend(text, character.encode_utf8(&mut buffer).as_bytes());
                        continue;
                    }
                    other => other,
                },
                byte => byte,
            };
            extend(text, &[byte]);
        }
    }

    /// The character behind `\u`; half of a surrogate pair becomes U+FFFD.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hexadecimal()?;
        let mut units = vec![first];
        let rest = self.bytes.get(self.at..)?;
        if (0xd800..0xdc00).contains(&first) && rest.starts_with(br"\u") {
            let before = self.at;
            self.at += 2;
            let second = self.hexadecimal()?;
            if (0xdc00..0xe000).contains(&second) {
                units.push(second);
            } else {
                self.at = before;
            }
        }
        let decoded = char::decode_utf16(units).next()?;
        Some(decoded.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hexadecimal(&mut self) -> Option<u16> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = char::from(self.byte()?).to_digit(16)?;
            value = (value << 4) | u16::try_from(digit).ok()?;
        }
        Some(value)
    }
}

/// All strings that are looked for are shorter than what is kept, so that the beginning of a long one equals none.
fn extend(text: &mut Vec<u8>, bytes: &[u8]) {
    if text.len() < MAX_STRING {
        text.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const XMRIG: &str = r#"{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"48edfHu7V9Z84YzzMa6fUueoELZ9ZRXq9VetWzYGzKt52XU5xvqgzYnDK9URnRoJMk1j8nLwEVsaSWJ4fhdUyZijBGUicoD","pass":"x","agent":"XMRig/6.21.0 (Linux x86_64) libuv/1.44.2 gcc/12.2.0","rigid":"","algo":["cn/1","cn/2","rx/0"]}}"#;
    const CGMINER: &str =
        "{\"id\": 0, \"method\": \"mining.subscribe\", \"params\": [\"cgminer/4.11.1\"]}\n";

    fn stratum(method: &str, agent: Option<&str>) -> Option<Recognised> {
        Some(Recognised {
            protocol: "stratum",
            method: method.to_owned(),
            agent: agent.map(str::to_owned),
        })
    }

    #[test]
    fn what_miners_send_first_is_recognised() {
        let cases: [(&str, &str, Option<&str>); 17] = [
            (
                XMRIG,
                "login",
                Some("XMRig/6.21.0 (Linux x86_64) libuv/1.44.2 gcc/12.2.0"),
            ),
            (CGMINER, "mining.subscribe", Some("cgminer/4.11.1")),
            // The resumed session is not the agent.
            (
                r#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.11.1","6d1f"]}"#,
                "mining.subscribe",
                Some("cgminer/4.11.1"),
            ),
            // ckpool as a client of another pool.
            (
                r#"{"params": ["ckproxy/0.9"], "id": 0, "method": "mining.subscribe"}"#,
                "mining.subscribe",
                Some("ckproxy/0.9"),
            ),
            // cpuminer without a session.
            (
                r#"{"id": 1, "method": "mining.subscribe", "params": []}"#,
                "mining.subscribe",
                None,
            ),
            // Ethereum at NiceHash.
            (
                r#"{"id":1,"method":"mining.subscribe","params":["MinerName/1.0.0","EthereumStratum/1.0.0"]}"#,
                "mining.subscribe",
                Some("MinerName/1.0.0"),
            ),
            (
                r#"{"id":2,"method":"mining.extranonce.subscribe","params":[]}"#,
                "mining.extranonce.subscribe",
                None,
            ),
            // Zcash.
            (
                r#"{"id":1,"method":"mining.subscribe","params":[null,null,"pool.example",3333]}"#,
                "mining.subscribe",
                None,
            ),
            (
                r#"{"id":0,"method":"mining.hello","params":{"agent":"ethminer-0.17","host":"pool.example","port":"4d2","proto":"EthereumStratum/2.0.0"}}"#,
                "mining.hello",
                Some("ethminer-0.17"),
            ),
            // Ethereum through a proxy for getwork.
            (
                r#"{"id":1,"method":"eth_submitLogin","worker":"rig1","params":["0x0123","x"],"jsonrpc":"2.0"}"#,
                "eth_submitLogin",
                None,
            ),
            (
                r#"{"method": "mining.authorize", "params": ["account.worker", "secret"], "id": 2}"#,
                "mining.authorize",
                None,
            ),
            // Firmware of ASICs begins with extensions, and the subscription is in the same segment.
            (
                "{\"id\":1,\"method\":\"mining.configure\",\"params\":[[\"version-rolling\"],{\"version-rolling.mask\":\"1fffe000\"}]}\n\
                 {\"id\":2,\"method\":\"mining.subscribe\",\"params\":[\"bmminer/2.0.0\"]}\n",
                "mining.configure",
                Some("bmminer/2.0.0"),
            ),
            (
                r#"{"method":"login","params":{"login":"account","pass":"x"},"id":1}"#,
                "login",
                None,
            ),
            (
                r#"{"method":"login","params":{"algo":"rx/0"},"id":1}"#,
                "login",
                None,
            ),
            // Brackets in strings are none; half of a surrogate pair is no character.
            (
                r#"{"x":["]}",{"y":"]}\"]"}],"method":"mining.subscribe","params":["]\ud83d\u0041"]}"#,
                "mining.subscribe",
                Some("]\u{fffd}A"),
            ),
            // Only the first parameter is the agent, whatever comes in it.
            (
                r#"{"method":"mining.subscribe","params":[["x"],"y"]}"#,
                "mining.subscribe",
                None,
            ),
            // Any order, any white space, escapes.
            (
                "\r\n{\t\"params\" :\n[ \"a\\u0062\\ud83d\\ude00\\\"c\" ] , \"id\":null,\"m\\u0065thod\" : \"mining\\u002Esubscribe\" }",
                "mining.subscribe",
                Some("ab😀\"c"),
            ),
        ];
        for (bytes, method, agent) in cases {
            assert_eq!(
                recognise(bytes.as_bytes()),
                stratum(method, agent),
                "{bytes}"
            );
        }
    }

    #[test]
    fn other_things_are_not() {
        let cases = [
            "",
            "GET / HTTP/1.1\r\nHost: pool.example\r\n\r\n",
            "POST / HTTP/1.1\r\n\r\n{\"method\":\"mining.subscribe\",\"params\":[]}",
            // Nodes of Ethereum and Bitcoin.
            r#"{"jsonrpc":"2.0","method":"eth_blockNumber","params":[],"id":83}"#,
            r#"{"jsonrpc":"1.0","id":"curltest","method":"getblockchaininfo","params":[]}"#,
            r#"{"id":1,"method":"getmininginfo","params":[]}"#,
            // Logging in to something else.
            r#"{"method":"login","params":{"login":"jane","password":"secret"},"id":1}"#,
            r#"{"method":"login","params":["agent","algo","login","pass"],"id":1}"#,
            r#"{"method":"login","params":{"client":{"agent":"x","algo":"y"}},"id":1}"#,
            r#"{"method":"login","agent":"x","id":1}"#,
            // Elasticsearch's bulk requests, and logs that tell of mining.
            "{\"index\":{\"_index\":\"logs\"}}\n{\"message\":\"sent {\\\"method\\\":\\\"mining.subscribe\\\",\\\"params\\\":[]}\"}\n",
            r#"{"message":"mining.subscribe"}"#,
            r#"{"message":"\"method\":\"mining.subscribe\""}"#,
            r#"{"message":"\\","request":"\\\"}{\"method\":\"mining.subscribe\"}"}"#,
            r#"{"log":{"method":"mining.subscribe","params":[]}}"#,
            r#"{"requests":[{"method":"mining.subscribe","params":[]}]}"#,
            r#"{"params":{"method":"mining.subscribe"}}"#,
            // Not exactly the method.
            r#"{"method":"a mining.subscribe"}"#,
            r#"{"method":"mining.subscribe2"}"#,
            r#"{"method":["mining.subscribe"]}"#,
            r#"{"mining.subscribe":"method"}"#,
            r#"{"id":1,"result":{"method":"x"},"error":"mining.subscribe"}"#,
            // Broken in front of it.
            r#"{"a" "method":"mining.subscribe"}"#,
            r#"]{"method":"mining.subscribe"}"#,
            r#"{{"method":"mining.subscribe"}"#,
            r#"{"x":["\",{"}],"method":"mining.subscribe""#,
        ];
        for bytes in cases {
            assert_eq!(recognise(bytes.as_bytes()), None, "{bytes}");
        }
    }

    #[test]
    fn a_cut_request_is_recognised_once_it_tells() {
        let end_of_method = CGMINER.find(", \"params").expect("there");
        for length in 0..CGMINER.len() {
            let found = recognise(&CGMINER.as_bytes()[..length]);
            assert_eq!(found.is_some(), length >= end_of_method, "{length}");
        }
        let cut = XMRIG.find("6.21").expect("there");
        assert_eq!(
            recognise(&XMRIG.as_bytes()[..cut]),
            stratum("login", Some("XMRig/"))
        );
        let before_agent = XMRIG.find(",\"agent").expect("there");
        assert_eq!(
            recognise(&XMRIG.as_bytes()[..before_agent]),
            stratum("login", None)
        );
    }

    #[test]
    fn an_agent_is_bounded_and_else_as_it_came() {
        let long = "é\u{1b}".repeat(100);
        let bytes = format!(r#"{{"method":"mining.subscribe","params":["{long}"]}}"#);
        let agent = recognise(bytes.as_bytes()).and_then(|found| found.agent);
        let agent = agent.expect("recognised");
        assert!(agent.len() <= MAX_STRING && long.starts_with(&agent));
        let invalid = b"{\"method\":\"mining.subscribe\",\"params\":[\"\xff\xff\"]}";
        assert_eq!(
            recognise(invalid),
            stratum("mining.subscribe", Some("\u{fffd}\u{fffd}"))
        );
    }

    #[test]
    fn deep_nesting_hides_nothing() {
        let (open, close) = ("[{\"a\":".repeat(5_000), "}]".repeat(5_000));
        let bytes = format!(r#"{{"x":{open}1{close},"method":"mining.subscribe"}}"#);
        assert!(recognise(bytes.as_bytes()).is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = recognise(&bytes);
        }

        #[test]
        fn no_pieces_of_json_make_it_panic(
            pieces in proptest::collection::vec(
                prop::sample::select(vec![
                    "{", "}", "[", "]", ":", ",", "\"", "\\", "\\u", "d83d", "\"method\"", "\"params\"",
                    "\"mining.subscribe\"", "\"login\"", "\"agent\"", " ", "1", "é", "\n",
                ]),
                0..60,
            )
        ) {
            if let Some(found) = recognise(pieces.concat().as_bytes()) {
                prop_assert!(found.agent.is_none_or(|agent| agent.len() <= MAX_STRING));
            }
        }

        /// Whatever is posted as text: it is in a string, so that it is not the method.
        #[test]
        fn text_in_a_string_is_never_a_method(before in ".{0,20}", after in ".{0,20}") {
            let text = format!(r#"{before}"method":"mining.subscribe"{after}"#);
            let bytes = serde_json::json!({ "message": text, "method": "post" }).to_string();
            prop_assert_eq!(recognise(bytes.as_bytes()), None);
        }
    }
}
