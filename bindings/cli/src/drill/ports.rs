//! Free ports for the copies.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use rand::RngExt;

const LOWEST: u16 = 15_000;

/// `count` different free ports, outside the range from which the kernel takes the local ports of
/// outgoing connections: while a copy is down for its restart, none of the drill's own connections
/// may be given its port (or connect to itself there).
///
/// # Errors
/// No free port was found.
pub fn free(count: usize) -> io::Result<Vec<u16>> {
    let highest = first_ephemeral();
    let mut found = Vec::new();
    for _ in 0..1000 {
        if found.len() == count {
            return Ok(found);
        }
        let port = if highest > LOWEST + 1000 {
            rand::rng().random_range(LOWEST..highest)
        } else {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()
        };
        if !found.contains(&port) && is_free(port) {
            found.push(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free TCP port on the loopback interface"))
}

/// Free for a server that binds loopback, every IPv4 address, or every address.
fn is_free(port: u16) -> bool {
    let wildcard = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let taken = |error: io::Error| error.kind() == io::ErrorKind::AddrInUse;
    TcpListener::bind(wildcard).is_ok() && !TcpListener::bind(every).is_err_and(taken)
}

fn first_ephemeral() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        // What IANA sets aside, for systems that do not say (RFC 6335 §6).
        .unwrap_or(49_152)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_free() {
        let ports = free(8).unwrap();
        let mut unique = ports.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 8);
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(taken.local_addr().unwrap().port()));
    }
}
