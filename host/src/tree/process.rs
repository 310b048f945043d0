//! Another process: its end, its status, a signal to it, without ever mistaking a number that is used again.

use std::ffi::c_int;
use std::os::fd::BorrowedFd;
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;
use std::{fmt, io, mem};

use crate::clock::{MonotonicNs, now_ns};

/// How often a process without a descriptor is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why a process is not watched. Nothing has changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum TreeError {
    /// No such process, or one that is collected already; or the number is this process's own, or none of a process.
    NoProcess {
        /// The number that was passed in.
        process: i32,
    },
    /// It is no child of this process, and this system has no pidfd by which to hold another.
    NotAChild {
        /// Its number.
        process: i32,
    },
    /// The system gave no descriptor.
    Resources(io::Error),
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess { process } => write!(
                f,
                "{process} is no process that can be watched: it has ended and was collected, or the number is wrong"
            ),
            Self::NotAChild { process } => write!(
                f,
                "process {process} is no child of this one, and this system cannot hold any other: start it here, or let its parent watch it"
            ),
            Self::Resources(error) => {
                write!(f, "the process cannot be watched: {error}; free descriptors and try again")
            }
        }
    }
}

impl std::error::Error for TreeError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Exited(i32),
    /// It has ended; how is not to be had.
    Gone,
    Running,
    Signalled(c_int),
}

#[derive(Debug)]
pub(super) struct Process {
    number: libc::pid_t,
    #[cfg(target_os = "linux")]
    descriptor: Option<OwnedFd>,
}

impl Process {
    pub(super) fn open(number: libc::pid_t) -> Result<Self, TreeError> {
        // 0 and negative numbers name groups of processes, to a signal above all.
        if number <= 0 || number.cast_unsigned() == std::process::id() {
            return Err(TreeError::NoProcess { process: number });
        }
        #[cfg(target_os = "linux")]
        {
            // SAFETY: no preconditions; 0 are no flags.
            let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, number, 0) } as c_int;
            if descriptor >= 0 {
                // SAFETY: opened just now, and nobody else's. It is closed on `exec`.
                let descriptor = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
                return Ok(Self { number, descriptor });
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ESRCH | libc::EINVAL) => {
                    return Err(TreeError::NoProcess { process: number });
                }
                // Before Linux 5.3, or forbidden by a sandbox.
                Some(libc::ENOSYS | libc::EPERM) => {}
                _ => return Err(TreeError::Resources(error)),
            }
        }
        Self::by_number(number)
    }

    /// A child of this process, without a descriptor: while nobody collects it, its number is not used again.
    fn by_number(number: libc::pid_t) -> Result<Self, TreeError> {
        let process = Self {
            number,
            #[cfg(target_os = "linux")]
            descriptor: None,
        };
        match process.status() {
            Status::Gone => Err(TreeError::NotAChild { process: number }),
            _ => Ok(process),
        }
    }

    pub(super) fn number(&self) -> libc::pid_t {
        self.number
    }

    #[cfg(target_os = "linux")]
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_ref().map(AsFd::as_fd)
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unused_self)] // as on Linux
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What has become of it. It is left to be collected by whoever started it.
    pub(super) fn status(&self) -> Status {
        #[cfg(target_os = "linux")]
        if let Some(descriptor) = &self.descriptor {
            if !readable(descriptor) {
                return Status::Running;
            }
            let id = descriptor.as_raw_fd() as libc::id_t;
            return match look(libc::P_PIDFD, id) {
                // It has ended, and may be collected between the two looks, or be nobody's to collect here.
                Status::Running => Status::Gone,
                status => status,
            };
        }
        // A positive number; the type differs between systems.
        look(libc::P_PID, self.number as libc::id_t)
    }

    /// Sends a signal. That it has ended meanwhile is no trouble: [`status`](Self::status) says so.
    pub(super) fn signal(&self, signal: c_int) {
        #[cfg(target_os = "linux")]
        if let Some(descriptor) = &self.descriptor {
            let (fd, no_information) =
                (descriptor.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
            // SAFETY: a pidfd; null stands for what `kill` would say; 0 are no flags.
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_information, 0) };
            return;
        }
        // Nobody has collected it, so the number is still its own.
        if self.status() == Status::Running {
            // SAFETY: a positive number, so one process.
            unsafe { libc::kill(self.number, signal) };
        }
    }
}

/// Asks for the status of a child without collecting it and without waiting.
fn look(kind: libc::idtype_t, id: libc::id_t) -> Status {
    // SAFETY: siginfo_t consists of integers and pointers, for which zero is a value.
    let mut information: libc::siginfo_t = unsafe { mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the pointer is to a writable siginfo_t.
    if unsafe { libc::waitid(kind, id, &mut information, options) } == -1 {
        return Status::Gone;
    }
    // SAFETY: `waitid` has filled it in as for SIGCHLD, or left it zeroed.
    let (process, status) = unsafe { (information.si_pid(), information.si_status()) };
    match information.si_code {
        _ if process == 0 => Status::Running,
        libc::CLD_EXITED => Status::Exited(status),
        _ => Status::Signalled(status),
    }
}

#[cfg(target_os = "linux")]
fn readable(descriptor: &OwnedFd) -> bool {
    let fd = descriptor.as_raw_fd();
    let mut question = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
    unsafe { libc::poll(&mut question, 1, 0) > 0 }
}

/// Waits until one of them ends, until a signal handler has run, or until `until`.
pub(super) fn wait<'a>(processes: impl Iterator<Item = &'a Process>, until: MonotonicNs) {
    use std::os::fd::AsRawFd;
    let mut all = true;
    let mut questions: Vec<libc::pollfd> = processes
        .filter_map(|process| {
            all &= process.descriptor().is_some();
            let fd = process.descriptor()?.as_raw_fd();
            Some(libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
        })
        .collect();
    if all && questions.is_empty() {
        return;
    }
    let mut left = Duration::from_nanos(until.saturating_sub(now_ns()));
    if !all {
        left = left.min(LOOK_EVERY);
    }
    let milliseconds = left.as_nanos().div_ceil(1_000_000);
    let milliseconds = c_int::try_from(milliseconds).unwrap_or(c_int::MAX);
    // SAFETY: the pointer is to as many pollfds as are said.
    unsafe { libc::poll(questions.as_mut_ptr(), questions.len() as libc::nfds_t, milliseconds) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    type Open = fn(libc::pid_t) -> Result<Process, TreeError>;

    /// By both ways of holding a process.
    fn both(test: fn(Open)) {
        test(Process::open);
        test(Process::by_number);
    }

    fn wait_for_end(process: &Process) -> Status {
        let limit = now_ns() + 20_000_000_000;
        while process.status() == Status::Running {
            assert!(now_ns() < limit, "it does not end");
            wait([process].into_iter(), limit);
        }
        process.status()
    }

    #[test]
    fn an_end_is_seen_and_left_to_be_collected() {
        both(|open| {
            let mut child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
            let process = open(child.id().cast_signed()).unwrap();
            assert_eq!(wait_for_end(&process), Status::Exited(7));
            assert_eq!(process.status(), Status::Exited(7), "looking again");
            assert_eq!(child.wait().unwrap().code(), Some(7), "its parent collects it");
            assert_eq!(process.status(), Status::Gone);
            process.signal(libc::SIGKILL); // hits nobody
        });
    }

    #[test]
    fn a_signal_reaches_it() {
        both(|open| {
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            let process = open(child.id().cast_signed()).unwrap();
            assert_eq!(process.status(), Status::Running);
            process.signal(libc::SIGTERM);
            assert_eq!(wait_for_end(&process), Status::Signalled(libc::SIGTERM));
            child.wait().unwrap();
        });
    }

    #[test]
    fn what_is_no_process_is_refused() {
        for number in [0, -1, i32::MIN, std::process::id().cast_signed(), i32::MAX] {
            let error = Process::open(number).unwrap_err();
            assert!(matches!(error, TreeError::NoProcess { .. }), "{number}: {error:?}");
        }
        let error = Process::by_number(1).unwrap_err();
        assert!(matches!(error, TreeError::NotAChild { process: 1 }), "{error:?}");
    }
}
