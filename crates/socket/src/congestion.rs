//! Congestion control that does not pace.
//!
//! The choice of a cluster's operator stands (CUBIC nearly everywhere, DCTCP in
//! some data centres), unless it is BBR, which many hosts have for the sake of
//! their visitors from far away. Values travel within a cluster.

/// Has a socket that is under BBR, and not connected yet, send without pauses instead.
///
/// What a listener accepts later is like the listener. Not for connected sockets: once BBR has
/// begun to pace a connection, the kernel goes on doing so under any other control.
#[cfg(target_os = "linux")]
pub(crate) fn avoid_pacing(socket: &impl std::os::fd::AsFd) {
    use rustix::net::sockopt;

    let paces = |control: String| control.starts_with("bbr");
    if !sockopt::tcp_congestion(socket).is_ok_and(paces) {
        return;
    }
    // The first needs a privilege where the system does not offer it to all, the second never does.
    let chosen = ["cubic", "reno"]
        .into_iter()
        .find(|control| sockopt::set_tcp_congestion(socket, control).is_ok());
    tracing::trace!(?chosen, "congestion control");
}

/// Does nothing: other systems do not pace.
#[cfg(not(target_os = "linux"))]
pub(crate) fn avoid_pacing<T>(_socket: &T) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::net::sockopt;
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn what_is_accepted_is_not_paced_either() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if sockopt::set_tcp_congestion(&listener, "bbr").is_err() {
            return println!("skipped: this system has no BBR");
        }
        avoid_pacing(&listener);
        let address = listener.local_addr().unwrap();
        let dialling = TcpSocket::new_v4().unwrap().connect(address);
        let (dialled, accepted) = tokio::join!(dialling, listener.accept());
        let control = sockopt::tcp_congestion(&accepted.unwrap().0).unwrap();
        assert!(["cubic", "reno"].contains(&&*control), "{control}");
        drop(dialled);
    }

    #[test]
    fn what_does_not_pace_is_left_as_it_is() {
        let socket = TcpSocket::new_v4().unwrap();
        if sockopt::set_tcp_congestion(&socket, "reno").is_err() {
            return println!("skipped: this system has no Reno");
        }
        avoid_pacing(&socket);
        assert_eq!(sockopt::tcp_congestion(&socket).unwrap(), "reno");
    }
}
