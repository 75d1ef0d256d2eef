//! Webhooks of others: verifying them, answering handshakes, and making events of them.
//!
//! How a provider calls is data, a recipe (`recipe`, read by `read`; places in a request by `place`).
//! Presets are recipes in files of this folder, and a source may have one of its own with the same
//! keys. A [`Source`] is a definition that was checked; [`Source::receive`] says of a request what it
//! is, and what to answer once its events are durable. It may render a template, which needs some
//! 200 KiB of stack. Nothing here reads a clock or does I/O: schemes that have to fetch certificates
//! (PayPal, SNS) are not covered.
//!
//! What others got wrong is a rule here. The raw bytes are verified, and parsed after that, but for a
//! signed time or token that only the body has. Every candidate is compared with every secret
//! (`comparison`). A time or a hash that is not signed protects from nothing, and a recipe with one is
//! refused (`read`). What a handshake signs for anybody is never taken for an event (`verify`). Events
//! of one call are never taken for duplicates of each other (`events`).

mod call;
mod comparison;
mod credentials;
mod definition;
mod events;
mod expression;
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
pub use read::{RECIPE_KEYS, SCHEME_KEYS};
pub use sample::{NoSample, Sample};
pub use source::{CUSTOM, EARLIER_SECRETS, MAX_SECRETS, Source, SourceId};
pub use table::Given;
pub use verdict::{Answer, Incoming, MAX_DELIVERY_ID, Received, Rejection, VerifiedBy};
