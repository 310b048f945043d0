//! Which other processes hold a listening socket.
//!
//! A fence stops the arrivals at the socket, whoever accepts from it. So it may be raised only when every holder is
//! stopping; and a successor that does not know us could not even lift it. Nobody tells us who the holders are, but
//! `/proc` shows them: the parent that would start the next worker from it, siblings, a child that took over.
//!
//! A process that holds its own signal and is stopping says so by the name of a thread, which every other
//! process may read.

use std::os::fd::RawFd;

use crate::fence::Survivors;

/// What is known of a parent that holds the socket too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Parent {
    /// It has told all of its children to stop, and ends itself when it waits for any of them. When it waits for one after the other
    /// it will start others.
    EndsUnlessItReplaces,
    /// When every one of its children that holds the socket is stopping, and there are at least two, it ends itself.
    EndsWithSiblings,
    /// It may start another child from it.
    Survives,
}

/// For each socket: who goes on accepting when this process has stopped.
pub(super) fn survivors(sockets: &[RawFd], parent: Parent) -> Vec<Survivors> {
    let survivors = |(socket, alone): (&RawFd, bool)| match alone {
        false => Survivors::SameSocket,
        // There may be others in its group. If not, little is lost by thinking so.
        true if is_in_a_group(*socket) => Survivors::OwnSockets,
        true => Survivors::None,
    };
    sockets.iter().zip(all_stopping(sockets, parent)).map(survivors).collect()
}

fn is_in_a_group(socket: RawFd) -> bool {
    let mut value: std::ffi::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    let pointer = (&raw mut value).cast();
    // SAFETY: the pointers are to a writable int and to its length.
    let failed = unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, pointer, &mut length)
    };
    failed == 0 && value != 0
}

/// For each socket: whether no other process holds it but such as are stopping.
#[cfg(target_os = "linux")]
fn all_stopping(sockets: &[RawFd], the_parent: Parent) -> Vec<bool> {
    use std::collections::{BTreeSet, HashMap};
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
    // Siblings that hold it and are stopping, and whether the parent, which is not, holds it.
    let mut siblings = vec![0_u32; sockets.len()];
    let mut parents = vec![false; sockets.len()];

    // SAFETY: no preconditions.
    let (process, parent) = unsafe { (libc::getpid(), libc::getppid()) };
    let Ok(processes) = read_dir("/proc") else {
        return vec![false; sockets.len()];
    };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // The parent may not be listed; one outside of our namespace has the number 0 and none of our sockets.
    let others: BTreeSet<libc::pid_t> =
        numbers.chain((parent > 0).then_some(parent)).filter(|number| *number != process).collect();
    for other in others {
        let Ok(theirs) = links(&other.to_string()) else {
            // Another user's. Of these only the parent is likely to have the socket.
            if other == parent {
                for (socket, alone) in sockets.iter().zip(&mut alone) {
                    *alone &= !may_hold_unseen(parent, *socket);
                }
            }
            continue;
        };
        for (index, socket) in sockets.iter().enumerate() {
            let holds = theirs.iter().any(|(_, link)| own.get(socket) == Some(link));
            if !alone[index] || !holds {
                continue;
            }
            let stopping = is_stopping(other)
                || (other == parent
                    && the_parent == Parent::EndsUnlessItReplaces
                    && waits_for_any(parent));
            if other == parent && the_parent == Parent::EndsWithSiblings {
                parents[index] = !stopping;
            } else {
                alone[index] = stopping;
                siblings[index] += u32::from(stopping);
            }
        }
    }
    let ends =
        |(alone, (parent, siblings)): (bool, (bool, u32))| alone && (!parent || siblings > 0);
    alone.into_iter().zip(parents.into_iter().zip(siblings)).map(ends).collect()
}

/// Whether a parent that cannot be looked into may have the socket. Not if it is another user and the socket was opened by ours:
/// then it was this process, or one that came after that parent's. So an init that started us has none, but for those that it opened
/// itself (socket activation); and a prefork master that keeps its rights has all.
#[cfg(target_os = "linux")]
fn may_hold_unseen(parent: libc::pid_t, socket: RawFd) -> bool {
    // SAFETY: no preconditions.
    let own = unsafe { libc::geteuid() };
    // SAFETY: a zeroed stat is valid; it is only written to.
    let opener = unsafe {
        let mut about: libc::stat = std::mem::zeroed();
        (libc::fstat(socket, &mut about) == 0).then_some(about.st_uid)
    };
    let status = std::fs::read_to_string(format!("/proc/{parent}/status")).unwrap_or_default();
    // `Uid:` real, effective, saved, for files.
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let parents = users.and_then(|users| users.split_whitespace().nth(1)?.parse().ok());
    opener != Some(own) || parents.is_none_or(|parents: libc::uid_t| parents == own)
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

/// Whether its first thread waits for several things at once, and so not in `waitpid` for one child. The kernel names the function in
/// which a thread sleeps (`do_sys_poll`, `poll_schedule_timeout`, `ep_poll`; `do_wait`), and 0 where it does not tell.
#[cfg(target_os = "linux")]
fn waits_for_any(process: libc::pid_t) -> bool {
    let place = std::fs::read_to_string(format!("/proc/{process}/wchan")).unwrap_or_default();
    place.contains("poll") || place.contains("select")
}

/// There is no fence here either.
#[cfg(not(target_os = "linux"))]
fn all_stopping(sockets: &[RawFd], _: Parent) -> Vec<bool> {
    vec![false; sockets.len()]
}
