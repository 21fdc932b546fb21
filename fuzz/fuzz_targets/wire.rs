//! A hostile server: it answers honestly, with a changed honest answer, or with arbitrary bytes.
#![no_main]
#![expect(clippy::disallowed_methods, reason = "the macro writes a file of its own where it is asked to")]

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response, StatusCode};
use libfuzzer_sys::fuzz_target;
use plimsoll_engine::{PushMode, Remote, RemoteError};
use plimsoll_fuzz::client::{Client, use_everything};
use plimsoll_fuzz::{corpus, watchdog};
use plimsoll_sim::world::clock;
use plimsoll_sim::world::in_process::InProcess;
use plimsoll_sim::world::network::{ChunkedBody, Lost};

/// A history with a hostile server.
#[derive(Debug, Arbitrary)]
struct Hostility {
    /// Whether the client has synced with the honest server before.
    has_history: bool,
    pushes_frames: bool,
    chunk_bytes: u16,
    /// The server's reply to each request, in order. To all later requests it replies honestly.
    answers: Vec<Reply>,
}

#[derive(Debug, Clone, Arbitrary)]
enum Reply {
    Honest,
    /// The server sends no answer.
    Lost {
        takes_effect: bool,
    },
    /// The server sends the honest answer with changed bytes, another length or another status.
    Tampered {
        edits: Vec<(u32, u8)>,
        length: Option<u32>,
        more: Vec<u8>,
        status: Option<u16>,
        announced: Announced,
    },
    /// The server sends an arbitrary answer. The honest server does not receive the request.
    Forged {
        status: u16,
        body: Vec<u8>,
        announced: Announced,
    },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Announced {
    Rightly,
    Not,
    As(u32),
}

struct HostileServer {
    honest: InProcess,
    chunk_bytes: usize,
    replies: Mutex<VecDeque<Reply>>,
}

impl Remote for HostileServer {
    type Body = ChunkedBody;

    async fn send(&self, request: Request<Bytes>) -> Result<Response<ChunkedBody>, RemoteError> {
        let reply = self.replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let serve = || self.honest.with_remote(|remote| remote.serve(&request));
        let (status, body, announced) = match reply.unwrap_or(Reply::Honest) {
            Reply::Honest => {
                let (head, body) = serve().into_parts();
                (head.status, body.to_vec(), Announced::Rightly)
            }
            Reply::Lost { takes_effect } => {
                if takes_effect {
                    serve();
                }
                return Err(Lost.into());
            }
            Reply::Tampered { edits, length, more, status, announced } => {
                let (head, body) = serve().into_parts();
                let mut body = body.to_vec();
                if let Some(length) = length {
                    body.truncate(length as usize % (body.len() + 1));
                }
                body.extend(more);
                let count = body.len().max(1);
                for (at, byte) in edits {
                    if let Some(place) = body.get_mut(at as usize % count) {
                        *place = byte;
                    }
                }
                (status.map_or(head.status, status_of), body, announced)
            }
            Reply::Forged { status, body, announced } => (status_of(status), body, announced),
        };
        let mut response = Response::builder().status(status);
        match announced {
            Announced::Rightly => response = response.header(CONTENT_LENGTH, body.len()),
            Announced::As(length) => response = response.header(CONTENT_LENGTH, length),
            Announced::Not => {}
        }
        Ok(response.body(ChunkedBody::new(body.into(), self.chunk_bytes))?)
    }
}

/// A status. Most drawn numbers give a status of the protocol.
fn status_of(drawn: u16) -> StatusCode {
    match drawn % 8 {
        0..=3 => StatusCode::OK,
        4 | 5 => StatusCode::BAD_REQUEST,
        6 => StatusCode::NOT_FOUND,
        _ => StatusCode::from_u16(100 + drawn % 900).unwrap_or(StatusCode::OK),
    }
}

fuzz_target!(
    init: corpus::seed("wire", corpus::noise()),
    |hostility: Hostility| watchdog::watch(|| be_hostile(hostility))
);

fn be_hostile(hostility: Hostility) {
    let _in_virtual_time = clock::enter(0);
    let client = if hostility.has_history { Client::with_history() } else { Client::new() };
    let server = HostileServer {
        honest: client.remote.clone(),
        chunk_bytes: usize::from(hostility.chunk_bytes).max(1),
        replies: Mutex::new(hostility.answers.into()),
    };
    let mode = if hostility.pushes_frames { PushMode::Frames } else { PushMode::Statements };
    if let Ok(engine) = client.open(server, mode) {
        use_everything(&engine);
    }
    // The files that remain can be opened or are refused.
    if let Ok(engine) = client.open(client.remote.clone(), mode) {
        use_everything(&engine);
    }
}
