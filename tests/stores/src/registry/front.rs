//! An HTTP server before a registry, for answers that the registry itself does not give.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::error::{Doing, TestbedError};

/// No request comes near it.
const MAX_HEAD: usize = 64 << 10;

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET`, …
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What follows the headers.
    pub body: Vec<u8>,
}

impl Asked {
    /// The value of the first header of this name, in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The server behind answers.
    Pass,
    /// The server behind answers, and the connection ends after so many bytes of that.
    Cut(usize),
    /// This status, these header lines, this body.
    Own(u16, Vec<String>, Vec<u8>),
    /// Header lines, and then zeros until the client has enough.
    Endless(Vec<String>),
}

/// A server. Dropped, it takes no more requests.
pub struct Front {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl fmt::Debug for Front {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Front").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Front {
    /// Starts a server on a free port of `127.0.0.1`, before the one at `behind`. `decide` is asked
    /// for each request.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when there is no port.
    pub fn start(
        behind: SocketAddr,
        decide: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Result<Self, TestbedError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("listen")?;
        let address = listener.local_addr().doing("find the server's port")?;
        let closed = Arc::new(AtomicBool::new(false));
        let (accepting, decide) = (Arc::clone(&closed), Arc::new(decide));
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.load(Ordering::Relaxed) {
                    return;
                }
                let decide = Arc::clone(&decide);
                thread::spawn(move || {
                    // A client that went away shows in its own test.
                    let _ = client.and_then(|client| answer(client, behind, &*decide));
                });
            }
        });
        Ok(Self { address, closed })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How an image is called through it.
    #[must_use]
    pub fn name(&self, image: &str) -> String {
        format!("localhost:{}/{image}", self.address.port())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts, so that it ends and the port is free.
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers one request, the only one of its connection.
fn answer(
    mut client: TcpStream,
    behind: SocketAddr,
    decide: &(impl Fn(&Asked) -> Answer + ?Sized),
) -> io::Result<()> {
    let Some(asked) = read(&mut client)? else { return Ok(()) };
    match decide(&asked) {
        Answer::Pass => pass(&asked, &mut client, behind, u64::MAX)?,
        Answer::Cut(bytes) => {
            pass(&asked, &mut client, behind, u64::try_from(bytes).unwrap_or(u64::MAX))?;
        }
        Answer::Own(status, lines, body) => {
            let length = format!("Content-Length: {}", body.len());
            head(&mut client, status, &[&lines[..], &[length]].concat())?;
            client.write_all(&body)?;
        }
        Answer::Endless(lines) => {
            head(&mut client, 200, &lines)?;
            // Until the client closes.
            while client.write_all(&[b' '; 64 << 10]).is_ok() {}
        }
    }
    client.shutdown(Shutdown::Both)
}

fn head(client: &mut TcpStream, status: u16, lines: &[String]) -> io::Result<()> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    write!(client, "HTTP/1.1 {status} Tests\r\n{lines}Connection: close\r\n\r\n")
}

fn read(client: &mut TcpStream) -> io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        let mut chunk = [0; 4096];
        let length = client.read(&mut chunk)?;
        if length == 0 || bytes.len() > MAX_HEAD {
            return Ok(None);
        }
        bytes.extend_from_slice(chunk.get(..length).unwrap_or_default());
    };
    let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    let mut lines = text.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = bytes.get(end + 4..).unwrap_or_default().to_vec();
    let mut asked = Asked { method, path, headers, body };
    let length = asked.header("content-length").and_then(|length| length.parse::<usize>().ok());
    if let Some(rest) = length.and_then(|length| length.checked_sub(asked.body.len())) {
        let limit = u64::try_from(rest).unwrap_or_default();
        client.take(limit).read_to_end(&mut asked.body)?;
    }
    Ok(Some(asked))
}

fn pass(asked: &Asked, client: &mut TcpStream, behind: SocketAddr, limit: u64) -> io::Result<()> {
    let mut server = TcpStream::connect(behind)?;
    write!(server, "{} {} HTTP/1.1\r\n", asked.method, asked.path)?;
    for (name, value) in asked.headers.iter().filter(|(name, _)| name != "connection") {
        write!(server, "{name}: {value}\r\n")?;
    }
    write!(server, "connection: close\r\n\r\n")?;
    server.write_all(&asked.body)?;
    io::copy(&mut server.take(limit), client).map(|_| ())
}
