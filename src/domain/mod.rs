//! The domain, without any I/O: events, endpoints, deliveries, and the
//! decisions made over them. Nothing here reads a clock, rolls dice, or touches a disk
//! or a socket; the caller passes the time and the randomness.

pub mod account;
pub mod address;
pub mod answer_rule;
pub mod attempt;
pub mod auth;
pub mod backoff;
pub mod certificate;
pub mod cloudevents;
pub mod content;
pub mod counts;
pub mod decimal;
pub mod delivery;
pub mod diagnosis;
pub mod endpoint;
pub mod engine;
pub mod event;
pub mod extras;
pub mod filter;
pub mod hex;
pub mod histogram;
pub mod http_url;
pub mod identity;
pub mod inbound;
pub mod job;
pub mod json;
pub mod name;
pub mod nearest;
pub mod rate;
pub mod render;
pub mod repeats;
pub mod retry;
pub mod schedule;
pub mod shaping;
pub mod signature;
pub mod subscription;
pub mod template;
pub mod time;
pub mod units;
pub mod verdict;
pub mod when;
