//! Which other processes hold a listening socket.
//!
//! A fence stops the arrivals at the socket, whoever accepts from it. So it may be raised only when every holder is
//! stopping; and a successor that does not know us could not even lift it. Nobody tells us who the holders are, but
//! `/proc` shows them: the parent that would start the next worker from it, siblings, a child that took over.
//!
//! A process that holds its own signal and is stopping says so by the name of a thread, which every other
//! process may read.

use std::os::fd::RawFd;

/// For each socket: whether no other process holds it but such as are stopping.
#[cfg(target_os = "linux")]
pub(super) fn all_stopping(sockets: &[RawFd]) -> Vec<bool> {
    use std::collections::HashMap;
    use std::fs::read_dir;

    // A socket's link reads `socket:[inode]`, the same in every process.
    let links = |process: &str| -> std::io::Result<Vec<(RawFd, std::ffi::OsString)>> {
        let entries = read_dir(format!("/proc/{process}/fd"))?.flatten();
        let link = |entry: std::fs::DirEntry| {
            let fd = entry.file_name().to_str()?.parse().ok()?;
            let target = std::fs::read_link(entry.path()).ok()?.into_os_string();
            target.to_str()?.starts_with("socket:").then_some((fd, target))
        };
        Ok(entries.filter_map(link).collect())
    };
    let Ok(own) = links("self") else {
        return vec![false; sockets.len()];
    };
    let own: HashMap<RawFd, std::ffi::OsString> = own.into_iter().collect();
    let mut alone: Vec<bool> = sockets.iter().map(|fd| own.contains_key(fd)).collect();

    // SAFETY: no preconditions.
    let (process, parent) = unsafe { (libc::getpid(), libc::getppid()) };
    let Ok(processes) = read_dir("/proc") else {
        return vec![false; sockets.len()];
    };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for other in numbers.filter(|number: &libc::pid_t| *number != process) {
        let Ok(theirs) = links(&other.to_string()) else {
            // Another user's. Of these only the parent is likely to have the socket.
            let harmless = other != parent || (other == 1 && !socket_activation());
            if !harmless {
                alone.fill(false);
            }
            continue;
        };
        for (socket, alone) in sockets.iter().zip(&mut alone) {
            let holds = theirs.iter().any(|(_, link)| own.get(socket) == Some(link));
            if *alone && holds {
                *alone = is_stopping(other);
            }
        }
    }
    alone
}

#[cfg(target_os = "linux")]
fn is_stopping(process: libc::pid_t) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return false;
    };
    threads.flatten().any(|thread| {
        let name = std::fs::read(thread.path().join("comm")).unwrap_or_default();
        name.trim_ascii() == super::driver::STOPPING.to_bytes()
    })
}

/// Whether the service manager opened the socket, and so keeps it for the next start. What the process was started
/// with counts: many delete the variables once they have read them.
#[cfg(target_os = "linux")]
fn socket_activation() -> bool {
    let started_with = std::fs::read("/proc/self/environ").unwrap_or_default();
    started_with.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"LISTEN_FDS="))
}

/// There is no fence here either.
#[cfg(not(target_os = "linux"))]
pub(super) fn all_stopping(sockets: &[RawFd]) -> Vec<bool> {
    vec![false; sockets.len()]
}
