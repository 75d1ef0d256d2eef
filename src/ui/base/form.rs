//! Forms as browsers send them: `application/x-www-form-urlencoded`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{StatusCode, Uri};

use super::failed::Failed;
use crate::server::body::{self, Budget, Limit};

/// The fields of a form, in order. A field that is empty counts as not given.
#[derive(Clone, Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the body of a request. No body at all is a form without fields.
    ///
    /// # Errors
    /// The body is too large, breaks off, or is something else.
    pub async fn read(
        headers: &HeaderMap,
        body: Body,
        limit: Limit,
        budget: &Arc<Budget>,
    ) -> Result<Form, Failed> {
        let received = body::collect(body, limit, budget).await;
        let received = received.map_err(crate::api::problem::Problem::from)?;
        let kind = headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim();
        if !received.bytes.is_empty()
            && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        {
            let detail = "this takes a form: application/x-www-form-urlencoded";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Failed::new(status, "Unsupported media type", detail));
        }
        Ok(Form::parse(&received.bytes))
    }

    /// Reads fields as a form or a query has them.
    pub fn parse(text: &[u8]) -> Form {
        let pairs = url::form_urlencoded::parse(text).into_owned();
        Form(pairs.collect())
    }

    /// The fields of a query.
    pub fn of_query(uri: &Uri) -> Form {
        Form::parse(uri.query().unwrap_or_default().as_bytes())
    }

    /// The value of a field, without white space around it.
    pub fn text(&self, name: &str) -> Option<&str> {
        let value = self.raw(name)?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// The value of a field as it was typed; browsers end lines with CR LF.
    pub fn raw(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        fields
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a box is ticked.
    pub fn is_ticked(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }
}

/// The form of a request that sends one; the guard of the pages has read it.
impl<S: Send + Sync> FromRequestParts<S> for Form {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Form, Failed> {
        let form = parts.extensions.get::<Form>().cloned();
        form.ok_or_else(|| Failed::internal("the request passed no guard"))
    }
}

/// The query of a request, whose fields are those of a form.
#[derive(Clone, Debug)]
pub struct Asked(pub Form);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked, Failed> {
        Ok(Asked(Form::of_query(&parts.uri)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_the_first_counts() {
        let form = Form::parse(b"a=1&b=%20x%26y+&a=2&c=&d");
        assert_eq!(form.text("a"), Some("1"));
        assert_eq!(
            (form.text("b"), form.raw("b")),
            (Some("x&y"), Some(" x&y "))
        );
        assert_eq!((form.text("c"), form.raw("c")), (None, Some("")));
        assert!(form.is_ticked("d") && !form.is_ticked("e"));
    }
}
