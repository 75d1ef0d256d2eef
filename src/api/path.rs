//! The parts of a path that stand for something.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::{Kind, Problem};
use crate::domain::endpoint::EndpointId;
use crate::domain::event::EventId;

/// The parts, percent-decoded.
pub struct PathParams<T>(pub T);

impl<T, S> FromRequestParts<S> for PathParams<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(PathParams(names)),
            Err(_) => Err(Problem::new(Kind::NotFound, "the path is not UTF-8")),
        }
    }
}

/// A name in a path. What cannot exist is 404, like what does not.
pub fn parse_name<T>(text: &str) -> Result<T, Problem>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse()
        .map_err(|error: T::Err| Problem::new(Kind::NotFound, error.to_string()))
}

/// The event and the endpoint that name a delivery.
pub fn delivery((event, endpoint): (String, String)) -> Result<(EventId, EndpointId), Problem> {
    Ok((parse_name(&event)?, parse_name(&endpoint)?))
}
