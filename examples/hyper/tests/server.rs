//! The server as a process of its own, over plain sockets: what SIGTERM does to requests that are in flight.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A server with this grace, in seconds; its port is free because nobody else knows it.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(grace: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(env!("CARGO_BIN_EXE_example-hyper"))
            .env("PORT", port.to_string())
            .env("LAMEDUCK_GRACE", grace)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        while TcpStream::connect(address).is_err() {
            thread::yield_now();
        }
        Self { process, address }
    }

    fn terminate(&self) {
        let id = i32::try_from(self.process.id()).expect("a process id");
        // SAFETY: it sends a signal to our own child, which nobody has waited for yet.
        assert_eq!(unsafe { libc::kill(id, libc::SIGTERM) }, 0);
    }

    /// The same, and waits until it is draining.
    fn stop(&self) {
        self.terminate();
        while response(&mut self.get("/readyz")).0.starts_with("HTTP/1.1 200 ") {
            thread::yield_now();
        }
    }

    /// Exit code and report.
    fn ended(mut self) -> (i32, Value) {
        let lines = BufReader::new(self.process.stderr.take().expect("piped")).lines();
        let last = lines.map(Result::unwrap).last().expect("a report");
        let json = last.strip_prefix("lameduck: ").expect("our line");
        let code = self.process.wait().expect("it ends").code().expect("it exits");
        (code, serde_json::from_str(json).expect("the report is JSON"))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn get(&self, path: &str) -> TcpStream {
        let mut stream = self.connect();
        ask(&mut stream, path);
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Of a test that failed; of one that passed it is gone.
        let _ = self.process.kill();
    }
}

fn ask(stream: &mut TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is open");
}

/// Head, and as much of the body as its length says.
fn response(stream: &mut TcpStream) -> (String, usize) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("in time") > 0, "cut: {head}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.expect("a length").parse().expect("a number");
    let read = std::io::copy(&mut reader.take(length), &mut std::io::sink()).expect("in time");
    (head, usize::try_from(read).expect("small"))
}

/// How many clients went early; everybody else was answered. (A request may be in flight a moment longer than its
/// client thinks, so how many were adopted is not for a test to say.)
fn gone(report: &Value) -> u64 {
    let count = |what| report["requests"][what].as_u64().expect("a count");
    let gone = count("client_gone");
    assert_eq!(count("adopted") + count("admitted"), count("completed") + gone, "{report}");
    gone
}

#[test]
fn a_response_of_thirty_megabytes_arrives_whole_and_slowly() {
    let server = Server::start("30");
    let mut client = server.get("/big");
    let mut first = [0; 1000];
    client.read_exact(&mut first).unwrap();
    server.terminate();
    // Past the window, while the kernel's buffers are full and the server can do nothing.
    thread::sleep(Duration::from_secs(8));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    let head = String::from_utf8_lossy(&first).find("\r\n\r\n").expect("a head") + 4;
    assert_eq!(first.len() - head + rest.len(), 30 << 20);
    let (code, report) = server.ended();
    assert_eq!((code, gone(&report)), (0, 0), "{report}");
}

#[test]
fn a_stuck_handler_is_answered_503_and_named() {
    let server = Server::start("3");
    let mut client = server.get("/stuck?by=us");
    thread::sleep(Duration::from_millis(200)); // it has no way to say that it is in flight
    let asked = Instant::now();
    server.terminate();
    let (head, _) = response(&mut client);
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(
        head.contains("retry-after: 1\r\n") && head.contains("connection: close\r\n"),
        "{head}"
    );
    let (code, report) = server.ended();
    assert!(asked.elapsed() < Duration::from_secs(3));
    assert_eq!((code, &report["requests"]["forced"]), (1, &Value::from(1)));
    assert_eq!(report["forced"][0]["label"], "GET /stuck", "{report}");
    assert_eq!(report["forced"][0]["state"], "unanswered");
}

#[test]
fn an_idle_connection_is_told_and_then_closed_without_a_reset() {
    let server = Server::start("4");
    let mut client = server.connect();
    ask(&mut client, "/");
    let (head, _) = response(&mut client);
    assert!(!head.contains("connection: close"), "{head}");
    server.terminate();
    // The second half of the window of one second.
    thread::sleep(Duration::from_millis(700));
    ask(&mut client, "/readyz");
    let (head, _) = response(&mut client);
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("connection: close"), "{head}");
    let mut rest = Vec::new();
    assert_eq!(client.read_to_end(&mut rest).expect("no reset"), 0);
    let (code, report) = server.ended();
    assert_eq!((code, gone(&report)), (0, 0), "{report}");
}

#[test]
fn half_a_head_is_waited_for() {
    let server = Server::start("10");
    let mut client = server.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    thread::sleep(Duration::from_millis(100));
    server.terminate();
    // Past the window of 2.5 s and the second over which closes are spread.
    thread::sleep(Duration::from_secs(4));
    client.write_all(b"st: localhost\r\n\r\n").unwrap();
    let (head, _) = response(&mut client);
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("connection: close"), "{head}");
    assert_eq!(server.ended().0, 0);
}

#[test]
fn a_head_request_and_a_client_that_goes_are_told_apart() {
    let server = Server::start("2");
    server.stop();
    let mut polite = server.connect();
    polite.write_all(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut head = String::new();
    polite.read_to_string(&mut head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    drop(server.get("/big"));
    let (code, report) = server.ended();
    assert_eq!((code, gone(&report)), (0, 1), "{report}");
}
