//! Bodies, heads, connections and readers have limits, and posted pages are checked.

use plimsoll_sim::serve::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{Answer, Running, SHORT, limits, post, runtime};

#[test]
fn a_body_beyond_the_limit_is_answered_with_the_limit() {
    runtime().block_on(async {
        let server = Running::start(Limits { body_bytes: 1000, ..limits() }).await;
        let chunked = format!(
            "POST /v2/pipeline HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
             7d0\r\n{}\r\n0\r\n\r\n",
            " ".repeat(2000)
        );
        for request in [post("/v2/pipeline", "", &" ".repeat(1001)), post("/sync/1/1/2", "", &"x".repeat(4120)), chunked] {
            let answer = server.send(request).await;
            assert_eq!(answer.status, 413, "{}", answer.text);
            assert_eq!(answer.json()["limit_bytes"], 1000);
        }
        assert_eq!(server.get("/info").await.status, 200);
        server.stop().await;
    });
}

/// A request that has sent a part of its body and stops there.
async fn stalled(server: &Running, sent: usize, announced: usize) -> TcpStream {
    let mut stream = server.connect().await;
    let head =
        format!("POST /v2/pipeline HTTP/1.1\r\nhost: localhost\r\ncontent-length: {announced}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; sent]).await.unwrap();
    stream
}

/// A client that does not read the result of its SQL keeps it in the server's memory.
#[test]
fn results_that_nobody_reads_count_as_bodies() {
    runtime().block_on(async {
        let server = Running::start(Limits { bodies_bytes: 20 << 20, ..limits() }).await;
        let sql = r#"{"requests":[{"type":"execute","stmt":{"sql":"SELECT hex(randomblob(4000)) FROM generate_series(1, 1700)"}}]}"#;
        let request = post("/v2/pipeline", "", sql);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let used = async || {
            let text = server.get("/metrics").await.text;
            let line = text.lines().find_map(|line| line.strip_prefix("plimsoll_bodies_bytes "));
            line.and_then(|bytes| bytes.parse::<usize>().ok()).unwrap()
        };
        while used().await < 12 << 20 {}
        for _ in 0..20 {
            assert!(used().await >= 12 << 20, "it is forgotten before it is read");
        }
        assert_eq!(server.send(&request).await.status, 503);
        drop(stream);
        while used().await > 0 {}
        server.stop().await;
    });
}

#[test]
fn bodies_share_a_limited_memory() {
    runtime().block_on(async {
        let server = Running::start(Limits { bodies_bytes: 100 << 10, ..limits() }).await;
        let first = stalled(&server, 90 << 10, 200 << 10).await;
        let used = |text: &str| {
            text.lines().find_map(|line| line.strip_prefix("plimsoll_bodies_bytes ")?.parse().ok())
        };
        while used(&server.get("/metrics").await.text).unwrap_or(0) < 90 << 10 {}
        let large = post("/v2/pipeline", "", &" ".repeat(20 << 10));
        let refused = server.send(&large).await;
        assert_eq!(refused.status, 503, "{}", refused.text);
        assert!(refused.text.contains("retry-after: 1"), "{}", refused.text);
        drop(first);
        while server.send(&large).await.status == 503 {}
        assert_eq!(server.send(large).await.status, 400, "its memory is free again; blanks are no JSON");
        server.stop().await;
    });
}

#[test]
fn a_head_or_body_that_does_not_go_on_is_cut_off() {
    runtime().block_on(async {
        let server = Running::start(Limits { head_time: SHORT, body_idle_time: SHORT, ..limits() }).await;
        let mut stream = server.connect().await;
        stream.write_all(b"GET /info HTTP/1.1\r\nhost: local").await.unwrap();
        assert_ne!(Answer::read(&mut stream).await.status, 200, "half a head");
        let mut stream = server.connect().await;
        stream.write_all(b"GET /info HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(Answer::read(&mut stream).await.status, 200, "the unused connection is closed");
        let answer = Answer::read(&mut stalled(&server, 10, 20).await).await;
        assert_eq!(answer.status, 408, "{}", answer.text);
        server.stop().await;
    });
}

#[test]
fn a_head_without_measure_is_refused() {
    runtime().block_on(async {
        let server = Running::start(Limits { headers: 10, ..limits() }).await;
        let many = "x: y\r\n".repeat(20);
        let request = format!("GET /info HTTP/1.1\r\nhost: localhost\r\n{many}\r\n");
        assert_eq!(server.send(request).await.status, 431);
        let request = format!("GET /info HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(200_000));
        assert_eq!(server.send(request).await.status, 431);
        assert_eq!(server.get("/info").await.status, 200);
        server.stop().await;
        let server = Running::start(Limits { head_bytes: 2000, ..limits() }).await;
        for (length, status) in [(1000, 200), (3000, 431), (20_000, 431)] {
            let filler = "y".repeat(length);
            let request =
                format!("GET /info HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: {filler}\r\n\r\n");
            assert_eq!(server.send(request).await.status, status, "a header of {length} bytes");
            assert_eq!(
                server.get(&format!("/info?{filler}")).await.status,
                status,
                "a URI of {length} bytes"
            );
        }
        server.stop().await;
    });
}

#[test]
fn a_connection_beyond_the_limit_gets_a_clear_answer() {
    runtime().block_on(async {
        let server = Running::start(Limits { connections: 2, ..limits() }).await;
        let (first, second) = (server.connect().await, server.connect().await);
        // Connections are accepted in their order.
        let answer = server.get("/info").await;
        assert_eq!(answer.status, 503, "{}", answer.text);
        drop(first);
        while server.get("/info").await.status != 200 {}
        drop(second);
        server.stop().await;
    });
}

#[test]
fn a_reader_that_does_not_read_loses_its_connection() {
    runtime().block_on(async {
        let server = Running::start(Limits { write_time: SHORT, ..limits() }).await;
        let fill = "INSERT INTO t SELECT randomblob(4000) FROM generate_series(1, 4000)";
        // The generation has so many frames then that it ends.
        server.execute(&["CREATE TABLE t (v)", fill]);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        stream.write_all(b"GET /export/2 HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        // The connection that asks is the only one that is left.
        while !server.get("/metrics").await.text.contains("plimsoll_connections 1\n") {}
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap_or(0);
        assert!(received.len() < 16_000_000, "{}", received.len());
        server.stop().await;
    });
}

#[test]
fn a_page_of_no_kind_is_not_appended() {
    runtime().block_on(async {
        let server = Running::start(limits()).await;
        let frame = |first: u8| {
            let mut frame = vec![0; 24];
            frame[3] = 2;
            frame[7] = 2;
            frame.extend([first; 4096]);
            let mut request =
                b"POST /sync/1/1/2 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n".to_vec();
            request.extend(b"content-type: application/octet-stream\r\ncontent-length: 4120\r\n\r\n");
            request.extend(frame);
            request
        };
        for first in [0xff, 13] {
            let answer = server.send(frame(first)).await;
            assert_eq!(answer.status, 400, "{}", answer.text);
            assert_eq!(answer.json()["status"], "bad_body");
        }
        assert_eq!(server.send(frame(0)).await.status, 200, "an unused page");
        server.stop().await;
    });
}
