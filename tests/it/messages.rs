//! Every message arrives as the contract says, read with a parser that follows the standard, not the server.

use crate::common;

use common::event_stream::Parser;
use common::Server;

#[test]
fn the_parser_does_what_the_standard_says() {
    let mut parser = Parser::default();
    let text = "\u{FEFF}data: a\r\ndata:b\rdata:  c\n\nid: 1\0\nid: 2\nevent: x\n\n:comment\ndata\n\nretry: 10\nretry: 1x\n\
                id\ndata: d\nunknown: e\n\n";
    let mut events = Vec::new();
    for byte in text.bytes() {
        events.extend(parser.push(&[byte]));
    }
    let seen: Vec<_> = events
        .iter()
        .map(|e| {
            (
                e.id.as_deref(),
                e.kind.as_str(),
                e.data.as_str(),
                e.last_event_id.as_str(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (None, "message", "a\nb\n c", ""),
            (None, "message", "", "2"),
            (Some(""), "message", "d", ""),
        ]
    );
    assert_eq!(
        (parser.retry, parser.comments, parser.empty_dispatches),
        (Some(10), 1, 1)
    );
}

/// What a client sees of a published text.
fn seen(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

#[test]
fn every_kind_of_text_arrives() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    let long_line = "é".repeat(32 * 1024);
    let many_lines = "x\n".repeat(32 * 1024);
    let texts = [
        "plain",
        "two\nlines",
        "cr\ralone",
        "crlf\r\nend",
        "mixed\r\n\r\n\n\rends\r",
        "\n",
        "\r\n",
        "\r",
        "\n\n\n",
        "final newline\n",
        "final crlf\r\n",
        "\nfirst line empty",
        " leading space",
        "  two leading spaces",
        "\t tab",
        ":colon first",
        ": colon and space",
        "data: like a field",
        "id: 5\nevent: x\nretry: 1",
        "emoji 🦀 👩\u{200D}👩\u{200D}👧 e\u{301}",
        "\u{FEFF}byte order mark",
        "line\u{2028}separator\u{85}next",
        "nul \0 inside",
        "\u{1}control",
        long_line.as_str(),
        many_lines.as_str(),
    ];
    for text in texts {
        let id = server.publish("a", text);
        let event = stream.next();
        assert_eq!(
            event.id,
            Some(id),
            "the id of {:?}",
            &text[..text.len().min(20)]
        );
        assert!(
            event.data == seen(text),
            "{:?} arrived as {:?}",
            &text[..text.len().min(40)],
            &event.data[..event.data.len().min(40)]
        );
    }
    assert_eq!(stream.parser.empty_dispatches, 0);
}

#[test]
fn json_carries_every_kind_of_text() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe_with("/sse/a?format=json", &[]);
    for text in [
        "cr\r lf\n crlf\r\n",
        "\"quotes\" \\ and \u{2028}",
        "nul \0",
        "🦀",
    ] {
        server.publish("a", text);
        let message: serde_json::Value =
            serde_json::from_str(&stream.next().data).expect("the data is JSON");
        assert_eq!(message["mensagem"], seen(text));
    }
}

#[test]
fn the_same_texts_are_replayed() {
    let server = Server::start(&[]);
    let texts = ["a\r\nb\n", " x", "🦀", "\n"];
    for text in texts {
        server.publish("a", text);
    }
    let mut stream = server.subscribe_with("/sse/a?last_event_id=0", &[]);
    for text in texts {
        assert_eq!(stream.next().data, seen(text), "the replay of {text:?}");
    }
}

#[test]
fn channel_names_may_be_in_any_script() {
    let server = Server::start(&[]);
    let longest = "x".repeat(128);
    for name in [
        "café",
        "новости",
        "🚪",
        "a b".replace(' ', "+").as_str(),
        "a%b",
        "a?b#c",
        "a:b;c=d&e",
        "..",
        longest.as_str(),
    ] {
        let mut stream = server.subscribe(name);
        let json = server
            .request(
                "POST",
                &format!("/publish?canal={}&msg=x", common::encode(name)),
                &[("Authorization", "Bearer test-token-of-16-bytes")],
                b"",
            )
            .json();
        assert_eq!(json["canal"], name);
        assert_eq!(stream.next().data, "x", "on channel {name}");
    }
}
