//! The listening side of HTTP: sockets, connections and their limits, request bodies.
//!
//! It knows no paths and never decides what is answered: its users are the API and the public
//! listener. Everything is bounded here: connections at once, the time for a request's head, for
//! its body and for taking the answer.

pub mod accept;
pub mod body;
pub mod connection;
mod crowd;
pub mod listen;
pub mod public;
pub mod remote;
pub mod stall;
pub mod tls;
