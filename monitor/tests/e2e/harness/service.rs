//! Talking to the web server that a test runs, in a container or beside it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::{LIMIT, eventually};

/// A port of the loopback address that is free now.
pub(crate) fn free_port() -> u16 {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback address has a free port");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    address.port()
}

/// The command line of the web server, to be run as a container's entry point.
pub(crate) fn web_server(port: u16) -> Vec<String> {
    let address = format!("127.0.0.1:{port}");
    ["/bin/httpd", "-f", "-p", &address, "-h", "/www"]
        .map(str::to_owned)
        .to_vec()
}

/// Asks the web server for `path` as soon as it listens, and returns the answer, which must be a good one.
pub(crate) fn get(port: u16, path: &str) -> String {
    let answer = ask(port, path);
    assert!(answer.contains(" 200 "), "the web server refused: {answer}");
    answer
}

/// Asks the web server for `path` as soon as it listens, and returns the answer, good or bad.
pub(crate) fn ask(port: u16, path: &str) -> String {
    let mut stream = eventually("the web server listens", || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
    });
    let mut exchange = || {
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    exchange().expect("the web server answers")
}
