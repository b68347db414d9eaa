//! Owns the tasks of the sockets that hear from anybody: accepting connections, and datagrams.
//!
//! Invariant: what comes from outside takes a place in the mailbox first, and a socket that fails is
//! tried again after a pause, so that running out of file descriptors neither spins nor ends it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, mpsc};

use super::{Mail, Post};

/// First pause after a socket failed as a whole, as when the process has no file descriptors left.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Longest such pause; in between it doubles.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A pause that doubles from one failure to the next.
async fn pause(last: &mut Duration) {
    *last = (*last * 2).clamp(PAUSE_MIN, PAUSE_MAX);
    tokio::time::sleep(*last).await;
}

/// Accepts connections as long as the mailbox has places for them.
pub(super) async fn accept(listener: TcpListener, places: Arc<Semaphore>, post: Post) {
    let mut paused = Duration::ZERO;
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, from)) => {
                paused = Duration::ZERO;
                post.send(Mail::Accepted {
                    stream,
                    from,
                    _place: place,
                });
            }
            Err(_) => pause(&mut paused).await,
        }
    }
}

/// Receives datagrams; those for which the mailbox has no place are lost.
pub(super) async fn receive_datagrams(socket: Rc<UdpSocket>, places: Arc<Semaphore>, post: Post) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut paused = Duration::ZERO;
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((bytes, from)) => {
                paused = Duration::ZERO;
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    let data = Bytes::copy_from_slice(&buffer[..bytes]);
                    post.send(Mail::Datagram {
                        from,
                        data,
                        _place: place,
                    });
                }
            }
            Err(_) => pause(&mut paused).await,
        }
    }
}

/// Sends what is queued for a socket.
pub(super) async fn send_datagrams(
    socket: Rc<UdpSocket>,
    mut queue: mpsc::Receiver<(SocketAddr, Bytes)>,
) {
    while let Some((to, data)) = queue.recv().await {
        // An address that cannot be reached is a datagram lost.
        let _ = socket.send_to(&data, to).await;
    }
}
