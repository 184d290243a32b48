//! Requests cut at every byte: the rest comes later, or never.

use super::table::{check, has_read, published, read_at_once, replace, served, Case, Counts};
use crate::common::http::{replies, Left};
use crate::common::{over_each_transport, Server, Transport};
use std::net::Shutdown;

const AUTH: &str = "Host: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\n";

/// Requests that are right, with every framing, and with a letter of two bytes that a cut may part.
fn whole_requests() -> Vec<Case> {
    let post = |target: &str, fields: &str, body: &[u8]| {
        let head = format!("POST /publish/{target} HTTP/1.1\r\n{AUTH}{fields}\r\n");
        [head.as_bytes(), body].concat()
    };
    let text = || published("Olá");
    let length = post("{channel}", "Content-Length: 4\r\n", "Olá".as_bytes());
    let chunked = "Transfer-Encoding: chunked\r\n";
    let simple = "1\r\nO\r\n3\r\nlá\r\n0\r\n\r\n";
    // Extensions, trailers, and a chunk that ends in the middle of a letter.
    let rich = b"003;a=\"b\";c\r\nOl\xc3\r\n1\r\n\xa1\r\n00;d\r\nX: y\r\nZ:\r\n\r\n";
    vec![
        Case::new(
            "GET",
            "GET /health?a=b HTTP/1.1\r\nHost: test\r\nX: y\r\n\r\n",
            served(200),
        ),
        Case::new("PUT", replace(&length, b"POST", b"PUT"), text()),
        Case::new("a length", length, text()),
        Case::new(
            "a target beyond ASCII",
            post("{channel}?msg=Olá", "", b""),
            text(),
        ),
        Case::new(
            "chunks",
            post("{channel}", chunked, simple.as_bytes()),
            text(),
        ),
        Case::new("rich chunks", post("{channel}", chunked, rich), text()),
    ]
}

#[test]
fn a_request_that_comes_in_two_parts_is_one_request() {
    let cases: Vec<Case> = whole_requests()
        .iter()
        .flat_map(|case| (1..case.sent.len()).map(|at| case.cut(&format!("cut at {at}"), vec![at])))
        .collect();
    over_each_transport(&[], |transport, server| check(transport, &server, &cases));
}

#[test]
fn a_request_that_comes_byte_by_byte_is_one_request() {
    let cases: Vec<Case> = whole_requests()
        .iter()
        .map(|case| case.cut("byte by byte", (1..case.sent.len()).collect()))
        .collect();
    over_each_transport(&[], |transport, server| check(transport, &server, &cases));
}

/// What is wrong with what comes of a request of which nothing follows this part.
fn fault_of_part(server: &Server, part: &[u8]) -> Option<String> {
    let (bytes, left) = read_at_once(|| {
        let connection = server.send(part);
        // A server may have closed before.
        let _ = connection.shutdown(Shutdown::Write);
        connection
    });
    match (replies(&bytes, 0), left) {
        (_, Left::Open) => Some("nobody answers or closes".into()),
        (_, Left::Reset) => Some("the connection is reset".into()),
        (Err(problem), _) => Some(problem),
        (Ok(all), Left::Closed) if part.is_empty() => {
            (!all.is_empty()).then(|| "an answer to nothing".into())
        }
        (Ok(all), Left::Closed) => match &all[..] {
            [] => Some("closed without an answer".into()),
            [one] if !(400..500).contains(&one.status) => Some(format!("status {}", one.status)),
            [_] => None,
            _ => Some(format!("{} answers", all.len())),
        },
    }
}

/// Sends every part of every request, and then the end of the connection.
fn cut_off(transport: Transport, server: &Server) {
    const TOLD: usize = 10;
    let mut faults = Vec::new();
    for (number, case) in whole_requests().iter().enumerate() {
        let channel = format!("cut{number:06}");
        let sent = replace(&case.sent, b"{channel}", channel.as_bytes());
        for at in 0..sent.len() {
            if faults.len() >= TOLD {
                break;
            }
            let fault = fault_of_part(server, &sent[..at]);
            let shown = sent[at.saturating_sub(40)..at].escape_ascii();
            let line = |what| format!("{transport}: {} up to \"…{shown}\": {what}", case.name);
            faults.extend(fault.map(line));
            // The same for who does not wait for an answer.
            drop(server.send(&sent[..at]));
        }
        if Counts::of(server).messages(&channel) > 0 {
            faults.push(format!("{transport}: a part of {} is published", case.name));
        }
    }
    assert!(faults.is_empty(), "cut requests:\n{}", faults.join("\n"));
}

#[test]
fn a_request_that_is_cut_off_publishes_nothing_and_is_answered() {
    over_each_transport(&[], |transport, server| {
        cut_off(transport, &server);
        has_read(&server);
        let published = server.stat("messages_published");
        assert_eq!(published, 0, "over {transport}, messages that were cut");
    });
}

#[test]
fn a_client_that_closes_its_side_after_a_request_is_answered() {
    let cases = whole_requests();
    over_each_transport(&[], |transport, server| {
        for case in &cases {
            let (bytes, left) = read_at_once(|| {
                let connection = server.send(&replace(&case.sent, b"{channel}", b"half"));
                let ended = connection.shutdown(Shutdown::Write);
                ended.expect("one side can be ended");
                connection
            });
            let statuses: Vec<u16> = replies(&bytes, 0)
                .expect("an answer")
                .iter()
                .map(|reply| reply.status)
                .collect();
            assert_eq!(
                (statuses, left),
                (vec![200], Left::Closed),
                "over {transport}, {}, and then the end",
                case.name
            );
        }
    });
}
