//! Connections to the server under drill: TCP, with TLS over it where the server wants it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// Where a server is and how it wants to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// Whether there is TLS on top of TCP.
    pub tls: bool,
    /// Whether requests go over HTTP/2.
    pub http2: bool,
}

/// Why no connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoConnection {
    /// TCP was refused.
    Refused,
    /// TLS failed after TCP had not. The flag: with a reset.
    Handshake(bool),
}

impl Target {
    /// Opens a connection.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn dial(&self) -> Result<Wire, NoConnection> {
        let stream = TcpStream::connect(self.address).await.map_err(|_| NoConnection::Refused)?;
        self.over(stream).await
    }

    /// Opens a connection whose receive buffer is this small.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn dial_narrow(&self, buffer: u32) -> Result<Wire, NoConnection> {
        let refused = |_| NoConnection::Refused;
        let socket = TcpSocket::new_v4().map_err(refused)?;
        // Without it the response may fit into the buffers: then nothing can be cut.
        let _ = socket.set_recv_buffer_size(buffer);
        self.over(socket.connect(self.address).await.map_err(refused)?).await
    }

    async fn over(&self, stream: TcpStream) -> Result<Wire, NoConnection> {
        // Best effort: without it the drill is slower, not wrong.
        let _ = stream.set_nodelay(true);
        if !self.tls {
            return Ok(Wire::Plain(stream));
        }
        let connector = TlsConnector::from(config(self.http2));
        let name = ServerName::from(self.address.ip());
        let opened = connector.connect(name, stream).await.map_err(|error| {
            NoConnection::Handshake(error.kind() == io::ErrorKind::ConnectionReset)
        })?;
        Ok(Wire::Tls(Box::new(opened)))
    }

    /// The scheme of its URLs.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// A connection.
pub enum Wire {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Whether the server agreed to HTTP/2 during the TLS handshake.
    pub fn agreed_on_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Waits until something may have come.
    pub async fn readable(&self) {
        // An error is an end too, and whoever looks then sees it.
        let _ = self.tcp().readable().await;
    }

    /// Looks at an idle connection, by a system call of its own: the runtime's idea of readiness
    /// may be one turn old, and what it misses would count as a failure.
    pub fn is_open_and_silent(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(self.tcp(), &mut byte, flags) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => true,
            // TLS may have something to say to itself, such as a session ticket.
            Ok((1.., _)) if matches!(self, Self::Tls(_)) => {
                let mut buffer = ReadBuf::new(&mut byte);
                let mut context = Context::from_waker(Waker::noop());
                Pin::new(self).poll_read(&mut context, &mut buffer).is_pending()
            }
            _ => false,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// One configuration for each version of HTTP.
fn config(http2: bool) -> Arc<ClientConfig> {
    static CONFIGS: OnceLock<[Arc<ClientConfig>; 2]> = OnceLock::new();
    let configs = CONFIGS.get_or_init(|| {
        [b"http/1.1".to_vec(), b"h2".to_vec()].map(|protocol| {
            let provider = Arc::new(ring::default_provider());
            let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .expect("the provider speaks TLS 1.2 and 1.3")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol];
            Arc::new(config)
        })
    });
    Arc::clone(&configs[usize::from(http2)])
}

/// Believes every certificate: the server is a child of this process, on the loopback interface.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
