//! The listening socket, prepared before the library sees it: on Linux every accepted connection inherits its options.

use super::limits::Limits;
use super::sending::WRITE_WAIT_MAX;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Connections that may wait to be accepted; the kernel may allow less.
const BACKLOG_MAX: u64 = 1_024;
/// Those that wait are accepted all at once after a pause, at two descriptors each: they get a quarter of all
/// descriptors.
const DESCRIPTORS_PER_WAITING: u64 = 8;

/// What the system keeps of a body that the node has not read yet. By default it would keep up to 6 MiB for each
/// connection, which a container's memory limit counts, too.
const RECEIVE_BUFFER_BYTES: usize = 256 << 10;

/// Listens at an address.
///
/// # Errors
/// If it is taken, or not one of this machine's.
pub(crate) fn bind(address: SocketAddr, limits: &Limits) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog())?;
    let listener = TcpListener::from(socket);
    prepare(&listener, limits)?;
    Ok(listener)
}

fn backlog() -> i32 {
    let descriptors = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    (descriptors / DESCRIPTORS_PER_WAITING).clamp(1, BACKLOG_MAX) as i32
}

/// Without `TCP_NODELAY` a reply that leaves in two writes takes 40 ms. Without timeouts a silent connection stays for
/// ever, and so does a thread that writes to a client that does not read. The read timeout holds for `accept`, too, so
/// the watchdog connects more often than that.
fn prepare(listener: &TcpListener, limits: &Limits) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_tcp_nodelay(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.set_read_timeout(Some(limits.silence()))?;
    socket.set_write_timeout(Some(WRITE_WAIT_MAX))
}

/// Raises the number of descriptors that this process may have to what the system allows: each connection costs two.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// The address at which a listener on all addresses is reached from this machine.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn a_health_check_asks_where_the_node_can_be_reached() {
        for (listen, asked) in [
            ("0.0.0.0:5000", "127.0.0.1:5000"),
            ("[::]:5000", "[::1]:5000"),
            ("127.0.0.1:5001", "127.0.0.1:5001"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
