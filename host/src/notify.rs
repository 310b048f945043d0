//! Talks to the service manager: the datagram protocol of `sd_notify(3)`.
//!
//! What to say and when is decided in [`crate::notices`]. Here it is sent, and nothing that becomes of it ever
//! stops or delays a shutdown: the socket never blocks, what it cannot take now is kept and sent
//! later, and trouble is told once.
//!
//! It is written here and not taken from the crate `sd-notify` (0.5), which takes `@name` for a file's name
//! instead of an abstract socket, blocks when the receiver's queue is full, and reads the environment anew for every
//! message, which races with an embedder that writes to it.
//!
//! The variable `NOTIFY_SOCKET` is left where it is: removing it is not safe once there are threads. Worker
//! processes inherit it; their driver should open no notifier. (systemd hears them only with `NotifyAccess=all`.)

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::{env, fmt, io};

use crate::wake::process_id;

const VARIABLE: &str = "NOTIFY_SOCKET";

/// Why the service manager does not hear this process. Nothing else follows from it.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotifyError {
    /// The socket's name is none that this process can send to.
    Address {
        /// The name.
        name: String,
    },
    /// The system gave no socket.
    Socket(io::Error),
    /// A message was not delivered. It is lost, unless the receiver's queue was just full.
    Undelivered {
        /// The name of the service manager's socket.
        name: String,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for NotifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { name } => write!(
                f,
                "{VARIABLE} is '{}', which is neither an absolute path nor an abstract socket (@name): the service manager is told nothing",
                name.escape_debug()
            ),
            Self::Socket(error) => {
                write!(
                    f,
                    "no socket could be opened ({error}): the service manager is told nothing"
                )
            }
            Self::Undelivered { name, error } => write!(
                f,
                "the service manager does not hear us at '{}' ({error}): its status of this process is out of date; the shutdown goes on",
                name.escape_debug()
            ),
        }
    }
}

impl std::error::Error for NotifyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address { .. } => None,
            Self::Socket(error) | Self::Undelivered { error, .. } => Some(error),
        }
    }
}

/// A line to the service manager. In a forked child of the process that opened it, it says nothing.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
    name: String,
    process: libc::pid_t,
    /// Lines that did not fit into the receiver's queue, one a key: the newest.
    kept: Vec<String>,
    troubled: bool,
}

impl Notifier {
    /// The service manager's, if it named a socket in the environment. Read once, here.
    ///
    /// # Errors
    /// [`NotifyError`]: worth one line of the log. The server goes on without.
    pub fn from_environment() -> Result<Option<Self>, NotifyError> {
        match env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => Self::open(&name).map(Some),
            _ => Ok(None),
        }
    }

    /// The one at the socket `name`: an absolute path, or on Linux `@` and the name of an abstract socket.
    ///
    /// # Errors
    /// [`NotifyError::Address`], [`NotifyError::Socket`]. Whether anybody listens there is not looked at.
    pub fn open(name: &OsStr) -> Result<Self, NotifyError> {
        let text = name.to_string_lossy().into_owned();
        let to = address(name).ok_or_else(|| NotifyError::Address { name: text.clone() })?;
        let socket = UnixDatagram::unbound().map_err(NotifyError::Socket)?;
        socket.set_nonblocking(true).map_err(NotifyError::Socket)?;
        let (process, kept) = (process_id(), Vec::new());
        Ok(Self { socket, to, name: text, process, kept, troubled: false })
    }

    /// Sends the lines of `message`, and before them what was kept. Never blocks. The first trouble is returned,
    /// later ones are not: it is told once.
    pub fn send(&mut self, message: &str) -> Option<NotifyError> {
        if self.process != process_id() {
            return None;
        }
        for line in message.lines() {
            let key = |line: &str| line.split_once('=').map(|(key, _)| key.to_owned());
            self.kept.retain(|old| key(old) != key(line));
            self.kept.push(line.to_owned());
        }
        if self.kept.is_empty() {
            return None;
        }
        let mut text = self.kept.join("\n");
        text.push('\n');
        let error = loop {
            match self.socket.send_to_addr(text.as_bytes(), &self.to) {
                Ok(_) => {
                    self.kept.clear();
                    return None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        let full = error.kind() == io::ErrorKind::WouldBlock
            || error.raw_os_error() == Some(libc::ENOBUFS);
        if !full {
            // Nobody is there. Whoever comes later gets what is true then.
            self.kept.clear();
        }
        if std::mem::replace(&mut self.troubled, true) {
            return None;
        }
        Some(NotifyError::Undelivered { name: self.name.clone(), error })
    }

    /// Whether the receiver's queue was full and lines are kept: call [`retry`](Self::retry) a little later.
    #[must_use]
    pub fn keeps(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Tries to send what was kept.
    pub fn retry(&mut self) -> Option<NotifyError> {
        self.send("")
    }
}

fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name).ok(),
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] if !rest.is_empty() => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(rest).ok()
        }
        _ => None,
    }
}
