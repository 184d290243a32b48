//! Every byte from 0 to 255 at every place of a request. The places are inside the words of RFC 9112, and between them.

use super::table::{answered, check, published, refused, served, Case, Wanted};
use crate::common::over_each_transport;

/// A token's character (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The bytes that are allowed in a field's value, at its ends too.
fn is_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

fn bad() -> Wanted {
    refused(&[400])
}

fn bad_version() -> Wanted {
    refused(&[400, 505])
}

/// As the first, where it may be one.
fn if_so(is_right: bool, right: Wanted) -> Wanted {
    if is_right {
        right
    } else {
        bad()
    }
}

/// Bytes beyond ASCII are no UTF-8, each of them alone; whether that closes the connection is open.
fn not_in_a_target(byte: u8) -> Wanted {
    if byte >= 0x80 {
        answered(&[400])
    } else {
        bad()
    }
}

/// A place: its name, what is before and after the byte, and the right result for each byte.
type Place = (&'static str, &'static str, &'static str, fn(u8) -> Wanted);

const REST: &str = "\r\nHost: test\r\n\r\n";

const HEAD: [Place; 23] = [
    (
        "before the method",
        "",
        "GET /health HTTP/1.1\r\nHost: test\r\n\r\n",
        |byte| match byte {
            b'\n' => served(200).or_refused(&[400]),
            _ => if_so(is_token(byte), answered(&[405]).or_refused(&[400, 501])),
        },
    ),
    (
        "in the method",
        "GE",
        "T /health HTTP/1.1\r\nHost: test\r\n\r\n",
        |byte| if_so(is_token(byte), answered(&[405]).or_refused(&[400, 501])),
    ),
    (
        "behind the method",
        "GET",
        " /health HTTP/1.1\r\nHost: test\r\n\r\n",
        |byte| if_so(is_token(byte), answered(&[405]).or_refused(&[400, 501])),
    ),
    (
        "before the target",
        "GET ",
        "/health HTTP/1.1\r\nHost: test\r\n\r\n",
        |byte| match byte {
            b'!'..=b'~' => answered(&[400, 404]),
            _ => not_in_a_target(byte),
        },
    ),
    (
        "in the path",
        "GET /hea",
        "lth HTTP/1.1\r\nHost: test\r\n\r\n",
        |byte| match byte {
            b'#' => answered(&[404]).or_refused(&[400]),
            b'!'..=b'~' => answered(&[404]),
            _ => not_in_a_target(byte),
        },
    ),
    (
        "in the query",
        "GET /health?a=",
        "b HTTP/1.1\r\nHost: test\r\n\r\n",
        |byte| match byte {
            b'#' => served(200).or_refused(&[400]),
            b'!'..=b'~' => served(200),
            _ => not_in_a_target(byte),
        },
    ),
    (
        "behind the target",
        "GET /health?",
        " HTTP/1.1\r\nHost: test\r\n\r\n",
        |byte| match byte {
            b'#' => served(200).or_refused(&[400]),
            b'!'..=b'~' => served(200),
            _ => not_in_a_target(byte),
        },
    ),
    (
        "before the version",
        "GET /health ",
        "HTTP/1.1\r\nHost: test\r\n\r\n",
        |_| bad_version(),
    ),
    (
        "in the protocol's name",
        "GET /health HT",
        "TP/1.1\r\nHost: test\r\n\r\n",
        |_| bad_version(),
    ),
    (
        "as the major version",
        "GET /health HTTP/",
        ".1\r\nHost: test\r\n\r\n",
        |byte| match byte {
            b'1' => served(200),
            _ => bad_version(),
        },
    ),
    (
        "as the minor version",
        "GET /health HTTP/1.",
        REST,
        |byte| match byte {
            b'1' => served(200),
            b'0' => answered(&[200]),
            b'2'..=b'9' => served(200).or_refused(&[400, 505]),
            _ => bad_version(),
        },
    ),
    ("behind the version", "GET /health HTTP/1.1", REST, |_| {
        bad_version()
    }),
    (
        "in a line's end",
        "GET /health HTTP/1.1\r",
        "\nHost: test\r\n\r\n",
        |_| bad_version(),
    ),
    (
        "before a field",
        "GET /health HTTP/1.1\r\nHost: test\r\n",
        "X: y\r\n\r\n",
        |byte| if_so(is_token(byte), served(200)),
    ),
    (
        "in a field's name",
        "GET /health HTTP/1.1\r\nHost: test\r\nX-N",
        "ame: y\r\n\r\n",
        |byte| if_so(is_token(byte) || byte == b':', served(200)),
    ),
    (
        "before the colon",
        "GET /health HTTP/1.1\r\nHost: test\r\nX",
        ": y\r\n\r\n",
        |byte| if_so(is_token(byte) || byte == b':', served(200)),
    ),
    (
        "behind the colon",
        "GET /health HTTP/1.1\r\nHost: test\r\nX:",
        " y\r\n\r\n",
        |byte| if_so(is_value(byte), served(200)),
    ),
    (
        "in a value",
        "GET /health HTTP/1.1\r\nHost: test\r\nX: a",
        "b\r\n\r\n",
        |byte| if_so(is_value(byte), served(200)),
    ),
    (
        "behind a value",
        "GET /health HTTP/1.1\r\nHost: test\r\nX: a",
        "\r\n\r\n",
        |byte| if_so(is_value(byte), served(200)),
    ),
    (
        "in the host",
        "GET /health HTTP/1.1\r\nHost: te",
        "st\r\n\r\n",
        |byte| match byte {
            b'-' | b'.' => served(200),
            _ if byte.is_ascii_alphanumeric() => served(200),
            _ => if_so(is_value(byte), served(200).or_refused(&[400])),
        },
    ),
    (
        "in a token",
        "GET /stats HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer test-to",
        "ken\r\n\r\n",
        |byte| if_so(is_value(byte), answered(&[400, 401])),
    ),
    (
        "in the end of a field's line",
        "GET /health HTTP/1.1\r\nHost: test\r\nX: a\r",
        "\n\r\n",
        |_| bad(),
    ),
    (
        "before the last line",
        "GET /health HTTP/1.1\r\nHost: test\r\nX: a\r\n",
        "\r\n",
        |_| bad(),
    ),
];

const LAST_LINE: Place = (
    "in the last line's end",
    "GET /health HTTP/1.1\r\nHost: test\r\nX: a\r\n\r",
    "\n",
    |_| bad(),
);

/// Places in fields that the server uses.
const FIELDS: [Place; 8] = [
    (
        "before a length",
        "Content-Length:",
        "5\r\n\r\nhello",
        |byte| match byte {
            b' ' | b'\t' => hello(),
            b'0' => hello().or_refused(&[400]),
            _ => bad().or_refused(&[400, 413]),
        },
    ),
    (
        "behind a length",
        "Content-Length: 5",
        "\r\n\r\nhello",
        |byte| match byte {
            b' ' | b'\t' => hello(),
            _ => bad(),
        },
    ),
    (
        "before a coding",
        "Transfer-Encoding:",
        "chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        coding,
    ),
    (
        "behind a coding",
        "Transfer-Encoding: chunked",
        "\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        coding,
    ),
    (
        "in a coding",
        "Transfer-Encoding: chu",
        "nked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        |_| refused(&[400, 501]),
    ),
    (
        "in the name of the coding's field",
        "Transfer-",
        "Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
        |byte| match byte {
            // Another field, and no coding.
            _ if is_token(byte) => hello(),
            b':' => hello(),
            _ => bad(),
        },
    ),
    (
        "in Connection",
        "Connection: clo",
        "se\r\nContent-Length: 5\r\n\r\nhello",
        |byte| if_so(is_value(byte), hello()),
    ),
    (
        "in Content-Type",
        "Content-Type: te",
        "xt\r\nContent-Length: 5\r\n\r\nhello",
        |byte| if_so(is_value(byte), hello()),
    ),
];

/// Places in a body of chunks.
const CHUNKS: [Place; 10] = [
    (
        "before a size",
        "",
        "5\r\nhello\r\n0\r\n\r\n",
        |byte| match byte {
            b'0' => hello(),
            _ => bad().or_refused(&[400, 413]),
        },
    ),
    (
        "behind a size",
        "5",
        "\r\nhello\r\n0\r\n\r\n",
        |byte| match byte {
            b';' => hello().or_refused(&[400]),
            _ => bad(),
        },
    ),
    (
        "in an extension",
        "5;a",
        "b\r\nhello\r\n0\r\n\r\n",
        |byte| match byte {
            b'"' => hello().or_refused(&[400]),
            b'\t' | b' '..=b'~' | 0x80.. => hello().or_refused(&[400]),
            _ => bad(),
        },
    ),
    (
        "in the end of a size's line",
        "5\r",
        "\nhello\r\n0\r\n\r\n",
        |_| bad(),
    ),
    ("behind the data", "5\r\nhello", "\r\n0\r\n\r\n", |_| bad()),
    (
        "in the end of the data",
        "5\r\nhello\r",
        "\n0\r\n\r\n",
        |_| bad(),
    ),
    (
        "behind the last size",
        "5\r\nhello\r\n0",
        "\r\n\r\n",
        |byte| match byte {
            b'0' => hello(),
            b';' => hello().or_refused(&[400]),
            // A size, and then less data.
            _ => bad().or_refused(&[400, 413]),
        },
    ),
    (
        "before a trailer",
        "5\r\nhello\r\n0\r\n",
        "X: y\r\n\r\n",
        |byte| if_so(is_token(byte), hello()),
    ),
    (
        "in a trailer",
        "5\r\nhello\r\n0\r\nX: a",
        "b\r\n\r\n",
        |byte| if_so(is_value(byte), hello()),
    ),
    (
        "before the last line",
        "5\r\nhello\r\n0\r\nX: y\r\n",
        "\r\n",
        |_| bad(),
    ),
];

fn hello() -> Wanted {
    published("hello")
}

fn coding(byte: u8) -> Wanted {
    match byte {
        b' ' | b'\t' => hello(),
        // An empty element of a list counts for nothing.
        b',' => hello().or_refused(&[400, 501]),
        _ => refused(&[400, 501]),
    }
}

/// Every byte at this place, but for those that only make a body longer than what comes.
fn every_byte(
    before: &str,
    (name, left, right, wanted): Place,
    except: fn(u8) -> bool,
) -> Vec<Case> {
    let bytes = (0..=255).filter(|byte| !except(*byte));
    let case = |byte: u8| {
        let sent = [
            before.as_bytes(),
            left.as_bytes(),
            &[byte],
            right.as_bytes(),
        ]
        .concat();
        Case::new(format!("{name}: byte {byte:#04x}"), sent, wanted(byte))
    };
    bytes.map(case).collect()
}

/// One for each request, and one for the request behind it.
const MANY_CHANNELS: &[(&str, &str)] = &[("MAX_CHANNELS", "100000")];

const NONE: fn(u8) -> bool = |_| false;

const PUBLISH: &str =
    "POST /publish/{channel} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\n";

#[test]
fn every_byte_at_every_place_of_a_head() {
    let places = HEAD.into_iter();
    let mut cases: Vec<Case> = places
        .flat_map(|place| every_byte("", place, NONE))
        .collect();
    // A line feed is right there; another one then precedes the next request.
    cases.extend(every_byte("", LAST_LINE, |byte| byte == b'\n'));
    over_each_transport(MANY_CHANNELS, |transport, server| {
        check(transport, &server, &cases)
    });
}

#[test]
fn every_byte_at_every_place_of_the_fields_that_count() {
    let cases = FIELDS.into_iter().flat_map(|place| {
        let except: fn(u8) -> bool = match place.0 {
            "before a length" => |byte| matches!(byte, b'1'..=b'9'),
            "behind a length" => |byte| byte.is_ascii_digit(),
            _ => NONE,
        };
        every_byte(PUBLISH, place, except)
    });
    let cases: Vec<Case> = cases.collect();
    over_each_transport(MANY_CHANNELS, |transport, server| {
        check(transport, &server, &cases)
    });
}

#[test]
fn every_byte_at_every_place_of_chunks() {
    let before = format!("{PUBLISH}Transfer-Encoding: chunked\r\n\r\n");
    let cases = CHUNKS.into_iter().flat_map(|place| {
        let except: fn(u8) -> bool = match place.0 {
            "before a size" => |byte| byte.is_ascii_hexdigit() && byte != b'0',
            "behind a size" => |byte| byte.is_ascii_hexdigit(),
            _ => NONE,
        };
        every_byte(&before, place, except)
    });
    let cases: Vec<Case> = cases.collect();
    over_each_transport(MANY_CHANNELS, |transport, server| {
        check(transport, &server, &cases)
    });
}
