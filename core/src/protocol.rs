//! The protocols of connections.

use serde::{Deserialize, Serialize};

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.0 and 1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// WebSocket.
    Websocket,
    /// `CONNECT`.
    Tunnel,
    /// Anything else that was upgraded to.
    Other,
}

impl Protocol {
    /// Every protocol, in the ledger's numbering.
    pub const ALL: [Self; 5] =
        [Self::Http1, Self::Http2, Self::Websocket, Self::Tunnel, Self::Other];

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Websocket => "websocket",
            Self::Tunnel => "tunnel",
            Self::Other => "other",
        }
    }

    pub(crate) const fn is_long_lived(self) -> bool {
        matches!(self, Self::Websocket | Self::Tunnel | Self::Other)
    }
}
