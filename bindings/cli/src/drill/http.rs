//! HTTP/1.1 messages as bytes: a strict, incremental response parser and the request encoder.
//!
//! No socket in here. The parser is strict on purpose: a proxy or a browser may forgive a bad
//! framing, a drill must report it.

use std::fmt;

/// Largest response head that is accepted, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Largest response body that is accepted, in bytes.
const MAX_BODY: usize = 64 * 1024 * 1024;
const MAX_HEADERS: usize = 128;

/// One complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Whether the connection may carry another request (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// The content, with transfer coding removed.
    pub body: Vec<u8>,
}

/// Why bytes are not a response this client accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// How an end of stream meets the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtEof {
    /// The end of the stream was the end of the body: the response is whole.
    Complete(Response),
    /// Not one byte of a response had come.
    Nothing,
    /// The response stops before its end.
    Truncated,
}

#[derive(Debug)]
enum State {
    Head,
    /// Body of a known length.
    Length(usize),
    /// Body that ends where the connection ends.
    UntilEof,
    ChunkSize,
    ChunkData(usize),
    ChunkEnd,
    Trailers,
    Done,
}

/// Reads one response from bytes that come in pieces.
#[derive(Debug)]
pub struct ResponseParser {
    buffer: Vec<u8>,
    state: State,
    status: u16,
    keep_alive: bool,
    body: Vec<u8>,
    begun: bool,
}

impl Default for ResponseParser {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            state: State::Head,
            status: 0,
            keep_alive: false,
            body: Vec::new(),
            begun: false,
        }
    }
}

impl ResponseParser {
    /// Takes the next bytes; the response once it is whole, `None` while more must come.
    ///
    /// # Errors
    /// The bytes break RFC 9112, or go on after the end of the response.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Response>, Malformed> {
        self.begun |= !bytes.is_empty();
        self.buffer.extend_from_slice(bytes);
        while self.step()? {}
        if !matches!(self.state, State::Done) {
            return Ok(None);
        }
        if !self.buffer.is_empty() {
            return Err(Malformed("bytes after the end of the response"));
        }
        Ok(Some(self.take()))
    }

    /// The stream ended.
    pub fn eof(mut self) -> AtEof {
        match self.state {
            State::UntilEof => AtEof::Complete(self.take()),
            State::Head if !self.begun => AtEof::Nothing,
            _ => AtEof::Truncated,
        }
    }

    /// Whether at least one byte of a response has come.
    pub fn begun(&self) -> bool {
        self.begun
    }

    /// The status, once the head has come.
    pub fn status(&self) -> Option<u16> {
        (!matches!(self.state, State::Head)).then_some(self.status)
    }

    fn take(&mut self) -> Response {
        Response {
            status: self.status,
            keep_alive: self.keep_alive,
            body: std::mem::take(&mut self.body),
        }
    }

    /// One step; `false` when it can go no further without more bytes.
    fn step(&mut self) -> Result<bool, Malformed> {
        match self.state {
            State::Head => self.head(),
            State::Length(left) => {
                let taken = self.move_to_body(left)?;
                self.state = if taken == left { State::Done } else { State::Length(left - taken) };
                Ok(false)
            }
            State::UntilEof => {
                self.move_to_body(usize::MAX)?;
                Ok(false)
            }
            State::ChunkSize => match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((used, size))) => {
                    self.buffer.drain(..used);
                    let size =
                        usize::try_from(size).map_err(|_| Malformed("chunk size too large"))?;
                    self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                    Ok(true)
                }
                Ok(httparse::Status::Partial) if self.buffer.len() > MAX_HEAD => {
                    Err(Malformed("endless chunk size"))
                }
                Ok(httparse::Status::Partial) => Ok(false),
                Err(_) => Err(Malformed("invalid chunk size")),
            },
            State::ChunkData(left) => {
                let taken = self.move_to_body(left)?;
                self.state =
                    if taken == left { State::ChunkEnd } else { State::ChunkData(left - taken) };
                Ok(taken == left)
            }
            State::ChunkEnd => {
                if self.buffer.len() < 2 {
                    return Ok(false);
                }
                if !self.buffer.starts_with(b"\r\n") {
                    return Err(Malformed("chunk longer than its size"));
                }
                self.buffer.drain(..2);
                self.state = State::ChunkSize;
                Ok(true)
            }
            State::Trailers => {
                let mut trailers = [httparse::EMPTY_HEADER; MAX_HEADERS];
                match httparse::parse_headers(&self.buffer, &mut trailers) {
                    Ok(httparse::Status::Complete((used, _))) => {
                        self.buffer.drain(..used);
                        self.state = State::Done;
                        Ok(false)
                    }
                    Ok(httparse::Status::Partial) if self.buffer.len() > MAX_HEAD => {
                        Err(Malformed("trailers too long"))
                    }
                    Ok(httparse::Status::Partial) => Ok(false),
                    Err(_) => Err(Malformed("invalid trailers")),
                }
            }
            State::Done => Ok(false),
        }
    }

    fn move_to_body(&mut self, limit: usize) -> Result<usize, Malformed> {
        let taken = limit.min(self.buffer.len());
        if self.body.len() + taken > MAX_BODY {
            return Err(Malformed("response larger than 64 MiB"));
        }
        self.body.extend(self.buffer.drain(..taken));
        Ok(taken)
    }

    fn head(&mut self) -> Result<bool, Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let used = match head.parse(&self.buffer) {
            Ok(httparse::Status::Complete(used)) => used,
            Ok(httparse::Status::Partial) if self.buffer.len() > MAX_HEAD => {
                return Err(Malformed("response head longer than 64 KiB"));
            }
            Ok(httparse::Status::Partial) => return Ok(false),
            Err(_) => return Err(Malformed("not an HTTP/1 response head")),
        };
        let status = head.code.unwrap_or(0);
        let framing = Framing::of(head.version.unwrap_or(0), head.headers)?;
        self.buffer.drain(..used);
        match status {
            101 => return Err(Malformed("switched protocols without being asked")),
            // Interim responses (RFC 9110 §15.2): the final one follows.
            100..=199 => return Ok(true),
            _ => {}
        }
        self.status = status;
        self.keep_alive = framing.keep_alive;
        self.state = match (status, framing.chunked, framing.length) {
            // No content by definition (RFC 9112 §6.3, rule 1).
            (204 | 304, _, _) => State::Done,
            (_, true, _) => State::ChunkSize,
            (_, false, Some(length)) => State::Length(length),
            (_, false, None) => {
                self.keep_alive = false;
                State::UntilEof
            }
        };
        Ok(true)
    }
}

/// What the header fields say about where the message ends (RFC 9112 §6.3).
struct Framing {
    keep_alive: bool,
    chunked: bool,
    length: Option<usize>,
}

impl Framing {
    fn of(minor_version: u8, headers: &[httparse::Header<'_>]) -> Result<Self, Malformed> {
        let (mut close, mut keep, mut chunked, mut length) = (false, false, false, None);
        for header in headers.iter() {
            let value = std::str::from_utf8(header.value).unwrap_or("").trim();
            if header.name.eq_ignore_ascii_case("connection") {
                for token in value.split(',').map(str::trim) {
                    close |= token.eq_ignore_ascii_case("close");
                    keep |= token.eq_ignore_ascii_case("keep-alive");
                }
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                if chunked || !value.eq_ignore_ascii_case("chunked") {
                    return Err(Malformed("a transfer coding other than chunked"));
                }
                chunked = true;
            } else if header.name.eq_ignore_ascii_case("content-length") {
                if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(Malformed("invalid Content-Length"));
                }
                let parsed: usize =
                    value.parse().map_err(|_| Malformed("invalid Content-Length"))?;
                if length.is_some_and(|earlier| earlier != parsed) {
                    return Err(Malformed("two different Content-Length values"));
                }
                length = Some(parsed);
            }
        }
        if chunked && length.is_some() {
            return Err(Malformed("both Content-Length and Transfer-Encoding"));
        }
        let keep_alive = !close && (minor_version >= 1 || keep);
        Ok(Self { keep_alive, chunked, length })
    }
}

/// A request as the bytes that go on the wire.
pub fn encode(
    method: &str,
    path: &str,
    authority: &str,
    body: Option<&[u8]>,
    close: bool,
) -> Vec<u8> {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: lameduck-drill\r\nAccept: */*\r\n"
    );
    if close {
        head.push_str("Connection: close\r\n");
    }
    if let Some(body) = body {
        head.push_str(&format!(
            "Content-Type: application/octet-stream\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` whole and then byte by byte; both must agree.
    fn parse(bytes: &str) -> Result<Option<Response>, Malformed> {
        let whole = ResponseParser::default().push(bytes.as_bytes());
        let mut parser = ResponseParser::default();
        let mut pieces = Ok(None);
        for (at, byte) in bytes.bytes().enumerate() {
            pieces = parser.push(&[byte]);
            match &pieces {
                Err(_) => break,
                Ok(Some(_)) if whole.is_ok() => {
                    assert_eq!(at + 1, bytes.len(), "complete before its last byte");
                }
                Ok(_) => {}
            }
        }
        if whole.is_ok() {
            assert_eq!(whole, pieces);
        }
        whole
    }

    fn complete(bytes: &str) -> Response {
        parse(bytes).expect("well formed").expect("complete")
    }

    #[test]
    fn content_length() {
        let response = complete("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(response, Response { status: 200, keep_alive: true, body: b"hello".to_vec() });
        let empty = complete("HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert_eq!((empty.status, empty.keep_alive), (503, false));
    }

    #[test]
    fn chunked_with_extension_and_trailer() {
        let response = complete(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n1\r\n!\r\n0\r\nT: v\r\n\r\n",
        );
        assert_eq!(response.body, b"hello!");
        assert!(response.keep_alive);
    }

    #[test]
    fn interim_responses_are_skipped() {
        let response = complete(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        );
        assert_eq!((response.status, response.body.as_slice()), (200, b"x".as_slice()));
    }

    #[test]
    fn keep_alive_rules() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: foo, CLOSE\r\n", false),
            ("HTTP/1.0 200 OK\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", true),
        ] {
            let response = complete(&format!("{head}Content-Length: 0\r\n\r\n"));
            assert_eq!(response.keep_alive, expected, "{head}");
        }
    }

    #[test]
    fn body_until_the_end_of_the_stream() {
        let mut parser = ResponseParser::default();
        assert_eq!(parser.push(b"HTTP/1.1 200 OK\r\n\r\nabc"), Ok(None));
        let AtEof::Complete(response) = parser.eof() else { panic!("complete") };
        assert_eq!(response.body, b"abc");
        assert!(!response.keep_alive);
    }

    #[test]
    fn end_of_stream_is_classified() {
        assert_eq!(ResponseParser::default().eof(), AtEof::Nothing);
        for partial in [
            "H",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            let mut parser = ResponseParser::default();
            assert_eq!(parser.push(partial.as_bytes()), Ok(None), "{partial:?}");
            assert_eq!(parser.eof(), AtEof::Truncated, "{partial:?}");
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        for bytes in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn no_content_has_no_body() {
        assert_eq!(complete("HTTP/1.1 204 No Content\r\n\r\n").body, b"");
    }

    #[test]
    fn requests() {
        assert_eq!(
            String::from_utf8(encode("GET", "/", "127.0.0.1:1", None, true)).unwrap(),
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:1\r\nUser-Agent: lameduck-drill\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        let post = String::from_utf8(encode("POST", "/echo", "h", Some(b"abc"), false)).unwrap();
        assert!(post.starts_with("POST /echo HTTP/1.1\r\n"));
        assert!(post.ends_with("Content-Length: 3\r\n\r\nabc"));
    }
}
