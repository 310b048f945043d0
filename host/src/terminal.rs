//! Whether a person sits in front of this process.

use std::io::IsTerminal;

/// Whether standard input is a terminal: then an interrupt is somebody's Ctrl-C, who wants the
/// process gone at once. Under PM2 or a service manager it is not, and an interrupt means "stop".
#[must_use]
pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}
