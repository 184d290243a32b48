//! Requests that one server reads as one and another as two: what the lists of differences between parsers name, and what
//! proxies let through. Each is either refused, or taken for exactly what it is (RFC 9112).

use super::table::{answered, check, published, refused, served, Case, Wanted};
use crate::common::over_each_transport;

const BAD: &[u16] = &[400];
/// A version that there is not.
const VERSION: &[u16] = &[400, 505];
/// A transfer coding that nobody knows (RFC 9112, section 6.1).
const CODING: &[u16] = &[400, 501];
/// A length that no message has.
const LENGTH: &[u16] = &[400, 413];
/// A field section, or what hides behind one, that is too large.
const LARGE: &[u16] = &[400, 413, 431];

/// A publish with these fields and what follows them.
fn publish(fields: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Vec<u8> {
    const HEAD: &[u8] =
        b"POST /publish/{channel} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\n";
    [HEAD, fields.as_ref(), b"\r\n", body.as_ref()].concat()
}

fn get(fields: impl AsRef<[u8]>) -> Vec<u8> {
    [
        b"GET /health HTTP/1.1\r\nHost: test\r\n",
        fields.as_ref(),
        b"\r\n",
    ]
    .concat()
}

/// Cases of one kind, named by the part that differs.
fn cases<P: AsRef<[u8]>>(
    kind: &str,
    parts: impl IntoIterator<Item = P>,
    wanted: &Wanted,
    request: impl Fn(&[u8]) -> Vec<u8>,
) -> Vec<Case> {
    let case = |part: P| {
        let part = part.as_ref();
        let shown = &part[..part.len().min(40)];
        let name = format!("{kind}: \"{}\"", shown.escape_ascii());
        Case::new(name, request(part), wanted.clone())
    };
    parts.into_iter().map(case).collect()
}

fn hello() -> Wanted {
    published("hello")
}

fn lengths() -> Vec<Case> {
    let line = |value: &[u8]| {
        let field = [b"Content-Length:", value, b"\r\n"].concat();
        publish(field, "hello")
    };
    let fields = |fields: &[u8]| publish(fields, "hello");
    let mut all = cases("length", [" 5", "5", "\t5", " 5 \t"], &hello(), line);
    // The same twice, or zeros in front: RFC 9112 leaves it open.
    let open = hello().or_refused(BAD);
    all.extend(cases("length", [" 005", " 5, 5"], &open, line));
    all.extend(cases(
        "lengths",
        ["Content-Length: 5\r\nContent-Length: 5\r\n"],
        &open,
        fields,
    ));
    let names = ["content-length: 5\r\n", "CONTENT-LENGTH: 5\r\n"];
    all.extend(cases("length", names, &hello(), fields));
    let none: [&[u8]; 24] = [
        b"",
        b" ",
        b" +5",
        b" -5",
        b" 5 5",
        b" 5,6",
        b" 5, 6",
        b" 5,",
        b" ,5",
        b" 5.0",
        b" 0x5",
        b" 5e0",
        b" 5_0",
        b" 5;",
        b" \"5\"",
        b" 5\x0b",
        b" \x0b5",
        b" 5\x0c",
        b" 5\0",
        b" \x005",
        b" \xb2",
        "\u{665}".as_bytes(),
        b" 5\r\n 0",
        b" 5\r\n\t",
    ];
    all.extend(cases("length", none, &refused(BAD), line));
    let huge = [
        " 4294967301",
        " 9223372036854775807",
        " 18446744073709551615",
        " 18446744073709551621",
        " 99999999999999999999999999",
    ];
    all.extend(cases("length", huge, &refused(LENGTH), line));
    let two = [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 6\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 0\r\n",
        "Content-Length: 5\r\nX: y\r\nContent-Length: 500\r\n",
        "Content-Length: 5\r\ncontent-length: +5\r\n",
        "Content-Length: 5\r\nContent-Length:\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        " Content-Length: 5\r\n",
        "X: y\r\n Content-Length: 5\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: y\0Content-Length: 5\r\n",
        "Content-Length\0: 5\r\n",
        "\0Content-Length: 5\r\n",
        "Content-\0Length: 5\r\n",
        "Content-Length\r\n: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        "Transfer-Encoding:\r\nContent-Length: 5\r\n",
    ];
    all.extend(cases("fields", two, &refused(CODING), fields));
    all
}

fn check_over_each_transport(all: &[Case]) {
    over_each_transport(&[], |transport, server| check(transport, &server, all));
}

/// All of them, for whoever sends them through a proxy.
#[cfg(feature = "ship-tests")]
pub fn all() -> Vec<Case> {
    [
        lengths(),
        codings(),
        chunk_sizes_and_ends(),
        long_chunk_sizes_and_trailers(),
        fields_and_line_ends(),
        hosts(),
        request_lines(),
        empty_lines(),
        other_protocols(),
        large_heads(),
    ]
    .concat()
}

#[test]
fn a_length_is_one_number_or_the_request_is_refused() {
    check_over_each_transport(&lengths());
}

fn codings() -> Vec<Case> {
    const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";
    let line = |value: &[u8]| {
        let field = [b"Transfer-Encoding:", value, b"\r\n"].concat();
        publish(field, CHUNKS)
    };
    let fields = |fields: &[u8]| publish(fields, CHUNKS);
    let good = [
        " chunked",
        "chunked",
        " Chunked",
        " CHUNKED",
        "\tchunked \t",
    ];
    let mut all = cases("coding", good, &hello(), line);
    // Empty elements of a list count for nothing (RFC 9110, section 5.6.1).
    let open = hello().or_refused(CODING);
    all.extend(cases(
        "coding",
        [" chunked,", " ,chunked", " , chunked , "],
        &open,
        line,
    ));
    let none: [&[u8]; 29] = [
        b"",
        b" ",
        b" chunked, chunked",
        b" chunked,chunked",
        b" identity",
        b" chunked, identity",
        b" identity, chunked",
        b" gzip",
        b" gzip, chunked",
        b" chunked, gzip",
        b" deflate, chunked",
        b" xchunked",
        b" chunkedx",
        b" x chunked",
        b" chunked x",
        b" chunk",
        b" \x0bchunked",
        b" chunked\x0b",
        b" \x0cchunked",
        b" chunked\0",
        b" \0chunked",
        b" \"chunked\"",
        b" 'chunked'",
        b" chunked;q=1",
        b" \xc2\xa0chunked",
        b" \x85chunked",
        b"\r\n chunked",
        b" chunked\r\n gzip",
        "  ｃhunked".as_bytes(),
    ];
    all.extend(cases("coding", none, &refused(CODING), line));
    let two = [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        "Transfer-Encoding\0: chunked\r\n",
        "Transfer-Encoding\x0b: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X:\nTransfer-Encoding: chunked\r\n",
    ];
    all.extend(cases("fields", two, &refused(CODING), fields));
    // Framing that is faulty: whatever comes of it, the connection is closed (RFC 9112, section 6.1).
    let old = |connection: &[u8]| {
        let request = publish(
            [b"Transfer-Encoding: chunked\r\n", connection].concat(),
            CHUNKS,
        );
        super::table::replace(&request, b"HTTP/1.1", b"HTTP/1.0")
    };
    let closed = ["", "Connection: close\r\n", "Connection: keep-alive\r\n"];
    all.extend(cases("HTTP/1.0", closed, &refused(VERSION), old));
    all
}

#[test]
fn a_transfer_coding_is_chunked_or_the_request_is_refused() {
    check_over_each_transport(&codings());
}

/// A chunked publish with this body.
fn chunks(body: impl AsRef<[u8]>) -> Vec<u8> {
    publish("Transfer-Encoding: chunked\r\n", body)
}

fn chunk_sizes_and_ends() -> Vec<Case> {
    // Between the size and the data, with both line ends.
    let size = |line: &[u8]| chunks([line, b"hello\r\n0\r\n\r\n"].concat());
    let good = ["5\r\n", "05\r\n", "0000000000000005\r\n"];
    let mut all = cases("size", good, &hello(), size);
    let extensions = ["5;a\r\n", "5;a=b\r\n", "5;a=\"b;c\"\r\n", "5;a=b;c=d\r\n"];
    all.extend(cases("size", extensions, &hello(), size));
    let open = [
        "5 ;a=b\r\n",
        "5; a=b\r\n",
        "5\t;\ta=b\r\n",
        "5;\r\n",
        "5;;\r\n",
        "5;=b\r\n",
        "00000000000000005\r\n",
    ];
    all.extend(cases("size", open, &hello().or_refused(BAD), size));
    let none: [&[u8]; 40] = [
        b"+5\r\n",
        b"-5\r\n",
        b" 5\r\n",
        b"\t5\r\n",
        b"5 \r\n",
        b"5\t\r\n",
        b"5\x0b\r\n",
        b"\x0b5\r\n",
        b"5\x0c\r\n",
        b"5\0\r\n",
        b"\x005\r\n",
        b"0x5\r\n",
        b"0X5\r\n",
        b"5_0\r\n",
        b"5h\r\n",
        b"5,\r\n",
        b"5.\r\n",
        b"5.0\r\n",
        b"5 5\r\n",
        b"5 x\r\n",
        b"5=a\r\n",
        b"5\"\r\n",
        b"g\r\n",
        b"\r\n",
        b"\r\n5\r\n",
        b";a=b\r\n",
        b" ;a\r\n",
        b"\xef\xbc\x95\r\n",
        b"5\n",
        b"5\r",
        b"5\r\r\n",
        b"5\n\r\n",
        b"5;\n",
        b"5;a=b\n",
        b"5;a\nb\r\n",
        b"5;a\rb\r\n",
        b"5;a\r\r\n",
        b"5;a\0\r\n",
        b"5;a=\"b\nc\"\r\n",
        b"5;a=\"\r\n",
    ];
    // The last one leaves a string open: what follows the line is its data all the same.
    let (last, none) = none.split_last().expect("there are some");
    all.extend(cases("size", none, &refused(BAD), size));
    all.extend(cases("size", [last], &hello().or_refused(BAD), size));
    let huge = [
        "10000000000000005\r\n",
        "100000005\r\n",
        "7fffffffffffffff\r\n",
        "ffffffffffffffff\r\n",
        "fffffffffffffffff\r\n",
        "fffffffffffffffffffffffffffffff5\r\n",
    ];
    all.extend(cases("size", huge, &refused(LENGTH), size));

    // Behind the data.
    let end = |end: &[u8]| chunks([b"5\r\nhello", end, b"0\r\n\r\n"].concat());
    let none: [&[u8]; 9] = [
        b"",
        b"\n",
        b"\r",
        b"\r\r\n",
        b"\n\r\n",
        b"XX",
        b"X\r\n",
        b"\r\n\r\n",
        b" \r\n",
    ];
    all.extend(cases("end of data", none, &refused(BAD), end));

    // The last chunk, and what trails it.
    let last = |last: &[u8]| chunks([b"5\r\nhello\r\n", last].concat());
    let good = [
        "0\r\n\r\n",
        "00\r\n\r\n",
        "0;a=b\r\n\r\n",
        "0\r\nX: y\r\n\r\n",
        "0\r\nX: y\r\nZ:\r\n\r\n",
        "0\r\nContent-MD5: x\r\nExpires: 0\r\n\r\n",
        // Dropped, not obeyed.
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nAuthorization: Bearer wrong\r\n\r\n",
        "0\r\nConnection: close\r\n\r\n",
    ];
    all.extend(cases("last chunk", good, &hello(), last));
    let open = [
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nContent-Length: x\r\n\r\n",
    ];
    all.extend(cases("last chunk", open, &hello().or_refused(BAD), last));
    let none: [&[u8]; 14] = [
        b"0\n\r\n",
        b"0\r\n\n",
        b"0\n\n",
        b"0\r\r\n\r\n",
        b"0\r\n\r\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\nX: y\r\n\n",
        b"0\r\nX y\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\n X: y\r\n\r\n",
        b"0\r\nX: y\r\n z\r\n\r\n",
        b"0\r\nX\0: y\r\n\r\n",
        b"0\r\nX: \0\r\n\r\n",
        b"0\r\n: y\r\n\r\n",
    ];
    all.extend(cases("last chunk", none, &refused(BAD), last));
    all
}

#[test]
fn a_chunk_has_a_size_and_ends_where_it_says_or_the_request_is_refused() {
    check_over_each_transport(&chunk_sizes_and_ends());
}

fn long_chunk_sizes_and_trailers() -> Vec<Case> {
    let long = |begin: &str, middle: &str, count: usize, end: &str| {
        chunks([begin, &middle.repeat(count), end].concat())
    };
    let last = "5\r\nhello\r\n0\r\n";
    let mut all = vec![
        Case::new(
            "a size of 20 KiB",
            long("", "0", 20 << 10, "5\r\nhello\r\n0\r\n\r\n"),
            refused(LARGE),
        ),
        Case::new(
            "an extension of 100 bytes",
            long("5;a=", "b", 100, "\r\nhello\r\n0\r\n\r\n"),
            hello(),
        ),
        Case::new(
            "an extension of 40 KiB",
            long("5;a=", "b", 40 << 10, "\r\nhello\r\n0\r\n\r\n"),
            refused(LARGE),
        ),
        Case::new(
            "10,000 extensions",
            long("5", ";a", 10_000, "\r\nhello\r\n0\r\n\r\n"),
            refused(LARGE),
        ),
        Case::new("20 trailers", long(last, "X: y\r\n", 20, "\r\n"), hello()),
        Case::new(
            "1,000 trailers",
            long(last, "X: y\r\n", 1000, "\r\n"),
            refused(LARGE),
        ),
        Case::new(
            "a trailer of 40 KiB",
            long(&format!("{last}X: "), "y", 40 << 10, "\r\n\r\n"),
            refused(LARGE),
        ),
        Case::new(
            "a name of a trailer of 40 KiB",
            long(last, "y", 40 << 10, ": x\r\n\r\n"),
            refused(LARGE),
        ),
        Case::new(
            "1,000 chunks of a byte",
            long("", "1\r\nx\r\n", 1000, "0\r\n\r\n"),
            published("x".repeat(1000)),
        ),
    ];
    let extended = long("", "1;abcdefgh=ijklmnop\r\nx\r\n", 1000, "0\r\n\r\n");
    let open = published("x".repeat(1000)).or_refused(LARGE);
    all.push(Case::new("1,000 chunks with an extension", extended, open));
    all
}

#[test]
fn sizes_extensions_and_trailers_have_an_end() {
    check_over_each_transport(&long_chunk_sizes_and_trailers());
}

fn fields_and_line_ends() -> Vec<Case> {
    let fields = |fields: &[u8]| get(fields);
    let good: [&[u8]; 12] = [
        b"X: y\r\n",
        b"X:y\r\n",
        b"X:\r\n",
        b"X: \r\n",
        b"X:\t y \t\r\n",
        b"x: Y\r\n",
        b"!#$%&'*+-.^_`|~09Az: y\r\n",
        b"X: a:b\r\n",
        b"X: \"a, b\"\r\n",
        b"X: \x80\xff\r\n",
        b"X: S\xc3\xa3o Paulo\r\n",
        b"Cookie: nome=Jo\xe3o\r\n",
    ];
    let mut all = cases("field", good, &served(200), fields);
    let none: [&[u8]; 36] = [
        b"X: y\n",
        b"X: y\r",
        b"X: y\r\r\n",
        b"X: y\n\r\n",
        b"\nX: y\r\n",
        b"\rX: y\r\n",
        b"X: a\nb\r\n",
        b"X: a\rb\r\n",
        b"X: a\0b\r\n",
        b"X: a\x01b\r\n",
        b"X: a\x7fb\r\n",
        b"X: \x0by\r\n",
        b"X\0: y\r\n",
        b"X\x0b: y\r\n",
        b"X : y\r\n",
        b"X\t: y\r\n",
        b" X: y\r\n",
        b"\tX: y\r\n",
        b"X: y\r\n z\r\n",
        b"X: y\r\n\tz\r\n",
        b"X: y\r\n \r\n",
        b": y\r\n",
        b" : y\r\n",
        b"X\r\n",
        b"X y\r\n",
        b"X\r\n: y\r\n",
        b"X;: y\r\n",
        b"X(a): y\r\n",
        b"X/Y: y\r\n",
        b"X=Y: y\r\n",
        b"[X]: y\r\n",
        b"{X}: y\r\n",
        b"\"X\": y\r\n",
        b"X\x80: y\r\n",
        b"\xc3\xa9: y\r\n",
        b"X@: y\r\n",
    ];
    all.extend(cases("field", none, &refused(BAD), fields));
    let plain = |request: &[u8]| request.to_vec();
    let whole: [&[u8]; 6] = [
        b"GET /health HTTP/1.1\nHost: test\n\n",
        b"GET /health HTTP/1.1\r\nHost: test\r\n\n",
        b"GET /health HTTP/1.1\r\nHost: test\n\r\n",
        b"GET /health HTTP/1.1\nHost: test\r\n\r\n",
        b"GET /health HTTP/1.1\rHost: test\r\r",
        b"GET /health HTTP/1.1\r\n\nHost: test\r\n\r\n",
    ];
    all.extend(cases("line ends", whole, &refused(BAD), plain));
    all
}

#[test]
fn lines_of_a_head_end_with_crlf_and_fields_are_fields() {
    check_over_each_transport(&fields_and_line_ends());
}

fn hosts() -> Vec<Case> {
    let lines = |lines: &[u8]| [b"GET /health HTTP/1.1\r\n", lines, b"\r\n"].concat();
    let good = [
        "Host: test\r\n",
        "host: test:80\r\n",
        "Host: [::1]:80\r\n",
        "X: y\r\nHOST:127.0.0.1\r\n",
    ];
    let mut all = cases("host", good, &served(200), lines);
    all.extend(cases(
        "host",
        ["Host:\r\n"],
        &served(200).or_refused(BAD),
        lines,
    ));
    let none = [
        "",
        "X: y\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nX: y\r\nhost: a\r\n",
        "Host : a\r\n",
        " Host: a\r\n",
        "Host: a b\r\n",
        "Host: a\r\n b\r\n",
        "Host: a/b\r\n",
        "Host: a@b\r\n",
    ];
    all.extend(cases("host", none, &refused(BAD), lines));
    // HTTP/1.0 knows none.
    let old = "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    all.push(Case::new("HTTP/1.0 without one", old, served(200)));
    all
}

#[test]
fn a_host_is_there_once() {
    check_over_each_transport(&hosts());
}

fn request_lines() -> Vec<Case> {
    let line = |line: &[u8]| [line, b"\r\nHost: test\r\n\r\n"].concat();
    let mut all = cases(
        "line",
        [
            "GET /health HTTP/1.1",
            "GET /health?a HTTP/1.1",
            "GET http://test/health HTTP/1.1",
            "GET HTTP://TEST:80/health?b HTTP/1.1",
        ],
        &served(200),
        line,
    );
    all.extend(cases("line", ["OPTIONS * HTTP/1.1"], &served(204), line));
    // Legal, or not quite, and harmless: whoever answers takes it for one request.
    let open = [
        "GET https://test/health HTTP/1.1",
        "GET http://other/health HTTP/1.1",
        "GET http://test HTTP/1.1",
        "GET http://a@test/health HTTP/1.1",
        "GET /health#a HTTP/1.1",
    ];
    all.extend(cases(
        "line",
        open,
        &served(200).or_refused(&[400, 421]),
        line,
    ));
    let odd = [
        "GET * HTTP/1.1",
        "GET test:80 HTTP/1.1",
        "GET health HTTP/1.1",
        "GET http:///health HTTP/1.1",
        "GET ftp://test/health HTTP/1.1",
        "GET //health HTTP/1.1",
        "GET http:health HTTP/1.1",
    ];
    all.extend(cases(
        "line",
        odd,
        &answered(&[200, 400, 404, 405]).or_refused(BAD),
        line,
    ));
    let methods = [
        "get /health HTTP/1.1",
        "BREW /health HTTP/1.1",
        "GETT /health HTTP/1.1",
        "G-E.T /health HTTP/1.1",
        "PRI /health HTTP/1.1",
    ];
    all.extend(cases(
        "line",
        methods,
        &answered(&[405]).or_refused(&[400, 501]),
        line,
    ));
    // What follows is not HTTP for the client any more (RFC 9110, section 9.3.6).
    all.extend(cases(
        "line",
        ["CONNECT test:80 HTTP/1.1"],
        &refused(&[400, 404, 405, 501]),
        line,
    ));
    let none: [&[u8]; 21] = [
        b"",
        b"GET",
        b"GET ",
        b"GET /health",
        b"GET /health ",
        b"GET HTTP/1.1",
        b"GET  HTTP/1.1",
        b" GET /health HTTP/1.1",
        b"GET  /health HTTP/1.1",
        b"GET /health  HTTP/1.1",
        b"GET /health HTTP/1.1 ",
        b"GET\t/health HTTP/1.1",
        b"GET /health\tHTTP/1.1",
        b"GET /hea lth HTTP/1.1",
        b"GET /health HTTP/1.1 x",
        b"G(T /health HTTP/1.1",
        b"GET /hea\0lth HTTP/1.1",
        b"GET /health\r HTTP/1.1",
        b"GET\x0b/health HTTP/1.1",
        b"\0GET /health HTTP/1.1",
        b"GET: /health HTTP/1.1",
    ];
    // The first is an empty line and then a field, which is no request either.
    all.extend(cases("line", none, &refused(VERSION), line));
    let late = ["1.2", "1.9"].map(|version| format!("GET /health HTTP/{version}"));
    all.extend(cases("line", late, &served(200).or_refused(VERSION), line));
    let versions = [
        "0.9", "2.0", "3.0", "9.9", "1", "1.", ".1", "1.10", "01.1", "1.1x", "1,1", "+1.1", "1 .1",
        "1.1.1", "",
    ];
    let versions = versions.map(|version| format!("GET /health HTTP/{version}"));
    all.extend(cases("line", versions, &refused(VERSION), line));
    let names = [
        "http/1.1",
        "HTTPS/1.1",
        "HTT/1.1",
        "HTTP-1.1",
        "HTTP1.1",
        "ICY/1.1",
        "RTSP/1.0",
    ];
    let names = names.map(|name| format!("GET /health {name}"));
    all.extend(cases("line", names, &refused(VERSION), line));
    all
}

#[test]
fn a_request_line_has_a_method_a_target_and_a_version() {
    check_over_each_transport(&request_lines());
}

fn empty_lines() -> Vec<Case> {
    let before = |lines: &[u8]| [lines, &get("")].concat();
    let mut all = cases("before it", ["\r\n"], &served(200), before);
    let many = "\r\n".repeat(1000);
    let endless = "\r\n".repeat(40 << 10);
    all.extend(cases(
        "before it",
        ["\r\n\r\n", "\n", "\n\n", &many, &endless],
        &served(200).or_refused(LARGE),
        before,
    ));
    all.extend(cases(
        "before it",
        ["\r", "\r\r\n", " \r\n", "\t\r\n", "\0\r\n", "x\r\n"],
        &refused(BAD),
        before,
    ));
    // Some clients send one behind a body.
    let behind = |rest: &[u8]| publish("Content-Length: 5\r\n", [b"hello", rest].concat());
    all.extend(cases("behind a body", ["\r\n"], &hello(), behind));
    all
}

#[test]
fn an_empty_line_before_a_request_is_passed_over() {
    check_over_each_transport(&empty_lines());
}

fn other_protocols() -> Vec<Case> {
    // What OpenSSL and browsers begin with, shortened; the length says that more would follow.
    let hello = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        &[0x5a; 200],
    ]
    .concat();
    let settings = b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0\xff\xff\0\x02\0\0\0\0";
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    let noise: [(&str, &[u8]); 16] = [
        ("TLS", &hello),
        ("SSLv2", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x07\x00\xc0\n\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("telnet", b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23\xff\xfd\x27"),
        ("SMTP", b"EHLO example.org\r\n"),
        ("FTP", b"USER anonymous\r\n"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("memcached", b"stats\r\n"),
        ("PROXY v1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /health HTTP/1.1\r\nHost: test\r\n\r\n"),
        ("PROXY v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x04\0\0\x50GET /health HTTP/1.1\r\nHost: test\r\n\r\n"),
        ("RDP", b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0"),
        ("SOCKS5", b"\x05\x01\0"),
        ("PostgreSQL", b"\0\0\0\x08\x04\xd2\x16\x2f"),
        ("JSON", b"{\"jsonrpc\": \"2.0\", \"method\": \"x\"}\r\n"),
        ("STOMP", b"CONNECT\naccept-version:1.2\n\n\0"),
        ("nothing but NUL", &[0; 64]),
    ];
    let mut all: Vec<Case> = noise
        .into_iter()
        .map(|(name, bytes)| Case::new(name, bytes, refused(VERSION).or_closed()).alone())
        .collect();
    for (name, bytes) in [
        ("HTTP/2", preface.to_vec()),
        ("HTTP/2 with settings", [preface, settings].concat()),
    ] {
        all.push(Case::new(name, bytes, refused(VERSION)).alone());
    }
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    all.push(Case::new(
        "WebSocket, which may be ignored",
        get(upgrade),
        answered(&[200]),
    ));
    all
}

#[test]
fn other_protocols_get_an_answer_or_an_end() {
    check_over_each_transport(&other_protocols());
}

fn large_heads() -> Vec<Case> {
    const TOO_LARGE: &[u16] = &[431];
    let fields = |count: usize| get("X: y\r\n".repeat(count - 1));
    let of = |size: usize| get(format!("X: {}\r\n", "y".repeat(size)));
    vec![
        Case::new("100 fields", fields(100), served(200)),
        Case::new("101 fields", fields(101), refused(TOO_LARGE)),
        Case::new("3,000 fields", fields(3000), refused(TOO_LARGE)),
        Case::new("16,000 bytes of head", of(15_950), served(200)),
        Case::new("16,900 bytes of head", of(16_900), refused(TOO_LARGE)),
        Case::new("100 KB of head", of(100_000), refused(TOO_LARGE)),
        Case::new(
            "a name of 20 KB",
            get(format!("{}: y\r\n", "X".repeat(20_000))),
            refused(TOO_LARGE),
        ),
        Case::new(
            "a target of 9 KB",
            format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(9000)),
            answered(&[404, 414]),
        ),
        Case::new(
            "a target of 20 KB",
            format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(20_000)),
            refused(&[414, 431]),
        ),
        Case::new(
            "a method of 8 KB",
            format!(
                "{} /health HTTP/1.1\r\nHost: test\r\n\r\n",
                "X".repeat(8000)
            ),
            answered(&[405]).or_refused(&[400, 431, 501]),
        ),
        Case::new(
            "a method of 20 KB",
            format!(
                "{} /health HTTP/1.1\r\nHost: test\r\n\r\n",
                "X".repeat(20_000)
            ),
            refused(&[400, 431]),
        ),
    ]
}

#[test]
fn what_is_too_large_is_431() {
    check_over_each_transport(&large_heads());
}
