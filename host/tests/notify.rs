//! Messages to the service manager, over real sockets.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lameduck_host::notify::{Notifier, NotifyError};

/// A service manager's end.
struct Manager {
    socket: UnixDatagram,
    name: OsString,
}

fn path(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("lameduck-notify-{test}-{}", std::process::id()))
}

impl Manager {
    fn at_path(test: &str) -> Self {
        let path = path(test);
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, name: path.into() }
    }

    #[cfg(target_os = "linux")]
    fn abstract_one(test: &str) -> Self {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("lameduck-notify-{test}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Self { socket, name: format!("@{name}").into() }
    }

    fn heard(&self) -> String {
        let mut bytes = [0; 4096];
        self.socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    fn hears_nothing(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let nothing =
            matches!(self.socket.recv(&mut [0; 1]), Err(e) if e.kind() == ErrorKind::WouldBlock);
        self.socket.set_nonblocking(false).unwrap();
        nothing
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.name);
    }
}

fn hears_all(manager: &Manager) {
    let mut notifier = Notifier::open(&manager.name).unwrap();
    assert!(manager.hears_nothing(), "opening says nothing");
    for message in ["READY=1\nSTATUS=serving\n", "STOPPING=1\n"] {
        assert!(notifier.send(message).is_none());
        assert_eq!(manager.heard(), message);
    }
    assert!(manager.hears_nothing() && !notifier.keeps());
}

#[test]
fn a_path() {
    hears_all(&Manager::at_path("path"));
}

#[test]
#[cfg(target_os = "linux")]
fn an_abstract_socket() {
    hears_all(&Manager::abstract_one("abstract"));
}

#[test]
fn a_socket_that_vanished_is_told_once_and_heard_again_when_it_is_back() {
    let manager = Manager::at_path("vanished");
    let name = manager.name.clone();
    let mut notifier = Notifier::open(&name).unwrap();
    drop(manager);
    let trouble = notifier.send("STATUS=one\n").unwrap();
    let NotifyError::Undelivered { error, .. } = &trouble else { panic!("{trouble:?}") };
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(trouble.to_string().contains("the shutdown goes on"), "{trouble}");
    assert!(notifier.send("STATUS=two\n").is_none(), "told once");
    assert!(!notifier.keeps(), "what nobody was there to hear is not kept");
    let manager = Manager::at_path("vanished");
    assert!(notifier.send("STATUS=three\n").is_none());
    assert_eq!(manager.heard(), "STATUS=three\n");
}

#[test]
fn a_closed_socket_whose_file_remains_is_told_once() {
    let path = path("closed");
    let _ = std::fs::remove_file(&path);
    drop(UnixDatagram::bind(&path).unwrap());
    let mut notifier = Notifier::open(path.as_os_str()).unwrap();
    let trouble = notifier.send("STOPPING=1\n").unwrap();
    let NotifyError::Undelivered { error, .. } = trouble else { panic!("{trouble:?}") };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(notifier.send("STOPPING=1\n").is_none());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_full_queue_never_blocks_and_what_matters_arrives_later() {
    let manager = Manager::at_path("full");
    let mut notifier = Notifier::open(&manager.name).unwrap();
    let began = Instant::now();
    let mut sent = 0;
    let trouble = loop {
        match notifier.send(&format!("STATUS={sent}\n")) {
            None => sent += 1,
            Some(trouble) => break trouble,
        }
    };
    let NotifyError::Undelivered { error, .. } = trouble else { panic!("{trouble:?}") };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(sent > 0);
    for message in ["READY=1\nSTATUS=a\n", "STOPPING=1\nSTATUS=b\n"] {
        assert!(notifier.send(message).is_none(), "told once");
    }
    assert!(notifier.retry().is_none() && notifier.keeps());
    assert!(began.elapsed() < Duration::from_secs(5), "it blocked");
    for n in 0..sent {
        assert_eq!(manager.heard(), format!("STATUS={n}\n"));
    }
    assert!(notifier.retry().is_none() && !notifier.keeps());
    assert_eq!(manager.heard(), "READY=1\nSTOPPING=1\nSTATUS=b\n");
    assert!(notifier.retry().is_none());
    assert!(manager.hears_nothing());
}

#[test]
fn a_forked_child_says_nothing() {
    let manager = Manager::at_path("forked");
    let mut notifier = Notifier::open(&manager.name).unwrap();
    // SAFETY: the child makes system calls only; the answer is that nothing is sent, before anything is allocated.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let quiet = notifier.send("STOPPING=1\n").is_none();
        // SAFETY: no preconditions.
        unsafe { libc::_exit(if quiet { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the child was forked above; the pointer is to a writable int.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
    assert!(manager.hears_nothing());
    assert!(notifier.send("STOPPING=1\n").is_none());
    assert_eq!(manager.heard(), "STOPPING=1\n");
}

#[test]
fn a_name_that_is_no_socket_of_this_machine_is_refused() {
    for name in ["relative", "@", "vsock:2:1234", &format!("/{}", "x".repeat(200))] {
        let error = Notifier::open(name.as_ref()).unwrap_err();
        assert!(matches!(error, NotifyError::Address { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
}
