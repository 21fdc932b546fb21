//! A hostile client: it sends valid requests to a served remote, some of them changed.
#![no_main]
#![expect(clippy::disallowed_methods, reason = "the macro writes a file of its own where it is asked to")]

use libfuzzer_sys::fuzz_target;
use plimsoll_fuzz::requests::{Conversation, converse};
use plimsoll_fuzz::{corpus, watchdog};

fuzz_target!(
    init: {
        corpus::seed("requests", corpus::noise());
        // A panic of the core that the server catches is no finding. Those that end the server are.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    },
    |conversation: Conversation| watchdog::watch(|| converse(&conversation))
);
