//! The balancers that others wrote: nginx and HAProxy, each started in the foreground with a
//! configuration of its own in a temporary folder, and gone with it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep};

use crate::drill::args::BalancerKind;
use crate::drill::balancer::CheckRule;
use crate::drill::ports;
use crate::drill::probe::Check;
use crate::drill::server::Server;
use crate::drill::wire::Target;

/// How long a balancer may take to start.
const START: Duration = Duration::from_secs(5);
/// nginx trusts a server again so long after its last failure; HAProxy says it itself.
const FAIL_TIMEOUT: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// A running balancer. Dropped, it is killed with its workers and its folder is removed.
pub struct External {
    kind: BalancerKind,
    server: Server,
    /// Where clients connect to.
    pub front: SocketAddr,
    folder: TempDir,
}

impl External {
    /// Starts a balancer in front of `copies`.
    ///
    /// # Errors
    /// A sentence: it is not installed, does not start, or does not listen.
    pub async fn start(
        kind: BalancerKind,
        copies: &[SocketAddr],
        there: Target,
        check: Check,
        rule: &CheckRule,
    ) -> Result<Self, String> {
        let program = find(kind)?;
        let cannot = |error: io::Error| format!("the balancer cannot be set up: {error}");
        let port = ports::free(1).map_err(cannot)?[0];
        let folder =
            tempfile::Builder::new().prefix("lameduck-drill-").tempdir().map_err(cannot)?;
        let at = folder.path().display().to_string();
        let (config, words) = match kind {
            BalancerKind::Nginx => {
                fs::create_dir(folder.path().join("temp")).map_err(cannot)?;
                let log = format!("{at}/error.log");
                let words = ["-e", &log, "-p", &at, "-c", "config"].map(String::from).to_vec();
                (nginx(&at, port, copies, there.scheme()), words)
            }
            BalancerKind::Builtin | BalancerKind::Haproxy | BalancerKind::HaproxyTcp => {
                let words = ["-db", "-f", &format!("{at}/config")].map(String::from).to_vec();
                let mode = if kind == BalancerKind::HaproxyTcp { "tcp" } else { "http" };
                (haproxy(mode, &at, port, copies, there, check, rule), words)
            }
        };
        fs::write(folder.path().join("config"), config).map_err(cannot)?;
        let mut command = vec![program.display().to_string()];
        command.extend(words);
        let mut server = Server::start(&command, port).map_err(cannot)?;
        let front = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let deadline = Instant::now() + START;
        while TcpStream::connect(front).await.is_err() {
            let ended = tokio::select! {
                biased;
                exit = server.exited() => Some(exit.words()),
                () = sleep(LOOK) => (Instant::now() > deadline).then(|| "nobody listens".into()),
            };
            if let Some(how) = ended {
                let said = server.last_output().await.join(" ");
                let log = fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
                return Err(format!("{} does not start ({how}): {said} {log}", kind.program()));
            }
        }
        Ok(Self { kind, server, front, folder })
    }

    /// Waits until it ends, which it is not asked to.
    pub async fn ended(&mut self) -> String {
        let exit = self.server.exited().await;
        format!("{} ended during the drill: {}", self.kind.program(), exit.words())
    }

    /// Whom to ask for its opinion of the copies.
    pub fn opinion(&self) -> Opinion {
        Opinion { kind: self.kind, socket: self.folder.path().join("stats") }
    }
}

/// What the balancer thinks of its copies.
#[derive(Clone, Debug)]
pub struct Opinion {
    kind: BalancerKind,
    socket: PathBuf,
}

impl Opinion {
    /// Which copies get connections; none for a balancer that does not say.
    pub async fn ask(&self) -> Option<Vec<bool>> {
        if self.kind == BalancerKind::Nginx {
            return None;
        }
        let mut socket = UnixStream::connect(&self.socket).await.ok()?;
        socket.write_all(b"show stat\n").await.ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await.ok()?;
        Some(up(&text))
    }

    /// Waits until a copy that is ready again is trusted again.
    pub async fn trusts(&self, copy: usize) {
        loop {
            match self.ask().await {
                None if self.kind == BalancerKind::Nginx => return sleep(FAIL_TIMEOUT).await,
                Some(up) if up.get(copy) == Some(&true) => return,
                _ => sleep(LOOK).await,
            }
        }
    }
}

/// The states of the servers in HAProxy's statistics (CSV), in the order of the configuration.
fn up(statistics: &str) -> Vec<bool> {
    let columns: Vec<&str> =
        statistics.lines().next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
    let at = |name| columns.iter().position(|column| *column == name);
    let (Some(name), Some(status)) = (at("svname"), at("status")) else { return Vec::new() };
    statistics
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>())
        .filter(|fields| fields.get(name).is_some_and(|name| name.starts_with("copy")))
        .map(|fields| fields.get(status).is_some_and(|status| status.starts_with("UP")))
        .collect()
}

fn find(kind: BalancerKind) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian and others keep what only root used to need.
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    find_in(std::env::split_paths(&path).chain(more), kind)
}

fn find_in(
    mut folders: impl Iterator<Item = PathBuf>,
    kind: BalancerKind,
) -> Result<PathBuf, String> {
    let program = kind.program();
    folders
        .find_map(|folder| Some(folder.join(program)).filter(|file| is_program(file)))
        .ok_or_else(|| {
            format!(
                "{program} is not installed: install it (Debian: apt install {}), or use \
                 --balancer builtin",
                kind.package()
            )
        })
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// The open-source nginx has no active checks: it learns from refused connections, which it takes
/// to the next copy; a POST that was sent is never repeated (its default).
fn nginx(folder: &str, port: u16, copies: &[SocketAddr], scheme: &str) -> String {
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    let servers: String = copies
        .iter()
        .map(|copy| format!("    server {copy} max_fails=1 fail_timeout=1s;\n"))
        .collect();
    format!(
        "daemon off;\n{user}\nworker_processes 1;\npid {folder}/nginx.pid;\n\
         error_log {folder}/error.log warn;\nevents {{ worker_connections 8000; }}\nhttp {{\n\
         access_log off;\nclient_body_temp_path {folder}/temp/body;\n\
         proxy_temp_path {folder}/temp/proxy;\nfastcgi_temp_path {folder}/temp/fastcgi;\n\
         uwsgi_temp_path {folder}/temp/uwsgi;\nscgi_temp_path {folder}/temp/scgi;\n\
         client_max_body_size 64m;\nclient_body_buffer_size 128k;\nkeepalive_requests 1000000;\n\
         upstream copies {{\n{servers}    keepalive 64;\n}}\n\
         server {{\nlisten 127.0.0.1:{port};\nlocation / {{\nproxy_pass {scheme}://copies;\n\
         proxy_http_version 1.1;\nproxy_set_header Connection \"\";\n}}\n}}\n}}\n"
    )
}

fn haproxy(
    mode: &str,
    folder: &str,
    port: u16,
    copies: &[SocketAddr],
    there: Target,
    check: Check,
    rule: &CheckRule,
) -> String {
    let more = match (there.tls, mode) {
        (false, _) => "",
        (true, "tcp") => " check-ssl verify none",
        (true, _) => " ssl verify none",
    };
    let check_version = if there.http2 { " check-proto h2" } else { "" };
    let servers: String = copies
        .iter()
        .enumerate()
        .map(|(index, copy)| {
            format!("  server copy{} {copy} check{more}{check_version}\n", index + 1)
        })
        .collect();
    let http_check = match check {
        Check::Http => format!(
            "  option httpchk\n  http-check send meth GET uri {} ver HTTP/1.1 hdr Host drill\n  \
             http-check expect rstatus ^2\n",
            rule.path
        ),
        Check::Tcp => String::new(),
    };
    format!(
        "global\n  maxconn 8000\n  stats socket {folder}/stats level user\ndefaults\n  mode {mode}\n  \
         timeout connect 5s\n  timeout check 1s\n  timeout client 60s\n  timeout server 60s\n  timeout tunnel 60s\n\
         frontend clients\n  bind 127.0.0.1:{port}\n  default_backend copies\nbackend copies\n  \
         balance roundrobin\n{http_check}  default-server inter {}ms fall {} rise 1\n{servers}",
        rule.interval.as_millis().max(1),
        rule.threshold
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_is_said_with_what_to_install() {
        let nowhere = std::iter::once(PathBuf::from("/nonexistent"));
        let sentence = find_in(nowhere, BalancerKind::Nginx).unwrap_err();
        assert!(sentence.contains("nginx is not installed") && sentence.contains("nginx-light"));
    }

    #[test]
    fn the_statistics_are_read_by_their_heading() {
        let text = "# pxname,svname,qcur,status,weight\nclients,FRONTEND,,OPEN,\n\
                    copies,copy1,0,UP,1\ncopies,copy2,0,DOWN 1/2,1\ncopies,BACKEND,0,UP,2\n\n";
        assert_eq!(up(text), [true, false]);
        assert_eq!(up("Unknown command"), Vec::<bool>::new());
    }
}
