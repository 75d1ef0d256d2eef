//! What a request is made of.

use http::Method;

/// What the body of a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The envelope, or the opaque body.
    #[default]
    Standard,
    /// `data` alone.
    Bare,
    /// A CloudEvent in structured mode.
    CloudEvents,
    /// A CloudEvent in binary mode.
    CloudEventsBinary,
    Template,
}

impl Format {
    pub const ALL: [Format; 5] = [
        Format::Standard,
        Format::Bare,
        Format::CloudEvents,
        Format::CloudEventsBinary,
        Format::Template,
    ];

    /// As configuration and APIs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Standard => "standard",
            Format::Bare => "bare",
            Format::CloudEvents => "cloudevents",
            Format::CloudEventsBinary => "cloudevents-binary",
            Format::Template => "template",
        }
    }
}

/// The method of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    #[default]
    Post,
    Put,
    Patch,
}

impl Verb {
    pub const ALL: [Verb; 3] = [Verb::Post, Verb::Put, Verb::Patch];

    /// As HTTP, configuration and APIs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
        }
    }

    pub fn method(self) -> Method {
        match self {
            Verb::Post => Method::POST,
            Verb::Put => Method::PUT,
            Verb::Patch => Method::PATCH,
        }
    }
}
