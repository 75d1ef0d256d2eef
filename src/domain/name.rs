//! Names and keys: text that follows a rule.

/// Why a name or key was refused. `Display` says what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("an event id is evt_ and a ULID of 26 characters")]
    EventId,
    #[error("a job id is job_ and a ULID of 26 characters")]
    JobId,
    #[error("a type name is 1 to 128 bytes of segments of A-Z a-z 0-9 _ - joined by dots")]
    EventType,
    #[error("a tenant is 1 to 64 of A-Z a-z 0-9 _ -")]
    Tenant,
    #[error("an endpoint id is 1 to 64 of A-Z a-z 0-9 _ -")]
    EndpointId,
    #[error("a source id is 1 to 64 of A-Z a-z 0-9 _ -")]
    SourceId,
    #[error("a key is 1 to 256 bytes")]
    Key,
    #[error("a channel is 1 to 128 of A-Z a-z 0-9 _ - . :")]
    Channel,
}

/// Declares a checked, cheaply cloned text.
macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $fault:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            pub fn new(text: &str) -> Result<Self, $crate::domain::name::BadName> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok($name(text.into())) } else { Err($fault) }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::name::BadName;

            fn from_str(text: &str) -> Result<Self, $crate::domain::name::BadName> {
                Self::new(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}
pub(crate) use checked_name;

/// Whether `text` is 1 to `max` of `A-Z a-z 0-9 _ -`.
pub(crate) fn is_plain(text: &str, max: usize) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !text.is_empty() && text.len() <= max && text.bytes().all(plain)
}
