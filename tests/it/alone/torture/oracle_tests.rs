//! The oracle finds each kind of fault.

use super::oracle::{judge, Client};
use super::record::{Answer, Request, Seen};
use std::time::Duration;

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

/// A message with the key `pN`, the id `N-0`, and sent at second N.
fn sent(number: u64, answer: Answer) -> Request {
    Request {
        publisher: 0,
        server: 0,
        channel: "a".into(),
        keys: vec![format!("p{number}")],
        begun: at(number),
        ended: at(number),
        answer,
    }
}

fn accepted(number: u64) -> Request {
    sent(number, Answer::Accepted((number, 0), (number, 0)))
}

fn message(number: u64) -> (Duration, Seen) {
    let key = format!("p{number}");
    let channel = "a".into();
    let id = (number, 0);
    (at(number), Seen::Message { channel, id, key })
}

fn gap(second: u64, after: u64) -> (Duration, Seen) {
    let (channel, after) = ("a".into(), (after, 0));
    (at(second), Seen::Gap { channel, after })
}

/// The kinds of faults, one client having seen this and another one all of it.
fn faults(requests: &[Request], seen: Vec<(Duration, Seen)>) -> Vec<&'static str> {
    let client = Client {
        channels: vec!["a".into()],
        seen,
    };
    judge(requests, &[client], at(0))
        .faults
        .into_keys()
        .collect()
}

fn four() -> [Request; 4] {
    [1, 2, 3, 4].map(accepted)
}

#[test]
fn all_of_it_in_order_is_right() {
    let seen = vec![message(1), message(2), message(3), message(4)];
    assert!(faults(&four(), seen).is_empty());
}

#[test]
fn what_is_missing_is_lost() {
    let seen = vec![message(1), message(2), message(4)];
    assert_eq!(faults(&four(), seen), ["lost"]);
}

#[test]
fn a_gap_excuses_what_is_behind_its_id_and_was_sent_before() {
    let seen = vec![message(1), gap(3, 1), message(4)];
    assert!(faults(&four(), seen).is_empty());
    for (what, seen) in [
        ("an id behind", vec![message(1), gap(3, 2), message(4)]),
        ("told too early", vec![message(1), gap(1, 1), message(4)]),
        ("told too late", vec![message(1), message(4), gap(9, 4)]),
    ] {
        assert_eq!(faults(&four(), seen), ["lost"], "{what}");
    }
}

#[test]
fn a_repeated_message_counts_as_twice_and_a_late_one_as_out_of_order() {
    let seen = vec![message(1), message(2), message(2), message(3), message(4)];
    assert_eq!(faults(&four(), seen), ["twice"]);
    let seen = vec![message(1), message(3), message(2), message(4)];
    assert_eq!(faults(&four(), seen), ["out of order"]);
    let seen = vec![
        message(1),
        message(2),
        message(3),
        message(4),
        gap(9, 4),
        message(1),
    ];
    assert_eq!(faults(&four(), seen), ["twice behind a gap"]);
}

#[test]
fn unpublished_and_refused_messages_must_not_arrive() {
    let requests = [accepted(1), sent(2, Answer::Refused)];
    let seen = vec![message(1), message(2), message(3)];
    assert_eq!(
        faults(&requests, seen),
        ["never published", "refused and came"]
    );
}

#[test]
fn a_message_that_one_client_has_is_owed_to_all() {
    let requests = [accepted(1), sent(2, Answer::Unknown("503".into()))];
    assert!(faults(&requests, vec![message(1)]).is_empty());
    let clients = [vec![message(1)], vec![message(1), message(2)]].map(|seen| Client {
        channels: vec!["a".into()],
        seen,
    });
    let found: Vec<_> = judge(&requests, &clients, at(0))
        .faults
        .into_keys()
        .collect();
    assert_eq!(found, ["lost"]);
}

#[test]
fn everybody_has_the_same_id_and_answers_grow() {
    let mut requests = four();
    requests[1].answer = Answer::Accepted((9, 0), (9, 0));
    let seen = vec![message(1), message(2), message(3), message(4)];
    assert_eq!(faults(&requests, seen), ["answers out of order", "two ids"]);
}

#[test]
fn a_batch_is_all_or_nothing() {
    let mut batch = sent(1, Answer::Unknown("503".into()));
    batch.keys = vec!["p1".into(), "p2".into()];
    assert!(faults(&[batch.clone()], vec![]).is_empty());
    assert_eq!(faults(&[batch], vec![message(1)]), ["lost"]);
}

#[test]
fn a_gap_before_anything_was_lost_is_needless() {
    let client = Client {
        channels: vec!["a".into()],
        seen: vec![message(1), gap(1, 1)],
    };
    let found: Vec<_> = judge(&[accepted(1)], &[client], at(2))
        .faults
        .into_keys()
        .collect();
    assert_eq!(found, ["needless gap"]);
}
