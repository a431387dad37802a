//! A cut that cuts nothing would make every partition test pass.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Cuts, Proxies, home};

/// What a cut must not let through is waited for so long.
const SILENCE: Duration = Duration::from_millis(300);

/// A node that answers each byte with the next one.
async fn node(ip: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).await.expect("a loopback address");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(byte) = stream.read_u8().await {
                    if stream.write_u8(byte + 1).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn dial(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("a loopback address");
    socket.connect(to).await.expect("the proxy listens")
}

async fn answers(stream: &mut TcpStream, byte: u8) -> Option<u8> {
    stream.write_u8(byte).await.ok()?;
    tokio::time::timeout(SILENCE, stream.read_u8()).await.ok()?.ok()
}

#[tokio::test]
async fn a_severed_pair_is_cut_and_others_are_not() {
    let proxies =
        Proxies::start(&[node(home(0)).await, node(home(1)).await]).await.expect("starts");
    let [_, second] = proxies.addresses[..] else { panic!("two proxies") };
    let mut pair = dial(home(0), second).await;
    let mut third = dial(home(2), second).await;
    let mut nobody = dial(Ipv4Addr::LOCALHOST, second).await;
    assert_eq!(answers(&mut pair, 1).await, Some(2));

    // Whoever dialled: the pair is named the other way round here.
    proxies.cut(Cuts { severed: [(1, 0)].into(), ..Cuts::default() });
    assert_eq!(answers(&mut pair, 3).await, None);
    let mut again = dial(home(0), second).await;
    assert_eq!(answers(&mut again, 3).await, None, "a new connection is refused");
    assert_eq!(answers(&mut third, 3).await, Some(4));
    assert_eq!(answers(&mut nobody, 3).await, Some(4));

    proxies.cut(Cuts::default());
    let mut healed = dial(home(0), second).await;
    assert_eq!(answers(&mut healed, 5).await, Some(6));
}

#[tokio::test]
async fn silence_holds_one_direction_and_loses_nothing() {
    let proxies =
        Proxies::start(&[node(home(0)).await, node(home(1)).await]).await.expect("starts");
    let [_, second] = proxies.addresses[..] else { panic!("two proxies") };
    for direction in [(0, 1), (1, 0)] {
        let mut pair = dial(home(0), second).await;
        assert_eq!(answers(&mut pair, 1).await, Some(2));
        proxies.cut(Cuts { silent: [direction].into(), ..Cuts::default() });
        assert_eq!(answers(&mut pair, 3).await, None, "{direction:?}");
        proxies.cut(Cuts::default());
        assert_eq!(pair.read_u8().await.expect("still connected"), 4, "it came late");
    }
}
