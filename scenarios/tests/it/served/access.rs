//! Which requests are served at all, and what every answer has.

use std::net::SocketAddr;

use plimsoll_sim::serve::{ServeError, Server, Settings, Token};
use serde_json::json;

use super::{Running, limits, post, runtime};

#[test]
fn a_request_for_another_host_is_refused() {
    runtime().block_on(async {
        let settings = Settings { hosts: vec!["db.example".into()], limits: limits(), ..Settings::default() };
        let server = Running::start_with(settings).await;
        for (host, status) in [
            ("localhost", 200),
            ("127.0.0.1:8080", 200),
            ("[::1]", 200),
            ("db.example", 200),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("", 421),
        ] {
            let request = format!("GET /info HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            assert_eq!(server.send(request).await.status, status, "{host}");
        }
        let nameless = server.send("GET /info HTTP/1.0\r\n\r\n").await;
        assert_eq!(nameless.status, 400);
        let absolute =
            "GET http://evil.example/info HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        assert_eq!(server.send(absolute).await.status, 421);
        server.stop().await;
    });
}

#[test]
fn a_page_of_another_site_cannot_write() {
    let body = json!({ "requests": [{ "type": "execute", "stmt": { "sql": "INSERT INTO t VALUES (1)" } }] });
    let body = body.to_string();
    runtime().block_on(async {
        let server = Running::start(limits()).await;
        server.execute(&["CREATE TABLE t (v)"]);
        for (headers, status) in [
            ("content-type: application/x-www-form-urlencoded\r\n", 415),
            ("content-type: text/plain\r\n", 415),
            ("content-type: application/json\r\norigin: http://evil.example\r\n", 403),
            ("origin: null\r\n", 403),
            ("sec-fetch-site: cross-site\r\n", 403),
        ] {
            assert_eq!(server.send(post("/v2/pipeline", headers, &body)).await.status, status, "{headers}");
        }
        assert_eq!(server.row_count().await, "0");
        for headers in
            ["", "content-type: application/json; charset=utf-8\r\n", "origin: http://localhost\r\n"]
        {
            assert_eq!(server.send(post("/v2/pipeline", headers, &body)).await.status, 200, "{headers}");
        }
        assert_eq!(server.row_count().await, "3");
        server.stop().await;
    });
}

#[test]
fn other_machines_need_a_token() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let every: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let refused = Server::bind(directory.path(), every, Settings::default()).await.err().unwrap();
        assert!(matches!(refused, ServeError::NeedsToken { .. }), "{refused}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was written");

        let file = directory.path().join("token");
        std::fs::write(&file, "short\n").unwrap();
        assert!(Token::read(&file).err().unwrap().to_string().contains("at least 16"));
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let token = Some(Token::read(&file).unwrap());
        let server = Running::start_with(Settings { token, limits: limits(), ..Settings::default() }).await;
        let get = |path: &str, headers: &str| {
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
        };
        let bearer = "authorization: Bearer 0123456789abcdef\r\n";
        for path in ["/info", "/metrics", "/no-such-route"] {
            let answer = server.send(get(path, "")).await;
            assert_eq!(answer.status, 401, "{path}");
            assert!(answer.text.contains("www-authenticate: Bearer"), "{}", answer.text);
        }
        assert_eq!(server.send(get("/info", "authorization: Bearer 0123456789abcdeX\r\n")).await.status, 401);
        assert_eq!(server.send(get("/info", bearer)).await.status, 200);
        assert_eq!(server.send(get("/healthz", "")).await.status, 200);
        server.stop().await;
    });
}

#[test]
fn every_answer_is_counted_and_none_is_stored() {
    runtime().block_on(async {
        let server = Running::start(limits()).await;
        for (path, status) in [("/info", 200), ("/healthz", 200), ("/nowhere", 404), ("/export/9", 404)] {
            let answer = server.get(path).await;
            assert_eq!(answer.status, status, "{path}");
            assert!(answer.text.contains("cache-control: no-store\r\n"), "{}", answer.text);
        }
        let metrics = server.get("/metrics").await.text;
        for line in [
            "plimsoll_requests_total{method=\"GET\",route=\"/info\",status=\"200\"} 1\n",
            "plimsoll_requests_total{method=\"GET\",route=\"other\",status=\"404\"} 1\n",
            "plimsoll_request_duration_seconds_count{route=\"/info\"} 1\n",
            "plimsoll_generation 1\n",
            "plimsoll_frames 0\n",
        ] {
            assert!(metrics.contains(line), "{line}{metrics}");
        }
        server.stop().await;
    });
}
