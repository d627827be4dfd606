//! What a miner says to its pool, in the first bytes of a connection.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Action;
use super::child::Child;

pub(super) const ACTIONS: &[Action] = &[
    Action::new("stratum-subscribe", "Greets a pool as miners do", |_| {
        say(&[SUBSCRIBE], "mining.subscribe", "xmrig/6.21")
    }),
    Action::new(
        "stratum-authorize",
        "Names itself to a pool as miners do",
        |_| say(&[AUTHORIZE], "mining.authorize", ""),
    ),
    Action::new("stratum-login", "Greets a pool as Monero miners do", |_| {
        say(&[LOGIN], "login", "XMRig/6.21.0")
    }),
    Action::new("stratum-split", "Greets a pool in two parts", |_| {
        let (first, second) = SUBSCRIBE.split_at(20);
        say(&[first, second], "mining.subscribe", "xmrig/6.21")
    }),
];

const SUBSCRIBE: &str = "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"xmrig/6.21\"]}\n";
const AUTHORIZE: &str =
    "{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"wallet.worker\",\"x\"]}\n";
const LOGIN: &str = concat!(
    r#"{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"wallet","pass":"x","#,
    r#""agent":"XMRig/6.21.0","algo":["rx/0"]}}"#,
    "\n"
);

fn say(parts: &[&str], method: &str, agent: &str) -> Result<Value> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("could not listen")?;
    let address = listener.local_addr()?;
    let pool = Child::start(|| {
        let (mut stream, _) = listener.accept()?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    })?;
    let mut stream = TcpStream::connect(address).context("could not connect")?;
    stream.set_nodelay(true)?;
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            // Two segments, and not one that the kernel joined.
            std::thread::sleep(Duration::from_millis(50));
        }
        stream.write_all(part.as_bytes())?;
    }
    let local = stream.local_addr()?;
    drop(stream);
    drop(listener);
    pool.finish()?;
    let length: usize = parts.iter().map(|part| part.len()).sum();
    Ok(json!({
        "address": address.ip().to_string(), "port": address.port(), "local_port": local.port(),
        "method": method, "agent": agent, "length": length,
    }))
}
