//! What an event may carry besides its content: channels, headers, and where it came from. Most
//! events carry none of it.

use http::header::{HeaderName, HeaderValue};

use super::cloudevents::CloudEvent;
use super::name::{BadName, checked_name};

/// The most channels of an event or an endpoint.
pub const MAX_CHANNELS: usize = 10;
/// The most headers of an event.
pub const MAX_HEADERS: usize = 16;
/// The most bytes of an event's headers, names and values together.
pub const MAX_HEADER_BYTES: usize = 4 * 1024;

checked_name!(
    /// A channel: an event with channels reaches an endpoint with channels if they share one.
    Channel,
    BadName::Channel,
    |text| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"_-.:".contains(&b);
        (1..=128).contains(&text.len()) && text.bytes().all(fits)
    }
);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    pub channels: Vec<Channel>,
    /// Sent with each attempt, unless the endpoint has a header of that name. Values are marked
    /// sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `traceparent` and `tracestate` of the request that handed the event in (W3C Trace Context).
    pub trace: Vec<(HeaderName, HeaderValue)>,
    /// The CloudEvent that the event came in as, without its data.
    pub cloudevent: Option<CloudEvent>,
    /// The source that took the event in.
    pub source: Option<String>,
    /// How the source took it in.
    pub received: Option<Received>,
}

/// How a source took an event in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// What verified it, as it is shown: `secret 1`.
    pub verified_by: String,
    /// The address of the caller.
    pub remote: String,
}

impl Extras {
    pub fn is_empty(&self) -> bool {
        *self == Extras::default()
    }

    /// About what it takes where it is stored, in bytes.
    pub fn size(&self) -> usize {
        let channels = self.channels.iter().map(|one| one.as_str().len() + 2);
        let headers = self.headers.iter().chain(&self.trace);
        let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + 8);
        let cloudevent = self.cloudevent.as_ref();
        let attributes = cloudevent.map_or(0, CloudEvent::size);
        let source = self.source.as_ref().map_or(0, String::len);
        let received = self.received.as_ref();
        let received = received.map_or(0, |one| one.verified_by.len() + one.remote.len() + 4);
        channels.chain(headers).sum::<usize>() + attributes + source + received + 16
    }

    /// Whether two sets of channels have one in common.
    pub fn shares_channel(&self, channels: &[Channel]) -> bool {
        channels.iter().any(|one| self.channels.contains(one))
    }
}

/// Why channels were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChannels {
    #[error("{0}")]
    Name(BadName),
    #[error("there are more than {MAX_CHANNELS} channels")]
    TooMany,
    #[error("the list is empty; leave it out")]
    Empty,
}

/// Reads channels. One that is repeated counts once.
///
/// # Errors
/// What is wrong with the list or the first name that is none.
pub fn read_channels<'a>(
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Channel>, BadChannels> {
    let mut channels: Vec<Channel> = Vec::new();
    for name in names {
        let channel = Channel::new(name).map_err(BadChannels::Name)?;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
        if channels.len() > MAX_CHANNELS {
            return Err(BadChannels::TooMany);
        }
    }
    match channels.is_empty() {
        true => Err(BadChannels::Empty),
        false => Ok(channels),
    }
}
