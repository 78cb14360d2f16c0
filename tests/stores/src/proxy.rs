//! A slow network: a TCP proxy that delays, throttles, counts, stalls and cuts.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Doing, TestbedError};

/// At 50 MB/s a chunk takes five milliseconds.
const CHUNK: usize = 256 << 10;
/// Chunks on their way in one direction of a connection.
const ON_THE_WAY: usize = 64;

/// What each connection through a [`Proxy`] gets, in each direction.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// Bytes per second.
    pub bytes_per_second: u64,
    /// What is added to a question and its answer together.
    pub round_trip: Duration,
}

impl Throttle {
    /// As fast as this host.
    pub const NONE: Self = Self { bytes_per_second: u64::MAX, round_trip: Duration::ZERO };
}

/// A proxy before one server. Dropped, it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that went to clients.
    received: AtomicU64,
    connections: AtomicU64,
}

#[derive(Debug)]
struct State {
    throttle: Throttle,
    /// No byte is passed on once [`Shared::received`] is here.
    stall_at: Option<u64>,
    closed: bool,
    live: Vec<TcpStream>,
}

impl Proxy {
    /// Starts a proxy on a free port of `127.0.0.1`.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when there is no port.
    pub fn start(upstream: SocketAddr, throttle: Throttle) -> Result<Self, TestbedError> {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), upstream, throttle)
    }

    pub(crate) fn listen(
        address: SocketAddr,
        upstream: SocketAddr,
        throttle: Throttle,
    ) -> Result<Self, TestbedError> {
        let listener = TcpListener::bind(address).doing(format_args!("listen on {address}"))?;
        let address = listener.local_addr().doing("find the proxy's port")?;
        let state = State { throttle, stall_at: None, closed: false, live: Vec::new() };
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::new(state),
            changed: Condvar::new(),
            received: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.state().closed {
                    return;
                }
                // A connection that cannot be passed on is closed, as by a server that is gone.
                let _ = client.and_then(|client| connect(&accepting, client));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes went to clients since the start.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Changes rate and delay, for connections that are open too.
    pub fn throttle(&self, throttle: Throttle) {
        self.shared.state().throttle = throttle;
        self.shared.changed.notify_all();
    }

    /// Lets so many more bytes to the clients; then nothing moves in either direction, while
    /// connections stay open.
    pub fn stall_after(&self, bytes: u64) {
        self.shared.state().stall_at = Some(self.received().saturating_add(bytes));
    }

    /// Ends a stall.
    pub fn resume(&self) {
        self.shared.state().stall_at = None;
        self.shared.changed.notify_all();
    }

    /// Closes the connections that are open now.
    pub fn cut(&self) {
        for stream in self.shared.state().live.drain(..) {
            // One that its peer has closed is cut already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits until `bytes` have gone to clients since the start.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when they have not within a minute.
    pub fn wait_received(&self, bytes: u64) -> Result<(), TestbedError> {
        let begin = Instant::now();
        while self.received() < bytes {
            if begin.elapsed() > Duration::from_secs(60) {
                let cause = format!("after a minute there are {}", self.received());
                return Err(TestbedError::new(format_args!("see {bytes} bytes"), cause));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_all();
        self.cut();
        // Wakes the thread that accepts, so that it ends and the port is free.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whole at every point where a panic could strike.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until bytes may move; gives the rate, or `None` when the proxy ends.
    fn may_move(&self) -> Option<u64> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if state.stall_at.is_none_or(|limit| self.received.load(Ordering::Relaxed) < limit) {
                return Some(state.throttle.bytes_per_second);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn connect(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    let server = TcpStream::connect(shared.upstream)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    shared.connections.fetch_add(1, Ordering::Relaxed);
    {
        let mut state = shared.state();
        state.live.retain(|stream| stream.peer_addr().is_ok());
        state.live.extend([client.try_clone()?, server.try_clone()?]);
    }
    direct(shared, client.try_clone()?, server.try_clone()?, false);
    direct(shared, server, client, true);
    Ok(())
}

/// Passes on one direction, in two threads: what is delayed must not delay what is read.
fn direct(shared: &Arc<Shared>, from: TcpStream, to: TcpStream, to_client: bool) {
    let (sender, chunks) = sync_channel(ON_THE_WAY);
    let (reading, writing) = (Arc::clone(shared), Arc::clone(shared));
    thread::spawn(move || read(&reading, from, &sender));
    thread::spawn(move || {
        // The peer that is gone shows at the other end.
        let _ = write(&writing, &to, &chunks, to_client);
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn read(shared: &Shared, mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let due = Instant::now() + shared.state().throttle.round_trip / 2;
        let chunk = buffer.get(..length).unwrap_or_default().to_vec();
        if sender.send((due, chunk)).is_err() {
            // Nobody can take it, so nobody should go on sending it.
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn write(
    shared: &Shared,
    mut to: &TcpStream,
    chunks: &Receiver<(Instant, Vec<u8>)>,
    to_client: bool,
) -> io::Result<()> {
    let mut free = Instant::now();
    for (due, chunk) in chunks {
        let start = due.max(free);
        thread::sleep(start.saturating_duration_since(Instant::now()));
        let Some(rate) = shared.may_move() else {
            return Ok(());
        };
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        // A sleep that is too long is made up for by the next one, which is shorter.
        free = start + Duration::from_nanos(length.saturating_mul(1_000_000_000) / rate.max(1));
        if to_client {
            shared.received.fetch_add(length, Ordering::Relaxed);
        }
        to.write_all(&chunk)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends `bytes` to each client and closes.
    fn server(bytes: usize) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = stream.unwrap().write_all(&vec![7; bytes]);
            }
        });
        address
    }

    #[test]
    fn all_bytes_arrive_and_are_counted() {
        let proxy = Proxy::start(server(1 << 20), Throttle::NONE).unwrap();
        for _ in 0..2 {
            let mut bytes = Vec::new();
            TcpStream::connect(proxy.address()).unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, vec![7; 1 << 20]);
        }
        assert_eq!((proxy.received(), proxy.connections()), (2 << 20, 2));
    }

    #[test]
    fn a_connection_is_not_faster_than_its_rate() {
        let throttle =
            Throttle { bytes_per_second: 10 << 20, round_trip: Duration::from_millis(20) };
        let proxy = Proxy::start(server(1 << 20), throttle).unwrap();
        let begin = Instant::now();
        let mut bytes = Vec::new();
        TcpStream::connect(proxy.address()).unwrap().read_to_end(&mut bytes).unwrap();
        // Nothing waits for the last chunk; all before it take their time however idle the machine.
        let paced = (1 << 20) - CHUNK;
        let least = throttle.round_trip / 2
            + Duration::from_secs(1) * u32::try_from(paced).unwrap() / (10 << 20);
        assert!(begin.elapsed() >= least, "{:?}, not {least:?}", begin.elapsed());
    }

    #[test]
    fn a_stall_lasts_until_it_ends_and_a_cut_ends_a_connection() {
        let proxy = Proxy::start(server(1 << 20), Throttle::NONE).unwrap();
        proxy.stall_after(100_000);
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        let mut bytes = vec![0; 100_000];
        stream.read_exact(&mut bytes).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(stream.read_to_end(&mut bytes).is_err());
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        stream.set_read_timeout(None).unwrap();
        proxy.resume();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 1 << 20);

        proxy.stall_after(1);
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        let cut = thread::spawn(move || stream.read_to_end(&mut Vec::new()).unwrap_or_default());
        proxy.wait_received((2 << 20) + 1 - (1 << 20)).unwrap();
        proxy.cut();
        assert!(cut.join().unwrap() < 1 << 20);
    }
}
