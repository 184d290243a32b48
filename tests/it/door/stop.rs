//! SIGTERM under load: what was accepted is answered, and what was not answered was not accepted.

use crate::common::http::{read_reply, Ending};
use crate::common::transport::each_transport;
use crate::common::{wait_until, Address, Server, Transport, BOUND, TOKEN};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PUBLISHERS: usize = 16;

/// Publishes over one connection until it ends: the texts that were answered with 200. Each answer is a whole one, and the
/// end comes in place of an answer.
fn publish(mut connection: Socket, number: usize, answered: &AtomicUsize) -> Vec<String> {
    let mut accepted = Vec::new();
    for count in 0.. {
        let text = format!("{number} {count}");
        let request = format!(
            "POST /publish/a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        if connection.write_all(request.as_bytes()).is_err() {
            break;
        }
        match read_reply(&mut connection, false) {
            Ok(reply) if reply.status == 200 => accepted.push(text),
            Ok(reply) => assert_eq!(reply.status, 503, "{text}: {}", reply.text()),
            Err(problem) => {
                let is_mute = problem.ends_with("after \"\"");
                assert!(
                    is_mute,
                    "publisher {number}: a part of an answer: {problem}"
                );
                break;
            }
        }
        answered.fetch_add(1, Ordering::SeqCst);
    }
    accepted
}

/// What was accepted is what a subscriber has, neither more nor less.
#[track_caller]
fn stops_under_publishers(mut server: Server, what: &str) {
    let mut stream = server.subscribe("a");
    let answered = AtomicUsize::new(0);
    let (accepted, (status, took), received) = std::thread::scope(|scope| {
        let answered = &answered;
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| {
                let connection = server.connect();
                scope.spawn(move || publish(connection, number, answered))
            })
            .collect();
        let reading = scope.spawn(move || {
            let ending = stream.ending();
            (ending, stream.drain())
        });
        wait_until("messages flow", BOUND, || {
            answered.load(Ordering::SeqCst) > 50 * PUBLISHERS
        });
        let stopped = server.terminate();
        let accepted: BTreeSet<String> = publishers
            .into_iter()
            .flat_map(|publisher| publisher.join().expect("it ends well"))
            .collect();
        (accepted, stopped, reading.join().expect("it reads"))
    });
    assert!(status.success(), "{what}: the exit code is {status}");
    assert!(
        took < Duration::from_secs(10),
        "{what}: the stop took {took:?}"
    );
    assert_eq!(received.0, Ending::Clean, "{what}: the stream's end");
    let received: BTreeSet<String> = received.1.into_iter().map(|event| event.data).collect();
    let lost: Vec<_> = accepted.difference(&received).collect();
    assert!(
        lost.is_empty(),
        "{what}: answered with 200, and not received: {lost:?}"
    );
    let unanswered: Vec<_> = received.difference(&accepted).collect();
    assert!(
        unanswered.is_empty(),
        "{what}: published, and not answered: {unanswered:?}"
    );
}

#[test]
fn every_message_that_was_accepted_is_answered() {
    each_transport(|transport| {
        for round in 1..=4 {
            let server = Server::over(transport, &[]);
            stops_under_publishers(server, &format!("over {transport}, round {round}"));
        }
    });
}

/// A socket that stays here when the server goes, as one of systemd's does.
fn listener(transport: Transport) -> (Socket, Option<crate::common::Folder>) {
    let (listen, folder) = transport.listen();
    let (domain, address) = match Address::parse(&listen) {
        Some(Address::Tcp(address)) => (Domain::for_address(address), address.into()),
        Some(Address::Unix(path)) => (Domain::UNIX, SockAddr::unix(path).expect("it is short")),
        None => panic!("{listen:?} is no address"),
    };
    let socket = Socket::new(domain, Type::STREAM, None).expect("there are sockets");
    let bound = socket.bind(&address).and_then(|()| socket.listen(128));
    bound.expect("it listens");
    (socket, folder)
}

#[test]
fn the_same_where_the_parent_holds_the_socket() {
    each_transport(|transport| {
        let (listener, _folder) = listener(transport);
        for round in 1..=4 {
            let copy: OwnedFd = listener.try_clone().expect("it can be copied").into();
            let server = Server::start_on(copy, &[]);
            let what = format!("over {transport}, round {round}, the parent holds the socket");
            stops_under_publishers(server, &what);
        }
    });
}
