//! A request of a provider, and what recipes read of it.

use std::borrow::Cow;
#[cfg(test)]
use std::cell::Cell;
use std::cell::OnceCell;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName};
use url::form_urlencoded;

/// The most fields of a form or query. Unverified requests are read too, and a field of one byte
/// costs a hundred.
const MAX_FIELDS: usize = 1000;

/// A request as the provider made it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub method: &'a http::Method,
    /// Of the URL, without `?`.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a Bytes,
    /// The URL with its query as the provider wrote it: of `public_url`, since behind a proxy the
    /// request itself does not tell. `None`: there is no `public_url`.
    pub url: Option<&'a str>,
}

/// The fields of a form, decoded, in their order.
pub(super) type Fields<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A request whose parts are read when somebody asks for them, once.
pub(super) struct View<'a> {
    pub(super) call: Call<'a>,
    /// The field of a form that holds the JSON.
    form_json: Option<&'a str>,
    query: OnceCell<Fields<'a>>,
    form: OnceCell<Option<Fields<'a>>>,
    /// How often a recipe or a template read something of the call.
    #[cfg(test)]
    pub(super) reads: Cell<usize>,
}

impl<'a> View<'a> {
    pub(super) fn new(call: Call<'a>, form_json: Option<&'a str>) -> View<'a> {
        View {
            call,
            form_json,
            query: OnceCell::new(),
            form: OnceCell::new(),
            #[cfg(test)]
            reads: Cell::new(0),
        }
    }

    /// Notes that a recipe or a template read a part of the call. Tests count how often.
    pub(super) fn note_read(&self) {
        #[cfg(test)]
        self.reads.set(self.reads.get() + 1);
    }

    /// The first header of that name, if it is UTF-8.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&'a str> {
        let value = self.call.headers.get(name)?;
        std::str::from_utf8(value.as_bytes()).ok()
    }

    /// All headers of that name that are UTF-8.
    pub(super) fn headers(&self, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
        let all = self.call.headers.get_all(name).iter();
        all.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// The parameters of the query; none if there are too many.
    pub(super) fn query(&self) -> &Fields<'a> {
        self.query
            .get_or_init(|| fields(self.call.query.as_bytes()).unwrap_or_default())
    }

    /// The fields of a form; `None` of another body, or if there are too many.
    pub(super) fn form(&self) -> Option<&Fields<'a>> {
        let read = || match self.is_form() {
            true => fields(self.call.body),
            false => None,
        };
        self.form.get_or_init(read).as_ref()
    }

    /// Whether the body is a form by its content type.
    pub(super) fn is_form(&self) -> bool {
        let essence = |text: &'a str| text.split(';').next().unwrap_or_default().trim();
        self.header(&CONTENT_TYPE)
            .map(essence)
            .is_some_and(|text| text.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
    }

    /// What pointers look into: the body, or the field of a form that holds the JSON.
    pub(super) fn document(&self) -> &[u8] {
        let field = self.form_json.filter(|_| self.is_form());
        match field.and_then(|name| first(self.form()?, name)) {
            Some(text) => text.as_bytes(),
            None => self.call.body,
        }
    }
}

/// The first field of that name.
pub(super) fn first<'f>(fields: &'f Fields<'_>, name: &str) -> Option<&'f str> {
    let found = fields.iter().find(|(own, _)| own == name);
    found.map(|(_, value)| value.as_ref())
}

/// `None`: there are too many.
fn fields(text: &[u8]) -> Option<Fields<'_>> {
    let mut read = form_urlencoded::parse(text);
    let fields: Fields<'_> = read.by_ref().take(MAX_FIELDS).collect();
    read.next().is_none().then_some(fields)
}
