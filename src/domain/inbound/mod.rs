//! Webhooks of others: verifying them, answering handshakes, and making events of them.
//!
//! How a provider calls is data, a [recipe](recipe): presets are files of this folder, and a source may
//! have a recipe of its own with the same keys. A [`Source`] is a definition that was checked;
//! [`Source::receive`] says of a request what it is, and what to answer once its events are durable.
//! Nothing here reads a clock or does I/O: what a recipe would have to fetch (certificates of PayPal or
//! SNS) is not covered.
//!
//! The rules that others got wrong: the raw bytes are verified, and parsed after that; every candidate
//! is compared with every secret (`comparison`); a time that is not signed protects from nothing and is
//! refused in a recipe; a handshake signs no text that could be a body (`greet`).

mod call;
mod comparison;
mod credentials;
mod definition;
mod events;
mod fault;
mod forward;
mod greet;
mod keys;
mod moment;
mod naming;
mod place;
mod pointer;
mod preset;
mod read;
mod receive;
mod recipe;
mod sample;
mod soap;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod url_form;
mod verdict;
mod verify;

pub use call::Call;
pub use definition::{KEYS, read, read_stored};
pub use fault::BadSource;
pub use keys::SourceSecret;
pub use preset::{NAMES, Preset, all as presets, named as preset};
pub use sample::{NoSample, Sample};
pub use source::{CUSTOM, MAX_SECRETS, Source, SourceId};
pub use table::Given;
pub use verdict::{Answer, Incoming, MAX_DELIVERY_ID, Received, Rejection, VerifiedBy};
